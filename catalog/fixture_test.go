package catalog

import (
	"bytes"
	"testing"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// Ids for tests; n tells them apart.
func topicID(n int) TopicID { return TopicID{0: 0x70, 15: byte(n)} }

func nodeID(n int) NodeID { return NodeID{0: 0x40, 15: byte(n)} }

// objectID returns an id with a ULID time of n ms.
func objectID(n int) ObjectID {
	var id ObjectID
	if err := id.SetTime(uint64(n)); err != nil {
		panic(err)
	}
	id[15] = 0x0b
	return id
}

func partitionOf(topic, number int) TopicPartition {
	return TopicPartition{Topic: topicID(topic), Partition: int32(number)}
}

func createTopic(n int, name string, partitions int32) CreateTopic {
	return CreateTopic{ID: topicID(n), Name: name, Partitions: partitions, Config: DefaultTopicConfig()}
}

// fixture applies edits to a State and, decoded from their encoding, to a
// replica, and checks both after each.
type fixture struct {
	tb      testing.TB
	state   *State
	replica *State
	objects int // made so far
}

// newFixture returns a catalog at time 1,000,000 with node 1 and topic 1,
// named "rivers", of 4 partitions.
func newFixture(tb testing.TB) *fixture {
	f := &fixture{tb: tb, state: NewState([16]byte{1}), replica: NewState([16]byte{1})}
	f.advance(1_000_000)
	f.accepted(RegisterNode{Node: nodeID(1)})
	f.accepted(createTopic(1, "rivers", 4))
	return f
}

func (f *fixture) advance(ms int64) {
	f.state.Advance(ms)
	f.replica.Advance(ms)
}

// apply applies e and returns its result.
func (f *fixture) apply(e Edit) Result {
	f.tb.Helper()
	before := f.state.Clone()
	result := Apply(f.state, e)
	if err := CheckStep(before, f.state, e); err != nil {
		f.tb.Fatalf("after %T: %v", e, err)
	}
	if err := CheckAll(f.state); err != nil {
		f.tb.Fatalf("after %T: %v", e, err)
	}
	if result.Err != nil && !bytes.Equal(encodeState(f.tb, before), encodeState(f.tb, f.state)) {
		f.tb.Fatalf("%T was refused (%v) and changed the state", e, result.Err)
	}
	payload := AppendEdits(nil, []Edit{e}, []Result{result})
	edits, results, err := DecodeEdits(payload)
	if err != nil {
		f.tb.Fatalf("decode %T: %v", e, err)
	}
	if again := AppendEdits(nil, edits, results); !bytes.Equal(again, payload) {
		f.tb.Fatalf("%T encodes to %x, and decoded to %x", e, payload, again)
	}
	if own := Apply(f.replica, edits[0]); !ResultsEqual(own, result) || !ResultsEqual(own, results[0]) {
		f.tb.Fatalf("%T came out as %+v, %+v after decoding, %+v on the replica", e, result, results[0], own)
	}
	if !bytes.Equal(encodeState(f.tb, f.state), encodeState(f.tb, f.replica)) {
		f.tb.Fatalf("after %T the replica differs", e)
	}
	return result
}

// accepted applies an edit that must not be refused.
func (f *fixture) accepted(e Edit) Result {
	f.tb.Helper()
	result := f.apply(e)
	if result.Err != nil {
		f.tb.Fatalf("%T was refused: %v", e, result.Err)
	}
	return result
}

// nextCommit returns a commit of a new object by node 1 with the units given.
func (f *fixture) nextCommit(units ...Unit) CommitSegment {
	f.objects++
	node, _ := f.state.Node(nodeID(1))
	return CommitSegment{
		Node:   nodeID(1),
		After:  node.Last,
		Upto:   node.Last + 1,
		Object: NewObject{ID: objectID(f.objects), Kind: SegmentObject, Size: 1 << 30, IndexPos: 1 << 29, IndexCRC: 0xabcd},
		Units:  units,
	}
}

// commit commits units and returns what became of each.
func (f *fixture) commit(units ...Unit) []UnitResult {
	f.tb.Helper()
	return f.accepted(f.nextCommit(units...)).Units
}

// landed commits one unit that must be accepted.
func (f *fixture) landed(appends ...Append) []AppendResult {
	f.tb.Helper()
	unit := f.commit(Unit{Appends: appends})[0]
	if unit.Err != nil {
		f.tb.Fatalf("unit was rejected: %v", unit.Err)
	}
	return unit.Appends
}

// rejected commits one unit and returns why it was rejected.
func (f *fixture) rejected(appends ...Append) error {
	f.tb.Helper()
	unit := f.commit(Unit{Appends: appends})[0]
	if unit.Err == nil {
		f.tb.Fatal("unit was accepted")
	}
	return unit.Err
}

func (f *fixture) producer() int64 {
	f.tb.Helper()
	return f.accepted(AllocateProducerID{}).Producer
}

func unit(appends ...Append) Unit { return Unit{Appends: appends} }

// records is an append of n records of 100 bytes to a partition of topic 1, at
// a position of its own for each partition.
func records(partition int, n int32) Append {
	return Append{
		Partition:    partitionOf(1, partition),
		Pos:          Pos(partition) << 20,
		Len:          100 * int64(n),
		CRC:          0x1234,
		Records:      n,
		MaxTimestamp: 500,
		Expected:     AnyOffset,
		Producer:     recordbatch.NoProducer,
	}
}

func (a Append) at(pos Pos) Append {
	a.Pos = pos
	return a
}

func (a Append) expecting(o Offset) Append {
	a.Expected = o
	return a
}

func (a Append) by(id int64, epoch int16, sequence int32) Append {
	a.Producer = recordbatch.Producer{ID: id, Epoch: epoch, BaseSequence: sequence}
	return a
}

func (a Append) fenced(token string) Append {
	a.Token = token
	return a
}

func encodeState(tb testing.TB, s *State) []byte {
	tb.Helper()
	var b []byte
	if err := s.Encode(func(chunk []byte) error { b = append(b, chunk...); return nil }); err != nil {
		tb.Fatal(err)
	}
	return b
}

func decodeState(tb testing.TB, b []byte) *State {
	tb.Helper()
	var d StateDecoder
	if err := d.Write(b); err != nil {
		tb.Fatal(err)
	}
	s, err := d.State()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
