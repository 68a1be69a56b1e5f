package s3shape

import (
	"context"
	"errors"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
)

// Bucket is a store with a shape, for one process, where time may be virtual. A
// request that is given up before its effect has none.
type Bucket struct {
	objstore.Bucket
	fates *fates
}

// NewBucket returns inner with a shape. It panics if that is not valid.
func NewBucket(inner objstore.Bucket, shape Shape) *Bucket {
	if err := shape.Validate(); err != nil {
		panic(err)
	}
	return &Bucket{Bucket: inner, fates: newFates(shape)}
}

// errSlowDown is what the proxy answers with 503.
var errSlowDown = errors.New("status 503 SlowDown: please reduce your request rate")

// shaped runs a request in the time that is drawn for it.
func shaped[T any](ctx context.Context, b *Bucket, k kind, op, key string, request func() (T, error)) (T, error) {
	var none T
	arrived, fate := time.Now(), b.fates.draw(k)
	outcome := objstore.Unknown
	if k == get || k == list {
		outcome = objstore.NotCommitted
	}
	failure := func(err error) error { return &objstore.Error{Op: op, Key: key, Outcome: outcome, Err: err} }
	if fate.slowDown {
		if err := wait(ctx, arrived.Add(fate.answerAfter)); err != nil {
			return none, failure(err)
		}
		return none, failure(errors.Join(objstore.ErrThrottled, errSlowDown))
	}
	if err := wait(ctx, arrived.Add(fate.effectAfter)); err != nil {
		return none, failure(err)
	}
	result, err := request()
	if err := wait(ctx, arrived.Add(fate.answerAfter)); err != nil {
		return none, failure(err)
	}
	return result, err
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, key string) (objstore.Object, error) {
	return shaped(ctx, b, get, objstore.OpGet, key, func() (objstore.Object, error) { return b.Bucket.Get(ctx, key) })
}

// GetRange implements objstore.Bucket.
func (b *Bucket) GetRange(ctx context.Context, key string, pos, length int64) (objstore.Object, error) {
	return shaped(ctx, b, get, objstore.OpGetRange, key, func() (objstore.Object, error) { return b.Bucket.GetRange(ctx, key, pos, length) })
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	return shaped(ctx, b, put, objstore.OpPut, key, func() (objstore.Receipt, error) { return b.Bucket.Put(ctx, key, body) })
}

// PutIfAbsent implements objstore.Bucket.
func (b *Bucket) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	return shaped(ctx, b, putIfAbsent, objstore.OpPutIfAbsent, key, func() (objstore.Receipt, error) { return b.Bucket.PutIfAbsent(ctx, key, body) })
}

// List implements objstore.Bucket.
func (b *Bucket) List(ctx context.Context, prefix, startAfter string, limit int) (objstore.Page, error) {
	return shaped(ctx, b, list, objstore.OpList, prefix, func() (objstore.Page, error) { return b.Bucket.List(ctx, prefix, startAfter, limit) })
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, key string) (objstore.Receipt, error) {
	return shaped(ctx, b, del, objstore.OpDelete, key, func() (objstore.Receipt, error) { return b.Bucket.Delete(ctx, key) })
}
