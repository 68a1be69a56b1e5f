package catalog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/wadilog/wadi/internal/segment"
)

// ErrNewerSnapshot is an encoded State that only a newer version can read.
var ErrNewerSnapshot = errors.New("snapshot of a newer version")

// snapshotItemLenMax bounds the bytes of one item, the unit in which a
// StateDecoder reads: it keeps less than this over between two chunks.
const snapshotItemLenMax = 2048

// StateDecoder rebuilds a State from the chunks that Encode made, however they
// were cut. The zero value is ready. It checks what it needs to stay in bounds
// and that equal states have equal bytes; CheckAll checks the rest.
type StateDecoder struct {
	rest  []byte // the beginning of an item
	crc   uint32 // of what was taken
	step  func(*wireReader)
	state *State
	done  bool
	err   error

	left    uint64            // items of the section still to come
	items   func(*wireReader) // reads one item of the section
	section int

	// What is under way within a section.
	topic        *Topic
	number       int32 // of the partition
	partition    Partition
	extentsLeft  uint64
	tail         []Extent
	producer     producer
	sequences    uint64 // of the producer, still to come
	lastSequence sequenceID
	request      requestByKey
	landedLeft   uint64
	groups       groupReader
	empty        *Partition // shared by all idle partitions

	// reduce makes of a partition what the State is to hold; nil for all of it.
	reduce func(TopicPartition, *Partition) *Partition
}

// Write takes the next bytes. Its error is a *CorruptError, ErrNewerSnapshot or
// a *NewerLevelError.
func (d *StateDecoder) Write(chunk []byte) error {
	if d.err != nil {
		return d.err
	}
	if d.step == nil {
		d.step = d.header
	}
	b := chunk
	if len(d.rest) > 0 {
		b = append(d.rest, chunk...)
	}
	taken := 0 // of b
	for !d.done {
		r := wireReader{b: b[taken:]}
		d.step(&r)
		if r.err == errShort && len(b)-taken < snapshotItemLenMax {
			break
		}
		if r.err != nil {
			return d.fail(r.err)
		}
		length := len(b) - taken - len(r.b)
		d.crc = crc32.Update(d.crc, segment.Castagnoli, b[taken:taken+length])
		taken += length
	}
	if d.done && taken < len(b) {
		return d.fail(errTrailing)
	}
	d.rest = append(d.rest[:0:0], b[taken:]...)
	return nil
}

func (d *StateDecoder) fail(err error) error {
	if !errors.Is(err, ErrNewerSnapshot) && !errors.Is(err, ErrNewerLevel) {
		err = &CorruptError{What: "snapshot", Err: err}
	}
	d.err, d.state = err, nil
	return err
}

// State ends the decoding.
func (d *StateDecoder) State() (*State, error) {
	switch {
	case d.err != nil:
		return nil, d.err
	case !d.done:
		return nil, d.fail(errShort)
	}
	return d.state, nil
}

// Each step reads one item, and changes the decoder only if it was there whole.

func (d *StateDecoder) header(r *wireReader) {
	if magic := r.take(len(snapshotMagic)); r.err == nil && string(magic) != snapshotMagic {
		r.fail(errors.New("wrong magic"))
	}
	version := r.uvarint()
	if r.err == nil && version > snapshotVersion {
		r.fail(fmt.Errorf("%w: version %d", ErrNewerSnapshot, version))
	}
	level := r.number()
	if r.err == nil && level > FeatureLevel {
		r.fail(&NewerLevelError{Level: level, Known: FeatureLevel})
	}
	s := NewState(r.id())
	s.level = level
	s.time = r.signed()
	s.orphanFloor = r.uvarint()
	s.nextProducer = r.signed()
	if level >= levelOfGroups {
		s.groups.lastEpoch = r.signed()
	}
	if r.require(version == snapshotVersion && level >= firstLevel && s.nextProducer > 0); r.err != nil {
		return
	}
	d.state = s
	d.empty = &Partition{}
	d.step = d.count
}

// signed reads an unsigned varint of at most 63 bits.
func (r *wireReader) signed() int64 {
	v := r.uvarint()
	r.require(v <= math.MaxInt64)
	return int64(v)
}

// count begins the next section, or ends the last.
func (d *StateDecoder) count(r *wireReader) {
	sections := []func(*wireReader){d.readNode, d.readObject, d.readGarbage, d.readTopic, d.readProducer}
	if d.state.level >= levelOfKeys {
		sections = append(sections, d.readRequest, d.readFence)
	}
	if d.state.level >= levelOfGroups {
		sections = append(sections, d.readGroup)
	}
	if d.state.level >= levelOfCompaction {
		sections = append(sections, d.readCompaction)
	}
	if d.section == len(sections) {
		d.trailer(r)
		return
	}
	n := r.uvarint()
	if r.err != nil {
		return
	}
	d.items, d.left = sections[d.section], n
	d.section++
	d.step = d.next
}

// next reads an item of the section.
func (d *StateDecoder) next(r *wireReader) {
	if d.left == 0 {
		d.step = d.count
		return
	}
	d.items(r)
	if r.err == nil {
		d.left--
	}
}

func (d *StateDecoder) trailer(r *wireReader) {
	crc := r.crc()
	if r.err == nil && crc != d.crc {
		r.fail(errChecksum)
	}
	d.done = r.err == nil
}

func (d *StateDecoder) readNode(r *wireReader) {
	n := nodeByID{id: r.id(), node: Node{Last: r.uvarint(), HasWAL: r.bool(), ActiveAt: r.signed()}}
	if last, ok := d.state.nodes.Max(); ok && r.err == nil && !d.state.nodes.Less(last, n) {
		r.fail(errOrder)
	}
	if r.err == nil {
		d.state.nodes.Load(n)
	}
}

func (d *StateDecoder) readObject(r *wireReader) {
	o := Object{NewObject: r.object(), Extents: r.signed()}
	r.require(o.Extents > 0)
	if last, ok := d.state.objects.Max(); ok && r.err == nil && !d.state.objects.Less(last, o) {
		r.fail(errOrder)
	}
	if r.err == nil {
		d.state.objects.Load(o)
	}
}

func (d *StateDecoder) readGarbage(r *wireReader) {
	g := Garbage{NewObject: r.object(), FreedAt: r.signed()}
	if last, ok := d.state.garbage.byID.Max(); ok && r.err == nil && !d.state.garbage.byID.Less(last, g) {
		r.fail(errOrder)
	}
	if r.err == nil {
		d.state.garbage.add(g)
	}
}

func (d *StateDecoder) readTopic(r *wireReader) {
	t := &Topic{ID: r.id()}
	nameLen := r.uvarint()
	r.require(nameLen <= TopicNameLenMax)
	t.Name = string(r.take(int(nameLen)))
	partitions := r.number()
	t.Config = r.config()
	r.require(ValidTopicName(t.Name) && partitions >= 1 && partitions <= TopicPartitionsMax && t.Config.valid())
	if r.err != nil {
		return
	}
	t.Partitions = int32(partitions)
	item := topicByID{id: t.ID, topic: t}
	if last, ok := d.state.topics.Max(); ok && !d.state.topics.Less(last, item) {
		r.fail(errOrder)
		return
	}
	if _, taken := d.state.TopicByName(t.Name); taken {
		r.fail(errOrder)
		return
	}
	d.state.topics.Load(item)
	d.state.names.Set(topicByName{name: t.Name, topic: t})
	d.topic, d.number = t, 0
	d.step = d.readPartition
}

func (d *StateDecoder) readPartition(r *wireReader) {
	p := Partition{logStart: Offset(r.signed())}
	length := r.signed()
	extents := r.uvarint()
	below := int64(0)
	if extents > 0 {
		below = r.signed()
	}
	if r.require(length <= math.MaxInt64-int64(p.logStart) && below <= int64(p.logStart)); r.err != nil {
		return
	}
	p.end = p.logStart // for now: where the extents end so far
	d.partition, d.extentsLeft = p, extents
	if extents == 0 {
		if length != 0 {
			r.fail(errOutOfRange)
			return
		}
		d.endPartition()
		return
	}
	end := p.end + Offset(length)
	d.partition.end -= Offset(below)
	d.tail = nil
	d.step = func(r *wireReader) { d.readExtent(r, end) }
}

// readExtent reads one extent of a partition that ends at end.
func (d *StateDecoder) readExtent(r *wireReader, end Offset) {
	p := &d.partition
	before := Extent{}
	if len(d.tail) > 0 {
		before = d.tail[len(d.tail)-1]
	}
	e := Extent{Object: r.id(), Pos: Pos(r.signed()), Len: r.signed(), CRC: r.crc(), Base: p.end}
	records := r.signed()
	e.MaxTimestamp = before.MaxTimestamp + r.varint()
	e.CommitTime = before.CommitTime + r.varint()
	r.require(records >= 1 && records <= math.MaxInt32 && records <= int64(end-p.end))
	r.require(e.Len >= 1 && p.bytes <= math.MaxInt64-e.Len)
	if r.err != nil {
		return
	}
	e.Records = int32(records)
	if r.require(e.End() > p.logStart); r.err != nil {
		return
	}
	if len(d.tail) == extentChunkLen {
		p.extents.sealed = appendShared(p.extents.sealed, p.extents.sealedLen, sealChunk(d.tail), math.MaxInt)
		p.extents.sealedLen++
		d.tail = nil
	}
	if d.tail == nil {
		d.tail = make([]Extent, 0, min(d.extentsLeft, extentChunkLen))
	}
	d.tail = append(d.tail, e)
	p.end = e.End()
	p.bytes += e.Len
	d.state.extents++
	if d.extentsLeft--; d.extentsLeft > 0 {
		return
	}
	if p.end != end {
		r.fail(errOutOfRange)
		return
	}
	p.extents.tail, p.extents.tailLen = sharedArrayOf(d.tail), int32(len(d.tail))
	d.tail = nil
	d.endPartition()
}

func (d *StateDecoder) endPartition() {
	p := d.empty
	if d.partition.end > 0 {
		made := d.partition
		p = &made
	}
	tp := TopicPartition{Topic: d.topic.ID, Partition: d.number}
	if d.reduce != nil && p != d.empty {
		p = d.reduce(tp, p)
	}
	d.state.partitions.Load(partitionByID{id: tp, partition: p})
	d.step = d.readPartition
	if d.number++; d.number == d.topic.Partitions {
		d.step = d.next
	}
}

func (d *StateDecoder) readProducer(r *wireReader) {
	step := r.signed()
	p := producer{lastActive: r.signed()}
	if d.state.level >= levelOfKeys {
		epoch := r.number()
		r.require(epoch <= math.MaxInt16)
		p.epoch = int16(epoch)
	}
	sequences := r.uvarint()
	r.require(step > 0 && step < d.state.nextProducer-d.producer.id)
	if r.err != nil {
		return
	}
	p.id = d.producer.id + step
	d.state.producers.byID.Load(p)
	d.state.producers.byActivity.Set(p)
	d.producer, d.sequences = p, sequences
	d.lastSequence = sequenceID{producer: -1}
	d.step = d.readSequence
}

func (d *StateDecoder) readSequence(r *wireReader) {
	if d.sequences == 0 {
		d.step = d.next
		return
	}
	id := sequenceID{producer: d.producer.id, partition: TopicPartition{Topic: r.id(), Partition: int32(r.number())}}
	epoch := r.number()
	q := &producerSequence{epoch: int16(epoch), count: r.byte()}
	next := r.number()
	r.require(epoch <= math.MaxInt16 && next <= math.MaxInt32 && q.count >= 1 && q.count <= rememberedBatches)
	if r.err != nil {
		return
	}
	for i := range q.count {
		records := r.signed()
		base := Offset(r.signed())
		r.require(records >= 1 && records <= math.MaxInt32)
		first := int32(next)
		last := sequenceAdd(first, int32(records)-1)
		q.batches[i] = producedBatch{base: base, first: first, last: last}
		next = uint32(sequenceAdd(last, 1))
	}
	switch {
	case r.err != nil:
		return
	case d.state.Partition(id.partition) == nil:
		r.fail(errReference)
		return
	case d.lastSequence.producer == id.producer && d.lastSequence.partition.compare(id.partition) >= 0:
		r.fail(errOrder)
		return
	}
	d.state.producers.setSequence(id, q)
	d.lastSequence = id
	d.sequences--
}

// landedPrealloc bounds the room made for what landed under a key before it is decoded.
const landedPrealloc = 64

func (d *StateDecoder) readRequest(r *wireReader) {
	k := requestByKey{id: r.id(), request: &keyedRequest{request: r.id(), time: r.signed()}}
	landed := r.uvarint()
	if last, ok := d.state.requests.byKey.Max(); ok && r.err == nil && !d.state.requests.byKey.Less(last, k) {
		r.fail(errOrder)
	}
	if r.err != nil {
		return
	}
	k.request.landed = make([]LandedAppend, 0, min(landed, landedPrealloc))
	d.request, d.landedLeft = k, landed
	d.step = d.readLanded
}

func (d *StateDecoder) readLanded(r *wireReader) {
	if d.landedLeft == 0 {
		d.state.requests.add(d.request.id, d.request.request)
		d.request = requestByKey{}
		d.step = d.next
		return
	}
	partition, records := r.number(), r.number()
	a := LandedAppend{Partition: int32(partition), Records: int32(records), Base: Offset(r.signed()), MaxTimestamp: r.varint()}
	r.require(partition <= math.MaxInt32 && records >= 1 && records <= math.MaxInt32)
	if r.err == nil {
		d.request.request.landed = append(d.request.request.landed, a)
		d.landedLeft--
	}
}

func (d *StateDecoder) readFence(r *wireReader) {
	f := fence{partition: TopicPartition{Topic: r.id(), Partition: int32(r.number())}}
	length := r.uvarint()
	r.require(length <= TokenLenMax)
	f.token = string(r.take(int(length)))
	r.require(ValidToken(f.token))
	if last, ok := d.state.fences.Max(); ok && r.err == nil && !d.state.fences.Less(last, f) {
		r.fail(errOrder)
	}
	if r.err == nil && d.state.Partition(f.partition) == nil {
		r.fail(errReference)
	}
	if r.err == nil {
		d.state.fences.Load(f)
	}
}

func (d *StateDecoder) readCompaction(r *wireReader) {
	c := compactionByTopic{topic: r.id(), job: r.id(), until: r.signed()}
	if last, ok := d.state.compactions.Max(); ok && r.err == nil && !d.state.compactions.Less(last, c) {
		r.fail(errOrder)
	}
	if r.err == nil {
		d.state.compactions.Load(c)
	}
}
