package catalog

import (
	"slices"
	"unicode/utf8"

	"github.com/wadilog/wadi/internal/mutant"
)

func (e *CommitOffsets) valid() bool {
	if len(e.Offsets) == 0 || len(e.Offsets) > CommitOffsetsMax {
		return false
	}
	metadata := 0
	for i, o := range e.Offsets {
		metadata += len(o.Metadata)
		if i > 0 && e.Offsets[i-1].Partition.compare(o.Partition) >= 0 {
			return false
		}
		if o.Offset < NoOffset || len(o.Metadata) > OffsetMetadataLenMax || !utf8.ValidString(o.Metadata) {
			return false
		}
	}
	return metadata <= CommitMetadataBytesMax
}

func (s *State) commitOffsets(e *CommitOffsets) error {
	switch {
	case !ValidGroupName(e.Group) || e.Member != "" && !ValidGroupName(e.Member):
		return invalid(InvalidGroup)
	case !e.valid():
		return invalid(InvalidGroupOffset)
	}
	old := s.groups.group(e.Group)
	if err := s.mayCommit(old, e); err != nil {
		return err
	}
	added, metadata := 0, int64(0)
	for i, o := range e.Offsets {
		p := s.Partition(o.Partition)
		if p == nil {
			return &CommitPartitionError{Index: i, Err: s.missing(o.Partition)}
		}
		if o.Offset > p.end {
			return &CommitOffsetError{Index: i, End: p.end}
		}
		committed, there := s.CommittedOffset(e.Group, o.Partition)
		metadata -= int64(len(committed.Metadata))
		switch {
		case o.Offset != NoOffset:
			metadata += int64(len(o.Metadata))
			if !there {
				added++
			}
		case there:
			added--
		}
	}
	t := s.groups
	if added > 0 && t.offsets.byGroup.Len()+added > s.capacity.committedOffsets ||
		metadata > 0 && t.offsets.metadataBytes+metadata > s.capacity.metadataBytes ||
		old == nil && added > 0 && t.byName.Len() >= s.capacity.groups {
		return ErrCatalogFull
	}
	g := &Group{Name: e.Group}
	if old != nil {
		*g = *old
	}
	g.Offsets += added
	if e.Member != "" {
		at, _ := g.find(e.Member)
		m := *g.Members[at]
		m.Commits++
		g.Members = slices.Clone(g.Members)
		g.Members[at] = &m
	}
	for _, o := range e.Offsets {
		if o.Offset == NoOffset {
			t.offsets.forget(g.Name, o.Partition)
		} else {
			t.offsets.set(g.Name, o.Partition, CommittedOffset{Offset: o.Offset, Metadata: o.Metadata, Time: s.time})
		}
	}
	if added != 0 || e.Member != "" {
		s.setGroup(old, g, 0)
	}
	return nil
}

// mayCommit tells whether who commits holds all of the partitions.
func (s *State) mayCommit(g *Group, e *CommitOffsets) error {
	if e.Member == "" {
		if g != nil && len(g.Members) > 0 {
			return ErrGroupNotEmpty
		}
		return nil
	}
	m, err := s.groups.current(e.Group, e.Member, e.Epoch)
	if err != nil {
		return err
	}
	if e.Epoch != m.Synced && e.Epoch != m.Epoch && !mutant.On(mutant.SkipCommitEpoch) {
		return &RebalanceError{Epoch: m.Epoch}
	}
	for _, o := range e.Offsets {
		if !holds(m.Held, o.Partition) {
			return &RebalanceError{Epoch: m.Epoch}
		}
	}
	if e.After != m.Commits && !mutant.On(mutant.SkipCommitAfter) {
		return ErrCommitOvertaken
	}
	return nil
}

// dropOffsets forgets what groups committed in a topic that goes away.
func (s *State) dropOffsets(topic TopicID) {
	for _, name := range s.groups.offsets.committers(topic) {
		old := s.groups.group(name)
		g := *old
		g.Offsets -= s.groups.offsets.forgetTopic(name, topic)
		s.setGroup(old, &g, 0)
	}
}
