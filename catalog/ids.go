package catalog

import (
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// Offset counts records from the start of a partition.
type Offset = recordbatch.Offset

// Pos counts bytes from the start of an object.
type Pos = segment.Pos

// TopicID identifies a topic for all time; a re-created topic has another.
type TopicID = uuid.UUID

// NodeID identifies one life of an ingest node; it is new at every start.
type NodeID = uuid.UUID

// ObjectID identifies an object that holds records.
type ObjectID = ulid.ULID

// JobID identifies one job of compaction.
type JobID = uuid.UUID

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     TopicID
	Partition int32
}

func (tp TopicPartition) String() string { return fmt.Sprintf("%s/%d", tp.Topic, tp.Partition) }

// compare orders partitions by topic id, then number.
func (tp TopicPartition) compare(other TopicPartition) int {
	// As two numbers: to compare is what most of a commit's time goes into when
	// there are many partitions.
	for i := 0; i < len(tp.Topic); i += 8 {
		a, b := binary.BigEndian.Uint64(tp.Topic[i:]), binary.BigEndian.Uint64(other.Topic[i:])
		if a != b {
			return cmp.Compare(a, b)
		}
	}
	return cmp.Compare(tp.Partition, other.Partition)
}
