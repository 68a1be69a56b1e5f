package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
)

// snapshotJob is a view to be stored as a snapshot.
type snapshotJob struct {
	info  journal.SnapshotInfo
	state *State
}

// maybeSnapshot starts a snapshot of the replica when enough journal has piled
// up since the last one, unless one is being written.
func (c *Catalog) maybeSnapshot() {
	since := c.replica.sinceSnapshot
	if since.slots < c.cfg.SnapshotSlots && since.bytes < c.cfg.SnapshotBytes {
		return
	}
	if !c.snapshotting.CompareAndSwap(false, true) {
		return
	}
	c.replica.sinceSnapshot = journalLength{}
	// The channel has room: only one is under way.
	c.snapshots <- snapshotJob{info: c.replica.snapshotInfo(), state: c.replica.state}
}

// runSnapshots writes snapshots and prunes the journal below them. A failure
// leaves the journal longer than it needs to be; the next snapshot tries again.
func (c *Catalog) runSnapshots(ctx context.Context) error {
	for {
		var job snapshotJob
		select {
		case <-ctx.Done():
			return ctx.Err()
		case job = <-c.snapshots:
		}
		begun := time.Now()
		_, err := c.journal.WriteSnapshot(ctx, job.info, job.state.Encode)
		deleted := 0
		if err == nil {
			deleted, err = c.journal.Prune(ctx, verifySnapshot)
		}
		if err != nil {
			c.metrics.snapshotErrors.Inc()
			c.logger.Warn("snapshot failed", "slot", job.info.Slot, "error", err)
		} else {
			c.metrics.snapshots.Inc()
			c.logger.Info("snapshot written", "slot", job.info.Slot, "deleted", deleted, "seconds", time.Since(begun).Seconds())
		}
		c.snapshotting.Store(false)
	}
}

// verifySnapshot proves that a replica could start from a stored snapshot, and
// that it holds what its manifest says.
func verifySnapshot(info journal.SnapshotInfo, read func(decode func(part []byte) error) error) error {
	_, err := decodeSnapshot(info, read)
	return err
}

func decodeSnapshot(info journal.SnapshotInfo, read func(decode func(part []byte) error) error) (*State, error) {
	var dec StateDecoder
	if err := read(dec.Write); err != nil {
		return nil, err
	}
	state, err := dec.State()
	if err != nil {
		return nil, err
	}
	if state.Time() != info.Time || state.Level() != info.Level {
		return nil, fmt.Errorf("it is of time %d and level %d, its manifest of %d and %d", state.Time(), state.Level(), info.Time, info.Level)
	}
	return state, CheckAll(state)
}
