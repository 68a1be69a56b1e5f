package catalog_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/catalogtest"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
)

var (
	simulationSeed  = flag.Uint64("simulation.seed", 0, "run this seed alone")
	simulationSeeds = flag.Int("simulation.seeds", 100, "how many seeds to run of each schedule")
	simulationLog   = flag.Bool("simulation.log", false, "show what the nodes log")
)

// failedSeedsMax is after how many seeds that failed the rest is left out.
const failedSeedsMax = 3

// simulateSeeds runs a schedule for many seeds, as many at once as there are
// cores. A seed decides on all faults; how goroutines interleave, and how long a
// node waits before it claims, differs a little from run to run.
func simulateSeeds(t *testing.T, run func(t *testing.T, seed uint64)) {
	t.Helper()
	first, last := uint64(1), uint64(*simulationSeeds)
	if *simulationSeed != 0 {
		first, last = *simulationSeed, *simulationSeed
	}
	var failed atomic.Int32
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(inner *testing.T) {
			inner.Parallel()
			if failed.Load() >= failedSeedsMax {
				inner.SkipNow()
			}
			defer func() { // a bubble that fails does not return
				if inner.Failed() {
					failed.Add(1)
					inner.Logf("alone: go test ./catalog -run '^%s$' -simulation.seed=%d -simulation.log", t.Name(), seed)
				}
			}()
			synctest.Test(inner, func(t *testing.T) { run(t, seed) })
		})
	}
}

const (
	simulatedPartitions = 3
	// simulatedTime is how long faults go on in a schedule.
	simulatedTime = 45 * time.Second
	// recoveryMax is how long after the last fault every node must have committed.
	recoveryMax = 20 * time.Second
)

// TestSimulation lets several nodes commit through one bucket and one network
// whose requests fail in every way that there is, in virtual time, while nodes
// end, begin anew and sleep at every step, are cut off from each other and from
// the store, and hand the lead over, with snapshots every few slots. No answer
// that anybody gets may be wrong, and when faults stop, every node commits again
// within a bounded time.
func TestSimulation(t *testing.T) {
	var reached tally
	t.Cleanup(func() { reached.check(t) }) // all seeds have run then
	simulateSeeds(t, func(t *testing.T, seed uint64) {
		s := newSimulation(t, seed)
		s.createTopic()
		for i, m := range s.members {
			s.nodes.Go(func() { s.supervise(m, rand.New(rand.NewPCG(seed, uint64(1000+i)))) })
		}
		for i, m := range s.members {
			c := &client{sim: s, rng: rand.New(rand.NewPCG(seed, uint64(2000+i))), home: m}
			s.clients.Go(c.run)
		}
		s.disturb()
		s.calmDown()
		s.clients.Wait()
		s.expectLive()
		s.verify()
		close(s.done)
		s.nodes.Wait()
		reached.add(s)
	})
}

// tally counts what the schedules came upon, so that they are known to reach
// what they are made for.
type tally struct {
	mu      sync.Mutex
	seeds   int
	reached map[string]int
}

func (c *tally) add(s *simulation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seeds++
	if c.reached == nil {
		c.reached = map[string]int{}
	}
	for what, n := range map[string]int{
		"slots": len(s.witness.chain), "claims": s.witness.claims, "void claims": s.witness.void,
		"slots written again": s.witness.repeats, "entries from a leader": s.witness.handedOut,
		"requests between nodes": s.network.Count(), "ends": int(s.crashes.Load()), "sleeps": int(s.sleeps.Load()),
		"leads handed over": int(s.handedOver.Load()),
	} {
		c.reached[what] += n
	}
}

// tallySeedsMin is from how many seeds on a schedule should have come upon
// everything.
const tallySeedsMin = 100

// rare needs a claimer that cannot reach the leader and sleeps while that one
// moves on; the named schedules see to it.
const rare = "void claims"

func (c *tally) check(t *testing.T) {
	t.Logf("%d schedules: %v", c.seeds, c.reached)
	for what, n := range c.reached {
		if n == 0 && c.seeds >= tallySeedsMin && what != rare {
			t.Errorf("no schedule came upon: %s", what)
		}
	}
}

type simulation struct {
	*cluster
	seed    uint64
	rng     *rand.Rand // of the goroutine that runs the schedule
	members []*member
	topic   catalog.TopicID
	ends    time.Time

	nodes, clients sync.WaitGroup
	done           chan struct{} // closed when nodes must end for good
	calm           atomic.Bool   // no more faults
	producers      sync.Map      // ids that were given out
	handedOver     atomic.Int64  // leads
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{
		cluster: newCluster(t), seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), topic: uuid.New(),
		ends: time.Now().Add(simulatedTime), done: make(chan struct{}),
	}
	storeFaults := faultstore.Probabilities{
		FailBefore: 0.01, FailAfter: 0.015, LoseRequest: 0.01, LoseResponse: 0.02, Throttle: 0.01,
		Hang: 0.01, Conflict: 0.015, ExistsByOwnWrite: 0.015, LandLate: 0.02, CutRead: 0.01,
		Delay: 0.1, DelayMax: 300 * time.Millisecond, LateMax: 5 * time.Second,
	}
	for i := range 2 + s.rng.IntN(4) {
		m := s.newMember(fmt.Sprintf("node-%d", i))
		m.faults.Randomize(seed+uint64(i)<<32, storeFaults)
		m.steps = steps{
			seed: seed + uint64(i)<<32, latencyMax: 8 * time.Millisecond,
			crash: 0.002, sleep: 0.003, sleepMax: 15 * time.Second, downtimeMax: 5 * time.Second,
		}
		slots := 4 + s.rng.IntN(12)
		m.config = func(c *catalog.Config) { c.SnapshotSlots = slots }
		s.members = append(s.members, m)
	}
	s.network.Randomize(seed, catalogtest.Probabilities{
		LoseRequest: 0.02, LoseAnswer: 0.03, Repeat: 0.03, ArriveLate: 0.02, LateMax: 20 * time.Second,
		Delay: 0.3, DelayMax: 100 * time.Millisecond,
	})
	return s
}

func (s *simulation) over() bool { return time.Now().After(s.ends) }

// createTopic makes the topic that all clients commit to.
func (s *simulation) createTopic() {
	m := s.newMember("first")
	l := m.startReady()
	defer l.stop()
	create := catalog.CreateTopic{ID: s.topic, Name: "flights", Partitions: simulatedPartitions, Config: catalog.DefaultTopicConfig()}
	if r, err := l.propose(context.Background(), create); err != nil || r.Err != nil {
		s.tb.Fatalf("create topic: %v, %v", err, r.Err)
	}
}

// supervise starts a node anew whenever it has ended.
func (s *simulation) supervise(m *member, rng *rand.Rand) {
	for {
		l := m.start()
		select {
		case <-s.done:
			l.stop()
			return
		case <-l.ended:
			l.stop()
		}
		if !s.calm.Load() {
			time.Sleep(time.Duration(rng.Int64N(int64(m.steps.downtimeMax))))
		}
	}
}

// disturb does things to nodes and ways between them until the schedule is over.
func (s *simulation) disturb() {
	for !s.over() {
		time.Sleep(time.Duration(s.rng.IntN(4000)) * time.Millisecond)
		m, other := s.members[s.rng.IntN(len(s.members))], s.members[s.rng.IntN(len(s.members))]
		lasts := time.Duration(s.rng.IntN(10_000)) * time.Millisecond
		bothWays := s.rng.IntN(2) == 0
		switch s.rng.IntN(8) {
		case 0:
			if l := m.current(); l != nil {
				l.dead.Store(true)
				l.cancel()
			}
		case 1:
			s.network.Freeze(m.address)
			time.AfterFunc(2*lasts, func() { s.network.Resume(m.address) })
		case 2, 3:
			s.network.Cut(m.address, other.address)
			if bothWays {
				s.network.Cut(other.address, m.address)
			}
			time.AfterFunc(lasts, func() {
				s.network.Mend(m.address, other.address)
				s.network.Mend(other.address, m.address)
			})
		case 4:
			outage := faultstore.Hanging
			if bothWays {
				outage = faultstore.Refusing
			}
			m.faults.SetOutage(outage)
			time.AfterFunc(lasts, func() { m.faults.SetOutage(faultstore.Up) })
		case 5:
			skew := 60 * 365 * 24 * time.Hour
			if bothWays {
				skew = -skew
			}
			m.faults.SetSkew(skew)
			time.AfterFunc(lasts, func() { m.faults.SetSkew(0) })
		default:
			if l := m.current(); l != nil {
				s.handOver(l, bothWays)
			}
		}
	}
}

// handOver lets a node resign, and end if that is wanted.
func (s *simulation) handOver(l *life, ends bool) {
	l.resigned.Store(true)
	s.clients.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if leads := s.witness.leader() == l.member.address; l.Resign(ctx) == nil && leads && s.witness.leader() != l.member.address {
			s.handedOver.Add(1)
		}
		if ends {
			l.cancel()
		}
	})
}

// calmDown ends all faults but those that are under way already. A node that has
// resigned takes nothing of others any more, and so ends as a drained one does.
func (s *simulation) calmDown() {
	s.calm.Store(true)
	s.stepsEnd.Store(true)
	s.network.Reset()
	for _, m := range s.members {
		m.faults.Reset()
		if l := m.current(); l != nil && l.resigned.Load() {
			l.cancel()
		}
	}
}

// expectLive commits something through every node.
func (s *simulation) expectLive() {
	deadline := s.ends.Add(recoveryMax + 4*time.Second) // disturb may end a pause late
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	var all sync.WaitGroup
	for i, m := range s.members {
		all.Go(func() {
			create := catalog.CreateTopic{Name: fmt.Sprintf("last-%d", i), Partitions: 1, Config: catalog.DefaultTopicConfig()}
			for ctx.Err() == nil {
				l := m.current()
				if l == nil {
					time.Sleep(50 * time.Millisecond)
					continue
				}
				create.ID = uuid.New()
				r, err := l.propose(ctx, create)
				if err == nil && r.Err == nil {
					return
				}
				s.logger.Info("not live yet", "node", m.address, "err", err)
				time.Sleep(50 * time.Millisecond)
			}
			s.tb.Errorf("not live: %s cannot commit %s after the last fault", m.address, recoveryMax)
		})
	}
	all.Wait()
}

// verify compares every node, and a fresh one, with the journal.
func (s *simulation) verify() {
	time.Sleep(30 * time.Second) // late writes have landed
	fresh := s.newMember("fresh")
	l := fresh.startReady()
	defer l.stop()
	for _, m := range append(s.members, fresh) {
		l := m.current()
		if l == nil {
			s.tb.Errorf("%s is down in the end", m.address)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		view := l.confirm(ctx)
		cancel()
		if view == nil {
			s.tb.Errorf("%s cannot confirm in the end", m.address)
			continue
		}
		s.witness.checkWhole(m.address, view)
		if err := catalog.CheckAll(view); err != nil {
			s.tb.Errorf("%s: invariant: %v", m.address, err)
		}
	}
	s.witness.checkPhantoms()
	j, err := journal.New(journal.DefaultConfig(), s.witness, "000", s.logger, nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.witness.checkSnapshots(j)
}
