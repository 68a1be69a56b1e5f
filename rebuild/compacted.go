package rebuild

import (
	"cmp"
	"context"
	"encoding/binary"
	"math"
	"slices"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/verify"
)

// compactedRun is offsets of a partition whose batches a compacted segment holds.
// They are what the catalog had, whether the segment ever replaced others or not.
type compactedRun struct {
	source    *source
	base, end catalog.Offset
	pos, len  int64 // in the object
	crc       uint32
	latest    int64 // max timestamp
}

// looseBatch is a batch of a flush in a partition of which there are compacted
// runs too. It may be in one of these.
type looseBatch struct {
	source   *source
	run      *segment.IndexRun
	number   int   // in the run
	pos      int64 // in the object
	identity batchIdentity
}

// batchIdentity tells one batch from another: a producer's by its sequence, others
// by what the index says and by their CRC32C.
type batchIdentity struct {
	producer int64
	epoch    int16
	sequence int32
	records  int32

	// Of a batch without a producer.
	len    int32
	latest int64
	crc    uint32 // 0 while it is not known
}

func identityOf(b *segment.IndexBatch) batchIdentity {
	if b.ProducerID >= 0 {
		return batchIdentity{producer: b.ProducerID, epoch: b.ProducerEpoch, sequence: b.BaseSequence, records: b.Records}
	}
	return batchIdentity{producer: -1, len: b.Len, records: b.Records, latest: b.MaxTimestamp}
}

// addLoose notes the batches of a run of a flush, to be added by addCompacted.
func (w *builder) addLoose(src *source, run *segment.IndexRun, partition int32) {
	pos := int64(run.Pos)
	for i := range run.Batches {
		w.loose[partition] = append(w.loose[partition], looseBatch{
			source: src, run: run, number: i, pos: pos, identity: identityOf(&run.Batches[i]),
		})
		pos += int64(run.Batches[i].Len)
	}
}

// addCompacted adds the partitions of which there are compacted runs. These have
// offsets; between and behind them stands what only flushes hold.
func (w *builder) addCompacted(ctx context.Context) error {
	for tp, number := range w.found.partitions {
		if len(w.found.runs[number]) == 0 || w.found.topics[tp.Topic].out {
			continue
		}
		m := merger{builder: w, tp: tp}
		if err := m.merge(ctx, w.found.runs[number], w.loose[number]); err != nil {
			return err
		}
	}
	return nil
}

// merger puts one partition together.
type merger struct {
	*builder
	tp catalog.TopicPartition
}

// chosenRun is the part of a compacted run that is taken, from a batch on.
type chosenRun struct {
	compactedRun
	run  *segment.IndexRun // nil if it is taken whole and nothing more need be known
	from int               // batch
}

func (m *merger) merge(ctx context.Context, runs []compactedRun, loose []looseBatch) error {
	oldest := uint64(math.MaxUint64) // that a loose batch was sealed
	for i := range loose {
		oldest = min(oldest, loose[i].source.object.ID.Time())
	}
	chosen, err := m.choose(ctx, runs, oldest)
	if err != nil {
		return err
	}
	if loose, err = m.withoutCompacted(ctx, chosen, loose); err != nil {
		return err
	}
	for _, p := range m.arrange(chosen, loose) {
		if err := m.add(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// indexRun reads the index of a segment, and returns the partition's run.
func (m *merger) indexRun(ctx context.Context, src *source) (*segment.IndexRun, error) {
	d, err := verify.ReadIndex(ctx, m.store.Read, objstore.ObjectInfo{Key: segment.Key(src.object.ID), Size: src.object.Size})
	if err != nil {
		return nil, err
	}
	run, _ := d.Index.Find(m.tp.Topic, m.tp.Partition)
	return run, nil
}

// choose covers the offsets of all runs once. Runs overlap where one was compacted
// again, or two nodes did the same; their batches are the same then. Batches are
// only looked at where runs overlap, where a loose batch, sealed at oldest or
// later, may be one of them, and where their producers are remembered.
func (m *merger) choose(ctx context.Context, runs []compactedRun, oldest uint64) ([]chosenRun, error) {
	slices.SortFunc(runs, func(a, b compactedRun) int {
		return cmp.Or(cmp.Compare(a.base, b.base), cmp.Compare(b.end, a.end), b.source.object.ID.Compare(a.source.object.ID))
	})
	var chosen []chosenRun
	end := catalog.Offset(-1)
	for _, r := range runs {
		if r.end <= end {
			continue
		}
		sealed := r.source.object.ID.Time()
		if r.base >= end && sealed < oldest && m.at.time-int64(sealed) > catalog.ProducerExpiryMs {
			chosen, end = append(chosen, chosenRun{compactedRun: r}), r.end
			continue
		}
		run, err := m.indexRun(ctx, r.source)
		if err != nil {
			return nil, err
		}
		from, base := 0, r.base
		for base < end && from < len(run.Batches) {
			base += catalog.Offset(run.Batches[from].Records)
			from++
		}
		if r.base < end && base != end {
			m.report.Contradictions++
			continue
		}
		c := chosenRun{compactedRun: r, run: run, from: from}
		c.base = base
		chosen = append(chosen, c)
		end = r.end
	}
	return chosen, nil
}

// withoutCompacted returns the loose batches that are in no compacted run.
func (m *merger) withoutCompacted(ctx context.Context, chosen []chosenRun, loose []looseBatch) ([]looseBatch, error) {
	known := map[batchIdentity]int{} // how many there are
	for _, c := range chosen {
		for i := c.from; c.run != nil && i < len(c.run.Batches); i++ {
			known[identityOf(&c.run.Batches[i])]++
		}
	}
	suspects := false // batches without a producer that may be the same
	for i := range loose {
		b := &loose[i]
		suspects = suspects || b.identity.producer < 0 && known[b.identity] > 0
	}
	if suspects {
		if err := m.hash(ctx, chosen, known, loose); err != nil {
			return nil, err
		}
	}
	sent := map[batchIdentity]bool{} // by producers
	return slices.DeleteFunc(loose, func(b looseBatch) bool {
		switch {
		case known[b.identity] > 0 && b.identity.producer < 0:
			known[b.identity]--
			return true
		case known[b.identity] > 0:
			return true
		case b.identity.producer < 0:
			return false
		case sent[b.identity]:
			m.report.Duplicates++
			return true
		}
		sent[b.identity] = true
		return false
	}), nil
}

// hash puts the CRC32C of batches without a producer into known and into the
// identities of those loose batches that may be the same.
func (m *merger) hash(ctx context.Context, chosen []chosenRun, known map[batchIdentity]int, loose []looseBatch) error {
	wanted := map[batchIdentity]bool{}
	for i := range loose {
		b := &loose[i]
		if b.identity.producer >= 0 || known[b.identity] == 0 {
			continue
		}
		wanted[b.identity] = true
		crc, err := m.batchCRC(ctx, b.source, b.pos)
		if err != nil {
			return err
		}
		b.identity.crc = crc
	}
	for _, c := range chosen {
		if c.run == nil {
			continue
		}
		pos := int64(c.run.Pos)
		for i := range c.run.Batches {
			id := identityOf(&c.run.Batches[i])
			if i >= c.from && wanted[id] {
				crc, err := m.batchCRC(ctx, c.source, pos)
				if err != nil {
					return err
				}
				known[id]--
				id.crc = crc
				known[id]++
			}
			pos += int64(c.run.Batches[i].Len)
		}
	}
	return nil
}

// batchCRC reads the CRC32C that a batch says it has.
func (m *merger) batchCRC(ctx context.Context, src *source, pos int64) (uint32, error) {
	const crcPos = 17
	b, err := m.store.Read(ctx, segment.Key(src.object.ID), pos+crcPos, 4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b), nil
}

// piece is what is added next to a partition: batches of one run.
type piece struct {
	source  *source
	run     *segment.IndexRun
	batches map[int]bool // numbers in the run; nil for all
	records int64
	chosen  *chosenRun // that it is; nil for one of a flush
}

// arrange puts compacted runs and loose batches in the order of their offsets. The
// batches before a compacted run fill what is open before it exactly, or their
// place is not known: then they stand behind the runs, where none is that does.
func (m *merger) arrange(chosen []chosenRun, loose []looseBatch) []piece {
	pieces := piecesOf(loose)
	var arranged []piece
	end := catalog.Offset(0)
	for _, c := range chosen {
		n, records := 0, int64(0)
		for n < len(pieces) && records < int64(c.base-end) {
			records += pieces[n].records
			n++
		}
		if end < c.base && records == int64(c.base-end) && !sealedAfter(pieces[:n], c.source) {
			arranged = append(arranged, pieces[:n]...)
			pieces = pieces[n:]
		} else if end < c.base && len(arranged) > 0 {
			// Offsets in between are lost, and a partition has no gaps.
			m.leaveOutBefore(c.base, arranged)
			arranged = arranged[:0]
		}
		arranged = append(arranged, m.pieceOf(&c))
		end = c.end
	}
	return append(arranged, pieces...)
}

// sealedAfter tells whether one of the pieces is younger than a compacted segment,
// and so stands behind it.
func sealedAfter(pieces []piece, src *source) bool {
	return slices.ContainsFunc(pieces, func(p piece) bool { return p.source.object.ID.Time() > src.object.ID.Time() })
}

// leaveOutBefore reports what cannot be in the log because offsets behind it are lost.
func (m *merger) leaveOutBefore(base catalog.Offset, pieces []piece) {
	var records int64
	for _, p := range pieces {
		records += p.records
	}
	m.report.Lost = append(m.report.Lost, LostOffsets{
		Topic: m.found.topics[m.tp.Topic].name, Partition: m.tp.Partition, Before: int64(base), Records: records,
	})
}

// piecesOf joins loose batches that follow each other in one run.
func piecesOf(loose []looseBatch) []piece {
	var pieces []piece
	for _, b := range loose {
		n := len(pieces)
		if n == 0 || pieces[n-1].source != b.source || pieces[n-1].run != b.run {
			pieces = append(pieces, piece{source: b.source, run: b.run, batches: map[int]bool{}})
			n++
		}
		pieces[n-1].batches[b.number] = true
		pieces[n-1].records += int64(b.identity.records)
	}
	return pieces
}

// pieceOf is a compacted run to be added.
func (m *merger) pieceOf(c *chosenRun) piece {
	p := piece{source: c.source, run: c.run, records: int64(c.end - c.base), chosen: c}
	if c.run != nil {
		p.batches = map[int]bool{}
		for i := c.from; i < len(c.run.Batches); i++ {
			p.batches[i] = true
		}
	}
	return p
}

// add adds a piece at the end of the partition, which begins with the first.
func (m *merger) add(ctx context.Context, p piece) error {
	if c := p.chosen; c != nil && m.catalog.End(m.tp) == 0 {
		m.catalog.Begin(m.tp, c.base)
	}
	if p.run != nil {
		return m.addStretches(ctx, p.source, p.run, stretchesOf(p.run, func(i int) bool { return p.batches[i] }))
	}
	c := p.chosen
	if p.records > math.MaxInt32 { // no extent holds so many; take it apart
		run, err := m.indexRun(ctx, c.source)
		if err != nil {
			return err
		}
		return m.addStretches(ctx, c.source, run, stretchesOf(run, func(int) bool { return true }))
	}
	x := catalog.Extent{
		Object: c.source.object.ID, Pos: segment.Pos(c.pos), Len: c.len, CRC: c.crc, Records: int32(p.records), MaxTimestamp: c.latest,
	}
	if x.Len > catalog.ExtentCRCLenMax {
		x.CRC = c.source.object.IndexCRC
	}
	m.catalog.AddExtent(c.source.object, m.tp, x)
	m.records[m.tp.Topic] += p.records
	m.used[c.source] = true
	return nil
}
