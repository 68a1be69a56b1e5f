package catalog

import (
	"slices"
	"unicode/utf8"
)

func (e *JoinGroup) valid() bool {
	if !ValidGroupName(e.Group) || !ValidGroupName(e.Member) || e.ClientID != "" && !ValidToken(e.ClientID) {
		return false
	}
	if e.SessionTimeoutMs < SessionTimeoutMsMin || e.SessionTimeoutMs > SessionTimeoutMsMax || e.Strategy > CooperativeSticky {
		return false
	}
	for i, topic := range e.Topics {
		if !ValidTopicName(topic) || i > 0 && topic <= e.Topics[i-1] {
			return false
		}
	}
	return len(e.Topics) > 0 && len(e.Topics) <= GroupTopicsMax
}

func (s *State) joinGroup(e *JoinGroup) Result {
	if !e.valid() {
		return Result{Err: invalid(InvalidGroup)}
	}
	old := s.groups.group(e.Group)
	g := &Group{Name: e.Group}
	if old != nil {
		*g = *old
	}
	at, again := g.find(e.Member)
	switch {
	case old == nil && s.groups.byName.Len() >= s.capacity.groups:
		return Result{Err: ErrCatalogFull}
	case len(g.Members) > 0 && e.Strategy != AnyStrategy && e.Strategy != g.Strategy:
		return Result{Err: ErrGroupStrategy}
	case !again && len(g.Members) >= s.capacity.groupMembers:
		return Result{Err: ErrGroupFull}
	case !again && s.groups.members >= s.capacity.members:
		return Result{Err: ErrCatalogFull}
	}
	if len(g.Members) == 0 { // a group without members takes the strategy of who comes first
		if g.Strategy = e.Strategy; g.Strategy == AnyStrategy {
			g.Strategy = CooperativeSticky
		}
	}
	epoch := s.groups.lastEpoch + 1
	m := &Member{
		ID: e.Member, ClientID: e.ClientID, Topics: e.Topics, SessionTimeoutMs: e.SessionTimeoutMs,
		Joined: epoch, Epoch: epoch, Synced: epoch,
	}
	g.Members = slices.Clone(g.Members)
	if again {
		// It holds nothing: whoever had its id before is fenced.
		m.Target = g.Members[at].Target
		g.Members[at] = m
	} else {
		g.Members = slices.Insert(g.Members, at, m)
	}
	s.rebalance(g, epoch)
	joined := *g.Members[at]
	joined.Held = joined.Assigned
	g.Members[at] = &joined
	s.setGroup(old, g, epoch)
	return Result{Epoch: epoch, Created: !again}
}

func (s *State) syncMember(e *SyncMember) error {
	old := s.groups.group(e.Group)
	m, err := s.groups.current(e.Group, e.Member, e.Epoch)
	switch {
	case err != nil:
		return err
	case e.Epoch != m.Epoch:
		return &RebalanceError{Epoch: m.Epoch}
	case m.Synced == m.Epoch:
		return nil
	}
	g := old.copy()
	at, _ := g.find(e.Member)
	synced := *m
	synced.Synced, synced.Held = m.Epoch, m.Assigned
	g.Members[at] = &synced
	epoch := s.groups.lastEpoch + 1
	if !g.settle(epoch) {
		epoch = 0
	}
	s.setGroup(old, g, epoch)
	return nil
}

// current returns a member that has not joined again after epoch.
func (t *groupTable) current(group, id string, epoch int64) (*Member, error) {
	m := t.member(group, id)
	if m == nil || epoch < m.Joined {
		return nil, ErrMemberFenced
	}
	return m, nil
}

func (s *State) keepMember(e *KeepMember) error {
	_, err := s.groups.current(e.Group, e.Member, e.Epoch)
	return err
}

func (s *State) removeMember(e *RemoveMember) error {
	old := s.groups.group(e.Group)
	m := s.groups.member(e.Group, e.Member)
	if m == nil || e.Epoch != 0 && e.Epoch < m.Joined {
		return ErrMemberFenced
	}
	g := old.copy()
	at, _ := g.find(e.Member)
	g.Members = slices.Delete(g.Members, at, at+1)
	epoch := s.groups.lastEpoch + 1
	s.rebalance(g, epoch)
	s.setGroup(old, g, epoch)
	return nil
}

// copy returns a group whose members may be replaced.
func (g *Group) copy() *Group {
	c := *g
	c.Members = slices.Clone(g.Members)
	return &c
}

// rebalance divides the partitions of a group, which is not in the State yet,
// anew. Members whose partitions change get the epoch.
func (s *State) rebalance(g *Group, epoch int64) {
	topics := s.subscribed(g)
	targets := g.Strategy.assign(topics, g.Members)
	for i, m := range g.Members {
		next := *m
		next.Target = targets[i]
		next.Held = s.existing(m.Held)
		g.Members[i] = &next
	}
	g.settle(epoch)
}

// existing returns the partitions whose topics were not deleted.
func (s *State) existing(partitions []TopicPartition) []TopicPartition {
	gone := func(tp TopicPartition) bool { return s.Partition(tp) == nil }
	if !slices.ContainsFunc(partitions, gone) {
		return partitions
	}
	return slices.DeleteFunc(slices.Clone(partitions), gone)
}

// settle assigns to each member what nobody else holds of its target. Members
// whose assignment changes get the epoch; it tells whether there are any.
func (g *Group) settle(epoch int64) (changed bool) {
	leaving := g.leaving()
	for i, m := range g.Members {
		assigned := m.assignable(leaving)
		if sameList(assigned, m.Assigned) {
			continue
		}
		next := *m
		next.Assigned, next.Epoch = assigned, epoch
		g.Members[i] = &next
		changed = true
	}
	return changed
}

// leaving returns what members hold beyond their targets, in order. As no
// partition is in two targets, nothing else can keep one from its new owner.
func (g *Group) leaving() []TopicPartition {
	var leaving []TopicPartition
	for _, m := range g.Members {
		leaving = appendMissing(leaving, m.Held, m.Target)
	}
	slices.SortFunc(leaving, TopicPartition.compare)
	return leaving
}

// assignable returns what is in the member's target and not leaving another's
// hands.
func (m *Member) assignable(leaving []TopicPartition) []TopicPartition {
	held := func(tp TopicPartition) bool { return holds(leaving, tp) }
	if len(leaving) == 0 || !slices.ContainsFunc(m.Target, held) {
		return m.Target
	}
	return slices.DeleteFunc(slices.Clone(m.Target), held)
}

// topics returns the names of all topics to which members subscribe, in order.
func (g *Group) topics() []string {
	if g == nil {
		return nil
	}
	var names []string
	for _, m := range g.Members {
		names = append(names, m.Topics...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// setGroup puts a group in the place of another (nil for none), or takes that
// away if there is nothing left of it. epoch is that of the change, 0 if no
// member's partitions changed.
func (s *State) setGroup(old, g *Group, epoch int64) {
	t := s.groups
	t.lastEpoch = max(t.lastEpoch, epoch)
	for _, topic := range old.topics() {
		t.subscriptions.Delete(subscription{topic: topic, group: g.Name})
	}
	for _, topic := range g.topics() {
		t.subscriptions.Set(subscription{topic: topic, group: g.Name})
	}
	if old != nil {
		t.members -= len(old.Members)
	}
	t.members += len(g.Members)
	if len(g.Members) == 0 && g.Offsets == 0 {
		t.byName.Delete(g)
		return
	}
	if epoch > g.Epoch {
		g.Epoch = epoch
	}
	t.byName.Set(g)
}

// rebalanceSubscribers divides the partitions of all groups anew that subscribe
// to a topic which came, went, or got more partitions.
func (s *State) rebalanceSubscribers(topic string) {
	var groups []*Group
	s.groups.subscriptions.Ascend(subscription{topic: topic}, func(sub subscription) bool {
		if sub.topic != topic {
			return false
		}
		groups = append(groups, s.groups.group(sub.group))
		return true
	})
	for _, old := range groups {
		g := old.copy()
		epoch := s.groups.lastEpoch + 1
		s.rebalance(g, epoch)
		s.setGroup(old, g, epoch)
	}
}

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
	if added > 0 && t.offsets.Len()+added > s.capacity.committedOffsets ||
		metadata > 0 && t.metadataBytes+metadata > s.capacity.metadataBytes ||
		old == nil && added > 0 && t.byName.Len() >= s.capacity.groups {
		return ErrCatalogFull
	}
	g := &Group{Name: e.Group}
	if old != nil {
		*g = *old
	}
	g.Offsets += added
	t.metadataBytes += metadata
	for _, o := range e.Offsets {
		id := groupOffsetID{group: g.Name, partition: o.Partition}
		if o.Offset == NoOffset {
			t.offsets.Delete(groupOffset{id: id})
			t.byPartition.Delete(id)
			continue
		}
		committed := &CommittedOffset{Offset: o.Offset, Metadata: o.Metadata, Time: s.time}
		if _, replaced := t.offsets.Set(groupOffset{id: id, committed: committed}); !replaced {
			t.byPartition.Set(id)
		}
	}
	if added != 0 {
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
	if e.Epoch != m.Synced && e.Epoch != m.Epoch {
		return &RebalanceError{Epoch: m.Epoch}
	}
	for _, o := range e.Offsets {
		if !holds(m.Held, o.Partition) {
			return &RebalanceError{Epoch: m.Epoch}
		}
	}
	return nil
}

func (s *State) deleteGroup(name string) error {
	g := s.groups.group(name)
	switch {
	case g == nil:
		return ErrGroupNotFound
	case len(g.Members) > 0:
		return ErrGroupNotEmpty
	}
	var gone []groupOffset
	s.groups.committed(name, func(o groupOffset) bool {
		gone = append(gone, o)
		return true
	})
	for _, o := range gone {
		s.groups.forget(o)
	}
	s.groups.byName.Delete(g)
	return nil
}

// forget takes a committed offset away, without its group's count of them.
func (t *groupTable) forget(o groupOffset) {
	t.offsets.Delete(o)
	t.byPartition.Delete(o.id)
	t.metadataBytes -= int64(len(o.committed.Metadata))
}

// dropOffsets forgets what groups committed in a partition that goes away.
func (s *State) dropOffsets(tp TopicPartition) {
	var gone []groupOffset
	s.groups.byPartition.Ascend(groupOffsetID{partition: tp}, func(id groupOffsetID) bool {
		if id.partition != tp {
			return false
		}
		o, _ := s.groups.offsets.Get(groupOffset{id: id})
		gone = append(gone, o)
		return true
	})
	for _, o := range gone {
		s.groups.forget(o)
		old := s.groups.group(o.id.group)
		g := *old
		g.Offsets--
		s.setGroup(old, &g, 0)
	}
}
