package catalog

import (
	"context"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
)

// snapshotJob is a view to be stored as a snapshot.
type snapshotJob struct {
	info  journal.SnapshotInfo
	state *State
	keep  int // slots below it that pruning leaves to replicas that slept
}

// snapshotSlotBytes is what a slot counts for beside a snapshot's bytes: a
// replica that starts reads a slot in about the time in which it reads as much of
// a snapshot, less what writing and verifying that costs the leader.
const snapshotSlotBytes = 4 << 10

// snapshotDue tells whether a snapshot is due after so much journal, if the one
// before it has so many bytes.
//
// What a start reads beside the snapshot, and what the leader writes again for each
// snapshot, should be in proportion. So a small state gets one as soon as the slots
// since the last one would take longer to read than the snapshot does, and a
// large one not before the journal has grown as large. At SnapshotSlotsMin the
// requests of a snapshot are less than a hundredth of those of its slots.
func (c Config) snapshotDue(since journalLength, snapshotBytes int64) bool {
	slots := min(max(snapshotBytes/snapshotSlotBytes, int64(c.SnapshotSlotsMin)), int64(c.SnapshotSlots))
	return int64(since.slots) >= slots || since.bytes >= max(c.SnapshotBytes, snapshotBytes)
}

// keptSlots is how many slots below a snapshot stay when it was due after so much
// journal. That a snapshot came sooner than after SnapshotSlots must not take from
// a replica that slept what it has yet to read, nor from a follower the outcome of
// its edits. Where it came for the bytes, two snapshots are all that is kept.
func (c Config) keptSlots(since journalLength) int {
	if since.bytes >= c.SnapshotBytes {
		return 0
	}
	return c.SnapshotSlots
}

// maybeSnapshot starts a snapshot of the replica when enough journal has piled
// up since the last one, unless one is being written.
func (c *Catalog) maybeSnapshot() {
	since := c.replica.sinceSnapshot
	if !c.cfg.snapshotDue(since, c.snapshotBytes.Load()) {
		return
	}
	if !c.snapshotting.CompareAndSwap(false, true) {
		return
	}
	c.replica.sinceSnapshot = journalLength{}
	// The channel has room: only one is under way.
	c.snapshots <- snapshotJob{info: c.replica.snapshotInfo(), state: c.replica.state, keep: c.cfg.keptSlots(since)}
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
		written, err := c.journal.WriteSnapshot(ctx, job.info, job.state.Encode)
		deleted := 0
		if err == nil {
			c.snapshotBytes.Store(written.Bytes())
			deleted, err = c.journal.Prune(ctx, job.keep, verifySnapshot)
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
	v := newSnapshotVerifier()
	if err := read(v.write); err != nil {
		return err
	}
	return v.verify(info)
}
