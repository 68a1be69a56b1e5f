package catalog

import (
	"cmp"
	"math"

	"github.com/tidwall/btree"

	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// producerTable is the idempotent producers: their ids, and what each sent last
// to each partition. As in Kafka an epoch belongs to a producer id on one
// partition: a client that raises its epoch after an error on one partition
// may have batches of the old epoch under way to others, and these are good.
type producerTable struct {
	byID       *btree.BTreeG[producer]
	byActivity *btree.BTreeG[producer] // the same, the one longest idle first

	sequences   *btree.BTreeG[sequenceByID]
	byPartition *btree.BTreeG[sequenceID] // the same keys, by partition first
}

// producer is a producer id that was given out.
type producer struct {
	id         int64
	lastActive int64 // ms of journal time of its last batch, or of its allocation
	epoch      int16 // given out last; lower ones are fenced in all partitions
}

// expired tells whether the producer is forgotten at a journal time in ms.
func (p producer) expired(now int64) bool { return now-p.lastActive > ProducerExpiryMs }

// sequenceID names what one producer sent to one partition.
type sequenceID struct {
	producer  int64
	partition TopicPartition
}

type sequenceByID struct {
	id       sequenceID
	sequence *producerSequence
}

// rememberedBatches is how many batches of a producer id on a partition can be
// recognised when they come again. It is Kafka's number: its producers have at
// most that many requests in flight.
const rememberedBatches = 5

// producerSequence is the last batches that a producer sent to a partition, all
// of one epoch and consecutive, the oldest first. It is immutable once it is in
// a State.
type producerSequence struct {
	batches [rememberedBatches]producedBatch
	count   uint8
	epoch   int16
}

// producedBatch is a batch that landed. Sequences count records; after 2^31-1
// comes 0.
type producedBatch struct {
	base  Offset
	first int32
	last  int32
}

// records is the number of records in the batch.
func (b producedBatch) records() int64 {
	n := int64(b.last) - int64(b.first) + 1
	if n <= 0 {
		n += 1 << 31
	}
	return n
}

// sequenceAdd returns the sequence n places after seq.
func sequenceAdd(seq, n int32) int32 {
	return int32((int64(seq) + int64(n)) & math.MaxInt32)
}

// judge tells what becomes of a batch: it is a duplicate of one that landed at
// base, or it is next in order, or err says why neither. The rules are those of
// Kafka's brokers, but for one: where nothing is remembered of an id that is
// known, Kafka takes any sequence, since it may have lost what it knew. Here
// nothing is lost before the whole id expires, so it must be 0.
func (q *producerSequence) judge(p recordbatch.Producer, records int32) (base Offset, duplicate bool, err error) {
	if mutant.On(mutant.SkipSequenceCheck) {
		return 0, false, nil
	}
	expected := int32(0)
	switch {
	case q.count == 0 || p.Epoch > q.epoch:
	case p.Epoch < q.epoch:
		return 0, false, ErrProducerFenced
	default:
		last := sequenceAdd(p.BaseSequence, records-1)
		for _, b := range q.batches[:q.count] {
			if b.first == p.BaseSequence && b.last == last {
				return b.base, true, nil
			}
		}
		expected = sequenceAdd(q.batches[q.count-1].last, 1)
	}
	if p.BaseSequence != expected {
		return 0, false, &SequenceError{Expected: expected}
	}
	return 0, false, nil
}

// add remembers a batch that landed at base.
func (q *producerSequence) add(p recordbatch.Producer, records int32, base Offset) {
	if p.Epoch != q.epoch {
		*q = producerSequence{epoch: p.Epoch}
	}
	if q.count == rememberedBatches {
		copy(q.batches[:], q.batches[1:])
		q.count--
	}
	q.batches[q.count] = producedBatch{
		base:  base,
		first: p.BaseSequence,
		last:  sequenceAdd(p.BaseSequence, records-1),
	}
	q.count++
}

func newProducerTable() *producerTable {
	return &producerTable{
		byID: newTree(func(a, b producer) bool { return a.id < b.id }),
		byActivity: newTree(func(a, b producer) bool {
			if a.lastActive != b.lastActive {
				return a.lastActive < b.lastActive
			}
			return a.id < b.id
		}),
		sequences: newTree(func(a, b sequenceByID) bool {
			if a.id.producer != b.id.producer {
				return a.id.producer < b.id.producer
			}
			return a.id.partition.compare(b.id.partition) < 0
		}),
		byPartition: newTree(func(a, b sequenceID) bool {
			if c := a.partition.compare(b.partition); c != 0 {
				return c < 0
			}
			return cmp.Less(a.producer, b.producer)
		}),
	}
}

func (t *producerTable) clone() *producerTable {
	return &producerTable{
		byID:        t.byID.Copy(),
		byActivity:  t.byActivity.Copy(),
		sequences:   t.sequences.Copy(),
		byPartition: t.byPartition.Copy(),
	}
}

// known returns a producer that was given out and has not expired at now.
func (t *producerTable) known(id, now int64) (producer, bool) {
	p, ok := t.byID.Get(producer{id: id})
	return p, ok && !p.expired(now)
}

// sequence returns what is remembered, nil if nothing is.
func (t *producerTable) sequence(id sequenceID) *producerSequence {
	found, _ := t.sequences.Get(sequenceByID{id: id})
	return found.sequence
}

func (t *producerTable) setSequence(id sequenceID, q *producerSequence) {
	if _, replaced := t.sequences.Set(sequenceByID{id: id, sequence: q}); !replaced {
		t.byPartition.Set(id)
	}
}

// ofProducer calls yield for what one producer sent, by partition, until it returns false.
func (t *producerTable) ofProducer(id int64, yield func(sequenceByID) bool) {
	t.sequences.Ascend(sequenceByID{id: sequenceID{producer: id}}, func(s sequenceByID) bool {
		return s.id.producer == id && yield(s)
	})
}

// touch sets when a producer was last active, and adds it if it is new.
func (t *producerTable) touch(id, now int64) {
	p, _ := t.byID.Get(producer{id: id})
	t.set(producer{id: id, lastActive: now, epoch: p.epoch})
}

func (t *producerTable) set(p producer) {
	old, ok := t.byID.Set(p)
	if ok && old == p {
		return
	}
	if ok {
		t.byActivity.Delete(old)
	}
	t.byActivity.Set(p)
}

// dropPartition forgets what was sent to a partition that goes away.
func (t *producerTable) dropPartition(tp TopicPartition) {
	var gone []sequenceID
	t.byPartition.Ascend(sequenceID{partition: tp, producer: math.MinInt64}, func(id sequenceID) bool {
		if id.partition != tp {
			return false
		}
		gone = append(gone, id)
		return true
	})
	for _, id := range gone {
		t.sequences.Delete(sequenceByID{id: id})
		t.byPartition.Delete(id)
	}
}

// expire forgets ids that have expired at now, the longest idle first, in at
// most so many steps, and tells whether there are more. An id of which a part
// is left is expired all the same.
func (t *producerTable) expire(now int64, steps int) (more bool) {
	for {
		oldest, ok := t.byActivity.Min()
		if !ok || !oldest.expired(now) {
			return false
		}
		if steps <= 0 {
			return true
		}
		var gone []sequenceID
		t.ofProducer(oldest.id, func(s sequenceByID) bool {
			gone = append(gone, s.id)
			return len(gone) < steps
		})
		for _, id := range gone {
			t.sequences.Delete(sequenceByID{id: id})
			t.byPartition.Delete(id)
		}
		if steps -= len(gone); steps <= 0 {
			continue // there may be more of this one
		}
		t.byID.Delete(oldest)
		t.byActivity.Delete(oldest)
		steps--
	}
}

func (s *State) allocateProducer() Result {
	if s.producers.byID.Len() >= s.capacity.producers {
		s.producers.expire(s.time, s.capacity.expirySteps)
	}
	if s.producers.byID.Len() >= s.capacity.producers {
		return Result{Err: ErrCatalogFull}
	}
	id := s.nextProducer
	s.nextProducer++
	s.producers.touch(id, s.time)
	return Result{Producer: id}
}

// lastEpoch is the highest that RaiseEpoch gives out; as in Kafka the one above
// it is left unused.
const lastEpoch = math.MaxInt16 - 1

// raiseEpoch takes time in proportion to the partitions that the producer sent
// to: a client may have raised its epoch in some of them by itself.
func (s *State) raiseEpoch(id int64) Result {
	p, ok := s.producers.known(id, s.time)
	if !ok {
		return Result{Err: ErrUnknownProducer}
	}
	highest := p.epoch
	s.producers.ofProducer(id, func(q sequenceByID) bool {
		highest = max(highest, q.sequence.epoch)
		return true
	})
	if highest >= lastEpoch {
		next := s.allocateProducer()
		if next.Err == nil {
			s.producers.set(producer{id: id, lastActive: s.time, epoch: math.MaxInt16})
		}
		return next
	}
	s.producers.set(producer{id: id, lastActive: s.time, epoch: highest + 1})
	return Result{Producer: id, Epoch: int64(highest) + 1}
}
