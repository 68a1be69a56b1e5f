package reader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// NoUntil is a Query without an upper end.
const NoUntil catalog.Offset = -1

// Query asks for records of one partition.
type Query struct {
	Partition  catalog.TopicPartition
	Offset     catalog.Offset
	Until      catalog.Offset // end of a closed range, or NoUntil
	MaxBytes   int            // of batches as stored; the first batch is returned even if it is larger
	MaxRecords int            // stop once the batches hold that many; 0: no limit
	MinBytes   int            // wait for so many bytes, MaxWait at most
	MaxWait    time.Duration
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
}

// Bounds of a partition.
type Bounds struct {
	Start catalog.Offset
	End   catalog.Offset
}

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
// catalog.ErrNotConfirmed if the node cannot tell at the moment.
func (r *Reader) Fetch(ctx context.Context, q Query) (Fetched, error) {
	view, err := r.catalog.Recent(ctx)
	if err != nil {
		return Fetched{}, err
	}
	for replanned := false; ; replanned = true {
		view, p, err := r.await(ctx, view, q)
		if err != nil {
			return Fetched{}, err
		}
		fetched, err := r.read(ctx, view, p, q)
		if errors.Is(err, objstore.ErrNotFound) && !replanned {
			// The object was deleted after this view; a current one knows
			// where its records are now, or that they are gone.
			r.metrics.replans.Inc()
			if _, err := r.catalog.Confirm(ctx); err != nil {
				return Fetched{}, err
			}
			continue
		}
		return fetched, err
	}
}

// await returns a view in which q can be answered: with records, or without
// any after a wait. Whether there are none is for a current view to say.
func (r *Reader) await(ctx context.Context, view *catalog.State, q Query) (*catalog.State, *catalog.Partition, error) {
	view, p, err := r.partition(ctx, view, q.Partition)
	if err != nil {
		return nil, nil, err
	}
	if q.Offset < p.LogStart() || q.Offset >= p.End() {
		if view, err = r.catalog.Confirm(ctx); err != nil {
			return nil, nil, err
		}
		if view, p, err = r.partition(ctx, view, q.Partition); err != nil {
			return nil, nil, err
		}
	}
	waiting := ctx
	if q.MaxWait > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, q.MaxWait)
		defer cancel()
		defer context.AfterFunc(r.waits, cancel)()
	}
	for {
		if q.Offset < p.LogStart() || q.Offset > p.End() {
			return nil, nil, &OutOfRangeError{Offset: q.Offset, Bounds: boundsOf(p)}
		}
		if q.MaxWait <= 0 || enough(p, q) {
			return view, p, nil
		}
		next, err := r.catalog.WaitBeyond(waiting, q.Partition, p.End())
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			return view, p, nil // the wait is over; what there is must do
		}
		if view, p, err = r.partition(ctx, next, q.Partition); err != nil {
			return nil, nil, err
		}
	}
}

// enough tells that q needs no further wait.
func enough(p *catalog.Partition, q Query) bool {
	if q.Until != NoUntil && p.End() >= q.Until {
		return true
	}
	if q.Offset >= p.End() {
		return false
	}
	var bytes int64
	for offset := q.Offset; offset < p.End(); {
		xs := p.Extents(offset, extentsPerPlan)
		for i := range xs {
			bytes += xs[i].Len
			offset = xs[i].Base + catalog.Offset(xs[i].Records)
		}
		if len(xs) == 0 || bytes >= int64(min(q.MinBytes, q.MaxBytes)) {
			break
		}
	}
	return bytes >= int64(min(q.MinBytes, q.MaxBytes))
}

// extentsPerPlan is how many extents are looked at in one go.
const extentsPerPlan = 64

// read collects the batches that answer q in a view.
func (r *Reader) read(ctx context.Context, view *catalog.State, p *catalog.Partition, q Query) (Fetched, error) {
	out := Fetched{NextOffset: q.Offset, HighWatermark: p.End(), LogStart: p.LogStart()}
	end := p.End()
	if q.Until != NoUntil {
		end = min(end, q.Until)
	}
	budget := fetchBudget{bytes: min(q.MaxBytes, r.cfg.FetchBytesMax), records: q.MaxRecords}
	for out.NextOffset < end && !budget.spent {
		plan := r.plan(p, out.NextOffset, end, budget.bytes-budget.usedBytes)
		if len(plan) == 0 {
			return Fetched{}, fmt.Errorf("no extent holds offset %d of %s", out.NextOffset, q.Partition)
		}
		bodies, err := r.loadAll(ctx, view, plan)
		if err != nil {
			return Fetched{}, err
		}
		for i := range plan {
			if err := take(&out, &budget, plan[i], bodies[i], end); err != nil {
				return Fetched{}, err
			}
		}
	}
	out.NextOffset = min(out.NextOffset, max(end, q.Offset))
	r.metrics.bytes.Add(float64(budget.usedBytes))
	r.readAhead(view, p, out.NextOffset)
	return out, nil
}

// plan returns the extents to load next: as many as the budget may need, one
// at least.
func (r *Reader) plan(p *catalog.Partition, offset, end catalog.Offset, bytes int) []catalog.Extent {
	xs := p.Extents(offset, extentsPerPlan)
	var sum int64
	for i := range xs {
		if i > 0 && (sum >= int64(bytes) || xs[i].Base >= end) {
			return xs[:i]
		}
		sum += xs[i].Len
	}
	return xs
}

// loadAll loads extents side by side.
func (r *Reader) loadAll(ctx context.Context, view *catalog.State, xs []catalog.Extent) ([][]byte, error) {
	bodies := make([][]byte, len(xs))
	if len(xs) == 1 {
		var err error
		bodies[0], err = r.extent(ctx, view, xs[0])
		return bodies, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.LoadsPerFetch)
	for i := range xs {
		group.Go(func() (err error) {
			bodies[i], err = r.extent(ctx, view, xs[i])
			return err
		})
	}
	return bodies, group.Wait()
}

// fetchBudget is what a fetch may still return.
type fetchBudget struct {
	bytes       int
	records     int // 0: no limit
	usedBytes   int
	usedRecords int
	spent       bool
}

// take copies the batches of an extent that are wanted, with their offsets.
func take(out *Fetched, budget *fetchBudget, x catalog.Extent, body []byte, end catalog.Offset) error {
	base := x.Base
	for batch, err := range recordbatch.Batches(body) {
		if err != nil {
			return err
		}
		if budget.spent || base >= end {
			return nil
		}
		h, err := recordbatch.ParseHeader(batch)
		if err != nil {
			return err
		}
		next := base + catalog.Offset(h.RecordCount)
		if next > out.NextOffset {
			if budget.usedBytes > 0 && budget.usedBytes+len(batch) > budget.bytes {
				budget.spent = true
				return nil
			}
			own := bytes.Clone(batch)
			recordbatch.PatchBaseOffset(own, base)
			out.Batches = append(out.Batches, own)
			budget.usedBytes += len(batch)
			budget.usedRecords += int(next - max(base, out.NextOffset))
			out.NextOffset = next
			budget.spent = budget.usedBytes >= budget.bytes || budget.records > 0 && budget.usedRecords >= budget.records
		}
		base = next
	}
	return nil
}

// readAhead begins to load what a sequential reader asks for next. It is a
// hint: with loads enough under way it does nothing.
func (r *Reader) readAhead(view *catalog.State, p *catalog.Partition, offset catalog.Offset) {
	if offset >= p.End() || r.cfg.ReadAheadObjects == 0 {
		return
	}
	seen := map[catalog.ObjectID]bool{}
	for _, x := range p.Extents(offset, 4*r.cfg.ReadAheadObjects) {
		o, ok := view.Object(x.Object)
		if !ok || seen[x.Object] || o.Size > r.cfg.WholeObjectBytes {
			continue
		}
		if len(seen) == r.cfg.ReadAheadObjects {
			return
		}
		seen[x.Object] = true
		if _, ok := r.loader.cache.get(blockKey{x.Object, wholeObject}); !ok {
			r.ahead(o, x)
		}
	}
}

// ahead loads one extent in the background, unless ahead loads are at their limit.
func (r *Reader) ahead(o catalog.Object, x catalog.Extent) {
	select {
	case r.aheads <- struct{}{}:
	default:
		return
	}
	r.background.Go(func() {
		defer func() { <-r.aheads }()
		// An error is the next fetch's to meet and to report.
		_, _ = r.loader.extent(r.ctx, o, x)
	})
}
