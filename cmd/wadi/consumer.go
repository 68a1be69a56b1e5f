package main

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/client"
)

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
	client     *client.Client
	topic      string
	fetchBytes int64
	closed     bool          // ask for closed ranges, which a proxy may have kept
	parallel   int           // partitions that are fetched at a time, of those that end
	format     recordFormat  // nil to print nothing
	digest     *recordDigest // may be nil
	limit      int64         // records; unbounded for all
	direct     bool          // read from the bucket what can be
	fallback   func(error)   // called when that fails
	fromBucket atomic.Int64  // records that came from there
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
	if r.from >= r.to {
		return nil
	}
	cfg := client.ReaderConfig{
		Topic: c.topic, Partitions: []int32{r.partition}, From: client.AtOffset(r.from), FetchBytes: c.fetchBytes,
	}
	if r.to != unbounded {
		cfg.To, cfg.Direct, cfg.Fallback = client.AtOffset(r.to), c.direct, c.fallback
		cfg.ClosedRanges = c.closed
	}
	reader, err := c.client.NewReader(cfg)
	if err != nil {
		return err
	}
	if c.taken.Load() >= c.limit {
		return errLimit
	}
	defer func() { c.fromBucket.Add(reader.DirectRecords()) }()
	for got, err := range reader.Fetches(ctx) {
		if err == nil {
			err = c.emit(r.partition, got)
		}
		if err != nil {
			if ctx.Err() != nil && !errors.Is(err, errLimit) {
				return context.Cause(ctx)
			}
			return err
		}
	}
	return nil
}

// emit hands the records of an answer over.
func (c *consumer) emit(partition int32, got *client.Fetched) error {
	var chunk []byte
	for record := range got.Records() {
		if c.taken.Add(1) > c.limit {
			if err := c.hand(chunk); err != nil {
				return err
			}
			return errLimit
		}
		c.records.Add(1)
		c.bytes.Add(int64(len(record.Key) + len(record.Value)))
		if c.digest != nil {
			c.digest.add(partition, record.Key, record.Value)
		}
		if c.format == nil {
			continue
		}
		if chunk == nil {
			chunk = c.chunk()
		}
		if chunk = c.format(chunk, record); len(chunk) >= outputChunk {
			if err := c.hand(chunk); err != nil {
				return err
			}
			chunk = nil
		}
	}
	if err := c.hand(chunk); err != nil {
		return err
	}
	if c.taken.Load() >= c.limit {
		return errLimit
	}
	return nil
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
