package catalog

import (
	"strings"
	"testing"
)

func offsetsOf(group string, offsets ...GroupOffset) CommitOffsets {
	return CommitOffsets{Group: group, Offsets: offsets}
}

func (e CommitOffsets) by(member string, epoch int64) CommitOffsets {
	e.Member, e.Epoch = member, epoch
	return e
}

// Red under mutant.SkipCommitEpoch.
func TestMemberCommits(t *testing.T) {
	f := newGroupFixture(t)
	f.landed(records(0, 10))
	joined := f.join("g", "a", "rivers")
	at := func(partition int, offset Offset) GroupOffset {
		return GroupOffset{Partition: partitionOf(1, partition), Offset: offset}
	}
	f.accepted(offsetsOf("g", at(0, 5), at(3, 0)).by("a", joined))
	f.refused(offsetsOf("g", at(0, 11)).by("a", joined), &CommitOffsetError{Index: 0, End: 10})
	f.refused(offsetsOf("g", at(0, 1), at(1, 1)).by("a", joined), &CommitOffsetError{Index: 1, End: 0})
	f.refused(offsetsOf("g", at(0, 5)), ErrGroupNotEmpty)
	f.refused(offsetsOf("g", at(0, 5)).by("b", joined), ErrMemberFenced)
	f.refused(offsetsOf("g", at(4, 0)).by("a", joined), &RebalanceError{Epoch: joined})

	newest := f.join("g", "b", "rivers") // takes partitions 2 and 3 away
	f.accepted(offsetsOf("g", at(0, 6), at(3, 0)).by("a", joined))
	f.accepted(offsetsOf("g", at(0, 7), at(3, 0)).by("a", newest)) // about to acknowledge
	f.sync("g", "a")
	f.refused(offsetsOf("g", at(0, 8)).by("a", joined), &RebalanceError{Epoch: newest})
	f.refused(offsetsOf("g", at(3, 0)).by("a", newest), &RebalanceError{Epoch: newest})
	f.accepted(offsetsOf("g", at(0, 8)).by("a", newest))
	if c, ok := f.state.CommittedOffset("g", partitionOf(1, 0)); !ok || c != (CommittedOffset{Offset: 8, Time: 1_000_000}) {
		t.Errorf("committed is %+v, %t", c, ok)
	}
}

// A group without members is anybody's.
func TestCommitWithoutMember(t *testing.T) {
	f := newGroupFixture(t)
	f.landed(records(0, 10))
	one := GroupOffset{Partition: partitionOf(1, 0), Offset: 10, Metadata: "to the sea"}
	f.accepted(offsetsOf("g", GroupOffset{Partition: partitionOf(1, 0), Offset: NoOffset})) // forgets nothing
	if f.state.Group("g") != nil {
		t.Fatal("a group came of nothing")
	}
	f.accepted(offsetsOf("g", one))
	f.advance(2_000_000)
	one.Metadata = "and back"
	f.accepted(offsetsOf("g", one))
	if c, ok := f.state.CommittedOffset("g", one.Partition); !ok || c != (CommittedOffset{Offset: 10, Metadata: "and back", Time: 2_000_000}) {
		t.Errorf("committed is %+v, %t", c, ok)
	}
	f.refused(offsetsOf("g", one, GroupOffset{Partition: partitionOf(1, 4)}), &CommitPartitionError{Index: 1, Err: ErrPartitionNotFound})
	f.refused(offsetsOf("g", one, GroupOffset{Partition: partitionOf(2, 0)}), &CommitPartitionError{Index: 1, Err: ErrTopicNotFound})
	f.refused(offsetsOf("g", one).by("a", 1), ErrMemberFenced)
	f.accepted(offsetsOf("g", GroupOffset{Partition: partitionOf(1, 0), Offset: NoOffset}, GroupOffset{Partition: partitionOf(1, 1)}))
	if _, ok := f.state.CommittedOffset("g", one.Partition); ok || f.state.Group("g").Offsets != 1 {
		t.Errorf("group is %+v", f.state.Group("g"))
	}
	f.accepted(offsetsOf("g", GroupOffset{Partition: partitionOf(1, 1), Offset: NoOffset}))
	if f.state.Group("g") != nil {
		t.Error("a group without members and offsets is there")
	}
	f.accepted(offsetsOf("g", one))
	f.accepted(offsetsOf("h", one))
	f.join("h", "a", "rivers")
	f.refused(DeleteGroup{Group: "h"}, ErrGroupNotEmpty)
	f.accepted(DeleteGroup{Group: "g"})
	f.refused(DeleteGroup{Group: "g"}, ErrGroupNotFound)
	if n := f.state.Counts().CommittedOffsets; n != 1 {
		t.Errorf("%d offsets are left", n)
	}
}

func TestInvalidCommits(t *testing.T) {
	f := newGroupFixture(t)
	long := strings.Repeat("m", OffsetMetadataLenMax)
	at := func(partition int) GroupOffset { return GroupOffset{Partition: partitionOf(1, partition)} }
	many := make([]GroupOffset, CommitOffsetsMax+1)
	for i := range many {
		many[i] = at(i)
	}
	tooMuch := make([]GroupOffset, CommitMetadataBytesMax/OffsetMetadataLenMax+1)
	for i := range tooMuch {
		tooMuch[i] = at(i)
		tooMuch[i].Metadata = long
	}
	for name, offsets := range map[string][]GroupOffset{
		"none":              nil,
		"twice":             {at(0), at(0)},
		"out of order":      {at(1), at(0)},
		"below no offset":   {{Partition: partitionOf(1, 0), Offset: NoOffset - 1}},
		"long metadata":     {{Partition: partitionOf(1, 0), Metadata: long + "m"}},
		"no UTF-8":          {{Partition: partitionOf(1, 0), Metadata: "\xff"}},
		"too many":          many,
		"too much metadata": tooMuch,
	} {
		t.Run(name, func(t *testing.T) { f.refused(offsetsOf("g", offsets...), invalid(InvalidGroupOffset)) })
	}
	f.refused(offsetsOf("a/b", at(0)), invalid(InvalidGroup))
	f.refused(offsetsOf("g", at(0)).by("a/b", 1), invalid(InvalidGroup))
	f.accepted(offsetsOf("g", GroupOffset{Partition: partitionOf(1, 0), Metadata: long}))
}

func TestOffsetLimits(t *testing.T) {
	f := newGroupFixture(t)
	for _, s := range []*State{f.state, f.replica} {
		s.capacity.committedOffsets, s.capacity.metadataBytes = 2, 10
	}
	at := func(partition int, metadata string) GroupOffset {
		return GroupOffset{Partition: partitionOf(1, partition), Metadata: metadata}
	}
	forget := GroupOffset{Partition: partitionOf(1, 0), Offset: NoOffset}
	f.refused(offsetsOf("g", at(0, ""), at(1, ""), at(2, "")), ErrCatalogFull)
	f.accepted(offsetsOf("g", at(0, ""), at(1, "")))
	f.accepted(offsetsOf("g", at(0, ""), at(1, "")))
	f.refused(offsetsOf("h", at(0, "")), ErrCatalogFull)
	f.accepted(offsetsOf("g", forget, at(2, "")))
	f.refused(offsetsOf("g", at(2, "12345678901")), ErrCatalogFull)
	f.accepted(offsetsOf("g", at(2, "1234567890")))
	f.refused(offsetsOf("g", at(1, "1"), at(2, "1234567890")), ErrCatalogFull)
	f.accepted(offsetsOf("g", at(1, "1"), at(2, "123456789")))
}
