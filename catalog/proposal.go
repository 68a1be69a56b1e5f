package catalog

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/wadilog/wadi/catalog/journal"
)

// Where a proposal stands. It goes from queued to sent, and back when another
// entry took the slot; given up ends it.
const (
	proposalQueued int32 = iota
	proposalSent
	proposalGivenUp
)

// Proposal is an edit on its way into the journal.
type Proposal struct {
	edit  Edit
	size  int // bytes; upper bound of its encoding with its result
	stage atomic.Int32
	// inDoubt says that an earlier attempt may have committed it, though it is
	// queued again.
	inDoubt atomic.Bool
	// origin is the request of another node that it came with; nil for this
	// node's own. That node asks again if this one loses the lead.
	origin *origin
	// lead is the epoch in which alone this node may write it, and before anything
	// else that waits; it is never forwarded. 0 for an edit that anybody may write
	// whenever.
	lead uint64
	done chan struct{} // closed when the fields below are set

	result Result
	err    error
	slot   journal.Slot // that holds it, if this node wrote it
}

// origin is an edit's place in what its node forwarded.
type origin struct {
	session Session
	seq     uint64
	index   int
}

// precedes tells whether b came right after a in one request.
func (a *origin) precedes(b *origin) bool {
	return a != nil && b != nil && a.session == b.session && a.seq == b.seq && a.index+1 == b.index
}

// markForwarded returns the edits of proposals, with a Forwarded before each
// run that came in one request.
func markForwarded(proposals []*Proposal) []Edit {
	edits := make([]Edit, 0, len(proposals))
	mark := -1
	for i, p := range proposals {
		switch {
		case p.origin == nil:
		case i > 0 && proposals[i-1].origin.precedes(p.origin):
			m := edits[mark].(Forwarded)
			m.Count++
			edits[mark] = m
		default:
			mark = len(edits)
			edits = append(edits, Forwarded{Session: p.origin.session, Seq: p.origin.seq, First: uint32(p.origin.index), Count: 1})
		}
		edits = append(edits, p.edit)
	}
	return edits
}

func newProposal(e Edit) *Proposal {
	return &Proposal{edit: e, size: encodedSizeMax(e), done: make(chan struct{})}
}

// Done is closed when the proposal is settled; then Wait returns at once.
func (p *Proposal) Done() <-chan struct{} { return p.done }

// Wait returns what became of the edit. If ctx ends first, an edit that was not
// sent yet is withdrawn (ErrNotCommitted); of others the error is
// ErrUnknownOutcome.
func (p *Proposal) Wait(ctx context.Context) (Result, error) {
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
	}
	if p.stage.CompareAndSwap(proposalQueued, proposalGivenUp) {
		outcome := ErrNotCommitted
		if p.inDoubt.Load() {
			outcome = ErrUnknownOutcome
		}
		return Result{}, fmt.Errorf("%w: %w", outcome, ctx.Err())
	}
	select {
	case <-p.done: // settled meanwhile
		return p.result, p.err
	default:
		return Result{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	}
}

// settled is Done without waiting.
func (p *Proposal) settled() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *Proposal) resolve(r Result, err error) {
	p.result, p.err = r, err
	close(p.done)
}

// entryPayloadMax is what the edits of one entry may take; the rest of the
// entry is its own fields.
const entryPayloadMax = journal.EntryBytesMax - 4096

// encodedSizeMax bounds the bytes of an edit and its result in a payload.
func encodedSizeMax(e Edit) int {
	const (
		fixed     = 1024 // any edit without its lists: names are at most 249 bytes
		perUnit   = 256  // count, key and error
		perAppend = 160  // every field at its longest, and its result
		perTopic  = 8    // length of the name
		perOffset = 48   // a run of its own, every field at its longest
		perObject = 16   // id
		perRun    = 64   // partition of a compaction, and its result
		perExtent = 40   // of a compaction
	)
	size := fixed
	switch e := e.(type) {
	case CommitSegment:
		size += perUnit * len(e.Units)
		for i := range e.Units {
			size += perAppend * len(e.Units[i].Appends)
			for j := range e.Units[i].Appends {
				size += len(e.Units[i].Appends[j].Token)
			}
		}
	case DropGarbage:
		size += perObject * len(e.Objects)
	case Compact:
		size += perRun * len(e.Partitions)
		for i := range e.Partitions {
			size += perExtent * len(e.Partitions[i].Extents)
		}
	case JoinGroup:
		size += perTopic * len(e.Topics)
		for _, topic := range e.Topics {
			size += len(topic)
		}
	case CommitOffsets:
		size += perOffset * len(e.Offsets)
		for i := range e.Offsets {
			size += len(e.Offsets[i].Metadata)
		}
	}
	return size
}
