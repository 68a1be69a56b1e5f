package reader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// NoUntil is a Query without an upper end.
const NoUntil catalog.Offset = -1

// Query asks for records of one partition.
type Query struct {
	Partition  catalog.TopicPartition
	Offset     catalog.Offset
	Until      catalog.Offset // end of a closed range, or NoUntil
	MaxBytes   int            // of batches as stored; the first batch is returned even if it is larger, unless Within is set
	Within     bool           // MaxBytes is never exceeded; there may be no batch in the answer then, although there are records
	MaxRecords int            // stop once the batches hold that many; 0: no limit
	MinBytes   int            // wait for so many bytes, MaxWait at most
	MaxWait    time.Duration

	// Known says that this Reader gave Offset out as a NextOffset, or that Await
	// has returned for it: if there is nothing at it, that needs no proof before
	// the wait begins. Whoever follows a partition asks the catalog once, then.
	Known bool

	// Reserve, if not nil, is called before anything is loaded for the answer,
	// with the bytes that it will hold at most. If its first batch turns out to be
	// larger, it is called again with the size of that, before it is copied, and
	// also if the fetch is planned again. Its error ends the fetch. No share of
	// the memory for loads is held while it is called.
	Reserve func(bytes int64) error
}

// Fetched is the answer to a Query.
type Fetched struct {
	// Batches are whole batches with their offsets patched in. The first may
	// begin before Query.Offset, the last may end after Query.Until. They are
	// the caller's own.
	Batches       [][]byte
	NextOffset    catalog.Offset // after the last of Batches, at most Until; Query.Offset if there are none
	HighWatermark catalog.Offset // a lower bound
	LogStart      catalog.Offset
	Ending        bool // EndWaits was called: this node will not wait for more
}

// ErrNotReader is what a node without the reader role says to a fetch.
var ErrNotReader = errors.New("this node does not serve records")

// OutOfRangeError is an offset below the log start or above the end offset.
type OutOfRangeError struct {
	Offset catalog.Offset
	Bounds Bounds
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("offset %d is outside of [%d, %d]", e.Offset, e.Bounds.Start, e.Bounds.End)
}

// Below tells that the records were there once and are no more.
func (e *OutOfRangeError) Below() bool { return e.Offset < e.Bounds.Start }

// Fetch returns batches of q.Partition, or an *OutOfRangeError, or
// catalog.ErrTopicNotFound or ErrPartitionNotFound, or
// catalog.ErrNotConfirmed if the node cannot tell at the moment. What the
// store fails at is an *objstore.Error that may pass; what is damaged or
// missing there is a *segment.CorruptError. Records before such a failure are
// returned without it.
func (r *Reader) Fetch(ctx context.Context, q Query) (Fetched, error) {
	view, p, err := r.await(ctx, q)
	if err != nil {
		return Fetched{}, err
	}
	var out Fetched
	err = r.replanning(ctx, view, p, q.Partition, func(view *catalog.State, p *catalog.Partition) error {
		if err := inRange(p, q.Offset); err != nil {
			return err
		}
		var err error
		out, err = r.read(ctx, view, p, q)
		return err
	})
	if err != nil {
		return Fetched{}, err
	}
	return out, nil
}

func inRange(p *catalog.Partition, offset catalog.Offset) error {
	if offset < p.LogStart() || offset > p.End() {
		return &OutOfRangeError{Offset: offset, Bounds: boundsOf(p)}
	}
	return nil
}

// await returns a view in which q can be answered: with records, or without
// any after a wait. That there are none, or not there, is for a view to say
// that was current after q came.
func (r *Reader) await(ctx context.Context, q Query) (*catalog.State, *catalog.Partition, error) {
	view, err := r.catalog.Recent(ctx)
	if err != nil {
		return nil, nil, err
	}
	p := view.Partition(q.Partition)
	if p == nil || !settled(p, q) {
		if view, p, err = r.confirm(ctx, q.Partition); err != nil {
			return nil, nil, err
		}
	}
	if q.MaxWait <= 0 || enough(p, q) {
		return view, p, nil
	}
	return r.poll(ctx, p, q)
}

// settled tells that a recent view of q's partition is good enough for q.
func settled(p *catalog.Partition, q Query) bool {
	return p.LogStart() <= q.Offset && (q.Offset < p.End() || q.Known && q.Offset == p.End())
}

// poll waits until there is enough for q, or its time is over.
func (r *Reader) poll(ctx context.Context, p *catalog.Partition, q Query) (*catalog.State, *catalog.Partition, error) {
	waiting, cancel := context.WithTimeout(ctx, q.MaxWait)
	defer cancel()
	defer context.AfterFunc(r.waits, cancel)()
	for {
		view, err := r.catalog.WaitBeyond(waiting, catalog.PartitionOffset{Partition: q.Partition, Offset: p.End()})
		over := err != nil
		if over {
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			if waiting.Err() == nil {
				return nil, nil, err
			}
			// The view from before the wait may hold what was trimmed since.
			if view, err = r.catalog.Recent(ctx); err != nil {
				return nil, nil, err
			}
		}
		// A view that follows one with the partition in it and has it no more
		// saw its deletion, which is for ever.
		if p, err = find(view, q.Partition); err != nil {
			return nil, nil, err
		}
		if over || enough(p, q) {
			return view, p, nil
		}
	}
}

// enough tells that q needs no further wait.
func enough(p *catalog.Partition, q Query) bool {
	if q.Offset < p.LogStart() || q.Offset > p.End() || q.Until != NoUntil && p.End() >= q.Until {
		return true
	}
	want := int64(min(q.MinBytes, q.MaxBytes))
	return storedBytes(p, q.Offset, p.End(), want) >= want
}

// storedBytes is about how many bytes the batches from offset up to end take,
// counted up to most: an extent that begins before offset counts as a whole.
func storedBytes(p *catalog.Partition, offset, end catalog.Offset, most int64) int64 {
	n := int64(0)
	for n < most && offset < end {
		extents := p.Extents(offset, extentsPerPlan)
		if len(extents) == 0 {
			break
		}
		for _, x := range extents {
			if n >= most || x.Base >= end {
				return min(n, most)
			}
			n += x.Len
			offset = x.End()
		}
	}
	return min(n, most)
}

// errEnough ends a read that has what was asked for.
var errEnough = errors.New("enough was read")

// read collects the batches that answer q in a view.
func (r *Reader) read(ctx context.Context, view *catalog.State, p *catalog.Partition, q Query) (Fetched, error) {
	end := p.End()
	if q.Until != NoUntil {
		end = min(end, q.Until)
	}
	bytesMax := min(q.MaxBytes, r.cfg.FetchBytesMax)
	if q.Reserve != nil && q.Offset < end {
		if err := q.Reserve(storedBytes(p, q.Offset, end, int64(bytesMax))); err != nil {
			return Fetched{}, err
		}
	}
	a := newAnswer(q, end, bytesMax)
	t := r.trails.follow(q.Partition, q.Offset)
	r.readAhead(view, p, q.Offset, t.limit(p, q, end), t.last+t.ahead, t)
	for !a.full && a.next < end {
		pieces, err := r.plan(ctx, view, p, a.next, a.wanted(), t.run)
		if err == nil {
			err = r.loader.pieces(ctx, pieces, func(p *piece, data []byte, own bool) error {
				if err := a.take(p, data, own); err != nil {
					return err
				}
				if a.full {
					return errEnough
				}
				return nil
			})
		}
		var large *largeBatchError
		switch {
		case err == nil || errors.Is(err, errEnough):
		case errors.As(err, &large):
			// What was loaded for it was let go of: the caller may have to wait.
			if q.Reserve != nil {
				if err := q.Reserve(int64(large.size)); err != nil {
					return Fetched{}, err
				}
			}
			a.granted = large.size
		case len(a.batches) > 0 && ctx.Err() == nil:
			// What was read is whole; the next fetch begins at what failed.
			a.full = true
		default:
			return Fetched{}, err
		}
	}
	if len(a.batches) > 0 {
		r.metrics.bytes.WithLabelValues(a.lane.String()).Add(float64(a.bytes))
	}
	if a.next < p.End() && len(a.batches) > 0 {
		r.goOn(view, p, q, a, t)
	}
	return Fetched{
		Batches:       a.batches,
		NextOffset:    min(a.next, max(end, q.Offset)),
		HighWatermark: p.End(),
		LogStart:      p.LogStart(),
		Ending:        r.waits.Err() != nil,
	}, nil
}

// goOn prepares for the fetch that begins where a ends.
func (r *Reader) goOn(view *catalog.State, p *catalog.Partition, q Query, a *answer, t trail) {
	room := r.readAhead(view, p, a.next, t.limit(p, q, a.end), t.ahead, t)
	next := t.step(int64(a.bytes), r.cfg.ReadAheadBytesMax, room)
	next.chain = next.chain || a.next >= a.end
	r.trails.leave(q.Partition, min(a.next, a.end), next)
}
