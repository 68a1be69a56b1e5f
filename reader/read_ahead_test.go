package reader

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// reads returns the keys that were read from the store since the last call.
func (l *log) reads() func() []string {
	var (
		mu   sync.Mutex
		keys []string
	)
	l.store.SetHook(func(_, key string) {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, key)
	})
	return func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		got := keys
		keys = nil
		return got
	}
}

// objectSize is that of the first object of partition 0.
func (l *log) objectSize() int64 {
	x := l.replica.recent.Partition(part(0)).Extents(0, 1)[0]
	o, _ := l.replica.recent.Object(x.Object)
	return o.Size
}

func TestReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		for range 9 {
			l.commit(small(0, 1))
		}
		r := l.reader(func(c *Config) { c.ReadAheadBytesMax = 2 * l.objectSize() })
		reads := l.reads()
		for i, c := range []struct {
			offset catalog.Offset
			want   int // objects read since
		}{
			{0, 1}, // nobody knows yet that the reader goes on
			{1, 3}, // it does: its own, and two ahead
			{2, 1}, // its own was there; one more ahead
			{3, 1},
			{7, 1}, // not in sequence
			{8, 1}, // in sequence, but there is nothing after it
		} {
			q := query(part(0), c.offset)
			q.MaxRecords = 1
			l.check(r, q)
			if got := reads(); len(got) != c.want {
				t.Errorf("step %d read %d objects, expected %d: %v", i, len(got), c.want, got)
			}
		}
		l.checkIdle(r)
	})
}

func TestReadAheadGrowsAndShrinks(t *testing.T) {
	const most = 10 * blockLen
	at := trail{}
	for i, c := range []struct {
		bytes int64
		room  bool
		want  int64
	}{
		{2 * blockLen, true, 2 * blockLen},
		{blockLen, true, 4 * blockLen},
		{blockLen, true, 8 * blockLen},
		{blockLen, true, most},
		{blockLen, true, most},
		{blockLen, false, most / 2},
		{blockLen, false, most / 4},
		{blockLen, false, most / 8},
		{blockLen, false, blockLen},
		{blockLen, false, blockLen},
		{blockLen, true, 2 * blockLen},
	} {
		before := at.run
		if at = at.step(c.bytes, most, c.room); at.ahead != c.want || at.run != before+c.bytes {
			t.Errorf("step %d: %d bytes ahead after %d, expected %d", i, at.ahead, at.run, c.want)
		}
	}
	if got := (trail{}).step(1, 0, true); got.ahead != 0 {
		t.Errorf("%d bytes ahead, though none are wanted", got.ahead)
	}
}

func TestReadAheadStopsAtUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		for range 8 {
			l.commit(small(0, 1))
		}
		r := l.reader(nil)
		reads := l.reads()
		q := query(part(0), 0)
		q.MaxRecords, q.Until = 1, 3
		for ; q.Offset < q.Until; q.Offset++ {
			l.check(r, q)
		}
		if got := reads(); len(got) != 3 {
			t.Errorf("read %d objects", len(got))
		}
		// Whoever asks for one closed range after the other goes on, too.
		q.Until = 5
		l.check(r, q)
		q.Offset, q.Until = 4, 5
		l.check(r, q)
		if got := reads(); len(got) != 5 {
			t.Errorf("read %d objects", len(got))
		}
	})
}

func TestReadAheadYieldsToLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		id := l.commit(small(0, 1))
		l.commit(small(1, 1))
		o, _ := l.replica.recent.Object(id)
		next, _ := (&loader{cfg: DefaultConfig()}).wholePiece(o, l.replica.recent.Partition(part(0)).Extents(0, 1)[0], live)
		r := l.reader(func(c *Config) { c.Live.BytesMax = 1 })
		l.store.Add(faultstore.Rule{Times: faultstore.Always, Fault: faultstore.DelayBy(time.Second)})
		var other sync.WaitGroup
		other.Go(func() { l.check(r, query(part(1), 0)) })
		synctest.Wait()
		if r.loader.ahead(live, next.sources) {
			t.Error("read ahead beside a load that takes all of the budget")
		}
		other.Wait()
		if !r.loader.ahead(live, next.sources) {
			t.Error("did not read ahead although nothing else is loaded")
		}
		l.check(r, query(part(0), 0)) // shares that load
		if n := l.store.Count(objstore.OpGet); n != 2 {
			t.Errorf("%d requests, expected 2", n)
		}
		synctest.Wait()
		l.checkIdle(r)
	})
}

// TestReadAheadFitsTheCache: what was read ahead and not used takes a quarter of the
// lane's cache at most, and none of it is lost.
func TestReadAheadFitsTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		for range 60 {
			l.commit(
				unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(40_000, 1)}},
				unit{partition: part(1), batches: [][]recordbatch.Record{batchOf(40_000, 1)}},
			)
		}
		l.age(time.Hour)
		r := l.reader(func(c *Config) { c.ReplayCacheBytes, c.CacheBytes = 1<<20, 1<<20 })
		l.store.Add(faultstore.Rule{Times: faultstore.Always, Fault: faultstore.DelayBy(time.Second)})
		l.store.SetHook(func(string, string) {
			unused := r.loader.cache.unused(replay)
			r.loader.mu.Lock()
			defer r.loader.mu.Unlock()
			if n := unused + r.loader.lanes[replay].aheads; n > 1<<18+l.objectSize() { // one on its way into the cache counts twice
				t.Errorf("%d bytes read ahead", n)
			}
		})
		var all sync.WaitGroup
		for n := range int32(2) {
			all.Go(func() {
				q := query(part(n), 0)
				for q.MaxRecords = 1; q.Offset < l.end(q.Partition); q.Offset++ {
					l.check(r, q)
				}
			})
		}
		all.Wait()
		synctest.Wait()
		if n := l.store.Count(objstore.OpGet); n != 60 {
			t.Errorf("%d requests for 60 objects", n)
		}
		if n := r.loader.cache.unused(replay); n != 0 {
			t.Errorf("%d bytes were never used", n)
		}
		l.checkIdle(r)
	})
}

// TestLargeObjectIsReadInLargeRanges replays an object of many blocks: each byte
// is read once, with few requests.
func TestLargeObjectIsReadInLargeRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		u := unit{partition: part(0)}
		for range 80 {
			u.batches = append(u.batches, batchOf(500_000, 1))
		}
		id := l.commit(u)
		l.age(time.Hour)
		r := l.reader(func(c *Config) {
			c.WholeObjectBytes, c.ReplayCacheBytes, c.CacheBytes, c.ReadAheadBytesMax = 0, 32<<20, 1<<20, 16<<20
		})
		q := query(part(0), 0)
		for q.Offset < l.end(q.Partition) {
			got, err := r.Fetch(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := differ(got, l.expect(q)); diff != "" {
				t.Fatal(diff)
			}
			q.Offset = got.NextOffset
			synctest.Wait()
		}
		o, _ := l.replica.recent.Object(id)
		blocks := int(int64(o.IndexPos)>>20) + 1
		if n := l.store.Count(objstore.OpGetRange); n > blocks/2 || n < blocks/8 {
			t.Errorf("%d requests for %d blocks", n, blocks)
		}
		if n := r.loader.cache.unused(replay); n != 0 {
			t.Errorf("%d bytes were never used", n)
		}
	})
}

// TestDamagedBlockLeavesItsNeighbours: what was asked for together with a damaged
// block is served.
func TestDamagedBlockLeavesItsNeighbours(t *testing.T) {
	for name, damage := range map[string]func(body []byte) []byte{
		"flipped": func(body []byte) []byte { body[2<<20+100] ^= 1; return body },
		"cut off": func(body []byte) []byte { return body[:2<<20+100] },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			id := l.commit(longUnit())
			got, err := l.mem.Get(t.Context(), segment.Key(id))
			if err != nil {
				t.Fatal(err)
			}
			r := l.reader(func(c *Config) { c.WholeObjectBytes = 0 })
			o, _ := l.replica.recent.Object(id)
			if _, err := r.loader.one(t.Context(), indexSource(o, live)); err != nil {
				t.Fatal(err)
			}
			l.mem.Replace(segment.Key(id), damage(append([]byte(nil), got.Body...)))
			served, err := r.Fetch(t.Context(), everything())
			if err != nil {
				t.Fatal(err)
			}
			bytes := 0
			for _, b := range served.Batches {
				bytes += len(b)
			}
			if bytes < 1<<20 || bytes > 2<<20 {
				t.Errorf("%d bytes before the damage at 2 MiB", bytes)
			}
			q := everything()
			q.Offset = served.NextOffset
			if _, err := r.Fetch(t.Context(), q); !isCorrupt(err) {
				t.Errorf("the damage itself: %v", err)
			}
		})
	}
}

// TestBlocksSideBySideAreOneRequest, also of a fetch that nobody foresaw.
func TestBlocksSideBySideAreOneRequest(t *testing.T) {
	l := newLog(t)
	l.commit(longUnit())
	for most, want := range map[int64]int{0: 4, 2 << 20: 3, 4 << 20: 2} {
		r := l.reader(func(c *Config) { c.WholeObjectBytes, c.RangeBytesMax = 0, most })
		before := l.store.Count(objstore.OpGetRange)
		q := everything()
		q.MaxBytes = 4 << 20
		l.check(r, q)
		if n := l.store.Count(objstore.OpGetRange) - before; n != want {
			t.Errorf("%d requests for the index and three blocks with at most %d bytes in each, expected %d", n, most, want)
		}
	}
}

func TestTrailsAreBounded(t *testing.T) {
	trails := newTrails()
	for n := range 3 * trailsMax {
		trails.leave(part(0), catalog.Offset(n), trail{ahead: 1})
		trails.follow(part(0), catalog.Offset(n-n%2)) // every other one is taken up
		trails.leave(part(1), 7, trail{ahead: 2})     // the same place again and again
	}
	if len(trails.ends) > trailsMax || len(trails.order) > trailsMax {
		t.Errorf("%d places, %d in order", len(trails.ends), len(trails.order))
	}
	if got := trails.follow(part(1), 7); got.ahead != 2 {
		t.Errorf("trail %+v", got)
	}
	if got := trails.follow(part(1), 7); got != (trail{}) {
		t.Errorf("trail %+v of a place that was taken up", got)
	}
}
