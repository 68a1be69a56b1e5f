package catalog

import (
	"errors"
	"math"
	"testing"
)

// The rules of Kafka's brokers for one producer on one partition. Red under
// mutant.SkipSequenceCheck.
func TestProducerSequence(t *testing.T) {
	type batch struct {
		epoch    int16
		sequence int32
		records  int32

		want any // Offset: landed there; duplicate; or an error
	}
	type duplicate Offset
	gap := func(expected int32) error { return &SequenceError{Expected: expected} }
	for name, batches := range map[string][]batch{
		"in order":                            {{0, 0, 3, Offset(0)}, {0, 3, 1, Offset(3)}, {0, 4, 2, Offset(4)}},
		"first of all must be 0":              {{0, 1, 1, gap(0)}, {0, 0, 1, Offset(0)}},
		"gap":                                 {{0, 0, 3, Offset(0)}, {0, 4, 1, gap(3)}, {0, 3, 1, Offset(3)}},
		"repeat of the last":                  {{0, 0, 3, Offset(0)}, {0, 0, 3, duplicate(0)}, {0, 3, 1, Offset(3)}},
		"repeat with fewer records":           {{0, 0, 3, Offset(0)}, {0, 0, 2, gap(3)}},
		"repeat with more records":            {{0, 0, 3, Offset(0)}, {0, 0, 4, gap(3)}},
		"repeat of part of it":                {{0, 0, 3, Offset(0)}, {0, 1, 2, gap(3)}},
		"repeat of the fifth last":            {{0, 0, 1, Offset(0)}, {0, 1, 1, Offset(1)}, {0, 2, 1, Offset(2)}, {0, 3, 1, Offset(3)}, {0, 4, 1, Offset(4)}, {0, 0, 1, duplicate(0)}, {0, 4, 1, duplicate(4)}},
		"repeat of the sixth last":            {{0, 0, 1, Offset(0)}, {0, 1, 1, Offset(1)}, {0, 2, 1, Offset(2)}, {0, 3, 1, Offset(3)}, {0, 4, 1, Offset(4)}, {0, 5, 1, Offset(5)}, {0, 0, 1, gap(6)}, {0, 1, 1, duplicate(1)}},
		"newer epoch begins at 0":             {{0, 0, 3, Offset(0)}, {1, 3, 1, gap(0)}, {1, 0, 1, Offset(3)}, {1, 1, 1, Offset(4)}},
		"newer epoch may skip some":           {{0, 0, 3, Offset(0)}, {7, 0, 1, Offset(3)}, {7, 1, 1, Offset(4)}},
		"first epoch may be above 0":          {{3, 0, 3, Offset(0)}, {3, 3, 1, Offset(3)}, {2, 4, 1, ErrProducerFenced}},
		"older epoch is fenced":               {{1, 0, 3, Offset(0)}, {0, 3, 1, ErrProducerFenced}, {0, 0, 3, ErrProducerFenced}},
		"repeat from an older epoch":          {{0, 0, 3, Offset(0)}, {1, 0, 1, Offset(3)}, {0, 0, 3, ErrProducerFenced}},
		"same sequence in the next epoch":     {{0, 0, 3, Offset(0)}, {1, 0, 3, Offset(3)}, {1, 0, 3, duplicate(3)}},
		"refused newer epoch does not stay":   {{0, 0, 3, Offset(0)}, {1, 9, 1, gap(0)}, {0, 3, 1, Offset(3)}},
		"sequence wraps between batches":      {{0, 0, math.MaxInt32, Offset(0)}, {0, math.MaxInt32, 1, Offset(math.MaxInt32)}, {0, 0, 2, Offset(1 << 31)}, {0, 0, 2, duplicate(1 << 31)}, {0, 2, 1, Offset(1<<31 + 2)}},
		"sequence wraps within a batch":       {{0, 0, math.MaxInt32 - 1, Offset(0)}, {0, math.MaxInt32 - 1, 5, Offset(math.MaxInt32 - 1)}, {0, math.MaxInt32 - 1, 5, duplicate(math.MaxInt32 - 1)}, {0, 4, 1, gap(3)}, {0, 3, 1, Offset(math.MaxInt32 + 4)}},
		"after the highest sequence comes 0":  {{0, 0, math.MaxInt32, Offset(0)}, {0, 0, 1, gap(math.MaxInt32)}},
		"after a wrap old ones are not known": {{0, 0, math.MaxInt32, Offset(0)}, {0, math.MaxInt32, 2, Offset(math.MaxInt32)}, {0, 0, 1, gap(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			id := f.producer()
			for i, b := range batches {
				a := records(0, b.records).by(id, b.epoch, b.sequence)
				a.Len = 100
				got := f.commit(unit(a))[0]
				want := UnitResult{}
				switch w := b.want.(type) {
				case error:
					want.Err = w
				case duplicate:
					want.Appends = []AppendResult{{Base: Offset(w), Duplicate: true}}
				case Offset:
					want.Appends = []AppendResult{{Base: w}}
				}
				if !ResultsEqual(Result{Units: []UnitResult{got}}, Result{Units: []UnitResult{want}}) {
					t.Fatalf("batch %d, %+v: got %+v", i, b, got)
				}
			}
		})
	}
}

// A repeat adds no records, and leaves no object behind. Red under
// mutant.SkipSequenceCheck.
func TestRepeatedBatchAddsNothing(t *testing.T) {
	f := newFixture(t)
	id := f.producer()
	f.landed(records(0, 3).by(id, 0, 0))
	before := f.state.Counts()
	if got := f.landed(records(0, 3).by(id, 0, 0)); got[0] != (AppendResult{Base: 0, Duplicate: true}) {
		t.Fatalf("got %+v", got)
	}
	if end := f.state.Partition(partitionOf(1, 0)).End(); end != 3 || f.state.Counts() != before {
		t.Fatalf("the end is %d, counts %+v", end, f.state.Counts())
	}
}

// In a unit and in a commit each batch is judged after those before it.
func TestBatchesOfOneProducerInOneCommit(t *testing.T) {
	f := newFixture(t)
	id, other := f.producer(), f.producer()
	units := f.commit(
		unit(records(0, 2).by(id, 0, 0), records(0, 2).by(id, 0, 2), records(1, 1).by(id, 0, 0)),
		unit(records(0, 2).by(id, 0, 2), records(0, 1).by(id, 0, 4)), // a repeat and a new one
		unit(records(0, 1).by(other, 0, 0), records(0, 1).by(id, 0, 7)),
		unit(records(0, 1).by(other, 0, 0), records(0, 1).by(id, 0, 5), records(0, 1).by(id, 0, 5)),
	)
	want := []UnitResult{
		{Appends: []AppendResult{{Base: 0}, {Base: 2}, {Base: 0}}},
		{Appends: []AppendResult{{Base: 2, Duplicate: true}, {Base: 4}}},
		{Err: &SequenceError{Expected: 5}},
		{Appends: []AppendResult{{Base: 5}, {Base: 6}, {Base: 6, Duplicate: true}}},
	}
	if !ResultsEqual(Result{Units: units}, Result{Units: want}) {
		t.Fatalf("got %+v, want %+v", units, want)
	}
}

// A repeat is recognised before its condition is asked, which cannot hold twice.
func TestRepeatWithExpectedOffset(t *testing.T) {
	f := newFixture(t)
	id := f.producer()
	f.landed(records(0, 3).by(id, 0, 0).expecting(0))
	if got := f.landed(records(0, 3).by(id, 0, 0).expecting(0)); got[0] != (AppendResult{Base: 0, Duplicate: true}) {
		t.Fatalf("got %+v", got)
	}
}

// An epoch belongs to a producer on one partition: batches of the old one may
// still be under way to another.
func TestEpochsOfPartitionsAreApart(t *testing.T) {
	f := newFixture(t)
	id := f.producer()
	f.landed(records(0, 1).by(id, 0, 0), records(1, 1).by(id, 0, 0))
	f.landed(records(0, 1).by(id, 1, 0))
	f.landed(records(1, 1).by(id, 0, 1))
	if err := f.rejected(records(0, 1).by(id, 0, 1)); err != ErrProducerFenced {
		t.Fatal(err)
	}
}

func TestProducerIDs(t *testing.T) {
	f := newFixture(t)
	if first, second := f.producer(), f.producer(); first != 1 || second != 2 {
		t.Fatalf("ids %d and %d", first, second)
	}
	for _, id := range []int64{0, 3, math.MaxInt64} {
		if err := f.rejected(records(0, 1).by(id, 0, 0)); err != ErrUnknownProducer {
			t.Errorf("producer %d: %v", id, err)
		}
	}
}

// A producer's state expires as a whole, 24 h after its last batch anywhere.
func TestProducerExpiry(t *testing.T) {
	for name, expire := range map[string]bool{"judged at the batch": false, "swept": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			idle, id := f.producer(), f.producer()
			f.landed(records(0, 1).by(id, 0, 0), records(1, 1).by(id, 0, 0))
			sweep := func() {
				if expire {
					f.accepted(Expire{})
				}
			}
			start := int64(1_000_000)

			f.advance(start + ProducerExpiryMs) // not older than that
			sweep()
			f.landed(records(0, 1).by(id, 0, 1)) // keeps partition 1 as well
			f.advance(start + ProducerExpiryMs + 1)
			sweep()
			if err := f.rejected(records(0, 1).by(idle, 0, 0)); err != ErrUnknownProducer {
				t.Fatalf("never used for 24 h: %v", err)
			}
			f.landed(records(1, 1).by(id, 0, 1))

			// A repeat is no new batch, and keeps nothing alive.
			f.advance(start + 2*ProducerExpiryMs)
			sweep()
			if got := f.landed(records(1, 1).by(id, 0, 1)); !got[0].Duplicate {
				t.Fatalf("got %+v", got)
			}
			f.advance(start + 2*ProducerExpiryMs + 2)
			sweep()
			for partition := range 2 {
				if err := f.rejected(records(partition, 1).by(id, 0, 2)); err != ErrUnknownProducer {
					t.Fatalf("24 h after its last batch: %v", err)
				}
			}
			if err := f.rejected(records(0, 1).by(id, 1, 0)); err != ErrUnknownProducer {
				t.Fatalf("with a newer epoch: %v", err)
			}
			if again := f.producer(); again != 3 {
				t.Fatalf("the next id is %d", again)
			}
			if counts := f.state.Counts(); expire && (counts.Producers != 1 || counts.ProducerPartitions != 0) {
				t.Fatalf("left after the sweep: %+v", counts)
			}
		})
	}
}

// A sweep does a bounded part of the work, and says when there is more. What it
// has begun on stays expired.
func TestExpireIsBounded(t *testing.T) {
	f := newFixture(t)
	f.state.capacity.expirySteps, f.replica.capacity.expirySteps = 2, 2
	var ids []int64
	for range 3 {
		id := f.producer()
		f.landed(records(0, 1).by(id, 0, 0), records(1, 1).by(id, 0, 0), records(2, 1).by(id, 0, 0))
		ids = append(ids, id)
	}
	f.advance(2_000_000 + ProducerExpiryMs)
	f.accepted(KeepNode{Node: nodeID(1)}) // or it would expire itself
	fresh := f.producer()
	sweeps := 1
	for f.accepted(Expire{}).More {
		for _, id := range ids {
			if err := f.rejected(records(0, 1).by(id, 0, 1)); err != ErrUnknownProducer {
				t.Fatal(err)
			}
		}
		sweeps++
	}
	if want := (3*4 + 1) / 2; sweeps < want || sweeps > want+1 {
		t.Errorf("%d sweeps for 12 steps, 2 at a time", sweeps)
	}
	if counts := f.state.Counts(); counts.Producers != 1 || counts.ProducerPartitions != 0 {
		t.Errorf("left after the sweep: %+v", counts)
	}
	f.landed(records(0, 1).by(fresh, 0, 0))
}

func TestProducersAreBounded(t *testing.T) {
	f := newFixture(t)
	for _, s := range []*State{f.state, f.replica} {
		s.capacity.producers, s.capacity.producerPartitions = 2, 3
	}
	id, other := f.producer(), f.producer()
	if err := f.apply(AllocateProducerID{}).Err; err != ErrCatalogFull {
		t.Fatal(err)
	}
	f.landed(records(0, 1).by(id, 0, 0), records(1, 1).by(id, 0, 0), records(2, 1).by(id, 0, 0))
	if err := f.rejected(records(0, 1).by(other, 0, 0)); err != ErrCatalogFull {
		t.Fatal(err)
	}
	f.landed(records(0, 1).by(id, 0, 1))
	f.landed(records(0, 1))
	// Expired ones make room without being asked to.
	f.advance(2_000_000 + ProducerExpiryMs)
	if next := f.producer(); next != 3 {
		t.Fatalf("the next id is %d", next)
	}
}

// Deleting a topic forgets what producers sent to it; a topic made under the
// same name has another id, and begins at sequence 0.
func TestDeletedTopicForgetsSequences(t *testing.T) {
	f := newFixture(t)
	f.accepted(createTopic(2, "lakes", 1))
	lake := records(0, 1)
	lake.Partition = partitionOf(2, 0)
	id := f.producer()
	f.landed(records(0, 1).by(id, 0, 0), lake.by(id, 0, 0))
	f.accepted(DeleteTopic{ID: topicID(1)})
	if counts := f.state.Counts(); counts.ProducerPartitions != 1 || counts.Producers != 1 {
		t.Fatalf("%+v", counts)
	}
	f.landed(lake.by(id, 0, 1))
	f.accepted(createTopic(3, "rivers", 1))
	river := records(0, 1)
	river.Partition = partitionOf(3, 0)
	var sequence *SequenceError
	if err := f.rejected(river.by(id, 0, 1)); !errors.As(err, &sequence) || sequence.Expected != 0 {
		t.Fatal(err)
	}
	f.landed(river.by(id, 0, 0))
}

// TestRaiseEpoch: the next epoch is above all that were used, and fences the
// lower ones in every partition.
func TestRaiseEpoch(t *testing.T) {
	f := newKeyedFixture(t)
	id := f.producer()
	f.landed(records(0, 1).by(id, 0, 0))
	f.landed(records(1, 1).by(id, 3, 0)) // raised by the client itself
	r := f.accepted(RaiseEpoch{Producer: id})
	if r.Producer != id || r.Epoch != 4 {
		t.Fatalf("got %+v", r)
	}
	for _, a := range []Append{
		records(0, 1).by(id, 0, 1), records(1, 1).by(id, 3, 1), records(2, 1).by(id, 3, 0),
		records(0, 1).by(id, 0, 0), // a repeat of what landed
	} {
		if err := f.rejected(a); err != ErrProducerFenced {
			t.Errorf("%+v: %v", a.Producer, err)
		}
	}
	f.landed(records(0, 1).by(id, 4, 0), records(2, 1).by(id, 4, 0))
	f.landed(records(0, 1).by(id, 5, 0)) // and again by itself
	if r := f.accepted(RaiseEpoch{Producer: id}); r.Epoch != 6 {
		t.Errorf("got %+v", r)
	}
	if r := f.apply(RaiseEpoch{Producer: 99}); r.Err != ErrUnknownProducer {
		t.Errorf("got %+v", r)
	}
	// It counts as activity.
	f.advance(1_000_000 + ProducerExpiryMs)
	f.accepted(RaiseEpoch{Producer: id})
	f.advance(1_000_000 + 2*ProducerExpiryMs)
	if r := f.accepted(RaiseEpoch{Producer: id}); r.Epoch != 8 {
		t.Errorf("got %+v", r)
	}
	f.advance(1_000_001 + 3*ProducerExpiryMs)
	if r := f.apply(RaiseEpoch{Producer: id}); r.Err != ErrUnknownProducer {
		t.Errorf("got %+v", r)
	}
}

// TestEpochsAreUsedUp: then there is a new id, and the old one is nobody's.
func TestEpochsAreUsedUp(t *testing.T) {
	f := newKeyedFixture(t)
	id := f.producer()
	f.landed(records(0, 1).by(id, lastEpoch-1, 0))
	if r := f.accepted(RaiseEpoch{Producer: id}); r.Producer != id || r.Epoch != lastEpoch {
		t.Fatalf("got %+v", r)
	}
	r := f.accepted(RaiseEpoch{Producer: id})
	if r.Producer != id+1 || r.Epoch != 0 {
		t.Fatalf("got %+v", r)
	}
	if err := f.rejected(records(0, 1).by(id, lastEpoch, 0)); err != ErrProducerFenced {
		t.Errorf("got %v", err)
	}
	f.landed(records(0, 1).by(r.Producer, 0, 0))
}
