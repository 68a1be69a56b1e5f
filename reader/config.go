package reader

import (
	"fmt"
	"time"
)

// Config of a reader.
type Config struct {
	// CacheBytes bounds the block cache.
	CacheBytes int64
	// RecentBytes bounds what was loaded last, which is kept beside the block
	// cache whatever that one admits: the partitions of one segment are read
	// at about the same time, by requests that do not know of each other.
	RecentBytes int64
	// WholeObjectBytes is the size up to which an object is loaded whole, so
	// that one GET serves all its partitions.
	WholeObjectBytes int64
	// LoadBytesMax bounds the bytes of all loads under way, and of those done
	// that the fetch which began them has yet to use. A single load may be
	// larger; it is then the only one.
	LoadBytesMax int64
	// LoadsPerFetch bounds the loads that one fetch has under way.
	LoadsPerFetch int
	// FetchBytesMax bounds what one fetch returns, beside its first batch.
	FetchBytesMax int
	// ReadAheadObjects is how many objects beyond a fetch are loaded in its
	// wake, at most, for the next one of a sequential reader; of a large
	// object, so many pieces of about 1 MiB. 0 is none.
	ReadAheadObjects int
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
		CacheBytes:           96 << 20,
		RecentBytes:          48 << 20,
		WholeObjectBytes:     16 << 20,
		LoadBytesMax:         64 << 20,
		LoadsPerFetch:        4,
		FetchBytesMax:        64 << 20,
		ReadAheadObjects:     2,
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
	case c.CacheBytes < 1<<20 || c.RecentBytes < 0:
		return fmt.Errorf("reader: caches of %d and %d bytes; the first needs 1 MiB at least", c.CacheBytes, c.RecentBytes)
	case c.WholeObjectBytes < 0 || c.LoadBytesMax < 1 || c.LoadsPerFetch < 1 || c.ReadAheadObjects < 0:
		return fmt.Errorf("reader: loads of %d bytes whole, %d bytes in all, %d for a fetch, %d ahead", c.WholeObjectBytes, c.LoadBytesMax, c.LoadsPerFetch, c.ReadAheadObjects)
	case c.FetchBytesMax < 1 || c.DecompressedBytesMax < 1:
		return fmt.Errorf("reader: fetches of %d bytes, batches of %d", c.FetchBytesMax, c.DecompressedBytesMax)
	case c.PresignValidity != 0 && (c.PresignValidity < time.Second || c.PresignValidity > 7*24*time.Hour):
		return fmt.Errorf("reader: URLs that are valid for %s; a second to 7 days, or 0 for none", c.PresignValidity)
	case c.AttemptsMax < 1 || c.AttemptTimeout <= 0 || c.BytesPerSecondMin < 1 || c.Backoff <= 0:
		return fmt.Errorf("reader: %d attempts of %s at %d bytes/s, %s apart", c.AttemptsMax, c.AttemptTimeout, c.BytesPerSecondMin, c.Backoff)
	}
	return nil
}
