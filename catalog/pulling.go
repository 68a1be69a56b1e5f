package catalog

import (
	"context"
	"errors"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
)

// pulled is the answer to a Pull.
type pulled struct {
	following *following
	after     journal.Slot // that it was asked for
	answer    PullAnswer
	err       error
}

// pull asks the leader for the next entries, unless it is being asked.
func (c *Catalog) pull() {
	f := c.following
	if !c.followsSomebody() || f.pulling || time.Now().Before(f.pullAfter) {
		return
	}
	f.pulling = true
	request := PullRequest{Address: c.cfg.Address, After: c.replica.last, Nonce: c.replica.nonce, Wait: c.cfg.PullWait}
	if c.resigning.Load() {
		request.Address = ""
	}
	ctx, cancel := context.WithTimeout(f.ctx, c.cfg.PullWait+pullGrace)
	f.endPull = cancel
	c.peerTasks.Go(func() {
		defer cancel()
		answer, err := c.peers.Pull(ctx, f.address, request)
		select {
		case c.pulls <- pulled{following: f, after: request.After, answer: answer, err: err}:
		case <-f.ctx.Done():
		}
	})
}

// withdraw ends the Pull under way, and with it the leader's belief that this
// node could lead next.
func (c *Catalog) withdraw() {
	if f := c.following; f != nil && f.pulling {
		f.pullEnded = true
		f.endPull()
	}
}

func (c *Catalog) takePull(ctx context.Context, p pulled) error {
	f := p.following
	f.pulling = false
	ended := f.pullEnded
	f.pullEnded = false
	if f != c.following || p.err != nil && ended {
		return nil
	}
	if p.err != nil {
		c.pullFailed(p.err)
		return nil
	}
	if f.stalled = p.answer.Stalled; f.stalled < c.cfg.TakeoverMin {
		c.heard()
	}
	f.lost, f.nobody, f.backoff = false, false, 0
	err := c.applyPulled(ctx, p.after, p.answer.Entries)
	if p.answer.Resigned && f == c.following {
		c.claimNow = p.answer.Successor == c.cfg.Address && !c.resigning.Load()
		f.pullAfter = time.Now().Add(peerBackoffMin)
		c.loseLeader(errResigned)
	}
	return err
}

var errResigned = errors.New("the leader hands over")

func (c *Catalog) pullFailed(err error) {
	f := c.following
	var notLeader *NotLeaderError
	switch {
	case errors.Is(err, ErrBehind):
		c.heard()
		f.behind = true
	case errors.As(err, &notLeader):
		f.behind = notLeader.Epoch > f.epoch
	}
	f.backoff = min(max(2*f.backoff, peerBackoffMin), peerBackoffMax)
	f.pullAfter = time.Now().Add(f.backoff)
	c.loseLeader(err)
}

// applyPulled applies entries that follow the slot after. The replica may have
// read some of them from the bucket meanwhile.
func (c *Catalog) applyPulled(ctx context.Context, after journal.Slot, encoded [][]byte) error {
	var entries []journal.Entry
	for i, body := range encoded {
		slot := after + 1 + journal.Slot(i)
		if slot <= c.replica.last {
			continue
		}
		e, err := journal.Decode(slot, body)
		if err != nil {
			c.loseLeader(err) // the bucket has the truth
			break
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return nil
	}
	c.metrics.pulledEntries.Add(float64(len(entries)))
	changed := c.newTouched()
	err := c.replica.applyAll(entries, changed)
	c.publish(ctx, time.Time{})
	c.watch.notify(changed, c.replica.state)
	return err
}

// awaitPulled gives the entries up to a slot, which was seen in the bucket,
// some time to come from the leader.
func (c *Catalog) awaitPulled(ctx context.Context, upto journal.Slot) error {
	if !c.hearsLeader() {
		return nil
	}
	timer := time.NewTimer(pullHeadStart)
	defer timer.Stop()
	for c.replica.last < upto && c.hearsLeader() {
		c.pull()
		select {
		case p := <-c.pulls:
			if err := c.takePull(ctx, p); err != nil {
				return err
			}
		case a := <-c.answers:
			c.takeAnswer(a)
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
