package tiering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/segment"
)

// ready returns a topic with 40 extents in each of two partitions, old enough to be
// compacted.
func (c *compacted) ready() []catalog.TopicPartition {
	c.t.Helper()
	tps := c.partitions("ready", 2, nil)
	for range 40 {
		c.flush(300, 2, tps...)
	}
	time.Sleep(3 * time.Hour)
	return tps
}

// one carries out the next job of a topic.
func (c *compacted) one(k *Compactor, topic catalog.TopicID) error {
	c.t.Helper()
	view := c.catalog.View()
	t, _ := view.Topic(topic)
	todo := k.planner(view).plan(view, t)
	if len(todo.runs) == 0 {
		c.t.Fatal("there is nothing to compact")
	}
	return k.compact(c.ctx, view, &todo)
}

// tampering is a store that changes compacted segments behind the writer's back.
type tampering struct {
	objstore.Bucket
	change func(body []byte) []byte
}

func (s tampering) PutStream(ctx context.Context, key string, body io.Reader) (objstore.Receipt, error) {
	whole, err := io.ReadAll(body)
	if err != nil {
		return objstore.Receipt{}, err
	}
	return s.Bucket.PutStream(ctx, key, bytes.NewReader(s.change(whole)))
}

// TestCompactComparesWhatWasWritten: what is in the store must be what was read, or
// nothing is replaced. Red under mutant.SkipConservation.
func TestCompactComparesWhatWasWritten(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"a flipped byte":            func(b []byte) []byte { b[len(b)/3] ^= 1; return b },
		"a flipped byte of offsets": func(b []byte) []byte { b[7] ^= 1; return b },
		"a byte of the index":       func(b []byte) []byte { b[len(b)-100] ^= 1; return b },
		"a byte missing":            func(b []byte) []byte { return b[:len(b)-1] },
	} {
		t.Run(name, func(t *testing.T) {
			compacting(t, func(t *testing.T, c *compacted) {
				tps := c.ready()
				k := c.compactor(nil)
				k.bucket = tampering{c.store, change}
				before := c.catalog.View()
				var conservation *conservationError
				if err := c.one(k, tps[0].Topic); !errors.As(err, &conservation) {
					t.Errorf("the job ended with %v", err)
				}
				if now := c.catalog.View().Partition(tps[0]); now != before.Partition(tps[0]) {
					t.Error("extents were replaced")
				}
				if n := testutil.ToFloat64(k.metrics.failures.WithLabelValues(reasonConservation)); n != 1 {
					t.Errorf("%v failures are counted", n)
				}
				c.check(tps...)
			})
		})
	}
}

// TestTallyTellsDifferences: records that are missing, doubled, moved or another's.
func TestTallyTellsDifferences(t *testing.T) {
	compacting(t, func(t *testing.T, c *compacted) {
		tps := c.ready()
		k := c.compactor(nil)
		view := c.catalog.View()
		topic, _ := view.Topic(tps[0].Topic)
		todo := k.planner(view).plan(view, topic)
		job := &compaction{Compactor: k, view: view, plan: &todo, id: uuid.New()}
		edit, err := job.rewrite(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		got, err := job.tallySegment(c.ctx, &edit.Object)
		if err != nil || len(got) != 2 || got[0].next != 160 || got[0].batches != 80 {
			t.Fatalf("%+v, %v", got, err)
		}
		for name, change := range map[string]func(*tally){
			"partition": func(t *tally) { t.partition++ }, "base": func(t *tally) { t.base++ }, "next": func(t *tally) { t.next++ },
			"batches": func(t *tally) { t.batches-- }, "bytes": func(t *tally) { t.bytes++ }, "crc": func(t *tally) { t.crc++ },
		} {
			want := append([]tally(nil), got...)
			change(&want[1])
			var conservation *conservationError
			if err := job.compare(c.ctx, &edit.Object, want); !errors.As(err, &conservation) {
				t.Errorf("another %s: %v", name, err)
			}
		}
		if err := job.compare(c.ctx, &edit.Object, got); err != nil {
			t.Error(err)
		}
	})
}

// TestCompactOfDamage: a damaged object stops its job, is left alone from then on, and
// what is around it is compacted.
func TestCompactOfDamage(t *testing.T) {
	compacting(t, func(t *testing.T, c *compacted) {
		tps := c.partitions("damaged", 1, nil)
		var bad catalog.ObjectID
		for i := range 40 {
			if id := c.flush(300, 2, tps...); i == 20 {
				bad = id
			}
		}
		o, err := c.mem.Get(c.ctx, segment.Key(bad))
		if err != nil {
			t.Fatal(err)
		}
		body := bytes.Clone(o.Body)
		body[100] ^= 4
		c.mem.Replace(segment.Key(bad), body)
		k := c.compactor(nil)
		c.runs(k)
		time.Sleep(4 * time.Hour)
		if n := testutil.ToFloat64(k.metrics.failures.WithLabelValues(reasonDamage)); n != 1 {
			t.Errorf("%v jobs failed by damage", n)
		}
		// 20 before it, itself, and 19 behind it.
		if n := c.catalog.View().Partition(tps[0]).ExtentCount(); n != 3 {
			t.Errorf("%d extents", n)
		}
		c.mem.Replace(segment.Key(bad), o.Body)
		c.check(tps...)
	})
}

// TestOneCompactorForATopic: while a job has the topic, others do nothing; when its
// node is gone, they wait for its lease.
func TestOneCompactorForATopic(t *testing.T) {
	compacting(t, func(t *testing.T, c *compacted) {
		tps := c.ready()
		c.propose(catalog.Expire{}) // the journal's time goes on
		c.propose(catalog.ClaimCompaction{Topic: tps[0].Topic, Job: uuid.New(), ForMs: (5 * time.Minute).Milliseconds()})
		a, b := c.compactor(nil), c.compactor(nil)
		c.runs(a)
		c.runs(b)
		time.Sleep(4 * time.Minute)
		if n := c.catalog.View().Partition(tps[0]).ExtentCount(); n != 40 {
			t.Errorf("%d extents while another job has the topic", n)
		}
		time.Sleep(3 * time.Minute)
		if n := c.catalog.View().Partition(tps[0]).ExtentCount(); n != 1 {
			t.Errorf("%d extents after the lease", n)
		}
		if _, _, ok := c.catalog.View().CompactionJob(tps[0].Topic); ok {
			t.Error("the lease is not given back")
		}
		done := testutil.ToFloat64(a.metrics.jobs.WithLabelValues(jobDone)) + testutil.ToFloat64(b.metrics.jobs.WithLabelValues(jobDone))
		if done != 1 {
			t.Errorf("%v jobs were done", done)
		}
		c.check(tps...)
	})
}

// TestLongJobKeepsItsLease: a job that takes hours is the only one, and gives up in the end.
func TestLongJobKeepsItsLease(t *testing.T) {
	compacting(t, func(t *testing.T, c *compacted) {
		tps := c.ready()
		c.store.Add(faultstore.Rule{Op: objstore.OpPutStream, Fault: faultstore.HangBefore(), Times: 1})
		a := c.compactor(func(cfg *CompactorConfig) { cfg.RequestTimeout, cfg.JobTimeout = 20*time.Hour, 12*time.Hour })
		c.runs(a)
		time.Sleep(time.Minute)
		b := c.compactor(nil)
		c.runs(b)
		time.Sleep(11 * time.Hour)
		if n := testutil.ToFloat64(b.metrics.jobs.WithLabelValues(jobDone)); n != 0 {
			t.Error("another job took over while the first was at work")
		}
		time.Sleep(2 * time.Hour)
		if n := testutil.ToFloat64(a.metrics.failures.WithLabelValues(reasonTimeout)); n != 1 {
			t.Errorf("%v jobs gave up", n)
		}
		if n := c.catalog.View().Partition(tps[0]).ExtentCount(); n != 1 {
			t.Errorf("%d extents in the end", n)
		}
		c.check(tps...)
	})
}

// TestUploadThatStandsStill: a store that takes no bytes is given up on soon.
func TestUploadThatStandsStill(t *testing.T) {
	compacting(t, func(t *testing.T, c *compacted) {
		tps := c.ready()
		c.store.Add(faultstore.Rule{Op: objstore.OpPutStream, Fault: faultstore.HangBefore(), Times: 1})
		k := c.compactor(nil)
		begun := time.Now()
		if err := c.one(k, tps[0].Topic); !errors.Is(err, errStalled) {
			t.Errorf("the job ended with %v", err)
		}
		if took := time.Since(begun); took > 3*time.Minute {
			t.Errorf("it took %s", took)
		}
		if err := c.one(k, tps[0].Topic); err != nil {
			t.Error(err)
		}
		c.check(tps...)
	})
}

// unsure is a catalog whose answers to swaps are lost the first times.
type unsure struct {
	*catalog.Catalog
	lost int
}

func (u *unsure) Propose(ctx context.Context, e catalog.Edit) (catalog.Result, error) {
	r, err := u.Catalog.Propose(ctx, e)
	if _, ok := e.(catalog.Compact); ok && u.lost > 0 {
		u.lost--
		return catalog.Result{}, catalog.ErrUnknownOutcome
	}
	return r, err
}

func TestSwapWhoseAnswerIsLost(t *testing.T) {
	compacting(t, func(t *testing.T, c *compacted) {
		tps := c.ready()
		cfg := DefaultCompactorConfig()
		k, err := NewCompactor(cfg, &unsure{c.catalog, 2}, c.store, idle{}, quiet, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.one(k, tps[0].Topic); err != nil {
			t.Fatal(err)
		}
		if n := testutil.ToFloat64(k.metrics.jobs.WithLabelValues(jobDone)); n != 1 || c.catalog.View().Partition(tps[0]).ExtentCount() != 1 {
			t.Errorf("%v jobs done", n)
		}
		c.check(tps...)
	})
}

// TestCompactorsWithFaults lets compactors and collectors work on a store that fails
// at random, while records are written, trimmed and dropped with their topics. A
// reader that holds a view from before may read what it plans for as long as the
// grace lasts; in the end nothing is lost and nothing left over.
func TestCompactorsWithFaults(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			compacting(t, func(t *testing.T, c *compacted) { c.withFaults(seed) })
		})
	}
}

func (c *compacted) withFaults(seed uint64) {
	c.store.Randomize(seed, faultstore.Probabilities{FailBefore: 0.03, FailAfter: 0.03, LandLate: 0.03, LateMax: time.Minute, ShortenRead: 0.03, CutRead: 0.03, CorruptRead: 0.03})
	for range 2 {
		c.collector(func(cfg *CollectorConfig) {
			cfg.GarbageGrace, cfg.RequestTimeout = time.Minute, 5*time.Second
			cfg.OrphanAge, cfg.OrphanInterval = 30*time.Minute, 10*time.Minute
		})
		c.runs(c.compactor(func(cfg *CompactorConfig) {
			cfg.MinAge, cfg.Patience, cfg.FanIn = 20*time.Second, 0, 3
			cfg.RequestTimeout, cfg.JobTimeout, cfg.LeaseTime = 5*time.Second, 10*time.Minute, time.Minute
			cfg.StreamBytesMin, cfg.BufferBytes, cfg.BatchesMax = 2000, 50_000, 60
			cfg.ExtentBytesMax = 3 << 20
		}))
	}
	var tps []catalog.TopicPartition
	held := c.catalog.View()
	for step := range 400 {
		time.Sleep(time.Duration(c.rng.Int64N(int64(4 * time.Second))))
		switch n := c.rng.IntN(30); {
		case len(tps) == 0 || n == 0 && len(tps) < 6:
			tps = append(tps, c.partitions(fmt.Sprint("t", step), 2, func(cfg *catalog.TopicConfig) {
				if c.rng.IntN(2) == 0 {
					cfg.RetentionMs = 10 * 60_000
				}
			})...)
		case n == 1 && len(tps) > 2:
			i := c.rng.IntN(len(tps))
			c.propose(catalog.DeleteTopic{ID: tps[i].Topic})
			for j := len(tps) - 1; j >= 0; j-- {
				if tps[j].Topic == tps[i].Topic && j != i {
					tps = append(tps[:j], tps[j+1:]...)
					if j < i {
						i--
					}
				}
			}
			tps = append(tps[:i], tps[i+1:]...)
		case n == 2:
			tp := tps[c.rng.IntN(len(tps))]
			p := c.catalog.View().Partition(tp)
			c.propose(catalog.Trim{Partition: tp, Before: p.LogStart() + (p.End()-p.LogStart())/2})
		case n == 3:
			c.flush(1_500_000, 2, tps[c.rng.IntN(len(tps))]) // longer than a block
		default:
			c.rng.Shuffle(len(tps), func(i, j int) { tps[i], tps[j] = tps[j], tps[i] })
			c.flush(100+c.rng.IntN(3000), 1+c.rng.IntN(3), tps[:1+c.rng.IntN(len(tps))]...)
		}
		c.check(tps...)
		// A fetch planned some seconds ago finds all that it planned to read.
		for _, tp := range tps {
			if held.Partition(tp) == nil {
				continue
			}
			if _, err := c.read(held, tp); err != nil {
				c.t.Fatalf("%s by an older view: %v", tp, err)
			}
		}
		if step%8 == 0 {
			held = c.catalog.View()
		}
	}
	c.store.Randomize(0, faultstore.Probabilities{})
	for range 90 {
		time.Sleep(time.Minute)
		c.propose(catalog.Expire{})
	}
	c.check(tps...)
	live := map[catalog.ObjectID]bool{}
	for _, tp := range tps {
		for _, e := range c.extents(tp) {
			live[e.Object] = true
		}
		if n := c.catalog.View().Partition(tp).ExtentCount(); n > 12 {
			c.t.Errorf("%s has %d extents in the end", tp, n)
		}
	}
	for id := range c.segments() {
		if !live[id] {
			c.t.Errorf("%s is left in the store", id)
		}
	}
	if n := c.catalog.View().Counts().Garbage; n != 0 {
		c.t.Errorf("%d objects of garbage are left", n)
	}
	synctest.Wait()
}
