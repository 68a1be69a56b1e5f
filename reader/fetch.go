package reader

import (
	"context"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// NoUntil is a Query without an upper end.
const NoUntil catalog.Offset = -1

// Query asks for records of one partition.
type Query struct {
	Partition  catalog.TopicPartition
	Offset     catalog.Offset
	Until      catalog.Offset // end of a closed range, or NoUntil
	MaxBytes   int            // of batches as stored; the first batch is returned even if it is larger
	MaxRecords int            // stop once the batches hold that many; 0: no limit
	MinBytes   int            // wait for so many bytes, MaxWait at most
	MaxWait    time.Duration
}

// Fetched is the answer to a Query.
type Fetched struct {
	// Batches are whole batches with their offsets patched in. The first may
	// begin before Query.Offset, the last may end after Query.Until. They are
	// the caller's own.
	Batches       [][]byte
	NextOffset    catalog.Offset // after the last of Batches, at most Until; Query.Offset if there are none
	HighWatermark catalog.Offset // a lower bound
	LogStart      catalog.Offset
}

// Bounds of a partition.
type Bounds struct {
	Start catalog.Offset
	End   catalog.Offset
}

// OutOfRangeError is an offset below the log start or above the end offset.
type OutOfRangeError struct {
	Offset catalog.Offset
	Bounds Bounds
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("offset %d is outside of [%d, %d]", e.Offset, e.Bounds.Start, e.Bounds.End)
}

// Below tells that the records were there once and are no more.
func (e *OutOfRangeError) Below() bool { return e.Offset < e.Bounds.Start }

// Reader is a stub until the real one lands.
type Reader struct{}

// Fetch returns batches of q.Partition, or an *OutOfRangeError, or
// catalog.ErrTopicNotFound or ErrPartitionNotFound, or
// catalog.ErrNotConfirmed if the node cannot tell at the moment.
func (r *Reader) Fetch(ctx context.Context, q Query) (Fetched, error) { panic("stub") }

// Bounds returns a partition's bounds as of now.
func (r *Reader) Bounds(ctx context.Context, tp catalog.TopicPartition) (Bounds, error) {
	panic("stub")
}

// OffsetAtTime returns offset and timestamp of the first record, in offset
// order, whose timestamp is at least ms; false if there is none.
func (r *Reader) OffsetAtTime(ctx context.Context, tp catalog.TopicPartition, ms int64) (catalog.Offset, int64, bool, error) {
	panic("stub")
}
