package chaos

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// consumerWait is how long a consumer's fetch waits for records.
	consumerWait = 2 * time.Second
	// fetchBytes is what a consumer asks for at once.
	fetchBytes = 1 << 20
	// textEvery so many fetches asks for JSON.
	textEvery = 4
)

// consumer follows one partition through the load balancer.
type consumer struct {
	*workload
	partition int32
	position  atomic.Int64 // next offset
}

func (c *consumer) run(ctx context.Context) error {
	for n := 0; ctx.Err() == nil; n++ {
		if !c.step(ctx, n%textEvery == 0) {
			if err := pause(ctx, retryPause); err != nil {
				return nil
			}
		}
	}
	return nil
}

// step makes one fetch and tells whether it went on.
func (c *consumer) step(ctx context.Context, text bool) bool {
	position := c.position.Load()
	floor := c.bounds.Floor(c.partition, time.Now())
	f, a, err := c.balancer.fetch(ctx, c.topic, c.partition, position, fetchBytes, consumerWait, text)
	const by = "a node behind the balancer"
	if ctx.Err() == nil && a.status != http.StatusOK && a.status != http.StatusGone {
		c.judge(c.balancer, a)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		c.found.Add(promiseOf(err), "%s: partition %d from %d on: %v", by, c.partition, position, err)
	case a.status == http.StatusOK && len(f.records) == 0:
		if floor.End > position {
			c.found.Add(visible, "%s: partition %d has nothing at %d, and its end was known to be %d", by, c.partition, position, floor.End)
			return false
		}
		return true
	case a.status == http.StatusOK:
		c.observed.Add(c.partition, by, f.records)
		c.stats.fetched.Add(int64(len(f.records)))
		c.position.Store(f.next)
		return true
	case a.status == http.StatusGone:
		start, ok := c.judgeGone(by, c.partition, position, a)
		if ok {
			c.position.Store(start)
		}
		return ok
	case a.status == http.StatusRequestedRangeNotSatisfiable:
		c.found.Add(visible, "%s: partition %d does not reach to %d, up to which records were served: %s", by, c.partition, position, a)
	case !a.again():
		c.found.Add(answers, "%s: partition %d at %d: %s", by, c.partition, position, a)
	}
	return false
}

// promiseOf tells what an answer of 200 breaks.
func promiseOf(err error) string {
	switch {
	case errors.Is(err, errNotDense):
		return dense
	case errors.Is(err, errForeignValue):
		return phantom
	default:
		return answers
	}
}

// judgeGone judges an answer of 410: the bounds are told, and a trim had asked
// for them (P7).
func (w *workload) judgeGone(by string, partition int32, offset int64, a answer) (start int64, ok bool) {
	p := a.problem
	if p.LogStartOffset == nil || p.HighWatermark == nil {
		w.found.Add(trimmed, "%s: partition %d at %d is gone, and the bounds are not told: %s", by, partition, offset, a)
		return 0, false
	}
	start = *p.LogStartOffset
	switch asked := w.bounds.Asked(partition); {
	case start <= offset:
		w.found.Add(trimmed, "%s: partition %d starts at %d, and %d is said to be gone", by, partition, start, offset)
	case start > asked:
		w.found.Add(lost, "%s: partition %d starts at %d, and no trim asked for more than %d", by, partition, start, asked)
	case *p.HighWatermark < start:
		w.found.Add(trimmed, "%s: partition %d is from %d to %d", by, partition, start, *p.HighWatermark)
	default:
		w.stats.gone.Add(1)
		return start, true
	}
	return 0, false
}
