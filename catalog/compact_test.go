package catalog

import (
	"errors"
	"slices"
	"testing"
)

// compaction returns an edit that joins extents of a partition of topic 1, from
// number first on, in groups of so many.
func (f *fixture) compaction(partition, first int, groups ...int) Compact {
	f.tb.Helper()
	f.objects++
	e := Compact{Topic: topicID(1), Job: JobID{1}, Object: NewObject{
		ID: objectID(f.objects), Kind: SegmentObject, Size: 1 << 30, IndexPos: 1 << 29, IndexCRC: 0xabcd,
	}}
	e.Partitions = []CompactedPartition{f.compacted(partition, first, groups...)}
	return e
}

func (f *fixture) compacted(partition, first int, groups ...int) CompactedPartition {
	f.tb.Helper()
	extents := slices.Collect(func(yield func(Extent) bool) {
		f.state.Partition(partitionOf(1, partition)).EachExtent(func(e *Extent) bool { return yield(*e) })
	})[first:]
	c := CompactedPartition{Partition: int32(partition), Base: extents[0].Base}
	n, pos := 0, Pos(partition)<<20
	for _, group := range groups {
		x := CompactedExtent{Pos: pos, CRC: 0x77, Replaces: int32(group)}
		for _, e := range extents[n : n+group] {
			x.Len += e.Len
			x.Records += e.Records
		}
		if x.Len > ExtentCRCLenMax {
			x.CRC = 0xabcd
		}
		pos += Pos(x.Len)
		n += group
		c.Extents = append(c.Extents, x)
	}
	c.Replaced = DigestExtents(extents[:n])
	return c
}

// compactable returns a catalog whose partitions 0 and 1 of topic 1 have ten extents
// of ten records each, committed 1,000 ms apart, and whose job 1 has the lease.
func compactable(tb testing.TB) *fixture {
	f := newFixture(tb)
	f.accepted(RaiseLevel{Level: 4})
	for i := range 10 {
		f.advance(1_000_000 + 1000*int64(i))
		f.landed(records(0, 10), records(1, 10))
	}
	f.accepted(ClaimCompaction{Topic: topicID(1), Job: JobID{1}, ForMs: 1000})
	return f
}

func (f *fixture) extents(partition int) []Extent {
	p := f.state.Partition(partitionOf(1, partition))
	return p.Extents(p.LogStart(), 1000)
}

func TestCompact(t *testing.T) {
	f := compactable(t)
	producer := f.producer()
	f.landed(records(0, 1).by(producer, 0, 0))
	e := f.compaction(0, 2, 3, 4)
	r := f.accepted(e)
	if len(r.Units) != 1 || r.Units[0].Err != nil {
		t.Fatalf("units %+v", r.Units)
	}
	all := f.extents(0)
	if len(all) != 6 {
		t.Fatalf("%d extents", len(all))
	}
	want := []Extent{
		{Object: e.Object.ID, Pos: 0, Len: 3000, Base: 20, MaxTimestamp: 500, CommitTime: 1_004_000, CRC: 0x77, Records: 30},
		{Object: e.Object.ID, Pos: 3000, Len: 4000, Base: 50, MaxTimestamp: 500, CommitTime: 1_008_000, CRC: 0x77, Records: 40},
	}
	if !slices.Equal(all[2:4], want) {
		t.Errorf("extents are %+v, want %+v", all[2:4], want)
	}
	if c := f.state.Counts(); c.Garbage != 0 || c.Extents != 16 || c.Objects != 12 {
		t.Errorf("counts %+v", c) // the other partition keeps the old objects
	}
	f.accepted(f.compaction(1, 0, 10))
	if c := f.state.Counts(); c.Garbage != 7 || c.Objects != 6 {
		t.Errorf("counts %+v", c)
	}
	// What producers sent is remembered.
	again := f.landed(records(0, 1).by(producer, 0, 0))
	if !again[0].Duplicate || again[0].Base != 100 {
		t.Errorf("a repeat after compaction: %+v", again)
	}
}

// TestCompactOfWhatChanged: each partition is judged on its own.
func TestCompactOfWhatChanged(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*fixture)
		swapped bool
	}{
		"nothing":                  {func(*fixture) {}, true},
		"more records":             {func(f *fixture) { f.landed(records(0, 1)) }, true},
		"a trim below":             {func(f *fixture) { f.accepted(Trim{Partition: partitionOf(1, 0), Before: 20}) }, true},
		"a trim within the first":  {func(f *fixture) { f.accepted(Trim{Partition: partitionOf(1, 0), Before: 25}) }, true},
		"a trim of the first":      {func(f *fixture) { f.accepted(Trim{Partition: partitionOf(1, 0), Before: 30}) }, false},
		"a trim of all":            {func(f *fixture) { f.accepted(Trim{Partition: partitionOf(1, 0), Before: 1000}) }, false},
		"another compaction":       {func(f *fixture) { f.accepted(f.compaction(0, 2, 2)) }, false},
		"one that overlaps":        {func(f *fixture) { f.accepted(f.compaction(0, 0, 3)) }, false},
		"one beside it":            {func(f *fixture) { f.accepted(f.compaction(0, 0, 2)) }, true},
		"one of the same extents":  {func(f *fixture) { f.accepted(f.compaction(0, 2, 5)) }, false},
		"one that changes nothing": {func(f *fixture) { f.accepted(f.compaction(0, 4, 1)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := compactable(t)
			e := f.compaction(0, 2, 5)
			e.Partitions = append(e.Partitions, f.compacted(1, 0, 10))
			test.change(f)
			before := f.extents(0)
			r := f.accepted(e)
			if got := r.Units[0].Err == nil; got != test.swapped || !got && r.Units[0].Err != ErrExtentsChanged {
				t.Errorf("swapped %t: %v", got, r.Units[0].Err)
			}
			if !test.swapped && !slices.Equal(f.extents(0), before) {
				t.Error("a partition that changed was changed")
			}
			if r.Units[1].Err != nil || len(f.extents(1)) != 1 {
				t.Errorf("the other partition: %v", r.Units[1].Err)
			}
			if again := f.apply(e); again.Err != ErrObjectExists {
				t.Errorf("a repeat: %+v", again)
			}
		})
	}
}

// TestCompactInVain: an object of which nothing landed is not in the catalog, so that
// it is an orphan; and a repeat after all is forgotten has no effect either.
func TestCompactInVain(t *testing.T) {
	f := compactable(t)
	e, late := f.compaction(0, 0, 10), f.compaction(0, 0, 10)
	f.accepted(late)
	if r := f.accepted(e); r.Units[0].Err != ErrExtentsChanged || f.state.Known(e.Object.ID) {
		t.Errorf("in vain: %+v, known %t", r, f.state.Known(e.Object.ID))
	}
	f.accepted(Trim{Partition: partitionOf(1, 0), Before: 1000})
	f.accepted(DropGarbage{Objects: []ObjectID{late.Object.ID}})
	if r := f.accepted(late); r.Units[0].Err != ErrExtentsChanged || f.state.Known(late.Object.ID) {
		t.Errorf("late: %+v", r)
	}
}

func TestCompactIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*fixture, *Compact)
		err    error
	}{
		"another job":        {func(_ *fixture, e *Compact) { e.Job = JobID{2} }, ErrCompactionClaimed},
		"given back":         {func(f *fixture, _ *Compact) { f.accepted(ClaimCompaction{Topic: topicID(1), Job: JobID{1}}) }, ErrCompactionClaimed},
		"another topic":      {func(_ *fixture, e *Compact) { e.Topic = topicID(9) }, ErrTopicNotFound},
		"the topic is gone":  {func(f *fixture, _ *Compact) { f.accepted(DeleteTopic{ID: topicID(1)}) }, ErrTopicNotFound},
		"an orphan":          {func(f *fixture, _ *Compact) { f.accepted(RaiseOrphanFloor{Floor: 100}) }, ErrOrphanFloor},
		"a known object":     {func(_ *fixture, e *Compact) { e.Object.ID = objectID(1) }, ErrObjectExists},
		"no partitions":      {func(_ *fixture, e *Compact) { e.Partitions = nil }, invalid(InvalidCompaction)},
		"one twice":          {func(_ *fixture, e *Compact) { e.Partitions = append(e.Partitions, e.Partitions[0]) }, invalid(InvalidCompaction)},
		"no extents":         {func(_ *fixture, e *Compact) { e.Partitions[0].Extents = nil }, invalid(InvalidCompaction)},
		"nothing replaced":   {func(_ *fixture, e *Compact) { e.Partitions[0].Extents[0].Replaces = 0 }, invalid(InvalidCompaction)},
		"too much replaced":  {func(_ *fixture, e *Compact) { e.Partitions[0].Extents[0].Replaces = CompactExtentsMax + 1 }, invalid(InvalidCompaction)},
		"bytes of the index": {func(_ *fixture, e *Compact) { e.Partitions[0].Extents[0].Pos = e.Object.IndexPos }, invalid(InvalidCompaction)},
		"no object":          {func(_ *fixture, e *Compact) { e.Object.Kind = 7 }, invalid(InvalidObject)},
	} {
		t.Run(name, func(t *testing.T) {
			f := compactable(t)
			e := f.compaction(0, 0, 10)
			test.change(f, &e)
			if r := f.apply(e); r.Err == nil || r.Err.Error() != test.err.Error() {
				t.Errorf("got %v, want %v", r.Err, test.err)
			}
		})
	}
}

// TestCompactMustAddUp: the state machine counts on its own.
func TestCompactMustAddUp(t *testing.T) {
	for name, change := range map[string]func(*CompactedExtent){
		"a record more": func(x *CompactedExtent) { x.Records++ },
		"a byte fewer":  func(x *CompactedExtent) { x.Len-- },
	} {
		f := compactable(t)
		e := f.compaction(0, 0, 10)
		change(&e.Partitions[0].Extents[0])
		if r := f.accepted(e); !errors.Is(r.Units[0].Err, ErrInvalid) {
			t.Errorf("%s: %v", name, r.Units[0].Err)
		}
	}
}

func TestClaimCompaction(t *testing.T) {
	f := newFixture(t)
	f.accepted(RaiseLevel{Level: 4})
	f.accepted(createTopic(2, "lakes", 1))
	claim := func(topic, job int, forMs int64) ClaimCompaction {
		return ClaimCompaction{Topic: topicID(topic), Job: JobID{byte(job)}, ForMs: forMs}
	}
	for i, step := range []struct {
		later   int64
		edit    ClaimCompaction
		created bool
		err     error
	}{
		{0, claim(1, 1, 1000), true, nil},
		{0, claim(2, 2, 1000), true, nil},
		{0, claim(1, 2, 1000), false, ErrCompactionClaimed},
		{1000, claim(1, 2, 1000), false, ErrCompactionClaimed}, // to the last moment
		{0, claim(1, 1, 1000), false, nil},                     // renewed
		{1000, claim(1, 2, 1000), false, ErrCompactionClaimed},
		{1, claim(1, 2, 1000), true, nil}, // expired
		{0, claim(1, 1, 1000), false, ErrCompactionClaimed},
		{0, claim(1, 1, 0), false, ErrCompactionClaimed}, // not its own to give back
		{0, claim(1, 2, 0), false, nil},
		{0, claim(1, 2, 0), false, nil},
		{0, claim(1, 1, 1), true, nil},
		{0, claim(9, 1, 1), false, ErrTopicNotFound},
		{0, claim(1, 0, 1), false, invalid(InvalidCompaction)},
		{0, claim(1, 1, CompactionLeaseMsMax+1), false, invalid(InvalidCompaction)},
		{0, claim(1, 1, -1), false, invalid(InvalidCompaction)},
	} {
		f.advance(f.state.time + step.later)
		r := f.apply(step.edit)
		if r.Created != step.created || (r.Err == nil) != (step.err == nil) || r.Err != nil && r.Err.Error() != step.err.Error() {
			t.Errorf("step %d: %+v, want %t, %v", i, r, step.created, step.err)
		}
	}
	f.accepted(DeleteTopic{ID: topicID(1)})
	if _, _, ok := f.state.CompactionJob(topicID(1)); ok {
		t.Error("the lease of a deleted topic is left")
	}
}

func TestCompactionAllowed(t *testing.T) {
	f := newFixture(t)
	var level *FeatureLevelError
	if err := f.state.CompactionAllowed(); !errors.As(err, &level) || level.Needed != 4 || level.Level != 1 {
		t.Error(err)
	}
	f.accepted(RaiseLevel{Level: 4})
	if err := f.state.CompactionAllowed(); err != nil {
		t.Error(err)
	}
}
