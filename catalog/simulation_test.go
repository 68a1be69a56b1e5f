package catalog_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/recordbatch"
)

var (
	simulationSeed  = flag.Uint64("simulation.seed", 0, "run this seed alone")
	simulationSeeds = flag.Int("simulation.seeds", 150, "how many seeds to run")
)

// TestSimulation lets several nodes commit through one bucket whose requests
// fail in every way that there is, in virtual time, with nodes that end and
// begin anew and with snapshots every few slots. At the end a replica of the
// healed bucket must hold every acknowledged commit where its writer was told,
// once, and nothing that its writer was told is not there.
func TestSimulation(t *testing.T) {
	if *simulationSeed != 0 {
		runSimulation(t, *simulationSeed)
		return
	}
	for i := range *simulationSeeds {
		seed := uint64(i + 1)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { runSimulation(t, seed) })
	}
}

func runSimulation(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := newSimulatedWorld()
		w.createTopic(t)

		var clients sync.WaitGroup
		for n := range 2 + rng.IntN(2) {
			s := w.newNode(n, seed+uint64(n)<<32)
			clients.Go(func() { s.produce(t, rand.New(rand.NewPCG(seed, uint64(n)))) })
		}
		clients.Wait()
		w.verify(t)
	})
}

const simulatedPartitions = 3

// simulatedWorld is the bucket, and what its users were told.
type simulatedWorld struct {
	store *memstore.Store
	topic catalog.TopicID

	mu     sync.Mutex
	acked  [simulatedPartitions]catalog.Offset // end of what was acknowledged
	landed map[commitKey]landing               // committed, with the offset that its writer was told
	sent   map[catalog.ObjectID]commitKey      // every object that was part of a commit
}

// commitKey names a commit, which may have been sent several times with
// different objects.
type commitKey struct {
	node catalog.NodeID
	upto uint64
}

type landing struct {
	partition int32
	base      catalog.Offset // -1: its writer was told that it is committed, not where
	records   int32
}

func newSimulatedWorld() *simulatedWorld {
	return &simulatedWorld{
		store:  memstore.New(),
		topic:  uuid.New(),
		landed: map[commitKey]landing{},
		sent:   map[catalog.ObjectID]commitKey{},
	}
}

func (w *simulatedWorld) createTopic(t *testing.T) {
	s := w.newNode(100, 0)
	s.faults.Reset()
	s.start()
	defer s.stop()
	create := catalog.CreateTopic{ID: w.topic, Name: "flights", Partitions: simulatedPartitions, Config: catalog.DefaultTopicConfig()}
	if r, err := s.catalog.Propose(t.Context(), create); err != nil || r.Err != nil {
		t.Fatalf("create topic: %v, %v", err, r.Err)
	}
}

// simulatedNode is a catalog with one writer on top, which ends and begins anew.
type simulatedNode struct {
	world   *simulatedWorld
	name    string
	faults  *faultstore.Store
	catalog *catalog.Catalog
	stop    func()
}

func (w *simulatedWorld) newNode(n int, seed uint64) *simulatedNode {
	faults := faultstore.New(w.store)
	faults.Randomize(seed, faultstore.Probabilities{
		FailBefore: 0.02, FailAfter: 0.03, LoseRequest: 0.02, LoseResponse: 0.04, Throttle: 0.02,
		Hang: 0.02, Conflict: 0.03, ExistsByOwnWrite: 0.03, LandLate: 0.04, CutRead: 0.01,
		Delay: 0.3, DelayMax: 300 * time.Millisecond, LateMax: 5 * time.Second,
	})
	return &simulatedNode{world: w, name: fmt.Sprintf("node-%d", n), faults: faults}
}

func (s *simulatedNode) start() {
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	j, err := journal.New(journal.DefaultConfig(), s.faults, "000", logger, prometheus.NewRegistry())
	if err != nil {
		panic(err)
	}
	cfg := catalog.DefaultConfig()
	cfg.Address = s.name
	cfg.SnapshotSlots = 12
	s.catalog, err = catalog.New(cfg, j, nil, logger, prometheus.NewRegistry())
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.catalog.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			panic(fmt.Sprintf("%s: %v", s.name, err))
		}
	}
	<-s.catalog.Ready()
}

// produce commits one segment after another under one node id, and starts the
// node anew now and then. What it could not learn it resends, as a node does
// that replays its write-ahead buffer.
func (s *simulatedNode) produce(t *testing.T, rng *rand.Rand) {
	s.start()
	defer func() { s.stop() }()
	id := uuid.New()
	for {
		r, err := s.propose(t, catalog.RegisterNode{Node: id}, rng)
		if err == nil && r.Err == nil {
			break
		}
	}
	last := uint64(0)
	for range 15 + rng.IntN(25) {
		switch rng.IntN(12) {
		case 0:
			s.stop()
			time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
			s.start()
		case 1:
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		}
		s.confirm(t, rng)
		edit := s.commit(id, last, rng)
		for !s.commitOnce(t, edit, rng) {
			// Uploaded anew, as after a crash.
			edit.Object.ID = ulid.Make()
		}
		last = edit.Upto
	}
}

func (s *simulatedNode) propose(t *testing.T, e catalog.Edit, rng *rand.Rand) (catalog.Result, error) {
	// Short enough to give up now and then while the edit is under way.
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(100+rng.IntN(4000))*time.Millisecond)
	defer cancel()
	return s.catalog.Propose(ctx, e)
}

func (s *simulatedNode) commit(id catalog.NodeID, last uint64, rng *rand.Rand) catalog.CommitSegment {
	records := int32(1 + rng.IntN(5))
	partition := int32(rng.IntN(simulatedPartitions))
	return catalog.CommitSegment{
		Node:   id,
		After:  last,
		Upto:   last + 1 + uint64(rng.IntN(3)),
		Object: catalog.NewObject{ID: ulid.Make(), Kind: catalog.SegmentObject, Size: 4096, IndexPos: 1024},
		Units: []catalog.Unit{{Appends: []catalog.Append{{
			Partition: catalog.TopicPartition{Topic: s.world.topic, Partition: partition},
			Len:       1024, Records: records, Expected: catalog.AnyOffset, Producer: recordbatch.NoProducer,
		}}}},
	}
}

// commitOnce sends a commit and returns whether its fate is known.
func (s *simulatedNode) commitOnce(t *testing.T, edit catalog.CommitSegment, rng *rand.Rand) bool {
	key := commitKey{edit.Node, edit.Upto}
	s.world.mu.Lock()
	s.world.sent[edit.Object.ID] = key
	s.world.mu.Unlock()
	r, err := s.propose(t, edit, rng)
	a := edit.Units[0].Appends[0]
	var order *catalog.CommitOrderError
	switch {
	case err != nil:
		return false // nor does ErrNotCommitted say what became of earlier attempts
	case errors.As(r.Err, &order) && order.Last == edit.Upto:
		s.world.committed(key, landing{partition: a.Partition.Partition, base: -1, records: a.Records})
		return true
	case r.Err != nil:
		t.Errorf("%s: commit after %d: %v", s.name, edit.After, r.Err)
		return true
	case r.Units[0].Err != nil:
		t.Errorf("%s: unit refused: %v", s.name, r.Units[0].Err)
		return true
	}
	s.world.committed(key, landing{partition: a.Partition.Partition, base: r.Units[0].Appends[0].Base, records: a.Records})
	return true
}

func (w *simulatedWorld) committed(id commitKey, l landing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.landed[id] = l
	if l.base >= 0 {
		w.acked[l.partition] = max(w.acked[l.partition], l.base+catalog.Offset(l.records))
	}
}

// confirm asks for an end offset, which must hold all that was acknowledged
// before the question, whoever took it.
func (s *simulatedNode) confirm(t *testing.T, rng *rand.Rand) {
	p := int32(rng.IntN(simulatedPartitions))
	s.world.mu.Lock()
	before := s.world.acked[p]
	s.world.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	view, err := s.catalog.Confirm(ctx)
	if err != nil {
		return
	}
	if end := view.Partition(catalog.TopicPartition{Topic: s.world.topic, Partition: p}).End(); end < before {
		t.Errorf("%s: end offset of partition %d is %d after %d was acknowledged", s.name, p, end, before)
	}
}

// verify compares a fresh replica of the healed bucket with what was told.
func (w *simulatedWorld) verify(t *testing.T) {
	time.Sleep(time.Minute) // late writes have landed
	s := w.newNode(200, 0)
	s.faults.Reset()
	s.start()
	defer s.stop()
	view, err := s.catalog.Confirm(t.Context())
	if err != nil {
		t.Fatalf("confirm: %v", err)
	}
	if err := catalog.CheckAll(view); err != nil {
		t.Errorf("invariant: %v", err)
	}
	found := map[commitKey]int{}
	for p := range int32(simulatedPartitions) {
		part := view.Partition(catalog.TopicPartition{Topic: w.topic, Partition: p})
		next := catalog.Offset(0)
		for next < part.End() {
			for _, x := range part.Extents(next, 100) {
				if x.Base != next {
					t.Errorf("partition %d: extent at %d, expected %d", p, x.Base, next)
				}
				next = x.Base + catalog.Offset(x.Records)
				key := w.sent[x.Object]
				found[key]++
				l, ok := w.landed[key]
				switch {
				case !ok:
					t.Errorf("partition %d: a phantom at %d", p, x.Base)
				case l.partition != p || l.records != x.Records || l.base >= 0 && l.base != x.Base:
					t.Errorf("partition %d: %+v was told, it is %+v", p, l, x)
				}
			}
		}
	}
	for id, l := range w.landed {
		if found[id] != 1 {
			t.Errorf("commit %+v is there %d times", l, found[id])
		}
	}
}
