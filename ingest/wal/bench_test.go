package wal_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/ingest/wal"
)

// BenchmarkRawSync is what the disk gives: one write at the end of a file and
// one fdatasync, again and again.
func BenchmarkRawSync(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			f, err := wal.OS{}.Create(filepath.Join(b.TempDir(), "raw"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			payload := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			pos := int64(0)
			for b.Loop() {
				if _, err := f.WriteAt(payload, pos); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
				if pos += int64(size); pos > 64<<20 {
					pos = 0
					if err := f.Truncate(0); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkAppendWait is append and wait, by callers that each have one frame
// in flight and release what is long done.
func BenchmarkAppendWait(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		for _, writers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("size=%d/writers=%d", size, writers), func(b *testing.B) {
				benchmarkAppendWait(b, size, writers)
			})
		}
	}
}

func benchmarkAppendWait(b *testing.B, size, writers int) {
	cfg := wal.DefaultConfig()
	cfg.Dir = filepath.Join(b.TempDir(), "wal")
	l := mustStart(b, cfg, wal.OS{}, uuid.New())
	var (
		mu     sync.Mutex
		number uint64
		left   atomic.Int64
		wg     sync.WaitGroup
	)
	left.Store(int64(b.N))
	payload := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				mu.Lock()
				number++
				mine := number
				ticket, err := l.Append(mine, payload)
				mu.Unlock()
				if err == nil {
					err = ticket.Wait(context.Background())
				}
				if err != nil {
					b.Error(err)
					return
				}
				if mine > 10_000 {
					l.Release(mine - 10_000)
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/l.metric(b, "wadi_wal_syncs_total"), "frames/sync")
	l.mustStopAndClose(b)
}

// BenchmarkLeftovers is the reading at start-up: the survey of a full file.
func BenchmarkLeftovers(b *testing.B) {
	cfg := wal.DefaultConfig()
	cfg.Dir = filepath.Join(b.TempDir(), "wal")
	l := mustStart(b, cfg, wal.OS{}, uuid.New())
	payload := make([]byte, 64<<10)
	for number := range uint64(1000) {
		l.mustAppendAndWait(b, number+1, payload)
	}
	l.mustStopAndClose(b)
	b.SetBytes(1000 * int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		node := uuid.New()
		l := mustCreate(b, cfg, wal.OS{}, node)
		if _, err := l.Leftovers(); err != nil {
			b.Fatal(err)
		}
		l.mustStopAndClose(b)
		if err := os.Remove(filepath.Join(cfg.Dir, wal.FileName(node, 1))); err != nil {
			b.Fatal(err)
		}
	}
}
