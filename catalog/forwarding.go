package catalog

import (
	"context"
	"errors"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/mutant"
)

// flight is a forwarded request.
type flight struct {
	seq       uint64
	proposals []*Proposal
	layouts   []*commitLayout // of the commits among them, to decode their outcomes
	results   []Result        // once answered
	slot      journal.Slot    // that holds the edits, once answered

	done chan struct{} // closed when all of its edits are settled
}

// forwarded is the answer to a flight.
type forwarded struct {
	following *following
	flight    *flight
	answer    ForwardAnswer
	err       error
}

// mayForward tells whether there is a leader to whom another request may go.
func (c *Catalog) mayForward() bool {
	f := c.following
	return c.hearsLeader() && (len(f.flights) == 0 || len(f.flights) < c.cfg.ForwardsMax && f.seq-f.flights[0].seq < batchesKept-1)
}

// forward sends what waits in the queue to the leader.
func (c *Catalog) forward() {
	proposals := c.takeProposals(c.cfg.ForwardBytes)
	if len(proposals) == 0 {
		return
	}
	f := c.following
	f.seq++
	request := ForwardRequest{Epoch: f.epoch, Session: f.session, Seq: f.seq}
	fl := &flight{seq: f.seq, proposals: proposals, done: make(chan struct{})}
	request.Edits, fl.layouts = appendForwarded(nil, proposals)
	f.flights = append(f.flights, fl)
	c.metrics.forwardedEdits.Add(float64(len(proposals)))
	c.peerTasks.Go(func() { c.deliver(f, fl, request) })
}

// deliver sends one request until the leader has answered it, or it is settled
// without, or its epoch has ended. To repeat it is safe, since a leader takes each
// number once; and one that says it does not lead may do so in a moment, when its
// claim was seen before it knows itself.
func (c *Catalog) deliver(f *following, fl *flight, request ForwardRequest) {
	for backoff := peerBackoffMin; ; backoff = min(2*backoff, peerBackoffMax) {
		ctx, cancel := context.WithTimeout(f.ctx, c.cfg.ForwardTimeout)
		answer, err := c.peers.Forward(ctx, f.address, request)
		cancel()
		if errors.Is(err, ErrBusy) {
			backoff = peerBackoffMin
		} else {
			select {
			case c.answers <- forwarded{following: f, flight: fl, answer: answer, err: err}:
			case <-fl.done: // the journal said first what became of it
				return
			case <-f.ctx.Done():
				return
			}
		}
		if err == nil {
			return
		}
		select {
		case <-time.After(backoff):
		case <-fl.done:
			return
		case <-f.ctx.Done():
			return
		}
	}
}

func (c *Catalog) takeAnswer(a forwarded) {
	if a.following != c.following {
		return
	}
	err := a.err
	if err == nil {
		a.flight.results, err = decodeOutcomes(a.answer.Outcomes, a.flight.layouts)
	}
	if err != nil {
		// Whether the leader took it is told by the journal, once a new epoch
		// has begun.
		c.loseLeader(err)
		return
	}
	a.flight.slot = a.answer.Slot
	c.heard()
	c.settleFlights()
}

// settleFlights settles answered edits that the replica holds: whoever is told
// of a commit then finds it on this node.
func (c *Catalog) settleFlights() {
	f := c.following
	if f == nil {
		return
	}
	kept := f.flights[:0]
	for _, fl := range f.flights {
		if fl.results != nil && (fl.slot <= c.replica.last || mutant.On(mutant.SkipAwaitReplica)) {
			for i, p := range fl.proposals {
				c.settle(p, fl.results[i])
			}
		}
		if fl.settled() {
			close(fl.done)
		} else {
			kept = append(kept, fl)
		}
	}
	clear(f.flights[len(kept):])
	f.flights = kept
}

// settled tells that the outcome of every edit was found in the journal.
func (fl *flight) settled() bool {
	for _, p := range fl.proposals {
		if !p.settled() {
			return false
		}
	}
	return true
}

// settle resolves an edit that the replica holds, unless it is.
func (c *Catalog) settle(p *Proposal, r Result) {
	if p.settled() {
		return
	}
	p.resolve(r, nil)
	c.stuckSince = time.Now()
}

// settleLanded settles the edits whose outcome the applied entries held.
func (c *Catalog) settleLanded() {
	found := c.landings.found
	c.landings.found = nil
	for _, l := range found {
		c.settle(l.proposal, l.result)
	}
}

// landings finds in applied entries the edits that this node has forwarded.
type landings struct {
	following *following // whose flights are looked for
	found     []landing

	flight     *flight // whose edits come next
	next, left int     // the next of them, and how many there are
}

// landing is an edit with what became of it.
type landing struct {
	proposal *Proposal
	result   Result
}

// add takes one edit of an entry, in the order in which they stand there.
func (l *landings) add(e Edit, r Result) {
	if l == nil {
		return
	}
	if m, ok := e.(Forwarded); ok {
		l.flight = l.following.flightOf(m)
		l.next, l.left = int(m.First), int(m.Count)
		return
	}
	if l.flight == nil {
		return
	}
	l.found = append(l.found, landing{proposal: l.flight.proposals[l.next], result: r})
	l.next++
	if l.left--; l.left == 0 || l.next == len(l.flight.proposals) {
		l.flight = nil
	}
}

// count is how many were found.
func (l *landings) count() int {
	if l == nil {
		return 0
	}
	return len(l.found)
}

// cut forgets what was found beyond n: the entries were not applied after all.
func (l *landings) cut(n int) {
	if l != nil {
		l.found, l.flight = l.found[:n], nil
	}
}

// flightOf returns the flight that an entry names, nil if it is another node's.
func (f *following) flightOf(m Forwarded) *flight {
	if f == nil || m.Session != f.session {
		return nil
	}
	for _, fl := range f.flights {
		if fl.seq == m.Seq && int(m.First) < len(fl.proposals) {
			return fl
		}
	}
	return nil
}

// newTouched also looks for the edits of this node.
func (c *Catalog) newTouched() touched {
	c.landings = landings{following: c.following, found: c.landings.found}
	t := newTouched()
	t.landings = &c.landings
	return t
}
