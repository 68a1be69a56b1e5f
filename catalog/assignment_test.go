package catalog

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// division is members and topics to divide among them.
type division struct {
	strategy Strategy
	topics   []*Topic
	members  []*Member
}

// divide gives the members their targets, as if all had acknowledged them, and
// checks that each partition has one owner, who subscribes to it.
func (d *division) divide(t *rapid.T) {
	s := NewState([16]byte{1})
	owed := map[TopicPartition]string{}
	for _, topic := range d.topics {
		s.setTopic(topic)
		for p := range topic.Partitions {
			owed[TopicPartition{Topic: topic.ID, Partition: p}] = topic.Name
		}
	}
	topics, _ := s.subscribed(d.members)
	targets := d.strategy.assign(topics, d.members)
	if again := d.strategy.assign(topics, d.members); !reflect.DeepEqual(targets, again) {
		t.Fatalf("two outcomes of one division: %v and %v", targets, again)
	}
	members := make([]*Member, len(d.members))
	subscribed := map[string]bool{}
	for i, m := range d.members {
		for _, name := range m.Topics {
			subscribed[name] = true
		}
		if !slices.IsSortedFunc(targets[i], TopicPartition.compare) {
			t.Fatalf("member %s gets %v, which is not in order", m.ID, targets[i])
		}
		for _, tp := range targets[i] {
			if name, is := owed[tp]; !is || !slices.Contains(m.Topics, name) {
				t.Fatalf("member %s gets %s, which is not there, another's, or no topic of it", m.ID, tp)
			}
			delete(owed, tp)
		}
		members[i] = &Member{ID: m.ID, Topics: m.Topics, Target: targets[i], Held: targets[i]}
	}
	for tp, name := range owed {
		if subscribed[name] {
			t.Fatalf("nobody gets %s", tp)
		}
	}
	d.members = members
}

// moved counts the partitions that members who are still there had to give to others.
func moved(before, after []*Member) (n int) {
	for _, was := range before {
		for _, is := range after {
			if is.ID == was.ID {
				n += len(appendMissing(nil, was.Target, is.Target))
			}
		}
	}
	return n
}

func drawTopics(t *rapid.T, most int) []*Topic {
	var topics []*Topic
	for i := range rapid.IntRange(1, most).Draw(t, "topics") {
		// By id they are in another order than by name.
		topics = append(topics, &Topic{ID: topicID(99 - i), Name: fmt.Sprintf("t%d", i), Partitions: rapid.Int32Range(1, 12).Draw(t, "partitions")})
	}
	return topics
}

func names(topics []*Topic) []string {
	var all []string
	for _, topic := range topics {
		all = append(all, topic.Name)
	}
	return all
}

// change lets a member or a topic come or go, or a topic grow.
func (d *division) change(t *rapid.T, subscribe func() []string) {
	switch rapid.IntRange(0, 5).Draw(t, "change") {
	case 0, 1:
		id := fmt.Sprintf("m%d", rapid.IntRange(0, 20).Draw(t, "member"))
		at, there := slices.BinarySearchFunc(d.members, id, func(m *Member, id string) int {
			return slices.Compare([]string{m.ID}, []string{id})
		})
		if !there {
			d.members = slices.Insert(d.members, at, &Member{ID: id, Topics: subscribe()})
		}
	case 2, 3:
		if len(d.members) > 1 {
			at := rapid.IntRange(0, len(d.members)-1).Draw(t, "who leaves")
			d.members = slices.Delete(slices.Clone(d.members), at, at+1)
		}
	case 4:
		at := rapid.IntRange(0, len(d.topics)-1).Draw(t, "topic that grows")
		grown := *d.topics[at]
		grown.Partitions += rapid.Int32Range(1, 5).Draw(t, "by")
		d.topics[at] = &grown
	default:
		// One goes, and another of its name comes.
		at := rapid.IntRange(0, len(d.topics)-1).Draw(t, "topic that goes")
		fresh := *d.topics[at]
		fresh.ID[0]++
		fresh.Partitions = rapid.Int32Range(1, 12).Draw(t, "partitions")
		d.topics[at] = &fresh
	}
}

// fewestMoves is how many of the partitions that members kept must move so that
// no two numbers differ by more than one: those who have most get the larger
// shares. This is the bound that sticky keeps to.
func fewestMoves(kept []int, partitions int) (n int) {
	slices.Sort(kept)
	slices.Reverse(kept)
	share, larger := partitions/len(kept), partitions%len(kept)
	for i, load := range kept {
		quota := share
		if i < larger {
			quota++
		}
		n += max(0, load-quota)
	}
	return n
}

// If all subscribe to the same, sticky keeps the numbers within one of each other
// and moves no partition that it need not.
func TestStickyIsEvenAndLazy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := division{strategy: CooperativeSticky, topics: drawTopics(t, 4)}
		all := names(d.topics)
		subscribe := func() []string { return all }
		d.members = []*Member{{ID: "m1", Topics: all}}
		d.divide(t)
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			before := d.members
			d.change(t, subscribe)
			partitions, there := 0, map[TopicID]bool{}
			for _, topic := range d.topics {
				partitions += int(topic.Partitions)
				there[topic.ID] = true
			}
			var kept []int
			existing := slices.Clone(before)
			for i, m := range before { // what went with its topic has not moved
				is := *m
				is.Target = slices.DeleteFunc(slices.Clone(m.Target), func(tp TopicPartition) bool { return !there[tp.Topic] })
				existing[i] = &is
			}
			for _, m := range d.members {
				n := 0
				for _, was := range existing {
					if was.ID == m.ID {
						n = len(was.Target)
					}
				}
				kept = append(kept, n)
			}
			d.divide(t)
			least, most := partitions, 0
			for _, m := range d.members {
				least, most = min(least, len(m.Target)), max(most, len(m.Target))
			}
			if most-least > 1 {
				t.Fatalf("from %d to %d partitions each", least, most)
			}
			if n, needed := moved(existing, d.members), fewestMoves(kept, partitions); n != needed {
				t.Fatalf("%d partitions moved, %d had to", n, needed)
			}
		}
	})
}

// Whatever members subscribe to, sticky ends where no single move makes two of
// them more even.
func TestStickyWithUnequalSubscriptions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := division{strategy: CooperativeSticky, topics: drawTopics(t, 5)}
		all := names(d.topics)
		subscribe := func() []string {
			some := slices.DeleteFunc(slices.Clone(all), func(string) bool { return rapid.Bool().Draw(t, "not") })
			return append(some, "zz-not-there")
		}
		for range rapid.IntRange(1, 15).Draw(t, "changes") {
			d.change(t, subscribe)
			if len(d.members) == 0 {
				continue
			}
			d.divide(t)
			for _, giver := range d.members {
				for _, tp := range giver.Target {
					for _, taker := range d.members {
						name := d.topics[slices.IndexFunc(d.topics, func(x *Topic) bool { return x.ID == tp.Topic })].Name
						if slices.Contains(taker.Topics, name) && len(giver.Target)-len(taker.Target) > 1 {
							t.Fatalf("%s would help member %s (%d) instead of %s (%d)", tp, taker.ID, len(taker.Target), giver.ID, len(giver.Target))
						}
					}
				}
			}
		}
	})
}

// Range is what Kafka's RangeAssignor gives: of each topic, the i-th of k
// subscribers, in the order of their ids, has the partitions from n/k*i +
// min(i, n%k) on, n/k of them, and one more if i < n%k.
func TestRangeIsKafkas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := division{strategy: RangeStrategy, topics: drawTopics(t, 3)}
		all := names(d.topics)
		for i := range rapid.IntRange(1, 6).Draw(t, "members") {
			m := &Member{ID: fmt.Sprintf("m%d", i)}
			for _, name := range all {
				if rapid.IntRange(0, 3).Draw(t, "subscribes") > 0 {
					m.Topics = append(m.Topics, name)
				}
			}
			m.Topics = append(m.Topics, "zz-not-there")
			d.members = append(d.members, m)
		}
		d.divide(t)
		for _, topic := range d.topics {
			var subscribers []*Member
			for _, m := range d.members {
				if slices.Contains(m.Topics, topic.Name) {
					subscribers = append(subscribers, m)
				}
			}
			for i, m := range subscribers {
				n, k := int(topic.Partitions), len(subscribers)
				start, length := n/k*i+min(i, n%k), n/k
				if i+1 <= n%k {
					length++
				}
				var got []int
				for _, tp := range m.Target {
					if tp.Topic == topic.ID {
						got = append(got, int(tp.Partition))
					}
				}
				var want []int
				for p := start; p < start+length; p++ {
					want = append(want, p)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("member %d of %d has %v of %d partitions, want %v", i, k, got, n, want)
				}
			}
		}
	})
}

// Subscriptions chosen to need very many moves do not take very long: past
// their bound the division stands as it is, and the next one goes on.
func TestStickyStepsAreBounded(t *testing.T) {
	s := NewState([16]byte{1})
	var members []*Member
	const n = 40
	for i := range n { // a chain: neighbours share a topic
		topic := &Topic{ID: TopicID{1, byte(i)}, Name: fmt.Sprintf("t%03d", i), Partitions: 50}
		s.setTopic(topic)
		members = append(members, &Member{ID: fmt.Sprintf("m%03d", i), Topics: []string{topic.Name, fmt.Sprintf("t%03d", i+1)}})
	}
	big := &Topic{ID: TopicID{1, n}, Name: fmt.Sprintf("t%03d", n), Partitions: 2000}
	s.setTopic(big)
	topics, _ := s.subscribed(members)
	rest := func(steps int) int {
		b := newBalance(topics, members)
		b.place()
		b.even(steps)
		for i, target := range b.targets() {
			members[i].Target = target
		}
		return b.moves(t)
	}
	if rest(100) == 0 {
		t.Fatal("100 steps were enough")
	}
	for rounds := 0; rest(10_000) > 0; rounds++ {
		if rounds > 10_000 {
			t.Fatal("it does not come to an end")
		}
	}
}

// moves counts the topics in which a move would help.
func (b *balance) moves(t *testing.T) (n int) {
	for i, owners := range b.owners {
		if slices.Contains(owners, nobody) {
			t.Fatal("a partition has no owner")
		}
		least, most := nobody, 0
		for _, m := range b.topics[i].members {
			if least == nobody || b.load[m] < least {
				least = b.load[m]
			}
			if slices.Contains(owners, m) {
				most = max(most, b.load[m])
			}
		}
		if most-least > 1 {
			n++
		}
	}
	return n
}

// TestGroupProtocol lets cooperating members come, go, crash and acknowledge at
// random while topics come, go and grow. At any time a partition has at most one
// reader, even if members read until the moment at which they hear of a newer
// epoch, and once all have heard, the group is stable. Red under mutant.SkipLetGo.
func TestGroupProtocol(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewState([16]byte{1})
		Apply(s, RaiseLevel{Level: levelOfGroups})
		Apply(s, createTopic(1, "a", 3))
		topics := 1
		apply := func(e Edit) Result {
			before := s.Clone()
			r := Apply(s, e)
			if err := CheckStep(before, s, e); err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
			return r
		}
		// What each process believes: its epoch, and what it reads.
		type process struct {
			epoch int64
			reads []TopicPartition
		}
		processes := map[string]*process{}
		alive := func() []string {
			var ids []string
			for id := range processes {
				ids = append(ids, id)
			}
			slices.Sort(ids)
			return ids
		}
		oneReader := func() {
			reader := map[TopicPartition]string{}
			for _, id := range alive() {
				for _, tp := range processes[id].reads {
					if other, taken := reader[tp]; taken && s.Partition(tp) != nil {
						t.Fatalf("%s is read by %s and %s", tp, other, id)
					}
					reader[tp] = id
				}
			}
		}
		// joins is a join of which the process hears: it reads what it has at once,
		// unless there is something to acknowledge.
		joins := func(id string, subscribe []string) {
			r := apply(JoinGroup{Group: "g", Member: id, Topics: subscribe, SessionTimeoutMs: 10_000})
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			p := &process{epoch: r.Epoch}
			if m := s.Group("g").Member(id); m.Synced == m.Epoch {
				p.reads = m.Held
			}
			processes[id] = p
		}
		// hears is a poll: a process learns of its newest epoch, and if that is
		// another, lets go, acknowledges, and reads what it is assigned. One that is
		// fenced joins again.
		hears := func(id string) {
			p := processes[id]
			m := s.Group("g").Member(id)
			if p.epoch < m.Joined {
				joins(id, m.Topics)
				p, m = processes[id], s.Group("g").Member(id)
			}
			if m.Epoch == p.epoch && m.Synced == m.Epoch {
				return
			}
			if r := apply(SyncMember{Group: "g", Member: id, Epoch: m.Epoch}); r.Err != nil {
				t.Fatalf("%s cannot acknowledge: %v", id, r.Err)
			}
			m = s.Group("g").Member(id)
			p.epoch, p.reads = m.Synced, m.Held
		}
		join := func(t *rapid.T) {
			id := drawMember(t)
			subscribe := rapid.SampledFrom([][]string{{"a"}, {"a", "b"}, {"b"}, {"a", "b", "c"}}).Draw(t, "topics")
			joins(id, subscribe)
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": join,
			"late join": func(t *rapid.T) { // of which the process does not hear
				if ids := alive(); len(ids) > 0 {
					id := rapid.SampledFrom(ids).Draw(t, "who")
					apply(JoinGroup{Group: "g", Member: id, Topics: s.Group("g").Member(id).Topics, SessionTimeoutMs: 10_000})
				}
			},
			"leave": func(t *rapid.T) {
				if ids := alive(); len(ids) > 0 {
					id := rapid.SampledFrom(ids).Draw(t, "who")
					apply(RemoveMember{Group: "g", Member: id})
					delete(processes, id)
				}
			},
			"hear": func(t *rapid.T) {
				if ids := alive(); len(ids) > 0 {
					hears(rapid.SampledFrom(ids).Draw(t, "who"))
				}
			},
			"topic": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
				topic, there := s.TopicByName(name)
				switch {
				case !there:
					topics++
					apply(createTopic(topics, name, rapid.Int32Range(1, 5).Draw(t, "partitions")))
				case rapid.Bool().Draw(t, "delete"):
					apply(DeleteTopic{ID: topic.ID})
				default:
					apply(AlterTopic{ID: topic.ID, Partitions: topic.Partitions + 2, Config: topic.Config})
				}
			},
			"settle": func(t *rapid.T) {
				// Two rounds: in the first all let go, in the second all take.
				for range 2 {
					ids := alive()
					rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0)).Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
					for _, id := range ids {
						hears(id)
						oneReader()
					}
				}
				if g := s.Group("g"); g != nil && !g.Stable() {
					t.Fatalf("two rounds did not settle %+v", g.Members)
				}
			},
			"": func(t *rapid.T) {
				oneReader()
				if err := CheckAll(s); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}
