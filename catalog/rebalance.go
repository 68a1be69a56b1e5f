package catalog

import (
	"slices"

	"github.com/wadilog/wadi/internal/mutant"
)

// rebalance divides the partitions of a group, which is not in the State yet,
// anew. Members whose partitions change get the epoch.
func (s *State) rebalance(g *Group, epoch int64) {
	topics, names := s.subscribed(g.Members)
	g.measure(topics, names)
	g.forgetOthers(topics)
	for i, target := range g.Strategy.assign(topics, g.Members) {
		if m := g.Members[i]; !sameList(m.Target, target) {
			next := *m
			next.Target = target
			g.Members[i] = &next
		}
	}
	g.settle(epoch)
}

// forgetOthers takes away what members hold of topics to which nobody subscribes
// any more: who joined again without a topic may hold partitions of it.
func (g *Group) forgetOthers(topics []subscribedTopic) {
	known := make(map[TopicID]bool, len(topics))
	for _, t := range topics {
		known[t.topic.ID] = true
	}
	other := func(tp TopicPartition) bool { return !known[tp.Topic] }
	for i, m := range g.Members {
		if !slices.ContainsFunc(m.Held, other) {
			continue
		}
		next := *m
		next.Held = slices.DeleteFunc(slices.Clone(m.Held), other)
		g.Members[i] = &next
	}
}

// measure notes to how much a group subscribes.
func (g *Group) measure(topics []subscribedTopic, names int) {
	g.Partitions, g.topics = 0, names
	for _, t := range topics {
		g.Partitions += int(t.topic.Partitions)
	}
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
	if mutant.On(mutant.SkipLetGo) {
		return nil
	}
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

// setGroup puts a group in the place of another (nil for none), or takes that
// away if there is nothing left of it. epoch is that of the change, 0 if no
// member's partitions changed.
func (s *State) setGroup(old, g *Group, epoch int64) {
	t := s.groups
	t.lastEpoch = max(t.lastEpoch, epoch)
	g.Epoch = max(g.Epoch, epoch)
	t.members += len(g.Members)
	t.assigned += g.Partitions
	if old != nil {
		t.members -= len(old.Members)
		t.assigned -= old.Partitions
	}
	if len(g.Members) == 0 && g.Offsets == 0 {
		t.byName.Delete(g)
		return
	}
	t.byName.Set(g)
}

// subscribe counts a member of a group among the subscribers of its topics (by
// is 1), or does not any more (-1).
func (t *groupTable) subscribe(group string, topics []string, by int) {
	t.topics += by * len(topics)
	for _, topic := range topics {
		sub, _ := t.subscriptions.Get(subscription{topic: topic, group: group})
		sub = subscription{topic: topic, group: group, members: sub.members + by}
		if sub.members == 0 {
			t.subscriptions.Delete(sub)
		} else {
			t.subscriptions.Set(sub)
		}
	}
}

// subscribers returns the groups that subscribe to a topic, by name.
func (t *groupTable) subscribers(topic string) []*Group {
	var groups []*Group
	t.subscriptions.Ascend(subscription{topic: topic}, func(sub subscription) bool {
		if sub.topic != topic {
			return false
		}
		groups = append(groups, t.group(sub.group))
		return true
	})
	return groups
}

// assignable tells whether groups may get so many partitions more of a topic to
// which they subscribe.
func (s *State) assignable(topic string, partitions int32) bool {
	more := len(s.groups.subscribers(topic)) * int(partitions)
	return more == 0 || s.groups.assigned+more <= s.capacity.assigned
}

// rebalanceSubscribers divides the partitions of all groups anew that subscribe
// to a topic which came, went, or got more partitions.
func (s *State) rebalanceSubscribers(t *Topic) {
	_, there := s.Topic(t.ID)
	for _, old := range s.groups.subscribers(t.Name) {
		g := old.copy()
		if !there {
			g.dropHeld(t.ID)
		}
		epoch := s.groups.lastEpoch + 1
		s.rebalance(g, epoch)
		s.setGroup(old, g, epoch)
	}
}

// dropHeld takes the partitions of a deleted topic from all members: nobody can
// read them, and they need not be let go.
func (g *Group) dropHeld(topic TopicID) {
	gone := func(tp TopicPartition) bool { return tp.Topic == topic }
	for i, m := range g.Members {
		if slices.ContainsFunc(m.Held, gone) {
			next := *m
			next.Held = slices.DeleteFunc(slices.Clone(m.Held), gone)
			g.Members[i] = &next
		}
	}
}
