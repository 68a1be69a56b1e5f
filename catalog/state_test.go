package catalog

import (
	"bytes"
	"runtime"
	"sync"
	"testing"
)

// Clones stay as they are while the state they were taken from, and clones of
// them, go on; readers and encoders run beside. The race detector watches.
func TestClonesAreImmutableViews(t *testing.T) {
	f := newFixture(t)
	id := f.producer()
	for i := range 300 {
		f.state.Advance(int64(2_000_000 + i))
		if r := Apply(f.state, f.nextCommit(unit(records(0, 1), records(i%4, 2).by(id, int16(i), 0)))); r.Err != nil || r.Units[0].Err != nil {
			t.Fatalf("%+v", r)
		}
	}
	view := f.state.Clone()
	want := encodeState(t, view)

	var group sync.WaitGroup
	work := func(s *State, firstObject int) { // the owner of s
		mine := &fixture{tb: t, state: s, objects: firstObject}
		for i := range 200 {
			if r := Apply(s, mine.nextCommit(unit(records(i%4, 1), records(0, 1).at(7000)))); r.Err != nil {
				t.Error(r.Err)
			}
			if i%10 == 0 {
				Apply(s, Trim{Partition: partitionOf(1, i%4), Before: Offset(i * 2)})
				Apply(s, AllocateProducerID{})
			}
			if i%50 == 0 {
				published := s.Clone()
				group.Go(func() { checkView(t, published) })
			}
		}
		Apply(s, DeleteTopic{ID: topicID(1)})
	}
	group.Go(func() { work(f.state, 10_000) })
	for i := range 3 { // siblings, made by other goroutines from the view
		group.Go(func() { work(view.Clone(), 20_000+10_000*i) })
	}
	for range 3 {
		group.Go(func() {
			for range 5 {
				if !bytes.Equal(encodeState(t, view), want) {
					t.Error("the view changed")
				}
				checkView(t, view)
			}
		})
	}
	group.Wait()
	if !bytes.Equal(encodeState(t, view), want) {
		t.Error("the view changed")
	}
}

// checkView reads a view in every way.
func checkView(t *testing.T, s *State) {
	if err := CheckAll(s); err != nil {
		t.Error(err)
	}
	p := s.Partition(partitionOf(1, 0))
	for _, e := range p.Extents(p.LogStart(), 1000) {
		if _, ok := s.Object(e.Object); !ok {
			t.Errorf("object %s is missing", e.Object)
		}
	}
	p.ExtentAtTime(1000)
	s.Topics("", "", 10)
	s.Counts()
	s.Node(nodeID(1))
}

// Edits applied to a clone that is thrown away leave nothing behind for those
// applied after them to the original.
func TestSpeculationIsThrownAway(t *testing.T) {
	f, plain := newFixture(t), newFixture(t)
	for i := range 150 {
		speculative := f.state.Clone()
		thrown := &fixture{tb: t, state: speculative, objects: 1000 + i}
		thrown.state.Advance(int64(3_000_000 + i))
		Apply(speculative, thrown.nextCommit(unit(records(0, 9), records(1, 9))))
		Apply(speculative, Trim{Partition: partitionOf(1, 0), Before: Offset(i)})
		Apply(speculative, createTopic(5, "lakes", 2))
		Apply(speculative, AllocateProducerID{})

		f.landed(records(0, 1), records(1, 2))
		plain.landed(records(0, 1), records(1, 2))
	}
	if !bytes.Equal(encodeState(t, f.state), encodeState(t, plain.state)) {
		t.Fatal("thrown away edits left a trace")
	}
}

// A catalog of 1 M partitions must fit: at most 300 bytes for an idle one.
func TestMemoryOfIdlePartitions(t *testing.T) {
	const partitions = 100_000
	build := func() *State {
		s := NewState([16]byte{1})
		Apply(s, RegisterNode{Node: nodeID(1)})
		for i := range partitions / TopicPartitionsMax {
			if r := Apply(s, createTopic(i, string(rune('a'+i)), TopicPartitionsMax)); r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		return s
	}
	before := heapInUse()
	s := build()
	if n := s.Counts().Partitions; n != partitions {
		t.Fatalf("%d partitions", n)
	}
	each := float64(heapInUse()-before) / partitions
	t.Logf("%.0f bytes for a partition that was never written", each)
	if each > 150 {
		t.Errorf("%.0f bytes for a partition that was never written", each)
	}

	// Then with one record each, that is one extent of 64 bytes.
	f := &fixture{tb: t, state: s}
	s.topics.Scan(func(topic topicByID) bool {
		appends := make([]Append, topic.topic.Partitions)
		for p := range appends {
			appends[p] = records(p%100, 1)
			appends[p].Partition = TopicPartition{Topic: topic.id, Partition: int32(p)}
		}
		if r := Apply(s, f.nextCommit(unit(appends...))); r.Err != nil || r.Units[0].Err != nil {
			t.Fatalf("%+v", r)
		}
		return true
	})
	if n := s.Counts().Extents; n != partitions {
		t.Fatalf("%d extents", n)
	}
	f = nil
	each = float64(heapInUse()-before) / partitions
	t.Logf("%.0f bytes for a partition with one extent", each)
	if each > 300 {
		t.Errorf("%.0f bytes for a partition with one extent", each)
	}
	runtime.KeepAlive(s)

	// And after a restart.
	encoded := encodeState(t, s)
	s = nil
	before = heapInUse()
	decoded := decodeState(t, encoded)
	each = float64(heapInUse()-before) / partitions
	t.Logf("%.0f bytes for one that was loaded", each)
	if each > 300 {
		t.Errorf("%.0f bytes for a partition with one extent that was loaded", each)
	}
	runtime.KeepAlive(decoded)
	runtime.KeepAlive(encoded)
}
