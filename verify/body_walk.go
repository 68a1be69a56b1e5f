package verify

import (
	"fmt"
	"hash/crc32"
	"math"
	"sort"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// coveredPos is where the bytes of a batch begin that its own CRC32C covers.
const coveredPos = 21

// bodyWalk checks the runs of a segment as their bytes come by: batches, blocks
// and runs against what the index says, extents against the catalog. Every
// finding names the least stretch of bytes that is known to be damaged.
type bodyWalk struct {
	key      string
	index    *segment.Index
	extents  []placedExtent // those that agree with the index, by position
	findings []Finding

	pos        int64          // in the object
	run, batch int            // being walked
	batchPos   int64          // where the batch begins
	base       catalog.Offset // of the batch, in a compacted segment
	header     [recordbatch.HeaderLen]byte

	batchCRC  uint32 // of what the batch's own CRC covers
	runCRC    uint32
	blockCRC  uint32
	extentCRC uint32
	extent    int // being walked, or the next

	// Of the run: what is wrong with more than one batch of it. It is reported
	// only where no finding is closer.
	wide        []Finding
	runFindings int // of findings, those before this run
}

// placedExtent is an extent that begins and ends with batches of a run.
type placedExtent struct {
	reference
	from, to int64 // bytes of the object
	crc      bool  // it carries the CRC32C of its bytes
}

func newBodyWalk(key string, index *segment.Index, indexCRC uint32, refs []reference) *bodyWalk {
	w := &bodyWalk{key: key, index: index}
	for i := range refs {
		if reason := w.place(&refs[i], indexCRC); reason != "" {
			x := refs[i].extent
			w.findings = append(w.findings, Finding{
				Class: Damage, Key: key, Region: regionExtent, Pos: int64(x.Pos), Len: x.Len, Reason: reason,
				Records: []Records{refs[i].records()},
			})
		}
	}
	w.runFindings = len(w.findings)
	return w
}

// place finds the batches of an extent in the index, or says why they are not there.
func (w *bodyWalk) place(r *reference, indexCRC uint32) (reason string) {
	x := r.extent
	i := sort.Search(len(w.index.Runs), func(i int) bool {
		return int64(w.index.Runs[i].Pos)+w.index.Runs[i].Len > int64(x.Pos)
	})
	if i == len(w.index.Runs) || x.Pos < w.index.Runs[i].Pos {
		return "the extent lies in no run of the object"
	}
	run := &w.index.Runs[i]
	if run.Topic != r.partition.id.Topic || run.Partition != r.partition.id.Partition {
		return fmt.Sprintf("the extent lies in a run of topic %s, partition %d", run.Topic, run.Partition)
	}
	from, to := int64(x.Pos), int64(x.Pos)+x.Len
	pos, records, latest := int64(run.Pos), int64(0), int64(math.MinInt64)
	begins, ends := false, false
	base := run.Base // of the batch; only in a compacted segment
	for j := range run.Batches {
		b := &run.Batches[j]
		begins = begins || pos == from
		if pos == from && w.index.Compacted && base != x.Base {
			return fmt.Sprintf("the extent begins at offset %d, its batches at %d", x.Base, base)
		}
		base += catalog.Offset(b.Records)
		if pos >= from && pos < to {
			records += int64(b.Records)
			latest = max(latest, b.MaxTimestamp)
		}
		pos += int64(b.Len)
		ends = ends || pos == to
	}
	switch {
	case !begins || !ends:
		return "the extent does not begin and end with batches of the index"
	case records != int64(x.Records):
		return fmt.Sprintf("the extent has %d records, its batches %d", x.Records, records)
	case latest != x.MaxTimestamp:
		return fmt.Sprintf("the extent's max timestamp is %d, its batches' %d", x.MaxTimestamp, latest)
	case x.Len > catalog.ExtentCRCLenMax && x.CRC != indexCRC:
		return fmt.Sprintf("the extent carries CRC32C %08x for index and footer, the object %08x", x.CRC, indexCRC)
	case len(w.extents) > 0 && w.extents[len(w.extents)-1].to > from:
		return "the extent overlaps another"
	}
	w.extents = append(w.extents, placedExtent{reference: *r, from: from, to: to, crc: x.Len <= catalog.ExtentCRCLenMax})
	return ""
}

// write takes the next bytes of the body, which do not go beyond the last run.
func (w *bodyWalk) write(chunk []byte) {
	for len(chunk) > 0 && w.run < len(w.index.Runs) {
		run := &w.index.Runs[w.run]
		batchEnd := w.batchPos + int64(run.Batches[w.batch].Len)
		blockEnd := w.blockEnd(run)
		end := min(batchEnd, blockEnd)
		if covered := w.batchPos + coveredPos; w.pos < covered {
			end = min(end, covered)
		}
		n := min(int64(len(chunk)), end-w.pos)
		w.take(run, chunk[:n])
		chunk = chunk[n:]
		if w.pos == blockEnd {
			w.endBlock(run)
		}
		if w.pos == batchEnd {
			w.endBatch(run)
		}
	}
}

// blockEnd is where the block that is being walked ends.
func (w *bodyWalk) blockEnd(run *segment.IndexRun) int64 {
	pos, n := run.BlockRange(int((w.pos - int64(run.Pos)) / segment.BlockLen))
	return int64(pos) + n
}

// take hashes bytes of which all lie in one block and one batch, before or
// behind what the batch's own CRC leaves out.
func (w *bodyWalk) take(run *segment.IndexRun, b []byte) {
	if in := w.pos - w.batchPos; in < recordbatch.HeaderLen {
		copy(w.header[in:], b)
	}
	if w.pos >= w.batchPos+coveredPos {
		w.batchCRC = crc32.Update(w.batchCRC, segment.Castagnoli, b)
	}
	w.runCRC = crc32.Update(w.runCRC, segment.Castagnoli, b)
	if len(run.Blocks) > 1 {
		w.blockCRC = crc32.Update(w.blockCRC, segment.Castagnoli, b)
	}
	if x := w.current(); x != nil && x.crc {
		w.extentCRC = crc32.Update(w.extentCRC, segment.Castagnoli, b)
	}
	w.pos += int64(len(b))
}

// current is the extent that holds the byte at pos, nil if none does.
func (w *bodyWalk) current() *placedExtent {
	if w.extent < len(w.extents) && w.extents[w.extent].from <= w.pos {
		return &w.extents[w.extent]
	}
	return nil
}

func (w *bodyWalk) endBlock(run *segment.IndexRun) {
	if len(run.Blocks) > 1 {
		i := int((w.pos - 1 - int64(run.Pos)) / segment.BlockLen)
		if want := run.Blocks[i].CRC; w.blockCRC != want {
			pos, n := run.BlockRange(i)
			w.wide = append(w.wide, w.stretch(regionBlock, int64(pos), n, crcReason(w.blockCRC, want)))
		}
	}
	w.blockCRC = 0
}

// endBatch compares a batch with the index and with its own CRC.
func (w *bodyWalk) endBatch(run *segment.IndexRun) {
	said := &run.Batches[w.batch]
	if w.batch == 0 {
		w.base = run.Base
	}
	w.judgeBatch(said)
	w.base += catalog.Offset(said.Records)
	w.batchPos, w.batchCRC = w.pos, 0
	if w.extent < len(w.extents) && w.extents[w.extent].to == w.pos {
		x := &w.extents[w.extent]
		if x.crc && w.extentCRC != x.reference.extent.CRC {
			w.wide = append(w.wide, w.stretch(regionExtent, x.from, x.to-x.from, crcReason(w.extentCRC, x.reference.extent.CRC)))
		}
		w.extent++
		w.extentCRC = 0
	}
	if w.batch++; w.batch == len(run.Batches) {
		w.endRun(run)
	}
}

func crcReason(got, want uint32) string { return fmt.Sprintf("CRC32C is %08x, not %08x", got, want) }

func (w *bodyWalk) judgeBatch(said *segment.IndexBatch) {
	// The header is parsed as if it stood alone: its length is judged here.
	h, reason := parseBatchHeader(w.header[:], int64(said.Len))
	region, n := regionBatch, int64(said.Len)
	switch {
	case reason != "":
		region, n = regionHeader, recordbatch.HeaderLen
	case h.CRC != w.batchCRC:
		reason = crcReason(w.batchCRC, h.CRC)
	case h.RecordCount != said.Records || h.MaxTimestamp != said.MaxTimestamp || h.ProducerID != said.ProducerID ||
		h.ProducerEpoch != said.ProducerEpoch || h.BaseSequence != said.BaseSequence:
		region, n = regionHeader, recordbatch.HeaderLen
		reason = "record count, timestamp or producer are not those of the index"
	case w.index.Compacted && h.BaseOffset != w.base:
		region, n = regionHeader, recordbatch.HeaderLen
		reason = fmt.Sprintf("base offset is %d, not %d", h.BaseOffset, w.base)
	default:
		return
	}
	f := Finding{Class: Damage, Key: w.key, Region: region, Pos: w.batchPos, Len: n, Reason: reason}
	if x := w.extentAt(w.batchPos); x != nil {
		from := x.reference.extent.Base + w.recordsBefore(x)
		f.Records = []Records{x.partition.records(from, from+catalog.Offset(said.Records))}
	}
	w.findings = append(w.findings, f)
}

// parseBatchHeader reads the header of a batch of n bytes, or says what is wrong.
func parseBatchHeader(b []byte, n int64) (recordbatch.Header, string) {
	h, err := recordbatch.DecodeHeader(b)
	switch {
	case err != nil:
		return h, err.Error()
	case int64(h.Size()) != n:
		return h, fmt.Sprintf("batch says it has %d bytes, the index %d", h.Size(), n)
	}
	return h, ""
}

func (w *bodyWalk) extentAt(pos int64) *placedExtent {
	if w.extent < len(w.extents) {
		if x := &w.extents[w.extent]; x.from <= pos && pos < x.to {
			return x
		}
	}
	return nil
}

// recordsBefore counts the records of an extent before the batch being walked.
func (w *bodyWalk) recordsBefore(x *placedExtent) catalog.Offset {
	run := &w.index.Runs[w.run]
	var records catalog.Offset
	pos := int64(run.Pos)
	for j := range w.batch {
		if pos >= x.from {
			records += catalog.Offset(run.Batches[j].Records)
		}
		pos += int64(run.Batches[j].Len)
	}
	return records
}

// stretch is a finding about some bytes, with the records of all extents that
// they touch.
func (w *bodyWalk) stretch(region string, pos, n int64, reason string) Finding {
	f := Finding{Class: Damage, Key: w.key, Region: region, Pos: pos, Len: n, Reason: reason}
	from := sort.Search(len(w.extents), func(i int) bool { return w.extents[i].to > pos })
	var refs []reference
	for i := from; i < len(w.extents) && w.extents[i].from < pos+n; i++ {
		refs = append(refs, w.extents[i].reference)
	}
	f.Records = recordsOf(refs)
	return f
}

func (w *bodyWalk) endRun(run *segment.IndexRun) {
	if w.runCRC != run.CRC {
		w.wide = append(w.wide, w.stretch(regionRun, int64(run.Pos), run.Len, crcReason(w.runCRC, run.CRC)))
	}
	// The narrow ones first: what they explain is not said again.
	sort.SliceStable(w.wide, func(i, j int) bool { return w.wide[i].Len < w.wide[j].Len })
	for _, f := range w.wide {
		explained := false
		for _, g := range w.findings[w.runFindings:] {
			explained = explained || g.Pos < f.Pos+f.Len && f.Pos < g.Pos+g.Len
		}
		if !explained {
			w.findings = append(w.findings, f)
		}
	}
	w.wide, w.runFindings = nil, len(w.findings)
	w.run, w.batch = w.run+1, 0
	w.runCRC, w.blockCRC = 0, 0
}
