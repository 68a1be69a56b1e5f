package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
)

// loop owns the replica: it loads it, follows the journal, answers questions,
// and brings edits into the journal, as the leader or through it. It sends one
// request to the store at a time, so that an edit, and a question, that comes
// while one is under way is served by the next one. Requests to other nodes run
// beside it, in goroutines that end before it does.
func (c *Catalog) loop(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer c.peerTasks.Wait()
	defer cancel()
	for {
		if err := c.reload(ctx); err != nil {
			return err
		}
		err := c.serve(ctx)
		if !errors.Is(err, errReload) {
			return err
		}
		c.logger.Info("the catalog is loaded anew", "slot", c.replica.last, "reason", err)
	}
}

// reload replaces the replica by a fresh one, however long the store is away.
func (c *Catalog) reload(ctx context.Context) error {
	if c.leader {
		c.stepDown()
	}
	for lost := 0; ; {
		sent := time.Now()
		r, err := load(ctx, c.journal, c.cfg.readAhead(), c.known)
		if err == nil {
			c.replica = r
			c.snapshotBytes.Store(r.loadedBytes)
			c.publish(ctx, sent)
			c.watch.notifyAll(r.state)
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
	return errors.Is(err, ErrNewerEdit) || errors.Is(err, ErrNewerSnapshot) || errors.Is(err, ErrNewerLevel)
}

// publish shows the replica to readers, as proved current by a request sent at
// confirmed, and then settles the edits of this node that it holds.
func (c *Catalog) publish(ctx context.Context, confirmed time.Time) {
	if old := c.view.Load(); old != nil && old.confirmed.After(confirmed) {
		confirmed = old.confirmed
	}
	r := c.replica
	first := c.view.Swap(&view{state: r.state, confirmed: confirmed, leads: c.leader, epoch: r.epoch, leader: r.leader}) == nil
	if first {
		close(c.ready)
	}
	c.heartbeats.turn(r.epoch)
	c.metrics.observe(c.replica, c.leader)
	c.settleLanded()
	c.settleFlights()
	c.followNewest(ctx)
}

// serve works until the replica must be loaded anew (errReload) or cannot go on.
func (c *Catalog) serve(ctx context.Context) error {
	timer := time.NewTimer(c.cfg.WatchInterval)
	defer timer.Stop()
	for {
		err := c.step(ctx, timer)
		if err == nil {
			continue
		}
		if errors.Is(err, errReload) {
			return err
		}
		c.leaseScan.disturbed = true
		if err := c.giveUpOrPause(ctx, "serve the catalog", err); err != nil {
			return err
		}
	}
}

// step does the next thing that is to be done.
func (c *Catalog) step(ctx context.Context, timer *time.Timer) error {
	if err := c.takeArrivals(ctx); err != nil {
		return err
	}
	if c.leader {
		// Also when it is never idle.
		c.expire()
		c.endLeases()
	}
	edits, asked := c.pending()
	c.noteWork(edits)
	switch {
	case c.leader && edits:
		return c.writeSlot(ctx)
	case c.handsOver():
		return c.handOver(ctx, timer)
	case edits && c.mayForward():
		c.forward()
		return nil
	case c.claimDue(edits):
		return c.claim(ctx)
	case asked:
		return c.confirm(ctx)
	case c.lookDue():
		return c.look(ctx)
	default:
		return c.idle(ctx, timer, edits)
	}
}

func (c *Catalog) pending() (edits, questions bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) > 0, len(c.questions) > 0
}

// idle waits for something to do, and looks for entries of others while
// somebody watches.
func (c *Catalog) idle(ctx context.Context, timer *time.Timer, edits bool) error {
	timer.Reset(max(0, min(c.cfg.WatchInterval, time.Until(c.nextTurn(edits)))))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.wake:
		return nil
	case a := <-c.answers:
		c.takeAnswer(a)
		return nil
	case p := <-c.pulls:
		return c.takePull(ctx, p)
	case <-timer.C:
	}
	if v := c.view.Load(); !c.hearsLeader() && c.watch.any() && time.Since(v.confirmed) >= c.cfg.WatchInterval {
		return c.confirm(ctx)
	}
	return nil
}

// expire sends Expire now and then, and at once again while there is
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
	if c.expiry, err = c.Submit(Expire{}); err != nil {
		c.logger.Debug("expiry put off", "error", err)
	}
}
