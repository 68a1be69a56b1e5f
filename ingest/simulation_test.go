package ingest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/ingest/wal"
	"github.com/wadilog/wadi/ingest/wal/crashfs"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/tiering"
)

var (
	simulationSeed  = flag.Uint64("simulation.seed", 0, "run this seed alone")
	simulationSeeds = flag.Int("simulation.seeds", 100, "how many seeds to run")
)

// TestSimulation runs the write path of one node, from request to catalog, over
// a failing bucket and a disk that loses power, through several lives. Clients
// write down what they were told; at the end the log must agree.
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
		w := newWorld(seed)
		w.createTopic(t)
		for range 2 + w.rng.IntN(3) {
			w.liveOnce(t)
		}
		w.faults.Reset()
		time.Sleep(time.Minute) // late writes have landed
		n := w.startNode(t)
		w.finishProducers(t, n)
		if err := n.ingester.Drain(t.Context()); err != nil {
			t.Errorf("drain: %v", err)
		}
		w.verify(t, n)
		n.end()
		if err := n.ingester.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if left := diskFiles(t, w.disk); len(left) > 0 {
			t.Errorf("a drained node left %v", left)
		}
	})
}

const partitions = 3

// world is what outlives the node, and what its clients were told.
type world struct {
	rng    *rand.Rand
	store  *memstore.Store
	faults *faultstore.Store
	disk   *crashfs.FS
	topic  *catalog.Topic
	life   int
	level  uint32 // feature level of the nodes

	producers []*idempotentClient

	mu   sync.Mutex
	told map[string]*record // by value
}

// record is what a client knows of one record that it sent.
type record struct {
	client    string // and life: records of one client in one life keep their order
	seq       int
	partition int32
	fate      fate
	offset    catalog.Offset // -1 if not told
	ordered   bool           // its order among the client's is promised
}

type fate int

const (
	unknown fate = iota // may be there, once
	present             // must be there, once
	absent              // must not be there
)

func newWorld(seed uint64) *world {
	w := &world{
		rng:   rand.New(rand.NewPCG(seed, 1)),
		store: memstore.New(),
		disk:  crashfs.New(),
		level: catalog.FeatureLevel,
		topic: &catalog.Topic{ID: uuid.New(), Name: "flights", Partitions: partitions, Config: catalog.DefaultTopicConfig()},
		told:  map[string]*record{},
	}
	w.faults = faultstore.New(w.store)
	return w
}

func (w *world) randomize() {
	w.faults.Randomize(w.rng.Uint64(), faultstore.Probabilities{
		FailBefore: 0.03, FailAfter: 0.03, LoseRequest: 0.02, LoseResponse: 0.04, Throttle: 0.03, Hang: 0.01,
		Conflict: 0.02, ExistsByOwnWrite: 0.02, LandLate: 0.03, Delay: 0.5, DelayMax: 200 * time.Millisecond, LateMax: 3 * time.Second,
	})
}

func (w *world) createTopic(t *testing.T) {
	n := w.startNode(t)
	r, err := n.catalog.Propose(t.Context(), catalog.CreateTopic{ID: w.topic.ID, Name: w.topic.Name, Partitions: partitions, Config: w.topic.Config})
	if err != nil || r.Err != nil {
		t.Fatalf("create topic: %v, %v", err, r.Err)
	}
	for range 2 {
		r, err := n.catalog.Propose(t.Context(), catalog.AllocateProducerID{})
		if err != nil || r.Err != nil {
			t.Fatalf("allocate a producer id: %v, %v", err, r.Err)
		}
		w.producers = append(w.producers,
			&idempotentClient{id: r.Producer, next: make([]int32, partitions)},
			&idempotentClient{id: -r.Producer, keyed: true})
	}
	n.end()
	w.powerCut()
}

// liveOnce is one life of the node: clients, faults, an outage perhaps, and a
// power cut at a random moment.
func (w *world) liveOnce(t *testing.T) {
	w.life++
	w.randomize()
	n := w.startNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 4 {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 2))
		acks := ingest.Acks(i % 2)
		clients.Go(func() { w.produce(ctx, t, n, fmt.Sprintf("life%d-client%d", w.life, i), acks, rng) })
	}
	for _, p := range w.producers {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 3))
		clients.Go(func() { p.produce(ctx, t, w, n, rng) })
	}
	if w.rng.IntN(3) == 0 {
		time.Sleep(time.Duration(w.rng.IntN(1000)) * time.Millisecond)
		w.faults.SetDown(true)
		time.Sleep(time.Duration(w.rng.IntN(8000)) * time.Millisecond)
		w.faults.SetDown(false)
	}
	if w.rng.IntN(2) == 0 {
		w.disk.CrashBefore(1 + w.rng.IntN(200))
	}
	time.Sleep(time.Duration(200+w.rng.IntN(4000)) * time.Millisecond)
	n.end()
	cancel()
	clients.Wait()
	w.powerCut()
}

func (w *world) powerCut() { w.disk = w.disk.Crash(w.rng) }

// simulated is one life of a node.
type simulated struct {
	catalog  *catalog.Catalog
	ingester *ingest.Ingester
	begin    func()
	end      func()
}

// startNode makes a node and waits until it has begun.
func (w *world) startNode(t *testing.T) *simulated {
	t.Helper()
	n := w.makeNode(t)
	n.begin()
	select {
	case <-n.ingester.Ready():
	case <-w.disk.Crashed():
	}
	return n
}

func (w *world) makeNode(t *testing.T) *simulated {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	reg := prometheus.NewRegistry()
	j, err := journal.New(journal.DefaultConfig(), w.faults, "000", logger, reg)
	if err != nil {
		t.Fatal(err)
	}
	catalogConfig := catalog.DefaultConfig()
	catalogConfig.SnapshotSlots = 25
	catalogConfig.FeatureLevel = w.level
	c, err := catalog.New(catalogConfig, j, nil, logger, reg)
	if err != nil {
		t.Fatal(err)
	}
	walConfig := wal.DefaultConfig()
	walConfig.BufferBytesMax, walConfig.FileBytesMax, walConfig.BytesMax = 64<<10, 128<<10, 4<<20
	log, err := wal.Create(walConfig, uuid.New(), w.disk, logger, reg)
	if err != nil {
		t.Fatal(err)
	}
	cfg := ingest.DefaultConfig()
	cfg.FlushBytes = 4 << 10
	cfg.BufferBytesMax = 64 << 10
	uploader := tiering.NewUploader(tiering.DefaultUploaderConfig(), w.faults, logger, reg)
	g, err := ingest.New(cfg, c, uploader, discard{}, log, logger, reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	n := &simulated{catalog: c, ingester: g}
	n.begin = func() {
		running.Go(func() {
			if err := c.Run(ctx); err != nil {
				t.Errorf("catalog: %v", err)
			}
		})
		running.Go(func() {
			// After a power cut the node ends by itself: that is its duty.
			if err := g.Run(ctx); err != nil && !errors.Is(err, wal.ErrFailed) {
				t.Errorf("ingest: %v", err)
			}
		})
	}
	n.end = func() {
		cancel()
		running.Wait()
		uploader.Wait()
	}
	return n
}

type discard struct{}

func (discard) Warm(catalog.ObjectID, []byte) {}

// produce sends requests one after another, each of a few records for one or
// more partitions, and writes down what it was told.
func (w *world) produce(ctx context.Context, t *testing.T, n *simulated, client string, acks ingest.Acks, rng *rand.Rand) {
	for seq := 0; ctx.Err() == nil; seq++ {
		var records []ingest.Record
		var sent []*record
		for i := range 1 + rng.IntN(4) {
			p := int32(rng.IntN(partitions))
			value := fmt.Sprintf("%s-%d-%d", client, seq, i)
			records = append(records, ingest.Record{Partition: p, Record: recordbatch.Record{Value: []byte(value)}})
			r := &record{client: client, seq: seq*100 + i, partition: p, offset: -1, ordered: true}
			sent = append(sent, r)
			w.mu.Lock()
			w.told[value] = r
			w.mu.Unlock()
		}
		requestCtx, cancel := context.WithTimeout(ctx, time.Duration(50+rng.IntN(3000))*time.Millisecond)
		results, err := n.ingester.ProduceRecords(requestCtx, w.topic, records, ingest.Options{Acks: acks, Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset})
		cancel()
		w.note(t, sent, results, err)
		var overloaded *ingest.OverloadedError
		if errors.As(err, &overloaded) {
			time.Sleep(20 * time.Millisecond)
		}
		if rng.IntN(4) == 0 {
			time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
		}
	}
}

// note writes down what became of a request.
func (w *world) note(t *testing.T, sent []*record, results []ingest.Result, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		for _, r := range sent {
			r.fate = absent
			if errors.Is(err, ingest.ErrOutcomeUnknown) {
				// Its client sends the next request without knowing, so the
				// order between the two is not promised.
				r.fate, r.ordered = unknown, false
			}
		}
		return
	}
	next := map[int32]catalog.Offset{}
	for _, result := range results {
		next[result.Partition] = result.BaseOffset
	}
	for _, r := range sent {
		base, ok := next[r.partition]
		if !ok {
			t.Errorf("no result for partition %d", r.partition)
		}
		r.fate = present
		if base >= 0 {
			r.offset = base
			next[r.partition]++
		}
	}
}

// idempotentClient sends each batch until it is acknowledged, over all lives.
type idempotentClient struct {
	id      int64
	keyed   bool // by an idempotency key for each request, which may go to several partitions
	seq     int
	next    []int32 // sequence by partition, unless keyed
	pending *pendingBatch
}

type pendingBatch struct {
	partition int32
	records   []ingest.Record
	sent      []*record
}

func (c *idempotentClient) produce(ctx context.Context, t *testing.T, w *world, n *simulated, rng *rand.Rand) {
	for ctx.Err() == nil {
		if c.pending == nil {
			c.pending = c.batch(w, rng)
		}
		c.send(ctx, t, w, n, time.Duration(50+rng.IntN(2000))*time.Millisecond)
	}
}

func (c *idempotentClient) batch(w *world, rng *rand.Rand) *pendingBatch {
	b := &pendingBatch{partition: int32(rng.IntN(partitions))}
	for range 1 + rng.IntN(3) {
		value := fmt.Sprintf("producer%d-%d", c.id, c.seq)
		partition := b.partition
		if c.keyed {
			partition = int32(rng.IntN(partitions))
		}
		r := &record{client: fmt.Sprintf("producer%d", c.id), seq: c.seq, partition: partition, offset: -1, ordered: true}
		c.seq++
		b.records = append(b.records, ingest.Record{Partition: partition, Record: recordbatch.Record{Value: []byte(value)}})
		b.sent = append(b.sent, r)
		w.mu.Lock()
		w.told[value] = r
		w.mu.Unlock()
	}
	return b
}

func (c *idempotentClient) send(ctx context.Context, t *testing.T, w *world, n *simulated, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	b := c.pending
	opts := ingest.Options{Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset}
	if c.keyed {
		opts.Key.Name = fmt.Sprintf("client%d-%d", c.id, c.seq)
	} else {
		opts.Producer = recordbatch.Producer{ID: c.id, BaseSequence: c.next[b.partition]}
	}
	results, err := n.ingester.ProduceRecords(ctx, w.topic, b.records, opts)
	var overloaded *ingest.OverloadedError
	switch {
	case err == nil:
		w.note(t, b.sent, results, nil)
		if !c.keyed {
			c.next[b.partition] += int32(len(b.records))
		}
		c.pending = nil
	case errors.As(err, &overloaded):
		time.Sleep(20 * time.Millisecond)
	case errors.Is(err, ingest.ErrOutcomeUnknown), errors.Is(err, ingest.ErrNotCommitted):
	default:
		t.Errorf("producer %d, %+v: %v", c.id, opts, err)
		c.pending = nil
	}
}

// finishProducers resends what the idempotent clients do not know of.
func (w *world) finishProducers(t *testing.T, n *simulated) {
	for _, c := range w.producers {
		for c.pending != nil && !t.Failed() {
			c.send(t.Context(), t, w, n, time.Minute)
		}
	}
}

// verify reads the whole log and compares it with what the clients were told.
func (w *world) verify(t *testing.T, n *simulated) {
	view, err := n.catalog.Confirm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for p := range int32(partitions) {
		last := map[string]int{} // per client, the place in its order
		for offset, value := range w.readPartition(t, view, p) {
			found[value]++
			r := w.told[value]
			switch {
			case r == nil || r.partition != p:
				t.Errorf("partition %d, offset %d: %q was never sent there", p, offset, value)
				continue
			case r.fate == absent:
				t.Errorf("partition %d, offset %d: %q is there, its client was told otherwise", p, offset, value)
			case r.offset >= 0 && r.offset != catalog.Offset(offset):
				t.Errorf("partition %d: %q is at %d, its client was told %d", p, value, offset, r.offset)
			}
			if r.ordered {
				if before, ok := last[r.client]; ok && before > r.seq {
					t.Errorf("partition %d, offset %d: %q comes after %d of the same client", p, offset, value, before)
				}
				last[r.client] = r.seq
			}
		}
	}
	for value, r := range w.told {
		if n := found[value]; n > 1 || r.fate == present && n != 1 {
			t.Errorf("%q (fate %d) is there %d times", value, r.fate, n)
		}
	}
}

// readPartition returns the values of a partition by offset, which must be dense.
func (w *world) readPartition(t *testing.T, view *catalog.State, p int32) []string {
	part := view.Partition(catalog.TopicPartition{Topic: w.topic.ID, Partition: p})
	var values []string
	for next := catalog.Offset(0); next < part.End(); {
		for _, x := range part.Extents(next, 1000) {
			if x.Base != next {
				t.Fatalf("partition %d: extent at %d, expected %d", p, x.Base, next)
			}
			o, err := w.store.GetRange(t.Context(), segment.Key(x.Object), int64(x.Pos), x.Len)
			if err != nil {
				t.Fatal(err)
			}
			for batch, err := range recordbatch.Batches(o.Body) {
				if err != nil {
					t.Fatal(err)
				}
				records, err := recordbatch.Decode(batch, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				for i := range records {
					values = append(values, string(records[i].Value))
				}
			}
			next += catalog.Offset(x.Records)
		}
	}
	if int64(len(values)) != int64(part.End()) {
		t.Errorf("partition %d: %d records, end offset %d", p, len(values), part.End())
	}
	return values
}

func diskFiles(t *testing.T, disk *crashfs.FS) []string {
	names, err := disk.ReadDir(wal.DefaultConfig().Dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, name := range names {
		if name != "LOCK" {
			files = append(files, name)
		}
	}
	return files
}

func (w *world) childRand(n uint64) *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	return rand.New(rand.NewPCG(w.rng.Uint64(), n))
}
