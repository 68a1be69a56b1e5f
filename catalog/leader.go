package catalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/mutant"
)

// claimsInARowMax bounds the claims that are tried without a pause.
const claimsInARowMax = 20

func (c *Catalog) deposed(taker journal.Entry) {
	c.stepDown()
	c.pauseClaims()
	c.metrics.deposed.Inc()
	if taker.Kind == journal.Claim && taker.Writer == c.cfg.Address {
		c.logger.Warn("another node advertises this node's address", "address", c.cfg.Address, "epoch", taker.Epoch)
	}
	c.logger.Info("lost the lead", "slot", taker.Slot, "epoch", taker.Epoch, "leader", taker.Writer)
}

// stepDown ends the lead. What other nodes forwarded and is not settled is left
// to them: they know from the journal what became of it. What only this lead
// might write is not written.
func (c *Catalog) stepDown() {
	c.leader = false
	c.relay.stepDown()
	c.leases.end()
	if v := c.view.Load(); v != nil {
		deposed := *v
		deposed.leads = false
		c.view.Store(&deposed)
	}
	c.dropForwarded()
}

// pauseClaims leaves the lead to others for a while.
func (c *Catalog) pauseClaims() {
	spread := c.cfg.ClaimDelayMax - c.cfg.ClaimDelayMin
	c.claimAfter = time.Now().Add(c.cfg.ClaimDelayMin + rand.N(spread+1))
}

// claim begins an epoch of our own, unless it turns out that another node has
// begun one, or that the leader writes though it cannot be reached. A leader
// under load leaves no slot free for longer than a PUT takes, so a claim has to
// come right after a listing, and again at once if the leader was faster.
// Losing them all is no error: it claims again later if need be.
func (c *Catalog) claim(ctx context.Context) error {
	epoch, last := c.replica.epoch, c.replica.last
	invited := c.claimNow
	c.claimNow = false
	for tries := 1; ; tries++ {
		if err := c.follow(ctx); err != nil {
			return err
		}
		if f := c.following; f != nil {
			if c.replica.epoch != epoch {
				return nil // somebody else was faster; this node follows now
			}
			if c.replica.last > last && !invited && c.followsSomebody() && time.Now().Before(c.desertedAt()) {
				c.heardOf()
				return nil
			}
		}
		taker, err := c.claimNext(ctx)
		if err != nil || c.leader {
			return err
		}
		if tries == claimsInARowMax {
			c.metrics.deposed.Inc()
			c.logger.Info("could not take the lead", "slot", taker.Slot, "epoch", taker.Epoch, "leader", taker.Writer)
			c.pauseClaims()
			return nil
		}
	}
}

// claimNext claims the slot after the replica's last, or returns whose it is.
func (c *Catalog) claimNext(ctx context.Context) (taker journal.Entry, err error) {
	questions := c.takeQuestions()
	e := c.nextEntry(journal.Claim)
	e.Epoch++
	sent := time.Now()
	_, err = c.journal.WriteClaim(ctx, &e)
	var taken *journal.TakenError
	switch {
	case errors.As(err, &taken):
		c.giveBackQuestions(questions)
		return taken.Entry, nil
	case err != nil:
		// Void, or not known to be valid: either way this replica may not
		// write. A claim of ours that turns out to have landed is found when
		// the journal is read again, as any other's would be.
		c.giveBackQuestions(questions)
		c.logger.Warn("claim failed", "slot", e.Slot, "epoch", e.Epoch, "error", err)
		return e, errReload
	}
	next := *c.replica
	next.state = c.replica.state.Clone()
	if err := next.apply(&e, newTouched()); err != nil {
		return e, err
	}
	c.replica, c.leader = &next, true
	c.relay.lead(&e)
	// Not before the claim is known to be there: leases begin with it.
	now := time.Now()
	c.leases.begin(next.state, now)
	c.leaseScan = leaseScan{last: now}
	// What a leader before may have put off is due soon, but not first of all.
	c.lastExpiry = time.Now().Add(c.cfg.WatchInterval - c.cfg.ExpireInterval)
	c.proposeLevel()
	c.publish(ctx, sent)
	c.answer(questions)
	c.metrics.claims.Inc()
	c.logger.Info("took the lead", "slot", e.Slot, "epoch", e.Epoch)
	return e, nil
}

func (c *Catalog) nextEntry(kind journal.Kind) journal.Entry {
	return journal.Entry{
		Slot:   c.replica.last + 1,
		Kind:   kind,
		Epoch:  c.replica.epoch,
		Nonce:  journal.NewNonce(),
		Prev:   c.replica.nonce,
		Time:   max(c.journal.StoreTime(), c.replica.state.Time()),
		Writer: c.cfg.Address,
	}
}

// takeProposals moves edits out of the queue: those that fit into sizeMax bytes
// when they are encoded, and one in any case.
func (c *Catalog) takeProposals(sizeMax int) []*Proposal {
	c.mu.Lock()
	defer c.mu.Unlock()
	var taken []*Proposal
	size, used := 0, 0
	for _, p := range c.queue {
		if size+p.size > sizeMax && len(taken) > 0 {
			break
		}
		used++
		c.queueBytes -= p.size
		if !c.mayWrite(p) {
			p.withdraw()
			continue
		}
		if !p.stage.CompareAndSwap(proposalQueued, proposalSent) {
			continue // its waiter gave it up
		}
		size += p.size
		taken = append(taken, p)
	}
	c.queue = append(c.queue[:0:0], c.queue[used:]...)
	return taken
}

// resend puts edits whose slot another entry took back where they were, to be
// sent again, once it is known whether they are in doubt. Those of other nodes are
// left to these.
//
// If the replica can follow on from the slot, the entry in it belongs to the
// journal, and ours does not. If it cannot, the entry may be a void claim in a
// slot that was ours, committed while this process slept, and deleted since.
// To send them again is safe: no edit does harm when it is applied twice, and
// commits are told apart by their numbers.
func (c *Catalog) resend(ctx context.Context, proposals []*Proposal) error {
	proposals = c.ownProposals(proposals)
	for {
		err := c.follow(ctx)
		if err == nil || errors.Is(err, errReload) {
			c.giveBackProposals(proposals, err != nil)
			return err
		}
		if err := c.giveUpOrPause(ctx, "follow the journal", err); err != nil {
			for _, p := range proposals {
				p.resolve(Result{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, err))
			}
			return err
		}
	}
}

// ownProposals returns the edits that came from this node and may be written in
// another epoch. It fails those of other nodes as unknown, and withdraws those
// that were for this lead alone.
func (c *Catalog) ownProposals(proposals []*Proposal) []*Proposal {
	own := proposals[:0:0]
	for _, p := range proposals {
		switch {
		case p.origin != nil && !mutant.On(mutant.SkipFailForwarded):
			p.resolve(Result{}, fmt.Errorf("%w: this node leads no more", ErrUnknownOutcome))
		case !c.mayWrite(p):
			p.withdraw()
		default:
			own = append(own, p)
		}
	}
	return own
}

// dropForwarded takes out of the queue what is not for this node to write in
// another epoch.
func (c *Catalog) dropForwarded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = c.ownProposals(c.queue)
	c.queueBytes = 0
	for _, p := range c.queue {
		c.queueBytes += p.size
	}
}

func (c *Catalog) giveBackProposals(taken []*Proposal, inDoubt bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range taken {
		if inDoubt {
			p.inDoubt.Store(true)
		}
		p.stage.Store(proposalQueued)
		c.queueBytes += p.size
	}
	c.queue = append(taken, c.queue...)
}

// writeSlot commits what waits in the queue as one entry.
func (c *Catalog) writeSlot(ctx context.Context) error {
	proposals := c.refuseByLevel(c.takeProposals(entryPayloadMax))
	if len(proposals) == 0 {
		return nil
	}
	// Before the PUT is sent: what it proves holds for these questions only.
	questions := c.takeQuestions()
	next := *c.replica
	next.state = c.replica.state.Clone()
	e := c.nextEntry(journal.Edits)
	next.state.Advance(e.Time)
	edits := markForwarded(proposals)
	results := make([]Result, len(edits))
	changed := newTouched()
	var renewed []renewal
	for i, edit := range edits {
		results[i] = Apply(next.state, edit)
		if err := CheckTouched(next.state, edit); err != nil {
			// A bug of ours. Nothing of it was written, and nothing will be.
			c.fail(proposals, questions)
			return &DivergedError{Slot: e.Slot, Reason: err.Error()}
		}
		changed.add(edit, results[i])
		renewed = renewals(renewed, next.state, edit, results[i])
	}
	e.Payload = AppendEdits(nil, edits, results)
	next.place(&e)

	sent := time.Now()
	c.relay.writing(sent)
	written, err := c.journal.Write(ctx, &e)
	var taken *journal.TakenError
	switch {
	case errors.As(err, &taken):
		c.giveBackQuestions(questions)
		c.deposed(taken.Entry)
		return c.resend(ctx, proposals)
	case err != nil:
		// Write gives up only when the catalog stops.
		outcome := ErrUnknownOutcome
		if errors.Is(err, journal.ErrNotWritten) {
			outcome = ErrNotCommitted
		}
		for _, p := range proposals {
			p.resolve(Result{}, fmt.Errorf("%w: %w", outcome, err))
		}
		c.giveBackQuestions(questions)
		return err
	}
	c.replica = &next
	c.relay.append(&e)
	c.leases.applied(renewed, time.Now())
	if mutant.On(mutant.SkipFirstPut) {
		written.First, questions = true, append(questions, c.takeQuestions()...)
	}
	if written.First {
		c.publish(ctx, sent)
		c.answer(questions)
	} else {
		// A repeat or a read-back proves that the entry is there, not that
		// nobody came after it.
		c.publish(ctx, time.Time{})
		c.giveBackQuestions(questions)
	}
	c.watch.notify(changed, c.replica.state)
	waiting := proposals
	for i, edit := range edits {
		if _, ok := edit.(Forwarded); ok {
			continue
		}
		waiting[0].slot = e.Slot
		c.noteRemoval(waiting[0], results[i])
		waiting[0].resolve(results[i], nil)
		waiting = waiting[1:]
	}
	c.metrics.edits.Add(float64(len(proposals)))
	c.metrics.editsPerSlot.Observe(float64(len(proposals)))
	c.maybeSnapshot()
	return nil
}

// fail ends edits that will not be written.
func (c *Catalog) fail(proposals []*Proposal, questions []*question) {
	for _, p := range proposals {
		p.resolve(Result{}, fmt.Errorf("%w: it would break an invariant", ErrNotCommitted))
	}
	c.giveBackQuestions(questions)
}
