package catalog

// How much one catalog holds. Every replica must use the same numbers, since
// they decide the outcome of edits: raising one takes a new feature level.
const (
	// TopicPartitionsMax bounds the partitions of one topic.
	TopicPartitionsMax = 10_000
	// PartitionsMax bounds the partitions of all topics.
	PartitionsMax = 1_000_000
	// ExtentsMax bounds the extents of all partitions, and so the objects.
	ExtentsMax = 10_000_000
	// NodesMax bounds the registered ingest node ids.
	NodesMax = 100_000
	// ProducersMax bounds the producer ids that have not expired.
	ProducersMax = 1_000_000
	// ProducerPartitionsMax bounds the pairs of producer id and partition for
	// which batches are remembered.
	ProducerPartitionsMax = 4_000_000
	// RequestKeysMax bounds the idempotency keys that have not expired.
	RequestKeysMax = 1_000_000
	// RequestKeyAppendsMax bounds the results remembered with them: one for
	// each partition of each request.
	RequestKeyAppendsMax = 2_000_000
	// FencesMax bounds the partitions that have a fencing token.
	FencesMax = 100_000
	// GroupsMax bounds the consumer groups.
	GroupsMax = 100_000
	// GroupMembersMax bounds the members of one group.
	GroupMembersMax = 1000
	// MembersMax bounds the members of all groups.
	MembersMax = 100_000
	// GroupTopicsMax bounds the topics to which the members of one group
	// subscribe, together.
	GroupTopicsMax = 500
	// MemberTopicsMax bounds the topics to which all members of all groups
	// subscribe, counted for each member.
	MemberTopicsMax = 1_000_000
	// AssignedPartitionsMax bounds the partitions that all groups divide, counted
	// for each group.
	AssignedPartitionsMax = 2_000_000
	// CommittedOffsetsMax bounds the committed offsets of all groups.
	CommittedOffsetsMax = 2_000_000
	// CommitOffsetsMax bounds the offsets of one CommitOffsets.
	CommitOffsetsMax = 10_000
	// CommitMetadataBytesMax bounds the metadata of one CommitOffsets, so that
	// one of CommitOffsetsMax offsets fits into a journal entry.
	CommitMetadataBytesMax = 1 << 20
	// OffsetMetadataLenMax bounds what is remembered with one committed offset,
	// in bytes.
	OffsetMetadataLenMax = 1024
	// DropGarbageMax bounds the objects of one DropGarbage.
	DropGarbageMax = 1000
	// CompactExtentsMax bounds the extents that one Compact replaces.
	CompactExtentsMax = 50_000
	// OffsetMetadataBytesMax bounds what is remembered with all of them.
	OffsetMetadataBytesMax = 64 << 20
)

// The bounds of a member's session timeout, in ms.
const (
	SessionTimeoutMsMin = 3_000
	SessionTimeoutMsMax = 30 * 60 * 1000
)

// ProducerExpiryMs is how long after its last batch, or after it was given out,
// a producer id is forgotten, in ms of journal time.
const ProducerExpiryMs = 24 * 60 * 60 * 1000

// RequestKeyExpiryMs is how long after its request landed an idempotency key is
// forgotten, in ms of journal time.
const RequestKeyExpiryMs = 24 * 60 * 60 * 1000

// CompactionLeaseMsMax is the longest time in ms of journal time for which a job
// gets the lease of a topic's compaction at once.
const CompactionLeaseMsMax = 60 * 60 * 1000

// NodeExpiryMs is how long after its last commit or registration the id of a node
// without a write-ahead buffer is forgotten, in ms of journal time.
const NodeExpiryMs = 24 * 60 * 60 * 1000

// expiryStepsMax bounds the work of one Expire: ids, partitions of ids, and
// keys forgotten.
const expiryStepsMax = 10_000

// capacity is the limits as a State applies them. Only tests have others than
// the constants above.
type capacity struct {
	partitions         int
	extents            int64
	nodes              int
	producers          int
	producerPartitions int
	requestKeys        int
	requestKeyAppends  int
	fences             int
	groups             int
	groupMembers       int
	members            int
	memberTopics       int
	assigned           int
	committedOffsets   int
	metadataBytes      int64
	expirySteps        int
}

func defaultCapacity() capacity {
	return capacity{
		partitions:         PartitionsMax,
		extents:            ExtentsMax,
		nodes:              NodesMax,
		producers:          ProducersMax,
		producerPartitions: ProducerPartitionsMax,
		requestKeys:        RequestKeysMax,
		requestKeyAppends:  RequestKeyAppendsMax,
		fences:             FencesMax,
		groups:             GroupsMax,
		groupMembers:       GroupMembersMax,
		members:            MembersMax,
		memberTopics:       MemberTopicsMax,
		assigned:           AssignedPartitionsMax,
		committedOffsets:   CommittedOffsetsMax,
		metadataBytes:      OffsetMetadataBytesMax,
		expirySteps:        expiryStepsMax,
	}
}
