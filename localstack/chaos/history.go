package chaos

import (
	"errors"
	"fmt"
)

// Kind is how a producer sends.
type Kind string

const (
	// Idempotent producers send acks=all with a producer id to one partition,
	// and repeat a request until it is acknowledged.
	Idempotent Kind = "idempotent"
	// PlainAll producers send acks=all without a producer id, each request once.
	PlainAll Kind = "all"
	// PlainOne producers send acks=1, each request once.
	PlainOne Kind = "one"
)

// Outcome is what a producer knows of a request.
type Outcome int

const (
	Unknown  Outcome = iota // no answer, half an answer, or one that says so
	Acked                   // in the log, or with acks=1 on a node's disk
	NoEffect                // nothing of it is in the log, nor will be
)

// Part is the records of a request for one partition: Count of them, from Seq.
type Part struct {
	Partition int32 `json:"partition"`
	Seq       int64 `json:"seq"`
	Count     int   `json:"count"`
}

// Request is one produce request. A producer has one in flight at a time, so
// that its requests stand in the order in which it sent them.
type Request struct {
	Number   int64
	Producer uint32
	Parts    []Part
	Outcome  Outcome
	Bases    []int64 // of the parts, with Acked and acks=all
	Node     string  // that took it, with its start, where that is known; acks=1
}

// Trim is a trim that a node acknowledged.
type Trim struct {
	Partition int32
	Start     int64 // log start that was answered
}

// History is what producers know at the end of a run.
type History struct {
	Run        string
	Partitions int
	Producers  []Kind     // by number
	Requests   []*Request // in the order in which they were sent
	Trims      []Trim
	// TrimAsked is the highest offset, by partition, that a trim was ever asked
	// for, whatever came of it.
	TrimAsked map[int32]int64

	byNumber map[int64]*Request
}

// add takes over one event of a ledger.
func (h *History) add(e event) error {
	switch e.Type {
	case runEvent:
		if e.Version != ledgerVersion {
			return fmt.Errorf("ledger of version %d, not %d", e.Version, ledgerVersion)
		}
		h.Run, h.Partitions = e.Run, e.Partitions
		h.byNumber, h.TrimAsked = map[int64]*Request{}, map[int32]int64{}
	case producerEvent:
		if int(e.Producer) != len(h.Producers) {
			return fmt.Errorf("producer %d where %d is due", e.Producer, len(h.Producers))
		}
		h.Producers = append(h.Producers, e.Kind)
	case sentEvent:
		if int(e.Producer) >= len(h.Producers) || len(e.Parts) == 0 || h.byNumber[e.Request] != nil {
			return fmt.Errorf("request %d is malformed", e.Request)
		}
		r := &Request{Number: e.Request, Producer: e.Producer, Parts: e.Parts}
		h.Requests = append(h.Requests, r)
		h.byNumber[e.Request] = r
	case ackedEvent, refusedEvent:
		r := h.byNumber[e.Request]
		switch {
		case r == nil || r.Outcome != Unknown:
			return fmt.Errorf("answer to request %d, which waits for none", e.Request)
		case e.Type == refusedEvent:
			r.Outcome = NoEffect
		case e.Bases != nil && len(e.Bases) != len(r.Parts):
			return fmt.Errorf("%d bases for %d parts of request %d", len(e.Bases), len(r.Parts), e.Request)
		default:
			r.Outcome, r.Bases, r.Node = Acked, e.Bases, e.Node
		}
	case trimEvent:
		h.TrimAsked[e.Partition] = max(h.TrimAsked[e.Partition], e.Offset)
	case trimmedEvent:
		h.Trims = append(h.Trims, Trim{Partition: e.Partition, Start: e.Offset})
	case faultEvent:
	default:
		return errors.New("unknown event " + e.Type)
	}
	return nil
}

// sent counts the records that each producer sent.
func (h *History) sent() []int64 {
	sent := make([]int64, len(h.Producers))
	for _, r := range h.Requests {
		for _, p := range r.Parts {
			sent[r.Producer] = max(sent[r.Producer], p.Seq+int64(p.Count))
		}
	}
	return sent
}
