package catalog

import (
	"slices"
	"unicode/utf8"
)

// touchedGroupsMax is how many groups CheckTouched looks at that subscribe to a
// topic which came, went, or got more partitions.
const touchedGroupsMax = 16

// checkGroups checks all groups and their offsets.
func (s *State) checkGroups() error {
	t := s.groups
	if s.level < levelOfGroups && (t.byName.Len() > 0 || t.lastEpoch > 0) {
		return broken("groups in a catalog of level %d", s.level)
	}
	members, topics, assigned, subscriptions := 0, 0, 0, 0
	var err error
	t.byName.Scan(func(g *Group) bool {
		members += len(g.Members)
		assigned += g.Partitions
		subscriptions += g.topics
		for _, m := range g.Members {
			topics += len(m.Topics)
		}
		if err = s.checkGroup(g); err == nil {
			err = s.checkSubscriptions(g)
		}
		return err == nil
	})
	switch {
	case err != nil:
		return err
	case members != t.members || topics != t.topics || assigned != t.assigned:
		return broken("groups count %d members, %d topics and %d partitions, %d, %d and %d are there",
			t.members, t.topics, t.assigned, members, topics, assigned)
	case subscriptions != t.subscriptions.Len():
		return broken("groups subscribe to %d topics, the index has %d", subscriptions, t.subscriptions.Len())
	}
	return s.checkOffsets()
}

// checkGroup checks what the parts of a group say of each other.
func (s *State) checkGroup(g *Group) error {
	switch {
	case !ValidGroupName(g.Name) || g.Strategy > CooperativeSticky:
		return broken("group %q has an invalid name or strategy %d", g.Name, g.Strategy)
	case len(g.Members) == 0 && g.Offsets == 0:
		return broken("group %q is empty and there", g.Name)
	case len(g.Members) > 0 && g.Strategy == AnyStrategy:
		return broken("group %q has members and no strategy", g.Name)
	case g.Epoch < 0 || g.Epoch > s.groups.lastEpoch:
		return broken("group %q has epoch %d, the last given out is %d", g.Name, g.Epoch, s.groups.lastEpoch)
	}
	for i, m := range g.Members {
		if i > 0 && g.Members[i-1].ID >= m.ID {
			return broken("group %q has member %q after %q", g.Name, m.ID, g.Members[i-1].ID)
		}
		if err := g.checkMember(m); err != nil {
			return err
		}
	}
	return s.checkDivision(g)
}

func (g *Group) checkMember(m *Member) error {
	switch {
	case !ValidGroupName(m.ID) || m.ClientID != "" && !ValidToken(m.ClientID):
		return broken("group %q has a member %q of client %q", g.Name, m.ID, m.ClientID)
	case m.SessionTimeoutMs < SessionTimeoutMsMin || m.SessionTimeoutMs > SessionTimeoutMsMax:
		return broken("group %q: member %q has a session timeout of %d ms", g.Name, m.ID, m.SessionTimeoutMs)
	case m.Joined < 1 || m.Joined > m.Synced || m.Synced > m.Epoch || m.Epoch > g.Epoch:
		return broken("group %q of epoch %d: member %q joined with %d, acknowledged %d, has %d", g.Name, g.Epoch, m.ID, m.Joined, m.Synced, m.Epoch)
	case m.Synced == m.Epoch && !sameList(m.Held, m.Assigned):
		return broken("group %q: member %q acknowledged %v and holds %v", g.Name, m.ID, m.Assigned, m.Held)
	case len(m.Topics) == 0 || !slices.IsSorted(m.Topics) || len(slices.Compact(slices.Clone(m.Topics))) < len(m.Topics):
		return broken("group %q: member %q subscribes to %v", g.Name, m.ID, m.Topics)
	}
	for _, list := range [][]TopicPartition{m.Target, m.Assigned, m.Held} {
		for i := 1; i < len(list); i++ {
			if list[i-1].compare(list[i]) >= 0 {
				return broken("group %q: member %q has %s after %s", g.Name, m.ID, list[i], list[i-1])
			}
		}
	}
	return nil
}

// checkDivision checks that each partition of a subscribed topic is the target
// of one member, a subscriber, that at most one holds it, and that it is
// assigned to its target unless another holds it.
func (s *State) checkDivision(g *Group) error {
	topics, names := s.subscribed(g.Members)
	targets := newOwners(topics)
	partitions, inTargets := 0, 0
	for _, t := range topics {
		partitions += int(t.topic.Partitions)
	}
	// A member may have joined again without the topic of what it holds.
	holders := map[TopicPartition]int{}
	for i, m := range g.Members {
		inTargets += len(m.Target)
		targets.take(i, m.Target)
		for _, tp := range m.Held {
			if by, taken := holders[tp]; taken || s.Partition(tp) == nil {
				return broken("group %q: member %q holds %s, which is not there or held by %q", g.Name, m.ID, tp, g.Members[by].ID)
			}
			holders[tp] = i
		}
	}
	switch {
	case partitions != g.Partitions || names != g.topics:
		return broken("group %q counts %d topics with %d partitions, they are %d with %d", g.Name, g.topics, g.Partitions, names, partitions)
	case inTargets != partitions || targets.taken != partitions:
		return broken("group %q has %d partitions, %d targets in %d of them", g.Name, partitions, inTargets, targets.taken)
	}
	for i, m := range g.Members {
		assigned := m.Assigned
		for _, tp := range m.Target {
			if by, taken := holders[tp]; taken && by != i {
				continue
			}
			if len(assigned) == 0 || assigned[0] != tp {
				return broken("group %q: nobody else holds %s of member %q, to whom it is not assigned", g.Name, tp, m.ID)
			}
			assigned = assigned[1:]
		}
		if len(assigned) > 0 {
			return broken("group %q: member %q is assigned %s, which another holds or is to have", g.Name, m.ID, assigned[0])
		}
	}
	return nil
}

// owners says to whom a group's partitions belong.
type owners struct {
	byTopic map[TopicID][]int // by partition; nobody's have none
	subs    map[TopicID][]int // who may have them
	taken   int

	topic TopicID // looked up last
	list  []int
}

func newOwners(topics []subscribedTopic) *owners {
	o := &owners{byTopic: make(map[TopicID][]int, len(topics)), subs: make(map[TopicID][]int, len(topics))}
	for _, t := range topics {
		o.byTopic[t.topic.ID] = slices.Repeat([]int{nobody}, int(t.topic.Partitions))
		o.subs[t.topic.ID] = t.members
	}
	return o
}

// take gives partitions to a member, except what somebody has, what is not
// there, and what it does not subscribe to.
func (o *owners) take(member int, list []TopicPartition) {
	subscribes, topic := false, TopicID{}
	for _, tp := range list {
		if tp.Topic != topic {
			topic = tp.Topic
			_, subscribes = slices.BinarySearch(o.subs[topic], member)
		}
		if subscribes && o.of(tp) == nobody && int(tp.Partition) < len(o.list) {
			o.list[tp.Partition] = member
			o.taken++
		}
	}
}

func (o *owners) of(tp TopicPartition) int {
	if o.topic != tp.Topic {
		o.topic, o.list = tp.Topic, o.byTopic[tp.Topic]
	}
	if int(tp.Partition) >= len(o.list) {
		return nobody
	}
	return o.list[tp.Partition]
}

// checkSubscriptions checks that a group is found by each of its topics.
func (s *State) checkSubscriptions(g *Group) error {
	members := map[string]int{}
	for _, m := range g.Members {
		for _, topic := range m.Topics {
			members[topic]++
		}
	}
	for topic, n := range members {
		if sub, _ := s.groups.subscriptions.Get(subscription{topic: topic, group: g.Name}); sub.members != n {
			return broken("group %q has %d members that subscribe to %q, the index says %d", g.Name, n, topic, sub.members)
		}
	}
	return nil
}

// checkOffsets checks all committed offsets, and what counts and finds them.
func (s *State) checkOffsets() error {
	t := s.groups.offsets
	counts, topics, metadata := map[string]int{}, map[topicCommitter]struct{}{}, int64(0)
	var err error
	t.byGroup.Scan(func(o groupOffset) bool {
		counts[o.id.group]++
		topics[topicCommitter{topic: o.id.partition.Topic, group: o.id.group}] = struct{}{}
		metadata += int64(len(o.committed.Metadata))
		err = s.checkOffset(o.id.group, o.id.partition, &o.committed)
		return err == nil
	})
	if err != nil {
		return err
	}
	if metadata != t.metadataBytes {
		return broken("%d bytes of metadata are counted, %d are there", t.metadataBytes, metadata)
	}
	if len(topics) != t.byTopic.Len() {
		return broken("groups have committed in %d topics, the index has %d", len(topics), t.byTopic.Len())
	}
	t.byTopic.Scan(func(c topicCommitter) bool {
		if _, there := topics[c]; !there {
			err = broken("group %q has committed nothing in topic %s, the index says that it has", c.group, c.topic)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	s.groups.byName.Scan(func(g *Group) bool {
		if g.Offsets != counts[g.Name] {
			err = broken("group %q counts %d offsets, %d are there", g.Name, g.Offsets, counts[g.Name])
		}
		delete(counts, g.Name)
		return err == nil
	})
	if err == nil && len(counts) > 0 {
		err = broken("%d groups are gone, their offsets are not", len(counts))
	}
	return err
}

func (s *State) checkOffset(group string, tp TopicPartition, c *CommittedOffset) error {
	p := s.Partition(tp)
	switch {
	case p == nil || c.Offset < 0 || c.Offset > p.end:
		return broken("group %q committed %d in %s, which is %+v", group, c.Offset, tp, p)
	case c.Time > s.time:
		return broken("group %q committed in %s at %d, later than now, %d", group, tp, c.Time, s.time)
	case len(c.Metadata) > OffsetMetadataLenMax || !utf8.ValidString(c.Metadata):
		return broken("group %q committed %d bytes of metadata in %s", group, len(c.Metadata), tp)
	}
	return nil
}

// checkTouchedGroup checks a group whose members changed.
func (s *State) checkTouchedGroup(name string) error {
	if g := s.Group(name); g != nil {
		return s.checkGroup(g)
	}
	return nil
}

// checkTouchedSubscribers checks some of the groups that subscribe to a topic.
func (s *State) checkTouchedSubscribers(topic string) error {
	groups := s.groups.subscribers(topic)
	for _, g := range groups[:min(len(groups), touchedGroupsMax)] {
		if err := s.checkGroup(g); err != nil {
			return err
		}
	}
	return nil
}

func (s *State) checkTouchedOffsets(e *CommitOffsets) error {
	for i := range e.Offsets {
		tp := e.Offsets[i].Partition
		if c, ok := s.CommittedOffset(e.Group, tp); ok {
			if err := s.checkOffset(e.Group, tp, &c); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkGroupsStep checks what an edit did to the groups that were there.
func checkGroupsStep(before, after *State, e Edit) error {
	if after.groups.lastEpoch < before.groups.lastEpoch {
		return broken("the last epoch of groups fell from %d to %d", before.groups.lastEpoch, after.groups.lastEpoch)
	}
	var err error
	before.groups.byName.Scan(func(old *Group) bool {
		if now := after.Group(old.Name); now != nil && now != old {
			err = checkGroupStep(before, old, now, e)
		}
		return err == nil
	})
	return err
}

// subscribes tells whether any member of a group subscribes to a topic.
func (s *State) subscribes(g *Group, id TopicID) bool {
	t, ok := s.Topic(id)
	return ok && slices.ContainsFunc(g.Members, func(m *Member) bool { return slices.Contains(m.Topics, t.Name) })
}

// checkGroupStep checks that no epoch fell, and that no member which lives on
// lost or got partitions by anything but its own acknowledgement, or with their topic.
func checkGroupStep(before *State, old, now *Group, e Edit) error {
	if now.Epoch < old.Epoch {
		return broken("group %q fell from epoch %d to %d", old.Name, old.Epoch, now.Epoch)
	}
	for _, was := range old.Members {
		is := now.Member(was.ID)
		switch {
		case is == nil || is == was:
			continue
		case is.Joined != was.Joined && is.Joined <= before.groups.lastEpoch:
			return broken("group %q: member %q joined again with epoch %d, the last was %d", old.Name, was.ID, is.Joined, before.groups.lastEpoch)
		case is.Joined != was.Joined:
			continue
		case is.Epoch < was.Epoch || is.Synced < was.Synced:
			return broken("group %q: member %q fell from epochs %d and %d to %d and %d", old.Name, was.ID, was.Synced, was.Epoch, is.Synced, is.Epoch)
		}
		if sync, ok := e.(SyncMember); ok && sync.Group == old.Name && sync.Member == was.ID {
			continue
		}
		lost, got := appendMissing(nil, was.Held, is.Held), appendMissing(nil, is.Held, was.Held)
		if deletion, ok := e.(DeleteTopic); ok {
			lost = slices.DeleteFunc(lost, func(tp TopicPartition) bool { return tp.Topic == deletion.ID })
		}
		lost = slices.DeleteFunc(lost, func(tp TopicPartition) bool { return !before.subscribes(now, tp.Topic) })
		if len(lost)+len(got) > 0 {
			return broken("group %q: member %q let go %v and took %v by %T", old.Name, was.ID, lost, got, e)
		}
	}
	return nil
}
