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
)

// history commits objects of 40 KB with a record of partition 0 each, an hour ago.
func (l *log) history(objects int) {
	l.tb.Helper()
	for range objects {
		l.commit(unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(40_000, 1)}})
	}
	l.age(time.Hour)
}

// TestLiveReadIsNotQueuedBehindReplays: ten replays ask for more than their lane
// takes at a time, from a store that needs a second for each object. A record that
// another node has just written is read in one second nevertheless.
func TestLiveReadIsNotQueuedBehindReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		l.history(100)
		r := l.reader(func(c *Config) { c.Replay = Lane{BytesMax: 100_000, LoadsMax: 2} })
		l.store.Add(faultstore.Rule{Op: objstore.OpGet, Times: faultstore.Always, Fault: faultstore.DelayBy(time.Second)})
		var replays sync.WaitGroup
		for n := range 10 {
			replays.Go(func() { l.check(r, query(part(0), catalog.Offset(10*n))) })
		}
		synctest.Wait()
		for range 3 {
			l.commit(small(1, 1))
			began := time.Now()
			l.check(r, query(part(1), l.end(part(1))-1))
			if took := time.Since(began); took != time.Second {
				t.Errorf("a live read took %s", took)
			}
		}
		// So is the last record of a partition that has been quiet for long.
		l.commit(small(2, 1))
		l.age(time.Hour)
		began := time.Now()
		l.check(r, query(part(2), 0))
		if took := time.Since(began); took != time.Second {
			t.Errorf("a read of the last record took %s", took)
		}
		replays.Wait()
		synctest.Wait()
		l.checkIdle(r)
	})
}

// TestLiveReadOfWhatAReplayWaitsFor: a load that waits in the lane of replays does
// not keep back somebody at the tail who needs the same object.
func TestLiveReadOfWhatAReplayWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		l.history(4)
		l.commit(
			unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(40_000, 1)}},
			unit{partition: part(1), batches: [][]recordbatch.Record{batchOf(10, 1)}},
		)
		r := l.reader(func(c *Config) { c.Replay, c.ReplayAfterBytes = Lane{BytesMax: 1, LoadsMax: 1}, 0 })
		l.store.Add(faultstore.Rule{Op: objstore.OpGet, Times: faultstore.Always, Fault: faultstore.DelayBy(time.Second)})
		var replays sync.WaitGroup
		replays.Go(func() {
			q := query(part(0), 0)
			q.MaxRecords = 1
			l.check(r, q)
			l.check(r, query(part(0), 1)) // in sequence, so all of it is replay
		})
		time.Sleep(1500 * time.Millisecond)
		began := time.Now()
		l.check(r, query(part(1), 0))
		if took := time.Since(began); took != time.Second {
			t.Errorf("a live read took %s", took)
		}
		replays.Wait()
		synctest.Wait()
		l.checkIdle(r)
	})
}

// TestReplaysShareALane: they wait for each other, within the bounds of their lane.
func TestReplaysShareALane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		l.history(40)
		r := l.reader(func(c *Config) { c.Replay, c.ReplayCacheBytes = Lane{BytesMax: 1 << 20, LoadsMax: 2}, 0 })
		l.store.Add(faultstore.Rule{Op: objstore.OpGet, Times: faultstore.Always, Fault: faultstore.DelayBy(time.Second)})
		began := time.Now()
		l.check(r, everything())
		// The last one is read as the tail.
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("39 loads, 2 at a time, took %s", took)
		}
		l.checkIdle(r)
	})
}

// TestReplaysLeaveTheTailInTheCache: what was written last is served from memory
// however much history was read since.
func TestReplaysLeaveTheTailInTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		l.history(100)
		r := l.reader(func(c *Config) { c.CacheBytes, c.RecentBytes, c.ReplayCacheBytes = 1<<20, 300_000, 400_000 })
		for range 4 {
			l.commit(unit{partition: part(1), batches: [][]recordbatch.Record{batchOf(40_000, 1)}})
		}
		tail := query(part(1), 0)
		l.check(r, tail)
		for range 3 {
			q := query(part(0), 0)
			for q.MaxBytes = 100_000; q.Offset < l.end(q.Partition); q.Offset = l.expect(q).NextOffset {
				l.check(r, q)
			}
		}
		synctest.Wait()
		before := l.store.Count(objstore.OpGet)
		l.check(r, tail)
		if n := l.store.Count(objstore.OpGet) - before; n != 0 {
			t.Errorf("the tail was loaded again, with %d requests", n)
		}
		for k, part := range r.loader.cache.rings {
			if bytes, _ := part.size(); bytes > part.max {
				t.Errorf("lane %s has %d bytes in the cache, of %d", laneKind(k), bytes, part.max)
			}
		}
	})
}

// TestWhoReadsOnIsAReplay: also of what was committed lately.
func TestWhoReadsOnIsAReplay(t *testing.T) {
	l := newLog(t)
	l.commit(small(0, 1))
	l.commit(small(0, 1))
	p := l.replica.recent.Partition(part(0))
	first := p.Extents(0, 1)[0]
	r := l.reader(func(c *Config) { c.ReplayAfterBytes = 100 })
	for run, want := range map[int64]laneKind{0: live, 100: live, 101: replay} {
		if got := r.laneOf(l.replica.recent, p, first, run); got != want {
			t.Errorf("after %d bytes: %s", run, got)
		}
	}
	l.age(r.cfg.LiveAge + time.Millisecond)
	if got := r.laneOf(l.replica.recent, p, first, 0); got != replay {
		t.Errorf("after a while: %s", got)
	}
}
