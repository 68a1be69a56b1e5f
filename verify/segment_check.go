package verify

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// checkSegment reads a segment whole and returns what is wrong with it. Its
// error is the store's.
func (v *Verifier) checkSegment(ctx context.Context, o catalog.NewObject, refs []reference) ([]Finding, error) {
	key, tailLen := segment.Key(o.ID), o.Size-int64(o.IndexPos)
	release, err := v.store.hold(ctx, min(o.Size, max(ChunkBytes, tailLen)))
	if err != nil {
		return nil, err
	}
	defer release()
	r := chunkReader{store: v.store, key: key, size: o.Size}
	tail, err := r.read(ctx, int64(o.IndexPos), tailLen)
	if errors.Is(err, objstore.ErrInvalidRange) {
		return []Finding{{Class: Damage, Key: key, Region: regionObject, Reason: "it is shorter than the catalog says", Records: recordsOf(refs)}}, nil
	}
	if err != nil {
		return nil, err
	}
	index, err := segment.DecodeIndex(tail, o.IndexCRC)
	if err != nil {
		return []Finding{explainTail(key, o, tail, err, refs)}, nil
	}
	tail = nil // what was decoded is in its place now
	w := newBodyWalk(key, index, o.IndexCRC, refs)
	for pos := int64(0); pos < int64(o.IndexPos); {
		n := min(ChunkBytes, int64(o.IndexPos)-pos)
		chunk, err := r.read(ctx, pos, n)
		if err != nil {
			return nil, err
		}
		w.write(chunk)
		pos += n
	}
	return w.findings, nil
}

// chunkReader reads parts of an object; a small object is read once, whole.
type chunkReader struct {
	store *Store
	key   string
	size  int64
	whole []byte
}

func (r *chunkReader) read(ctx context.Context, pos, n int64) ([]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	if r.size > ChunkBytes {
		return r.store.Read(ctx, r.key, pos, n)
	}
	if r.whole == nil {
		whole, err := r.store.Read(ctx, r.key, 0, r.size)
		if err != nil {
			return nil, err
		}
		r.whole = whole
	}
	return r.whole[pos : pos+n], nil
}

// explainTail says what is wrong with index and footer of a segment that is not
// the one that was committed. No record of it can be had through them.
func explainTail(key string, o catalog.NewObject, tail []byte, cause error, refs []reference) Finding {
	f := Finding{
		Class: Damage, Key: key, Region: regionTail, Pos: int64(o.IndexPos), Len: int64(len(tail)),
		Reason: reasonOf(cause), Records: recordsOf(refs),
	}
	if len(tail) < segment.FooterLen {
		return f
	}
	index, foot := tail[:len(tail)-segment.FooterLen], tail[len(tail)-segment.FooterLen:]
	footer, err := segment.DecodeFooter(foot)
	if err != nil {
		f.Region, f.Pos, f.Len = regionFooter, o.Size-segment.FooterLen, segment.FooterLen
		f.Reason = reasonOf(err)
		return f
	}
	if footer.IndexPos != o.IndexPos {
		f.Reason = fmt.Sprintf("its index is said to begin at byte %d, not %d: it is another object than the one that was committed", footer.IndexPos, o.IndexPos)
		return f
	}
	if crc := crc32.Checksum(index, segment.Castagnoli); crc != footer.IndexCRC {
		f.Region, f.Len = regionIndex, int64(len(index))
		f.Reason = fmt.Sprintf("index has CRC32C %08x, footer says %08x", crc, footer.IndexCRC)
		return f
	}
	own := crc32.Checksum(tail, segment.Castagnoli)
	if x, err := segment.DecodeIndex(tail, own); err == nil {
		f.Reason = fmt.Sprintf("it is segment %s, whole, with index and footer of CRC32C %08x, not the one that was committed with %08x", x.ID, own, o.IndexCRC)
	}
	return f
}

// reasonOf is an error of the segment's decoder without its key and position.
func reasonOf(err error) string {
	if corrupt := (*segment.CorruptError)(nil); errors.As(err, &corrupt) {
		return corrupt.Err.Error()
	}
	return err.Error()
}
