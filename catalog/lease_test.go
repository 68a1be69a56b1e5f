package catalog_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/catalogtest"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
)

// leaseMax is how long after a member was heard of last it is removed.
const leaseMax = session + session/4 + 300*time.Millisecond

// TestSilentMemberIsRemoved: one that is heard of through any node stays, and one
// that is not goes, in time, whichever node it joined through.
func TestSilentMemberIsRemoved(t *testing.T) {
	withConsumers(t, 3, func(t *testing.T, c *consumers) {
		here, there := c.join(0, "here"), c.join(1, "there")
		epoch := map[consumer]int64{here: memberOf(c.node(1).View(), here).Epoch, there: there.joined}
		for range 20 {
			for i := range c.nodes {
				time.Sleep(time.Second / 3)
				for m, e := range epoch {
					c.beat(i, m, e, time.Second)
				}
			}
		}
		c.mustBeMember(here)
		c.mustBeMember(there)
		for range 12 {
			time.Sleep(time.Second / 3)
			c.beat(2, there, epoch[there], time.Second)
		}
		if c.isMember(here) {
			t.Error("a member that is silent stays")
		}
		heard := time.Now()
		c.goneWithin(time.Minute, there)
		if silent := time.Since(heard); silent < session || silent > leaseMax {
			t.Errorf("a member was removed after %s of silence", silent)
		}
		if _, err := c.tryBeat(2, there, epoch[there], time.Second); !isFenced(err) {
			t.Errorf("the heartbeat of a member that is not any more: %v", err)
		}
	})
}

// TestHeartbeatIsOneRoundTrip: it costs the follower no request to the store and
// one to the leader, which all share that wait.
func TestHeartbeatIsOneRoundTrip(t *testing.T) {
	withConsumers(t, 2, func(t *testing.T, c *consumers) {
		var all []consumer
		for i := range 50 {
			all = append(all, c.join(1, fmt.Sprintf("member-%d", i)))
		}
		epochs := map[consumer]int64{}
		for _, m := range all {
			epochs[m] = memberOf(c.node(1).View(), m).Epoch
		}
		var mu sync.Mutex
		requests, beats := 0, 0
		c.network.SetHook(func(call catalogtest.Call) (catalogtest.Fault, bool) {
			mu.Lock()
			defer mu.Unlock()
			if call.Keep != nil {
				requests, beats = requests+1, beats+len(call.Keep.Heartbeats)
			}
			return catalogtest.Fault{Delay: 10 * time.Millisecond}, true
		})
		stored := c.nodes[1].faults.Count("")
		sent := time.Now()
		var wg sync.WaitGroup
		for _, m := range all {
			wg.Go(func() { c.beat(1, m, epochs[m], time.Second) })
		}
		wg.Wait()
		if took := time.Since(sent); took > 20*time.Millisecond {
			t.Errorf("50 heartbeats at once took %s, two round trips of 10 ms at most", took)
		}
		if requests > 2 || beats != 50 {
			t.Errorf("%d requests with %d heartbeats", requests, beats)
		}
		if more := c.nodes[1].faults.Count("") - stored; more > 0 {
			t.Errorf("the follower sent %d requests to the store", more)
		}
	})
}

// TestOldEpochDoesNotRenew: a member that does not take its new assignment is
// answered, sees it, and is removed all the same.
func TestOldEpochDoesNotRenew(t *testing.T) {
	withConsumers(t, 2, func(t *testing.T, c *consumers) {
		m := c.join(1, "first")
		c.mustPropose(0, catalog.CreateTopic{ID: catalog.TopicID{1}, Name: "other", Partitions: 1, Config: catalog.DefaultTopicConfig()})
		c.cut(0, 1) // node 1 does not hear of what comes
		second := c.join(0, "second")
		synctest.Wait()
		if memberOf(c.node(1).View(), m).Epoch != m.joined {
			t.Fatal("node 1 knows already")
		}
		c.network.Reset()
		began := time.Now()
		for c.isMember(m) && time.Since(began) < time.Minute {
			newest, err := c.tryBeat(1, m, m.joined, time.Second)
			if err == nil && newest == m.joined {
				t.Fatal("a member was told that its epoch is the newest")
			}
			time.Sleep(200 * time.Millisecond)
		}
		if stayed := time.Since(began); stayed > leaseMax {
			t.Errorf("a member that does not let go stayed for %s", stayed)
		}
		_ = second
	})
}

// TestDeposedLeaderNeedsProof: a leader that others deposed and that does not know
// takes no heartbeat on its own word.
func TestDeposedLeaderNeedsProof(t *testing.T) {
	withConsumers(t, 2, func(t *testing.T, c *consumers) {
		m := c.join(0, "m")
		c.isolate(0)
		c.mustPropose(1, catalog.AllocateProducerID{})
		if !c.leads(1) {
			t.Fatal("node 1 does not lead")
		}
		for range 40 {
			_, _ = c.tryBeat(0, m, m.joined, 200*time.Millisecond)
			time.Sleep(200 * time.Millisecond)
		}
		c.goneWithin(leaseMax, m)
	})
}

// TestHeartbeatOnAProofThatIsAQuarterOld: a claim lands right after the request by
// which a leader proves that it leads. A heartbeat that the leader takes at the
// last moment is good for a session all the same.
func TestHeartbeatOnAProofThatIsAQuarterOld(t *testing.T) {
	withConsumers(t, 2, func(t *testing.T, c *consumers) {
		m := c.join(0, "m")
		time.Sleep(session / 2)
		c.beat(0, m, m.joined, time.Second)
		c.isolate(0)
		claimed := make(chan struct{})
		var begun atomic.Bool
		c.nodes[1].faults.SetHook(func(op, key string) {
			if op == objstore.OpPutIfAbsent && strings.HasPrefix(key, slotKeys) && !begun.Swap(true) {
				if _, err := c.node(0).Confirm(context.Background()); err != nil {
					t.Error(err)
				}
				close(claimed)
			}
		})
		go func() { _, _ = c.node(1).Propose(context.Background(), catalog.AllocateProducerID{}) }()
		<-claimed
		synctest.Wait()
		proof := time.Now()
		if !c.leads(1) {
			t.Fatal("node 1 has not claimed right after the proof")
		}
		time.Sleep(session / 4)
		if _, err := c.tryBeat(0, m, m.joined, time.Millisecond); err != nil {
			t.Fatalf("not answered on a proof that is a quarter old: %v", err)
		}
		time.Sleep(time.Millisecond)
		if _, err := c.tryBeat(0, m, m.joined, time.Millisecond); err == nil {
			t.Error("answered on an older one")
		}
		c.goneWithin(time.Minute, m)
		if after := time.Since(proof); after < session+session/4 || after > leaseMax {
			t.Errorf("removed %s after the proof", after)
		}
	})
}

// TestClaimBeginsLeasesAnew: leaders die one after another, and each has not heard
// of anybody before.
func TestClaimBeginsLeasesAnew(t *testing.T) {
	withConsumers(t, 3, func(t *testing.T, c *consumers) {
		m := c.join(2, "m")
		for i := range 2 {
			c.beatFor(10*time.Second, 2, m)
			c.node(i).kill()
			c.beatFor(10*time.Second, 2, m)
			c.mustBeMember(m)
		}
		if !c.leads(2) {
			t.Error("the last node does not lead")
		}
		c.goneWithin(leaseMax, m)
	})
}

// TestSeveralLeadersInBetween: a member sent its last heartbeat to a leader, and
// then one leader follows another.
func TestSeveralLeadersInBetween(t *testing.T) {
	withConsumers(t, 3, func(t *testing.T, c *consumers) {
		for round := range 4 {
			m := c.join(round%3, fmt.Sprintf("m-%d", round))
			c.beat((round+1)%3, m, m.joined, time.Second)
			heard, claims := time.Now(), c.witness.claimCount()
			for time.Since(heard) < session {
				for i := range c.nodes {
					if c.leads(i) {
						_ = c.node(i).Resign(context.Background())
						c.node(i).stop()
						c.mustPropose((i+1)%3, catalog.AllocateProducerID{})
						c.nodes[i].startReady()
					}
				}
				time.Sleep(session / 8)
			}
			if more := c.witness.claimCount() - claims; more < 2 {
				t.Errorf("%d leaders in between", more)
			}
			c.goneWithin(leaseMax, m)
		}
	})
}

// TestPauseRemovesNobody: the leader's process stands still for a minute, as does
// everything that members send it.
func TestPauseRemovesNobody(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			withConsumers(t, nodes, func(t *testing.T, c *consumers) {
				alive, dead := c.join(0, "alive"), c.join(0, "dead")
				epoch := memberOf(c.node(0).View(), alive).Epoch
				c.mustPropose(0, catalog.SyncMember{Group: "g", Member: "alive", Epoch: epoch})
				time.Sleep(time.Second)
				c.beat(0, alive, epoch, time.Second)
				frozen := c.nodes[0].freezeAt(func(step) bool { return true })
				go func() { _, _ = c.node(0).Confirm(context.Background()) }()
				<-frozen
				time.Sleep(time.Minute)
				c.nodes[0].wake()
				for range 10 {
					newest, err := c.tryBeat(0, alive, epoch, time.Second)
					if err != nil {
						t.Errorf("after the pause: %v", err)
					}
					epoch = max(epoch, newest)
					time.Sleep(time.Second)
				}
				c.mustBeMember(alive)
				if c.isMember(dead) {
					t.Error("a member that died before the pause is still there")
				}
			})
		})
	}
}

// TestStoreOutageRemovesNobody: while the leader cannot prove that it leads it
// takes no heartbeats; that is not the members' silence.
func TestStoreOutageRemovesNobody(t *testing.T) {
	for name, outage := range map[string]faultstore.Outage{"refusing": faultstore.Refusing, "hanging": faultstore.Hanging} {
		t.Run(name, func(t *testing.T) {
			withConsumers(t, 1, func(t *testing.T, c *consumers) {
				m := c.join(0, "m")
				c.nodes[0].faults.SetOutage(outage)
				for range 20 {
					_, _ = c.tryBeat(0, m, m.joined, time.Second/2)
					time.Sleep(time.Second / 2)
				}
				c.nodes[0].faults.SetOutage(faultstore.Up)
				for range 20 {
					_, _ = c.tryBeat(0, m, m.joined, time.Second)
					time.Sleep(time.Second / 2)
				}
				c.mustBeMember(m)
				c.goneWithin(leaseMax, m)
			})
		})
	}
}

// TestRemovalEndsWithTheLead: a leader decides to remove a member, and is deposed
// before it writes that. The member lives, through another node.
func TestRemovalEndsWithTheLead(t *testing.T) {
	withConsumers(t, 2, func(t *testing.T, c *consumers) {
		time.Sleep(time.Second) // the leader writes nothing of its own any more
		m := c.join(1, "m")
		c.cut(1, 0) // requests of node 1; those of node 0 arrive
		for range 15 {
			if _, err := c.tryBeat(1, m, m.joined, session); err != nil {
				t.Errorf("through the node that others reach: %v", err)
			}
			time.Sleep(time.Second)
		}
		if !c.leads(1) {
			t.Error("node 1 does not lead")
		}
		if leads := c.node(0).View(); leads == nil || !c.isMember(m) {
			t.Error("a member was removed by a leader that was deposed")
		}
	})
}

// TestRemovalEndsWithTheLeadBetweenClaims: the same, and the deposed leader claims
// again before it could write anything.
func TestRemovalEndsWithTheLeadBetweenClaims(t *testing.T) {
	withConsumers(t, 2, func(t *testing.T, c *consumers) {
		m := c.join(1, "m")
		time.Sleep(session)
		// Node 0 sleeps with the removal, before it is written.
		removal := c.nodes[0].freezeAt(onOp(objstore.OpPutIfAbsent, false))
		<-removal
		for range 5 {
			c.beat(1, m, m.joined, session)
			time.Sleep(session / 4)
		}
		c.isolate(0)
		c.nodes[0].wake()
		c.mustPropose(0, catalog.AllocateProducerID{})
		if !c.leads(0) {
			t.Fatal("node 0 does not claim again")
		}
		c.beat(0, m, m.joined, time.Second)
		c.mustBeMember(m)
	})
}

// TestHeartbeatAwaitsTheRemoval: one that comes while the member's removal is being
// written is not taken before it is known what becomes of that.
func TestHeartbeatAwaitsTheRemoval(t *testing.T) {
	for name, lost := range map[string]bool{"written": false, "lost": true} {
		t.Run(name, func(t *testing.T) {
			withConsumers(t, 2, func(t *testing.T, c *consumers) {
				m := c.join(0, "m")
				hold := make(chan struct{})
				time.Sleep(session)
				begun := c.holdSlot(0, hold)
				<-begun
				if lost { // another node leads from here on, and has heard of the member
					c.cut(1, 0)
					c.beat(1, m, m.joined, session)
				}
				answered := make(chan error)
				go func() {
					_, err := c.tryBeat(0, m, m.joined, session)
					answered <- err
				}()
				time.Sleep(100 * time.Millisecond)
				select {
				case err := <-answered:
					t.Fatalf("answered %v while the removal was under way", err)
				default:
				}
				c.network.Reset()
				close(hold)
				if err := <-answered; isFenced(err) == lost {
					t.Errorf("answered %v", err)
				}
				if c.isMember(m) != lost {
					t.Errorf("is a member: %v", c.isMember(m))
				}
			})
		})
	}
}

// TestRemovalGoesBeforeWhatWaits: a heartbeat in the journal that was not written
// yet when its member's time was over comes too late, whatever waited first.
func TestRemovalGoesBeforeWhatWaits(t *testing.T) {
	withConsumers(t, 1, func(t *testing.T, c *consumers) {
		m := c.join(0, "m")
		hold := make(chan struct{})
		time.Sleep(session + session/4 - 200*time.Millisecond)
		other := c.holdSlot(0, hold)
		go func() { _, _ = c.node(0).Propose(context.Background(), catalog.AllocateProducerID{}) }()
		<-other
		sent := time.Now()
		p, err := c.node(0).Submit(catalog.KeepMember{Group: m.group, Member: m.id, Epoch: m.joined})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		close(hold)
		r, err := p.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Err == nil {
			c.witness.members.answered(m, sent)
			c.mustBeMember(m)
		} else if c.isMember(m) {
			t.Errorf("refused with %v, and still a member", r.Err)
		}
	})
}

// TestHeartbeatWithoutALeader becomes an edit, which makes a node lead; and a node
// that does not know the member looks before it says so.
func TestHeartbeatWithoutALeader(t *testing.T) {
	withConsumers(t, 3, func(t *testing.T, c *consumers) {
		c.isolate(2)
		m := c.join(1, "m")
		c.node(0).kill()
		c.node(1).kill()
		if memberOf(c.node(2).View(), m) != nil {
			t.Fatal("node 2 knows the member already")
		}
		c.network.Reset()
		c.beat(2, m, m.joined, session)
		if !c.leads(2) {
			t.Error("nobody leads")
		}
		if _, err := c.tryBeat(2, consumer{"g", "nobody", 1}, 1, time.Second); !isFenced(err) {
			t.Errorf("nobody's heartbeat: %v", err)
		}
	})
}

// TestManyMembersGoAtOnce: more than one entry may remove.
func TestManyMembersGoAtOnce(t *testing.T) {
	withConsumers(t, 1, func(t *testing.T, c *consumers) {
		var proposals []*catalog.Proposal
		for i := range 500 {
			p, err := c.node(0).Submit(catalog.JoinGroup{
				Group: fmt.Sprintf("g-%d", i%20), Member: fmt.Sprintf("m-%d", i), Topics: []string{"flights"}, SessionTimeoutMs: sessionMs,
			})
			if err != nil {
				t.Fatal(err)
			}
			proposals = append(proposals, p)
		}
		for _, p := range proposals {
			<-p.Done()
		}
		time.Sleep(leaseMax)
		if left := c.node(0).View().Counts().Members; left > 0 {
			t.Errorf("%d members are left", left)
		}
	})
}
