package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// newGroupFixture is newFixture at the level of groups.
func newGroupFixture(tb testing.TB) *fixture {
	f := newFixture(tb)
	f.accepted(RaiseLevel{Level: levelOfGroups})
	return f
}

func joinOf(group, member string, topics ...string) JoinGroup {
	return JoinGroup{Group: group, Member: member, Topics: topics, SessionTimeoutMs: 10_000}
}

// join adds a member that subscribes to topics and returns its epoch.
func (f *fixture) join(group, member string, topics ...string) int64 {
	f.tb.Helper()
	return f.accepted(joinOf(group, member, topics...)).Epoch
}

// sync acknowledges whatever is a member's newest epoch.
func (f *fixture) sync(group, member string) {
	f.tb.Helper()
	f.accepted(SyncMember{Group: group, Member: member, Epoch: f.state.Group(group).Member(member).Epoch})
}

// held lists what a member may be reading, as topic numbers and partitions.
func (f *fixture) held(group, member string) string {
	f.tb.Helper()
	return partitionNames(f.state.Group(group).Member(member).Held)
}

func partitionNames(list []TopicPartition) string {
	var names []string
	for _, tp := range list {
		names = append(names, fmt.Sprintf("%d/%d", tp.Topic[15], tp.Partition))
	}
	return strings.Join(names, " ")
}

func (f *fixture) refused(e Edit, want error) {
	f.tb.Helper()
	if got := f.apply(e).Err; !ResultsEqual(Result{Err: got}, Result{Err: want}) {
		f.tb.Errorf("%+v: %v, want %v", e, got, want)
	}
}

// A partition goes to its new owner when the old one has let go of it, not
// before. Red under mutant.SkipLetGo.
func TestPartitionMovesInTwoSteps(t *testing.T) {
	f := newGroupFixture(t)
	first := f.join("g", "a", "rivers")
	if got := f.held("g", "a"); got != "1/0 1/1 1/2 1/3" {
		t.Fatalf("the only member holds %s", got)
	}
	second := f.join("g", "b", "rivers")
	if got := f.held("g", "b"); got != "" {
		t.Fatalf("the second member holds %s from the start", got)
	}
	a, b := f.state.Group("g").Member("a"), f.state.Group("g").Member("b")
	if a.Epoch != second || a.Synced != first || partitionNames(a.Revoked()) != "1/2 1/3" || len(b.Assigned) != 0 || f.state.Group("g").Stable() {
		t.Fatalf("after a join: %+v, %+v", a, b)
	}
	f.refused(SyncMember{Group: "g", Member: "a", Epoch: first}, &RebalanceError{Epoch: second})
	f.sync("g", "a")
	b = f.state.Group("g").Member("b")
	if b.Epoch <= second || partitionNames(b.Assigned) != "1/2 1/3" || len(b.Held) != 0 {
		t.Fatalf("after the first has let go: %+v", b)
	}
	f.sync("g", "b")
	if f.held("g", "a") != "1/0 1/1" || f.held("g", "b") != "1/2 1/3" || !f.state.Group("g").Stable() {
		t.Fatalf("they hold %s and %s", f.held("g", "a"), f.held("g", "b"))
	}
	f.sync("g", "b") // again is no error
	// One that is removed holds nothing, so the other gets it at once.
	f.accepted(RemoveMember{Group: "g", Member: "a"})
	if got := partitionNames(f.state.Group("g").Member("b").Assigned); got != "1/0 1/1 1/2 1/3" {
		t.Errorf("the last member is assigned %s", got)
	}
}

// A change that is taken back before anybody noticed leaves partitions where
// they are, under a new epoch.
func TestTransientMember(t *testing.T) {
	f := newGroupFixture(t)
	f.join("g", "a", "rivers")
	f.join("g", "b", "rivers")
	f.accepted(RemoveMember{Group: "g", Member: "b"})
	a := f.state.Group("g").Member("a")
	if partitionNames(a.Held) != "1/0 1/1 1/2 1/3" || len(a.Revoked()) != 0 || a.Synced == a.Epoch {
		t.Errorf("the member that stayed: %+v", a)
	}
	f.sync("g", "a")
	if !f.state.Group("g").Stable() {
		t.Error("the group is not stable")
	}
}

// Whoever joins under the id of a member takes its place and its partitions.
func TestRejoinFences(t *testing.T) {
	f := newGroupFixture(t)
	old := f.join("g", "a", "rivers")
	f.join("g", "b", "rivers")
	f.sync("g", "a")
	f.sync("g", "b")
	held, other := f.held("g", "a"), f.state.Group("g").Member("b")
	if r := f.accepted(joinOf("g", "a", "rivers")); r.Created || r.Epoch <= old {
		t.Errorf("it joined again as %+v", r)
	}
	if f.held("g", "a") != held || f.state.Group("g").Member("b") != other || !f.state.Group("g").Stable() {
		t.Errorf("it holds %s, and held %s; the other is %+v", f.held("g", "a"), held, f.state.Group("g").Member("b"))
	}
	for _, e := range []Edit{
		SyncMember{Group: "g", Member: "a", Epoch: old},
		KeepMember{Group: "g", Member: "a", Epoch: old},
		RemoveMember{Group: "g", Member: "a", Epoch: old},
		CommitOffsets{Group: "g", Member: "a", Epoch: old, Offsets: []GroupOffset{{Partition: partitionOf(1, 0)}}},
		KeepMember{Group: "g", Member: "c", Epoch: old},
		KeepMember{Group: "h", Member: "a", Epoch: old},
	} {
		f.refused(e, ErrMemberFenced)
	}
	f.accepted(KeepMember{Group: "g", Member: "a", Epoch: f.state.Group("g").Member("a").Epoch})
	// With other topics it lets go of what it had before.
	f.accepted(createTopic(2, "lakes", 1))
	f.join("g", "a", "lakes")
	if got := f.held("g", "a"); got != held || partitionNames(f.state.Group("g").Member("b").Assigned) != f.held("g", "b") {
		t.Errorf("it holds %s before it has let go of %s, the other has %s", got, held, partitionNames(f.state.Group("g").Member("b").Assigned))
	}
	f.sync("g", "a")
	if f.held("g", "a") != "2/0" || partitionNames(f.state.Group("g").Member("b").Assigned) != "1/0 1/1 1/2 1/3" {
		t.Errorf("they have %s and %s", f.held("g", "a"), partitionNames(f.state.Group("g").Member("b").Assigned))
	}
}

// A group that vanished and came back has newer epochs than it had.
func TestEpochsOutliveGroups(t *testing.T) {
	f := newGroupFixture(t)
	epoch := f.join("g", "a", "rivers")
	f.accepted(RemoveMember{Group: "g", Member: "a", Epoch: epoch})
	if f.state.Group("g") != nil {
		t.Fatal("an empty group is there")
	}
	f.refused(DeleteGroup{Group: "g"}, ErrGroupNotFound)
	f.state = decodeState(t, encodeState(t, f.state)) // a restart forgets none of it
	if again := f.join("g", "a", "rivers"); again <= epoch {
		t.Errorf("epoch %d was followed by %d", epoch, again)
	}
	f.refused(KeepMember{Group: "g", Member: "a", Epoch: epoch}, ErrMemberFenced)
}

func TestGroupStrategy(t *testing.T) {
	f := newGroupFixture(t)
	join := joinOf("g", "a", "rivers")
	f.accepted(join)
	if got := f.state.Group("g").Strategy; got != CooperativeSticky {
		t.Errorf("the strategy of who names none is %s", got)
	}
	join.Strategy = RangeStrategy
	f.refused(join, ErrGroupStrategy)
	f.accepted(CommitOffsets{Group: "g", Member: "a", Epoch: 1, Offsets: []GroupOffset{{Partition: partitionOf(1, 0)}}})
	f.accepted(RemoveMember{Group: "g", Member: "a"})
	f.accepted(join) // it has no members: who comes first decides
	if got := f.state.Group("g").Strategy; got != RangeStrategy {
		t.Errorf("the strategy is %s", got)
	}
	for _, s := range []Strategy{RangeStrategy, CooperativeSticky} {
		if got, ok := ParseStrategy(s.String()); !ok || got != s {
			t.Errorf("%s is parsed as %s", s, got)
		}
	}
	for _, name := range []string{"", "any", "sticky"} {
		if s, ok := ParseStrategy(name); ok {
			t.Errorf("%q is parsed as %s", name, s)
		}
	}
}

func TestInvalidJoins(t *testing.T) {
	f := newGroupFixture(t)
	for name, change := range map[string]func(*JoinGroup){
		"group":           func(e *JoinGroup) { e.Group = "a/b" },
		"no member":       func(e *JoinGroup) { e.Member = "" },
		"client id":       func(e *JoinGroup) { e.ClientID = "a b" },
		"no topics":       func(e *JoinGroup) { e.Topics = nil },
		"topic":           func(e *JoinGroup) { e.Topics = []string{"a/b"} },
		"order":           func(e *JoinGroup) { e.Topics = []string{"b", "a"} },
		"twice":           func(e *JoinGroup) { e.Topics = []string{"a", "a"} },
		"too many topics": func(e *JoinGroup) { e.Topics = manyTopics(0, GroupTopicsMax+1) },
		"strategy":        func(e *JoinGroup) { e.Strategy = CooperativeSticky + 1 },
		"short timeout":   func(e *JoinGroup) { e.SessionTimeoutMs = SessionTimeoutMsMin - 1 },
		"long timeout":    func(e *JoinGroup) { e.SessionTimeoutMs = SessionTimeoutMsMax + 1 },
	} {
		e := joinOf("g", "a", "rivers")
		if change(&e); f.apply(e).Err == nil {
			t.Errorf("%s: it joined", name)
		} else {
			f.refused(e, invalid(InvalidGroup))
		}
	}
}

func manyTopics(from, to int) []string {
	var names []string
	for i := from; i < to; i++ {
		names = append(names, fmt.Sprintf("t%06d", i))
	}
	return names
}

func TestGroupLimits(t *testing.T) {
	f := newGroupFixture(t)
	set := func(change func(*capacity)) {
		for _, s := range []*State{f.state, f.replica} {
			s.capacity = defaultCapacity()
			change(&s.capacity)
		}
	}
	f.join("g", "a", "rivers")
	set(func(c *capacity) { c.groups = 1 })
	f.refused(joinOf("h", "a", "rivers"), ErrCatalogFull)
	f.refused(CommitOffsets{Group: "h", Offsets: []GroupOffset{{Partition: partitionOf(1, 0)}}}, ErrCatalogFull)
	f.join("g", "b", "rivers")
	set(func(c *capacity) { c.groupMembers = 2 })
	f.refused(joinOf("g", "c", "rivers"), ErrGroupFull)
	f.join("g", "b", "rivers")
	set(func(c *capacity) { c.members = 2 })
	f.refused(joinOf("h", "a", "rivers"), ErrCatalogFull)
	f.join("g", "b", "rivers")
	set(func(c *capacity) { c.memberTopics = 2 })
	f.refused(joinOf("g", "b", "lakes", "rivers"), ErrCatalogFull)
	f.join("g", "b", "lakes")
	set(func(c *capacity) { c.memberTopics = 1 })
	f.join("g", "b", "rivers") // no more than before
	set(func(*capacity) {})
	f.join("g", "b", manyTopics(0, GroupTopicsMax)[1:]...)
	f.refused(joinOf("g", "c", "one-more"), ErrGroupFull)
	f.join("g", "c", "rivers", "t000001")
}

// Partitions are counted for each group that divides them.
func TestAssignedPartitionsLimit(t *testing.T) {
	f := newGroupFixture(t)
	f.join("g", "a", "lakes", "rivers")
	f.join("h", "a", "lakes")
	for _, s := range []*State{f.state, f.replica} {
		s.capacity.assigned = 8
	}
	f.refused(createTopic(2, "lakes", 3), ErrCatalogFull)
	f.accepted(createTopic(2, "lakes", 2))
	f.accepted(createTopic(3, "boats", 9)) // to which nobody subscribes
	f.refused(AlterTopic{ID: topicID(2), Partitions: 3, Config: DefaultTopicConfig()}, ErrCatalogFull)
	f.refused(AlterTopic{ID: topicID(1), Partitions: 5, Config: DefaultTopicConfig()}, ErrCatalogFull)
	f.accepted(AlterTopic{ID: topicID(3), Partitions: 10, Config: DefaultTopicConfig()})
	f.refused(joinOf("i", "a", "lakes"), ErrCatalogFull)
	f.join("g", "b", "lakes", "rivers") // the same partitions
	f.accepted(RemoveMember{Group: "h", Member: "a"})
	f.join("i", "a", "lakes")
}

// Topics count once they are there, and what a deleted one leaves behind is gone.
func TestTopicsComeAndGo(t *testing.T) {
	f := newGroupFixture(t)
	f.join("g", "a", "lakes", "rivers")
	f.join("g", "b", "lakes")
	f.accepted(createTopic(2, "lakes", 3))
	g := f.state.Group("g")
	if a, b := partitionNames(g.Member("a").Assigned), partitionNames(g.Member("b").Assigned); a != "1/0 1/1 1/2 1/3" || b != "2/0 2/1 2/2" {
		t.Errorf("after the topic came: %s and %s", a, b)
	}
	f.sync("g", "b")
	f.accepted(AlterTopic{ID: topicID(2), Partitions: 4, Config: DefaultTopicConfig()})
	f.sync("g", "b")
	epoch := f.state.Group("g").Member("b").Epoch
	f.accepted(CommitOffsets{Group: "g", Member: "b", Epoch: epoch, Offsets: []GroupOffset{
		{Partition: partitionOf(2, 0), Metadata: "m"}, {Partition: partitionOf(2, 3)},
	}})
	f.accepted(CommitOffsets{Group: "h", Offsets: []GroupOffset{{Partition: partitionOf(1, 0)}, {Partition: partitionOf(2, 0)}}})
	f.accepted(CommitOffsets{Group: "i", Offsets: []GroupOffset{{Partition: partitionOf(2, 0)}}})
	f.accepted(DeleteTopic{ID: topicID(2)})
	b := f.state.Group("g").Member("b")
	if len(b.Held)+len(b.Target)+len(b.Assigned) > 0 || b.Epoch <= epoch || f.state.Group("g").Offsets != 0 {
		t.Errorf("after the topic went: %+v of %+v", b, f.state.Group("g"))
	}
	if h := f.state.Group("h"); h == nil || h.Offsets != 1 || f.state.Group("i") != nil {
		t.Errorf("after the topic went: %+v, %+v", h, f.state.Group("i"))
	}
	f.accepted(createTopic(3, "lakes", 1))
	if _, ok := f.state.CommittedOffset("g", partitionOf(3, 0)); ok || partitionNames(f.state.Group("g").Member("b").Target) != "3/0" {
		t.Errorf("the topic that came after it: %+v", f.state.Group("g").Member("b"))
	}
}

func TestListGroups(t *testing.T) {
	f := newGroupFixture(t)
	for _, name := range []string{"b", "a", "ba", "c", "bb"} {
		f.join(name, "m", "rivers")
	}
	list := func(prefix, after string, limit int) string {
		var names []string
		for _, g := range f.state.Groups(prefix, after, limit) {
			names = append(names, g.Name)
		}
		return strings.Join(names, " ")
	}
	for _, test := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"", "", 9, "a b ba bb c"},
		{"", "", 2, "a b"},
		{"", "b", 2, "ba bb"},
		{"b", "", 9, "b ba bb"},
		{"b", "ba", 9, "bb"},
		{"b", "a", 9, "b ba bb"},
		{"b", "c", 9, ""},
		{"d", "", 9, ""},
		{"", "", 0, ""},
	} {
		if got := list(test.prefix, test.after, test.limit); got != test.want {
			t.Errorf("Groups(%q, %q, %d) are %q, want %q", test.prefix, test.after, test.limit, got, test.want)
		}
	}
	counts := f.state.Counts()
	if counts.Groups != 5 || counts.Members != 5 || counts.CommittedOffsets != 0 {
		t.Errorf("counts are %+v", counts)
	}
}

// Members with equal lists of topics share one, also after a snapshot.
func TestTopicListsAreShared(t *testing.T) {
	f := newGroupFixture(t)
	for i := range 4 {
		f.join("g", fmt.Sprint(i), slices.Clone([]string{"lakes", "rivers"})...)
	}
	f.join("g", "other", "rivers")
	for _, s := range []*State{f.state, decodeState(t, encodeState(t, f.state))} {
		if lists := subscriptionLists(s.Group("g").Members); len(lists) != 2 {
			t.Errorf("there are %d lists", len(lists))
		}
	}
}

func TestGroupsAllowed(t *testing.T) {
	f := newFixture(t)
	var level *FeatureLevelError
	if err := f.state.GroupsAllowed(); !errors.As(err, &level) || level.Needed != 3 || level.Level != 1 {
		t.Error(err)
	}
	f.accepted(RaiseLevel{Level: 3})
	if err := f.state.GroupsAllowed(); err != nil {
		t.Error(err)
	}
}
