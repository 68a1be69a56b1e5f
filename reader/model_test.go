package reader

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// TestFetchAgainstModel compares readers of random settings with a naive model
// over random histories.
func TestFetchAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLog(t)
		var readers []*Reader
		for range 2 {
			r := l.reader(func(c *Config) { drawConfig(rt, c) })
			defer r.Close()
			readers = append(readers, r)
		}
		actions := map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) { l.commit(drawUnits(rt)...) },
			"trim": func(rt *rapid.T) {
				tp := part(rapid.Int32Range(0, 2).Draw(rt, "partition"))
				l.trim(tp, catalog.Offset(rapid.Int64Range(0, int64(l.end(tp))).Draw(rt, "before")))
			},
			"fetch": func(rt *rapid.T) {
				q := l.drawQuery(rt)
				for _, r := range readers {
					l.checkDrawn(rt, r, q)
				}
			},
			"replay": func(rt *rapid.T) {
				q := l.drawQuery(rt)
				r := rapid.SampledFrom(readers).Draw(rt, "reader")
				for q.Offset = l.start[q.Partition]; q.Offset < l.end(q.Partition) && q.Offset != q.Until; {
					l.checkDrawn(rt, r, q)
					next := l.expect(q).NextOffset
					if next == q.Offset {
						break
					}
					q.Offset = next
				}
			},
			"time": func(rt *rapid.T) {
				tp := part(rapid.Int32Range(0, 2).Draw(rt, "partition"))
				ms := rapid.Int64Range(-2, 12).Draw(rt, "ms")
				offset, at, ok := l.atTime(tp, ms)
				gotOffset, gotAt, gotOK, err := rapid.SampledFrom(readers).Draw(rt, "reader").OffsetAtTime(context.Background(), tp, ms)
				if err != nil || gotOK != ok || gotOffset != offset || gotAt != at {
					rt.Fatalf("offset at %d of %s: %d, %d, %v, %v; expected %d, %d, %v", ms, tp, gotOffset, gotAt, gotOK, err, offset, at, ok)
				}
			},
		}
		rt.Repeat(actions)
		for _, r := range readers {
			r.loader.running.Wait() // no fetch is under way
			l.checkIdle(r)
		}
	})
}

func drawConfig(rt *rapid.T, c *Config) {
	c.WholeObjectBytes = rapid.SampledFrom([]int64{0, 10_000, 1 << 30}).Draw(rt, "WholeObjectBytes")
	c.RecentBytes = rapid.SampledFrom([]int64{0, 1 << 20, 64 << 20}).Draw(rt, "RecentBytes")
	c.CacheBytes = rapid.SampledFrom([]int64{1 << 20, 64 << 20}).Draw(rt, "CacheBytes")
	c.ReplayCacheBytes = rapid.SampledFrom([]int64{0, 1 << 20, 64 << 20}).Draw(rt, "ReplayCacheBytes")
	for _, lane := range []*Lane{&c.Live, &c.Replay} {
		lane.BytesMax = rapid.SampledFrom([]int64{1, 1 << 20, 64 << 20}).Draw(rt, "BytesMax")
		lane.LoadsMax = rapid.SampledFrom([]int{1, 2, 64}).Draw(rt, "LoadsMax")
	}
	c.LiveAge = rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(rt, "LiveAge")
	c.ReplayAfterBytes = rapid.SampledFrom([]int64{0, 10_000, 1 << 30}).Draw(rt, "ReplayAfterBytes")
	c.RangeBytesMax = rapid.SampledFrom([]int64{0, 2 << 20, 64 << 20}).Draw(rt, "RangeBytesMax")
	c.LoadsPerFetch = rapid.IntRange(1, 4).Draw(rt, "LoadsPerFetch")
	c.ReadAheadBytesMax = rapid.SampledFrom([]int64{0, 1 << 20, 32 << 20}).Draw(rt, "ReadAheadBytesMax")
}

func drawUnits(rt *rapid.T) []unit {
	var units []unit
	for range rapid.IntRange(1, 6).Draw(rt, "units") {
		u := unit{
			partition: part(rapid.Int32Range(0, 2).Draw(rt, "partition")),
			codec:     rapid.SampledFrom([]recordbatch.Codec{recordbatch.None, recordbatch.LZ4}).Draw(rt, "codec"),
			rejected:  rapid.IntRange(0, 5).Draw(rt, "rejected") == 0,
			stamp:     rapid.SampledFrom([]int64{0, 0, 5}).Draw(rt, "stamp"),
		}
		valueLen := rapid.SampledFrom([]int{10, 1000, 120_000}).Draw(rt, "valueLen")
		for range rapid.IntRange(1, 5).Draw(rt, "batches") {
			times := rapid.SliceOfN(rapid.Int64Range(0, 10), 1, 4).Draw(rt, "timestamps")
			u.batches = append(u.batches, batchOf(valueLen, times...))
		}
		units = append(units, u)
	}
	return units
}

func (l *log) drawQuery(rt *rapid.T) Query {
	tp := part(rapid.Int32Range(0, 2).Draw(rt, "partition"))
	q := Query{
		Partition:  tp,
		Offset:     catalog.Offset(rapid.Int64Range(-1, int64(l.end(tp))+1).Draw(rt, "offset")),
		Until:      NoUntil,
		MaxBytes:   rapid.SampledFrom([]int{1, 5000, 300_000, 5 << 20}).Draw(rt, "max_bytes"),
		MaxRecords: rapid.SampledFrom([]int{0, 1, 3, 20}).Draw(rt, "max_records"),
	}
	if rapid.Bool().Draw(rt, "closed") {
		q.Until = max(q.Offset, 0) + catalog.Offset(rapid.Int64Range(0, 20).Draw(rt, "until"))
	}
	return q
}

func (l *log) checkDrawn(rt *rapid.T, r *Reader, q Query) {
	got, err := r.Fetch(context.Background(), q)
	start, end := l.start[q.Partition], l.end(q.Partition)
	if q.Offset < start || q.Offset > end {
		var out *OutOfRangeError
		if !errors.As(err, &out) || *out != (OutOfRangeError{Offset: q.Offset, Bounds: Bounds{start, end}}) || out.Below() != (q.Offset < start) {
			rt.Fatalf("fetch %+v outside of [%d, %d]: %v", q, start, end, err)
		}
		return
	}
	if err != nil {
		rt.Fatalf("fetch %+v: %v", q, err)
	}
	if diff := differ(got, l.expect(q)); diff != "" {
		rt.Fatalf("fetch %+v: %s", q, diff)
	}
}
