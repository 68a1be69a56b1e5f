package catalog

import (
	"fmt"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// Builder makes a State of what is known of a log by other means than its
// journal, when that is lost. Every value begins as it is in an empty catalog,
// and Build checks that the whole keeps the invariants.
type Builder struct {
	state *State
	err   error
}

// NewBuilder begins with no topics. The orphan floor is at the journal's time:
// what was sealed before and is not committed yet is uploaded again.
func NewBuilder(clusterID [16]byte, timeMs int64) *Builder {
	s := NewState(clusterID)
	s.level = FeatureLevel
	s.time = max(0, timeMs)
	s.orphanFloor = uint64(s.time)
	return &Builder{state: s}
}

func (b *Builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

// AddTopic makes a topic with empty partitions.
func (b *Builder) AddTopic(t Topic) {
	if r := b.state.createTopic(&CreateTopic{ID: t.ID, Name: t.Name, Partitions: t.Partitions, Config: t.Config}); r.Err != nil || !r.Created {
		b.fail("topic %s of name %q: %w", t.ID, t.Name, r.Err)
	}
}

// AddNode makes a node id known with its last number, as active at the journal's time.
func (b *Builder) AddNode(id NodeID, last uint64, hasWAL bool) {
	if b.state.nodes.Len() >= b.state.capacity.nodes {
		b.fail("node %s: %w", id, ErrCatalogFull)
		return
	}
	b.state.setNode(id, Node{Last: last, HasWAL: hasWAL, ActiveAt: b.state.time})
}

// Begin says at which offset a partition begins, to which nothing was added yet.
func (b *Builder) Begin(tp TopicPartition, at Offset) {
	p := b.state.Partition(tp)
	if p == nil || p.end != p.logStart || at < p.end {
		b.fail("partition %s cannot begin at %d", tp, at)
		return
	}
	b.state.setPartition(tp, &Partition{logStart: at, end: at})
}

// End is the end of a partition so far.
func (b *Builder) End(tp TopicPartition) Offset {
	if p := b.state.Partition(tp); p != nil {
		return p.end
	}
	return 0
}

// AddExtent adds records at the end of a partition; Base and CommitTime are
// filled in. It returns the offset of the first, or NoOffset if there is no such
// partition.
func (b *Builder) AddExtent(o NewObject, tp TopicPartition, x Extent) Offset {
	old := b.state.Partition(tp)
	if old == nil || x.Records < 1 || x.Len < 1 || x.Object != o.ID {
		b.fail("extent of object %s for partition %s", x.Object, tp)
		return NoOffset
	}
	if b.state.extents >= b.state.capacity.extents {
		b.fail("partition %s: %w", tp, ErrCatalogFull)
		return NoOffset
	}
	x.Base, x.CommitTime = old.end, b.state.time
	b.state.setPartition(tp, &Partition{
		logStart: old.logStart, end: x.End(), bytes: old.bytes + x.Len, extents: old.extents.append(x),
	})
	object, _ := b.state.Object(o.ID)
	object.NewObject = o
	object.Extents++
	b.state.objects.Set(object)
	b.state.extents++
	return x.Base
}

// Remember notes a batch that a producer sent to a partition at atMs of journal
// time, the latest last, so that it is recognised when it comes again. One that
// does not follow the one before is the first that is remembered. Of producers
// that have expired since only the id is noted.
func (b *Builder) Remember(tp TopicPartition, p recordbatch.Producer, records int32, base Offset, atMs int64) {
	b.state.nextProducer = max(b.state.nextProducer, p.ID+1)
	t := b.state.producers
	known, _ := t.byID.Get(producer{id: p.ID})
	known = producer{id: p.ID, epoch: known.epoch, lastActive: min(max(known.lastActive, atMs), b.state.time)}
	id := sequenceID{producer: p.ID, partition: tp}
	remembered := t.sequence(id)
	if known.expired(b.state.time) || remembered == nil && t.sequences.Len() >= b.state.capacity.producerPartitions {
		return
	}
	next := producerSequence{epoch: p.Epoch}
	if remembered != nil {
		if n := remembered.count; sequenceAdd(remembered.batches[n-1].last, 1) == p.BaseSequence {
			next = *remembered
		}
	}
	next.add(p, records, base)
	t.setSequence(id, &next)
	t.set(known)
}

// SkipProducerIDs leaves out so many producer ids before the next that is given
// out: some may have been given out that nothing is known of.
func (b *Builder) SkipProducerIDs(n int64) { b.state.nextProducer += n }

// Build returns the State.
func (b *Builder) Build() (*State, error) {
	if b.err != nil {
		return nil, b.err
	}
	return b.state, CheckAll(b.state)
}
