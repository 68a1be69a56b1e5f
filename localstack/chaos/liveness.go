package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// liveWithin is the bound of P11: that long after faults have stopped all nodes
// are ready, every producer has another acknowledgement, and every consumer has
// what was in the log when they stopped.
const liveWithin = 30 * time.Second

// liveEvery is how often that is looked at.
const liveEvery = 20 * time.Millisecond

// waitReady returns when all nodes are ready. That they are not in time is a
// finding, and no error: the run goes on.
func (f *fleet) waitReady(ctx context.Context) error {
	_, err := f.await(ctx, func(ctx context.Context) error {
		for _, m := range f.members() {
			if err := m.ready(ctx); err != nil {
				return fmt.Errorf("%w; end of its log:\n%s", err, m.node.LogTail())
			}
		}
		return nil
	})
	return err
}

// await asks until done answers nil, and tells whether it did. What it says at the
// end of liveWithin is noted as a broken promise. The error is that of ctx.
func (f *fleet) await(ctx context.Context, done func(context.Context) error) (bool, error) {
	return f.awaitProgress(ctx, func() int64 { return 0 }, done)
}

// awaitProgress is await for what takes as long as there is much of it: the
// bound begins anew whenever there was progress within it.
func (f *fleet) awaitProgress(ctx context.Context, progress func() int64, done func(context.Context) error) (bool, error) {
	for {
		before := progress()
		err := within(ctx, liveWithin, done)
		switch {
		case err == nil:
			return true, nil
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case progress() == before:
			f.found.Add(live, "%s after faults stopped: %v", liveWithin, err)
			return false, nil
		}
	}
}

// within asks until done answers nil, or returns its last answer.
func within(ctx context.Context, bound time.Duration, done func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for {
		err := done(ctx)
		if err == nil || pause(ctx, liveEvery) != nil {
			return err
		}
	}
}

// recovery is how long it took until the system was live again.
type recovery struct {
	ready, acked, consumed time.Duration
}

func (r recovery) total() time.Duration { return max(r.ready, r.acked, r.consumed) }

// awaitLife is called when faults have stopped (P11). It tells whether all is well
// again in time.
func (w *workload) awaitLife(ctx context.Context, f *fleet) (recovery, bool, error) {
	began := time.Now()
	ends := make([]int64, w.Partitions)
	for p := range ends {
		ends[p] = w.bounds.Floor(int32(p), began).End
	}
	var r recovery
	ok, err := f.await(ctx, func(ctx context.Context) error {
		var late []error
		if r.ready == 0 {
			for _, m := range f.members() {
				if err := m.ready(ctx); err != nil {
					late = append(late, fmt.Errorf("%w; end of its log:\n%s", err, m.node.LogTail()))
				}
			}
			if late == nil {
				r.ready = time.Since(began)
			}
		}
		stuck := w.stuckProducers(began)
		if stuck == nil && r.acked == 0 {
			r.acked = time.Since(began)
		}
		behind := w.consumersBehind(ends)
		if behind == nil && r.consumed == 0 {
			r.consumed = time.Since(began)
		}
		return errors.Join(errors.Join(late...), stuck, behind)
	})
	return r, ok, err
}

// stuckProducers tells which have no acknowledgement since a time.
func (w *workload) stuckProducers(since time.Time) error {
	for _, p := range w.producers {
		if last := time.Unix(0, p.lastAck.Load()); !p.done.Load() && last.Before(since) {
			return fmt.Errorf("producer %d (%s) has no acknowledgement, the last was at %s", p.number, p.kind, last.Format("15:04:05.000"))
		}
	}
	return nil
}

func (w *workload) consumersBehind(ends []int64) error {
	for p, c := range w.consumers {
		if at := c.position.Load(); at < ends[p] {
			return fmt.Errorf("the consumer of partition %d is at %d, and the end was %d", p, at, ends[p])
		}
	}
	return nil
}
