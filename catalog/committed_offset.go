package catalog

import (
	"bytes"
	"cmp"

	"github.com/tidwall/btree"
)

// CommittedOffset is how far a group has come in a partition.
type CommittedOffset struct {
	Offset   Offset // of the first record that it has not processed
	Metadata string // whatever its member wants to remember
	Time     int64  // ms of journal time, when it was committed
}

type (
	groupOffsetID struct {
		group     string
		partition TopicPartition
	}
	groupOffset struct {
		id        groupOffsetID
		committed CommittedOffset
	}
	// topicCommitter says that a group has committed offsets in a topic.
	topicCommitter struct {
		topic TopicID
		group string
	}
)

func (id groupOffsetID) compare(other groupOffsetID) int {
	if c := cmp.Compare(id.group, other.group); c != 0 {
		return c
	}
	return id.partition.compare(other.partition)
}

// offsetTable is the committed offsets of all groups.
type offsetTable struct {
	byGroup       *btree.BTreeG[groupOffset]
	byTopic       *btree.BTreeG[topicCommitter]
	metadataBytes int64
}

func newOffsetTable() *offsetTable {
	return &offsetTable{
		byGroup: newTree(func(a, b groupOffset) bool { return a.id.compare(b.id) < 0 }),
		byTopic: newTree(func(a, b topicCommitter) bool {
			return cmp.Or(bytes.Compare(a.topic[:], b.topic[:]), cmp.Compare(a.group, b.group)) < 0
		}),
	}
}

func (t *offsetTable) clone() *offsetTable {
	return &offsetTable{byGroup: t.byGroup.Copy(), byTopic: t.byTopic.Copy(), metadataBytes: t.metadataBytes}
}

func (t *offsetTable) get(group string, tp TopicPartition) (CommittedOffset, bool) {
	found, ok := t.byGroup.Get(groupOffset{id: groupOffsetID{group: group, partition: tp}})
	return found.committed, ok
}

// ofGroup calls yield for the offsets of a group, by partition, until it
// returns false.
func (t *offsetTable) ofGroup(group string, yield func(TopicPartition, CommittedOffset) bool) {
	t.byGroup.Ascend(groupOffset{id: groupOffsetID{group: group}}, func(o groupOffset) bool {
		return o.id.group == group && yield(o.id.partition, o.committed)
	})
}

// ofTopic calls yield for the partitions of a topic in which a group has
// committed, in order, until it returns false.
func (t *offsetTable) ofTopic(group string, topic TopicID, yield func(TopicPartition) bool) {
	first := groupOffsetID{group: group, partition: TopicPartition{Topic: topic}}
	t.byGroup.Ascend(groupOffset{id: first}, func(o groupOffset) bool {
		return o.id.group == group && o.id.partition.Topic == topic && yield(o.id.partition)
	})
}

// committers returns the groups that have committed in a topic, by name.
func (t *offsetTable) committers(topic TopicID) []string {
	var groups []string
	t.byTopic.Ascend(topicCommitter{topic: topic}, func(c topicCommitter) bool {
		if c.topic != topic {
			return false
		}
		groups = append(groups, c.group)
		return true
	})
	return groups
}

func (t *offsetTable) set(group string, tp TopicPartition, committed CommittedOffset) {
	old, replaced := t.byGroup.Set(groupOffset{id: groupOffsetID{group: group, partition: tp}, committed: committed})
	if !replaced {
		t.byTopic.Set(topicCommitter{topic: tp.Topic, group: group})
	}
	t.metadataBytes += int64(len(committed.Metadata) - len(old.committed.Metadata))
}

func (t *offsetTable) forget(group string, tp TopicPartition) {
	t.remove(group, tp)
	others := false
	t.ofTopic(group, tp.Topic, func(TopicPartition) bool {
		others = true
		return false
	})
	if !others {
		t.byTopic.Delete(topicCommitter{topic: tp.Topic, group: group})
	}
}

// forgetTopic forgets what a group committed in a topic, and returns in how
// many partitions.
func (t *offsetTable) forgetTopic(group string, topic TopicID) int {
	var gone []TopicPartition
	t.ofTopic(group, topic, func(tp TopicPartition) bool {
		gone = append(gone, tp)
		return true
	})
	for _, tp := range gone {
		t.remove(group, tp)
	}
	t.byTopic.Delete(topicCommitter{topic: topic, group: group})
	return len(gone)
}

// forgetGroup forgets all that a group committed.
func (t *offsetTable) forgetGroup(group string) {
	var topics []TopicID
	t.ofGroup(group, func(tp TopicPartition, _ CommittedOffset) bool {
		if n := len(topics); n == 0 || topics[n-1] != tp.Topic {
			topics = append(topics, tp.Topic)
		}
		return true
	})
	for _, topic := range topics {
		t.forgetTopic(group, topic)
	}
}

// remove takes an offset away that may be the last of its group in the topic.
func (t *offsetTable) remove(group string, tp TopicPartition) {
	old, _ := t.byGroup.Delete(groupOffset{id: groupOffsetID{group: group, partition: tp}})
	t.metadataBytes -= int64(len(old.committed.Metadata))
}

// CommittedOffset returns what a group committed in a partition.
func (s *State) CommittedOffset(group string, tp TopicPartition) (CommittedOffset, bool) {
	return s.groups.offsets.get(group, tp)
}

// CommittedOffsets calls yield for all that a group committed, by partition,
// until it returns false.
func (s *State) CommittedOffsets(group string, yield func(TopicPartition, CommittedOffset) bool) {
	s.groups.offsets.ofGroup(group, yield)
}
