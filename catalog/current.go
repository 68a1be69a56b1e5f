package catalog

import (
	"context"
	"errors"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/objstore"
)

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
	if c.leader {
		sent := time.Now()
		switch taker, err := c.journal.Read(ctx, c.replica.last+1); {
		case errors.Is(err, journal.ErrNoEntry):
			c.publish(ctx, sent)
			c.answer(questions)
			return nil
		case err != nil:
			c.giveBackQuestions(questions)
			return err
		default:
			c.deposed(taker)
		}
	}
	if err := c.follow(ctx); err != nil {
		c.giveBackQuestions(questions)
		return err
	}
	c.answer(questions)
	return nil
}

// follow makes the replica current as of the call: it lists what comes after
// the replica's last entry and applies that, whether it comes from the leader
// or is read from the bucket. If the last of it is a claim it lists again, since
// that claim may have fallen into a deleted slot; then newer slots are there.
func (c *Catalog) follow(ctx context.Context) error {
	for {
		sent := time.Now()
		slots, err := c.journal.InfosAfter(ctx, c.replica.last, objstore.ListPageMax)
		if err != nil {
			return err
		}
		if len(slots) > 0 {
			if err := c.catchUp(ctx, slots); err != nil {
				return err
			}
		}
		if len(slots) < objstore.ListPageMax && (len(slots) == 0 || !c.replica.atClaim || mutant.On(mutant.SkipListAfterFound)) {
			c.publish(ctx, sent)
			return nil
		}
	}
}

// catchUp applies slots that a listing found.
func (c *Catalog) catchUp(ctx context.Context, slots []journal.SlotInfo) error {
	if err := c.awaitPulled(ctx, slots[len(slots)-1].Slot); err != nil {
		return err
	}
	for len(slots) > 0 && slots[0].Slot <= c.replica.last {
		slots = slots[1:]
	}
	changed := c.newTouched()
	err := c.replica.followSlots(ctx, c.journal, slots, c.cfg.readAhead(), changed)
	c.publish(ctx, time.Time{})
	c.watch.notify(changed, c.replica.state)
	return err
}
