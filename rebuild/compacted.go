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
	known := compactedBatches{}
	for _, c := range chosen {
		for i := c.from; c.run != nil && i < len(c.run.Batches); i++ {
			known.add(identityOf(&c.run.Batches[i]), c.source)
		}
	}
	suspects := false // batches without a producer that may be the same
	for i := range loose {
		b := &loose[i]
		suspects = suspects || b.identity.producer < 0 && len(known[b.identity]) > 0
	}
	if suspects {
		if err := m.hash(ctx, chosen, known, loose); err != nil {
			return nil, err
		}
	}
	sent := map[batchIdentity]bool{} // by producers
	return slices.DeleteFunc(loose, func(b looseBatch) bool {
		switch {
		case b.identity.producer < 0:
			return known.take(b.identity, b.source)
		case len(known[b.identity]) > 0:
			return true
		case sent[b.identity]:
			m.report.Duplicates++
			return true
		}
		sent[b.identity] = true
		return false
	}), nil
}

// compactedBatches are the batches of compacted segments: for each when these were
// begun, in ms of the journal's time.
type compactedBatches map[batchIdentity][]uint64

func (k compactedBatches) add(id batchIdentity, src *source) {
	k[id] = append(k[id], src.object.ID.Time())
}

// sealedAheadMs is how far the time in a segment's id may be ahead of that of another
// node which read it: both go by Dates of the store, of whole seconds.
const sealedAheadMs = 5000

// take tells whether a batch of a flush may be one that was compacted, which is not one
// of the others then. It is not if it was sealed after they were begun.
func (k compactedBatches) take(id batchIdentity, src *source) bool {
	begun, first := k[id], -1
	for i, ms := range begun {
		if src.object.ID.Time() <= ms+sealedAheadMs && (first < 0 || ms < begun[first]) {
			first = i
		}
	}
	if first < 0 {
		return false
	}
	k[id] = slices.Delete(begun, first, first+1)
	return true
}

// hash puts the CRC32C of batches without a producer into known and into the
// identities of those loose batches that may be the same.
func (m *merger) hash(ctx context.Context, chosen []chosenRun, known compactedBatches, loose []looseBatch) error {
	wanted := map[batchIdentity]bool{}
	for i := range loose {
		b := &loose[i]
		if b.identity.producer >= 0 || len(known[b.identity]) == 0 {
			continue
		}
		wanted[b.identity] = true
		crc, err := m.batchCRC(ctx, b.source, b.pos)
		if err != nil {
			return err
		}
		b.identity.crc = crc
	}
	for id := range wanted {
		delete(known, id) // all of them are looked at below
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
				id.crc = crc
				known.add(id, c.source)
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
	latest  int64      // max timestamp
	chosen  *chosenRun // that it is; nil for one of a flush
}

// arrange puts compacted runs and loose batches in the order of their offsets. Batches
// of flushes stand before a compacted run if they fill what is open there exactly, else
// behind all runs. What is open before the first run was dropped more likely than not.
func (m *merger) arrange(chosen []chosenRun, loose []looseBatch) []piece {
	pieces := piecesOf(loose)
	var arranged []piece
	end := catalog.Offset(0)
	for _, c := range chosen {
		if end < c.base {
			from, to := fill(pieces, int64(c.base-end), &c, len(arranged) > 0)
			if from == to && len(arranged) > 0 {
				// Offsets in between are lost, and a partition has no gaps.
				m.leaveOutBefore(c.base, arranged)
				arranged = arranged[:0]
			}
			m.report.PlacedByCount += int64(to - from)
			arranged = append(arranged, pieces[from:to]...)
			pieces = slices.Delete(pieces, from, to)
		}
		arranged = append(arranged, m.pieceOf(&c))
		end = c.end
	}
	return append(arranged, pieces...)
}

// fill returns which pieces, that follow each other, have so many records and may
// stand before a run: those that do not look younger than it, and only if it is known
// that something was there then others. None are from equal to to.
func fill(pieces []piece, records int64, before *chosenRun, known bool) (from, to int) {
	old := func(p piece) bool { return p.latest <= before.latest }
	if from, to = window(pieces, records, before.source, old); from < to || !known {
		return from, to
	}
	return window(pieces, records, before.source, func(piece) bool { return true })
}

// window returns the first pieces that follow each other and have so many records.
// None of them was sealed after a segment was compacted, and each may be taken.
func window(pieces []piece, records int64, compacted *source, may func(piece) bool) (from, to int) {
	sum := int64(0)
	for to < len(pieces) {
		p := pieces[to]
		to++
		if p.source.object.ID.Time() > compacted.object.ID.Time() || !may(p) {
			from, sum = to, 0
			continue
		}
		for sum += p.records; sum > records; from++ {
			sum -= pieces[from].records
		}
		if sum == records {
			return from, to
		}
	}
	return 0, 0
}

// leaveOutBefore reports what cannot be in the log because offsets behind it are lost.
func (m *merger) leaveOutBefore(base catalog.Offset, pieces []piece) {
	var records int64
	for _, p := range pieces {
		records += p.records
		m.before[p.source] = true
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
		pieces[n-1].latest = max(pieces[n-1].latest, b.run.Batches[b.number].MaxTimestamp)
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
