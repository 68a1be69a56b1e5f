package recordbatch

import (
	"errors"

	"github.com/klauspost/compress/zstd"
)

const (
	zstdBlockMax = 128 << 10 // bytes of output of one block (RFC 8878, 3.1.1.2.4)
	// zstdOverrun is what the decoder may use of the buffer beyond the output.
	zstdOverrun = 16
	// zstdWindow is the window of frames that are written here, in bytes. It
	// covers most batches whole and keeps encoders small.
	zstdWindow = 1 << 20
)

// The types of blocks (RFC 8878, 3.1.1.2.2).
const (
	zstdRaw = iota
	zstdRLE
	zstdCompressed
)

// zstdSizeMax is an upper bound in bytes of the output of the frame src. It
// reads only the headers of the frame and its blocks (RFC 8878, 3.1.1). Where
// the frame does not state its size it is over by less than a block for what
// encoders make, and by any amount for what they do not.
func zstdSizeMax(src []byte, limit int) (uint64, error) {
	var h zstd.Header
	if err := h.Decode(src); err != nil {
		return 0, malformed("zstd: %v", err)
	}
	if h.Skippable || h.DictionaryID != 0 {
		return 0, malformed("zstd: skippable frame or dictionary")
	}
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	if window > uint64(max(limit, zstd.MinWindowSize)) {
		return 0, tooLarge(window, limit)
	}
	if h.HasFCS && h.FrameContentSize > uint64(limit) {
		return 0, tooLarge(h.FrameContentSize, limit)
	}
	end, bound, err := walkZstdBlocks(src, h.HeaderSize, window)
	if err != nil {
		return 0, err
	}
	if h.HasFCS {
		bound = min(bound, h.FrameContentSize)
	}
	if h.HasCheckSum {
		end += 4
	}
	// The decoder's limit is one of each frame, so there may be but one.
	if end != len(src) {
		return 0, malformed("zstd: frame of %d bytes in %d", end, len(src))
	}
	return bound, nil
}

// walkZstdBlocks returns where the blocks end that begin at pos, and an upper
// bound of their output, in bytes.
func walkZstdBlocks(src []byte, pos int, window uint64) (end int, bound uint64, err error) {
	blockMax := min(max(window, zstd.MinWindowSize), zstdBlockMax)
	for {
		if len(src)-pos < 3 {
			return 0, 0, malformed("zstd: short frame")
		}
		header := int(src[pos]) | int(src[pos+1])<<8 | int(src[pos+2])<<16
		pos += 3
		size := header >> 3
		stored := size
		output := uint64(size)
		switch header >> 1 & 3 {
		case zstdRaw:
		case zstdRLE:
			stored = 1
		case zstdCompressed:
			output = blockMax
		default:
			return 0, 0, malformed("zstd: unknown block type")
		}
		if uint64(size) > blockMax {
			return 0, 0, malformed("zstd: block of %d bytes", size)
		}
		if stored > len(src)-pos {
			return 0, 0, malformed("zstd: short frame")
		}
		pos += stored
		bound += output
		if header&1 != 0 {
			return pos, bound, nil
		}
	}
}

// decompressZstd decompresses one frame.
func (w *workspace) decompressZstd(src []byte, limit int, buffer func(int) []byte) ([]byte, error) {
	size, err := zstdSizeMax(src, limit)
	if err != nil {
		return nil, err
	}
	if err := w.setZstdLimit(limit); err != nil {
		return nil, err
	}
	// The decoder compares with its limit after each block. With room for one
	// block more, it never has to move to a larger buffer.
	dst := buffer(int(min(size, uint64(limit)+zstdBlockMax)) + zstdOverrun)
	out, err := w.zstdR.DecodeAll(src, dst)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, tooLarge(uint64(limit)+1, limit)
	case err != nil:
		return nil, malformed("zstd: %v", err)
	case len(out) > limit:
		return nil, tooLarge(uint64(len(out)), limit)
	}
	return out, nil
}

// setZstdLimit gives the decoder its limit, which few callers ever change.
func (w *workspace) setZstdLimit(limit int) error {
	if w.zstdR != nil && w.zstdLimit == limit {
		return nil
	}
	// Less than the smallest window would refuse frames of any size.
	decodedMax := zstd.WithDecoderMaxMemory(uint64(max(limit, zstd.MinWindowSize)))
	var err error
	if w.zstdR == nil {
		w.zstdR, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), decodedMax)
	} else {
		err = w.zstdR.ResetWithOptions(nil, decodedMax)
	}
	w.zstdLimit = limit
	return err
}

func (w *workspace) appendZstd(dst, src []byte) []byte {
	if w.zstdW == nil {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(err) // the options above are wrong
		}
		w.zstdW = enc
	}
	return w.zstdW.EncodeAll(src, dst)
}
