package recordbatch

import (
	"encoding/binary"
	"math/bits"

	"github.com/pierrec/lz4/v4"
)

// LZ4 batches are one LZ4 frame (lz4_Frame_format.md, version 1.6.x). It is
// read and written here rather than by a stream reader, as a batch is in memory
// anyway: blocks are decompressed where they are to be, with no block buffers
// of up to 8 MiB each, and the size is known before.
//
// As with Kafka's Java client, blocks must be independent, there is no
// dictionary, and nothing follows the frame.
const (
	lz4Magic = 0x184D2204

	lz4FlagVersion         = 1 << 6
	lz4FlagVersionMask     = 3 << 6
	lz4FlagIndependent     = 1 << 5
	lz4FlagBlockChecksum   = 1 << 4
	lz4FlagContentSize     = 1 << 3
	lz4FlagContentChecksum = 1 << 2
	lz4FlagReserved        = 1 << 1
	lz4FlagDictionary      = 1 << 0

	lz4Uncompressed = 1 << 31 // in the length of a block

	// lz4BlockSize is how much input a block holds that is written here, in
	// bytes; lz4BlockSizeCode says so in the frame. Kafka's Java client does
	// the same.
	lz4BlockSize     = 64 << 10
	lz4BlockSizeCode = 4 << 4
)

// lz4Frame is a frame whose header was read.
type lz4Frame struct {
	flags       byte
	blockMax    int    // bytes of output of one block
	contentSize uint64 // if the flags have it
	blocks      []byte // and what follows them
}

func parseLZ4Frame(src []byte) (f lz4Frame, err error) {
	if len(src) < 7 || binary.LittleEndian.Uint32(src) != lz4Magic {
		return f, malformed("lz4: not a frame")
	}
	f.flags = src[4]
	bd := src[5]
	if f.flags&lz4FlagVersionMask != lz4FlagVersion || f.flags&lz4FlagReserved != 0 || bd&0x8f != 0 {
		return f, malformed("lz4: unknown frame descriptor")
	}
	if f.flags&lz4FlagIndependent == 0 || f.flags&lz4FlagDictionary != 0 {
		return f, malformed("lz4: blocks depend on others or on a dictionary")
	}
	code := bd >> 4
	if code < 4 {
		return f, malformed("lz4: unknown block size")
	}
	f.blockMax = 1 << (8 + 2*code)
	end := 6
	if f.flags&lz4FlagContentSize != 0 {
		if len(src) < end+8+1 {
			return f, malformed("lz4: short frame")
		}
		f.contentSize = binary.LittleEndian.Uint64(src[end:])
		end += 8
	}
	if byte(xxh32(src[4:end])>>8) != src[end] {
		return f, malformed("lz4: frame descriptor checksum does not match")
	}
	f.blocks = src[end+1:]
	return f, nil
}

// lz4Block is a block of a frame.
type lz4Block struct {
	data       []byte
	compressed bool
}

// cutBlock reads the block that rest begins with, and verifies its checksum. At
// the end of the frame the block's data is nil, and after is what follows.
func (f *lz4Frame) cutBlock(rest []byte) (block lz4Block, after []byte, err error) {
	if len(rest) < 4 {
		return block, nil, malformed("lz4: short frame")
	}
	length := binary.LittleEndian.Uint32(rest)
	rest = rest[4:]
	if length == 0 {
		return block, rest, nil
	}
	n := int64(length &^ lz4Uncompressed)
	end := n
	if f.flags&lz4FlagBlockChecksum != 0 {
		end += 4
	}
	if n == 0 || n > int64(f.blockMax) || end > int64(len(rest)) {
		return block, nil, malformed("lz4: bad block length")
	}
	block = lz4Block{data: rest[:n], compressed: length&lz4Uncompressed == 0}
	if f.flags&lz4FlagBlockChecksum != 0 && binary.LittleEndian.Uint32(rest[n:]) != xxh32(block.data) {
		return block, nil, malformed("lz4: block checksum does not match")
	}
	return block, rest[end:], nil
}

// size is the length in bytes of a block's output.
func (b lz4Block) size() (int, bool) {
	if !b.compressed {
		return len(b.data), true
	}
	return lz4Len(b.data)
}

// lz4Len is the length in bytes of the output of a compressed block. It reads
// only the lengths of its literals and matches (lz4_Block_format.md).
func lz4Len(src []byte) (int, bool) {
	size, pos := 0, 0
	extend := func(n int) int {
		if n != 15 {
			return n
		}
		for pos < len(src) {
			b := src[pos]
			pos++
			n += int(b)
			if b != 255 {
				return n
			}
		}
		pos = len(src) + 1
		return 0
	}
	for pos < len(src) {
		token := src[pos]
		pos++
		literals := extend(int(token >> 4))
		pos += literals
		size += literals
		if pos == len(src) {
			return size, true // the last sequence has no match
		}
		pos += 2
		size += extend(int(token&15)) + 4
	}
	return 0, false
}

// decompressLZ4 decompresses one frame.
func decompressLZ4(src []byte, limit int, buffer func(int) []byte) ([]byte, error) {
	f, err := parseLZ4Frame(src)
	if err != nil {
		return nil, err
	}
	size, err := f.size(limit)
	if err != nil {
		return nil, err
	}
	dst := buffer(size)
	rest := f.blocks
	for {
		block, after, err := f.cutBlock(rest)
		if err != nil {
			return nil, err
		}
		rest = after
		if block.data == nil {
			break
		}
		if !block.compressed {
			dst = append(dst, block.data...)
			continue
		}
		n, _ := lz4Len(block.data)
		got, err := lz4.UncompressBlock(block.data, dst[len(dst):len(dst)+n])
		if err != nil || got != n {
			return nil, malformed("lz4: bad block: %v", err)
		}
		dst = dst[:len(dst)+n]
	}
	if f.flags&lz4FlagContentChecksum != 0 {
		if len(rest) < 4 || binary.LittleEndian.Uint32(rest) != xxh32(dst) {
			return nil, malformed("lz4: content checksum does not match")
		}
		rest = rest[4:]
	}
	if len(rest) > 0 {
		return nil, malformed("lz4: %d bytes after the frame", len(rest))
	}
	return dst, nil
}

// size is the length in bytes of the frame's content.
func (f *lz4Frame) size(limit int) (int, error) {
	size := 0
	for rest := f.blocks; ; {
		block, after, err := f.cutBlock(rest)
		if err != nil {
			return 0, err
		}
		if block.data == nil {
			break
		}
		n, ok := block.size()
		if !ok || n > f.blockMax {
			return 0, malformed("lz4: bad block")
		}
		if size += n; size > limit {
			return 0, tooLarge(uint64(size), limit)
		}
		rest = after
	}
	if f.flags&lz4FlagContentSize != 0 && f.contentSize != uint64(size) {
		return 0, malformed("lz4: content size is %d, not %d", size, f.contentSize)
	}
	return size, nil
}

// appendLZ4 appends src to dst as one frame, without checksums beyond that of
// the descriptor, as the batch has its own.
func (w *workspace) appendLZ4(dst, src []byte) []byte {
	if w.lz4W == nil {
		w.lz4W = new(lz4.Compressor)
	}
	descriptor := []byte{lz4FlagVersion | lz4FlagIndependent, lz4BlockSizeCode}
	dst = binary.LittleEndian.AppendUint32(dst, lz4Magic)
	dst = append(dst, descriptor...)
	dst = append(dst, byte(xxh32(descriptor)>>8))
	for len(src) > 0 {
		n := min(len(src), lz4BlockSize)
		start := len(dst)
		need := 4 + lz4.CompressBlockBound(n)
		if cap(dst)-start < need {
			dst = append(dst, make([]byte, need)...)
		}
		size, err := w.lz4W.CompressBlock(src[:n], dst[start+4:start+need])
		length := uint32(size)
		if err != nil || size == 0 || size >= n {
			size = copy(dst[start+4:start+need], src[:n])
			length = uint32(size) | lz4Uncompressed
		}
		dst = dst[:start+4+size]
		binary.LittleEndian.PutUint32(dst[start:], length)
		src = src[n:]
	}
	return append(dst, 0, 0, 0, 0)
}

// The primes of XXH32.
const (
	xxhPrime1 uint32 = 2654435761
	xxhPrime2 uint32 = 2246822519
	xxhPrime3 uint32 = 3266489917
	xxhPrime4 uint32 = 668265263
	xxhPrime5 uint32 = 374761393
)

// xxh32 is the checksum of LZ4 frames: XXH32 with seed 0, after the xxHash
// specification (xxhash_spec.md, "XXH32 algorithm description").
func xxh32(p []byte) uint32 {
	var h uint32
	n := uint32(len(p))
	if len(p) >= 16 {
		p1 := xxhPrime1
		a, b, c, d := p1+xxhPrime2, xxhPrime2, uint32(0), -p1
		for len(p) >= 16 {
			a = xxhRound(a, binary.LittleEndian.Uint32(p))
			b = xxhRound(b, binary.LittleEndian.Uint32(p[4:]))
			c = xxhRound(c, binary.LittleEndian.Uint32(p[8:]))
			d = xxhRound(d, binary.LittleEndian.Uint32(p[12:]))
			p = p[16:]
		}
		h = bits.RotateLeft32(a, 1) + bits.RotateLeft32(b, 7) + bits.RotateLeft32(c, 12) + bits.RotateLeft32(d, 18)
	} else {
		h = xxhPrime5
	}
	h += n
	for ; len(p) >= 4; p = p[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(p)*xxhPrime3, 17) * xxhPrime4
	}
	for _, b := range p {
		h = bits.RotateLeft32(h+uint32(b)*xxhPrime5, 11) * xxhPrime1
	}
	h = (h ^ h>>15) * xxhPrime2
	h = (h ^ h>>13) * xxhPrime3
	return h ^ h>>16
}

func xxhRound(acc, lane uint32) uint32 {
	return bits.RotateLeft32(acc+lane*xxhPrime2, 13) * xxhPrime1
}
