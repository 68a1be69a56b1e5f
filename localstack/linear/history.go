package linear

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/anishathalye/porcupine"
)

// History is what clients asked and were told. It is safe for concurrent use.
type History struct {
	clock   atomic.Int64 // counts calls and returns, which puts them all in one order
	clients atomic.Int64

	mu  sync.Mutex
	ops []porcupine.Operation // guarded by mu
}

// newClient returns a number for a client. One that does not wait for an answer
// any more is another client from then on.
func (h *History) newClient() int { return int(h.clients.Add(1) - 1) }

// call returns the time of a call. Take it before the request is sent.
func (h *History) call() int64 { return h.clock.Add(1) }

// add notes an operation. Use it once the answer is there.
func (h *History) add(client int, call int64, r Request, a Response) {
	at := h.clock.Add(1)
	if a.Outcome.open() {
		at = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: r, Call: call, Output: a, Return: at})
}

// Count is how many operations of a history there are.
type Count struct {
	Operations int // that say something of the log: all but the refused
	InDoubt    int // of these
	Promised   int // of these
	Refused    int
	Duplicates int
	Mismatches int
}

// Add adds another count.
func (c *Count) Add(o Count) {
	c.Operations += o.Operations
	c.InDoubt += o.InDoubt
	c.Promised += o.Promised
	c.Refused += o.Refused
	c.Duplicates += o.Duplicates
	c.Mismatches += o.Mismatches
}

// Count counts what is there so far.
func (h *History) Count() Count {
	h.mu.Lock()
	defer h.mu.Unlock()
	var c Count
	for _, op := range h.ops {
		a := op.Output.(Response)
		switch a.Outcome {
		case Refused:
			c.Refused++
			continue
		case InDoubt:
			c.InDoubt++
		case Promised:
			c.Promised++
		case Mismatch:
			c.Mismatches++
		}
		c.Operations++
		if a.Duplicate {
			c.Duplicates++
		}
	}
	return c
}

// Operations returns a copy of what is there so far.
func (h *History) Operations() []porcupine.Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]porcupine.Operation(nil), h.ops...)
}

// Settle returns the history with what it says itself about appends in doubt,
// and without what was refused.
//
// Every value is used for one append and its repeats. So, if its value was read
// at an offset, it happened when that was the end offset; and of several
// attempts in doubt it was the first, as well as any other, unless one that has
// an answer did it. An append whose value was not read, although all of the log
// below some offset was, did not happen below that: not before a read that found
// the log's end there. And an attempt of which nothing came can stand last.
//
// All of this follows from the history: if any order of its operations explains
// it, one that keeps to this does. So Settle changes no verdict (a test holds it
// to that). But it spares the checker to try what is in doubt in every order at
// every place.
func Settle(history []porcupine.Operation) []porcupine.Operation {
	known := map[int32]*evidence{}
	for _, op := range history {
		p := op.Input.(Request).Partition
		if known[p] == nil {
			known[p] = newEvidence()
		}
		known[p].add(op)
	}
	for _, k := range known {
		for k.read[k.end] {
			k.end++
		}
	}
	for _, op := range history {
		known[op.Input.(Request).Partition].addEnd(op)
	}
	settled := make([]porcupine.Operation, 0, len(history))
	for _, op := range history {
		r, a := op.Input.(Request), op.Output.(Response)
		if a.Outcome == Refused {
			continue
		}
		// Twice as much room on the clock, to place calls right after others.
		call := op.Call
		op.Call *= 2
		if a.Outcome.open() {
			k := known[r.Partition]
			a.Found, a.Unread = None, k.end
			if at, ok := k.offsets[r.Records[0]]; ok && k.landed[r.Records[0]] == call {
				a.Found = at
			} else {
				op.Call = max(op.Call, 2*k.endCall+1)
			}
		} else {
			op.Return *= 2
		}
		op.Output = a
		settled = append(settled, op)
	}
	return settled
}

// evidence is what the operations on a partition prove.
type evidence struct {
	offsets map[Digest]int64 // the lowest at which each value was read
	read    map[int64]bool   // by offset
	end     int64            // of what was read without a gap
	endCall int64            // of the last read that found the log's end at end, or below

	// landed is, by the first value, the call of the attempt at an append that
	// has happened if any has: the one that was answered so, or else the first
	// in doubt.
	landed map[Digest]int64
	proved map[Digest]bool // that one has, by an answer
}

func newEvidence() *evidence {
	return &evidence{
		offsets: map[Digest]int64{}, read: map[int64]bool{}, landed: map[Digest]int64{}, proved: map[Digest]bool{},
	}
}

func (k *evidence) add(op porcupine.Operation) {
	r, a := op.Input.(Request), op.Output.(Response)
	switch {
	case r.Kind == Read && a.Outcome == Done:
		for i, d := range a.Records {
			at := r.Offset + int64(i)
			k.read[at] = true
			if old, ok := k.offsets[d]; !ok || at < old {
				k.offsets[d] = at
			}
		}
	case r.Kind == Append && a.Outcome == Done && !a.Duplicate:
		k.landed[r.Records[0]], k.proved[r.Records[0]] = op.Call, true
	case r.Kind == Append && a.Outcome.open() && !k.proved[r.Records[0]]:
		if first, ok := k.landed[r.Records[0]]; !ok || op.Call < first {
			k.landed[r.Records[0]] = op.Call
		}
	}
}

func (k *evidence) addEnd(op porcupine.Operation) {
	r, a := op.Input.(Request), op.Output.(Response)
	if r.Kind == Read && a.Outcome == Done && len(a.Records) == 0 && r.Offset <= k.end {
		k.endCall = max(k.endCall, op.Call)
	}
}
