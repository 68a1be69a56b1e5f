package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/internal/objstore"
)

const (
	rawObjectBytes = 8 << 20 // as large as a segment
	rawInFlight    = 4
	rawSmallBytes  = 2 << 10 // as large as a journal entry
	// rawKept is how many objects are there to be read, so that GETs do not
	// all ask for the same one.
	rawKept = 32
)

// rawStore measures the store itself, with the driver that nodes use.
type rawStore struct {
	bucket objstore.Bucket
	prefix string
	body   []byte
	small  []byte
	puts   atomic.Int64
}

func newRawStore(bucket objstore.Bucket, prefix string) *rawStore {
	r := &rawStore{bucket: bucket, prefix: prefix, body: make([]byte, rawObjectBytes), small: make([]byte, rawSmallBytes)}
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(r.body) // never fails
	_, _ = random.Read(r.small)
	return r
}

func (r *rawStore) key(n int64) string { return fmt.Sprintf("%s/object-%06d", r.prefix, n) }

// rate is bytes per second, and this process's CPU seconds per GiB.
type rate struct{ bytesPerSecond, cpuPerGiB float64 }

// put puts objects for a while, none under a key that was there.
func (r *rawStore) put(ctx context.Context, d time.Duration) (rate, error) {
	return r.transfer(ctx, d, func(ctx context.Context, _ int64) error {
		_, err := r.bucket.Put(ctx, r.key(r.puts.Add(1)-1), r.body)
		return err
	})
}

// get reads objects that put has put, whole.
func (r *rawStore) get(ctx context.Context, d time.Duration) (rate, error) {
	there := min(rawKept, r.puts.Load())
	return r.transfer(ctx, d, func(ctx context.Context, n int64) error {
		o, err := r.bucket.Get(ctx, r.key(n%there))
		if err == nil && len(o.Body) != rawObjectBytes {
			err = fmt.Errorf("get: %d bytes", len(o.Body))
		}
		return err
	})
}

func (r *rawStore) transfer(ctx context.Context, d time.Duration, operate func(context.Context, int64) error) (rate, error) {
	group, ctx := errgroup.WithContext(ctx)
	var next, done atomic.Int64
	cpu, began := ownCPU(), time.Now()
	for range rawInFlight {
		group.Go(func() error {
			for time.Since(began) < d {
				err := operate(ctx, next.Add(1)-1)
				if errors.Is(err, objstore.ErrThrottled) {
					continue
				}
				if err != nil {
					return err
				}
				done.Add(rawObjectBytes)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return rate{}, err
	}
	bytes := float64(done.Load())
	return rate{bytes / time.Since(began).Seconds(), (ownCPU() - cpu).Seconds() / (bytes / gib)}, nil
}

// latency is in seconds.
type latency struct{ p50, p99 float64 }

// lockstep does one thing after the other for a while.
func lockstep(d time.Duration, operate func(n int) error) (latency, error) {
	return concurrent(d, 1, operate)
}

// concurrent does many things for a while, so many at a time. A store that is
// asked too much is asked again, and such requests are not counted.
func concurrent(d time.Duration, inFlight int, operate func(n int) error) (latency, error) {
	h := hdrhistogram.New(1, time.Minute.Nanoseconds(), 3)
	var mu sync.Mutex // guards h
	var next atomic.Int64
	var group errgroup.Group
	began := time.Now()
	for range inFlight {
		group.Go(func() error {
			for time.Since(began) < d {
				start := time.Now()
				err := operate(int(next.Add(1) - 1))
				if errors.Is(err, objstore.ErrThrottled) {
					continue
				}
				took := time.Since(start).Nanoseconds()
				mu.Lock()
				err = errors.Join(err, h.RecordValue(took))
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return latency{}, err
	}
	seconds := func(quantile float64) float64 { return float64(h.ValueAtQuantile(quantile)) / 1e9 }
	return latency{seconds(50), seconds(99)}, nil
}

func (r *rawStore) smallPut(ctx context.Context, d time.Duration, inFlight int) (latency, error) {
	return concurrent(d, inFlight, func(n int) error {
		_, err := r.bucket.Put(ctx, fmt.Sprintf("%s/small-%06d", r.prefix, n), r.small)
		return err
	})
}

func (r *rawStore) putIfAbsent(ctx context.Context, d time.Duration, inFlight int) (latency, error) {
	return concurrent(d, inFlight, func(n int) error {
		_, err := r.bucket.PutIfAbsent(ctx, fmt.Sprintf("%s/slot-%06d", r.prefix, n), r.small)
		return err
	})
}

func (r *rawStore) smallGet(ctx context.Context, d time.Duration, inFlight int) (latency, error) {
	key := r.prefix + "/small-get"
	for {
		_, err := r.bucket.Put(ctx, key, r.small)
		if err == nil {
			break
		}
		if !errors.Is(err, objstore.ErrThrottled) {
			return latency{}, err
		}
	}
	return concurrent(d, inFlight, func(int) error {
		_, err := r.bucket.Get(ctx, key)
		return err
	})
}

// remove deletes the large objects, so that a sitting does not fill the disk.
func (r *rawStore) remove(ctx context.Context) error {
	for n := range r.puts.Load() {
		if _, err := r.bucket.Delete(ctx, r.key(n)); err != nil && !errors.Is(err, objstore.ErrThrottled) {
			return err
		}
	}
	return nil
}
