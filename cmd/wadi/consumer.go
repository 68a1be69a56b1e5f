package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// decompressedBytesMax bounds the records of one batch in memory.
const decompressedBytesMax = 256 << 20

// followWait is how long one fetch waits for records that are not there yet.
const followWait = 20 * time.Second

// emptyPause is the least time between an answer without records and the next
// question.
const emptyPause = 20 * time.Millisecond

// outputChunk is about how many bytes of formatted records are handed over at
// once.
const outputChunk = 256 << 10

// unbounded is the end of a range that has none.
const unbounded = int64(1<<63 - 1)

// consumeRange is what to read of one partition: [from, to).
type consumeRange struct {
	partition int32
	from      int64
	to        int64 // or unbounded
}

// consumer reads ranges of several partitions at once, each in order.
type consumer struct {
	client     *client
	topic      string
	fetchBytes int64
	follow     bool
	parallel   int // partitions that are fetched at a time, of those that end
	retry      *retrier
	format     recordFormat  // nil to print nothing
	digest     *recordDigest // may be nil
	limit      int64         // records; unbounded for all
	taken      atomic.Int64  // records claimed of limit
	records    atomic.Int64  // records handed over
	bytes      atomic.Int64  // of their keys and values
	out        chan []byte
	free       chan []byte
	handing    context.Context // ends when nobody takes chunks any more
}

// errLimit ends the fetching when enough records were claimed.
var errLimit = errors.New("enough records")

// run reads all ranges and calls write with formatted records until they are
// read, limit is reached, or ctx ends. Records of different partitions come in
// any order.
func (c *consumer) run(ctx context.Context, ranges []consumeRange, write func([]byte) error) error {
	c.out = make(chan []byte, 4)
	c.free = make(chan []byte, cap(c.out)+c.parallel)
	group, ctx := errgroup.WithContext(ctx)
	// What was claimed of limit is handed over, also when another partition's
	// goroutine has found the limit reached, and ended the fetching.
	c.handing = ctx
	group.Go(func() error {
		fetchers, ctx := errgroup.WithContext(ctx)
		defer close(c.out)
		fetchers.SetLimit(c.parallel)
		for _, r := range ranges {
			if ctx.Err() != nil {
				break
			}
			fetchers.Go(func() error { return c.partition(ctx, r) })
		}
		return fetchers.Wait()
	})
	// The writer takes what was handed over even if the fetching failed.
	group.Go(func() error {
		for chunk := range c.out {
			if err := write(chunk); err != nil {
				return err
			}
			select {
			case c.free <- chunk[:0]:
			default:
			}
		}
		return nil
	})
	if err := group.Wait(); !errors.Is(err, errLimit) {
		return err
	}
	return nil
}

// partition reads one range.
func (c *consumer) partition(ctx context.Context, r consumeRange) error {
	fail := func(err error) error { return fmt.Errorf("partition %d at offset %d: %w", r.partition, r.from, err) }
	lastRecord := time.Now()
	for r.from < r.to {
		if c.taken.Load() >= c.limit {
			return errLimit
		}
		var got fetched
		err := c.retry.do(ctx, isTemporary, func() (err error) {
			got, err = c.client.fetchBatches(ctx, fetchQuery{
				topic: c.topic, partition: r.partition, offset: r.from, bytesMax: c.fetchBytes, wait: followWait,
			})
			return err
		})
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fail(explainRange(err))
		}
		next, err := c.emit(r, got)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, errLimit) {
				return err
			}
			r.from = next
			return fail(err)
		}
		if next == r.from && got.nextOffset != r.from {
			return fail(fmt.Errorf("answer without records goes on at %d", got.nextOffset))
		}
		if next > r.from {
			r.from, lastRecord = next, time.Now()
			continue
		}
		if idle := time.Since(lastRecord); !c.follow && idle > c.retry.timeout {
			return fail(fmt.Errorf("no record for %s, though the partition ends at %d", idle.Round(time.Second), r.to))
		}
		// A node that answers before the wait is over is not asked without pause.
		if !sleep(ctx, emptyPause) {
			return context.Cause(ctx)
		}
	}
	return nil
}

// explainRange says what the answers 410 and 416 mean to a consumer.
func explainRange(err error) error {
	var problem *problemError
	if errors.As(err, &problem) {
		switch problem.Status {
		case http.StatusGone:
			return fmt.Errorf("trimmed or expired: %w", err)
		case http.StatusRequestedRangeNotSatisfiable:
			return fmt.Errorf("beyond the end: %w", err)
		}
	}
	return err
}

// emit hands the records of an answer over that are in the range, and returns
// the offset after the last of them.
func (c *consumer) emit(r consumeRange, got fetched) (int64, error) {
	next := r.from
	var chunk []byte
	for batch, err := range recordbatch.Batches(got.batches) {
		if err != nil {
			return next, err
		}
		if err := recordbatch.CheckCRC(batch); err != nil {
			return next, err
		}
		records, err := recordbatch.Decode(batch, decompressedBytesMax)
		if err != nil {
			return next, err
		}
		for _, record := range records {
			offset := int64(record.Offset)
			if offset < next && next == r.from || offset >= r.to {
				continue // a batch can begin before the range and end after it
			}
			if offset != next {
				return next, fmt.Errorf("offset %d where %d should be", offset, next)
			}
			if c.taken.Add(1) > c.limit {
				if err := c.hand(chunk); err != nil {
					return next, err
				}
				return next, errLimit
			}
			next++
			c.records.Add(1)
			c.bytes.Add(int64(len(record.Key) + len(record.Value)))
			if c.digest != nil {
				c.digest.add(r.partition, record.Key, record.Value)
			}
			if c.format == nil {
				continue
			}
			if chunk == nil {
				chunk = c.chunk()
			}
			if chunk = c.format(chunk, r.partition, record); len(chunk) >= outputChunk {
				if err := c.hand(chunk); err != nil {
					return next, err
				}
				chunk = nil
			}
		}
	}
	return next, c.hand(chunk)
}

func (c *consumer) chunk() []byte {
	select {
	case chunk := <-c.free:
		return chunk
	default:
		return make([]byte, 0, outputChunk+outputChunk/4)
	}
}

func (c *consumer) hand(chunk []byte) error {
	if len(chunk) == 0 {
		return nil
	}
	select {
	case c.out <- chunk:
		return nil
	case <-c.handing.Done():
		return context.Cause(c.handing)
	}
}
