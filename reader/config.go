package reader

import (
	"fmt"
	"time"
)

// Config of a reader.
type Config struct {
	// CacheBytes bounds the blocks that are kept because they are read again.
	CacheBytes int64
	// RecentBytes bounds what was loaded or written last at the tail of the log.
	// It is kept whatever else is read: the partitions of one segment are read at
	// about the same time, by requests that do not know of each other.
	RecentBytes int64
	// ReplayCacheBytes bounds what replays loaded last, which is kept apart from
	// the former so that history does not push the tail out. Half of it is for
	// what was read ahead and not used yet; without it replays do not read ahead.
	ReplayCacheBytes int64
	// WholeObjectBytes is the size up to which an object is loaded whole, so
	// that one GET serves all its partitions.
	WholeObjectBytes int64
	// RangeBytesMax bounds one GET for blocks that lie side by side in a large
	// object. A single block may be larger.
	RangeBytesMax int64
	// Live bounds the loads of what was committed lately.
	Live Lane
	// Replay bounds the loads of history.
	Replay Lane
	// LoadsPerFetch bounds the loads that one fetch has under way.
	LoadsPerFetch int
	// FetchBytesMax bounds what one fetch returns, beside its first batch.
	FetchBytesMax int
	// ReadAheadBytesMax bounds what is loaded beyond a fetch for the next one of
	// a sequential reader. It begins with the size of a fetch, doubles with each
	// further one, and is halved where memory is short. 0 is none.
	ReadAheadBytesMax int64
	// LiveAge is the journal time for which what was committed is live.
	LiveAge time.Duration
	// ReplayAfterBytes is how much is read in sequence before a reader is
	// taken for a replay though what it reads was committed lately.
	ReplayAfterBytes int64
	// DecompressedBytesMax bounds one batch that OffsetAtTime looks into.
	DecompressedBytesMax int
	// PresignValidity is how long the URLs of a Manifest are good for; 0 is for
	// none. It must be below the time for which garbage is kept.
	PresignValidity time.Duration

	// AttemptsMax is how often a load is tried before it has failed.
	AttemptsMax int
	// AttemptTimeout is how long one attempt may take, besides what its bytes
	// take at BytesPerSecondMin.
	AttemptTimeout time.Duration
	// BytesPerSecondMin is the slowest transfer that is still waited for.
	BytesPerSecondMin int64
	// Backoff is the pause before the second attempt after the store failed. It
	// doubles with each further one, and a random half of it is left out.
	Backoff time.Duration
}

// DefaultConfig returns the values that production uses.
func DefaultConfig() Config {
	return Config{
		CacheBytes:           32 << 20,
		RecentBytes:          32 << 20,
		ReplayCacheBytes:     64 << 20,
		WholeObjectBytes:     16 << 20,
		RangeBytesMax:        4 << 20,
		Live:                 Lane{BytesMax: 24 << 20, LoadsMax: 64},
		Replay:               Lane{BytesMax: 40 << 20, LoadsMax: 32},
		LoadsPerFetch:        16,
		FetchBytesMax:        64 << 20,
		ReadAheadBytesMax:    32 << 20,
		LiveAge:              10 * time.Second,
		ReplayAfterBytes:     32 << 20,
		DecompressedBytesMax: 64 << 20,
		PresignValidity:      15 * time.Minute,
		AttemptsMax:          3,
		AttemptTimeout:       3 * time.Second,
		BytesPerSecondMin:    4 << 20,
		Backoff:              100 * time.Millisecond,
	}
}

// Validate tells what is wrong with c.
func (c Config) Validate() error {
	switch {
	case c.CacheBytes < 1<<20 || c.RecentBytes < 0 || c.ReplayCacheBytes < 0:
		return fmt.Errorf("reader: caches of %d, %d and %d bytes; the first needs 1 MiB at least", c.CacheBytes, c.RecentBytes, c.ReplayCacheBytes)
	case c.WholeObjectBytes < 0 || c.RangeBytesMax < 0 || c.LoadsPerFetch < 1 || c.ReadAheadBytesMax < 0:
		return fmt.Errorf("reader: loads of %d bytes whole, ranges of %d, %d for a fetch, %d bytes ahead", c.WholeObjectBytes, c.RangeBytesMax, c.LoadsPerFetch, c.ReadAheadBytesMax)
	case c.Live.BytesMax < 1 || c.Live.LoadsMax < 1 || c.Replay.BytesMax < 1 || c.Replay.LoadsMax < 1:
		return fmt.Errorf("reader: lanes of %+v and %+v", c.Live, c.Replay)
	case c.LiveAge < 0 || c.ReplayAfterBytes < 0:
		return fmt.Errorf("reader: live for %s, replay after %d bytes", c.LiveAge, c.ReplayAfterBytes)
	case c.FetchBytesMax < 1 || c.DecompressedBytesMax < 1:
		return fmt.Errorf("reader: fetches of %d bytes, batches of %d", c.FetchBytesMax, c.DecompressedBytesMax)
	case c.PresignValidity != 0 && (c.PresignValidity < time.Second || c.PresignValidity > 7*24*time.Hour):
		return fmt.Errorf("reader: URLs that are valid for %s; a second to 7 days, or 0 for none", c.PresignValidity)
	case c.AttemptsMax < 1 || c.AttemptTimeout <= 0 || c.BytesPerSecondMin < 1 || c.Backoff <= 0:
		return fmt.Errorf("reader: %d attempts of %s at %d bytes/s, %s apart", c.AttemptsMax, c.AttemptTimeout, c.BytesPerSecondMin, c.Backoff)
	}
	return nil
}
