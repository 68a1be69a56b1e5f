package reader

import (
	"fmt"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// answer collects batches until it has what a query asked for.
type answer struct {
	end        catalog.Offset // of what is asked for
	bytesMax   int
	within     bool  // not even the first batch may exceed bytesMax
	recordsMax int64 // 0: no limit
	granted    int   // bytes that a first batch beyond bytesMax may have

	batches [][]byte
	next    catalog.Offset // records before it are in batches, or not asked for
	bytes   int
	records int64
	full    bool
	lane    laneKind // of the last of batches
}

func newAnswer(q Query, end catalog.Offset, bytesMax int) *answer {
	return &answer{end: end, bytesMax: bytesMax, within: q.Within, recordsMax: int64(q.MaxRecords), next: q.Offset}
}

// largeBatchError is a first batch that is larger than what was asked for. It
// was not copied yet.
type largeBatchError struct{ size int }

func (e *largeBatchError) Error() string { return fmt.Sprintf("first batch of %d bytes", e.size) }

// wanted is what still fits in.
func (a *answer) wanted() limit {
	want := limit{end: a.end, bytes: int64(a.bytesMax - a.bytes)}
	if a.recordsMax > 0 {
		want.records = a.recordsMax - a.records
	}
	return want
}

// take adds the batches of a piece that are wanted, with their offsets. It
// copies data unless that is its own.
func (a *answer) take(p *piece, data []byte, own bool) error {
	var (
		from, to int // of data: the batches that are wanted
		base     = p.base
		bases    []catalog.Offset
		ends     []int
	)
	for pos := 0; pos < len(data) && !a.full && base < a.end; {
		h, err := recordbatch.ParseHeader(data[pos:])
		if err == nil && h.RecordCount < 1 {
			err = fmt.Errorf("batch of %d records", h.RecordCount)
		}
		if err != nil {
			return p.damaged(p.pos+segment.Pos(pos), err)
		}
		size, next := h.Size(), base+catalog.Offset(h.RecordCount)
		switch {
		case next <= a.next:
			from = pos + size
		case (a.within || a.bytes > 0) && a.bytes+size > a.bytesMax:
			a.full = true
		case size > a.bytesMax && size > a.granted:
			return &largeBatchError{size}
		default:
			bases, ends = append(bases, base), append(ends, pos+size)
			to = pos + size
			a.bytes += size
			a.records += int64(next - max(base, a.next))
			a.next = next
			a.full = a.bytes >= a.bytesMax || a.recordsMax > 0 && a.records >= a.recordsMax
		}
		base = next
		pos += size
	}
	if base > p.end() || base < p.end() && !a.full && base < a.end {
		return p.damaged(p.pos, fmt.Errorf("batches end at offset %d, the extent at %d", base, p.end()))
	}
	if len(ends) == 0 {
		return nil
	}
	a.lane = p.sources[0].lane
	data = data[from:to:to]
	if !own {
		// One copy of the lot, which nothing clears first.
		data = append([]byte(nil), data...)
	}
	start := 0
	for i, end := range ends {
		batch := data[start : end-from : end-from]
		recordbatch.PatchBaseOffset(batch, bases[i])
		a.batches = append(a.batches, batch)
		start = end - from
	}
	return nil
}
