package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
)

const sessionMs, session = 3000, 3 * time.Second

// memberBeliefs is what members of groups may believe: that they are members
// until their session timeout after they sent the last heartbeat that was
// answered. No removal may land before that.
type memberBeliefs struct {
	tb testing.TB

	mu      sync.Mutex
	until   map[consumer]time.Time // guarded by mu
	removed map[consumer]time.Time // guarded by mu
	leaving map[consumer]bool      // guarded by mu
}

// consumer is a member under the epoch with which it joined.
type consumer struct {
	group, id string
	joined    int64
}

func newMemberBeliefs(tb testing.TB) *memberBeliefs {
	return &memberBeliefs{tb: tb, until: map[consumer]time.Time{}, removed: map[consumer]time.Time{}, leaving: map[consumer]bool{}}
}

// answered notes that something that renews the lease was answered.
func (b *memberBeliefs) answered(c consumer, sent time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	until := sent.Add(session)
	if at, gone := b.removed[c]; gone && at.Before(until) {
		b.tb.Errorf("%v was removed at %s, and was answered what it had sent at %s", c, at.Format(clockFormat), sent.Format(clockFormat))
	}
	if until.After(b.until[c]) {
		b.until[c] = until
	}
}

const clockFormat = "04:05.000"

// landed judges an edit when it lands.
func (b *memberBeliefs) landed(e catalog.Edit, r catalog.Result) {
	removal, ok := e.(catalog.RemoveMember)
	if b == nil || !ok || r.Err != nil {
		return
	}
	c := consumer{removal.Group, removal.Member, removal.Epoch}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.removed[c] = time.Now()
	if until := b.until[c]; time.Now().Before(until) && !b.leaving[c] {
		b.tb.Errorf("%v was removed at %s, and may believe to be a member until %s", c, time.Now().Format(clockFormat), until.Format(clockFormat))
	}
}

// heartbeat sends a heartbeat through a process, as a client does, and tells
// what a member makes of the answer: its newest epoch, if the lease was renewed
// or there is a newer one.
func (l *life) heartbeat(ctx context.Context, c consumer, epoch int64) (newest int64, err error) {
	n, beliefs := l.member.cluster.network, l.member.cluster.witness.members
	sent := time.Now()
	n.Thaw(l.member.address)
	err = l.KeepMember(ctx, c.group, c.id, epoch)
	var view *catalog.State
	if err == nil {
		view = l.View()
		if m := memberOf(view, c); m == nil || m.Epoch < epoch {
			view, err = l.Confirm(ctx)
		}
	}
	n.Thaw(l.member.address)
	if l.dead.Load() {
		return 0, errDead
	}
	if err != nil {
		return 0, err
	}
	m := memberOf(view, c)
	if m == nil || m.Joined != c.joined {
		return 0, catalog.ErrMemberFenced
	}
	if m.Epoch == epoch {
		beliefs.answered(c, sent)
	}
	return m.Epoch, nil
}

func memberOf(view *catalog.State, c consumer) *catalog.Member {
	if g := view.Group(c.group); g != nil {
		return g.Member(c.id)
	}
	return nil
}

// consumers is a cluster with members of groups, in virtual time. The first node
// leads.
type consumers struct {
	*cluster
	t     *testing.T
	nodes []*member
	topic catalog.TopicID
}

func withConsumers(t *testing.T, size int, test func(t *testing.T, c *consumers)) {
	synctest.Test(t, func(t *testing.T) {
		c := &consumers{cluster: newCluster(t), t: t, topic: uuid.New()}
		c.witness.members = newMemberBeliefs(t)
		for i := range size {
			m := c.newMember(fmt.Sprintf("node-%d", i))
			c.nodes = append(c.nodes, m)
			l := m.startReady()
			if i == 0 {
				c.mustPropose(0, catalog.CreateTopic{ID: c.topic, Name: "flights", Partitions: 4, Config: catalog.DefaultTopicConfig()})
			}
			go func() { <-l.ended }()
		}
		synctest.Wait()
		test(t, c)
		for _, m := range c.nodes {
			m.wake()
			if m.current() != nil {
				m.current().stop()
			}
		}
	})
}

func (c *consumers) node(i int) *life { return c.nodes[i].current() }

func (c *consumers) mustPropose(i int, e catalog.Edit) catalog.Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := c.node(i).Propose(ctx, e)
	if err != nil || r.Err != nil {
		c.t.Fatalf("%T through node %d: %v, %v", e, i, err, r.Err)
	}
	return r
}

// join makes a member through a node.
func (c *consumers) join(i int, id string) consumer {
	c.t.Helper()
	sent := time.Now()
	r := c.mustPropose(i, catalog.JoinGroup{Group: "g", Member: id, Topics: []string{"flights"}, SessionTimeoutMs: sessionMs})
	joined := consumer{"g", id, r.Epoch}
	c.witness.members.answered(joined, sent)
	return joined
}

// beat sends a heartbeat through a node, which must be answered within limit.
func (c *consumers) beat(i int, m consumer, epoch int64, limit time.Duration) {
	c.t.Helper()
	if _, err := c.tryBeat(i, m, epoch, limit); err != nil {
		c.t.Errorf("heartbeat of %v through node %d: %v", m, i, err)
	}
}

func (c *consumers) tryBeat(i int, m consumer, epoch int64, limit time.Duration) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return c.node(i).heartbeat(ctx, m, epoch)
}

// beatFor sends a heartbeat through a node every second.
func (c *consumers) beatFor(d time.Duration, i int, m consumer) {
	c.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		c.beat(i, m, m.joined, session/2)
	}
}

// isMember tells whether the journal has a member.
func (c *consumers) isMember(m consumer) bool {
	found := memberOf(c.witness.stateAt(c.witness.newest()), m)
	return found != nil && found.Joined == m.joined
}

func (c *consumers) mustBeMember(m consumer) {
	c.t.Helper()
	if !c.isMember(m) {
		c.t.Fatalf("%v was removed", m)
	}
}

// goneWithin waits until a member is removed.
func (c *consumers) goneWithin(d time.Duration, m consumer) {
	c.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if !c.isMember(m) {
			return
		}
	}
	c.t.Errorf("%v is still a member after %s of silence", m, d)
}

func (c *consumers) cut(from, to int) { c.network.Cut(c.nodes[from].address, c.nodes[to].address) }

func (c *consumers) isolate(i int) {
	for other := range c.nodes {
		if other != i {
			c.cut(i, other)
			c.cut(other, i)
		}
	}
}

// holdSlot holds the next PUT of a slot by a node until hold is closed. The
// channel returned is closed when it has come.
func (c *consumers) holdSlot(i int, hold <-chan struct{}) <-chan struct{} {
	begun := make(chan struct{})
	var came atomic.Bool
	c.nodes[i].faults.SetHook(func(op, key string) {
		if op == objstore.OpPutIfAbsent && strings.HasPrefix(key, slotKeys) && !came.Swap(true) {
			close(begun)
			<-hold
		}
	})
	return begun
}

func (c *consumers) leads(i int) bool { return c.witness.leader() == c.nodes[i].address }

func isFenced(err error) bool { return errors.Is(err, catalog.ErrMemberFenced) }
