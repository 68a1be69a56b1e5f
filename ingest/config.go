package ingest

import (
	"fmt"
	"time"
)

// Config of an ingest node.
type Config struct {
	// FlushBytes is the size at which a segment is sealed. One request may
	// make it larger, since it is never split.
	FlushBytes int64
	// FlushInterval is the age at which a segment is sealed, while others are
	// in flight. With none in flight it is sealed at once.
	FlushInterval time.Duration
	// PutBudget is the ceiling on PUTs per second that flushes cause, with a
	// burst of as many; 0 is no ceiling. Full segments are flushed whatever it
	// says, and later small ones wait for it.
	PutBudget float64

	// UploadsMax bounds the segments that are encoded and uploaded at a time.
	UploadsMax int
	// SegmentAppendsMax bounds the catalog appends of one request, and seals
	// the segment that reaches it, so that a commit, of less than twice as
	// many, fits into a journal entry.
	SegmentAppendsMax int

	// BufferBytesMax is the node's budget for request bodies and for records
	// that are not committed yet. Beyond it requests are refused.
	BufferBytesMax int64
	// BatchBytes is the size at which batches that the server builds are cut.
	BatchBytes int
	// BatchBytesMax bounds one record batch that a client built.
	BatchBytesMax int
	// DecompressedBytesMax bounds what such a batch may decompress to.
	DecompressedBytesMax int
	// ValidationsMax bounds the compressed batches that are checked at a time;
	// each may take DecompressedBytesMax beside the budget.
	ValidationsMax int

	// RetryAfter is what refused callers are told to wait.
	RetryAfter time.Duration
}

// DefaultConfig returns the values that production uses.
func DefaultConfig() Config {
	return Config{
		FlushBytes:           8 << 20,
		FlushInterval:        250 * time.Millisecond,
		UploadsMax:           4,
		SegmentAppendsMax:    8000,
		BufferBytesMax:       128 << 20,
		BatchBytes:           1 << 20,
		BatchBytesMax:        16 << 20,
		DecompressedBytesMax: 64 << 20,
		ValidationsMax:       8,
		RetryAfter:           time.Second,
	}
}

// Validate tells what is wrong with c.
func (c Config) Validate() error {
	switch {
	case c.FlushBytes < 1:
		return fmt.Errorf("ingest: flush size of %d bytes", c.FlushBytes)
	case c.FlushInterval <= 0:
		return fmt.Errorf("ingest: flush interval of %s", c.FlushInterval)
	case c.PutBudget < 0:
		return fmt.Errorf("ingest: PUT budget of %g per second", c.PutBudget)
	case c.UploadsMax < 1 || c.ValidationsMax < 1:
		return fmt.Errorf("ingest: %d uploads and %d validations at a time", c.UploadsMax, c.ValidationsMax)
	case c.SegmentAppendsMax < 1 || c.SegmentAppendsMax > 8000:
		return fmt.Errorf("ingest: %d appends in a segment, not within 1 and 8000", c.SegmentAppendsMax)
	case c.BufferBytesMax < c.FlushBytes:
		return fmt.Errorf("ingest: a buffer of %d bytes cannot hold a segment of %d", c.BufferBytesMax, c.FlushBytes)
	case c.BatchBytes < 1 || c.BatchBytesMax < 1 || c.DecompressedBytesMax < c.BatchBytesMax:
		return fmt.Errorf("ingest: batch limits %d, %d, %d bytes", c.BatchBytes, c.BatchBytesMax, c.DecompressedBytesMax)
	case c.RetryAfter <= 0:
		return fmt.Errorf("ingest: retry after %s", c.RetryAfter)
	}
	return nil
}
