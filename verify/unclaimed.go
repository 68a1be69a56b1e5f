package verify

import (
	"context"
	"errors"
	"hash/crc32"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// checkUnclaimed checks all segments by what they say of themselves, since
// nothing of the catalog can be read.
func (v *Verifier) checkUnclaimed(ctx context.Context) error {
	seen := false
	for shard := range shards {
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(v.cfg.Concurrency)
		err := v.listShard(groupCtx, shard, func(o objstore.ObjectInfo, id catalog.ObjectID) {
			seen = true
			if !v.cfg.Metadata {
				group.Go(func() error { return v.checkAlone(groupCtx, o, id) })
			}
		})
		if err := errors.Join(err, group.Wait()); err != nil {
			return err
		}
	}
	if !seen && v.noJournal {
		return ErrNoCatalog
	}
	if v.noJournal {
		v.found(Finding{
			Class: Damage, Key: v.journal.SlotKey(0), Region: regionEntry,
			Reason: "there are segments and neither a journal nor a snapshot; see wadi rebuild",
		})
	}
	return nil
}

// checkAlone checks a segment against its own footer and index.
func (v *Verifier) checkAlone(ctx context.Context, o objstore.ObjectInfo, id catalog.ObjectID) error {
	found, err := v.checkSelf(ctx, o, id)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil // deleted since it was listed
	}
	if err != nil {
		return v.unread(ctx, o.Key, err, nil)
	}
	for _, f := range found {
		v.found(f)
	}
	v.count(func(s *Summary) { s.Segments++; s.SegmentBytes += o.Size })
	v.bytesDone.Add(o.Size)
	return nil
}

func (v *Verifier) checkSelf(ctx context.Context, o objstore.ObjectInfo, id catalog.ObjectID) ([]Finding, error) {
	broken := func(region string, pos, n int64, reason string) []Finding {
		return []Finding{{Class: Damage, Key: o.Key, Region: region, Pos: pos, Len: n, Reason: reason}}
	}
	if o.Size < segment.FooterLen {
		return broken(regionObject, 0, o.Size, "it is shorter than a footer"), nil
	}
	index, err := ReadIndex(ctx, v.store.Read, o)
	if corrupt := (*segment.CorruptError)(nil); errors.As(err, &corrupt) {
		return broken(regionTail, int64(corrupt.Pos), 0, corrupt.Err.Error()), nil
	}
	if err != nil {
		return nil, err
	}
	if index.Index.ID != id {
		return broken(regionObject, 0, o.Size, "it is segment "+index.Index.ID.String()+" by its index"), nil
	}
	return v.checkSegment(ctx, index.Object, nil)
}

// SelfDescribed is a segment by what it says of itself.
type SelfDescribed struct {
	Object catalog.NewObject
	Index  *segment.Index
}

// ReadRange reads bytes of an object.
type ReadRange func(ctx context.Context, key string, pos, n int64) ([]byte, error)

// ReadIndex reads footer and index of a segment without the catalog. Its error
// is that of read, or a *segment.CorruptError with the position in the object.
func ReadIndex(ctx context.Context, read ReadRange, o objstore.ObjectInfo) (SelfDescribed, error) {
	corrupt := func(pos int64, err error) (SelfDescribed, error) {
		return SelfDescribed{}, &segment.CorruptError{Key: o.Key, Pos: segment.Pos(pos), Err: errors.New(reasonOf(err))}
	}
	footPos := o.Size - segment.FooterLen
	if footPos < 0 {
		return corrupt(0, errors.New("it is shorter than a footer"))
	}
	foot, err := read(ctx, o.Key, footPos, segment.FooterLen)
	if err != nil {
		return SelfDescribed{}, err
	}
	footer, err := segment.DecodeFooter(foot)
	if err != nil {
		return corrupt(footPos, err)
	}
	if int64(footer.IndexPos)+footer.IndexLen != footPos {
		return corrupt(footPos, errors.New("its index does not end where its footer begins"))
	}
	tail, err := read(ctx, o.Key, int64(footer.IndexPos), o.Size-int64(footer.IndexPos))
	if err != nil {
		return SelfDescribed{}, err
	}
	crc := crc32.Checksum(tail, segment.Castagnoli)
	index, err := segment.DecodeIndex(tail, crc)
	if err != nil {
		return corrupt(int64(footer.IndexPos), err)
	}
	return SelfDescribed{
		Object: catalog.NewObject{ID: index.ID, Kind: catalog.SegmentObject, Size: o.Size, IndexPos: footer.IndexPos, IndexCRC: crc},
		Index:  index,
	}, nil
}
