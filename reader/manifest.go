package reader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// FromStart is a ManifestQuery from the log start on.
const FromStart catalog.Offset = -1

// ManifestQuery asks where the bytes of a partition lie.
type ManifestQuery struct {
	Partition catalog.TopicPartition
	From      catalog.Offset // or FromStart
	To        catalog.Offset // end, not included; what lies beyond the partition's end is left out
	RangesMax int
}

// Manifest lists where the records of a partition lie.
type Manifest struct {
	Ranges        []Range        // side by side; the first may begin before From, the last end after To
	NextOffset    catalog.Offset // after the last of Ranges, at most To; From if there are none
	HighWatermark catalog.Offset // as of the question
	LogStart      catalog.Offset
}

// Range is an extent: whole batches of one partition, side by side in an object.
type Range struct {
	Base    catalog.Offset
	Records int64
	Len     int64        // bytes
	Stored  *StoredRange // where they lie; nil if the object is not for others to read
}

// StoredRange is where the bytes of a Range are. Base offsets are not set in its
// batches.
type StoredRange struct {
	Key    string // of the object, within the store's prefix
	Pos    segment.Pos
	CRC    uint32        // CRC32C of the bytes
	Blocks []StoredBlock // each of segment.BlockLen of them, if there are more

	URL     string    // reads the whole object; empty if the store cannot make one
	Expires time.Time // of URL
}

// StoredBlock is segment.BlockLen bytes of a StoredRange, or what is left.
type StoredBlock struct {
	CRC        uint32         // CRC32C of the bytes
	FirstBatch int64          // bytes from the start of the range to the first batch that begins in the block; -1 if none does
	Base       catalog.Offset // of that batch
}

// manifestBlocksMax bounds the blocks that one Manifest lists, beside those of
// one range.
const manifestBlocksMax = 64 << 10

// Manifest returns where the records of a partition lie, as of now. Its errors
// are those of Fetch.
//
// An object is named only if all of its bytes are the topic's, by its own index:
// what the catalog knows of it says nothing of others' records that were
// trimmed, deleted with their topic, or refused, and whose bytes are still in
// it. The index never changes, so what it says is remembered.
func (r *Reader) Manifest(ctx context.Context, q ManifestQuery) (Manifest, error) {
	view, p, err := r.confirm(ctx, q.Partition)
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	err = r.replanning(ctx, view, p, q.Partition, func(view *catalog.State, p *catalog.Partition) error {
		q := q
		if q.From == FromStart {
			q.From = p.LogStart()
		}
		if err := inRange(p, q.From); err != nil {
			return err
		}
		var err error
		m, err = r.manifest(ctx, view, p, q)
		return err
	})
	return m, err
}

func (r *Reader) manifest(ctx context.Context, view *catalog.State, p *catalog.Partition, q ManifestQuery) (Manifest, error) {
	m := Manifest{NextOffset: q.From, HighWatermark: p.End(), LogStart: p.LogStart()}
	end := min(q.To, p.End())
	if q.From >= end {
		return m, nil
	}
	extents := p.Extents(q.From, q.RangesMax)
	for i := range extents {
		if extents[i].Base >= end {
			extents = extents[:i]
			break
		}
	}
	blocks := 0
	err := r.locate(ctx, view, q.Partition, extents, func(x *catalog.Extent, at *StoredRange) error {
		if at != nil {
			if blocks += len(at.Blocks); blocks > manifestBlocksMax && len(m.Ranges) > 0 {
				return errEnough
			}
			if err := r.presign(ctx, at, m.Ranges); err != nil {
				return err
			}
		}
		m.Ranges = append(m.Ranges, Range{Base: x.Base, Records: int64(x.Records), Len: x.Len, Stored: at})
		m.NextOffset = min(x.End(), end)
		return nil
	})
	if len(m.Ranges) > 0 && ctx.Err() == nil {
		err = nil // what was listed is right; the next page begins at what failed
	}
	return m, err
}

// locate calls use with each extent in turn and with where its bytes are, or nil
// if these are not for others to read.
func (r *Reader) locate(ctx context.Context, view *catalog.State, tp catalog.TopicPartition, extents []catalog.Extent, use func(*catalog.Extent, *StoredRange) error) error {
	var (
		indexes []source
		asked   = make([]bool, len(extents))            // whether the index of the extent's object is among them
		topics  = make([]catalog.TopicID, len(extents)) // of those that are not
	)
	for i := range extents {
		x := &extents[i]
		o, ok := view.Object(x.Object)
		if !ok {
			return fmt.Errorf("object %s of a live extent is not in the catalog", x.Object)
		}
		topic, known := r.knownTopic(o)
		if !known || topic == tp.Topic && x.Len > catalog.ExtentCRCLenMax {
			asked[i] = true
			indexes = append(indexes, indexSource(o, replay))
		}
		topics[i] = topic
	}
	next := 0
	useRemembered := func() error { // up to the next extent whose index is asked
		for ; next < len(extents) && !asked[next]; next++ {
			var at *StoredRange
			if topics[next] == tp.Topic {
				at = storedAt(&extents[next])
			}
			if err := use(&extents[next], at); err != nil {
				return err
			}
		}
		return nil
	}
	if err := useRemembered(); err != nil {
		return err
	}
	return r.loader.each(ctx, indexes, func(_ int, b block) error {
		x := &extents[next]
		topic := soleTopic(b.index)
		r.soleTopics.note(x.Object, topic)
		var at *StoredRange
		if topic == tp.Topic {
			at = storedIn(b.index, x, tp)
		}
		if err := use(x, at); err != nil {
			return err
		}
		next++
		return useRemembered()
	})
}

// knownTopic returns the topic whose bytes an object holds, or severalTopics, if
// no request is needed for that: what was just written or read is in the cache.
func (r *Reader) knownTopic(o catalog.Object) (catalog.TopicID, bool) {
	if topic, ok := r.soleTopics.of(o.ID); ok {
		return topic, true
	}
	b, ok := r.loader.cache.get(blockKey{object: o.ID, len: o.Size})
	if !ok || int64(o.IndexPos) > int64(len(b.bytes)) {
		return catalog.TopicID{}, false
	}
	index, err := segment.DecodeIndex(b.bytes[o.IndexPos:], o.IndexCRC)
	if err != nil {
		return catalog.TopicID{}, false // whoever loads it will say so
	}
	topic := soleTopic(index)
	r.soleTopics.note(o.ID, topic)
	return topic, true
}

// storedAt is where a short extent lies.
func storedAt(x *catalog.Extent) *StoredRange {
	return &StoredRange{Key: segment.Key(x.Object), Pos: x.Pos, CRC: x.CRC}
}

// storedIn is where an extent lies. The catalog has no CRC32C of a long one, and
// the index has that of the whole run: of a part of it, as is left if units
// between were refused, there is none to give.
func storedIn(index *segment.Index, x *catalog.Extent, tp catalog.TopicPartition) *StoredRange {
	at := storedAt(x)
	if x.Len <= catalog.ExtentCRCLenMax {
		return at
	}
	run, ok := index.Find(tp.Topic, tp.Partition)
	if !ok || run.Pos != x.Pos || run.Len != x.Len {
		return nil
	}
	at.CRC = run.CRC
	at.Blocks = make([]StoredBlock, len(run.Blocks))
	for i := range run.Blocks {
		b := &run.Blocks[i]
		at.Blocks[i] = StoredBlock{CRC: b.CRC, FirstBatch: b.FirstBatch, Base: x.Base + catalog.Offset(b.RecordsBefore)}
	}
	return at
}

// soleTopic returns the topic whose bytes an object holds, or severalTopics.
// The runs of an index cover its object; DecodeIndex sees to it.
func soleTopic(index *segment.Index) catalog.TopicID {
	topic := index.Runs[0].Topic
	for i := range index.Runs {
		if index.Runs[i].Topic != topic && !mutant.On(mutant.SkipSoleTopic) {
			return severalTopics
		}
	}
	return topic
}

// presign adds a URL to where a range lies, that of the range before if both are
// in one object.
func (r *Reader) presign(ctx context.Context, at *StoredRange, before []Range) error {
	if r.presigner == nil || r.cfg.PresignValidity == 0 {
		return nil
	}
	if n := len(before); n > 0 && before[n-1].Stored != nil && before[n-1].Stored.Key == at.Key {
		at.URL, at.Expires = before[n-1].Stored.URL, before[n-1].Stored.Expires
		return nil
	}
	signed, err := r.presigner.Presign(ctx, at.Key, r.cfg.PresignValidity)
	if errors.Is(err, objstore.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	at.URL, at.Expires = signed.URL, signed.Expires
	return nil
}
