package catalog

import (
	"errors"
	"testing"

	"github.com/wadilog/wadi/catalog/journal"
)

// Each way in which a State can be broken is noticed: by CheckAll always, and
// by CheckTouched after a commit to what is broken.
func TestBrokenInvariantsAreNoticed(t *testing.T) {
	river := partitionOf(1, 0)
	// partition changes partition 0 of topic 1.
	partition := func(change func(*Partition)) func(*State) {
		return func(s *State) {
			p := *s.Partition(river)
			change(&p)
			s.setPartition(river, &p)
		}
	}
	// extent changes the newest extent of that partition.
	extent := func(change func(*Extent)) func(*State) {
		return partition(func(p *Partition) {
			all := extentsOf(p.extents)
			change(&all[len(all)-1])
			p.extents = extentList{}
			for _, e := range all {
				p.extents = p.extents.append(e)
			}
		})
	}
	object := func(change func(*Object)) func(*State) {
		return func(s *State) {
			o, _ := s.Object(objectID(3))
			change(&o)
			s.objects.Set(o)
		}
	}
	sequence := func(change func(*producerSequence)) func(*State) {
		return func(s *State) {
			id := sequenceID{producer: 1, partition: river}
			q := *s.producers.sequence(id)
			change(&q)
			s.producers.setSequence(id, &q)
		}
	}
	for name, test := range map[string]struct {
		breakIt func(*State)
		touched bool // CheckTouched must notice
	}{
		"end above the extents":        {partition(func(p *Partition) { p.end++ }), true},
		"end below the extents":        {partition(func(p *Partition) { p.end-- }), true},
		"log start above the end":      {partition(func(p *Partition) { p.logStart = p.end + 1 }), true},
		"log start below the extents":  {partition(func(p *Partition) { p.logStart = -1 }), true},
		"log start after the first":    {partition(func(p *Partition) { p.logStart = 2 }), true},
		"extents lost":                 {partition(func(p *Partition) { p.extents = extentList{} }), true},
		"gap between extents":          {extent(func(e *Extent) { e.Base++; e.Records-- }), true},
		"extent without records":       {extent(func(e *Extent) { e.Records = 0 }), true},
		"extent without bytes":         {extent(func(e *Extent) { e.Len = 0 }), true},
		"extent of another object":     {extent(func(e *Extent) { e.Object = objectID(2) }), true},
		"object counts too few":        {object(func(o *Object) { o.Extents-- }), true},
		"object counts too many":       {object(func(o *Object) { o.Extents++ }), true},
		"object is gone":               {func(s *State) { s.objects.Delete(objectKey(objectID(3))) }, true},
		"batches out of order":         {sequence(func(q *producerSequence) { q.batches[1].first++ }), true},
		"batches at falling offsets":   {sequence(func(q *producerSequence) { q.batches[1].base = 0 }), true},
		"batch beyond the end":         {sequence(func(q *producerSequence) { q.batches[q.count-1].base += 100 }), true},
		"no batches":                   {sequence(func(q *producerSequence) { q.count = 0 }), true},
		"partition counts other bytes": {partition(func(p *Partition) { p.bytes++ }), false},
		"extent outside of its object": {extent(func(e *Extent) { e.Pos = 1 << 30 }), false},
		"long extent with other CRC":   {extent(func(e *Extent) { e.Len = ExtentCRCLenMax + 1 }), false},
		"extent of the future":         {extent(func(e *Extent) { e.CommitTime = 1 << 50 }), false},
		"extents counted wrong":        {func(s *State) { s.extents++ }, false},
		"object is garbage as well":    {func(s *State) { s.garbage.add(Garbage{NewObject: NewObject{ID: objectID(3)}}) }, false},
		"object of no extent":          {func(s *State) { s.objects.Set(Object{NewObject: NewObject{ID: objectID(9)}, Extents: 1}) }, false},
		"garbage not by age":           {func(s *State) { s.garbage.add(Garbage{}); s.garbage.byAge.Clear() }, false},
		"bytes of garbage":             {func(s *State) { s.garbage.bytes++ }, false},
		"garbage of the future":        {func(s *State) { s.garbage.add(Garbage{FreedAt: 1 << 50}) }, false},
		"node of the future":           {func(s *State) { s.setNode(nodeID(9), Node{ActiveAt: 1 << 50}) }, false},
		"topic without its name":       {func(s *State) { s.names.Delete(topicByName{name: "rivers"}) }, false},
		"topic under another name":     {func(s *State) { s.setTopic(&Topic{ID: topicID(2), Name: "rivers", Partitions: 1}) }, false},
		"partition is gone":            {func(s *State) { s.partitions.Delete(partitionByID{id: partitionOf(1, 3)}) }, false},
		"partition of no topic":        {func(s *State) { s.setPartition(partitionOf(8, 0), &Partition{}) }, false},
		"producer not by activity":     {func(s *State) { s.producers.byActivity.Clear() }, false},
		"producer never given out":     {func(s *State) { s.nextProducer = 1 }, false},
		"producer active in future":    {func(s *State) { s.producers.touch(1, 1<<50) }, false},
		"producer gone, batches not":   {func(s *State) { s.producers.byID.Clear(); s.producers.byActivity.Clear() }, false},
		"batches not by partition":     {func(s *State) { s.producers.byPartition.Clear() }, false},
		"batches of no partition": {func(s *State) {
			s.producers.setSequence(sequenceID{producer: 1, partition: partitionOf(8, 0)}, &producerSequence{count: 1})
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			id := f.producer()
			f.landed(records(0, 2).by(id, 0, 0))
			f.landed(records(0, 2).by(id, 0, 2))
			commit := f.nextCommit(unit(records(0, 2).by(id, 0, 4), records(1, 1)))
			f.accepted(commit)
			test.breakIt(f.state)
			var invariant *InvariantError
			if err := CheckAll(f.state); !errors.As(err, &invariant) {
				t.Errorf("CheckAll: %v", err)
			} else {
				t.Log(err)
			}
			checkVerifier(t, f.state)
			if err := CheckTouched(f.state, commit); (err != nil) != test.touched {
				t.Errorf("CheckTouched: %v", err)
			}
		})
	}
}

// checkVerifier lets a snapshot of a broken State be verified: that must find
// something if, and only if, it is found in what is decoded.
func checkVerifier(t *testing.T, s *State) {
	t.Helper()
	encoded := encodeState(t, s)
	var d StateDecoder
	expected := d.Write(encoded)
	if expected == nil {
		decoded, err := d.State()
		if err != nil {
			t.Fatal(err)
		}
		expected = CheckAll(decoded)
	}
	v := newSnapshotVerifier()
	err := v.write(encoded)
	if err == nil {
		err = v.verify(journal.SnapshotInfo{Time: s.time, Level: s.level})
	}
	if (err != nil) != (expected != nil) {
		t.Errorf("the snapshot is verified with %v, a replica finds %v", err, expected)
	}
}

func TestCheckStepNoticesWhatFell(t *testing.T) {
	commit := CommitSegment{Node: nodeID(1), Units: []Unit{unit(records(0, 1))}}
	trim := Trim{Partition: partitionOf(1, 0)}
	for name, test := range map[string]struct {
		edit    Edit
		breakIt func(*State)
	}{
		"end offset":       {commit, func(s *State) { s.setPartition(partitionOf(1, 0), &Partition{}) }},
		"log start":        {trim, func(s *State) { s.setPartition(partitionOf(1, 0), &Partition{end: 2, extents: listOf(2)}) }},
		"partition":        {commit, func(s *State) { s.partitions.Delete(partitionByID{id: partitionOf(1, 0)}) }},
		"node's number":    {commit, func(s *State) { s.setNode(nodeID(1), Node{}) }},
		"time":             {Expire{}, func(s *State) { s.time-- }},
		"next producer id": {AllocateProducerID{}, func(s *State) { s.nextProducer-- }},
		"orphan floor":     {Expire{}, func(s *State) { s.orphanFloor-- }},
	} {
		f := newFixture(t)
		f.state.orphanFloor, f.replica.orphanFloor = 1, 1
		f.producer()
		f.landed(records(0, 2))
		f.accepted(Trim{Partition: partitionOf(1, 0), Before: 1})
		before := f.state.Clone()
		test.breakIt(f.state)
		var invariant *InvariantError
		if err := CheckStep(before, f.state, test.edit); !errors.As(err, &invariant) {
			t.Errorf("%s: %v", name, err)
		}
		if err := CheckStep(before, before, test.edit); err != nil {
			t.Errorf("%s: %v before", name, err)
		}
	}
}

// Many edits may be applied before the first of them is checked, and whatever
// else they did to its object and partitions is no fault.
func TestCheckTouchedAfterOtherEdits(t *testing.T) {
	f := newFixture(t)
	first := f.nextCommit(unit(records(0, 1), records(1, 1)), unit(records(9, 1)))
	f.accepted(first)
	check := func(what string) {
		t.Helper()
		if err := CheckTouched(f.state, first); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 300 {
		Apply(f.state, f.nextCommit(unit(records(0, 1))))
	}
	check("buried")
	Apply(f.state, Trim{Partition: partitionOf(1, 0), Before: 5})
	check("trimmed")
	Apply(f.state, DeleteTopic{ID: topicID(1)})
	check("topic deleted")
	// Refused commits of an object that is there through another.
	g := newFixture(t)
	g.landed(records(0, 1), records(1, 1))
	for _, numbers := range []struct{ after, upto uint64 }{{1, 2}, {0, 1}} {
		other := g.nextCommit(unit(records(1, 1), records(2, 1)))
		other.Object.ID, other.After, other.Upto = objectID(1), numbers.after, numbers.upto
		if g.apply(other).Err == nil { // which checks
			t.Error("an object was added twice")
		}
	}
}
