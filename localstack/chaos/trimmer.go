package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// trimEvery is how often the log of one partition is cut.
const trimEvery = 4 * time.Second

// trim moves the log start of one partition on, again and again, each time until
// it is acknowledged.
func (w *workload) trim(ctx context.Context, random *rand.Rand) error {
	partition := w.trimmedPartition()
	for pause(ctx, trimEvery) == nil {
		known := w.bounds.Floor(partition, time.Now())
		if known.End <= known.Start {
			continue
		}
		before := known.Start + random.Int64N(known.End-known.Start+1)
		w.bounds.Ask(partition, before)
		if err := w.ledger.Note(event{Type: trimEvent, Partition: partition, Offset: before}); err != nil {
			return err
		}
		if err := w.trimTo(ctx, partition, before); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (w *workload) trimTo(ctx context.Context, partition int32, before int64) error {
	path := fmt.Sprintf("%s/records?before=%d", w.topic.path(partition), before)
	for {
		a := w.balancer.within(ctx, requestTimeout, http.MethodDelete, path, nil)
		if a.status == http.StatusOK {
			var told struct {
				Start int64 `json:"log_start_offset"`
			}
			if err := json.Unmarshal(a.body, &told); err != nil || told.Start < before || told.Start > w.bounds.Asked(partition) {
				w.found.Add(trimmed, "partition %d was to be trimmed to %d: %s", partition, before, a)
				return nil
			}
			w.bounds.Trimmed(partition, told.Start, time.Now())
			w.stats.trims.Add(1)
			return w.ledger.Sync(ctx, event{Type: trimmedEvent, Partition: partition, Offset: told.Start})
		}
		if ctx.Err() != nil {
			return nil
		}
		w.judge(w.balancer, a)
		if !a.again() {
			w.found.Add(answers, "trim of partition %d to %d: %s", partition, before, a)
			return nil
		}
		if err := pause(ctx, retryPause); err != nil {
			return err
		}
	}
}
