package reader

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/segment"
)

// piece is a run of whole batches of one partition: an extent, or a part of one.
type piece struct {
	object       catalog.ObjectID
	pos          segment.Pos
	len          int64 // bytes
	base         catalog.Offset
	records      int64
	maxTimestamp int64    // ms; none of its records is later
	sources      []source // in order; together they hold all of the piece
}

func (p *piece) end() catalog.Offset { return p.base + catalog.Offset(p.records) }

func (p *piece) damaged(pos segment.Pos, err error) error {
	return damaged(segment.Key(p.object), pos, err)
}

// limit is how much is wanted.
type limit struct {
	end     catalog.Offset // records below this
	bytes   int64
	records int64 // 0: any number
}

// extentsPerPlan is how many extents are looked at in one go.
const extentsPerPlan = 64

// plan returns the pieces of a partition from the one that holds offset on: as
// many as the limit may need, one at least. The reader has read run bytes in
// sequence.
func (r *Reader) plan(ctx context.Context, view *catalog.State, p *catalog.Partition, offset catalog.Offset, want limit, run int64) ([]piece, error) {
	var (
		pieces         []piece
		bytes, records int64
	)
	add := func(next ...piece) (more bool) {
		for i := range next {
			if len(pieces) > 0 && (bytes >= want.bytes || next[i].base >= want.end || want.records > 0 && records >= want.records) {
				return false
			}
			pieces = append(pieces, next[i])
			bytes += next[i].len
			records += int64(next[i].end() - max(next[i].base, offset))
		}
		return true
	}
	for _, x := range p.Extents(offset, extentsPerPlan) {
		if len(pieces) > 0 && x.Base >= want.end {
			break
		}
		o, ok := view.Object(x.Object)
		if !ok {
			return nil, fmt.Errorf("object %s of a live extent is not in the catalog", x.Object)
		}
		k := r.laneOf(view, p, x, run)
		if whole, ok := r.loader.wholePiece(o, x, k); ok {
			if !add(whole) {
				break
			}
			continue
		}
		if len(pieces) > 0 && bytes >= want.bytes {
			break // and the index of x need not be loaded
		}
		parts, err := r.loader.parts(ctx, o, x, k, offset, want.bytes-bytes)
		if err != nil {
			if len(pieces) > 0 {
				break // what is before x is there
			}
			return nil, err
		}
		if !add(parts...) {
			break
		}
	}
	if len(pieces) == 0 {
		return nil, fmt.Errorf("no extent holds offset %d of [%d, %d)", offset, p.LogStart(), p.End())
	}
	return pieces, nil
}

// wholePiece returns an extent that is loaded with its object or as one range.
func (l *loader) wholePiece(o catalog.Object, x catalog.Extent, k laneKind) (piece, bool) {
	p := piece{object: o.ID, pos: x.Pos, len: x.Len, base: x.Base, records: int64(x.Records), maxTimestamp: x.MaxTimestamp}
	switch {
	case o.Size <= l.cfg.WholeObjectBytes:
		p.sources = []source{{key: blockKey{object: o.ID, len: o.Size}, kind: wholeObject, lane: k, crc: o.IndexCRC, indexPos: o.IndexPos}}
	case x.Len <= catalog.ExtentCRCLenMax:
		p.sources = []source{{key: blockKey{object: o.ID, pos: x.Pos, len: x.Len}, kind: batchRun, lane: k, crc: x.CRC}}
	default:
		return piece{}, false
	}
	return p, true
}

func indexSource(o catalog.Object, k laneKind) source {
	return source{key: blockKey{object: o.ID, pos: o.IndexPos, len: o.Size - int64(o.IndexPos)}, kind: indexTail, lane: k, crc: o.IndexCRC}
}

// parts returns what a long extent of a large object has from offset on, about
// as many bytes as are wanted, as pieces of about a block.
func (l *loader) parts(ctx context.Context, o catalog.Object, x catalog.Extent, k laneKind, offset catalog.Offset, wanted int64) ([]piece, error) {
	index := indexSource(o, k)
	b, err := l.one(ctx, index)
	if err != nil {
		return nil, err
	}
	l.cache.use(index.key, index.key.len)
	return partsOf(b.index, o, x, k, offset, wanted)
}

// partsOf cuts an extent where the index knows of a batch that begins there. The
// first piece holds offset; the pieces end when they have the bytes wanted.
func partsOf(index *segment.Index, o catalog.Object, x catalog.Extent, k laneKind, offset catalog.Offset, wanted int64) ([]piece, error) {
	i := sort.Search(len(index.Runs), func(i int) bool { return int64(index.Runs[i].Pos)+index.Runs[i].Len > int64(x.Pos) })
	if i == len(index.Runs) || x.Pos < index.Runs[i].Pos || int64(x.Pos-index.Runs[i].Pos) > index.Runs[i].Len-x.Len {
		return nil, damaged(segment.Key(o.ID), x.Pos, errors.New("extent lies in no run of its object"))
	}
	run := &index.Runs[i]
	from, records := int64(x.Pos-run.Pos), int64(0) // where the extent begins in the run
	for pos, b := int64(0), 0; pos < from; b++ {
		pos += int64(run.Batches[b].Len)
		records += int64(run.Batches[b].Records)
	}
	first, last, err := run.BlocksFor(x.Pos, x.Len)
	if err != nil {
		return nil, damaged(segment.Key(o.ID), x.Pos, err)
	}
	var parts []piece
	cut := func(at, before int64) { // a piece begins at byte at of the run, before which it has that many records
		if n := len(parts); n > 0 {
			parts[n-1].len = int64(run.Pos) + at - int64(parts[n-1].pos)
			parts[n-1].records = int64(x.Base) + before - records - int64(parts[n-1].base)
		}
		parts = append(parts, piece{object: o.ID, pos: run.Pos + segment.Pos(at), base: x.Base + catalog.Offset(before-records)})
	}
	begins := func(b int) bool { // whether a piece may begin with block b
		at := run.Blocks[b].FirstBatch
		return at > from && at < from+x.Len
	}
	// Blocks up to start have no records behind offset before them.
	start := first + sort.Search(last-first, func(i int) bool {
		return run.Blocks[first+1+i].RecordsBefore-records > int64(offset-x.Base)
	})
	for start > first && !begins(start) {
		start--
	}
	if start == first {
		cut(from, records)
	} else {
		cut(run.Blocks[start].FirstBatch, run.Blocks[start].RecordsBefore)
	}
	enough := int64(parts[0].pos-run.Pos) + max(0, min(wanted, x.Len)) // byte of the run
	closed := false
	for b := start + 1; b <= last && !closed; b++ {
		if begins(b) {
			cut(run.Blocks[b].FirstBatch, run.Blocks[b].RecordsBefore)
			closed = run.Blocks[b].FirstBatch > enough
		}
	}
	if !closed {
		cut(from+x.Len, records+int64(x.Records))
	}
	parts = parts[:len(parts)-1]
	for i := range parts {
		if err := parts[i].addBlocks(run, o, k); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// addBlocks fills in the blocks of run that the piece lies in.
func (p *piece) addBlocks(run *segment.IndexRun, o catalog.Object, k laneKind) error {
	first, last, err := run.BlocksFor(p.pos, p.len)
	if err == nil && p.records < 1 {
		err = fmt.Errorf("extent and index disagree by %d records", 1-p.records)
	}
	if err != nil {
		return p.damaged(p.pos, err)
	}
	p.maxTimestamp = run.Blocks[first].MaxTimestamp
	for b := first; b <= last; b++ {
		pos, n := run.BlockRange(b)
		p.sources = append(p.sources, source{key: blockKey{object: o.ID, pos: pos, len: n}, kind: indexBlock, lane: k, crc: run.Blocks[b].CRC})
		// The piece ends before the first batch of its last block, unless
		// that is the extent's own last one.
		p.maxTimestamp = max(p.maxTimestamp, run.Blocks[b].MaxTimestamp)
	}
	return nil
}

// pieces calls use with the bytes of each piece in turn. They are use's to
// keep and to change if own is true, and shared otherwise.
func (l *loader) pieces(ctx context.Context, pieces []piece, use func(p *piece, data []byte, own bool) error) error {
	var (
		sources []source
		owners  []int // by source: the piece that it belongs to
	)
	for i := range pieces {
		sources = append(sources, pieces[i].sources...)
		for range pieces[i].sources {
			owners = append(owners, i)
		}
	}
	var joined []byte // of a piece in several sources
	return l.each(ctx, sources, func(i int, b block) error {
		p := &pieces[owners[i]]
		from := max(p.pos, sources[i].key.pos) - sources[i].key.pos
		to := min(p.pos+segment.Pos(p.len), sources[i].key.pos+segment.Pos(sources[i].key.len)) - sources[i].key.pos
		if from < 0 || to < from || int64(to) > int64(len(b.bytes)) {
			return p.damaged(p.pos, errors.New("extent lies outside of its object"))
		}
		l.cache.use(sources[i].key, int64(to-from))
		if sources[i].kind != indexBlock {
			return use(p, b.bytes[from:to:to], false)
		}
		if joined == nil {
			joined = make([]byte, 0, p.len)
		}
		joined = append(joined, b.bytes[from:to]...)
		if i+1 < len(sources) && owners[i+1] == owners[i] {
			return nil
		}
		data := joined
		joined = nil
		if !mutant.On(mutant.SkipReadCRC) {
			if _, err := checkBatches(data); err != nil {
				return p.damaged(p.pos, err)
			}
		}
		return use(p, data, true)
	})
}
