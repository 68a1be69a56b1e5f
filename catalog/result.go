package catalog

import (
	"errors"
	"fmt"
)

// Result is what became of one edit. Err is one of this package's sentinel or
// typed errors, or nil.
type Result struct {
	Err error

	Topic    TopicID      // CreateTopic: the topic that is there now
	Created  bool         // CreateTopic: it was not there before
	Producer int64        // AllocateProducerID
	LogStart Offset       // Trim
	Units    []UnitResult // CommitSegment, in the order of its units
}

// UnitResult is what became of one unit of a CommitSegment.
type UnitResult struct {
	Err     error          // nil, or why the whole unit was rejected
	Appends []AppendResult // if accepted, in the order of the unit's appends
}

// AppendResult is where an append landed.
type AppendResult struct {
	Base      Offset
	Duplicate bool // the producer had sent this batch before; Base is where it landed then
}

// Why an edit or a unit was refused.
var (
	ErrTopicNotFound     = errors.New("topic not found")
	ErrPartitionNotFound = errors.New("partition not found")
	ErrTopicExists       = errors.New("topic exists with other settings")
	ErrPartitionsShrink  = errors.New("partitions cannot become fewer")
	ErrUnknownNode       = errors.New("ingest node id is not registered")
	ErrUnknownProducer   = errors.New("producer id was never given out, or has expired")
	ErrProducerFenced    = errors.New("producer epoch is stale")
	ErrOrphanFloor       = errors.New("object is older than the orphan floor")
	ErrCatalogFull       = errors.New("the catalog is at its limit")
)

// CommitOrderError refuses a commit whose After is not the node's last number.
type CommitOrderError struct{ Last uint64 }

func (e *CommitOrderError) Error() string {
	return fmt.Sprintf("commit is out of order: the node's last number is %d", e.Last)
}

// SequenceError refuses a batch that leaves a gap in its producer's sequence.
type SequenceError struct{ Expected int32 }

func (e *SequenceError) Error() string {
	return fmt.Sprintf("out of order sequence: expected %d", e.Expected)
}

// OffsetError refuses an append whose condition does not hold.
type OffsetError struct{ End Offset }

func (e *OffsetError) Error() string {
	return fmt.Sprintf("expected offset does not match: the end offset is %d", e.End)
}
