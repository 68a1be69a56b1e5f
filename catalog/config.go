package catalog

import (
	"fmt"
	"time"
)

// Config of a running catalog.
type Config struct {
	// Address names this node in its claims.
	Address string

	// SnapshotSlots and SnapshotBytes are how much journal may follow a
	// snapshot before the leader writes the next one.
	SnapshotSlots int
	SnapshotBytes int64

	// QueueMax bounds the edits, and the questions, that wait for the store;
	// beyond it callers get ErrBusy.
	QueueMax int
	// QueueBytesMax bounds the encoded size of the edits that wait.
	QueueBytesMax int

	// ClaimDelayMin and ClaimDelayMax bound the random time that a deposed
	// node with commits waiting leaves to the new leader before it claims the
	// lead back. Two busy nodes on one bucket take turns of about this length.
	ClaimDelayMin, ClaimDelayMax time.Duration

	// RecentFor is how long a replica may serve reads that it did not confirm.
	RecentFor time.Duration

	// WatchInterval is how often a replica with waiting readers looks for
	// entries of other nodes.
	WatchInterval time.Duration

	// ExpireInterval is how often the leader sends ExpireProducers.
	ExpireInterval time.Duration

	// ReadAheadSlots bounds how many slots a replica fetches at once when it
	// catches up.
	ReadAheadSlots int

	// RetryDelay is the pause after the store failed while loading.
	RetryDelay time.Duration
}

// DefaultConfig returns the values that production uses.
func DefaultConfig() Config {
	return Config{
		Address:        "local",
		SnapshotSlots:  10_000,
		SnapshotBytes:  64 << 20,
		QueueMax:       10_000,
		QueueBytesMax:  32 << 20,
		ClaimDelayMin:  200 * time.Millisecond,
		ClaimDelayMax:  400 * time.Millisecond,
		RecentFor:      5 * time.Second,
		WatchInterval:  500 * time.Millisecond,
		ExpireInterval: time.Hour,
		ReadAheadSlots: 16,
		RetryDelay:     200 * time.Millisecond,
	}
}

// Validate tells what is wrong with c.
func (c Config) Validate() error {
	switch {
	case c.SnapshotSlots < 1 || c.SnapshotBytes < 1:
		return fmt.Errorf("catalog: snapshots need a positive number of slots and bytes, got %d and %d", c.SnapshotSlots, c.SnapshotBytes)
	case c.QueueMax < 1 || c.QueueBytesMax < 1:
		return fmt.Errorf("catalog: the queue needs a positive length, got %d edits and %d bytes", c.QueueMax, c.QueueBytesMax)
	case c.ClaimDelayMin < 0 || c.ClaimDelayMax < c.ClaimDelayMin:
		return fmt.Errorf("catalog: claim delay from %s to %s", c.ClaimDelayMin, c.ClaimDelayMax)
	case c.RecentFor <= 0 || c.WatchInterval <= 0 || c.ExpireInterval <= 0 || c.RetryDelay <= 0:
		return fmt.Errorf("catalog: intervals must be positive")
	case c.ReadAheadSlots < 1:
		return fmt.Errorf("catalog: read-ahead of %d slots", c.ReadAheadSlots)
	}
	return nil
}
