package catalog

import "github.com/wadilog/wadi/internal/recordbatch"

// Edit is one change to the catalog. Each kind has a Result of its own in
// which Apply says what became of it.
type Edit interface {
	edit()
}

// CreateTopic makes a topic. The same name with the same settings again is no
// error and returns the topic that is there; with others it is ErrTopicExists.
type CreateTopic struct {
	ID         TopicID
	Name       string
	Partitions int32
	Config     TopicConfig
}

// AlterTopic changes a topic's settings, or raises its partitions (0 leaves
// them as they are). Fewer partitions are ErrPartitionsShrink.
type AlterTopic struct {
	ID         TopicID
	Partitions int32
	Config     TopicConfig
}

// DeleteTopic removes a topic with its partitions.
type DeleteTopic struct{ ID TopicID }

// RegisterNode makes a node id known, with last number 0. Again is no error.
type RegisterNode struct {
	Node   NodeID
	HasWAL bool
}

// RemoveNode forgets a node id; only its own WAL's owner (or an operator)
// sends it, after all that the WAL holds is committed. Unknown is no error.
type RemoveNode struct{ Node NodeID }

// KeepNode keeps a node id from expiring, and says whether its node still has a
// write-ahead buffer of which the catalog may lack something. An id that is not
// there is ErrUnknownNode, and is not made: its numbers are lost.
type KeepNode struct {
	Node   NodeID
	HasWAL bool
}

// AllocateProducerID gives out an idempotent producer's id, epoch 0.
type AllocateProducerID struct{}

// RaiseEpoch gives out the next epoch of a producer id. From then on batches of
// that id with a lower epoch are refused in all partitions. An id whose epochs
// are used up is left to nobody, and another is given out.
type RaiseEpoch struct{ Producer int64 }

// SetFence gives a partition a fencing token, or takes it away ("").
// Conditional on Expected ("" for none) being the token that it has, it is
// refused with a *FenceError otherwise. A token that is there already is no error.
type SetFence struct {
	Partition   TopicPartition
	Token       string
	Conditional bool
	Expected    string
}

// Trim moves a partition's log start up to Before, at most to its end. Lower
// than the log start changes nothing.
type Trim struct {
	Partition TopicPartition
	Before    Offset
}

// Expire forgets the producer ids whose last batch is older than
// ProducerExpiryMs of journal time, the requests that landed under an
// idempotency key before RequestKeyExpiryMs, and the ids of nodes without a
// write-ahead buffer that have been silent for NodeExpiryMs. The leader sends it now
// and then.
type Expire struct{}

// RaiseLevel raises the catalog's feature level. A level that the catalog has
// is no error. A replica that does not know the level stops.
type RaiseLevel struct{ Level uint32 }

// CommitSegment gives offsets to the batches of one uploaded object. It
// applies only if the catalog's last number of Node is After; otherwise it is
// refused with that number. Units are judged one by one, each as a whole.
type CommitSegment struct {
	Node   NodeID
	After  uint64 // the node's last number before this commit
	Upto   uint64 // and after it; greater than After
	Object NewObject
	Units  []Unit
}

// NewObject is the object that a commit adds.
type NewObject struct {
	ID       ObjectID
	Kind     ObjectKind
	Size     int64 // bytes
	IndexPos Pos
	IndexCRC uint32
}

// ObjectKind says where an object's bytes are.
type ObjectKind uint8

// The kinds of object. Inline bytes within a journal slot will be another.
const (
	SegmentObject ObjectKind = 1
)

// Unit is what is accepted or rejected as a whole: one produce request, or
// several unconditional ones whose batches lie side by side.
type Unit struct {
	Appends []Append
	Key     RequestKey // zero for none
}

// Append is a contiguous run of batches for one partition.
type Append struct {
	Partition    TopicPartition
	Pos          Pos
	Len          int64 // bytes
	CRC          uint32
	Records      int32
	MaxTimestamp int64 // ms

	// Expected is the offset that the first record must get, or AnyOffset.
	Expected Offset

	// Token is the fencing token that the partition must have, "" for any.
	Token string

	// Producer, if its ID is not -1, is that of the one batch in this append.
	Producer recordbatch.Producer
}

// JoinGroup adds a member to a group, and makes the group if it is not there. An
// id that is a member already begins anew with the same partitions: whoever had
// it before is fenced, and a join whose outcome is unknown can be sent again.
// The Result has the epoch with which the member joined. It is acknowledged with
// that, unless the id held partitions that are to go to others: then there is a
// newer epoch to acknowledge. Topics that are not there yet count once they are.
type JoinGroup struct {
	Group            string
	Member           string
	ClientID         string
	Topics           []string // distinct, in order
	Strategy         Strategy
	SessionTimeoutMs int32
}

// SyncMember acknowledges a member's newest assignment: it has let go of what
// is not in it. An epoch that is not the newest is a *RebalanceError.
type SyncMember struct {
	Group  string
	Member string
	Epoch  int64
}

// KeepMember renews a member's lease. It changes nothing; the leader that
// applies it notes it.
type KeepMember struct {
	Group  string
	Member string
	Epoch  int64
}

// RemoveMember takes a member out of its group, unless it has joined again
// after Epoch; 0 is any.
type RemoveMember struct {
	Group  string
	Member string
	Epoch  int64
}

// CommitOffsets notes how far a group has come, all of it or nothing. A member
// commits in partitions that it holds, under an epoch that it has acknowledged or
// is to acknowledge. Without a member the group must have none.
//
// After is the member's count of commits before this one. So one that comes late or
// twice, after the member has made another, takes nothing back.
type CommitOffsets struct {
	Group   string
	Member  string
	Epoch   int64
	After   int64
	Offsets []GroupOffset
}

// GroupOffset is an offset to commit.
type GroupOffset struct {
	Partition TopicPartition
	Offset    Offset // NoOffset forgets what was committed
	Metadata  string
}

// NoOffset is a GroupOffset that takes a committed offset away.
const NoOffset Offset = -1

// DeleteGroup forgets a group that has no members, with its offsets.
type DeleteGroup struct{ Group string }

// Retain drops what a topic's settings do not keep any more, at the journal's
// time. Whole extents go, from the start of each partition, a bounded number in
// one edit: More in the Result asks for it again. It looks at the settings when
// it is applied, so that it never drops by settings that were changed before.
type Retain struct{ Topic TopicID }

// DropGarbage forgets up to DropGarbageMax objects that were garbage and have
// been deleted from the store. One that is not garbage is no error.
type DropGarbage struct{ Objects []ObjectID }

// RaiseOrphanFloor raises the orphan floor from After to Floor, ms of ULID time,
// at most to the journal's time. Whose edit raised it (Created in the Result)
// looks for the orphans below it; the others have nothing to do.
type RaiseOrphanFloor struct{ After, Floor uint64 }

// ClaimCompaction gives Job the lease of a topic's compaction for ForMs of journal
// time from now on, or renews it. While another job has it the edit is refused with
// ErrCompactionClaimed. With ForMs 0 the job gives its lease back.
type ClaimCompaction struct {
	Topic TopicID
	Job   JobID
	ForMs int64
}

// Compact puts the extents of a new object in the place of runs of extents that
// hold the same batches, for the job that has the topic's lease. Each partition is
// judged on its own: one whose extents are not those that the job read any more
// keeps what it has. The units of the Result are the partitions. No record is added,
// changed or dropped, and no offset moves; times of commit and of records are taken
// from the extents that are replaced.
type Compact struct {
	Topic      TopicID
	Job        JobID
	Object     NewObject
	Partitions []CompactedPartition // ascending
}

// CompactedPartition is what a Compact puts into one partition.
type CompactedPartition struct {
	Partition int32
	Base      Offset        // of the first extent that is replaced
	Replaced  ExtentsDigest // of all that are replaced
	Extents   []CompactedExtent
}

// CompactedExtent replaces Replaces extents of a partition that follow each other.
type CompactedExtent struct {
	Pos      Pos
	Len      int64 // bytes; the sum of those replaced
	CRC      uint32
	Records  int32 // the sum of those replaced
	Replaces int32
}

// Forwarded says that the Count edits after it in the journal entry came from
// another node: they are those from First on of the request Seq of Session. By
// it that node finds their results, whatever became of the leader's answer. It
// changes nothing.
type Forwarded struct {
	Session Session
	Seq     uint64
	First   uint32
	Count   uint32
}

// AnyOffset is an Append without a condition on its offset.
const AnyOffset Offset = -1

func (CreateTopic) edit()        {}
func (AlterTopic) edit()         {}
func (DeleteTopic) edit()        {}
func (RegisterNode) edit()       {}
func (RemoveNode) edit()         {}
func (KeepNode) edit()           {}
func (AllocateProducerID) edit() {}
func (RaiseEpoch) edit()         {}
func (SetFence) edit()           {}
func (Trim) edit()               {}
func (Expire) edit()             {}
func (CommitSegment) edit()      {}
func (RaiseLevel) edit()         {}
func (Forwarded) edit()          {}
func (JoinGroup) edit()          {}
func (SyncMember) edit()         {}
func (KeepMember) edit()         {}
func (RemoveMember) edit()       {}
func (CommitOffsets) edit()      {}
func (DeleteGroup) edit()        {}
func (Retain) edit()             {}
func (DropGarbage) edit()        {}
func (RaiseOrphanFloor) edit()   {}
func (ClaimCompaction) edit()    {}
func (Compact) edit()            {}
