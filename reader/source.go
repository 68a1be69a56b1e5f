package reader

import (
	"context"
	"hash/crc32"

	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// sourceKind is how a source is checked.
type sourceKind uint8

const (
	wholeObject sourceKind = iota // an object; crc is its IndexCRC
	indexTail                     // index and footer of an object; crc is its IndexCRC
	batchRun                      // whole batches; crc is theirs
	indexBlock                    // a block of a run; crc is what the index says
)

// source is bytes that are checked and cached as one.
type source struct {
	key      blockKey
	kind     sourceKind
	lane     laneKind
	crc      uint32
	indexPos segment.Pos // of a wholeObject
}

// useful is how many of its bytes there are to be used.
func (s *source) useful() int64 {
	if s.kind == wholeObject {
		return int64(s.indexPos)
	}
	return s.key.len
}

// continues tells whether one request can get s as well as what ends with before.
func (s *source) continues(before *source) bool {
	return s.kind == indexBlock && before.kind == indexBlock && s.lane == before.lane &&
		s.key.object == before.key.object && int64(s.key.pos) == int64(before.key.pos)+before.key.len
}

func (s *source) get(ctx context.Context, b bucket, n int64) (objstore.Object, error) {
	if s.kind == wholeObject {
		return b.Get(ctx, s.objectKey())
	}
	return b.GetRange(ctx, s.objectKey(), int64(s.key.pos), n)
}

func (s *source) objectKey() string { return segment.Key(s.key.object) }

// check returns the block that was read, or a *segment.CorruptError.
func (s *source) check(body []byte) (block, error) {
	if mutant.On(mutant.SkipReadCRC) {
		return s.unchecked(body)
	}
	if err := checkSize(body, s.key.len); err != nil {
		return block{}, damaged(s.objectKey(), s.key.pos, err)
	}
	pos, err := s.key.pos, error(nil)
	switch s.kind {
	case wholeObject:
		pos, err = checkObject(body, s.indexPos, s.crc)
	case indexTail:
		var index *segment.Index
		if index, err = segment.DecodeIndex(body, s.crc); err == nil {
			return block{index: index}, nil
		}
	case batchRun:
		err = checkRun(body, s.crc)
	case indexBlock:
		err = checkCRC(crc32.Checksum(body, segment.Castagnoli), s.crc)
	}
	if err != nil {
		return block{}, damaged(s.objectKey(), pos, err)
	}
	return block{bytes: body}, nil
}

func (s *source) unchecked(body []byte) (block, error) {
	if s.kind != indexTail {
		return block{bytes: body}, nil
	}
	index, err := segment.DecodeIndex(body, s.crc)
	return block{index: index}, err
}
