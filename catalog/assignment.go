package catalog

import (
	"bytes"
	"slices"
)

// subscribedTopic is a topic with the members that subscribe to it.
type subscribedTopic struct {
	topic   *Topic
	members []int // indexes into the group's members, ascending
}

// subscribed returns the topics that are there of those to which members
// subscribe, by id, and how many names they subscribe to in all.
func (s *State) subscribed(members []*Member) (topics []subscribedTopic, names int) {
	known := map[string]int{} // indexes into topics; of those that are not there -1
	for _, l := range subscriptionLists(members) {
		for _, name := range l.topics {
			at, seen := known[name]
			switch {
			case !seen:
				known[name] = -1
				if t, ok := s.TopicByName(name); ok {
					known[name] = len(topics)
					topics = append(topics, subscribedTopic{topic: t, members: slices.Clip(l.members)})
				}
			case at >= 0:
				topics[at].members = append(topics[at].members, l.members...)
			}
		}
	}
	for _, t := range topics {
		if !slices.IsSorted(t.members) { // several lists name it
			slices.Sort(t.members)
		}
	}
	slices.SortFunc(topics, func(a, b subscribedTopic) int { return bytes.Compare(a.topic.ID[:], b.topic.ID[:]) })
	return topics, len(known)
}

// subscriptionList is a list of topics with the members whose list it is.
type subscriptionList struct {
	topics  []string
	members []int
}

// subscriptionLists collects the lists of members. Those that share one in
// memory, as members with equal lists do (see JoinGroup), are looked at once.
// That two equal lists are not shared changes no outcome.
func subscriptionLists(members []*Member) []subscriptionList {
	var lists []subscriptionList
	index := map[*string]int{}
	for i, m := range members {
		first := &m.Topics[0]
		at, ok := index[first]
		if !ok {
			at = len(lists)
			index[first] = at
			lists = append(lists, subscriptionList{topics: m.Topics})
		}
		lists[at].members = append(lists[at].members, i)
	}
	return lists
}

// assign returns the partitions of each member, in order: every partition of
// every topic has one member. It depends on nothing but its arguments.
func (s Strategy) assign(topics []subscribedTopic, members []*Member) [][]TopicPartition {
	if s == RangeStrategy {
		return assignRange(topics, len(members))
	}
	return assignSticky(topics, members)
}

// assignRange divides each topic into runs, as Kafka's range assignor does: of
// n partitions among k members the first n mod k get one more than the others.
func assignRange(topics []subscribedTopic, members int) [][]TopicPartition {
	targets := make([][]TopicPartition, members)
	for _, t := range topics {
		partitions, k := t.topic.Partitions, int32(len(t.members))
		next := int32(0)
		for i, member := range t.members {
			run := partitions / k
			if int32(i) < partitions%k {
				run++
			}
			for ; run > 0; run-- {
				targets[member] = append(targets[member], TopicPartition{Topic: t.topic.ID, Partition: next})
				next++
			}
		}
	}
	return targets
}
