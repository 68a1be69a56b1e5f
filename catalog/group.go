package catalog

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tidwall/btree"
)

// Group is a consumer group: members that share the partitions of the topics to
// which they subscribe, and the offsets that it committed. A group is there as
// long as it has a member or an offset. It is immutable: a change puts another
// in its place.
type Group struct {
	Name     string
	Strategy Strategy
	Epoch    int64     // when its members or their partitions last changed
	Members  []*Member // by id
	Offsets  int       // committed ones; State.CommittedOffsets has them

	Partitions int // of the topics to which it subscribes
	topics     int // to which it subscribes, whether they are there or not
}

// Member is a member of a group. It is immutable.
//
// Epochs come from one counter of the whole catalog, so that none is given out
// twice, whatever becomes of the group. Below Joined they are those of somebody
// who had the member's id before.
type Member struct {
	ID               string
	ClientID         string   // what it calls itself; "" for nothing
	Topics           []string // that it subscribes to, in order
	SessionTimeoutMs int32    // how long it may be silent

	Joined int64 // epoch with which it joined
	Epoch  int64 // of Assigned
	Synced int64 // that it has acknowledged; Held is of this one

	Commits int64 // of offsets that it made since it joined

	// Target is what the strategy gives it. Assigned is that part of it which
	// nobody else holds: what it may read once it has acknowledged Epoch. Held
	// is what it may be reading now. All are in order.
	Target, Assigned, Held []TopicPartition
}

// Strategy says how a group's partitions are divided among its members. Both
// are Kafka's, and both move a partition only when who held it has let go.
type Strategy uint8

// The strategies. AnyStrategy joins whatever the group has; a new group gets
// CooperativeSticky.
const (
	AnyStrategy Strategy = iota
	// RangeStrategy gives each member a run of each topic's partitions, the
	// same run of every topic if all subscribe to the same topics.
	RangeStrategy
	// CooperativeSticky keeps the numbers of partitions even and moves as few
	// as that takes.
	CooperativeSticky
)

func (s Strategy) String() string { return nameOf(strategyNames[:], s) }

var strategyNames = [...]string{"any", "range", "cooperative-sticky"}

// ParseStrategy returns the strategy of a name, false if there is none.
func ParseStrategy(name string) (Strategy, bool) {
	i := slices.Index(strategyNames[1:], name)
	return Strategy(i + 1), i >= 0
}

// Member returns a member, nil if there is none of this id.
func (g *Group) Member(id string) *Member {
	if i, ok := g.find(id); ok {
		return g.Members[i]
	}
	return nil
}

func (g *Group) find(id string) (int, bool) {
	return slices.BinarySearchFunc(g.Members, id, func(m *Member, id string) int { return cmp.Compare(m.ID, id) })
}

// Stable tells whether every member has acknowledged all that it is to have.
func (g *Group) Stable() bool {
	for _, m := range g.Members {
		if m.Synced != m.Epoch || len(m.Assigned) != len(m.Target) {
			return false
		}
	}
	return true
}

func holds(partitions []TopicPartition, tp TopicPartition) bool {
	_, found := slices.BinarySearchFunc(partitions, tp, TopicPartition.compare)
	return found
}

// Revoked are the partitions that the member must let go, in order.
func (m *Member) Revoked() []TopicPartition { return appendMissing(nil, m.Held, m.Assigned) }

// appendMissing appends what is in a and not in b, both in order.
func appendMissing(dst, a, b []TopicPartition) []TopicPartition {
	if sameList(a, b) {
		return dst
	}
	for _, tp := range a {
		for len(b) > 0 && b[0].compare(tp) < 0 {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != tp {
			dst = append(dst, tp)
		}
	}
	return dst
}

// sameList tells whether two lists of partitions are equal. Most that are share
// their memory.
func sameList(a, b []TopicPartition) bool {
	if len(a) != len(b) {
		return false
	}
	return len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b)
}

// ValidGroupName tells whether a group, or a member of one, may have this name.
// The rules are those for topics.
func ValidGroupName(name string) bool { return ValidTopicName(name) }

// groupTable is the consumer groups with their offsets.
type groupTable struct {
	byName        *btree.BTreeG[*Group]
	subscriptions *btree.BTreeG[subscription]
	offsets       *offsetTable

	lastEpoch int64 // given out
	members   int   // of all groups
	topics    int   // of all members' lists
	assigned  int   // partitions, of all groups
}

// subscription says that so many members of a group subscribe to a topic, which
// need not be there.
type subscription struct {
	topic, group string
	members      int // not 0, and no part of the key
}

func newGroupTable() *groupTable {
	return &groupTable{
		byName: newTree(func(a, b *Group) bool { return a.Name < b.Name }),
		subscriptions: newTree(func(a, b subscription) bool {
			return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.group, b.group)) < 0
		}),
		offsets: newOffsetTable(),
	}
}

func (t *groupTable) clone() *groupTable {
	c := *t
	c.byName, c.subscriptions, c.offsets = t.byName.Copy(), t.subscriptions.Copy(), t.offsets.clone()
	return &c
}

// group returns a group, nil if there is none.
func (t *groupTable) group(name string) *Group {
	g, _ := t.byName.Get(&Group{Name: name})
	return g
}

// member returns a member of a group, nil if there is none.
func (t *groupTable) member(group, id string) *Member {
	if g := t.group(group); g != nil {
		return g.Member(id)
	}
	return nil
}

// Group returns a group by name, nil if there is none.
func (s *State) Group(name string) *Group { return s.groups.group(name) }

// Groups returns up to limit groups whose names begin with prefix and sort
// after after, by name.
func (s *State) Groups(prefix, after string, limit int) []*Group {
	var found []*Group
	s.groups.byName.Ascend(&Group{Name: max(prefix, after)}, func(g *Group) bool {
		switch {
		case len(found) >= limit:
			return false
		case g.Name <= after && after != "":
			return true
		case !strings.HasPrefix(g.Name, prefix):
			return g.Name < prefix
		}
		found = append(found, g)
		return true
	})
	return found
}
