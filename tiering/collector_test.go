package tiering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// collected is a catalog over a store, in virtual time, with what wrote to it.
type collected struct {
	t       *testing.T
	mem     *memstore.Store
	store   *faultstore.Store // over mem, for the collectors
	catalog *catalog.Catalog
	node    catalog.NodeID
	number  uint64 // of the node's last commit
	stop    context.CancelFunc
	ctx     context.Context
}

// collecting runs a test in virtual time.
func collecting(t *testing.T, test func(*testing.T, *collected)) {
	synctest.Test(t, func(t *testing.T) {
		mem := memstore.New()
		c := &collected{t: t, mem: mem, store: faultstore.New(mem), node: catalog.NodeID{1}}
		c.ctx, c.stop = context.WithCancel(t.Context())
		c.catalog = startCatalog(c.ctx, t, mem)
		c.propose(catalog.RegisterNode{Node: c.node})
		test(t, c)
		c.stop()
		synctest.Wait()
	})
}

func startCatalog(ctx context.Context, t *testing.T, bucket objstore.Bucket) *catalog.Catalog {
	j, err := journal.New(journal.DefaultConfig(), bucket, "000", quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.New(catalog.DefaultConfig(), j, nil, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := cat.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	<-cat.Ready()
	return cat
}

func (c *collected) propose(e catalog.Edit) catalog.Result {
	c.t.Helper()
	r, err := c.catalog.Propose(c.ctx, e)
	if err == nil {
		err = r.Err
	}
	if err != nil {
		c.t.Fatalf("%T: %v", e, err)
	}
	return r
}

// topic makes a topic with one partition.
func (c *collected) topic(name string, change func(*catalog.TopicConfig)) catalog.TopicPartition {
	c.t.Helper()
	cfg := catalog.DefaultTopicConfig()
	if change != nil {
		change(&cfg)
	}
	id := catalog.TopicID{0: byte(rand.IntN(256)), 1: byte(rand.IntN(256)), 2: byte(rand.IntN(256)), 15: 1}
	c.propose(catalog.CreateTopic{ID: id, Name: name, Partitions: 1, Config: cfg})
	return catalog.TopicPartition{Topic: id}
}

const objectBytes = 1000

// put stores an object.
func (c *collected) put() catalog.ObjectID {
	c.t.Helper()
	id := ulid.MustNew(uint64(c.catalog.View().Time()), ulid.DefaultEntropy())
	if _, err := c.mem.Put(c.ctx, segment.Key(id), make([]byte, objectBytes)); err != nil {
		c.t.Fatal(err)
	}
	return id
}

func (c *collected) commitEdit(id catalog.ObjectID, partitions ...catalog.TopicPartition) catalog.CommitSegment {
	e := catalog.CommitSegment{Node: c.node, After: c.number, Upto: c.number + 1,
		Object: catalog.NewObject{ID: id, Kind: catalog.SegmentObject, Size: objectBytes}}
	for i, tp := range partitions {
		e.Units = append(e.Units, catalog.Unit{Appends: []catalog.Append{{
			Partition: tp, Pos: catalog.Pos(10 * i), Len: 10, Records: 1, Expected: catalog.AnyOffset,
			Producer: recordbatch.NoProducer,
		}}})
	}
	return e
}

// append stores an object with a record for each partition.
func (c *collected) append(partitions ...catalog.TopicPartition) catalog.ObjectID {
	c.t.Helper()
	id := c.put()
	c.propose(c.commitEdit(id, partitions...))
	c.number++
	return id
}

// collector starts one; the test's end stops it.
func (c *collected) collector(change func(*CollectorConfig)) *Collector {
	c.t.Helper()
	cfg := DefaultCollectorConfig()
	if change != nil {
		change(&cfg)
	}
	k, err := NewCollector(cfg, c.catalog, c.store, quiet, prometheus.NewRegistry())
	if err != nil {
		c.t.Fatal(err)
	}
	go func() {
		if err := k.Run(c.ctx); !errors.Is(err, context.Canceled) {
			c.t.Error(err)
		}
	}()
	return k
}

// segments are the objects that the store holds.
func (c *collected) segments() map[catalog.ObjectID]bool {
	found := map[catalog.ObjectID]bool{}
	for _, key := range c.mem.Keys() {
		if id, err := segment.ParseKey(key); err == nil {
			found[id] = true
		}
	}
	return found
}

func (c *collected) bounds(tp catalog.TopicPartition) string {
	p := c.catalog.View().Partition(tp)
	return fmt.Sprintf("[%d, %d)", p.LogStart(), p.End())
}

func TestRetentionByTimeAndGarbage(t *testing.T) {
	collecting(t, func(t *testing.T, c *collected) {
		short := c.topic("short", func(cfg *catalog.TopicConfig) { cfg.RetentionMs = 60_000 })
		kept := c.topic("kept", nil)
		c.collector(func(cfg *CollectorConfig) { cfg.GarbageGrace = 30 * time.Second })
		shared := c.append(short, kept)
		for range 60 {
			c.append(short)
			time.Sleep(10 * time.Second)
			// A minute of records, half a minute of garbage, and a round of each.
			if n := len(c.segments()); n > 1+6+3+2+2 {
				t.Fatalf("%d objects in the store", n)
			}
		}
		p := c.catalog.View().Partition(short)
		if kept := p.End() - p.LogStart(); kept < 5 || kept > 8 {
			t.Errorf("%d records of the last minute are kept", kept)
		}
		if got := c.bounds(kept); got != "[0, 1)" || !c.segments()[shared] {
			t.Errorf("the topic without limits has %s", got)
		}
		// Nothing is written any more: time alone must do.
		time.Sleep(3 * time.Minute)
		if got := c.bounds(short); got != "[61, 61)" {
			t.Errorf("bounds %s long after the last record", got)
		}
		if got := c.segments(); len(got) != 1 || !got[shared] {
			t.Errorf("%d objects are left", len(got))
		}
		if n := c.catalog.View().Counts().Garbage; n != 0 {
			t.Errorf("the catalog has %d objects of garbage", n)
		}
	})
}

func TestRetentionByBytes(t *testing.T) {
	collecting(t, func(t *testing.T, c *collected) {
		tp := c.topic("t", func(cfg *catalog.TopicConfig) { cfg.RetentionBytes = 35 })
		c.collector(nil)
		for range 10 {
			c.append(tp)
		}
		time.Sleep(time.Minute)
		// Of extents of 10 bytes four are the fewest that make 35.
		if got := c.bounds(tp); got != "[6, 10)" {
			t.Errorf("bounds %s", got)
		}
	})
}

// A round of retention looks at a bounded number of partitions; rounds together
// come by all of them.
func TestRetentionGoesOnWhereItStopped(t *testing.T) {
	collecting(t, func(t *testing.T, c *collected) {
		var topics []catalog.TopicPartition
		for n := range 6 {
			topics = append(topics, c.topic(fmt.Sprintf("topic-%d", n), func(cfg *catalog.TopicConfig) { cfg.RetentionMs = 60_000 }))
		}
		for n := range 10 {
			c.topic(fmt.Sprintf("unlimited-%d", n), nil)
		}
		c.append(topics...)
		time.Sleep(2 * time.Minute)
		c.propose(catalog.Expire{}) // the journal's time goes on
		var done bool
		cfg := DefaultCollectorConfig()
		cfg.LooksMax = 4 // two topics with a limit, each with a partition
		k, err := NewCollector(cfg, meddled{c.catalog, func(catalog.Edit) {
			if done {
				panic("an edit though nothing is due")
			}
		}}, c.store, quiet, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		for round, want := range []int{2, 4, 6, 6, 6, 6} {
			done = round > 2
			if err := k.retain(c.ctx, c.catalog.View()); err != nil {
				t.Fatal(err)
			}
			dropped := 0
			for _, tp := range topics {
				if c.bounds(tp) == "[1, 1)" {
					dropped++
				}
			}
			if dropped != want {
				t.Errorf("%d topics came by after %d rounds, want %d", dropped, round+1, want)
			}
		}
		// It comes by the first again.
		done = false
		c.append(topics[0])
		time.Sleep(2 * time.Minute)
		c.propose(catalog.Expire{})
		for range 5 {
			if err := k.retain(c.ctx, c.catalog.View()); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.bounds(topics[0]); got != "[2, 2)" {
			t.Errorf("bounds %s after another pass", got)
		}
	})
}

func TestGarbageStaysForItsGrace(t *testing.T) {
	collecting(t, func(t *testing.T, c *collected) {
		tp := c.topic("t", nil)
		c.collector(func(cfg *CollectorConfig) { cfg.GarbageGrace = 10 * time.Minute })
		id := c.append(tp)
		c.propose(catalog.DeleteTopic{ID: tp.Topic})
		time.Sleep(9*time.Minute + 55*time.Second)
		if !c.segments()[id] {
			t.Fatal("deleted too early")
		}
		time.Sleep(30 * time.Second)
		if c.segments()[id] || c.catalog.View().Counts().Garbage != 0 {
			t.Error("the deleted topic's bytes are not given back")
		}
	})
}

func TestGarbageOutlivesAStoreThatFails(t *testing.T) {
	collecting(t, func(t *testing.T, c *collected) {
		tp := c.topic("t", nil)
		id := c.append(tp)
		c.store.Add(faultstore.Rule{Op: objstore.OpDelete, Times: 3, Fault: faultstore.FailBefore()})
		k := c.collector(func(cfg *CollectorConfig) { cfg.GarbageGrace = time.Minute })
		c.propose(catalog.DeleteTopic{ID: tp.Topic})
		time.Sleep(70 * time.Second)
		if !c.segments()[id] || c.catalog.View().Counts().Garbage != 1 {
			t.Error("garbage whose deletion failed is forgotten")
		}
		time.Sleep(time.Minute)
		if c.segments()[id] || c.catalog.View().Counts().Garbage != 0 {
			t.Error("garbage is not deleted once the store works")
		}
		if n := testutil.ToFloat64(k.metrics.failures.WithLabelValues("garbage")); n != 3 {
			t.Errorf("%v rounds failed, want 3", n)
		}
	})
}

func TestOrphans(t *testing.T) {
	collecting(t, func(t *testing.T, c *collected) {
		tp := c.topic("t", nil)
		live, orphan := c.append(tp), c.put()
		foreign := segment.KeyPrefix + "00/notes.txt"
		if _, err := c.mem.Put(c.ctx, foreign, []byte("mine")); err != nil {
			t.Fatal(err)
		}
		// Two nodes; one of them lists.
		c.collector(nil)
		c.collector(nil)
		late := catalog.ObjectID{}
		for hour := range 40 {
			time.Sleep(time.Hour)
			c.propose(catalog.Expire{}) // the journal's time goes on
			if hour == 20 {
				late = c.put()
				if !c.segments()[orphan] {
					t.Fatal("an orphan is gone within a day")
				}
			}
		}
		got := c.segments()
		if got[orphan] || !got[live] || !got[late] {
			t.Errorf("orphan %t, live %t, young %t", got[orphan], got[live], got[late])
		}
		if _, err := c.mem.Get(c.ctx, foreign); err != nil {
			t.Errorf("a foreign object: %v", err)
		}
		c.propose(catalog.RegisterNode{Node: c.node}) // its id has expired meanwhile
		c.number = 0
		r, err := c.catalog.Propose(c.ctx, c.commitEdit(orphan, tp))
		if err != nil || !errors.Is(r.Err, catalog.ErrOrphanFloor) {
			t.Errorf("the commit of a deleted orphan: %+v, %v", r, err)
		}
		// At once, and then every six hours, by one of the two.
		if n := c.store.Count(objstore.OpList); n != 7*256 {
			t.Errorf("%d LISTs in 40 hours", n)
		}
	})
}

func TestUnfinishedUploads(t *testing.T) {
	collecting(t, func(t *testing.T, c *collected) {
		old := c.mem.BeginUpload(segment.KeyPrefix + "00/left-behind")
		other := c.mem.BeginUpload("catalog/left-behind")
		k := c.collector(nil)
		young := objstore.Upload{}
		for hour := range 40 {
			time.Sleep(time.Hour)
			c.propose(catalog.Expire{}) // the journal's time goes on
			uploads, err := c.mem.ListUploads(c.ctx, "")
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case hour == 20:
				if len(uploads) != 2 {
					t.Fatalf("uploads %+v are left within a day", uploads)
				}
				young = c.mem.BeginUpload(old.Key)
			case hour == 39 && (len(uploads) != 1 || uploads[0].ID != young.ID):
				t.Errorf("uploads %+v are left, not only %s", uploads, young.ID)
			}
		}
		if n := testutil.ToFloat64(k.metrics.uploads); n != 2 {
			t.Errorf("%v uploads were dropped, among them %s and %s", n, old.ID, other.ID)
		}
	})
}

// TestCollectorsWithFaults lets several collectors work on a store that fails
// at random, while records are written and dropped. No object with records may
// ever be missing, and in the end nothing may be left over.
func TestCollectorsWithFaults(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			collecting(t, func(t *testing.T, c *collected) {
				rng := rand.New(rand.NewPCG(seed, 1))
				c.store.Randomize(seed, faultstore.Probabilities{FailBefore: 0.1, FailAfter: 0.1, LandLate: 0.1, LateMax: time.Minute})
				for range 3 {
					c.collector(func(cfg *CollectorConfig) {
						cfg.GarbageGrace, cfg.RequestTimeout = time.Minute, 5*time.Second
						cfg.OrphanAge, cfg.OrphanInterval = 10*time.Minute, 5*time.Minute
					})
				}
				var topics []catalog.TopicPartition
				for step := range 400 {
					time.Sleep(time.Duration(rng.Int64N(int64(10 * time.Second))))
					switch n := rng.IntN(20); {
					case len(topics) == 0 || n == 0:
						topics = append(topics, c.topic(fmt.Sprint("t", step), func(cfg *catalog.TopicConfig) {
							cfg.RetentionMs = int64(rng.IntN(10)+1) * 60_000
						}))
					case n == 1:
						i := rng.IntN(len(topics))
						c.propose(catalog.DeleteTopic{ID: topics[i].Topic})
						topics = append(topics[:i], topics[i+1:]...)
					case n == 2:
						tp := topics[rng.IntN(len(topics))]
						c.propose(catalog.Trim{Partition: tp, Before: c.catalog.View().Partition(tp).End()})
					case n == 3:
						c.put() // an orphan
					default:
						rng.Shuffle(len(topics), func(i, j int) { topics[i], topics[j] = topics[j], topics[i] })
						c.append(topics[:1+rng.IntN(len(topics))]...)
					}
					c.nothingMissing(topics)
				}
				c.store.Randomize(0, faultstore.Probabilities{})
				for range 30 {
					time.Sleep(time.Minute)
					c.propose(catalog.Expire{})
					c.nothingMissing(topics)
				}
				live := map[catalog.ObjectID]bool{}
				for _, tp := range topics {
					for _, e := range c.extents(tp) {
						live[e.Object] = true
					}
				}
				for id := range c.segments() {
					if !live[id] {
						t.Errorf("%s is left in the store", id)
					}
				}
				if n := c.catalog.View().Counts().Garbage; n != 0 {
					t.Errorf("%d objects of garbage are left", n)
				}
			})
		})
	}
}

func (c *collected) extents(tp catalog.TopicPartition) []catalog.Extent {
	p := c.catalog.View().Partition(tp)
	return p.Extents(p.LogStart(), 1<<30)
}

func (c *collected) nothingMissing(topics []catalog.TopicPartition) {
	c.t.Helper()
	there := c.segments()
	for _, tp := range topics {
		for _, e := range c.extents(tp) {
			if !there[e.Object] {
				c.t.Fatalf("%s of %s is gone", e.Object, tp)
			}
		}
	}
}

// meddled is a catalog in which something happens right before an edit is
// proposed, after the collector has looked.
type meddled struct {
	*catalog.Catalog
	before func(catalog.Edit)
}

func (m meddled) Propose(ctx context.Context, e catalog.Edit) (catalog.Result, error) {
	m.before(e)
	return m.Catalog.Propose(ctx, e)
}

// TestOrphanThatIsCommittedAfterAll commits objects that are older than the
// floor at the two moments that matter: right before the floor is raised, and
// when the listing begins.
func TestOrphanThatIsCommittedAfterAll(t *testing.T) {
	collecting(t, func(t *testing.T, c *collected) {
		tp := c.topic("t", nil)
		before, after := c.put(), c.put()
		time.Sleep(30 * time.Hour)
		c.propose(catalog.RegisterNode{Node: c.node})
		raised, refused := false, false
		records := meddled{c.catalog, func(e catalog.Edit) {
			if _, ok := e.(catalog.RaiseOrphanFloor); ok && !raised {
				raised = true
				c.propose(c.commitEdit(before, tp))
				c.number++
			}
		}}
		c.store.SetHook(func(op, _ string) {
			if op == objstore.OpList && !refused {
				r, err := c.catalog.Propose(c.ctx, c.commitEdit(after, tp))
				refused = err == nil && errors.Is(r.Err, catalog.ErrOrphanFloor)
			}
		})
		k, err := NewCollector(DefaultCollectorConfig(), records, c.store, quiet, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		view, err := c.catalog.Confirm(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.deleteOrphans(c.ctx, view); err != nil {
			t.Fatal(err)
		}
		if !raised || !refused {
			t.Errorf("raised %t, refused %t", raised, refused)
		}
		if got := c.segments(); !got[before] || got[after] {
			t.Errorf("committed before %t, refused after %t", got[before], got[after])
		}
	})
}
