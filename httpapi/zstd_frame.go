package httpapi

import (
	"bufio"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdFrame passes one zstd frame on (RFC 8878, 3.1.1), and ends where the frame
// does. The decoder itself would take a frame that is cut off within its magic for
// the end of the stream, and memory for a window before anybody was asked.
type zstdFrame struct {
	in       *bufio.Reader
	head     []byte // is passed on before what is left of in
	headBuf  [zstdHeaderMax]byte
	left     int // bytes of the block, or checksum, that are to be passed on
	last     bool
	checksum bool // and it is still to come
}

const (
	zstdMagicBytes    = "\x28\xb5\x2f\xfd"
	zstdSkippable     = 0x184d2a50 // and the 15 after it
	zstdHeaderMax     = 14
	zstdWindowMin     = 128 << 10 // of those that frames are given here
	zstdDescriptorPos = 4
	zstdWindowPos     = 5
	zstdSingleSegment = 1 << 5
	zstdRLE           = 1 // a block of one byte that is repeated
)

// begin reads the header of the next frame, after those that are to be skipped,
// and returns the window in bytes that decoding it takes. Up to limit bytes may
// come out, any number if it is negative: errOverLimit tells that the frame says
// that it holds more, io.EOF that the last one was skipped.
func (f *zstdFrame) begin(in *bufio.Reader, limit int64) (window uint64, err error) {
	f.in, f.left, f.last, f.head = in, 0, false, nil
	for skipped := false; ; skipped = true {
		magic, err := in.Peek(4)
		if err == io.EOF && len(magic) == 0 && skipped {
			return 0, io.EOF
		}
		if err != nil {
			return 0, noMagic(magic, zstdMagicBytes, err)
		}
		if string(magic) == zstdMagicBytes {
			break
		}
		if binary.LittleEndian.Uint32(magic)&^0xf != zstdSkippable {
			return 0, errMagic
		}
		if err := f.skip(); err != nil {
			return 0, err
		}
	}
	head, err := in.Peek(zstdDescriptorPos + 1)
	if err != nil {
		return 0, cut(err)
	}
	if head, err = in.Peek(zstdHeaderLen(head[zstdDescriptorPos])); err != nil {
		return 0, cut(err)
	}
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		return 0, err
	}
	if h.DictionaryID != 0 {
		return 0, errDict
	}
	if h.HasFCS && limit >= 0 && h.FrameContentSize > uint64(limit) {
		return 0, errOverLimit
	}
	f.checksum = h.HasCheckSum
	f.head = append(f.headBuf[:0], head...)
	if _, err := in.Discard(len(head)); err != nil {
		return 0, cut(err)
	}
	window = h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	if window > zstdWindowMax {
		return window, nil // an encoder that does so is not what RFC 9659 allows
	}
	if limit >= 0 {
		// Nothing points further back than to the first byte that came out.
		window = min(window, max(uint64(limit), zstdWindowMin))
	}
	return window, nil
}

// skip passes over a skippable frame (RFC 8878, 3.1.2); how many of them a body
// may hold is up to who reads it.
func (f *zstdFrame) skip() error {
	head, err := f.in.Peek(8)
	if err != nil {
		return cut(err)
	}
	size := int64(binary.LittleEndian.Uint32(head[4:])) + 8
	_, err = io.CopyN(io.Discard, f.in, size)
	return cut(err)
}

// zstdHeaderLen is the length in bytes of a frame's header, by its descriptor
// (RFC 8878, 3.1.1.1.1).
func zstdHeaderLen(descriptor byte) int {
	n := zstdDescriptorPos + 1
	single := descriptor&zstdSingleSegment != 0
	if !single {
		n++
	}
	n += [...]int{0, 1, 2, 4}[descriptor&3]
	sizes := [...]int{0, 2, 4, 8}
	if single {
		sizes[0] = 1
	}
	return n + sizes[descriptor>>6]
}

// setWindow makes the frame name a window of that size, a power of two that is
// enough for it. A frame without one has all of its content as its window.
func (f *zstdFrame) setWindow(size uint64) {
	if f.head[zstdDescriptorPos]&zstdSingleSegment != 0 {
		return
	}
	log := byte(0)
	for ; 1<<(10+log) < size; log++ {
	}
	f.head[zstdWindowPos] = log << 3
}

// Read passes bytes of the frame on, and returns io.EOF at its end.
func (f *zstdFrame) Read(p []byte) (int, error) {
	for {
		switch {
		case len(f.head) > 0:
			n := copy(p, f.head)
			f.head = f.head[n:]
			return n, nil
		case f.left > 0:
			n, err := f.in.Read(p[:min(len(p), f.left)])
			f.left -= n
			return n, cut(err)
		case f.last && f.checksum:
			f.checksum = false
			f.left = 4
		case f.last:
			return 0, io.EOF
		default:
			if err := f.nextBlock(); err != nil {
				return 0, err
			}
		}
	}
}

// nextBlock reads the header of a block (RFC 8878, 3.1.1.2).
func (f *zstdFrame) nextBlock() error {
	head, err := f.in.Peek(3)
	if err != nil {
		return cut(err)
	}
	f.head = append(f.headBuf[:0], head...)
	if _, err := f.in.Discard(3); err != nil {
		return cut(err)
	}
	header := int(f.head[0]) | int(f.head[1])<<8 | int(f.head[2])<<16
	f.last = header&1 != 0
	f.left = header >> 3
	if header>>1&3 == zstdRLE {
		f.left = 1
	}
	return nil
}
