package catalog

import "github.com/wadilog/wadi/internal/recordbatch"

// commitLayout is what the encoding of a commit's result takes from the
// commit: for each unit how many appends it has, and for each append its
// partition, as an index, and its records. With it the base offset of all but
// the first append of a partition can be foretold.
type commitLayout struct {
	units   []int
	parts   []int32
	records []int32
	next    []Offset // per partition: the foretold base
}

// The flags of an append.
const (
	appendHasExpected = 1 << iota
	appendHasProducer
	appendHasGap   // does not begin where the append before it ended
	appendHasToken // only in a keyed commit
	appendFlagsEnd
)

// The flags of a unit in a keyed commit.
const (
	unitHasKey = 1 << iota
	unitFlagsEnd
)

// The shortest encodings in bytes.
const (
	unitLenMin   = 1
	appendLenMin = 9
)

// appendCommit encodes a commit. Topics and partitions are spelled out where
// they come first, and numbered in that order from 1; later they are named by
// their number. Only in a keyed commit are there flags of units, and tokens.
func appendCommit(dst []byte, c *CommitSegment, keyed bool) ([]byte, *commitLayout) {
	dst = append(dst, c.Node[:]...)
	dst = appendUvarint(dst, c.After)
	dst = appendUvarint(dst, c.Upto)
	dst = appendObject(dst, &c.Object)
	dst = appendUvarint(dst, uint64(len(c.Units)))
	w := commitWriter{
		dst:        dst,
		layout:     &commitLayout{units: make([]int, len(c.Units))},
		topics:     map[TopicID]uint64{},
		partitions: map[TopicPartition]uint64{},
	}
	for i := range c.Units {
		appends := c.Units[i].Appends
		w.layout.units[i] = len(appends)
		if keyed {
			w.key(c.Units[i].Key)
		}
		w.dst = appendUvarint(w.dst, uint64(len(appends)))
		for j := range appends {
			w.append(&appends[j])
		}
	}
	w.layout.next = make([]Offset, len(w.partitions))
	return w.dst, w.layout
}

type commitWriter struct {
	dst        []byte
	layout     *commitLayout
	topics     map[TopicID]uint64
	partitions map[TopicPartition]uint64

	last         TopicPartition // of the append before, with its number; 0 if there is none
	lastNumber   uint64
	end          Pos   // of the append before
	maxTimestamp int64 // of the append before
}

func (w *commitWriter) key(k RequestKey) {
	if k.isNone() {
		w.dst = append(w.dst, 0)
		return
	}
	w.dst = append(w.dst, unitHasKey)
	w.dst = append(w.dst, k.ID[:]...)
	w.dst = append(w.dst, k.Request[:]...)
}

func (w *commitWriter) append(a *Append) {
	flags := byte(0)
	if a.Expected != AnyOffset {
		flags |= appendHasExpected
	}
	if a.Producer.ID != recordbatch.NoProducer.ID {
		flags |= appendHasProducer
	}
	if a.Pos != w.end {
		flags |= appendHasGap
	}
	if a.Token != "" {
		flags |= appendHasToken
	}
	w.dst = append(w.dst, flags)
	w.partition(a.Partition)
	if flags&appendHasGap != 0 {
		w.dst = appendVarint(w.dst, int64(a.Pos-w.end))
	}
	w.dst = appendUvarint(w.dst, uint64(a.Len))
	w.dst = appendCRC(w.dst, a.CRC)
	w.dst = appendUvarint(w.dst, uint64(uint32(a.Records)))
	w.dst = appendVarint(w.dst, a.MaxTimestamp-w.maxTimestamp)
	if flags&appendHasExpected != 0 {
		w.dst = appendUvarint(w.dst, uint64(a.Expected))
	}
	if flags&appendHasProducer != 0 {
		w.dst = appendUvarint(w.dst, uint64(a.Producer.ID))
		w.dst = appendUvarint(w.dst, uint64(uint16(a.Producer.Epoch)))
		w.dst = appendUvarint(w.dst, uint64(uint32(a.Producer.BaseSequence)))
	}
	if flags&appendHasToken != 0 {
		w.dst = appendString(w.dst, a.Token)
	}
	w.end, w.maxTimestamp = a.Pos+Pos(a.Len), a.MaxTimestamp
	w.layout.records = append(w.layout.records, a.Records)
}

func (w *commitWriter) partition(tp TopicPartition) {
	n, known := w.lastNumber, w.lastNumber > 0 && w.last == tp
	if !known { // segments are grouped by partition, so mostly it is the same
		n, known = w.partitions[tp]
	}
	if known {
		w.dst = appendUvarint(w.dst, n)
	} else {
		n = uint64(len(w.partitions)) + 1
		w.partitions[tp] = n
		w.dst = append(w.dst, 0)
		if topic, known := w.topics[tp.Topic]; known {
			w.dst = appendUvarint(w.dst, topic)
		} else {
			w.topics[tp.Topic] = uint64(len(w.topics)) + 1
			w.dst = append(w.dst, 0)
			w.dst = append(w.dst, tp.Topic[:]...)
		}
		w.dst = appendUvarint(w.dst, uint64(uint32(tp.Partition)))
	}
	w.last, w.lastNumber = tp, n
	w.layout.parts = append(w.layout.parts, int32(n-1))
}

func (r *wireReader) commit(c *CommitSegment, keyed bool) *commitLayout {
	c.Node = r.id()
	c.After = r.uvarint()
	c.Upto = r.uvarint()
	c.Object = r.object()
	n := r.count(unitLenMin)
	d := commitReader{
		wireReader: r,
		keyed:      keyed,
		layout:     &commitLayout{},
		known:      map[TopicPartition]struct{}{},
		topicKnown: map[TopicID]struct{}{},
	}
	if n > 0 {
		c.Units = make([]Unit, n)
		d.layout.units = make([]int, n)
	}
	for i := range c.Units {
		if keyed {
			c.Units[i].Key = r.key()
		}
		if n := r.count(appendLenMin); n > 0 {
			c.Units[i].Appends = make([]Append, n)
			d.layout.units[i] = n
		}
		for j := range c.Units[i].Appends {
			if d.append(&c.Units[i].Appends[j]); r.err != nil {
				return d.layout
			}
		}
	}
	r.require(r.err != nil || keyed == c.needsKeys())
	d.layout.next = make([]Offset, len(d.partitions))
	return d.layout
}

// key reads the flags of a unit in a keyed commit, and its key.
func (r *wireReader) key() (k RequestKey) {
	flags := r.byte()
	r.require(flags < unitFlagsEnd)
	if flags&unitHasKey != 0 {
		k = RequestKey{ID: r.id(), Request: r.id()}
		r.require(!k.isNone())
	}
	return k
}

type commitReader struct {
	*wireReader
	keyed      bool
	layout     *commitLayout
	topics     []TopicID
	topicKnown map[TopicID]struct{}
	partitions []TopicPartition
	known      map[TopicPartition]struct{}

	end          Pos
	maxTimestamp int64
}

func (r *commitReader) append(a *Append) {
	flags := r.byte()
	if flags >= appendFlagsEnd || flags&appendHasToken != 0 && !r.keyed {
		r.fail(errOutOfRange)
	}
	a.Partition = r.partition()
	a.Pos = r.end
	if flags&appendHasGap != 0 {
		gap := r.varint()
		if gap == 0 {
			r.fail(errOutOfRange)
		}
		a.Pos += Pos(gap)
	}
	a.Len = int64(r.uvarint())
	a.CRC = r.crc()
	a.Records = int32(r.number())
	a.MaxTimestamp = r.maxTimestamp + r.varint()
	a.Expected = AnyOffset
	if flags&appendHasExpected != 0 {
		a.Expected = Offset(r.uvarint())
		if a.Expected == AnyOffset {
			r.fail(errOutOfRange)
		}
	}
	a.Producer = recordbatch.NoProducer
	if flags&appendHasProducer != 0 {
		a.Producer.ID = int64(r.uvarint())
		epoch := r.number()
		a.Producer.Epoch = int16(epoch)
		a.Producer.BaseSequence = int32(r.number())
		if epoch > 1<<16-1 || a.Producer.ID == recordbatch.NoProducer.ID {
			r.fail(errOutOfRange)
		}
	}
	if flags&appendHasToken != 0 {
		a.Token = r.string()
		r.require(a.Token != "")
	}
	r.end, r.maxTimestamp = a.Pos+Pos(a.Len), a.MaxTimestamp
	r.layout.records = append(r.layout.records, a.Records)
}

func (r *commitReader) partition() TopicPartition {
	n := r.uvarint()
	switch {
	case n > uint64(len(r.partitions)):
		r.fail(errReference)
		return TopicPartition{}
	case n == 0:
		tp := TopicPartition{Topic: r.topic(), Partition: int32(r.number())}
		if _, again := r.known[tp]; again {
			r.fail(errOrder)
		}
		r.known[tp] = struct{}{}
		r.partitions = append(r.partitions, tp)
		n = uint64(len(r.partitions))
	}
	r.layout.parts = append(r.layout.parts, int32(n-1))
	return r.partitions[n-1]
}

func (r *commitReader) topic() TopicID {
	n := r.uvarint()
	switch {
	case n > uint64(len(r.topics)):
		r.fail(errReference)
		return TopicID{}
	case n == 0:
		id := TopicID(r.id())
		if _, again := r.topicKnown[id]; again {
			r.fail(errOrder)
		}
		r.topicKnown[id] = struct{}{}
		r.topics = append(r.topics, id)
		n = uint64(len(r.topics))
	}
	return r.topics[n-1]
}
