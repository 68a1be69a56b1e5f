package reader

import (
	"context"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// Await waits until the partitions hold minBytes of batches from the offsets on,
// all together; or one of the offsets is out of range, or its partition gone; or
// maxWait is over, or EndWaits was called. It makes the replica current first if
// that is needed to tell, so that a Fetch that follows may set Query.Known for
// each of the positions. Its errors are those of ctx and catalog.ErrNotConfirmed;
// what is the matter with a partition is for its Fetch to say.
func (r *Reader) Await(ctx context.Context, positions []catalog.PartitionOffset, minBytes int64, maxWait time.Duration) error {
	view, err := r.catalog.Recent(ctx)
	if err != nil {
		return err
	}
	for _, at := range positions {
		if p := view.Partition(at.Partition); p == nil || !settled(p, Query{Offset: at.Offset}) {
			if view, err = r.catalog.Confirm(ctx); err != nil {
				return err
			}
			break
		}
	}
	if maxWait <= 0 {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	defer context.AfterFunc(r.waits, cancel)()
	ends := make([]catalog.PartitionOffset, len(positions))
	for !together(view, positions, minBytes) {
		for i, at := range positions {
			ends[i] = catalog.PartitionOffset{Partition: at.Partition, Offset: view.Partition(at.Partition).End()}
		}
		if view, err = r.catalog.WaitBeyond(waiting, ends...); err != nil {
			if waiting.Err() != nil && ctx.Err() == nil {
				return nil
			}
			return err
		}
	}
	return nil
}

// together tells that the positions need no further wait.
func together(view *catalog.State, positions []catalog.PartitionOffset, minBytes int64) bool {
	have := int64(0)
	for _, at := range positions {
		p := view.Partition(at.Partition)
		if p == nil || at.Offset < p.LogStart() || at.Offset > p.End() {
			return true
		}
		if have < minBytes {
			have += storedBytes(p, at.Offset, p.End(), minBytes-have)
		}
	}
	return have >= minBytes
}
