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
	Created  bool         // CreateTopic, JoinGroup: the topic or member was not there before
	Producer int64        // AllocateProducerID, RaiseEpoch
	Epoch    int64        // RaiseEpoch: of the producer id; JoinGroup: of the member
	LogStart Offset       // Trim: the log start that holds now
	More     bool         // Expire: there are more to forget; send it again
	Units    []UnitResult // CommitSegment, in the order of its units; Compact, of its partitions
}

// UnitResult is what became of one unit of a CommitSegment.
type UnitResult struct {
	Err     error          // nil, or why the whole unit was rejected
	Appends []AppendResult // if accepted, in the order of the unit's appends
	// Replayed says that the unit's key had landed before. Nothing landed now;
	// State.Request has what landed then.
	Replayed bool
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
	ErrObjectExists      = errors.New("object is in the catalog already")
	ErrKeyReused         = errors.New("the idempotency key was used for another request")
	ErrTooManyKeys       = errors.New("too many idempotency keys are remembered")
	ErrGroupNotFound     = errors.New("group not found")
	ErrGroupNotEmpty     = errors.New("the group has members")
	ErrGroupStrategy     = errors.New("the group has another strategy")
	ErrGroupFull         = errors.New("the group has as many members as it may")
	ErrCommitOvertaken   = errors.New("the member has committed offsets since")
	ErrMemberFenced      = errors.New("the member is not in the group any more")
	ErrCompactionClaimed = errors.New("another job has the lease of the topic's compaction")
	ErrExtentsChanged    = errors.New("the partition's extents are not those that were compacted")
	ErrInvalid           = errors.New("invalid edit") // an *InvalidError says why
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

// FenceError refuses what named another fencing token than the partition has.
type FenceError struct{ Token string } // that it has; "" for none

func (e *FenceError) Error() string {
	if e.Token == "" {
		return "fencing token does not match: the partition has none"
	}
	return fmt.Sprintf("fencing token does not match: the partition has %q", e.Token)
}

// RebalanceError refuses what a member asked for under an assignment that it
// does not have any more, or in a partition that it does not hold.
type RebalanceError struct{ Epoch int64 } // of its newest assignment

func (e *RebalanceError) Error() string {
	return fmt.Sprintf("the member's partitions have changed: its newest epoch is %d", e.Epoch)
}

// CommitOffsetError refuses to commit an offset that no record can have had yet.
type CommitOffsetError struct {
	Index int    // in CommitOffsets
	End   Offset // of the partition
}

func (e *CommitOffsetError) Error() string {
	return fmt.Sprintf("offset to commit, number %d, is above the end offset %d", e.Index, e.End)
}

// CommitPartitionError is ErrTopicNotFound or ErrPartitionNotFound for one of
// several offsets.
type CommitPartitionError struct {
	Index int // in CommitOffsets
	Err   error
}

func (e *CommitPartitionError) Error() string {
	return fmt.Sprintf("offset to commit, number %d: %v", e.Index, e.Err)
}

// Unwrap returns Err.
func (e *CommitPartitionError) Unwrap() error { return e.Err }

// InvalidError refuses an edit that no catalog could carry out.
type InvalidError struct{ Reason InvalidReason }

func (e *InvalidError) Error() string { return ErrInvalid.Error() + ": " + e.Reason.String() }

// Is makes errors.Is(err, ErrInvalid) true.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// InvalidReason is what is wrong with an edit. The numbers are part of the
// journal's format.
type InvalidReason uint8

// What can be wrong with an edit.
const (
	InvalidTopicID        InvalidReason = iota + 1 // zero, or taken by a topic of another name
	InvalidTopicName                               // see ValidTopicName
	InvalidPartitionCount                          // not 1 to TopicPartitionsMax
	InvalidConfig                                  // a setting is out of its range
	InvalidNumbers                                 // Upto is not greater than After
	InvalidObject                                  // unknown kind, or sizes that contradict each other
	InvalidAppend                                  // no records, or bytes outside of the object
	InvalidProducer                                // negative id, epoch or sequence
	InvalidOffset                                  // offsets would exceed 63 bits
	InvalidToken                                   // see ValidToken
	InvalidGroup                                   // a name, a number of topics, a timeout or a strategy
	InvalidGroupOffset                             // none, too many, one twice, below NoOffset, or long metadata
	InvalidCompaction                              // lengths, records or extents that do not add up, or partitions out of order
	invalidReasonEnd
)

var invalidReasons = [invalidReasonEnd]string{
	InvalidTopicID:        "topic id",
	InvalidTopicName:      "topic name",
	InvalidPartitionCount: "number of partitions",
	InvalidConfig:         "topic settings",
	InvalidNumbers:        "commit numbers",
	InvalidObject:         "object",
	InvalidAppend:         "append",
	InvalidProducer:       "producer",
	InvalidOffset:         "offset",
	InvalidToken:          "fencing token",
	InvalidGroup:          "group or member",
	InvalidGroupOffset:    "offsets to commit",
	InvalidCompaction:     "compaction",
}

func (r InvalidReason) String() string {
	if r == 0 || r >= invalidReasonEnd {
		return "unknown"
	}
	return invalidReasons[r]
}

func invalid(reason InvalidReason) error { return &InvalidError{Reason: reason} }
