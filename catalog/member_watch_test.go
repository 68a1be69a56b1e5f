package catalog_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
)

// TestWaitMember: whoever waits for a member is woken, on every node, by all that
// gives it another epoch or takes it away, and by nothing else.
func TestWaitMember(t *testing.T) {
	withConsumers(t, 2, func(t *testing.T, c *consumers) {
		m, other := c.join(1, "m"), consumer{}
		wait := func(epoch int64) []chan error {
			var ended []chan error
			for i := range c.nodes {
				ch := make(chan error, 1)
				go func() { ch <- c.node(i).WaitMember(t.Context(), m.group, m.id, epoch) }()
				ended = append(ended, ch)
			}
			synctest.Wait()
			return ended
		}
		epoch := m.joined
		for _, change := range []struct {
			what string
			wake bool
			do   func()
		}{
			{"a topic that it does not read", false, func() {
				c.mustPropose(0, catalog.CreateTopic{ID: uuid.New(), Name: "rivers", Partitions: 1, Config: catalog.DefaultTopicConfig()})
			}},
			{"another member joins", true, func() { other = c.join(0, "other") }},
			{"the other is up to date", false, func() {
				c.mustPropose(0, catalog.SyncMember{Group: "g", Member: "other", Epoch: memberOf(c.node(0).View(), other).Epoch})
			}},
			{"more partitions", true, func() {
				c.mustPropose(0, catalog.AlterTopic{ID: c.topic, Partitions: 40, Config: catalog.DefaultTopicConfig()})
			}},
			{"the topic goes", true, func() { c.mustPropose(1, catalog.DeleteTopic{ID: c.topic}) }},
			{"the topic comes back", true, func() {
				c.mustPropose(1, catalog.CreateTopic{ID: uuid.New(), Name: "flights", Partitions: 2, Config: catalog.DefaultTopicConfig()})
			}},
			{"it leaves", true, func() { c.mustPropose(1, catalog.RemoveMember{Group: "g", Member: "m"}) }},
		} {
			ended := wait(epoch)
			change.do()
			synctest.Wait()
			for i, ch := range ended {
				select {
				case err := <-ch:
					if !change.wake || err != nil {
						t.Errorf("%s: node %d is woken with %v", change.what, i, err)
					}
				default:
					if change.wake {
						t.Errorf("%s: node %d is not woken", change.what, i)
					}
				}
			}
			if now := memberOf(c.node(0).View(), m); now != nil {
				epoch = now.Epoch
			}
			for _, e := range []int64{m.joined, epoch} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, _ = c.node(0).heartbeat(ctx, m, e)
				_, _ = c.node(0).heartbeat(ctx, other, e)
				cancel()
			}
		}
	})
}

// TestWaitMemberWithoutALeader: a node that nobody sends anything looks for itself.
func TestWaitMemberWithoutALeader(t *testing.T) {
	withConsumers(t, 2, func(t *testing.T, c *consumers) {
		m := c.join(1, "m")
		c.isolate(1)
		ended := make(chan error, 1)
		go func() { ended <- c.node(1).WaitMember(t.Context(), m.group, m.id, m.joined) }()
		synctest.Wait()
		time.Sleep(time.Second)
		c.join(0, "other")
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(2 * time.Second):
			t.Error("not woken")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.node(1).WaitMember(ctx, "g", "m", memberOf(c.node(1).View(), m).Epoch); err != context.DeadlineExceeded {
			t.Errorf("nothing happened, and it got %v", err)
		}
	})
}
