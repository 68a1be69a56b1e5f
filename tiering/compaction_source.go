package tiering

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// stretch is bytes of an object that one GET brings, with what checks them.
type stretch struct {
	object catalog.ObjectID
	pos    segment.Pos
	len    int64
	checks []check // of its bytes; bytes that none is of are not used

	held []byte // in place of a GET
}

// check says that the bytes [from, from+len) of a stretch have a CRC32C.
type check struct {
	from, len int64
	crc       uint32
}

// readAttempts is how often a read is tried in all.
const readAttempts = 4

// readPause is the pause before a read is tried again; it doubles.
const readPause = 200 * time.Millisecond

// errSourceGone is an object that holds no records any more, so that a job which
// is to join them has nothing left to do.
var errSourceGone = errors.New("records to compact were dropped meanwhile")

// load reads a stretch and checks it. What fails its check is read again, since it
// may have changed on its way.
func (c *Compactor) load(ctx context.Context, s *stretch) ([]byte, error) {
	if s.held != nil {
		return s.held, nil
	}
	var err error
	for attempt := range readAttempts {
		if attempt > 0 && !pause(ctx, readPause<<attempt) {
			return nil, ctx.Err()
		}
		if err := c.pace.wait(ctx, s.len); err != nil {
			return nil, err
		}
		var data []byte
		if data, err = c.get(ctx, s); err == nil {
			return data, nil
		}
		if errors.Is(err, objstore.ErrNotFound) {
			break
		}
	}
	if errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrInvalidRange) {
		if _, live := c.records.View().Object(s.object); !live {
			return nil, errSourceGone
		}
		return nil, &segment.CorruptError{Key: segment.Key(s.object), Pos: s.pos, Err: err}
	}
	return nil, err
}

func (c *Compactor) get(ctx context.Context, s *stretch) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	begun := time.Now()
	o, err := c.bucket.GetRange(ctx, segment.Key(s.object), int64(s.pos), s.len)
	if err != nil {
		return nil, err
	}
	c.pace.took(time.Since(begun))
	c.metrics.readBytes.Add(float64(len(o.Body)))
	for _, k := range s.checks {
		if k.from+k.len > int64(len(o.Body)) {
			return nil, fmt.Errorf("read %d bytes at %d of %s, not %d", len(o.Body), s.pos, segment.Key(s.object), s.len)
		}
		if crc := crc32.Checksum(o.Body[k.from:k.from+k.len], segment.Castagnoli); crc != k.crc {
			return nil, &segment.CorruptError{Key: segment.Key(s.object), Pos: s.pos + segment.Pos(k.from), Err: fmt.Errorf("CRC32C is %08x, not %08x", crc, k.crc)}
		}
	}
	return o.Body, nil
}

// loadAll calls use with the bytes of each stretch in turn, several GETs ahead. The
// bytes are use's to keep and to change.
func (c *Compactor) loadAll(ctx context.Context, stretches []stretch, use func(i int, data []byte) error) error {
	type loaded struct {
		data []byte
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	// With what use has at hand these are as many as may be under way.
	queue := make(chan chan loaded, max(c.cfg.ReadsInFlight-1, 0))
	running.Go(func() {
		defer close(queue)
		for i := range stretches {
			ch := make(chan loaded, 1)
			select {
			case queue <- ch:
			case <-ctx.Done():
				return
			}
			running.Go(func() {
				data, err := c.load(ctx, &stretches[i])
				ch <- loaded{data, err}
			})
		}
	})
	i := 0
	for ch := range queue {
		l := <-ch
		if l.err != nil {
			return l.err
		}
		if err := use(i, l.data); err != nil {
			return err
		}
		i++
	}
	if i < len(stretches) {
		return ctx.Err()
	}
	return nil
}

// gapMax is how many bytes that nobody wants are read rather than to send another GET.
const gapMax = 256 << 10

// hold reads the extents that are too small for a GET each: those that lie close to
// each other in an object with one, whatever their partitions. It returns the bytes
// of each by its place in extents, nil for the others.
func (c *Compactor) hold(ctx context.Context, extents []catalog.Extent) ([][]byte, error) {
	held := make([][]byte, len(extents))
	var small []int
	for i := range extents {
		if c.cfg.buffered(&extents[i]) > 0 {
			small = append(small, i)
		}
	}
	slices.SortFunc(small, func(a, b int) int {
		return cmp.Or(extents[a].Object.Compare(extents[b].Object), cmp.Compare(extents[a].Pos, extents[b].Pos))
	})
	var stretches []stretch
	var members [][]int // of each stretch
	for _, i := range small {
		e := &extents[i]
		n := len(stretches) - 1
		joins := n >= 0 && stretches[n].object == e.Object && int64(e.Pos-stretches[n].pos)-stretches[n].len <= gapMax && int64(e.Pos-stretches[n].pos)+e.Len <= c.cfg.ReadBytesMax
		if !joins {
			stretches = append(stretches, stretch{object: e.Object, pos: e.Pos})
			members = append(members, nil)
			n++
		}
		s := &stretches[n]
		from := int64(e.Pos - s.pos)
		s.len = max(s.len, from+e.Len)
		s.checks = append(s.checks, check{from: from, len: e.Len, crc: e.CRC})
		members[n] = append(members[n], i)
	}
	err := c.loadAll(ctx, stretches, func(n int, data []byte) error {
		for k, i := range members[n] {
			at := stretches[n].checks[k]
			held[i] = bytes.Clone(data[at.from : at.from+at.len]) // so that the rest can go
		}
		return nil
	})
	return held, err
}

// sourcePart is what one read brings of an extent.
type sourcePart struct {
	extent   int   // its place in the job's
	from, to int64 // the bytes of the stretch that are the extent's
	last     bool  // of the extent
}

// sources returns the reads for all extents in order. The index of an object with a
// long extent is loaded, and nothing of it is kept but the CRCs that are needed.
func (j *compaction) sources(ctx context.Context, extents []catalog.Extent, held [][]byte) (stretches []stretch, parts []sourcePart, err error) {
	long := map[catalog.ObjectID][]int{}
	for i := range extents {
		if extents[i].Len > catalog.ExtentCRCLenMax {
			long[extents[i].Object] = append(long[extents[i].Object], i)
		}
	}
	blocks := make([][]stretch, len(extents)) // of long extents
	for id, of := range long {
		o, ok := j.view.Object(id)
		if !ok {
			return nil, nil, fmt.Errorf("object %s of a live extent is not in the catalog", id)
		}
		index, err := j.index(ctx, o.NewObject)
		if err != nil {
			return nil, nil, err
		}
		for _, i := range of {
			if blocks[i], err = j.blocks(index, &extents[i]); err != nil {
				return nil, nil, err
			}
		}
	}
	for i := range extents {
		e := &extents[i]
		if e.Len <= catalog.ExtentCRCLenMax {
			stretches = append(stretches, stretch{object: e.Object, pos: e.Pos, len: e.Len, checks: []check{{len: e.Len, crc: e.CRC}}, held: held[i]})
			parts = append(parts, sourcePart{extent: i, to: e.Len, last: true})
			continue
		}
		for n, s := range blocks[i] {
			from, to := max(e.Pos, s.pos), min(e.Pos+segment.Pos(e.Len), s.pos+segment.Pos(s.len))
			stretches = append(stretches, s)
			parts = append(parts, sourcePart{extent: i, from: int64(from - s.pos), to: int64(to - s.pos), last: n == len(blocks[i])-1})
		}
	}
	return stretches, parts, nil
}

// index loads the index of an object.
func (c *Compactor) index(ctx context.Context, o catalog.NewObject) (*segment.Index, error) {
	tail := stretch{object: o.ID, pos: o.IndexPos, len: o.Size - int64(o.IndexPos)}
	tail.checks = []check{{len: tail.len, crc: o.IndexCRC}}
	data, err := c.load(ctx, &tail)
	if err != nil {
		return nil, err
	}
	index, err := segment.DecodeIndex(data, o.IndexCRC)
	if err != nil {
		return nil, &segment.CorruptError{Key: segment.Key(o.ID), Pos: o.IndexPos, Err: err}
	}
	return index, nil
}

// blocks returns the reads of whole blocks that hold a long extent.
func (c *Compactor) blocks(index *segment.Index, e *catalog.Extent) ([]stretch, error) {
	for i := range index.Runs {
		run := &index.Runs[i]
		first, last, err := run.BlocksFor(e.Pos, e.Len)
		if err != nil {
			continue
		}
		return c.blockReads(e.Object, run, first, last), nil
	}
	return nil, &segment.CorruptError{Key: segment.Key(e.Object), Pos: e.Pos, Err: errors.New("extent lies in no run of its object")}
}

// blockReads returns reads of the blocks first to last of a run, as many with one GET
// as it may bring.
func (c *Compactor) blockReads(id catalog.ObjectID, run *segment.IndexRun, first, last int) (reads []stretch) {
	for b := first; b <= last; b++ {
		pos, n := run.BlockRange(b)
		k := len(reads) - 1
		if k < 0 || reads[k].len+n > c.cfg.ReadBytesMax {
			reads = append(reads, stretch{object: id, pos: pos})
			k++
		}
		reads[k].checks = append(reads[k].checks, check{from: reads[k].len, len: n, crc: run.Blocks[b].CRC})
		reads[k].len += n
	}
	return reads
}
