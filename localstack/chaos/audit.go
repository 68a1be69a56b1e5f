package chaos

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// auditBytes is what the audit asks for at once.
	auditBytes = 8 << 20
	// auditsAtOnce bounds the partitions that are read at once.
	auditsAtOnce = 4
)

// audit reads everything from all nodes when producers have ended, and compares
// it with what they know. It returns how many records the log holds.
func (w *workload) audit(ctx context.Context, f *fleet, h *History) (int64, error) {
	members := f.members()
	logs := make([]PartitionLog, w.Partitions)
	whole := false
	// What is acknowledged with acks=1 gets into the log in its own time.
	_, err := f.awaitProgress(ctx, sizeOf(logs), func(ctx context.Context) error {
		scratch := NewFindings()
		whole = false
		if err := w.readAll(ctx, members[0].client, logs); err != nil {
			return err
		}
		whole = true
		Check(h, logs, scratch)
		for _, promise := range scratch.Broken() {
			if promise == lost {
				return fmt.Errorf("acknowledged records are not in the log yet: %s", scratch.List()[0])
			}
		}
		return nil
	})
	if err != nil || !whole { // a part of the log proves nothing of the rest
		return 0, err
	}
	Check(h, logs, w.found)
	w.observed.CheckAcknowledged(h)
	for _, m := range members[1:] {
		other := make([]PartitionLog, w.Partitions)
		ok, err := f.awaitProgress(ctx, sizeOf(other), func(ctx context.Context) error { return w.readAll(ctx, m.client, other) })
		if err != nil {
			return 0, err
		}
		if !ok {
			continue
		}
		for p := range logs {
			if a, b := logs[p], other[p]; a.Start != b.Start || len(a.Records) != len(b.Records) {
				w.found.Add(visible, "partition %d is from %d to %d at %s, and from %d to %d at %s", p,
					a.Start, a.Start+int64(len(a.Records)), members[0].name, b.Start, b.Start+int64(len(b.Records)), m.name)
			}
		}
	}
	for _, m := range members {
		for p := range logs {
			w.askAround(ctx, m.client, int32(p), logs[p])
		}
	}
	var records int64
	for _, log := range logs {
		records += int64(len(log.Records))
	}
	return records, ctx.Err()
}

// sizeOf counts the records that were read so far.
func sizeOf(logs []PartitionLog) func() int64 {
	return func() (n int64) {
		for p := range logs {
			n += int64(len(logs[p].Records))
		}
		return n
	}
}

// readAll reads on in every partition up to its end. A log that is empty begins
// at its start. What is read is compared with what was ever served (P6).
func (w *workload) readAll(ctx context.Context, node *client, logs []PartitionLog) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(auditsAtOnce)
	for p := range logs {
		group.Go(func() error {
			floor := w.bounds.Floor(int32(p), time.Now())
			start, end, a := node.offsets(ctx, w.topic, int32(p))
			if a.status != http.StatusOK {
				return fmt.Errorf("%s: bounds of partition %d: %s", node.name, p, a)
			}
			w.bounds.Answered(int32(p), node.name, floor, start, end)
			return w.readTo(ctx, node, int32(p), &logs[p], start, end)
		})
	}
	return group.Wait()
}

func (w *workload) readTo(ctx context.Context, node *client, p int32, log *PartitionLog, start, end int64) error {
	if log.Records == nil || start != log.Start {
		*log = PartitionLog{Start: start, Records: make([]RecordID, 0, end-start)}
	}
	for at := log.Start + int64(len(log.Records)); at < end; {
		f, a, err := node.fetch(ctx, w.topic, p, at, auditBytes, 0, false)
		if err != nil {
			w.found.Add(promiseOf(err), "%s: partition %d from %d on: %v", node.name, p, at, err)
			return nil
		}
		if a.status != http.StatusOK || len(f.records) == 0 {
			return fmt.Errorf("%s: partition %d from %d on, with its end at %d: %s", node.name, p, at, end, a)
		}
		w.observed.Add(p, node.name, f.records)
		for _, r := range f.records {
			log.Records = append(log.Records, r.ID)
		}
		at = f.next
	}
	return nil
}

// askAround asks a node for what is just outside of a partition.
func (w *workload) askAround(ctx context.Context, node *client, p int32, log PartitionLog) {
	if log.Start > 0 {
		w.askBelowStart(ctx, node, p, log.Start-1)
		w.askBelowStart(ctx, node, p, 0)
	}
	end := log.Start + int64(len(log.Records))
	f, a, err := node.fetch(ctx, w.topic, p, end, 1, 0, false)
	if err != nil || a.status != http.StatusOK || len(f.records) != 0 {
		w.found.Add(visible, "%s: partition %d at its end %d: %s (%v)", node.name, p, end, a, err)
	}
	_, a, _ = node.fetch(ctx, w.topic, p, end+1, 1, 0, false)
	if a.status != http.StatusRequestedRangeNotSatisfiable || a.problem.HighWatermark == nil || *a.problem.HighWatermark != end {
		w.found.Add(visible, "%s: partition %d beyond its end %d: %s", node.name, p, end, a)
	}
}
