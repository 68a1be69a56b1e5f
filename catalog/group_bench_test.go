package catalog

import (
	"fmt"
	"runtime"
	"testing"
)

// benchGroup returns a catalog with a group whose members share 10,000
// partitions, all of them where they are to be.
func benchGroup(b *testing.B, members, topics int, strategy Strategy) (*State, JoinGroup) {
	s := NewState([16]byte{1})
	Apply(s, RaiseLevel{Level: levelOfGroups})
	join := JoinGroup{Group: "g", Strategy: strategy, SessionTimeoutMs: 10_000}
	for i := range topics {
		name := fmt.Sprintf("topic-%03d", i)
		Apply(s, CreateTopic{ID: TopicID{1, byte(i)}, Name: name, Partitions: int32(10_000 / topics), Config: DefaultTopicConfig()})
		join.Topics = append(join.Topics, name)
	}
	for i := range members {
		join.Member = fmt.Sprintf("member-%05d", i)
		if r := Apply(s, join); r.Err != nil {
			b.Fatal(r.Err)
		}
	}
	if members > 0 {
		benchSync(b, s, "g")
	}
	return s, join
}

// benchSync lets all members acknowledge, until the group is stable.
func benchSync(b *testing.B, s *State, group string) {
	for !s.Group(group).Stable() {
		for _, m := range s.Group(group).Members {
			if m = s.Group(group).Member(m.ID); m.Synced == m.Epoch {
				continue
			}
			if r := Apply(s, SyncMember{Group: group, Member: m.ID, Epoch: m.Epoch}); r.Err != nil {
				b.Fatal(r.Err)
			}
		}
	}
}

// BenchmarkGroup is one edit on a group of many members with 10,000 partitions.
// The slowest of them bounds how long a replica stands still for it.
func BenchmarkGroup(b *testing.B) {
	for _, size := range []struct{ members, topics int }{{10, 1}, {999, 1}, {999, 100}} {
		for _, strategy := range []Strategy{RangeStrategy, CooperativeSticky} {
			s, join := benchGroup(b, size.members, size.topics, strategy)
			name := fmt.Sprintf("%s/members=%d/topics=%d/", strategy, size.members, size.topics)
			edit := func(of string, e Edit) {
				b.Run(name+of, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if r := Apply(s.Clone(), e); r.Err != nil {
							b.Fatal(r.Err)
						}
					}
				})
			}
			join.Member = "member-x"
			edit("join", join)
			edit("remove", RemoveMember{Group: "g", Member: "member-00001"})
			edit("grow", AlterTopic{ID: TopicID{1, 0}, Partitions: int32(10_000/size.topics) + 1, Config: DefaultTopicConfig()})
			joined := s.Clone()
			Apply(joined, join)
			for _, m := range joined.Group("g").Members {
				if m.Synced != m.Epoch {
					s = joined
					edit("sync", SyncMember{Group: "g", Member: m.ID, Epoch: m.Epoch})
					break
				}
			}
			b.Run(name+"check", func(b *testing.B) {
				for b.Loop() {
					if err := joined.checkTouchedGroup("g"); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkStickyFromNothing divides 10,000 partitions among 1,000 members at once.
func BenchmarkStickyFromNothing(b *testing.B) {
	for _, topics := range []int{1, 100} {
		b.Run(fmt.Sprint("topics=", topics), func(b *testing.B) {
			s, _ := benchGroup(b, 0, topics, CooperativeSticky)
			var members []*Member
			var names []string
			for i := range topics {
				names = append(names, fmt.Sprintf("topic-%03d", i))
			}
			for i := range 1000 {
				members = append(members, &Member{ID: fmt.Sprintf("member-%05d", i), Topics: names})
			}
			for b.Loop() {
				divided, _ := s.subscribed(members)
				CooperativeSticky.assign(divided, members)
			}
		})
	}
}

// BenchmarkStickyUneven is subscriptions that need more moves than one edit makes:
// neighbours share a topic, and the last one has most of the partitions.
func BenchmarkStickyUneven(b *testing.B) {
	s := NewState([16]byte{1})
	var members []*Member
	const n = 499
	for i := range n + 1 {
		partitions := int32(1)
		if i == n {
			partitions = TopicPartitionsMax
		}
		s.setTopic(&Topic{ID: TopicID{1, byte(i >> 8), byte(i)}, Name: fmt.Sprintf("t%03d", i), Partitions: partitions})
	}
	for i := range n {
		members = append(members, &Member{ID: fmt.Sprintf("m%03d", i), Topics: []string{fmt.Sprintf("t%03d", i), fmt.Sprintf("t%03d", i+1)}})
	}
	for b.Loop() {
		topics, _ := s.subscribed(members)
		CooperativeSticky.assign(topics, members)
	}
}

// BenchmarkCommitOffsets commits in so many partitions, as a member does, with a
// view published after each commit.
func BenchmarkCommitOffsets(b *testing.B) {
	for _, n := range []int{1, 100, CommitOffsetsMax} {
		b.Run(fmt.Sprint("offsets=", n), func(b *testing.B) {
			s, join := benchGroup(b, 1, 1, CooperativeSticky)
			e := CommitOffsets{Group: "g", Member: join.Member, Epoch: s.Group("g").Epoch}
			for i := range n {
				e.Offsets = append(e.Offsets, GroupOffset{Partition: TopicPartition{Topic: TopicID{1}, Partition: int32(i)}})
			}
			b.ReportAllocs()
			for b.Loop() {
				if r := Apply(s, e); r.Err != nil {
					b.Fatal(r.Err)
				}
				e.After++
				s = s.Clone()
			}
		})
	}
}

// heapOf is how many bytes what make returns takes.
func heapOf(make func() any) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	made := make()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(made)
	return float64(after.HeapAlloc) - float64(before.HeapAlloc)
}

// BenchmarkGroupMemory is what a committed offset and a member take. The members
// have a group each, of three topics and twelve partitions.
func BenchmarkGroupMemory(b *testing.B) {
	const offsets, members = 500_000, 20_000
	for b.Loop() {
		b.ReportMetric(heapOf(func() any {
			t := newOffsetTable()
			for i := range offsets {
				t.set("a-group", TopicPartition{Topic: topicID(1 + i%50), Partition: int32(i / 50)}, CommittedOffset{Offset: Offset(i), Time: 1})
			}
			return t
		})/offsets, "bytes/offset")
		b.ReportMetric(heapOf(func() any {
			s := NewState([16]byte{1})
			Apply(s, RaiseLevel{Level: levelOfGroups})
			for i := range 3 {
				Apply(s, createTopic(1+i, fmt.Sprint("topic-", i), 4))
			}
			for i := range members {
				r := Apply(s, JoinGroup{
					Group: fmt.Sprint("group-", i), Member: fmt.Sprintf("%036d", i), SessionTimeoutMs: 10_000,
					Topics: []string{"topic-0", "topic-1", "topic-2"},
				})
				if r.Err != nil {
					b.Fatal(r.Err)
				}
			}
			return s
		})/members, "bytes/member")
	}
}
