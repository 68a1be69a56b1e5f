package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/catalogtest"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
)

// schedule is a cluster in which one thing goes wrong in a given way; the seed
// decides on the rest. Every answer is judged as in TestSimulation.
type schedule struct {
	*simulation
	pending sync.WaitGroup
	writers map[*member]*writer
}

// writer commits under one node id through one node.
type writer struct {
	id   catalog.NodeID
	last uint64
}

// runSchedule runs a schedule over the seeds, with three nodes that are up and
// follow node 0, and compares all nodes with the journal in the end.
func runSchedule(t *testing.T, run func(s *schedule)) {
	simulateSeeds(t, func(t *testing.T, seed uint64) {
		s := newSchedule(t, seed)
		s.createTopic()
		for _, m := range s.members {
			m.startReady()
		}
		for _, m := range s.members {
			s.register(m)
		}
		// Node 0 leads from here on, whoever was first.
		s.leadBy(s.members[0])
		run(s)
		s.finish()
	})
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	s := &schedule{
		simulation: &simulation{
			cluster: newCluster(t), seed: seed, rng: rand.New(rand.NewPCG(seed, 11)), topic: uuid.New(), done: make(chan struct{}),
		},
		writers: map[*member]*writer{},
	}
	t.Cleanup(s.pending.Wait)
	slots := 3 + s.rng.IntN(6)
	for i := range 3 {
		m := s.newMember(fmt.Sprintf("node-%d", i))
		m.steps = steps{seed: seed + uint64(i)<<32, latencyMax: time.Duration(1+s.rng.IntN(8)) * time.Millisecond}
		m.config = func(c *catalog.Config) { c.SnapshotSlots = slots }
		s.members = append(s.members, m)
	}
	// A little of everything goes wrong on the network in every other schedule.
	if s.rng.IntN(2) == 0 {
		s.network.Randomize(seed, catalogtest.Probabilities{
			LoseRequest: 0.02, LoseAnswer: 0.03, Repeat: 0.05, ArriveLate: 0.02, LateMax: 20 * time.Second,
			Delay: 0.3, DelayMax: 50 * time.Millisecond,
		})
	}
	return s
}

// finish ends all faults, and expects that every node is live and holds the
// journal.
func (s *schedule) finish() {
	s.giveUpIfFailed()
	s.ends = time.Now()
	s.calmDown()
	for _, m := range s.members {
		m.faults.Land()
	}
	s.pending.Wait()
	for _, m := range s.members {
		if m.current() == nil {
			m.startReady()
		}
	}
	s.expectLive()
	s.verify()
	for _, m := range s.members {
		s.up(m).stop()
	}
}

func (s *schedule) patience(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// register makes a writer for a node.
func (s *schedule) register(m *member) {
	id := uuid.New()
	s.mustPropose(m, catalog.RegisterNode{Node: id})
	s.writers[m] = &writer{id: id}
}

// mustPropose proposes until it has an answer.
func (s *schedule) mustPropose(m *member, e catalog.Edit) catalog.Result {
	ctx, cancel := s.patience(time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if r, err := s.up(m).propose(ctx, e); err == nil {
			return r
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.tb.Fatalf("%s cannot commit %T", m.address, e)
	return catalog.Result{}
}

// leadBy gives the lead to a node: nobody else has any edits while all others
// that might lead are asked to.
func (s *schedule) leadBy(m *member) {
	for range 10 {
		s.write(m)
		if s.leader() == m {
			return
		}
		for _, other := range s.members {
			if other != m && s.leader() == other {
				l := s.up(other)
				l.stop()
				s.write(m)
				other.startReady()
			}
		}
	}
	s.tb.Fatalf("%s does not take the lead", m.address)
}

// leader returns the node that wrote the newest claim.
func (s *schedule) leader() *member {
	writer := s.witness.leader()
	for _, m := range s.members {
		if m.address == writer {
			return m
		}
	}
	return nil
}

// nextCommit returns the next commit of a node's writer.
func (s *schedule) nextCommit(m *member) catalog.CommitSegment {
	w := s.writers[m]
	w.last++
	return s.commitOf(w.id, w.last-1, w.last, s.rng)
}

// write commits something through a node, whatever it takes.
func (s *schedule) write(m *member) { s.settle(m, s.nextCommit(m)) }

// settle sends a commit until its fate is known, as a client does. One that
// comes before its predecessor, which is under way, is sent again.
func (s *schedule) settle(m *member, edit catalog.CommitSegment) {
	for deadline := time.Now().Add(time.Minute); !s.attempt(m, edit, 10*time.Second) && !s.tb.Failed(); edit.Object.ID = newObjectID() {
		if time.Now().After(deadline) {
			s.tb.Errorf("not live: %s cannot commit within a minute", m.address)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// attempt sends a commit once and returns whether its fate is known.
func (s *schedule) attempt(m *member, edit catalog.CommitSegment, patience time.Duration) bool {
	l := m.current()
	if l == nil {
		return false
	}
	ctx, cancel := s.patience(patience)
	defer cancel()
	r, err := l.propose(ctx, edit)
	var order *catalog.CommitOrderError
	if err != nil || errors.As(r.Err, &order) && order.Last < edit.After {
		return false
	}
	s.judge(edit, r)
	return true
}

// begin sends a commit through a node and goes on; the answer is judged when it
// comes, and then the commit is sent until its fate is known.
func (s *schedule) begin(m *member) {
	edit := s.nextCommit(m)
	s.pending.Go(func() {
		if !s.attempt(m, edit, 5*time.Minute) {
			edit.Object.ID = newObjectID()
			s.settle(m, edit)
		}
	})
}

// ask asks a node for a current view, and goes on.
func (s *schedule) ask(m *member) {
	l := s.up(m)
	s.pending.Go(func() {
		ctx, cancel := s.patience(time.Minute)
		defer cancel()
		l.confirm(ctx)
	})
}

// moveOn commits through the nodes given until the slots up to one, claims
// aside, are below two snapshots and deleted, and a few more.
func (s *schedule) moveOn(upto journal.Slot, through ...*member) {
	for i := range 200 {
		s.giveUpIfFailed()
		s.write(through[i%len(through)])
		time.Sleep(20 * time.Millisecond) // a snapshot may be under way
		if s.witness.hasPruned(upto) {
			for range s.rng.IntN(5) {
				s.write(through[0])
			}
			return
		}
	}
	s.tb.Fatalf("slots up to %d are still there, the journal is at %d: %s", upto, s.witness.newest(), strings.Join(s.witness.Keys(), " "))
}

// giveUpIfFailed ends a schedule that has failed: nodes that are told wrong
// things may do so for ever.
func (s *schedule) giveUpIfFailed() {
	if s.tb.Failed() {
		s.tb.FailNow()
	}
}

// await waits until something has happened, which takes seconds at most.
func (s *schedule) await(what string, happened func() bool) {
	for deadline := time.Now().Add(time.Minute); !happened(); time.Sleep(time.Millisecond) {
		s.giveUpIfFailed()
		if time.Now().After(deadline) {
			s.tb.Fatalf("not within a minute: %s", what)
		}
	}
}

// up returns the life of a node that is up, or will be within a minute.
func (s *schedule) up(m *member) *life {
	s.await(m.address+" is up", func() bool { return m.current() != nil })
	return m.current()
}

// awaitSprung waits until a trap has frozen its node; false after a minute.
func awaitSprung(sprung <-chan struct{}) bool {
	select {
	case <-sprung:
		return true
	case <-time.After(time.Minute):
		return false
	}
}

// onOp fits steps of an operation on slots.
func onOp(op string, sent bool) func(step) bool {
	return func(at step) bool { return at.op == op && at.sent == sent && strings.HasPrefix(at.key, slotKeys) }
}

// lostAnswers lets a node's conditional PUTs land unseen, and its reads fail, so
// that the slot that it writes stays unsettled.
func lostAnswers(m *member) {
	m.faults.Add(
		faultstore.Rule{Op: objstore.OpPutIfAbsent, Prefix: slotKeys, Times: faultstore.Always, Fault: faultstore.LoseResponse()},
		faultstore.Rule{Op: objstore.OpGet, Prefix: slotKeys, Times: faultstore.Always, Fault: faultstore.FailBefore()},
	)
}
