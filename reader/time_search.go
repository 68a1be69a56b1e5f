package reader

import (
	"context"
	"errors"
	"fmt"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// OffsetAtTime returns offset and timestamp of the first record, in offset
// order, whose timestamp is at least ms; false if there is none. Errors are
// those of Fetch.
func (r *Reader) OffsetAtTime(ctx context.Context, tp catalog.TopicPartition, ms int64) (catalog.Offset, int64, bool, error) {
	view, p, err := r.confirm(ctx, tp)
	if err != nil {
		return 0, 0, false, err
	}
	var found timeSearch
	err = r.replanning(ctx, view, p, tp, func(view *catalog.State, p *catalog.Partition) error {
		found = timeSearch{ms: ms, start: p.LogStart(), decompressedMax: r.cfg.DecompressedBytesMax}
		return r.searchTime(ctx, view, p, &found)
	})
	if err != nil {
		return 0, 0, false, err
	}
	return found.offset, found.timestamp, found.found, nil
}

// timeSearch is what is looked for, and what was found.
type timeSearch struct {
	ms              int64
	start           catalog.Offset // records below it do not count
	decompressedMax int

	found     bool
	offset    catalog.Offset
	timestamp int64
}

func (r *Reader) searchTime(ctx context.Context, view *catalog.State, p *catalog.Partition, search *timeSearch) error {
	x, ok := p.ExtentAtTime(search.ms)
	for ok {
		if x.MaxTimestamp >= search.ms {
			if err := r.searchExtent(ctx, view, p, x, search); err != nil || search.found {
				return err
			}
			// All that is late enough lies below the log start. That can be so
			// of the first extent alone.
		}
		next := p.Extents(x.End(), 1)
		if ok = len(next) > 0; ok {
			x = next[0]
		}
	}
	return nil
}

func (r *Reader) searchExtent(ctx context.Context, view *catalog.State, p *catalog.Partition, x catalog.Extent, search *timeSearch) error {
	o, ok := view.Object(x.Object)
	if !ok {
		return fmt.Errorf("object %s of a live extent is not in the catalog", x.Object)
	}
	k := r.laneOf(view, p, x, 0)
	pieces := make([]piece, 1)
	if pieces[0], ok = r.loader.wholePiece(o, x, k); !ok {
		var err error
		if pieces, err = r.loader.parts(ctx, o, x, k, x.Base, x.Len); err != nil {
			return err
		}
	}
	for i := range pieces {
		// One by one: what follows the record that is found is of no use.
		if pieces[i].maxTimestamp < search.ms || pieces[i].end() <= search.start {
			continue
		}
		err := r.loader.pieces(ctx, pieces[i:i+1], func(p *piece, data []byte, _ bool) error { return search.piece(p, data) })
		if err != nil || search.found {
			return err
		}
	}
	return nil
}

// piece looks through the batches of a piece.
func (s *timeSearch) piece(p *piece, data []byte) error {
	base := p.base
	for pos := 0; pos < len(data); {
		h, err := recordbatch.ParseHeader(data[pos:])
		if err != nil {
			return p.damaged(p.pos+segment.Pos(pos), err)
		}
		if h.MaxTimestamp >= s.ms && base+catalog.Offset(h.RecordCount) > s.start {
			if err := s.batch(data[pos:pos+h.Size()], base); err != nil {
				return p.undecodable(p.pos+segment.Pos(pos), err)
			}
			if s.found {
				return nil
			}
		}
		base += catalog.Offset(h.RecordCount)
		pos += h.Size()
	}
	return nil
}

func (s *timeSearch) batch(batch []byte, base catalog.Offset) error {
	offset := base
	for r, err := range recordbatch.Records(batch, s.decompressedMax) {
		if err != nil {
			return err
		}
		if r.Timestamp >= s.ms && offset >= s.start {
			s.found, s.offset, s.timestamp = true, offset, r.Timestamp
			return nil
		}
		offset++
	}
	return nil
}

// undecodable is damage, or a batch that unpacks to more than this node takes.
func (p *piece) undecodable(pos segment.Pos, err error) error {
	if errors.Is(err, recordbatch.ErrTooLarge) {
		return fmt.Errorf("batch at %d of object %s: %v", pos, p.object, err)
	}
	return p.damaged(pos, err)
}
