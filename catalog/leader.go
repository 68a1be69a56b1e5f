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

// loop owns the replica: it loads it, follows the journal, answers questions,
// and writes entries when there are edits to commit. It sends one request at a
// time, so that an edit, and a question, that comes while a request is under
// way is served by the next one.
func (c *Catalog) loop(ctx context.Context) error {
	for {
		if err := c.reload(ctx); err != nil {
			return err
		}
		err := c.serve(ctx)
		if !errors.Is(err, errReload) {
			return err
		}
	}
}

// reload replaces the replica by a fresh one, however long the store is away.
func (c *Catalog) reload(ctx context.Context) error {
	c.leader = false
	for lost := 0; ; {
		sent := time.Now()
		r, err := load(ctx, c.journal, c.cfg.ReadAheadSlots)
		if err == nil {
			c.replica = r
			c.publish(sent)
			c.watch.notifyAll()
			c.logger.Info("catalog loaded", "slot", r.last, "epoch", r.epoch)
			return nil
		}
		if errors.Is(err, errReload) {
			if lost++; lost == lostLoadsMax {
				return fmt.Errorf("load the catalog: after slot %d: %w", r.last, ErrSlotMissing)
			}
		} else {
			lost = 0
		}
		if err := c.giveUpOrPause(ctx, "load the catalog", err); err != nil {
			return err
		}
	}
}

// lostLoadsMax is how many loads in a row may lose their place. Snapshots and
// deletions that overtake a load do that once or twice.
const lostLoadsMax = 25

// giveUpOrPause returns an error that nothing can mend; after others it waits.
func (c *Catalog) giveUpOrPause(ctx context.Context, verb string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if beyondRepair(err) {
		return fmt.Errorf("%s: %w", verb, err)
	}
	c.logger.Warn("catalog waits and tries again", "verb", verb, "error", err)
	select {
	case <-time.After(c.cfg.RetryDelay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beyondRepair tells of errors that no wait will mend: damage, and what a newer
// version wrote.
func beyondRepair(err error) bool {
	for _, target := range []any{new(*DivergedError), new(*CorruptError), new(*InvariantError), new(*journal.CorruptError)} {
		if errors.As(err, target) {
			return true
		}
	}
	return errors.Is(err, ErrNewerEdit) || errors.Is(err, ErrNewerSnapshot)
}

// publish shows the replica to readers, as proved current by a request sent at
// confirmed.
func (c *Catalog) publish(confirmed time.Time) {
	if old := c.view.Load(); old != nil && old.confirmed.After(confirmed) {
		confirmed = old.confirmed
	}
	first := c.view.Swap(&view{state: c.replica.state, confirmed: confirmed}) == nil
	if first {
		close(c.ready)
	}
	c.metrics.observe(c.replica, c.leader)
}

// serve works until the replica must be loaded anew (errReload) or cannot go on.
func (c *Catalog) serve(ctx context.Context) error {
	timer := time.NewTimer(c.cfg.WatchInterval)
	defer timer.Stop()
	for {
		var err error
		switch pending, asked := c.pending(); {
		case pending && c.leader:
			err = c.writeSlot(ctx)
		case pending && !time.Now().Before(c.claimAfter):
			err = c.claim(ctx)
		case asked:
			err = c.confirm(ctx)
		default:
			err = c.idle(ctx, timer, pending)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, errReload) {
			return err
		}
		if err := c.giveUpOrPause(ctx, "serve the catalog", err); err != nil {
			return err
		}
	}
}

func (c *Catalog) pending() (edits, questions bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) > 0, len(c.questions) > 0
}

// idle waits for something to do, and looks for entries of others while
// somebody watches.
func (c *Catalog) idle(ctx context.Context, timer *time.Timer, pending bool) error {
	wait := c.cfg.WatchInterval
	if pending {
		wait = min(wait, time.Until(c.claimAfter))
	}
	timer.Reset(wait)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.wake:
		return nil
	case <-timer.C:
	}
	if c.leader {
		c.expire()
	}
	if v := c.view.Load(); c.watch.any() && time.Since(v.confirmed) >= c.cfg.WatchInterval {
		return c.confirm(ctx)
	}
	return nil
}

// expire sends ExpireProducers now and then, and at once again while there is
// more to forget than one edit may.
func (c *Catalog) expire() {
	more := false
	if c.expiry != nil {
		select {
		case <-c.expiry.Done():
			more = c.expiry.result.More
		default:
			return
		}
	}
	if !more && time.Since(c.lastExpiry) < c.cfg.ExpireInterval {
		return
	}
	c.lastExpiry = time.Now()
	var err error
	if c.expiry, err = c.Submit(ExpireProducers{}); err != nil {
		c.logger.Debug("expiry put off", "error", err)
	}
}

// takeQuestions returns what waits for the next request to the store.
func (c *Catalog) takeQuestions() []*question {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.questions
	c.questions = nil
	return taken
}

// giveBackQuestions puts questions back that a request did not answer.
func (c *Catalog) giveBackQuestions(taken []*question) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.questions = append(taken, c.questions...)
}

func (c *Catalog) answer(questions []*question) {
	for _, q := range questions {
		q.view = c.replica.state
		close(q.done)
	}
}

// confirm makes the replica current and answers the questions that waited when
// it began. A leader looks at the slot it would write next: nothing there
// proves that it still leads. Everyone else lists.
func (c *Catalog) confirm(ctx context.Context) error {
	questions := c.takeQuestions()
	if mutant.On(mutant.SkipConfirm) {
		c.answer(questions)
		return nil
	}
	sent := time.Now()
	if c.leader {
		switch taker, err := c.journal.Read(ctx, c.replica.last+1); {
		case errors.Is(err, journal.ErrNoEntry):
			c.publish(sent)
			c.answer(questions)
			return nil
		case err != nil:
			c.giveBackQuestions(questions)
			return err
		default:
			c.deposed(taker)
		}
	}
	sent = time.Now()
	if err := c.follow(ctx, sent); err != nil {
		c.giveBackQuestions(questions)
		return err
	}
	c.answer(questions)
	return nil
}

// follow applies what other writers committed.
func (c *Catalog) follow(ctx context.Context, sent time.Time) error {
	changed, err := c.replica.follow(ctx, c.journal, c.cfg.ReadAheadSlots)
	if err == nil {
		c.publish(sent)
	}
	c.watch.notify(changed)
	return err
}

// claimsInARowMax bounds the claims that are tried without a pause.
const claimsInARowMax = 20

func (c *Catalog) deposed(taker journal.Entry) {
	c.leader = false
	spread := c.cfg.ClaimDelayMax - c.cfg.ClaimDelayMin
	c.claimAfter = time.Now().Add(c.cfg.ClaimDelayMin + rand.N(spread+1))
	c.metrics.deposed.Inc()
	c.logger.Info("lost the lead", "slot", taker.Slot, "epoch", taker.Epoch, "leader", taker.Writer)
}

// claim begins an epoch of our own. A leader under load leaves no slot free for
// longer than a PUT takes, so a claim has to come right after a listing, and
// again at once if the leader was faster; some tries in a row, so that two busy
// nodes do take turns. Losing them all is no error: it claims again later if need be.
func (c *Catalog) claim(ctx context.Context) error {
	for tries := 1; ; tries++ {
		if err := c.follow(ctx, time.Now()); err != nil {
			return err
		}
		taker, err := c.claimNext(ctx)
		if err != nil || c.leader {
			return err
		}
		if tries == claimsInARowMax {
			c.deposed(taker)
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
	c.publish(sent)
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

// takeProposals moves the edits that fit into one entry out of the queue.
func (c *Catalog) takeProposals() []*Proposal {
	c.mu.Lock()
	defer c.mu.Unlock()
	var taken []*Proposal
	size, used := 0, 0
	for _, p := range c.queue {
		if size+p.size > entryPayloadMax {
			break
		}
		used++
		c.queueBytes -= p.size
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
// sent again, once it is known whether they are in doubt.
//
// If the replica can follow on from the slot, the entry in it belongs to the
// journal, and ours does not. If it cannot, the entry may be a void claim in a
// slot that was ours, committed while this process slept, and deleted since.
// To send them again is safe: no edit does harm when it is applied twice, and
// commits are told apart by their numbers.
func (c *Catalog) resend(ctx context.Context, proposals []*Proposal) error {
	for {
		err := c.follow(ctx, time.Now())
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
	proposals := c.takeProposals()
	if len(proposals) == 0 {
		return nil
	}
	// Before the PUT is sent: what it proves holds for these questions only.
	questions := c.takeQuestions()
	next := *c.replica
	next.state = c.replica.state.Clone()
	e := c.nextEntry(journal.Edits)
	next.state.Advance(e.Time)
	edits := make([]Edit, len(proposals))
	results := make([]Result, len(proposals))
	changed := newTouched()
	for i, p := range proposals {
		edits[i] = p.edit
		results[i] = Apply(next.state, p.edit)
		if err := CheckTouched(next.state, p.edit); err != nil {
			// A bug of ours. Nothing of it was written, and nothing will be.
			c.fail(proposals, questions)
			return &DivergedError{Slot: e.Slot, Reason: err.Error()}
		}
		changed.add(p.edit)
	}
	e.Payload = AppendEdits(nil, edits, results)
	next.place(&e)

	sent := time.Now()
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
	if written.First {
		c.publish(sent)
		c.answer(questions)
	} else {
		// A repeat or a read-back proves that the entry is there, not that
		// nobody came after it.
		c.publish(time.Time{})
		c.giveBackQuestions(questions)
	}
	c.watch.notify(changed)
	for i, p := range proposals {
		p.resolve(results[i], nil)
	}
	c.metrics.edits.Add(float64(len(edits)))
	c.metrics.editsPerSlot.Observe(float64(len(edits)))
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
