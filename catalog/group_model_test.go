package catalog

import (
	"maps"
	"slices"

	"pgregory.net/rapid"
)

// modelGroup is a group as one would write it down without a thought for speed:
// who may read what is worked out from the members whenever it is asked for.
type modelGroup struct {
	strategy Strategy
	members  map[string]*modelMember
	offsets  map[TopicPartition]CommittedOffset
}

type modelMember struct {
	JoinGroup
	joined, epoch, synced int64
	commits               int64
	target, held          map[TopicPartition]bool
	assigned              map[TopicPartition]bool // what it was told last
}

func (m *model) group(name string) *modelGroup {
	g := m.groups[name]
	if g == nil {
		g = &modelGroup{members: map[string]*modelMember{}, offsets: map[TopicPartition]CommittedOffset{}}
		m.groups[name] = g
	}
	return g
}

// tidy forgets groups that nothing is left of.
func (m *model) tidy() {
	maps.DeleteFunc(m.groups, func(_ string, g *modelGroup) bool { return len(g.members)+len(g.offsets) == 0 })
}

// applyGroup applies the edits of groups. The targets are the strategy's, which
// has tests of its own: the model takes them from the state.
func (m *model) applyGroup(e Edit, s *State) Result {
	defer m.tidy()
	switch e := e.(type) {
	case JoinGroup:
		g := m.group(e.Group)
		if len(g.members) > 0 && e.Strategy != AnyStrategy && e.Strategy != g.strategy {
			return Result{Err: ErrGroupStrategy}
		}
		if len(g.members) == 0 {
			g.strategy = e.Strategy
			if e.Strategy == AnyStrategy {
				g.strategy = CooperativeSticky
			}
		}
		m.lastEpoch++
		before, again := g.members[e.Member]
		held := map[TopicPartition]bool{}
		if again {
			held = before.held
		}
		joined := m.lastEpoch
		member := &modelMember{JoinGroup: e, joined: joined, epoch: joined, synced: joined, held: held}
		g.members[e.Member] = member
		m.divide(e.Group, s, joined)
		member.epoch = joined
		for tp := range held {
			if !member.assigned[tp] && member.epoch == joined {
				m.lastEpoch++
				member.epoch = m.lastEpoch
			}
		}
		if member.epoch == joined {
			member.held = maps.Clone(member.assigned)
		}
		return Result{Epoch: joined, Created: !again}
	case SyncMember:
		member, err := m.current(e.Group, e.Member, e.Epoch)
		switch {
		case err != nil:
			return Result{Err: err}
		case e.Epoch != member.epoch:
			return Result{Err: &RebalanceError{Epoch: member.epoch}}
		case member.synced == member.epoch:
			return Result{}
		}
		member.synced, member.held = member.epoch, maps.Clone(member.assigned)
		if m.assign(e.Group, m.lastEpoch+1) {
			m.lastEpoch++
		}
		return Result{}
	case KeepMember:
		_, err := m.current(e.Group, e.Member, e.Epoch)
		return Result{Err: err}
	case RemoveMember:
		g := m.group(e.Group)
		member := g.members[e.Member]
		if member == nil || e.Epoch != 0 && e.Epoch < member.joined {
			return Result{Err: ErrMemberFenced}
		}
		delete(g.members, e.Member)
		m.lastEpoch++
		m.divide(e.Group, s, m.lastEpoch)
		return Result{}
	case CommitOffsets:
		return Result{Err: m.commitOffsets(&e)}
	case DeleteGroup:
		switch g := m.group(e.Group); {
		case len(g.members) > 0:
			return Result{Err: ErrGroupNotEmpty}
		case len(g.offsets) == 0:
			return Result{Err: ErrGroupNotFound}
		}
		delete(m.groups, e.Group)
	}
	return Result{}
}

func (m *model) current(group, member string, epoch int64) (*modelMember, error) {
	if member := m.group(group).members[member]; member != nil && epoch >= member.joined {
		return member, nil
	}
	return nil, ErrMemberFenced
}

// divide takes over the targets that the state has, and works out the rest.
func (m *model) divide(group string, s *State, epoch int64) {
	for id, member := range m.group(group).members {
		member.target = map[TopicPartition]bool{}
		for _, tp := range s.Group(group).Member(id).Target {
			member.target[tp] = true
		}
	}
	for _, member := range m.group(group).members {
		maps.DeleteFunc(member.held, func(tp TopicPartition, _ bool) bool {
			for _, any := range m.group(group).members {
				if slices.Contains(any.Topics, m.topics[tp.Topic].Name) {
					return false
				}
			}
			return true
		})
	}
	m.assign(group, epoch)
}

// assign gives each member of its target what no other holds, and a newer epoch
// if that is not what it had.
func (m *model) assign(group string, epoch int64) (changed bool) {
	members := m.group(group).members
	for id, member := range members {
		assigned := maps.Clone(member.target)
		maps.DeleteFunc(assigned, func(tp TopicPartition, _ bool) bool {
			for other, holder := range members {
				if other != id && holder.held[tp] {
					return true
				}
			}
			return false
		})
		if !maps.Equal(assigned, member.assigned) {
			member.assigned, member.epoch = assigned, epoch
			changed = true
		}
	}
	return changed
}

func (m *model) commitOffsets(e *CommitOffsets) error {
	g := m.group(e.Group)
	switch member, err := m.current(e.Group, e.Member, e.Epoch); {
	case e.Member == "" && len(g.members) > 0:
		return ErrGroupNotEmpty
	case e.Member == "":
	case err != nil:
		return err
	case e.Epoch != member.synced && e.Epoch != member.epoch,
		slices.ContainsFunc(e.Offsets, func(o GroupOffset) bool { return !member.held[o.Partition] }):
		return &RebalanceError{Epoch: member.epoch}
	case e.After != member.commits:
		return ErrCommitOvertaken
	}
	for i, o := range e.Offsets {
		p, ok := m.partitions[o.Partition]
		if _, topic := m.topics[o.Partition.Topic]; !topic {
			return &CommitPartitionError{Index: i, Err: ErrTopicNotFound}
		} else if !ok {
			return &CommitPartitionError{Index: i, Err: ErrPartitionNotFound}
		}
		if o.Offset > p.end() {
			return &CommitOffsetError{Index: i, End: p.end()}
		}
	}
	if e.Member != "" {
		g.members[e.Member].commits++
	}
	for _, o := range e.Offsets {
		if o.Offset == NoOffset {
			delete(g.offsets, o.Partition)
		} else {
			g.offsets[o.Partition] = CommittedOffset{Offset: o.Offset, Metadata: o.Metadata, Time: m.time}
		}
	}
	return nil
}

// topicChanged is what becomes of groups when a topic comes, goes or grows.
func (m *model) topicChanged(t Topic, deleted bool, s *State) {
	defer m.tidy()
	names := slices.Sorted(maps.Keys(m.groups))
	for _, name := range names {
		g := m.groups[name]
		if deleted {
			maps.DeleteFunc(g.offsets, func(tp TopicPartition, _ CommittedOffset) bool { return tp.Topic == t.ID })
		}
		subscribes := false
		for _, member := range g.members {
			if deleted {
				maps.DeleteFunc(member.held, func(tp TopicPartition, _ bool) bool { return tp.Topic == t.ID })
			}
			subscribes = subscribes || slices.Contains(member.Topics, t.Name)
		}
		if subscribes {
			m.lastEpoch++
			m.divide(name, s, m.lastEpoch)
		}
	}
}

// groupsAgree compares all that can be asked of a State about groups.
func (m *model) groupsAgree(t *rapid.T, s *State) {
	listed := s.Groups("", "", 100)
	if len(listed) != len(m.groups) {
		t.Fatalf("there are %d groups, want %d", len(listed), len(m.groups))
	}
	for _, g := range listed {
		want := m.groups[g.Name]
		if want == nil || g != s.Group(g.Name) || len(want.members) > 0 && g.Strategy != want.strategy || len(g.Members) != len(want.members) || g.Offsets != len(want.offsets) {
			t.Fatalf("group is %+v, want %+v", g, want)
		}
		readers := map[TopicPartition]string{}
		stable := true
		for _, member := range g.Members {
			wanted := want.members[member.ID]
			if wanted == nil || member.ClientID != wanted.ClientID || !slices.Equal(member.Topics, wanted.Topics) || member.SessionTimeoutMs != wanted.SessionTimeoutMs ||
				member.Joined != wanted.joined || member.Epoch != wanted.epoch || member.Synced != wanted.synced ||
				!slices.Equal(member.Target, inOrder(wanted.target)) || !slices.Equal(member.Assigned, inOrder(wanted.assigned)) || !slices.Equal(member.Held, inOrder(wanted.held)) {
				t.Fatalf("group %q: member is %+v, want %+v", g.Name, member, wanted)
			}
			for _, tp := range member.Held {
				if other, taken := readers[tp]; taken {
					t.Fatalf("group %q: %s is read by %q and by %q", g.Name, tp, other, member.ID)
				}
				readers[tp] = member.ID
			}
			stable = stable && maps.Equal(wanted.held, wanted.target) && wanted.synced == wanted.epoch
		}
		if g.Stable() != stable {
			t.Fatalf("group %q: Stable is %t", g.Name, g.Stable())
		}
		offsets := map[TopicPartition]CommittedOffset{}
		s.CommittedOffsets(g.Name, func(tp TopicPartition, c CommittedOffset) bool {
			offsets[tp] = c
			if one, ok := s.CommittedOffset(g.Name, tp); !ok || one != c {
				t.Fatalf("group %q committed %+v in %s, and %+v", g.Name, c, tp, one)
			}
			return true
		})
		if !maps.Equal(offsets, want.offsets) {
			t.Fatalf("group %q committed %+v, want %+v", g.Name, offsets, want.offsets)
		}
	}
}

func inOrder(set map[TopicPartition]bool) []TopicPartition {
	return slices.SortedFunc(maps.Keys(set), TopicPartition.compare)
}

func drawGroup(t *rapid.T) string { return rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group") }

func drawMember(t *rapid.T) string {
	return rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "member")
}

// drawEpoch mostly returns the member's newest epoch, or that which it has
// acknowledged, or another that was given out.
func (m *machine) drawEpoch(t *rapid.T, group, member string) int64 {
	if g := m.model.groups[group]; g != nil && g.members[member] != nil {
		switch rapid.IntRange(0, 5).Draw(t, "which epoch") {
		case 0:
			return g.members[member].synced
		case 1:
			return g.members[member].joined
		case 2:
		default:
			return g.members[member].epoch
		}
	}
	return rapid.Int64Range(0, m.model.lastEpoch+1).Draw(t, "epoch")
}

func (m *machine) drawJoin(t *rapid.T) JoinGroup {
	e := JoinGroup{
		Group: drawGroup(t), Member: drawMember(t), SessionTimeoutMs: 10_000,
		ClientID: rapid.SampledFrom([]string{"", "c"}).Draw(t, "client id"),
		Strategy: rapid.SampledFrom([]Strategy{AnyStrategy, AnyStrategy, AnyStrategy, RangeStrategy, CooperativeSticky}).Draw(t, "strategy"),
		Topics:   rapid.SampledFrom([][]string{{"a"}, {"a", "b"}, {"b"}, {"a", "b", "c"}}).Draw(t, "topics"),
	}
	return e
}

func (m *machine) drawOffsets(t *rapid.T) CommitOffsets {
	e := CommitOffsets{Group: drawGroup(t)}
	var from []TopicPartition
	if rapid.IntRange(0, 3).Draw(t, "by a member") > 0 {
		e.Member = drawMember(t)
		e.Epoch = m.drawEpoch(t, e.Group, e.Member)
		if g := m.model.groups[e.Group]; g != nil && g.members[e.Member] != nil {
			from = inOrder(g.members[e.Member].held)
			if rapid.IntRange(0, 9).Draw(t, "late") > 0 {
				e.After = g.members[e.Member].commits
			}
		}
	}
	partitions := map[TopicPartition]bool{}
	for range rapid.IntRange(1, 3).Draw(t, "offsets") {
		if len(from) > 0 && rapid.IntRange(0, 9).Draw(t, "held") > 0 {
			partitions[rapid.SampledFrom(from).Draw(t, "partition")] = true
		} else {
			partitions[m.drawPartition(t)] = true
		}
	}
	for _, tp := range inOrder(partitions) {
		o := GroupOffset{Partition: tp, Offset: NoOffset, Metadata: rapid.SampledFrom([]string{"", "note"}).Draw(t, "metadata")}
		if rapid.IntRange(0, 4).Draw(t, "keep") > 0 {
			end := int64(m.model.partitions[tp].end())
			o.Offset = Offset(rapid.Int64Range(0, end+end/4).Draw(t, "offset"))
		}
		e.Offsets = append(e.Offsets, o)
	}
	return e
}

// groupActions are the random edits of groups.
func (m *machine) groupActions() map[string]func(*rapid.T) {
	join := func(t *rapid.T) { m.apply(t, m.drawJoin(t)) }
	sync := func(t *rapid.T) {
		e := SyncMember{Group: drawGroup(t), Member: drawMember(t)}
		e.Epoch = m.drawEpoch(t, e.Group, e.Member)
		m.apply(t, e)
	}
	commit := func(t *rapid.T) { m.apply(t, m.drawOffsets(t)) }
	return map[string]func(*rapid.T){
		"join": join, "join more": join,
		"sync": sync, "sync more": sync, "sync most": sync,
		"commit offsets": commit, "commit more offsets": commit,
		"keep member": func(t *rapid.T) {
			e := KeepMember{Group: drawGroup(t), Member: drawMember(t)}
			e.Epoch = m.drawEpoch(t, e.Group, e.Member)
			m.apply(t, e)
		},
		"remove member": func(t *rapid.T) {
			e := RemoveMember{Group: drawGroup(t), Member: drawMember(t)}
			if rapid.Bool().Draw(t, "of an epoch") {
				e.Epoch = m.drawEpoch(t, e.Group, e.Member)
			}
			m.apply(t, e)
		},
		"delete group": func(t *rapid.T) { m.apply(t, DeleteGroup{Group: drawGroup(t)}) },
	}
}
