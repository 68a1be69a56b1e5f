package localstack

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// outcome is what a producer knows of a request.
type outcome int

const (
	unknown  outcome = iota // no answer, half an answer, or one that says so
	acked                   // it is in the log, or with acks=1 on the node's disk
	noEffect                // nothing of it is in the log, nor will be
)

// kind is how a request was sent.
type kind string

const (
	idempotent kind = "idempotent" // acks=all with a producer id, repeated until it is acknowledged
	plainAll   kind = "all"        // acks=all, sent once
	plainOne   kind = "one"        // acks=1, sent once
)

// ledger stands outside of the node and holds what was sent to it and what it
// answered. It is safe for concurrent use.
type ledger struct {
	mu       sync.Mutex
	requests []*sentRequest // guarded by mu
}

// sentRequest is one produce request. Its producer sends one at a time.
type sentRequest struct {
	producer string
	kind     kind
	life     int64 // of the node, when it was sent
	parts    []sentPart
	outcome  outcome
}

// sentPart is the records of a request for one partition. The id of a record
// is its value up to the first space, and is used once.
type sentPart struct {
	partition int32
	ids       []string
	base      int64 // that the node told, or -1
}

// begin notes a request before it is sent.
func (l *ledger) begin(r *sentRequest) *sentRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, r)
	return r
}

// settle notes the answer; bases are those of the request's parts, if any.
func (l *ledger) settle(r *sentRequest, o outcome, bases map[int32]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.outcome = o
	for i := range r.parts {
		if base, ok := bases[r.parts[i].partition]; ok {
			r.parts[i].base = base
		}
	}
}

// count counts the requests of a kind and outcome.
func (l *ledger) count(k kind, o outcome) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, r := range l.requests {
		if r.kind == k && r.outcome == o {
			n++
		}
	}
	return n
}

func (l *ledger) summary() string {
	var text []string
	for _, k := range []kind{idempotent, plainAll, plainOne} {
		text = append(text, fmt.Sprintf("%s %d acked %d unknown %d refused", k, l.count(k, acked), l.count(k, unknown), l.count(k, noEffect)))
	}
	return strings.Join(text, ", ")
}

// place is where a record is.
type place struct {
	partition int32
	offset    int64
}

// check compares what the log holds, ids by partition and offset, with what
// was sent:
//
//   - every acknowledged record is there, at the offset that was told;
//   - nothing is there twice, nothing that was not sent, and nothing that was
//     refused;
//   - a request is there as a whole or not at all;
//   - records of one producer stand in each partition in the order in which they
//     were sent: those that are acknowledged, and with acks=1 those of one life
//     of the node.
func (l *ledger) check(log [][]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var wrong []error
	fail := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	found := map[string]place{}
	for p, ids := range log {
		for offset, id := range ids {
			at := place{int32(p), int64(offset)}
			if before, twice := found[id]; twice {
				fail("%s is in the log twice: at %v and at %v", id, before, at)
			}
			found[id] = at
		}
	}
	sent := 0
	type lane struct {
		producer  string
		life      int64
		partition int32
	}
	newest := map[lane]place{}
	for _, r := range l.requests {
		there, total := 0, 0
		for _, part := range r.parts {
			for i, id := range part.ids {
				total++
				at, ok := found[id]
				if !ok {
					continue
				}
				there++
				if at.partition != part.partition {
					fail("%s is in partition %d, not %d", id, at.partition, part.partition)
					continue
				}
				if want := part.base + int64(i); part.base >= 0 && at.offset != want {
					fail("%s has offset %d, and %d was told", id, at.offset, want)
				}
				order := lane{producer: r.producer, partition: at.partition}
				if r.kind == plainOne {
					order.life = r.life
				}
				if r.outcome != acked {
					continue // it may have landed after a later one
				}
				if before, ok := newest[order]; ok && before.offset > at.offset {
					fail("%s has offset %d, behind a later one at %d", id, at.offset, before.offset)
				}
				newest[order] = at
			}
		}
		sent += there
		name := r.parts[0].ids[0]
		switch {
		case r.outcome == acked && there < total:
			fail("%s (%s) was acknowledged, and %d of its %d records are there", name, r.kind, there, total)
		case r.outcome == noEffect && there > 0:
			fail("%s (%s) was refused, and %d of its %d records are there", name, r.kind, there, total)
		case there != 0 && there != total:
			fail("%s (%s) is torn: %d of its %d records are there", name, r.kind, there, total)
		}
		if r.kind == idempotent && r.outcome != acked {
			fail("%s was never acknowledged", name)
		}
	}
	if len(found) > sent {
		fail("%d records are in the log that nobody sent, or twice", len(found)-sent)
	}
	if n := len(wrong); n > differencesMax {
		wrong = append(wrong[:differencesMax], fmt.Errorf("and %d more", n-differencesMax))
	}
	return errors.Join(wrong...)
}

// TestLedger: the check sees each way to break a promise.
func TestLedger(t *testing.T) {
	request := func(k kind, o outcome, base int64, ids ...string) *sentRequest {
		return &sentRequest{producer: ids[0][:1], kind: k, outcome: o, parts: []sentPart{{partition: 0, ids: ids, base: base}}}
	}
	torn := request(plainAll, unknown, -1, "t1")
	torn.parts = append(torn.parts, sentPart{partition: 1, ids: []string{"t2"}, base: -1})
	later := request(plainOne, acked, -1, "o3")
	later.life = 1
	requests := []*sentRequest{
		request(idempotent, acked, 0, "i1", "i2"), request(idempotent, acked, 2, "i3"),
		request(plainAll, acked, 3, "a1"), request(plainAll, unknown, -1, "a2"), request(plainAll, noEffect, -1, "a3"),
		request(plainOne, acked, -1, "o1"), request(plainOne, acked, -1, "o2"), later, torn,
	}
	good := []string{"i1", "i2", "i3", "a1", "o1", "o2", "o3"}
	check := func(log ...[]string) error { return (&ledger{requests: requests}).check(log) }
	for name, log := range map[string][][]string{
		"all":                       {good, nil},
		"with the unknown":          {append(slices.Clone(good), "a2", "t1"), {"t2"}},
		"other life's order is new": {{"i1", "i2", "i3", "a1", "o3", "o1", "o2"}, nil},
	} {
		if err := check(log...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, log := range map[string][][]string{
		"acknowledged is missing": {good[:6], nil},
		"twice":                   {append(slices.Clone(good), "o1"), nil},
		"unknown twice":           {append(slices.Clone(good), "a2", "a2"), nil},
		"twice in partitions":     {good, {"o1"}},
		"phantom":                 {append(slices.Clone(good), "x"), nil},
		"refused":                 {append(slices.Clone(good), "a3"), nil},
		"torn":                    {append(slices.Clone(good), "t1"), nil},
		"other offset":            {{"a1", "i1", "i2", "i3", "o1", "o2", "o3"}, nil},
		"order":                   {{"i1", "i2", "i3", "a1", "o2", "o1", "o3"}, nil},
		"other partition":         {good[:6], {"o3"}},
	} {
		if check(log...) == nil {
			t.Errorf("%s: not seen", name)
		}
	}
	unfinished := &ledger{requests: []*sentRequest{request(idempotent, unknown, -1, "i1")}}
	if unfinished.check([][]string{{"i1"}}) == nil {
		t.Error("idempotent request without an end: not seen")
	}
}
