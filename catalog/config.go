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
	// snapshot before the leader writes the next one. A snapshot of more than
	// SnapshotBytes is followed by as many bytes as it has; one that is small by
	// fewer slots, SnapshotSlotsMin at least: see snapshotDue.
	SnapshotSlots    int
	SnapshotSlotsMin int
	SnapshotBytes    int64

	// QueueMax bounds the edits, and the questions, that wait for the store;
	// beyond it callers get ErrBusy.
	QueueMax int
	// QueueBytesMax bounds the encoded size of the edits that wait.
	QueueBytesMax int

	// ClaimDelayMin and ClaimDelayMax bound the random time that a deposed
	// node with commits waiting leaves to the new leader before it claims the
	// lead back, without peers: two busy nodes then take turns of about this length.
	ClaimDelayMin, ClaimDelayMax time.Duration

	// PullWait is how long a follower lets the leader wait for an entry before it
	// answers that there is none: the leader's heartbeat.
	PullWait time.Duration
	// ForwardTimeout bounds one attempt to send edits to the leader.
	ForwardTimeout time.Duration
	// ForwardsMax bounds a follower's requests under way to the leader.
	ForwardsMax int
	// ForwardBytes is the size at which edits go into the next request.
	ForwardBytes int
	// RelayBytes bounds the entries that a leader keeps for its followers; one
	// that falls behind further reads the bucket.
	RelayBytes int

	// TakeoverMin and TakeoverMax bound the random time without a sign of life
	// after which a node with edits to commit claims the lead.
	TakeoverMin, TakeoverMax time.Duration
	// AbandonedMin and AbandonedMax are the same for a leader at whose address
	// nobody listens any more.
	AbandonedMin, AbandonedMax time.Duration
	// UnreachableMax is how long a node's edits may wait for a leader that
	// works for others before the node claims all the same.
	UnreachableMax time.Duration
	// HandOverMax is how long a leader that resigns waits for its successor.
	HandOverMax time.Duration

	// RecentFor is how long a replica may serve reads that it did not confirm.
	RecentFor time.Duration

	// WatchInterval is how often a replica with waiting readers looks for
	// entries of other nodes.
	WatchInterval time.Duration

	// ExpireInterval is how often the leader sends Expire.
	ExpireInterval time.Duration

	// ReadAheadSlots and ReadAheadBytes bound the slots that a replica has read,
	// or is reading, ahead of the one that it applies when it catches up. One
	// slot may exceed the bytes.
	ReadAheadSlots int
	ReadAheadBytes int64

	// FeatureLevel is to what this node raises the catalog's feature level when
	// it takes the lead. While versions that know less run beside this one, it is
	// held down to theirs.
	FeatureLevel uint32

	// RetryDelay is the pause after the store failed while loading.
	RetryDelay time.Duration
}

// DefaultConfig returns the values that production uses.
func DefaultConfig() Config {
	return Config{
		Address:       "local",
		SnapshotSlots: 10_000,
		SnapshotBytes: 64 << 20,

		SnapshotSlotsMin: 1000,

		QueueMax:       10_000,
		QueueBytesMax:  32 << 20,
		ClaimDelayMin:  200 * time.Millisecond,
		ClaimDelayMax:  400 * time.Millisecond,
		PullWait:       500 * time.Millisecond,
		ForwardTimeout: 5 * time.Second,
		ForwardsMax:    4,
		ForwardBytes:   1 << 20,
		RelayBytes:     16 << 20,
		TakeoverMin:    time.Second,
		TakeoverMax:    2 * time.Second,
		AbandonedMin:   50 * time.Millisecond,
		AbandonedMax:   150 * time.Millisecond,
		UnreachableMax: 5 * time.Second,
		HandOverMax:    3 * time.Second,
		RecentFor:      5 * time.Second,
		WatchInterval:  500 * time.Millisecond,
		ExpireInterval: time.Hour,
		ReadAheadSlots: 64,
		ReadAheadBytes: 64 << 20,
		FeatureLevel:   FeatureLevel,
		RetryDelay:     200 * time.Millisecond,
	}
}

// Validate tells what is wrong with c.
func (c Config) Validate() error {
	switch {
	case c.SnapshotSlots < 1 || c.SnapshotSlotsMin < 1 || c.SnapshotBytes < 1:
		return fmt.Errorf("catalog: snapshots after %d to %d slots or %d bytes", c.SnapshotSlotsMin, c.SnapshotSlots, c.SnapshotBytes)
	case c.QueueMax < 1 || c.QueueBytesMax < 1:
		return fmt.Errorf("catalog: the queue needs a positive length, got %d edits and %d bytes", c.QueueMax, c.QueueBytesMax)
	case c.ClaimDelayMin < 0 || c.ClaimDelayMax < c.ClaimDelayMin:
		return fmt.Errorf("catalog: claim delay from %s to %s", c.ClaimDelayMin, c.ClaimDelayMax)
	case c.TakeoverMin <= 0 || c.TakeoverMax < c.TakeoverMin || c.AbandonedMin <= 0 || c.AbandonedMax < c.AbandonedMin:
		return fmt.Errorf("catalog: take-over after %s to %s, or %s to %s", c.TakeoverMin, c.TakeoverMax, c.AbandonedMin, c.AbandonedMax)
	case c.PullWait <= 0 || c.PullWait >= c.TakeoverMin:
		return fmt.Errorf("catalog: pulls wait for %s, which is not between 0 and %s", c.PullWait, c.TakeoverMin)
	case c.ForwardTimeout <= 0 || c.UnreachableMax <= 0 || c.HandOverMax <= 0:
		return fmt.Errorf("catalog: times for other nodes must be positive")
	case c.ForwardsMax < 1 || c.ForwardBytes < 1 || c.ForwardBytes > ForwardBytesMax/2 || c.RelayBytes < 1:
		return fmt.Errorf("catalog: %d requests of %d bytes to the leader, %d bytes kept for followers", c.ForwardsMax, c.ForwardBytes, c.RelayBytes)
	case c.RecentFor <= 0 || c.WatchInterval <= 0 || c.ExpireInterval <= 0 || c.RetryDelay <= 0:
		return fmt.Errorf("catalog: intervals must be positive")
	case c.FeatureLevel < firstLevel || c.FeatureLevel > FeatureLevel:
		return fmt.Errorf("catalog: feature level %d, this version knows %d to %d", c.FeatureLevel, firstLevel, FeatureLevel)
	case c.ReadAheadSlots < 1 || c.ReadAheadBytes < 1:
		return fmt.Errorf("catalog: read-ahead of %d slots and %d bytes", c.ReadAheadSlots, c.ReadAheadBytes)
	}
	return nil
}
