package catalog

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestCreateTopic(t *testing.T) {
	other := DefaultTopicConfig()
	other.RetentionMs = 5
	invalidConfig := DefaultTopicConfig()
	invalidConfig.CompressionType = 200
	tooLong := DefaultTopicConfig()
	tooLong.MaxMessageBytes = MessageBytesMax + 1
	for name, test := range map[string]struct {
		edit    CreateTopic
		err     error
		created bool
		topic   TopicID
	}{
		"new":                  {edit: createTopic(2, "lakes", 1), created: true, topic: topicID(2)},
		"most partitions":      {edit: createTopic(2, "lakes", TopicPartitionsMax), created: true, topic: topicID(2)},
		"again":                {edit: createTopic(1, "rivers", 4), topic: topicID(1)},
		"again with other id":  {edit: createTopic(2, "rivers", 4), topic: topicID(1)},
		"other partitions":     {edit: createTopic(2, "rivers", 5), err: ErrTopicExists},
		"other settings":       {edit: CreateTopic{ID: topicID(2), Name: "rivers", Partitions: 4, Config: other}, err: ErrTopicExists},
		"no id":                {edit: CreateTopic{Name: "lakes", Partitions: 1, Config: other}, err: invalid(InvalidTopicID)},
		"id taken":             {edit: createTopic(1, "lakes", 4), err: invalid(InvalidTopicID)},
		"no name":              {edit: createTopic(2, "", 1), err: invalid(InvalidTopicName)},
		"long name":            {edit: createTopic(2, strings.Repeat("x", 250), 1), err: invalid(InvalidTopicName)},
		"no partitions":        {edit: createTopic(2, "lakes", 0), err: invalid(InvalidPartitionCount)},
		"negative partitions":  {edit: createTopic(2, "lakes", -1), err: invalid(InvalidPartitionCount)},
		"too many partitions":  {edit: createTopic(2, "lakes", TopicPartitionsMax+1), err: invalid(InvalidPartitionCount)},
		"unknown compression":  {edit: CreateTopic{ID: topicID(2), Name: "lakes", Partitions: 1, Config: invalidConfig}, err: invalid(InvalidConfig)},
		"too large message":    {edit: CreateTopic{ID: topicID(2), Name: "lakes", Partitions: 1, Config: tooLong}, err: invalid(InvalidConfig)},
		"settings left at nil": {edit: CreateTopic{ID: topicID(2), Name: "lakes", Partitions: 1}, err: invalid(InvalidConfig)},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			got := f.apply(test.edit)
			if want := (Result{Err: test.err, Created: test.created, Topic: test.topic}); !ResultsEqual(got, want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
			if _, isInvalid := test.err.(*InvalidError); isInvalid != errors.Is(got.Err, ErrInvalid) {
				t.Fatalf("%v: errors.Is(ErrInvalid) is %v", got.Err, !isInvalid)
			}
			if test.created {
				topic, ok := f.state.TopicByName(test.edit.Name)
				if !ok || *topic != (Topic{ID: test.edit.ID, Name: test.edit.Name, Partitions: test.edit.Partitions, Config: test.edit.Config}) {
					t.Fatalf("found %+v, %v", topic, ok)
				}
			}
		})
	}
}

func TestPartitionsOfAllTopicsAreBounded(t *testing.T) {
	f := newFixture(t) // has 4
	f.state.capacity.partitions, f.replica.capacity.partitions = 6, 6
	if err := f.apply(createTopic(2, "lakes", 3)).Err; err != ErrCatalogFull {
		t.Fatal(err)
	}
	f.accepted(createTopic(2, "lakes", 2))
	if err := f.apply(AlterTopic{ID: topicID(1), Partitions: 5, Config: DefaultTopicConfig()}).Err; err != ErrCatalogFull {
		t.Fatal(err)
	}
	// Settings may still be changed, and there is room after a deletion.
	f.accepted(AlterTopic{ID: topicID(1), Config: DefaultTopicConfig()})
	f.accepted(DeleteTopic{ID: topicID(2)})
	f.accepted(AlterTopic{ID: topicID(1), Partitions: 6, Config: DefaultTopicConfig()})
}

func TestAlterTopic(t *testing.T) {
	config := DefaultTopicConfig()
	config.RetentionBytes = 1 << 30
	bad := config
	bad.RetentionMs = -2
	for name, test := range map[string]struct {
		edit       AlterTopic
		err        error
		partitions int32
	}{
		"settings alone":      {edit: AlterTopic{ID: topicID(1), Config: config}, partitions: 4},
		"same partitions":     {edit: AlterTopic{ID: topicID(1), Partitions: 4, Config: config}, partitions: 4},
		"more partitions":     {edit: AlterTopic{ID: topicID(1), Partitions: 7, Config: config}, partitions: 7},
		"fewer partitions":    {edit: AlterTopic{ID: topicID(1), Partitions: 3, Config: config}, err: ErrPartitionsShrink},
		"negative partitions": {edit: AlterTopic{ID: topicID(1), Partitions: -4, Config: config}, err: invalid(InvalidPartitionCount)},
		"too many partitions": {edit: AlterTopic{ID: topicID(1), Partitions: TopicPartitionsMax + 1, Config: config}, err: invalid(InvalidPartitionCount)},
		"bad settings":        {edit: AlterTopic{ID: topicID(1), Config: bad}, err: invalid(InvalidConfig)},
		"unknown topic":       {edit: AlterTopic{ID: topicID(9), Config: config}, err: ErrTopicNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.landed(records(3, 5))
			if got := f.apply(test.edit); !ResultsEqual(got, Result{Err: test.err}) {
				t.Fatalf("got %+v, want %v", got, test.err)
			}
			if test.err != nil {
				return
			}
			topic, _ := f.state.TopicByName("rivers")
			if topic.Partitions != test.partitions || topic.Config != config {
				t.Fatalf("topic is %+v", topic)
			}
			if p := f.state.Partition(partitionOf(1, int(test.partitions-1))); p == nil {
				t.Fatal("last partition is missing")
			}
			if end := f.state.Partition(partitionOf(1, 3)).End(); end != 5 {
				t.Fatalf("an old partition ends at %d", end)
			}
		})
	}
}

func TestDeleteTopicFreesItsObjects(t *testing.T) {
	f := newFixture(t)
	f.accepted(createTopic(2, "lakes", 1))
	elsewhere := records(0, 1)
	elsewhere.Partition = partitionOf(2, 0)
	f.landed(records(0, 3), records(1, 3)) // object 1: rivers alone
	f.landed(records(0, 3), elsewhere)     // object 2: both
	producer := f.producer()
	f.landed(records(2, 1).by(producer, 0, 0)) // object 3: rivers alone
	f.advance(2_000_000)
	f.accepted(DeleteTopic{ID: topicID(1)})

	if err := f.apply(DeleteTopic{ID: topicID(1)}).Err; err != ErrTopicNotFound {
		t.Fatal(err)
	}
	if f.state.Partition(partitionOf(1, 0)) != nil {
		t.Fatal("a partition of the topic is still there")
	}
	for object, live := range map[int]int64{1: 0, 2: 1, 3: 0} {
		got, isLive := f.state.Object(objectID(object))
		freed, isGarbage := f.state.GarbageObject(objectID(object))
		if got.Extents != live || isLive != (live > 0) || isGarbage == isLive || isGarbage && freed.FreedAt != 2_000_000 {
			t.Errorf("object %d: %d live extents, garbage %v %+v", object, got.Extents, isGarbage, freed)
		}
	}
	want := Counts{Topics: 1, Partitions: 1, Nodes: 1, Objects: 1, Garbage: 2, Producers: 1, Extents: 1}
	if got := f.state.Counts(); got != want {
		t.Fatalf("counts are %+v, want %+v", got, want)
	}
	// Under its old name a topic starts anew.
	f.accepted(createTopic(3, "rivers", 4))
	if p := f.state.Partition(partitionOf(3, 0)); p.End() != 0 {
		t.Fatalf("a new topic's partition ends at %d", p.End())
	}
}

func TestTrim(t *testing.T) {
	for name, test := range map[string]struct {
		before   Offset
		logStart Offset
		extents  int
		bytes    int64
	}{
		"nothing":                {before: 0, logStart: 0, extents: 3, bytes: 3000},
		"negative":               {before: -5, logStart: 0, extents: 3, bytes: 3000},
		"within the first":       {before: 9, logStart: 9, extents: 3, bytes: 3000},
		"the first exactly":      {before: 10, logStart: 10, extents: 2, bytes: 2000},
		"into the second":        {before: 11, logStart: 11, extents: 2, bytes: 2000},
		"within the last":        {before: 29, logStart: 29, extents: 1, bytes: 1000},
		"all":                    {before: 30, logStart: 30, extents: 0, bytes: 0},
		"beyond the end":         {before: 31, logStart: 30, extents: 0, bytes: 0},
		"far beyond the end":     {before: 1 << 62, logStart: 30, extents: 0, bytes: 0},
		"lower than before that": {before: 0, logStart: 0, extents: 3, bytes: 3000},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			for range 3 {
				f.landed(records(0, 10))
			}
			got := f.accepted(Trim{Partition: partitionOf(1, 0), Before: test.before})
			p := f.state.Partition(partitionOf(1, 0))
			if got.LogStart != test.logStart || p.LogStart() != test.logStart || p.End() != 30 {
				t.Fatalf("result %d, partition [%d, %d)", got.LogStart, p.LogStart(), p.End())
			}
			if p.ExtentCount() != test.extents || p.Bytes() != test.bytes {
				t.Fatalf("%d extents of %d bytes are left", p.ExtentCount(), p.Bytes())
			}
			for object := 1; object <= 3; object++ {
				_, live := f.state.Object(objectID(object))
				_, garbage := f.state.GarbageObject(objectID(object))
				if want := object > 3-test.extents; live != want || garbage == want {
					t.Errorf("object %d: live %v, garbage %v", object, live, garbage)
				}
			}
			// Lower changes nothing; offsets are not used again.
			if again := f.accepted(Trim{Partition: partitionOf(1, 0), Before: 0}); again.LogStart != test.logStart {
				t.Fatalf("log start went back to %d", again.LogStart)
			}
			if base := f.landed(records(0, 1))[0].Base; base != 30 {
				t.Fatalf("the next record got %d", base)
			}
		})
	}
}

func TestTrimOfNothing(t *testing.T) {
	f := newFixture(t)
	if err := f.apply(Trim{Partition: partitionOf(1, 4)}).Err; err != ErrPartitionNotFound {
		t.Error(err)
	}
	if err := f.apply(Trim{Partition: partitionOf(1, -1)}).Err; err != ErrPartitionNotFound {
		t.Error(err)
	}
	if err := f.apply(Trim{Partition: partitionOf(2, 0)}).Err; err != ErrTopicNotFound {
		t.Error(err)
	}
	if got := f.accepted(Trim{Partition: partitionOf(1, 0), Before: 10}); got.LogStart != 0 {
		t.Errorf("an empty partition starts at %d", got.LogStart)
	}
}

func TestTopicsAreListedByName(t *testing.T) {
	f := newFixture(t)
	for i, name := range []string{"a", "a.1", "a.2", "a.3", "aa", "b", "zebra"} {
		f.accepted(createTopic(10+i, name, 1))
	}
	for _, test := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "", 100, []string{"a", "a.1", "a.2", "a.3", "aa", "b", "rivers", "zebra"}},
		{"", "", 2, []string{"a", "a.1"}},
		{"", "", 0, nil},
		{"", "a.1", 2, []string{"a.2", "a.3"}},
		{"", "a.15", 2, []string{"a.2", "a.3"}},
		{"a.", "", 100, []string{"a.1", "a.2", "a.3"}},
		{"a.", "a.1", 100, []string{"a.2", "a.3"}},
		{"a.", "a", 100, []string{"a.1", "a.2", "a.3"}},
		{"a.", "b", 100, nil},
		{"a", "a.3", 100, []string{"aa"}},
		{"zebras", "", 100, nil},
		{"zz", "", 100, nil},
	} {
		var got []string
		for _, topic := range f.state.Topics(test.prefix, test.after, test.limit) {
			got = append(got, topic.Name)
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("Topics(%q, %q, %d) = %q, want %q", test.prefix, test.after, test.limit, got, test.want)
		}
	}
}

func TestNodes(t *testing.T) {
	f := newFixture(t)
	f.accepted(RegisterNode{Node: nodeID(2), HasWAL: true})
	f.landed(records(0, 1))
	// Again is no error, and does not reset the number.
	f.accepted(RegisterNode{Node: nodeID(1)})
	if n, ok := f.state.Node(nodeID(1)); !ok || n.Last != 1 {
		t.Fatalf("node 1: %+v, %v", n, ok)
	}
	if n, ok := f.state.Node(nodeID(2)); !ok || n != (Node{HasWAL: true, ActiveAt: 1_000_000}) {
		t.Fatalf("node 2: %+v, %v", n, ok)
	}
	f.accepted(RemoveNode{Node: nodeID(1)})
	f.accepted(RemoveNode{Node: nodeID(1)})
	if _, ok := f.state.Node(nodeID(1)); ok {
		t.Fatal("node 1 is still known")
	}
	f.state.capacity.nodes, f.replica.capacity.nodes = 2, 2
	f.accepted(RegisterNode{Node: nodeID(3)})
	if err := f.apply(RegisterNode{Node: nodeID(4)}).Err; err != ErrCatalogFull {
		t.Fatal(err)
	}
	f.accepted(RegisterNode{Node: nodeID(3)})
}

func TestAdvanceNeverGoesBack(t *testing.T) {
	s := NewState([16]byte{7})
	for _, step := range []struct{ to, want int64 }{{-1, 0}, {10, 10}, {5, 10}, {11, 11}} {
		if s.Advance(step.to); s.Time() != step.want {
			t.Errorf("after Advance(%d) it is %d", step.to, s.Time())
		}
	}
	if s.ClusterID() != [16]byte{7} || s.Level() != 1 {
		t.Error(s.ClusterID(), s.Level())
	}
}

func ExampleTopicPartition_String() {
	fmt.Println(TopicPartition{Topic: topicID(1), Partition: 3})
	// Output: 70000000-0000-0000-0000-000000000001/3
}

// Ids of nodes without a write-ahead buffer expire, unless they register or
// commit; those that have one never do, since it may be replayed at any time,
// until it was.
func TestNodesExpire(t *testing.T) {
	f := newFixture(t) // node 1 has no buffer
	f.accepted(RegisterNode{Node: nodeID(2), HasWAL: true})
	f.accepted(RegisterNode{Node: nodeID(3)})
	f.accepted(RegisterNode{Node: nodeID(4)})
	f.advance(1_000_000 + NodeExpiryMs)
	if f.accepted(Expire{}); f.state.Counts().Nodes != 4 {
		t.Fatalf("%d nodes after exactly the time of expiry", f.state.Counts().Nodes)
	}
	f.landed(records(0, 1))               // node 1 commits
	f.accepted(KeepNode{Node: nodeID(3)}) // node 3 is idle
	if r := f.apply(KeepNode{Node: nodeID(9)}); r.Err != ErrUnknownNode {
		t.Errorf("an id that is not there was kept: %v", r.Err)
	}
	f.advance(1_000_001 + NodeExpiryMs)
	f.accepted(Expire{})
	for n, want := range map[int]bool{1: true, 2: true, 3: true, 4: false} {
		if _, ok := f.state.Node(nodeID(n)); ok != want {
			t.Errorf("node %d is known: %v", n, ok)
		}
	}
	f.accepted(KeepNode{Node: nodeID(2), HasWAL: false})
	f.state.capacity.expirySteps, f.replica.capacity.expirySteps = 1, 1
	f.advance(3_000_000 + 2*NodeExpiryMs)
	if r := f.accepted(Expire{}); !r.More || f.state.Counts().Nodes != 2 {
		t.Errorf("a bounded sweep left %d nodes, more: %v", f.state.Counts().Nodes, r.More)
	}
	if r := f.accepted(Expire{}); !r.More || f.state.Counts().Nodes != 1 {
		t.Errorf("the second sweep left %d nodes, more: %v", f.state.Counts().Nodes, r.More)
	}
	if r := f.accepted(Expire{}); r.More || f.state.Counts().Nodes != 0 {
		t.Errorf("the last sweep left %d nodes, more: %v", f.state.Counts().Nodes, r.More)
	}
}
