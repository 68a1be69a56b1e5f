package catalog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// calmTime is how long members go on after the last fault.
const calmTime = 20 * time.Second

// TestLeaseSimulation lets members of groups heartbeat through any of several
// nodes, pause, die and join anew, under all that befalls nodes in TestSimulation.
// No removal lands before its member may know of it. When faults have stopped,
// those that live stay, and those that died go.
func TestLeaseSimulation(t *testing.T) {
	var kept, expired atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d heartbeats were answered, %d members were removed", kept.Load(), expired.Load())
		if *simulationSeed == 0 && (kept.Load() == 0 || expired.Load() == 0) {
			t.Error("nothing was put to the test")
		}
	})
	simulateSeeds(t, func(t *testing.T, seed uint64) {
		s := newSimulation(t, seed)
		s.witness.members = newMemberBeliefs(t)
		s.createTopic()
		for i, m := range s.members {
			s.nodes.Go(func() { s.supervise(m, rand.New(rand.NewPCG(seed, uint64(1000+i)))) })
		}
		p := &population{simulation: s, stop: make(chan struct{})}
		for i := range 6 {
			s.clients.Go(func() { p.live(i, rand.New(rand.NewPCG(seed, uint64(3000+i)))) })
		}
		s.disturb()
		s.calmDown()
		s.expectLive()
		time.Sleep(calmTime)
		p.check()
		close(p.stop)
		s.clients.Wait()
		s.verify()
		close(s.done)
		s.nodes.Wait()
		kept.Add(p.kept.Load())
		expired.Add(int64(len(s.witness.members.removed)))
	})
}

// population is the members of the groups of a simulation.
type population struct {
	*simulation
	stop chan struct{}
	kept atomic.Int64 // heartbeats that were answered

	lives sync.Map // consumers that live, with when they joined
}

func (p *population) stopped() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// live is one consumer after another.
func (p *population) live(place int, rng *rand.Rand) {
	for n := 0; !p.stopped(); n++ {
		p.liveOnce(fmt.Sprintf("g-%d", place%2), fmt.Sprintf("m-%d-%d", place, n), rng)
	}
}

// liveOnce joins, and heartbeats until the consumer dies, or is told that it is no
// member. While faults last it dies at times, and pauses.
func (p *population) liveOnce(group, id string, rng *rand.Rand) {
	var c consumer
	var epoch int64
	pause := func(max time.Duration) { time.Sleep(time.Duration(rng.Int64N(int64(max)))) }
	for !p.stopped() {
		l := p.members[rng.IntN(len(p.members))].current()
		if l == nil {
			pause(200 * time.Millisecond)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), session/2)
		sent := time.Now()
		switch newest, err := int64(0), error(nil); {
		case c.joined == 0:
			r, joinErr := p.propose(ctx, l, catalog.JoinGroup{Group: group, Member: id, Topics: []string{"flights"}, SessionTimeoutMs: sessionMs})
			if joinErr == nil && r.Err == nil {
				c, epoch = consumer{group, id, r.Epoch}, r.Epoch
				p.witness.members.answered(c, sent)
				p.lives.Store(c, time.Now())
			}
		default:
			newest, err = l.heartbeat(ctx, c, epoch)
			switch {
			case isFenced(err):
				cancel()
				p.lives.Delete(c)
				if since := time.Since(p.ends); p.calm.Load() && since > recoveryMax {
					p.tb.Errorf("%v lives, and was removed %s after the last fault", c, since)
				}
				return
			case err == nil && newest == epoch:
				p.kept.Add(1)
			case err == nil:
				sent = time.Now()
				if r, syncErr := p.propose(ctx, l, catalog.SyncMember{Group: group, Member: id, Epoch: newest}); syncErr == nil && r.Err == nil {
					epoch = newest
					p.witness.members.answered(c, sent)
				}
			}
		}
		cancel()
		if !p.calm.Load() {
			switch rng.IntN(40) {
			case 0:
				p.lives.Delete(c)
				pause(5 * time.Second)
				return // it dies
			case 1:
				pause(10 * time.Second)
			}
		}
		pause(session / 3)
	}
}

// propose commits an edit as a client of a process does.
func (p *population) propose(ctx context.Context, l *life, e catalog.Edit) (catalog.Result, error) {
	p.network.Thaw(l.member.address)
	r, err := l.Propose(ctx, e)
	p.network.Thaw(l.member.address)
	if l.dead.Load() {
		return r, errDead
	}
	return r, err
}

// check compares the members in the journal with those that live. A join whose
// answer was lost may land long after it was repeated, and then stands for nobody;
// so what does not agree must do so a lease later.
func (p *population) check() {
	wrong := p.disagreements()
	if len(wrong) > 0 {
		time.Sleep(leaseMax + time.Second)
	}
	still := p.disagreements()
	for c, what := range wrong {
		if still[c] == what {
			p.tb.Errorf("%v %s, %s after the last fault", c, what, time.Since(p.ends))
		}
	}
}

// disagreements says of consumers what the journal and they do not agree on.
func (p *population) disagreements() map[consumer]string {
	state := p.witness.stateAt(p.witness.newest())
	found, wrong := map[consumer]bool{}, map[consumer]string{}
	for _, g := range state.Groups("", "", 10) {
		for _, m := range g.Members {
			c := consumer{g.Name, m.ID, m.Joined}
			found[c] = true
			if _, lives := p.lives.Load(c); !lives {
				wrong[c] = "is dead and still a member"
			}
		}
	}
	p.lives.Range(func(key, _ any) bool {
		if c := key.(consumer); !found[c] {
			wrong[c] = "lives and is no member"
		}
		return true
	})
	return wrong
}
