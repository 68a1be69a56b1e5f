package catalog

import (
	"cmp"
	"container/heap"
	"slices"
)

// evenStepsMax bounds how many members assignSticky looks at to move partitions
// between them. Where subscriptions differ much, evenness could take very many
// moves; beyond the bound the division is valid, only less even than it could be.
const evenStepsMax = 10_000_000

// assignSticky leaves partitions where they are, gives those that nobody has to
// whoever has fewest, and then moves single ones from who has more to who has
// fewest for as long as that makes the two more even. It is a simple form of what
// Kafka's sticky assignor does (KIP-54).
func assignSticky(topics []subscribedTopic, members []*Member) [][]TopicPartition {
	b := newBalance(topics, members)
	b.place()
	b.even(evenStepsMax)
	return b.targets()
}

// balance is who has which partitions while they are divided.
type balance struct {
	topics []subscribedTopic
	owners [][]int // by topic and partition; nobody has none
	load   []int   // partitions of each member
	pools  []pool  // those with few subscribers first, as theirs have least choice
}

// pool is the topics that have the same subscribers: it does not matter of which
// of them a member has how many partitions. One pool holds all if everybody
// subscribes to the same, and then no partition moves that need not.
type pool struct {
	members []int
	topics  []int // indexes
}

const nobody = -1

// newBalance begins with what the members had, as far as they still may have it.
func newBalance(topics []subscribedTopic, members []*Member) *balance {
	b := &balance{topics: topics, owners: make([][]int, len(topics)), load: make([]int, len(members))}
	index := make(map[TopicID]int, len(topics))
	for i, t := range topics {
		index[t.topic.ID] = i
		b.owners[i] = slices.Repeat([]int{nobody}, int(t.topic.Partitions))
		b.pool(i)
	}
	slices.SortStableFunc(b.pools, func(x, y pool) int { return cmp.Compare(len(x.members), len(y.members)) })
	for i, m := range members {
		b.keep(i, m.Target, index)
	}
	// What a member holds beyond its target is on its way to another, which may
	// be gone by now; then it stays.
	for i, m := range members {
		if !sameList(m.Held, m.Target) {
			b.keep(i, m.Held, index)
		}
	}
	return b
}

// keep gives a member those partitions of a list that nobody has and to whose
// topics it subscribes.
func (b *balance) keep(member int, list []TopicPartition, index map[TopicID]int) {
	for len(list) > 0 {
		topic, n := list[0].Topic, 1
		for n < len(list) && list[n].Topic == topic {
			n++
		}
		at, there := index[topic]
		if there {
			_, there = slices.BinarySearch(b.topics[at].members, member)
		}
		for _, tp := range list[:n] {
			if there && b.owners[at][tp.Partition] == nobody {
				b.owners[at][tp.Partition] = member
				b.load[member]++
			}
		}
		list = list[n:]
	}
}

// pool puts a topic into the pool of its subscribers.
func (b *balance) pool(topic int) {
	members := b.topics[topic].members
	at := slices.IndexFunc(b.pools, func(p pool) bool { return slices.Equal(p.members, members) })
	if at < 0 {
		at = len(b.pools)
		b.pools = append(b.pools, pool{members: members})
	}
	b.pools[at].topics = append(b.pools[at].topics, topic)
}

// place gives the partitions that nobody has to those who have fewest.
func (b *balance) place() {
	for i := range b.pools {
		p := &b.pools[i]
		byLoad := &leastLoaded{members: slices.Clone(p.members), load: b.load}
		heap.Init(byLoad)
		for _, topic := range p.topics {
			owners := b.owners[topic]
			for number, owner := range owners {
				if owner == nobody {
					owners[number] = byLoad.members[0]
					b.load[owners[number]]++
					heap.Fix(byLoad, 0)
				}
			}
		}
	}
}

// leastLoaded is a heap of members, the one with the fewest partitions first,
// and the first of several.
type leastLoaded struct {
	members []int
	load    []int
}

func (h *leastLoaded) Len() int { return len(h.members) }

func (h *leastLoaded) Less(i, j int) bool {
	a, b := h.members[i], h.members[j]
	return cmp.Or(cmp.Compare(h.load[a], h.load[b]), cmp.Compare(a, b)) < 0
}

func (h *leastLoaded) Swap(i, j int) { h.members[i], h.members[j] = h.members[j], h.members[i] }

// Push and Pop complete heap.Interface. The heap keeps its members.
func (h *leastLoaded) Push(any) { panic("catalog: a heap of fixed size grows") }

// Pop is as Push.
func (h *leastLoaded) Pop() any { panic("catalog: a heap of fixed size shrinks") }

// even moves partitions until no move makes two members more even, or steps are
// used up. It ends: each move lowers the sum of the squares of the loads.
func (b *balance) even(steps int) {
	for moved := true; moved && steps > 0; {
		moved = false
		for i := range b.pools {
			if b.uneven(&b.pools[i]) {
				moved = b.evenPool(&b.pools[i], &steps) || moved
			}
			steps -= len(b.pools[i].members)
		}
	}
}

// uneven tells whether the members of a pool have so different numbers of
// partitions that a move might help.
func (b *balance) uneven(p *pool) bool {
	least, most := b.load[p.members[0]], b.load[p.members[0]]
	for _, m := range p.members[1:] {
		least, most = min(least, b.load[m]), max(most, b.load[m])
	}
	return most-least >= 2
}

// evenPool moves partitions of a pool between its members, the last ones of each
// first, and tells whether it moved any.
func (b *balance) evenPool(p *pool, steps *int) (moved bool) {
	type place struct {
		topic     int
		partition int32
	}
	has := make([][]place, len(b.load)) // partitions of each member
	for _, topic := range p.topics {
		*steps -= len(b.owners[topic])
		for number, owner := range b.owners[topic] {
			has[owner] = append(has[owner], place{topic: topic, partition: int32(number)})
		}
	}
	for *steps > 0 {
		*steps -= len(p.members)
		least, most := nobody, nobody
		for _, m := range p.members {
			if least == nobody || b.load[m] < b.load[least] {
				least = m
			}
			if len(has[m]) > 0 && (most == nobody || b.load[m] > b.load[most]) {
				most = m
			}
		}
		if most == nobody || b.load[most]-b.load[least] < 2 {
			return moved
		}
		// What a member gets here is not moved on, so has need not know of it:
		// whoever had fewest has at most one more than who has fewest then.
		last := len(has[most]) - 1
		given := has[most][last]
		has[most] = has[most][:last]
		b.owners[given.topic][given.partition] = least
		b.load[most]--
		b.load[least]++
		moved = true
	}
	return moved
}

// targets lists what each member has, in order.
func (b *balance) targets() [][]TopicPartition {
	targets := make([][]TopicPartition, len(b.load))
	for m, n := range b.load {
		targets[m] = make([]TopicPartition, 0, n)
	}
	for i, t := range b.topics {
		for p, owner := range b.owners[i] {
			targets[owner] = append(targets[owner], TopicPartition{Topic: t.topic.ID, Partition: int32(p)})
		}
	}
	return targets
}
