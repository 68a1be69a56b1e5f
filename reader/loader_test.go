package reader

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// The ways in which an extent can be loaded.
var loadings = []struct {
	name string
	edit func(*Config)
	unit unit
}{
	{"whole object", nil, unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(100, 1, 2), batchOf(100, 3)}}},
	{"extent", func(c *Config) { c.WholeObjectBytes = 0 }, unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(100, 1, 2), batchOf(100, 3)}}},
	{"blocks", func(c *Config) { c.WholeObjectBytes = 0 }, longUnit()},
}

// longUnit is a run of more than two blocks.
func longUnit() unit {
	u := unit{partition: part(0)}
	for i := range 9 {
		u.batches = append(u.batches, batchOf(150_000, int64(i), int64(i)))
	}
	return u
}

// everything asks for all records of partition 0.
func everything() Query {
	q := query(part(0), 0)
	q.MaxBytes = 64 << 20
	return q
}

func isCorrupt(err error) bool {
	var corrupt *segment.CorruptError
	return errors.As(err, &corrupt) && corrupt.Key != ""
}

func TestPassingFaultsAreNotSeen(t *testing.T) {
	faults := map[string]faultstore.Fault{
		"lost": faultstore.LoseRequest(), "cut": faultstore.CutRead(), "short": faultstore.ShortenRead(), "corrupt": faultstore.CorruptRead(),
		"failed": faultstore.FailBefore(), "throttled": faultstore.Throttle(), "hanging": faultstore.HangBefore(),
	}
	for _, loading := range loadings {
		for name, fault := range faults {
			t.Run(loading.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLog(t)
					l.commit(loading.unit)
					r := l.reader(loading.edit)
					l.store.Add(faultstore.Rule{Prefix: segment.KeyPrefix, Times: 2, Fault: fault})
					l.check(r, everything())
				})
			})
		}
	}
}

func TestLastingFaultsAreErrors(t *testing.T) {
	for _, loading := range loadings {
		for name, c := range map[string]struct {
			fault    faultstore.Fault
			is       error
			corrupt  bool
			attempts int
		}{
			"outage":    {faultstore.LoseRequest(), objstore.ErrUnavailable, false, 3},
			"hanging":   {faultstore.HangBefore(), context.DeadlineExceeded, false, 3},
			"throttled": {faultstore.Throttle(), objstore.ErrThrottled, false, 3},
			"short":     {faultstore.ShortenRead(), nil, true, 3},
			"corrupt":   {faultstore.CorruptRead(), nil, true, 3},
		} {
			t.Run(loading.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLog(t)
					l.commit(loading.unit)
					r := l.reader(loading.edit)
					l.store.Add(faultstore.Rule{Prefix: segment.KeyPrefix, Times: faultstore.Always, Fault: c.fault})
					got, err := r.Fetch(t.Context(), everything())
					var store *objstore.Error
					var invalid *recordbatch.InvalidError
					if err == nil || len(got.Batches) > 0 || isCorrupt(err) != c.corrupt || errors.As(err, &store) == c.corrupt ||
						c.is != nil && !errors.Is(err, c.is) || errors.As(err, &invalid) {
						t.Fatalf("got %d batches, %v", len(got.Batches), err)
					}
					if n := l.store.Count(objstore.OpGet) + l.store.Count(objstore.OpGetRange); n != c.attempts {
						t.Errorf("%d attempts, expected %d", n, c.attempts)
					}
					l.store.Reset()
					l.check(r, everything()) // nothing of the failure was kept
				})
			})
		}
	}
}

// TestFlippedByteIsNeverServed damages each byte of an object in turn (of a
// large one some, and all at its end, where the index is) and reads it in every
// way.
func TestFlippedByteIsNeverServed(t *testing.T) {
	for _, loading := range loadings {
		t.Run(loading.name, func(t *testing.T) {
			l := newLog(t)
			id := l.commit(loading.unit)
			got, err := l.mem.Get(t.Context(), segment.Key(id))
			if err != nil {
				t.Fatal(err)
			}
			const indexLenMax = 400
			step, failed := 1+len(got.Body)/100_000*997, 0
			for pos := 0; pos < len(got.Body); pos++ {
				if pos%step != 0 && pos < len(got.Body)-indexLenMax {
					continue
				}
				body := bytes.Clone(got.Body)
				body[pos] ^= 1 << (pos % 8)
				l.mem.Replace(segment.Key(id), body)
				func() {
					r := l.reader(loading.edit)
					defer r.Close()
					q := everything()
					for q.Offset < l.end(part(0)) {
						got, err := r.Fetch(t.Context(), q)
						if err != nil {
							if !isCorrupt(err) {
								t.Fatalf("byte %d: %v", pos, err)
							}
							failed++
							return
						}
						want := l.expect(q)
						for i := range got.Batches {
							if !bytes.Equal(got.Batches[i], want.Batches[i]) {
								t.Fatalf("byte %d was flipped and served", pos)
							}
						}
						q.Offset = got.NextOffset
					}
				}()
			}
			if failed == 0 {
				t.Error("no damage was noticed")
			}
		})
	}
}

func TestTruncatedObjectIsDamage(t *testing.T) {
	for _, loading := range loadings {
		t.Run(loading.name, func(t *testing.T) {
			l := newLog(t)
			id := l.commit(loading.unit)
			l.mem.Replace(segment.Key(id), []byte("short"))
			if _, err := l.reader(loading.edit).Fetch(t.Context(), everything()); !isCorrupt(err) {
				t.Fatal(err)
			}
		})
	}
}

func TestConcurrentFetchesShareALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		l.commit(unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(10, 1)}}, unit{partition: part(1), batches: [][]recordbatch.Record{batchOf(10, 1)}})
		r := l.reader(nil)
		l.store.Add(faultstore.Rule{Op: objstore.OpGet, Times: faultstore.Always, Fault: faultstore.DelayBy(time.Second)})

		leaving, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { // begins the load, and leaves
			if _, err := r.Fetch(leaving, query(part(0), 0)); !errors.Is(err, context.Canceled) {
				t.Errorf("a fetch whose caller left: %v", err)
			}
		})
		synctest.Wait()
		for n := range 10 {
			all.Go(func() { l.check(r, query(part(int32(n%2)), 0)) })
		}
		synctest.Wait()
		leave()
		all.Wait()
		if n := l.store.Count(objstore.OpGet); n != 1 {
			t.Errorf("%d requests, expected 1", n)
		}
	})
}

// TestLoadsStayWithinTheirBudget reads many objects at a time, each of which
// takes most of the budget, in opposite orders.
func TestLoadsStayWithinTheirBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		for range 12 {
			l.commit(
				unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(40_000, 1)}},
				unit{partition: part(1), batches: [][]recordbatch.Record{batchOf(40_000, 1)}},
			)
		}
		const budget = 100_000
		r := l.reader(func(c *Config) { c.Live.BytesMax, c.RecentBytes = budget, 0 })
		l.store.Add(faultstore.Rule{Op: objstore.OpGet, Times: faultstore.Always, Fault: faultstore.DelayBy(time.Second)})
		l.store.SetHook(func(string, string) {
			r.loader.mu.Lock()
			defer r.loader.mu.Unlock()
			if n := r.loader.lanes[live].bytes; n > budget {
				t.Errorf("loads of %d bytes, within %d", n, budget)
			}
		})
		var all sync.WaitGroup
		for n := range 8 {
			all.Go(func() { l.check(r, query(part(int32(n%2)), l.end(part(0))*0)) })
		}
		all.Wait()
		synctest.Wait()
		l.checkIdle(r)
	})
}

// checkIdle checks that no share is held when no fetch is under way.
func (l *log) checkIdle(r *Reader) {
	l.tb.Helper()
	r.loader.mu.Lock()
	defer r.loader.mu.Unlock()
	for k, in := range r.loader.lanes {
		if in.bytes != 0 || len(in.flights) != 0 || len(in.queue) != 0 || in.aheads != 0 || in.loads != 0 {
			l.tb.Fatalf("lane %s is idle with %d bytes, %d sources, %d queued, %d bytes ahead, %d loads", laneKind(k), in.bytes, len(in.flights), len(in.queue), in.aheads, in.loads)
		}
	}
}

// TestWindowsOverTheSameSourcesInOppositeOrder would hang if a window waited
// for a share while it held another.
func TestWindowsOverTheSameSourcesInOppositeOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		var sources []source
		for range 6 {
			id := l.commit(unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(1000, 1)}})
			o, _ := l.replica.recent.Object(id)
			p, _ := (&loader{cfg: DefaultConfig()}).wholePiece(o, l.replica.recent.Partition(part(0)).Extents(0, 1)[0], live)
			sources = append(sources, p.sources...)
		}
		reversed := append([]source(nil), sources...)
		for i := range reversed {
			reversed[i] = sources[len(sources)-1-i]
		}
		r := l.reader(func(c *Config) { c.Live.BytesMax, c.RecentBytes, c.CacheBytes = 1, 0, 1<<20 })
		l.store.Add(faultstore.Rule{Op: objstore.OpGet, Times: faultstore.Always, Fault: faultstore.DelayBy(time.Second)})
		var all sync.WaitGroup
		for n := range 6 {
			all.Go(func() {
				mine := [][]source{sources, reversed}[n%2]
				if err := r.loader.each(t.Context(), mine, func(int, block) error { return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		synctest.Wait()
		l.checkIdle(r)
	})
}

// TestWindowWhoseSourceTheCacheLost would hang if the window, which has to load
// that source out of order, held on to the one after it.
func TestWindowWhoseSourceTheCacheLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		var sources []source
		for range 4 {
			id := l.commit(small(0, 1))
			o, _ := l.replica.recent.Object(id)
			sources = append(sources, source{key: blockKey{object: id, len: o.Size}, kind: wholeObject, crc: o.IndexCRC, indexPos: o.IndexPos})
		}
		r := l.reader(func(c *Config) { c.Live.BytesMax, c.LoadsPerFetch, c.RecentBytes = 1, 2, 1<<20 })
		recent := r.loader.cache.rings[live]
		recent.put([]*ringBlock{{key: sources[1].key, block: block{bytes: []byte("about to go")}}}, 1)
		used := 0
		err := r.loader.each(t.Context(), sources, func(i int, b block) error {
			if i == 0 {
				recent.put([]*ringBlock{{key: blockKey{len: 1}, block: block{bytes: make([]byte, 1<<20)}}}, 1)
			}
			if int64(len(b.bytes)) != sources[i].key.len {
				t.Errorf("source %d has %d bytes", i, len(b.bytes))
			}
			used++
			return nil
		})
		if err != nil || used != len(sources) {
			t.Errorf("used %d, %v", used, err)
		}
		l.checkIdle(r)
	})
}

func TestCloseEndsLoads(t *testing.T) {
	l := newLog(t)
	id := l.commit(unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(10, 1)}})
	r := l.reader(nil)
	l.store.SetOutage(faultstore.Hanging)
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	l.store.SetHook(func(string, string) { close(began) })
	go func() { <-began; cancel() }()
	if _, err := r.Fetch(ctx, everything()); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.Close() // returns although the load hangs
	r.Close()
	r.Warm(id, []byte("after the end"))
}

func TestWarmServesWithoutTheStore(t *testing.T) {
	l := newLog(t)
	id := l.commit(unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(10, 1)}})
	got, err := l.mem.Get(t.Context(), segment.Key(id))
	if err != nil {
		t.Fatal(err)
	}
	r := l.reader(nil)
	r.Warm(id, got.Body)
	l.store.SetDown(true)
	l.check(r, everything())
}

func TestCheckBatchesReturnsTheCRCOfAll(t *testing.T) {
	var data []byte
	for i := range 20 {
		var err error
		if data, err = recordbatch.Append(data, batchOf(i*37, 1, 2, 3), recordbatch.None, recordbatch.NoProducer); err != nil {
			t.Fatal(err)
		}
	}
	crc, err := checkBatches(data)
	if want := crc32.Checksum(data, segment.Castagnoli); err != nil || crc != want {
		t.Fatalf("%08x, %v; expected %08x", crc, err, want)
	}
	if _, err := checkBatches(data[:len(data)-1]); err == nil {
		t.Error("a truncated run passed")
	}
}

// TestWindowOfRepeatedSources: a source that stands several times side by side
// is loaded and let go of once, also if the cache keeps nothing.
func TestWindowOfRepeatedSources(t *testing.T) {
	l := newLog(t)
	var sources []source
	for range 3 {
		id := l.commit(small(0, 1))
		o, _ := l.replica.recent.Object(id)
		s := source{key: blockKey{object: id, len: o.Size}, kind: wholeObject, crc: o.IndexCRC, indexPos: o.IndexPos}
		sources = append(sources, s, s, s)
	}
	r := l.reader(func(c *Config) { c.LoadsPerFetch, c.RecentBytes = 1, 0 })
	if err := r.loader.each(t.Context(), sources, func(i int, _ block) error {
		r.loader.cache.again.Clear()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r.loader.running.Wait()
	l.checkIdle(r)
}
