package catalog

import (
	"hash/crc32"

	"github.com/wadilog/wadi/internal/segment"
)

// snapshotMagic begins every encoded State.
const snapshotMagic = "WADISTAT"

// snapshotVersion is the version of the encoding that this code writes, and the
// only one that it reads.
const snapshotVersion = 1

// snapshotChunkLen is the length in bytes at which Encode passes on what it has.
const snapshotChunkLen = 256 << 10

// Encode passes the whole state to yield in chunks of about 256 KiB, in the
// order of keys, so that equal states give equal bytes. yield may keep the
// chunks. It returns the error of yield, if any. The receiver must not be
// changed meanwhile: an owner that goes on applying encodes a Clone.
func (s *State) Encode(yield func(chunk []byte) error) error {
	w := &snapshotWriter{yield: yield, buf: newSnapshotChunk()}
	w.header(s)
	w.count(s.nodes.Len())
	s.nodes.Scan(w.node)
	w.count(s.objects.Len())
	s.objects.Scan(w.object)
	w.count(s.garbage.byID.Len())
	s.garbage.byID.Scan(w.garbage)
	w.count(s.topics.Len())
	s.topics.Scan(func(t topicByID) bool { return w.topic(s, t.topic) })
	w.count(s.producers.byID.Len())
	s.producers.byID.Scan(func(p producer) bool { return w.producer(s, p) })
	if s.level >= levelOfKeys {
		w.count(s.requests.byKey.Len())
		s.requests.byKey.Scan(w.request)
		w.count(s.fences.Len())
		s.fences.Scan(w.fence)
	}
	if s.level >= levelOfGroups {
		w.count(s.groups.byName.Len())
		s.groups.byName.Scan(func(g *Group) bool { return w.group(s, g) })
	}
	if s.level >= levelOfCompaction {
		w.count(s.compactions.Len())
		s.compactions.Scan(w.compaction)
	}
	return w.finish()
}

func newSnapshotChunk() []byte { return make([]byte, 0, snapshotChunkLen+snapshotItemLenMax) }

// snapshotWriter collects bytes into chunks. Its methods return false after yield failed.
type snapshotWriter struct {
	yield        func([]byte) error
	buf          []byte
	crc          uint32 // of what was yielded
	err          error
	lastProducer int64
}

// item ends an item of at most snapshotItemLenMax bytes.
func (w *snapshotWriter) item() bool {
	if len(w.buf) >= snapshotChunkLen {
		w.flush()
	}
	return w.err == nil
}

func (w *snapshotWriter) flush() {
	if w.err != nil {
		return
	}
	w.crc = crc32.Update(w.crc, segment.Castagnoli, w.buf)
	w.err = w.yield(w.buf)
	w.buf = newSnapshotChunk()
}

func (w *snapshotWriter) finish() error {
	if w.err != nil {
		return w.err
	}
	crc := crc32.Update(w.crc, segment.Castagnoli, w.buf)
	w.buf = appendCRC(w.buf, crc)
	return w.yield(w.buf)
}

func (w *snapshotWriter) count(n int) { w.buf = appendUvarint(w.buf, uint64(n)) }

func (w *snapshotWriter) header(s *State) {
	w.buf = append(w.buf, snapshotMagic...)
	w.buf = appendUvarint(w.buf, snapshotVersion)
	w.buf = appendUvarint(w.buf, uint64(s.level))
	w.buf = append(w.buf, s.clusterID[:]...)
	w.buf = appendUvarint(w.buf, uint64(s.time))
	w.buf = appendUvarint(w.buf, s.orphanFloor)
	w.buf = appendUvarint(w.buf, uint64(s.nextProducer))
	if s.level >= levelOfGroups {
		w.buf = appendUvarint(w.buf, uint64(s.groups.lastEpoch))
	}
}

func (w *snapshotWriter) node(n nodeByID) bool {
	w.buf = append(w.buf, n.id[:]...)
	w.buf = appendUvarint(w.buf, n.node.Last)
	w.buf = appendBool(w.buf, n.node.HasWAL)
	w.buf = appendUvarint(w.buf, uint64(n.node.ActiveAt))
	return w.item()
}

func (w *snapshotWriter) object(o Object) bool {
	w.buf = appendObject(w.buf, &o.NewObject)
	w.buf = appendUvarint(w.buf, uint64(o.Extents))
	return w.item()
}

func (w *snapshotWriter) garbage(g Garbage) bool {
	w.buf = appendObject(w.buf, &g.NewObject)
	w.buf = appendUvarint(w.buf, uint64(g.FreedAt))
	return w.item()
}

func (w *snapshotWriter) topic(s *State, t *Topic) bool {
	w.buf = append(w.buf, t.ID[:]...)
	w.buf = appendString(w.buf, t.Name)
	w.buf = appendUvarint(w.buf, uint64(t.Partitions))
	w.buf = appendConfig(w.buf, &t.Config)
	first := partitionByID{id: TopicPartition{Topic: t.ID}}
	s.partitions.Ascend(first, func(p partitionByID) bool {
		return p.id.Topic == t.ID && w.partition(p.partition)
	})
	return w.item()
}

func (w *snapshotWriter) partition(p *Partition) bool {
	w.buf = appendUvarint(w.buf, uint64(p.logStart))
	w.buf = appendUvarint(w.buf, uint64(p.end-p.logStart))
	w.count(p.extents.len())
	if first := p.extents.first(); first != nil {
		w.buf = appendUvarint(w.buf, uint64(p.logStart-first.Base))
	}
	before := &Extent{}
	for e := range p.extents.all {
		if !w.extent(e, before) {
			break
		}
		before = e
	}
	return w.item()
}

// extent encodes an extent without its base offset, which is the end of the one before.
func (w *snapshotWriter) extent(e, before *Extent) bool {
	w.buf = append(w.buf, e.Object[:]...)
	w.buf = appendUvarint(w.buf, uint64(e.Pos))
	w.buf = appendUvarint(w.buf, uint64(e.Len))
	w.buf = appendCRC(w.buf, e.CRC)
	w.buf = appendUvarint(w.buf, uint64(e.Records))
	w.buf = appendVarint(w.buf, e.MaxTimestamp-before.MaxTimestamp)
	w.buf = appendVarint(w.buf, e.CommitTime-before.CommitTime)
	return w.item()
}

func (w *snapshotWriter) producer(s *State, p producer) bool {
	t := s.producers
	w.buf = appendUvarint(w.buf, uint64(p.id-w.lastProducer))
	w.lastProducer = p.id
	w.buf = appendUvarint(w.buf, uint64(p.lastActive))
	if s.level >= levelOfKeys {
		w.buf = appendUvarint(w.buf, uint64(p.epoch))
	}
	// Counted first, then encoded: one producer may have many.
	n := 0
	t.ofProducer(p.id, func(sequenceByID) bool { n++; return true })
	w.count(n)
	t.ofProducer(p.id, w.sequence)
	return w.item()
}

func (w *snapshotWriter) sequence(s sequenceByID) bool {
	q := s.sequence
	w.buf = append(w.buf, s.id.partition.Topic[:]...)
	w.buf = appendUvarint(w.buf, uint64(s.id.partition.Partition))
	w.buf = appendUvarint(w.buf, uint64(q.epoch))
	w.buf = append(w.buf, q.count)
	w.buf = appendUvarint(w.buf, uint64(q.batches[0].first))
	for _, b := range q.batches[:q.count] {
		w.buf = appendUvarint(w.buf, uint64(b.records()))
		w.buf = appendUvarint(w.buf, uint64(b.base))
	}
	return w.item()
}

func (w *snapshotWriter) request(k requestByKey) bool {
	w.buf = append(w.buf, k.id[:]...)
	w.buf = append(w.buf, k.request.request[:]...)
	w.buf = appendUvarint(w.buf, uint64(k.request.time))
	w.count(len(k.request.landed))
	for _, a := range k.request.landed {
		w.buf = appendUvarint(w.buf, uint64(a.Partition))
		w.buf = appendUvarint(w.buf, uint64(a.Records))
		w.buf = appendUvarint(w.buf, uint64(a.Base))
		w.buf = appendVarint(w.buf, a.MaxTimestamp)
		if !w.item() {
			break
		}
	}
	return w.item()
}

func (w *snapshotWriter) fence(f fence) bool {
	w.buf = append(w.buf, f.partition.Topic[:]...)
	w.buf = appendUvarint(w.buf, uint64(f.partition.Partition))
	w.buf = appendString(w.buf, f.token)
	return w.item()
}

func (w *snapshotWriter) compaction(c compactionByTopic) bool {
	w.buf = append(w.buf, c.topic[:]...)
	w.buf = append(w.buf, c.job[:]...)
	w.buf = appendUvarint(w.buf, uint64(c.until))
	return w.item()
}
