package catalog

import (
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// A commit applies only on top of the node's last number, so that a late,
// repeated or reordered one does no harm. Red under mutant.SkipCommitOrderCheck.
func TestCommitOrder(t *testing.T) {
	f := newFixture(t)
	first := f.nextCommit(unit(records(0, 3)))
	first.Upto = 5
	f.accepted(first)
	for name, commit := range map[string]struct{ after, upto uint64 }{
		"repeat":                 {0, 5},
		"late":                   {2, 4},
		"ahead":                  {6, 7},
		"after the right number": {4, 6},
		"empty range":            {3, 3},
	} {
		c := f.nextCommit(unit(records(0, 3)))
		c.After, c.Upto = commit.after, commit.upto
		result := f.apply(c)
		var order *CommitOrderError
		if !errors.As(result.Err, &order) || order.Last != 5 {
			t.Errorf("%s: %v", name, result.Err)
		}
	}
	// The very same commit again is a repeat before it is anything else.
	var order *CommitOrderError
	if err := f.apply(first).Err; !errors.As(err, &order) || order.Last != 5 {
		t.Errorf("the same again: %v", err)
	}
	unknown := f.nextCommit(unit(records(0, 3)))
	unknown.Node = nodeID(9)
	if err := f.apply(unknown).Err; err != ErrUnknownNode {
		t.Error(err)
	}
	if end := f.state.Partition(partitionOf(1, 0)).End(); end != 3 {
		t.Errorf("3 records were committed, the end offset is %d", end)
	}
	// And the right one goes on.
	if base := f.landed(records(0, 1))[0].Base; base != 3 {
		t.Errorf("the next record got %d", base)
	}
}

func TestCommitsOfTwoNodesAreNumberedApart(t *testing.T) {
	f := newFixture(t)
	f.accepted(RegisterNode{Node: nodeID(2)})
	f.landed(records(0, 1))
	other := f.nextCommit(unit(records(0, 1)))
	other.Node, other.After, other.Upto = nodeID(2), 0, 10
	if units := f.accepted(other).Units; units[0].Appends[0].Base != 1 {
		t.Fatalf("%+v", units)
	}
	if n, _ := f.state.Node(nodeID(1)); n.Last != 1 {
		t.Fatalf("node 1 is at %d", n.Last)
	}
	if n, _ := f.state.Node(nodeID(2)); n.Last != 10 {
		t.Fatalf("node 2 is at %d", n.Last)
	}
}

func TestCommitAsAWholeIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*CommitSegment)
		want   error
	}{
		"no number":          {func(c *CommitSegment) { c.Upto = c.After }, invalid(InvalidNumbers)},
		"number falls":       {func(c *CommitSegment) { c.Upto = 0 }, invalid(InvalidNumbers)},
		"old object":         {func(c *CommitSegment) { c.Object.ID = objectID(99) }, ErrOrphanFloor},
		"live object":        {func(c *CommitSegment) { c.Object.ID = objectID(1001) }, ErrObjectExists},
		"garbage object":     {func(c *CommitSegment) { c.Object.ID = objectID(1002) }, ErrObjectExists},
		"unknown kind":       {func(c *CommitSegment) { c.Object.Kind = 0 }, invalid(InvalidObject)},
		"newer kind":         {func(c *CommitSegment) { c.Object.Kind = 2 }, invalid(InvalidObject)},
		"negative size":      {func(c *CommitSegment) { c.Object.Size = -1 }, invalid(InvalidObject)},
		"index outside":      {func(c *CommitSegment) { c.Object.IndexPos = 1<<30 + 1 }, invalid(InvalidObject)},
		"negative index":     {func(c *CommitSegment) { c.Object.IndexPos = -1 }, invalid(InvalidObject)},
		"no records":         {func(c *CommitSegment) { c.Units[1].Appends[1].Records = 0 }, invalid(InvalidAppend)},
		"negative records":   {func(c *CommitSegment) { c.Units[1].Appends[1].Records = -1 }, invalid(InvalidAppend)},
		"no bytes":           {func(c *CommitSegment) { c.Units[1].Appends[1].Len = 0 }, invalid(InvalidAppend)},
		"negative position":  {func(c *CommitSegment) { c.Units[1].Appends[1].Pos = -1 }, invalid(InvalidAppend)},
		"beyond the object":  {func(c *CommitSegment) { c.Units[1].Appends[1].Pos = 1 << 30 }, invalid(InvalidAppend)},
		"far beyond":         {func(c *CommitSegment) { c.Units[1].Appends[1].Pos = math.MaxInt64 }, invalid(InvalidAppend)},
		"longer than it":     {func(c *CommitSegment) { c.Units[1].Appends[1].Len = math.MaxInt64 }, invalid(InvalidAppend)},
		"negative offset":    {func(c *CommitSegment) { c.Units[1].Appends[1].Expected = -2 }, invalid(InvalidOffset)},
		"negative producer":  {func(c *CommitSegment) { c.Units[1].Appends[1].Producer.ID = -2 }, invalid(InvalidProducer)},
		"negative epoch":     {func(c *CommitSegment) { c.Units[1].Appends[1] = records(1, 1).by(1, -1, 0) }, invalid(InvalidProducer)},
		"negative sequence":  {func(c *CommitSegment) { c.Units[1].Appends[1] = records(1, 1).by(1, 0, -1) }, invalid(InvalidProducer)},
		"nothing is refused": {func(*CommitSegment) {}, nil},
		"at the floor":       {func(c *CommitSegment) { c.Object.ID = objectID(100) }, nil},
		"no units":           {func(c *CommitSegment) { c.Units = nil }, nil},
		"a unit of nothing":  {func(c *CommitSegment) { c.Units[0].Appends = nil }, nil},
		"numbers may jump":   {func(c *CommitSegment) { c.Upto = math.MaxUint64 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.objects = 1000
			f.landed(records(0, 1))
			f.landed(records(1, 1))
			f.accepted(Trim{Partition: partitionOf(1, 1), Before: 1})
			f.state.orphanFloor, f.replica.orphanFloor = 100, 100
			c := f.nextCommit(unit(records(0, 1)), unit(records(0, 1), records(1, 1)))
			test.change(&c)
			if got := f.apply(c).Err; !ResultsEqual(Result{Err: got}, Result{Err: test.want}) {
				t.Fatalf("got %v, want %v", got, test.want)
			}
			if n, _ := f.state.Node(nodeID(1)); test.want == nil && n.Last != c.Upto || test.want != nil && n.Last != c.After {
				t.Fatalf("the node is at %d", n.Last)
			}
		})
	}
}

// A unit lands as a whole or not at all, and others of its commit are judged
// for themselves.
func TestUnitsAreAtomic(t *testing.T) {
	f := newFixture(t)
	producer := f.producer()
	units := f.commit(
		unit(records(0, 2), records(1, 3)),
		unit(records(0, 2), records(4, 1)),                                   // no such partition
		unit(records(2, 1).by(producer, 0, 0), records(0, 2).expecting(77)),  // condition fails
		unit(records(1, 1), records(1, 1), records(2, 1).by(producer, 0, 1)), // gap: the batch before it did not land
		unit(records(2, 1).by(producer, 0, 0), records(0, 1).at(9000)),
	)
	want := []UnitResult{
		{Appends: []AppendResult{{Base: 0}, {Base: 0}}},
		{Err: ErrPartitionNotFound},
		{Err: &OffsetError{End: 2}},
		{Err: &SequenceError{Expected: 0}},
		{Appends: []AppendResult{{Base: 0}, {Base: 2}}},
	}
	if !ResultsEqual(Result{Units: units}, Result{Units: want}) {
		t.Fatalf("got %+v, want %+v", units, want)
	}
	for partition, end := range map[int]Offset{0: 3, 1: 3, 2: 1, 3: 0} {
		if got := f.state.Partition(partitionOf(1, partition)).End(); got != end {
			t.Errorf("partition %d ends at %d, want %d", partition, got, end)
		}
	}
}

func TestUnknownTopicAndPartition(t *testing.T) {
	f := newFixture(t)
	elsewhere := records(0, 1)
	elsewhere.Partition.Topic = topicID(9)
	if err := f.rejected(elsewhere); err != ErrTopicNotFound {
		t.Error(err)
	}
	if err := f.rejected(records(0, 1), records(4, 1)); err != ErrPartitionNotFound {
		t.Error(err)
	}
	negative := records(0, 1)
	negative.Partition.Partition = -1
	if err := f.rejected(negative); err != ErrPartitionNotFound {
		t.Error(err)
	}
	if counts := f.state.Counts(); counts.Objects != 0 || counts.Garbage != 0 {
		t.Errorf("objects of which nothing landed are kept: %+v", counts)
	}
	if n, _ := f.state.Node(nodeID(1)); n.Last != 3 {
		t.Errorf("the commits were applied, the node is at %d", n.Last)
	}
}

// Conditions see what earlier units and earlier appends of the same unit left.
func TestExpectedOffset(t *testing.T) {
	f := newFixture(t)
	units := f.commit(
		unit(records(0, 2).expecting(0)),
		unit(records(0, 2).expecting(0)),
		unit(records(0, 3).expecting(2), records(0, 1).expecting(5), records(1, 1).expecting(0)),
		unit(records(0, 3).expecting(6), records(0, 1).expecting(8)),
		unit(records(0, 1).expecting(6)),
		unit(records(0, 1).expecting(100)),
	)
	want := []UnitResult{
		{Appends: []AppendResult{{Base: 0}}},
		{Err: &OffsetError{End: 2}},
		{Appends: []AppendResult{{Base: 2}, {Base: 5}, {Base: 0}}},
		{Err: &OffsetError{End: 9}},
		{Appends: []AppendResult{{Base: 6}}},
		{Err: &OffsetError{End: 7}},
	}
	if !ResultsEqual(Result{Units: units}, Result{Units: want}) {
		t.Fatalf("got %+v, want %+v", units, want)
	}
}

// Appends that continue each other become one extent, whose CRC is that of its
// bytes; beyond ExtentCRCLenMax it is that of the object's index.
func TestAppendsAreMergedIntoExtents(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	piece := func(partition int, pos, end Pos, records int32, maxTimestamp int64) Append {
		return Append{
			Partition:    partitionOf(1, partition),
			Pos:          pos,
			Len:          int64(end - pos),
			CRC:          crc32.Checksum(data[pos:end], segment.Castagnoli),
			Records:      records,
			MaxTimestamp: maxTimestamp,
			Expected:     AnyOffset,
			Producer:     recordbatch.NoProducer,
		}
	}
	type extent struct {
		pos, end Pos
		base     Offset
		records  int32
		maxTime  int64
		ownCRC   bool
	}
	for name, test := range map[string]struct {
		units []Unit
		want  []extent // of partition 0
	}{
		"one unit": {
			[]Unit{unit(piece(0, 0, 100, 2, 50), piece(0, 100, 250, 3, 40))},
			[]extent{{0, 250, 0, 5, 50, true}},
		},
		"over units, another partition between": {
			[]Unit{unit(piece(0, 0, 100, 2, 50)), unit(piece(1, 500, 600, 1, 1)), unit(piece(0, 100, 101, 1, 60))},
			[]extent{{0, 101, 0, 3, 60, true}},
		},
		"gap of bytes": {
			[]Unit{unit(piece(0, 0, 100, 2, 50), piece(0, 101, 250, 3, 40))},
			[]extent{{0, 100, 0, 2, 50, true}, {101, 250, 2, 3, 40, true}},
		},
		"backwards": {
			[]Unit{unit(piece(0, 100, 200, 2, 50), piece(0, 0, 100, 3, 40))},
			[]extent{{100, 200, 0, 2, 50, true}, {0, 100, 2, 3, 40, true}},
		},
		"rejected unit between": {
			[]Unit{unit(piece(0, 0, 100, 2, 50)), unit(piece(0, 100, 200, 2, 50).expecting(9)), unit(piece(0, 200, 300, 1, 1))},
			[]extent{{0, 100, 0, 2, 50, true}, {200, 300, 2, 1, 1, true}},
		},
		"up to the limit": {
			[]Unit{unit(piece(0, 0, 1<<19, 2, 50), piece(0, 1<<19, 1<<20, 3, 40))},
			[]extent{{0, 1 << 20, 0, 5, 50, true}},
		},
		"over the limit": {
			[]Unit{unit(piece(0, 0, 1<<19, 2, 50), piece(0, 1<<19, 1<<20+1, 3, 40), piece(0, 1<<20+1, 1<<20+9, 1, 1))},
			[]extent{{0, 1<<20 + 9, 0, 6, 50, false}},
		},
		"one append over the limit": {
			[]Unit{unit(piece(0, 0, 1<<20+1, 2, 50))},
			[]extent{{0, 1<<20 + 1, 0, 2, 50, false}},
		},
		"too many records for one extent": {
			[]Unit{unit(piece(0, 0, 100, math.MaxInt32, 50), piece(0, 100, 200, 1, 40))},
			[]extent{{0, 100, 0, math.MaxInt32, 50, true}, {100, 200, math.MaxInt32, 1, 40, true}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			c := f.nextCommit(test.units...)
			f.accepted(c)
			var want []Extent
			bytes := int64(0)
			for _, x := range test.want {
				e := Extent{
					Object: c.Object.ID, Pos: x.pos, Len: int64(x.end - x.pos), CRC: c.Object.IndexCRC,
					Base: x.base, Records: x.records, MaxTimestamp: x.maxTime, CommitTime: 1_000_000,
				}
				if x.ownCRC {
					e.CRC = crc32.Checksum(data[x.pos:x.end], segment.Castagnoli)
				}
				want = append(want, e)
				bytes += e.Len
			}
			p := f.state.Partition(partitionOf(1, 0))
			if got := p.Extents(0, 100); !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
			if p.Bytes() != bytes {
				t.Fatalf("%d bytes, want %d", p.Bytes(), bytes)
			}
		})
	}
}

// Extents of two objects are never merged, even where positions agree.
func TestExtentsOfTwoObjectsStayApart(t *testing.T) {
	f := newFixture(t)
	f.landed(records(0, 1).at(0))
	f.landed(records(0, 1).at(100))
	if got := f.state.Partition(partitionOf(1, 0)).Extents(0, 9); len(got) != 2 || got[0].Object == got[1].Object {
		t.Fatalf("got %+v", got)
	}
}

func TestOffsetsDoNotOverflow(t *testing.T) {
	f := newFixture(t)
	f.landed(records(0, 1))
	for _, s := range []*State{f.state, f.replica} {
		// No test can commit so many records one by one.
		p := *s.Partition(partitionOf(1, 0))
		p.logStart, p.end = math.MaxInt64-5, math.MaxInt64-5
		p.extents = p.extents.dropBefore(1, func(*Extent) {})
		p.bytes = 0
		s.setPartition(partitionOf(1, 0), &p)
		s.free(freedExtents{objectID(1): 1})
	}
	if err := f.rejected(records(0, 6)); !ResultsEqual(Result{Err: err}, Result{Err: invalid(InvalidOffset)}) {
		t.Fatal(err)
	}
	if got := f.landed(records(0, 5)); got[0].Base != math.MaxInt64-5 {
		t.Fatal(got)
	}
	if err := f.rejected(records(0, 1)); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
}

func TestExtentsAreBounded(t *testing.T) {
	f := newFixture(t)
	f.state.capacity.extents, f.replica.capacity.extents = 3, 3
	f.landed(records(0, 1), records(1, 1))
	units := f.commit(
		unit(records(0, 1), records(1, 1)), // both would not fit
		unit(records(0, 1)),
		unit(records(1, 1)),
	)
	if units[0].Err != ErrCatalogFull || units[1].Err != nil || units[2].Err != ErrCatalogFull {
		t.Fatalf("%+v", units)
	}
	// A trim makes room.
	f.accepted(Trim{Partition: partitionOf(1, 0), Before: 2})
	f.landed(records(0, 1), records(1, 1))
}
