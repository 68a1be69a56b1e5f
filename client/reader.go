package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Defaults and bounds of ReaderConfig.
const (
	defaultReaderWait     = 20 * time.Second
	defaultReaderRequests = 8
	// followMax bounds the long polls that are open at a time.
	followMax = 1024
)

// emptyPause is the least time between an answer without records and the next
// question: a node that answers before the wait is over is not asked without pause.
const emptyPause = 20 * time.Millisecond

// noEnd is the end of a range that has none.
const noEnd = int64(math.MaxInt64)

// ReaderConfig says what to read.
type ReaderConfig struct {
	Topic string
	// Partitions to read; nil for all that the topic has when reading begins.
	Partitions []int32
	// From is where to begin; Earliest by default.
	From Position
	// To is where to end, not included. By default there is no end: reading goes
	// on with what comes. Latest is the end as of when reading begins. An offset
	// beyond the end is waited for.
	To Position
	// FetchBytes is how much one request asks for; 1 MiB by default, at most 64 MiB.
	// Of each partition one answer waits while the one before it is being used.
	FetchBytes int64
	// Wait is how long a request waits for records to come; 20 s by default, at
	// most 30 s.
	Wait time.Duration
	// Requests is how many partitions are read at a time if there is a To; 8 by
	// default. Without, it is all of them.
	Requests int
	// Direct reads from the bucket itself what it can, by URLs that a node gives
	// out: old records that lie in objects of their topic alone. The rest comes
	// from nodes as ever, and the records are the same. It needs a To. For each
	// partition that is read up to 16 MiB are under way or wait.
	Direct bool
	// Fallback, if not nil, is called with the reason when records that should
	// come from the bucket are fetched from a node after all. It must be safe for
	// concurrent use.
	Fallback func(error)
	// ClosedRanges asks for ranges that end at a To or at a multiple of 65,536, the
	// same in each replay, so that a proxy that keeps their answers, which never
	// change, serves all replays but the first. It needs a To. Records that were
	// trimmed, or a topic that was made anew, may be answered from there for an hour.
	ClosedRanges bool
}

// closedRangeLen is the number of offsets after which closed ranges end. The
// answers of different readers come together again there, wherever they began.
const closedRangeLen = 1 << 16

// Validate tells what is wrong with a ReaderConfig.
func (cfg ReaderConfig) Validate() error {
	cfg = cfg.withDefaults()
	switch {
	case cfg.FetchBytes < 1 || cfg.FetchBytes > FetchBytesMax:
		return errors.New("FetchBytes is not between 1 and 64 MiB")
	case cfg.Wait < 0 || cfg.Wait > fetchWaitMax:
		return errors.New("time to Wait is not between 0 and 30 s")
	case cfg.Requests < 1 || cfg.Requests > followMax:
		return errors.New("number of Requests is not between 1 and 1024")
	case cfg.ClosedRanges && cfg.To.kind == positionNone:
		return errors.New("ClosedRanges need a To")
	case cfg.From.kind == positionOffset && cfg.From.offset < 0 || cfg.To.kind == positionOffset && cfg.To.offset < 0:
		return errors.New("an offset is below 0")
	}
	if cfg.Direct && cfg.To.kind == positionNone {
		return errors.New("reading that is Direct needs a To")
	}
	for i, partition := range cfg.Partitions {
		for _, other := range cfg.Partitions[:i] {
			if partition == other {
				return fmt.Errorf("partition %d is there twice", partition)
			}
		}
	}
	return checkTopic(cfg.Topic)
}

func (cfg ReaderConfig) withDefaults() ReaderConfig {
	if cfg.From.kind == positionNone {
		cfg.From = Earliest()
	}
	cfg.FetchBytes = orDefault(cfg.FetchBytes, defaultFetchBytes)
	cfg.Wait = orDefault(cfg.Wait, defaultReaderWait)
	cfg.Requests = orDefault(cfg.Requests, defaultReaderRequests)
	return cfg
}

// Reader reads partitions of a topic, each in order. It remembers where it is,
// so that a loop goes on where the one before it was left. It is for one
// goroutine.
type Reader struct {
	client *Client
	cfg    ReaderConfig
	ranges []*readRange // nil until reading begins
	direct atomic.Int64 // records that came from the bucket
}

// readRange is what is left of one partition: [next, to).
type readRange struct {
	partition int32
	next      int64
	to        int64
}

// NewReader returns a Reader. It asks nothing yet.
func (c *Client) NewReader(cfg ReaderConfig) (*Reader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("reader config: %w", err)
	}
	return &Reader{client: c, cfg: cfg.withDefaults()}, nil
}

// Offset returns the offset after the last record of a partition that a loop was
// given, or false if that partition is not read, or reading has not begun.
func (r *Reader) Offset(partition int32) (int64, bool) {
	for _, one := range r.ranges {
		if one.partition == partition {
			return one.next, true
		}
	}
	return 0, false
}

// DirectRecords is how many records were read from the bucket itself, among them
// some that no loop was given yet.
func (r *Reader) DirectRecords() int64 { return r.direct.Load() }

// Records walks the records, those of one partition in order and those of
// different ones in any, until all partitions have ended, ctx ends, or there is
// an error, which is the last that it yields. Below the log start that is
// ErrOffsetBelowStart and beyond the end ErrOffsetAboveEnd, both as an *Error
// with the bounds.
func (r *Reader) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for a := range r.answers(ctx) {
			if a.fetched != nil {
				for record := range a.fetched.Records() {
					// The record counts as given also if it ends the loop.
					a.of.next = record.Offset + 1
					if !yield(record, nil) {
						return
					}
				}
			}
			if a.err != nil {
				yield(Record{}, a.err)
				return
			}
		}
	}
}

// Fetches is Records, an answer at a time.
func (r *Reader) Fetches(ctx context.Context) iter.Seq2[*Fetched, error] {
	return func(yield func(*Fetched, error) bool) {
		for a := range r.answers(ctx) {
			if a.fetched != nil && a.fetched.Len() > 0 {
				a.of.next = a.fetched.NextOffset
				if !yield(a.fetched, nil) {
					return
				}
			}
			if a.err != nil {
				yield(nil, a.err)
				return
			}
		}
	}
}

// readAnswer is what a goroutine that reads a partition hands over.
type readAnswer struct {
	of      *readRange
	fetched *Fetched // may be nil
	err     error
}

// answers walks the answers. The last has an error, unless all ranges were read
// or the loop is left; with the error comes what was read before it.
func (r *Reader) answers(ctx context.Context) iter.Seq[readAnswer] {
	return func(yield func(readAnswer) bool) {
		if err := r.begin(ctx); err != nil {
			yield(readAnswer{err: err})
			return
		}
		reading, stop := context.WithCancel(ctx)
		answers := make(chan readAnswer)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.readAll(reading, answers)
		}()
		defer func() { <-ended }()
		defer stop()
		for {
			select {
			case a := <-answers:
				if !yield(a) || a.err != nil {
					return
				}
			case <-ended:
				if ctx.Err() != nil {
					yield(readAnswer{err: context.Cause(ctx)})
				}
				return
			}
		}
	}
}

// readAll reads all ranges, some at a time.
func (r *Reader) readAll(ctx context.Context, answers chan<- readAnswer) {
	var readers sync.WaitGroup
	defer readers.Wait()
	slots := make(chan struct{}, r.parallel())
	for _, one := range r.ranges {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		readers.Go(func() {
			defer func() { <-slots }()
			r.readAhead(ctx, one, answers)
		})
	}
}

// parallel is how many partitions are read at a time.
func (r *Reader) parallel() int {
	if r.cfg.To.kind == positionNone {
		return max(1, len(r.ranges))
	}
	return r.cfg.Requests
}

// begin finds out what to read, once.
func (r *Reader) begin(ctx context.Context) error {
	if r.ranges != nil {
		return nil
	}
	partitions := r.cfg.Partitions
	if partitions == nil {
		t, err := r.client.GetTopic(ctx, r.cfg.Topic)
		if err != nil {
			return err
		}
		for p := range t.Partitions {
			partitions = append(partitions, p)
		}
	}
	if r.cfg.To.kind == positionNone && len(partitions) > followMax {
		return invalidArgument("without an end up to %d partitions are read at a time, not %d", followMax, len(partitions))
	}
	ranges := make([]*readRange, len(partitions))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Requests)
	for i, p := range partitions {
		group.Go(func() (err error) {
			one := &readRange{partition: p, to: noEnd}
			if one.next, err = r.client.Resolve(ctx, r.cfg.Topic, p, r.cfg.From); err == nil && r.cfg.To.kind != positionNone {
				one.to, err = r.client.Resolve(ctx, r.cfg.Topic, p, r.cfg.To)
			}
			ranges[i] = one
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	r.ranges = ranges
	return nil
}

// readAhead reads a range to its end and hands answers over, each while the
// next is being fetched.
func (r *Reader) readAhead(ctx context.Context, one *readRange, answers chan<- readAnswer) {
	hand := func(f *Fetched, err error) bool {
		select {
		case answers <- readAnswer{of: one, fetched: f, err: err}:
			return err == nil
		case <-ctx.Done():
			return false
		}
	}
	next := one.next
	if r.cfg.Direct {
		var more bool
		if next, more = r.readDirect(ctx, one, next, hand); !more {
			return
		}
	}
	r.readNode(ctx, one, next, one.to, hand)
}

// readNode reads a partition from next up to to from a node. It returns where it
// has come to, and whether that is the end.
func (r *Reader) readNode(ctx context.Context, one *readRange, next, to int64, hand handFetched) (int64, bool) {
	lastRecord := time.Now()
	for next < to {
		q := Fetch{Topic: r.cfg.Topic, Partition: one.partition, Offset: next, Bytes: r.cfg.FetchBytes, Wait: r.cfg.Wait}
		if r.cfg.ClosedRanges {
			q.Until = min(to, next-next%closedRangeLen+closedRangeLen)
		}
		f, err := r.client.fetch(ctx, q, retryableFetch)
		if f != nil {
			f.cut(to)
			next = f.NextOffset
		}
		if err != nil {
			if ctx.Err() == nil {
				hand(f, r.failedAt(one, next, err))
			}
			return next, false
		}
		if f.Len() > 0 {
			lastRecord = time.Now()
			if !hand(f, nil) {
				return next, false
			}
			continue
		}
		if idle := time.Since(lastRecord); f.HighWatermark > next && idle > r.stallTimeout() {
			hand(nil, fmt.Errorf("topic %s partition %d at offset %d: no record for %s, though the partition goes on to %d",
				r.cfg.Topic, one.partition, next, idle.Round(time.Second), f.HighWatermark))
			return next, false
		}
		if !sleep(ctx, emptyPause) {
			return next, false
		}
	}
	return next, true
}

// failedAt says where reading failed.
func (r *Reader) failedAt(one *readRange, next int64, err error) error {
	return fmt.Errorf("topic %s partition %d at offset %d: %w", r.cfg.Topic, one.partition, next, explainRange(err))
}

// retryableFetch leaves out what a consumer wants to hear of: where it is there
// is nothing, and it is not for the log to come there.
func retryableFetch(err error) bool { return IsRetryable(err) && !errors.Is(err, ErrOffsetAboveEnd) }

// stallTimeout is how long answers without the records that there are go on
// until that is an error.
func (r *Reader) stallTimeout() time.Duration { return r.client.patience() }

// explainRange says what the answers 410 and 416 mean to a consumer.
func explainRange(err error) error {
	switch {
	case errors.Is(err, ErrOffsetBelowStart):
		return fmt.Errorf("trimmed or expired: %w", err)
	case errors.Is(err, ErrOffsetAboveEnd):
		return fmt.Errorf("beyond the end: %w", err)
	}
	return err
}
