package chaos

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	// watchEvery is how often a node is asked for the bounds of a partition.
	watchEvery = 50 * time.Millisecond
	// readBacksMax bounds the acknowledgements that wait to be read back.
	readBacksMax = 16
	// readBackWorkers is how many are read back at once.
	readBackWorkers = 3
)

// watch asks one node for the bounds of each partition in turn, and below the log
// start for records, until ctx ends (P5, P7).
func (w *workload) watch(ctx context.Context, node *client) {
	for n := 0; pause(ctx, watchEvery) == nil; n++ {
		partition := int32(n % w.Partitions)
		floor := w.bounds.Floor(partition, time.Now())
		start, end, a := node.offsets(ctx, w.topic, partition)
		switch {
		case ctx.Err() != nil:
			return
		case a.status == http.StatusOK:
			w.stats.bounds.Add(1)
			w.bounds.Answered(partition, node.name, floor, start, end)
		case !a.again():
			w.found.Add(answers, "%s: bounds of partition %d: %s", node.name, partition, a)
		}
		if floor.Trimmed > 0 {
			w.askBelowStart(ctx, node, partition, floor.Trimmed-1)
		}
	}
}

// askBelowStart asks for a record that a trim took away longer ago than a node may
// take to know.
func (w *workload) askBelowStart(ctx context.Context, node *client, partition int32, offset int64) {
	_, a, _ := node.fetch(ctx, w.topic, partition, offset, 1, 0, false)
	switch {
	case ctx.Err() != nil:
	case a.status == http.StatusGone:
		w.judgeGone(node.name, partition, offset, a)
	case a.status == http.StatusOK:
		w.found.Add(trimmed, "%s serves %d/%d, which is trimmed away for longer than %s", node.name, partition, offset, trimWithin)
	case !a.again() || a.status == http.StatusRequestedRangeNotSatisfiable:
		w.found.Add(trimmed, "%s: partition %d below its log start, at %d: %s", node.name, partition, offset, a)
	}
}

// readBack is an acknowledgement that any node is to confirm: the balancer does
// not tell which one gave it, so most often it is another.
type readBack struct {
	partition int32
	offset    int64
	id        RecordID
}

// readBack asks nodes for what was just acknowledged (P5).
func (w *workload) readBack(ctx context.Context, random *rand.Rand) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-w.readBacks:
			if nodes := w.cluster.clients(); len(nodes) > 0 {
				w.confirm(ctx, nodes[random.IntN(len(nodes))], r)
			}
		}
	}
}

// confirm fetches from a node what was acknowledged before.
func (w *workload) confirm(ctx context.Context, node *client, r readBack) {
	f, a, err := node.fetch(ctx, w.topic, r.partition, r.offset, 1, 0, false)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		w.found.Add(promiseOf(err), "%s: partition %d from %d on: %v", node.name, r.partition, r.offset, err)
	case a.status == http.StatusOK && len(f.records) == 0:
		w.found.Add(visible, "%s has nothing at %d/%d, and record %v is acknowledged there", node.name, r.partition, r.offset, r.id)
	case a.status == http.StatusOK && f.records[0].ID != r.id:
		w.found.Add(visible, "%s has record %v at %d/%d, and %v is acknowledged there", node.name, f.records[0].ID, r.partition, r.offset, r.id)
	case a.status == http.StatusOK:
		w.observed.Add(r.partition, node.name, f.records)
		w.stats.readBack.Add(1)
	case a.status == http.StatusGone && w.bounds.Asked(r.partition) > r.offset:
	case !a.again() || a.status == http.StatusRequestedRangeNotSatisfiable:
		w.found.Add(visible, "%s: record %v is acknowledged at %d/%d: %s", node.name, r.id, r.partition, r.offset, a)
	}
}
