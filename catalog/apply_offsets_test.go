package catalog

import (
	"strings"
	"testing"
)

func offsetsOf(group string, offsets ...GroupOffset) CommitOffsets {
	return CommitOffsets{Group: group, Offsets: offsets}
}

// offsetsBy is the next commit of a member of group g.
func (f *fixture) offsetsBy(member string, epoch int64, offsets ...GroupOffset) CommitOffsets {
	e := CommitOffsets{Group: "g", Member: member, Epoch: epoch, Offsets: offsets}
	if g := f.state.Group("g"); g != nil && g.Member(member) != nil {
		e.After = g.Member(member).Commits
	}
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
	f.accepted(f.offsetsBy("a", joined, at(0, 5), at(3, 0)))
	f.refused(f.offsetsBy("a", joined, at(0, 11)), &CommitOffsetError{Index: 0, End: 10})
	f.refused(f.offsetsBy("a", joined, at(0, 1), at(1, 1)), &CommitOffsetError{Index: 1, End: 0})
	f.refused(offsetsOf("g", at(0, 5)), ErrGroupNotEmpty)
	f.refused(f.offsetsBy("b", joined, at(0, 5)), ErrMemberFenced)
	f.refused(f.offsetsBy("a", joined, at(4, 0)), &RebalanceError{Epoch: joined})

	newest := f.join("g", "b", "rivers") // takes partitions 2 and 3 away
	f.accepted(f.offsetsBy("a", joined, at(0, 6), at(3, 0)))
	f.accepted(f.offsetsBy("a", newest, at(0, 7), at(3, 0))) // about to acknowledge
	f.sync("g", "a")
	f.refused(f.offsetsBy("a", joined, at(0, 8)), &RebalanceError{Epoch: newest})
	f.refused(f.offsetsBy("a", newest, at(3, 0)), &RebalanceError{Epoch: newest})
	f.accepted(f.offsetsBy("a", newest, at(0, 8)))
	if c, ok := f.state.CommittedOffset("g", partitionOf(1, 0)); !ok || c != (CommittedOffset{Offset: 8, Time: 1_000_000}) {
		t.Errorf("committed is %+v, %t", c, ok)
	}
}

// A commit that comes twice, or late, takes nothing back of one that came after it.
// Red under mutant.SkipCommitAfter.
func TestLateCommitTakesNothingBack(t *testing.T) {
	f := newGroupFixture(t)
	f.landed(records(0, 10))
	joined := f.join("g", "a", "rivers")
	to := func(offset Offset) CommitOffsets {
		return f.offsetsBy("a", joined, GroupOffset{Partition: partitionOf(1, 0), Offset: offset})
	}
	late := to(3)
	f.accepted(to(5))
	f.refused(late, ErrCommitOvertaken)
	again := to(8)
	f.accepted(again)
	f.refused(again, ErrCommitOvertaken)
	f.join("g", "b", "rivers")
	f.sync("g", "a")
	joined = f.state.Group("g").Member("a").Epoch
	f.accepted(to(4)) // which is what it wants
	if c, _ := f.state.CommittedOffset("g", partitionOf(1, 0)); c.Offset != 4 {
		t.Errorf("committed is %d", c.Offset)
	}
	f.refused(late, &RebalanceError{Epoch: joined})
	// Who joins again begins anew.
	joined = f.join("g", "a", "rivers")
	if next := to(6); next.After != 0 {
		t.Errorf("it has committed %d times", next.After)
	} else {
		f.accepted(next)
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
	f.refused(f.offsetsBy("a", 1, one), ErrMemberFenced)
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
	f.refused(f.offsetsBy("a/b", 1, at(0)), invalid(InvalidGroup))
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
