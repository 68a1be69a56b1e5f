package reader

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// bucket is the store, as the reader sees it.
type bucket interface {
	Get(ctx context.Context, key string) (objstore.Object, error)
	GetRange(ctx context.Context, key string, pos, length int64) (objstore.Object, error)
}

// loader brings the bytes of extents from the bucket, checked against what the
// catalog says of them, through the cache. Loads of the same block share one
// request.
type loader struct {
	cfg     Config
	bucket  bucket
	cache   *blockCache
	flights singleflight.Group
	bytes   *semaphore.Weighted // of all loads under way
	metrics *metrics
}

// extent returns the bytes of x, which belongs to object o. They are shared.
func (l *loader) extent(ctx context.Context, o catalog.Object, x catalog.Extent) ([]byte, error) {
	switch {
	case o.Size <= l.cfg.WholeObjectBytes:
		body, err := l.block(ctx, blockKey{o.ID, wholeObject}, o.Size, func(ctx context.Context) ([]byte, error) {
			return l.loadObject(ctx, o)
		})
		if err != nil {
			return nil, err
		}
		return cut(o, body, x.Pos, x.Len)
	case x.Len <= catalog.ExtentCRCLenMax:
		return l.block(ctx, blockKey{o.ID, x.Pos}, x.Len, func(ctx context.Context) ([]byte, error) {
			return l.loadExtent(ctx, o, x)
		})
	default:
		return l.blocks(ctx, o, x)
	}
}

func cut(o catalog.Object, body []byte, pos segment.Pos, n int64) ([]byte, error) {
	if pos < 0 || n < 0 || int64(pos) > int64(len(body))-n {
		return nil, corrupt(o, pos, errors.New("extent lies outside of its object"))
	}
	return body[pos : int64(pos)+n], nil
}

func corrupt(o catalog.Object, pos segment.Pos, err error) error {
	return &segment.CorruptError{Key: segment.Key(o.ID), Pos: pos, Err: err}
}

var errCRC = errors.New("CRC32C does not match")

// block returns a block from the cache or by load. A caller whose ctx ends
// leaves the load to the others; it ends when all have left.
func (l *loader) block(ctx context.Context, k blockKey, size int64, load func(context.Context) ([]byte, error)) ([]byte, error) {
	if b, ok := l.cache.get(k); ok {
		l.metrics.hits.Inc()
		return b, nil
	}
	l.metrics.misses.Inc()
	flight := l.flights.DoChan(k.String(), func() (any, error) {
		// The load serves whoever waits, so one caller's end is not its end.
		// The bucket's own timeouts bound it.
		ctx := context.WithoutCancel(ctx)
		if b, ok := l.cache.get(k); ok {
			return b, nil
		}
		share := min(size, l.cfg.LoadBytesMax)
		if err := l.bytes.Acquire(ctx, share); err != nil {
			return nil, err
		}
		defer l.bytes.Release(share)
		b, err := load(ctx)
		if err != nil {
			return nil, err
		}
		l.cache.put(k, b)
		return b, nil
	})
	select {
	case r := <-flight:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.([]byte), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// loadObject gets a whole object and checks all of it: the index against the
// catalog's CRC32C, each run's blocks against the index, each batch against
// its own.
func (l *loader) loadObject(ctx context.Context, o catalog.Object) ([]byte, error) {
	got, err := l.bucket.Get(ctx, segment.Key(o.ID))
	if err != nil {
		return nil, err
	}
	body := got.Body
	if mutant.On(mutant.SkipReadCRC) {
		return body, nil
	}
	if int64(len(body)) != o.Size {
		return nil, l.corrupt(o, 0, fmt.Errorf("it has %d bytes, not %d", len(body), o.Size))
	}
	index, err := segment.DecodeIndex(body[o.IndexPos:], o.IndexCRC)
	if err != nil {
		return nil, l.corrupt(o, o.IndexPos, err)
	}
	for i := range index.Runs {
		run := &index.Runs[i]
		data, err := cut(o, body, run.Pos, run.Len)
		if err != nil {
			return nil, err
		}
		for b := range run.Blocks {
			if err := l.checkBlock(o, run, b, data[b*segment.BlockLen:min(len(data), (b+1)*segment.BlockLen)]); err != nil {
				return nil, err
			}
		}
		if err := l.checkBatches(o, run.Pos, data); err != nil {
			return nil, err
		}
	}
	return body, nil
}

func (l *loader) corrupt(o catalog.Object, pos segment.Pos, err error) error {
	l.metrics.corrupt.Inc()
	return corrupt(o, pos, err)
}

func (l *loader) checkBlock(o catalog.Object, run *segment.IndexRun, b int, data []byte) error {
	if crc32.Checksum(data, segment.Castagnoli) != run.Blocks[b].CRC {
		return l.corrupt(o, run.Pos+segment.Pos(b)*segment.BlockLen, errCRC)
	}
	return nil
}

func (l *loader) checkBatches(o catalog.Object, pos segment.Pos, data []byte) error {
	for batch, err := range recordbatch.Batches(data) {
		if err == nil {
			err = recordbatch.CheckCRC(batch)
		}
		if err != nil {
			return l.corrupt(o, pos, err)
		}
		pos += segment.Pos(len(batch))
	}
	return nil
}

// loadExtent gets the bytes of an extent that carries its own CRC32C.
func (l *loader) loadExtent(ctx context.Context, o catalog.Object, x catalog.Extent) ([]byte, error) {
	got, err := l.bucket.GetRange(ctx, segment.Key(o.ID), int64(x.Pos), x.Len)
	if err != nil {
		return nil, err
	}
	if mutant.On(mutant.SkipReadCRC) {
		return got.Body, nil
	}
	if int64(len(got.Body)) != x.Len || crc32.Checksum(got.Body, segment.Castagnoli) != x.CRC {
		return nil, l.corrupt(o, x.Pos, errCRC)
	}
	return got.Body, l.checkBatches(o, x.Pos, got.Body)
}

// blocks reads an extent of a large object in whole blocks, each checked
// against the object's index.
func (l *loader) blocks(ctx context.Context, o catalog.Object, x catalog.Extent) ([]byte, error) {
	index, err := l.index(ctx, o)
	if err != nil {
		return nil, err
	}
	for i := range index.Runs {
		run := &index.Runs[i]
		if x.Pos < run.Pos || int64(x.Pos)+x.Len > int64(run.Pos)+run.Len {
			continue
		}
		return l.runBlocks(ctx, o, run, x)
	}
	return nil, l.corrupt(o, x.Pos, errors.New("extent lies in no run of its object"))
}

func (l *loader) runBlocks(ctx context.Context, o catalog.Object, run *segment.IndexRun, x catalog.Extent) ([]byte, error) {
	from := int64(x.Pos - run.Pos)
	first, last := from/segment.BlockLen, (from+x.Len-1)/segment.BlockLen
	out := make([]byte, 0, (last-first+1)*segment.BlockLen)
	for b := first; b <= last; b++ {
		pos := run.Pos + segment.Pos(b*segment.BlockLen)
		length := min(segment.BlockLen, run.Len-b*segment.BlockLen)
		body, err := l.block(ctx, blockKey{o.ID, pos}, length, func(ctx context.Context) ([]byte, error) {
			got, err := l.bucket.GetRange(ctx, segment.Key(o.ID), int64(pos), length)
			if err != nil || mutant.On(mutant.SkipReadCRC) {
				return got.Body, err
			}
			return got.Body, l.checkBlock(o, run, int(b), got.Body)
		})
		if err != nil {
			return nil, err
		}
		out = append(out, body...)
	}
	out = out[from-first*segment.BlockLen:][:x.Len]
	return out, l.checkBatches(o, x.Pos, out)
}

// index returns the decoded index of a large object. Its bytes are cached, not
// the decoded form.
func (l *loader) index(ctx context.Context, o catalog.Object) (*segment.Index, error) {
	length := o.Size - int64(o.IndexPos)
	tail, err := l.block(ctx, blockKey{o.ID, o.IndexPos}, length, func(ctx context.Context) ([]byte, error) {
		got, err := l.bucket.GetRange(ctx, segment.Key(o.ID), int64(o.IndexPos), length)
		return got.Body, err
	})
	if err != nil {
		return nil, err
	}
	index, err := segment.DecodeIndex(tail, o.IndexCRC)
	if err != nil {
		return nil, l.corrupt(o, o.IndexPos, err)
	}
	return index, nil
}
