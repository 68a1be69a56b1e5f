package recordbatch

import (
	"bytes"
	"encoding/binary"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy"
)

// Kafka's Java client frames snappy blocks in the way of the xerial library
// (snappy-java, SnappyOutputStream): a magic of 8 bytes, two big-endian int32
// versions, and then blocks, each after its big-endian int32 length. Other
// clients send one plain block. Its readers tell them apart by the magic.
const (
	xerialMagic     = "\x82SNAPPY\x00"
	xerialHeader    = xerialMagic + "\x00\x00\x00\x01" + "\x00\x00\x00\x01"
	xerialBlockSize = 32 << 10 // bytes of input, as the Java client's
)

// snappyRatioMax is more than how much longer than its input the output of
// snappy can be: three bytes copy at most 64.
const snappyRatioMax = 22

// decompressSnappy decompresses a plain block, or blocks in xerial's framing.
func decompressSnappy(src []byte, limit int, buffer func(int) []byte) ([]byte, error) {
	if !bytes.HasPrefix(src, []byte(xerialMagic)) {
		size, err := snappyLen(src)
		if err != nil {
			return nil, err
		}
		if size > uint64(limit) {
			return nil, tooLarge(size, limit)
		}
		return appendUnsnapped(buffer(int(size)), src)
	}
	if len(src) < len(xerialHeader) {
		return nil, malformed("snappy: short header")
	}
	blocks := src[len(xerialHeader):]
	var size uint64
	for rest := blocks; len(rest) > 0; {
		block, after, ok := cutXerialBlock(rest)
		if !ok {
			return nil, malformed("snappy: short block")
		}
		n, err := snappyLen(block)
		if err != nil {
			return nil, err
		}
		if size += n; size > uint64(limit) {
			return nil, tooLarge(size, limit)
		}
		rest = after
	}
	dst := buffer(int(size))
	for rest := blocks; len(rest) > 0; {
		block, after, _ := cutXerialBlock(rest)
		var err error
		if dst, err = appendUnsnapped(dst, block); err != nil {
			return nil, err
		}
		rest = after
	}
	return dst, nil
}

func cutXerialBlock(b []byte) (block, after []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := uint64(binary.BigEndian.Uint32(b))
	if n > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

// snappyLen is the length in bytes that a block declares of its output, which
// is bounded by what the block could hold.
func snappyLen(block []byte) (uint64, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return 0, malformed("snappy: %v", err)
	}
	if n > snappyRatioMax*len(block) {
		return 0, malformed("snappy: %d bytes cannot hold %d", len(block), n)
	}
	return uint64(n), nil
}

// appendUnsnapped appends a decompressed block to dst, which has the capacity.
func appendUnsnapped(dst, block []byte) ([]byte, error) {
	out, err := snappy.DecodeStrict(dst[len(dst):cap(dst)], block)
	if err != nil {
		return nil, malformed("snappy: %v", err)
	}
	return dst[:len(dst)+len(out)], nil
}

// appendSnappy appends src to dst in xerial's framing.
func appendSnappy(dst, src []byte) []byte {
	dst = append(dst, xerialHeader...)
	for len(src) > 0 {
		n := min(len(src), xerialBlockSize)
		need := 4 + s2.MaxEncodedLen(n)
		start := len(dst)
		if cap(dst)-start < need {
			dst = append(dst, make([]byte, need)...)
		}
		block := s2.EncodeSnappy(dst[start+4:start+need], src[:n])
		dst = dst[:start+4+len(block)]
		binary.BigEndian.PutUint32(dst[start:], uint32(len(block)))
		src = src[n:]
	}
	return dst
}
