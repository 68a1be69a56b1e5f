package reader

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// benchLog is objects of about 8 MiB, each with three partitions' batches of 64
// records of 1 KiB.
func benchLog(b *testing.B, objects int) *log {
	l := newLog(b)
	times := make([]int64, 64)
	for range objects {
		units := make([]unit, 3)
		for n := range units {
			units[n].partition = part(int32(n))
			for range 40 {
				units[n].batches = append(units[n].batches, batchOf(1024, times...))
			}
		}
		l.commit(units...)
	}
	return l
}

// replay fetches all of the three partitions in fetches of 4 MiB.
func (l *log) replay(b *testing.B, r *Reader) (bytes int64) {
	for n := range int32(3) {
		q := Query{Partition: part(n), Until: NoUntil, MaxBytes: 4 << 20}
		for q.Offset < l.end(part(n)) {
			got, err := r.Fetch(context.Background(), q)
			if err != nil {
				b.Fatal(err)
			}
			for _, batch := range got.Batches {
				bytes += int64(len(batch))
			}
			q.Offset = got.NextOffset
		}
	}
	return bytes
}

func BenchmarkReplayWarm(b *testing.B) {
	for name, whole := range map[string]int64{"whole": 16 << 20, "ranges": 0} {
		b.Run(name, func(b *testing.B) {
			l := benchLog(b, 4)
			r := l.reader(func(c *Config) { c.RecentBytes, c.CacheBytes, c.WholeObjectBytes = 64<<20, 64<<20, whole })
			defer r.Close()
			b.SetBytes(l.replay(b, r))
			b.ReportAllocs()
			for b.Loop() {
				l.replay(b, r)
			}
		})
	}
}

func BenchmarkReplayCold(b *testing.B) {
	for name, whole := range map[string]int64{"whole": 16 << 20, "ranges": 0} {
		b.Run(name, func(b *testing.B) {
			l := benchLog(b, 4)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				r := l.reader(func(c *Config) { c.RecentBytes, c.CacheBytes, c.WholeObjectBytes = 64<<20, 64<<20, whole })
				b.StartTimer()
				b.SetBytes(l.replay(b, r))
				b.StopTimer()
				r.Close()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkTail fetches one small batch, as a consumer at the end of a log does.
func BenchmarkTail(b *testing.B) {
	l := newLog(b)
	for range 1000 {
		l.commit(unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(1024, 1)}})
	}
	r := l.reader(func(c *Config) { c.ReadAheadBytesMax = 0 })
	defer r.Close()
	q := Query{Partition: part(0), Offset: l.end(part(0)) - 1, Until: NoUntil, MaxBytes: 1 << 20, MinBytes: 1, MaxWait: time.Second}
	b.ReportAllocs()
	for b.Loop() {
		if got, err := r.Fetch(context.Background(), q); err != nil || got.NextOffset != catalog.Offset(1000) {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplaySlowStore replays one partition from a large object in a store
// that answers after 20 ms, and then with 80 MB/s on each connection, as S3 does.
func BenchmarkReplaySlowStore(b *testing.B) {
	l := newLog(b)
	u := unit{partition: part(0)}
	for range 192 {
		u.batches = append(u.batches, batchOf(1024, make([]int64, 1000)...))
	}
	l.commit(u)
	l.age(time.Hour)
	for b.Loop() {
		b.StopTimer()
		cfg := DefaultConfig()
		r, err := New(cfg, l.replica, slowBucket{l.mem}, prometheus.NewRegistry())
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		var bytes, later int64
		var begun time.Time // reading later bytes, when read-ahead has grown
		q := Query{Partition: part(0), Until: NoUntil, MaxBytes: 4 << 20}
		for q.Offset < l.end(q.Partition) {
			got, err := r.Fetch(context.Background(), q)
			if err != nil {
				b.Fatal(err)
			}
			for _, batch := range got.Batches {
				bytes += int64(len(batch))
				if !begun.IsZero() {
					later += int64(len(batch))
				}
			}
			if begun.IsZero() && bytes > 64<<20 {
				begun = time.Now()
			}
			q.Offset = got.NextOffset
		}
		b.SetBytes(bytes)
		b.ReportMetric(float64(later)/1e6/time.Since(begun).Seconds(), "MB/s-later")
		b.StopTimer()
		r.Close()
		b.StartTimer()
	}
}

// slowBucket answers as a store far away does.
type slowBucket struct{ bucket }

func (s slowBucket) GetRange(ctx context.Context, key string, pos, length int64) (objstore.Object, error) {
	time.Sleep(20*time.Millisecond + time.Duration(length)*time.Second/80e6)
	return s.bucket.GetRange(ctx, key, pos, length)
}
