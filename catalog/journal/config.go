package journal

import (
	"fmt"
	"time"
)

// Config of a journal.
type Config struct {
	// AttemptTimeout is how long an answer is waited for before the request is
	// repeated; 1 s. A body above 1 MiB is given longer, and each request that
	// timed out doubles it for the next repeat, up to attemptGrowthMax times.
	AttemptTimeout time.Duration
	// RetryBackoff is the least pause between repeats; 20 ms. It doubles up to 1 s.
	RetryBackoff time.Duration
	// HedgeAfterMin is the least time after which a PUT of a slot that has not
	// answered is sent a second time beside the first; 20 ms.
	HedgeAfterMin time.Duration
	// HedgeQuantile is the share of recent PUTs of like size that it must be slower
	// than; 0.95.
	HedgeQuantile float64
	// HedgeShareMax is the greatest share of PUTs that hedges may add, from 0
	// (never hedge) to 1; 0.1.
	HedgeShareMax float64
	// PartBytes is the length of a snapshot's parts but the last; 8 MiB. One part
	// is held in memory while a snapshot is written, and while it is read the one
	// that is decoded and partsAheadMax more.
	PartBytes int
	// Now is the local clock, against which the store's is judged; nil for time.Now.
	Now func() time.Time
}

// Limits that no setting changes.
const (
	// retryBackoffMax is the longest pause between repeats.
	retryBackoffMax = time.Second
	// attemptGrowthMax bounds how many times AttemptTimeout a request may get.
	attemptGrowthMax = 8
	// slowBytesPerSecond is the rate at which a body above slowBytesMin must
	// travel before it counts as unanswered.
	slowBytesPerSecond = 2 << 20
	slowBytesMin       = 1 << 20
	// readAttemptsMax is how often a read, or a write that may fail, is tried.
	readAttemptsMax = 4
	// snapshotAttemptsMax is how often the PUT of one part is tried.
	snapshotAttemptsMax = 8
	// partsAheadMax is how many parts of a snapshot are read ahead.
	partsAheadMax = 3
	// partBytesMax bounds Config.PartBytes and what a manifest may say of a part.
	partBytesMax = 256 << 20
	// snapshotPartsMax bounds the parts of one snapshot.
	snapshotPartsMax = 99_999
	// PruneDeletesMax is how many objects one call of Prune deletes at most.
	PruneDeletesMax = 25_000
	// deletesInFlightMax is how many deletions are under way at once.
	deletesInFlightMax = 16
)

// DefaultConfig returns the values that production uses.
func DefaultConfig() Config {
	return Config{
		AttemptTimeout: time.Second,
		RetryBackoff:   20 * time.Millisecond,
		HedgeAfterMin:  20 * time.Millisecond,
		HedgeQuantile:  0.95,
		HedgeShareMax:  0.1,
		PartBytes:      8 << 20,
		Now:            time.Now,
	}
}

// Validate names the first setting that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.AttemptTimeout <= 0:
		return fmt.Errorf("journal: attempt timeout %v must be positive", c.AttemptTimeout)
	case c.RetryBackoff <= 0 || c.RetryBackoff > retryBackoffMax:
		return fmt.Errorf("journal: retry backoff %v must be within 0 and %v", c.RetryBackoff, retryBackoffMax)
	case c.HedgeAfterMin <= 0:
		return fmt.Errorf("journal: hedges after %v at least must be positive", c.HedgeAfterMin)
	case !(c.HedgeQuantile > 0 && c.HedgeQuantile < 1):
		return fmt.Errorf("journal: hedge quantile %v must be within 0 and 1", c.HedgeQuantile)
	case !(c.HedgeShareMax >= 0 && c.HedgeShareMax <= 1):
		return fmt.Errorf("journal: share of hedges %v must be from 0 to 1", c.HedgeShareMax)
	case c.PartBytes < 1 || c.PartBytes > partBytesMax:
		return fmt.Errorf("journal: part of %d bytes must be within 1 and %d", c.PartBytes, partBytesMax)
	}
	return nil
}
