package journal

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
)

// witness is the bucket itself. It remembers every entry that ever landed, also
// those that were deleted since.
type witness struct {
	objstore.Bucket
	t    *testing.T
	keys keys

	mu     sync.Mutex
	landed map[Nonce]Entry // guarded by mu
	newest Slot            // highest that ever landed; guarded by mu
}

func newWitness(t *testing.T, bucket objstore.Bucket) *witness {
	k, err := newKeys("000")
	if err != nil {
		t.Fatal(err)
	}
	return &witness{Bucket: bucket, t: t, keys: k, landed: make(map[Nonce]Entry)}
}

func (w *witness) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	receipt, err := w.Bucket.PutIfAbsent(ctx, key, body)
	slot, ok := w.keys.parseSlot(key)
	if err != nil || !ok {
		return receipt, err
	}
	e, decodeErr := Decode(slot, append([]byte(nil), body...))
	if decodeErr != nil {
		w.t.Errorf("landed: %v", decodeErr)
	}
	w.landed[e.Nonce] = e
	w.newest = max(w.newest, slot)
	return receipt, err
}

func (w *witness) newestSlot() Slot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest
}

func (w *witness) find(n Nonce) (Entry, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.landed[n]
	return e, ok
}

// drowsy is the way of one node to the bucket. Every request takes some
// milliseconds, and now and then the process stops for seconds, before a request
// leaves or after it was answered: then its timeouts come too late to matter.
type drowsy struct {
	objstore.Bucket
	seed uint64

	mu  sync.Mutex
	met map[string]int // requests so far, by operation and key; guarded by mu
}

const (
	drowsyChance = 0.01
	sleepMax     = 20 * time.Second
	latencyMax   = 10 * time.Millisecond
)

// nap draws from the seed and the request alone, so that a seed gives the same
// naps however goroutines interleave.
func (d *drowsy) nap(ctx context.Context, op, key string) (context.Context, func()) {
	d.mu.Lock()
	d.met[op+key]++
	n := d.met[op+key]
	d.mu.Unlock()
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, op, key, n)
	rng := rand.New(rand.NewPCG(d.seed, h.Sum64()))
	time.Sleep(time.Duration(rng.Int64N(int64(latencyMax))))
	if rng.Float64() > drowsyChance {
		return ctx, func() {}
	}
	sleep := time.Duration(rng.Int64N(int64(sleepMax)))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	if rng.IntN(2) == 0 {
		cancel()
		time.Sleep(sleep)
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		return ctx, cancel
	}
	return ctx, func() {
		cancel()
		time.Sleep(sleep)
	}
}

func (d *drowsy) Get(ctx context.Context, key string) (objstore.Object, error) {
	ctx, wake := d.nap(ctx, objstore.OpGet, key)
	defer wake()
	return d.Bucket.Get(ctx, key)
}

func (d *drowsy) Put(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	ctx, wake := d.nap(ctx, objstore.OpPut, key)
	defer wake()
	return d.Bucket.Put(ctx, key, body)
}

func (d *drowsy) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	ctx, wake := d.nap(ctx, objstore.OpPutIfAbsent, key)
	defer wake()
	return d.Bucket.PutIfAbsent(ctx, key, body)
}

func (d *drowsy) List(ctx context.Context, prefix, startAfter string, limit int) (objstore.Page, error) {
	ctx, wake := d.nap(ctx, objstore.OpList, prefix)
	defer wake()
	return d.Bucket.List(ctx, prefix, startAfter, limit)
}

func (d *drowsy) Delete(ctx context.Context, key string) (objstore.Receipt, error) {
	ctx, wake := d.nap(ctx, objstore.OpDelete, key)
	defer wake()
	return d.Bucket.Delete(ctx, key)
}
