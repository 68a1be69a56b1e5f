package verify

import (
	"fmt"
	"time"
)

// Config of a Verifier.
type Config struct {
	// Concurrency is how many objects are read at once.
	Concurrency int
	// BytesInFlight bounds the bytes of objects that are held in memory. One
	// object takes at most ChunkBytes of it, or its index if that is longer.
	BytesInFlight int64
	// Metadata leaves out the bodies of segments: the journal and the snapshots
	// are checked, and that all objects are there in their right length.
	Metadata bool
	// Topics limits the check of segments to those with records of these topics,
	// and looks for no orphans; all topics if it is empty.
	Topics []string
	// AttemptTimeout bounds one request to the store, beside the time for its
	// bytes at BytesPerSecondMin.
	AttemptTimeout    time.Duration
	BytesPerSecondMin int64
	// Attempts is how often a request is tried, and Backoff the pause after the
	// first, which doubles.
	Attempts int
	Backoff  time.Duration
}

// Limits that no setting changes.
const (
	// ChunkBytes is how much of an object is read at once. It is a multiple of
	// the blocks of a segment.
	ChunkBytes = 8 << 20
	// referencesMax bounds the extents that are looked up by object in memory; of
	// larger catalogs the objects are gone through in several passes.
	referencesMax = 1 << 20
	// slotsAhead is how many entries are read at once.
	slotsAhead = 32
	// reloadsMax is how often the journal is gone through anew because what was
	// being read was deleted meanwhile.
	reloadsMax = 8
	// unreadMax is after how many objects that could not be read it gives up.
	unreadMax = 100
)

// DefaultConfig returns what the command uses.
func DefaultConfig() Config {
	return Config{
		Concurrency:       8,
		BytesInFlight:     64 << 20,
		AttemptTimeout:    10 * time.Second,
		BytesPerSecondMin: 1 << 20,
		Attempts:          5,
		Backoff:           100 * time.Millisecond,
	}
}

// Validate names the first setting that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.Concurrency < 1 || c.Concurrency > 1024:
		return fmt.Errorf("verify: concurrency %d must be within 1 and 1024", c.Concurrency)
	case c.BytesInFlight < ChunkBytes:
		return fmt.Errorf("verify: %d bytes in flight must be at least %d", c.BytesInFlight, ChunkBytes)
	case c.AttemptTimeout <= 0 || c.BytesPerSecondMin < 1:
		return fmt.Errorf("verify: attempt timeout %v and %d bytes per second must be positive", c.AttemptTimeout, c.BytesPerSecondMin)
	case c.Attempts < 1 || c.Backoff <= 0:
		return fmt.Errorf("verify: %d attempts and backoff %v must be positive", c.Attempts, c.Backoff)
	}
	return nil
}
