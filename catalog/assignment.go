package catalog

import "slices"

// subscribedTopic is a topic with the members that subscribe to it.
type subscribedTopic struct {
	topic   *Topic
	members []int // indexes into the group's members, ascending
}

// subscribed returns the topics that are there of those to which members
// subscribe, by name.
func (s *State) subscribed(g *Group) []subscribedTopic {
	var topics []subscribedTopic
	for _, name := range g.topics() {
		t, ok := s.TopicByName(name)
		if !ok {
			continue
		}
		sub := subscribedTopic{topic: t}
		for i, m := range g.Members {
			if _, subscribes := slices.BinarySearch(m.Topics, name); subscribes {
				sub.members = append(sub.members, i)
			}
		}
		topics = append(topics, sub)
	}
	return topics
}

// assign returns the partitions of each member, in order: every partition has
// one member. It depends on nothing but its arguments.
func (s Strategy) assign(topics []subscribedTopic, members []*Member) [][]TopicPartition {
	if len(members) == 0 {
		return nil
	}
	var targets [][]TopicPartition
	if s == RangeStrategy {
		targets = assignRange(topics, len(members))
	} else {
		targets = assignSticky(topics, members)
	}
	for _, target := range targets {
		slices.SortFunc(target, TopicPartition.compare)
	}
	return targets
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

// assignSticky leaves partitions where they are, gives those that nobody has to
// whoever has fewest, and then moves single ones from who has more to who has
// fewest for as long as that makes the two more even. It is a simple form of what
// Kafka's sticky assignor does (KIP-54). Time is in proportion to the number of
// partitions that come or move, times that of the members.
func assignSticky(topics []subscribedTopic, members []*Member) [][]TopicPartition {
	b := newBalance(topics, members)
	for i := range topics {
		b.place(i)
	}
	for moved := true; moved; {
		moved = false
		for i := range topics {
			moved = b.even(i) || moved
		}
	}
	targets := make([][]TopicPartition, len(members))
	for i, t := range topics {
		for p, owner := range b.owners[i] {
			targets[owner] = append(targets[owner], TopicPartition{Topic: t.topic.ID, Partition: int32(p)})
		}
	}
	return targets
}

// balance is who has which partitions while they are divided.
type balance struct {
	topics []subscribedTopic
	owners [][]int // by topic and partition; nobody has none
	load   []int   // partitions of each member
}

const nobody = -1

// newBalance begins with what the members had, as far as they still may have it.
func newBalance(topics []subscribedTopic, members []*Member) *balance {
	b := &balance{topics: topics, owners: make([][]int, len(topics)), load: make([]int, len(members))}
	index := map[TopicID]int{}
	for i, t := range topics {
		index[t.topic.ID] = i
		b.owners[i] = slices.Repeat([]int{nobody}, int(t.topic.Partitions))
	}
	// What a member holds beyond its target is on its way to another, which may
	// be gone by now; then it stays.
	for _, had := range []func(*Member) []TopicPartition{
		func(m *Member) []TopicPartition { return m.Target },
		func(m *Member) []TopicPartition { return m.Held },
	} {
		for i, m := range members {
			for _, tp := range had(m) {
				at, there := index[tp.Topic]
				if !there || int(tp.Partition) >= len(b.owners[at]) || b.owners[at][tp.Partition] != nobody {
					continue
				}
				if _, subscribes := slices.BinarySearch(topics[at].members, i); subscribes {
					b.owners[at][tp.Partition] = i
					b.load[i]++
				}
			}
		}
	}
	return b
}

// place gives the partitions of a topic that nobody has to its subscribers.
func (b *balance) place(topic int) {
	for p, owner := range b.owners[topic] {
		if owner == nobody {
			least, _ := b.extremes(topic, nil)
			b.owners[topic][p] = least
			b.load[least]++
		}
	}
}

// even moves partitions of a topic between its subscribers and tells whether it
// moved any.
func (b *balance) even(topic int) (moved bool) {
	owners := b.owners[topic]
	count := make([]int, len(b.load)) // of this topic
	last := make([]int, len(b.load))  // no partition from here on is the member's
	for _, owner := range owners {
		count[owner]++
	}
	for i := range last {
		last[i] = len(owners)
	}
	for {
		least, most := b.extremes(topic, count)
		if most == nobody || b.load[most]-b.load[least] < 2 {
			return moved
		}
		p := last[most] - 1
		for owners[p] != most {
			p--
		}
		last[most] = p
		owners[p] = least
		last[least] = max(last[least], p+1)
		b.load[most]--
		b.load[least]++
		count[most]--
		count[least]++
		moved = true
	}
}

// extremes returns the subscribers of a topic that have fewest and most
// partitions, the first of several. Those that count says have none of this
// topic are not the latter.
func (b *balance) extremes(topic int, count []int) (least, most int) {
	least, most = nobody, nobody
	for _, m := range b.topics[topic].members {
		if least == nobody || b.load[m] < b.load[least] {
			least = m
		}
		if count != nil && count[m] > 0 && (most == nobody || b.load[m] > b.load[most]) {
			most = m
		}
	}
	return least, most
}
