package recordbatch

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Kafka's varint is a zigzag int32 in at most 5 bytes, and its varlong a zigzag
// int64 in at most 10, both little groups of 7 bits first. Decoders of Kafka
// take encodings that are longer than need be, and so do these.

const (
	varintLenMax  = 5
	varlongLenMax = 10
)

// readVarint reads a varint at pos and returns it with the position after it,
// or -1 for that if there is none. Given a negative position it returns -1, so
// that several reads can be checked at once.
func readVarint(p []byte, pos int) (int, int) {
	if uint(pos) < uint(len(p)) && p[pos] < 0x80 {
		u := int(p[pos])
		return u>>1 ^ -(u & 1), pos + 1
	}
	return readLongVarint(p, pos)
}

func readLongVarint(p []byte, pos int) (int, int) {
	v, next := readVarlong(p, pos)
	if next < 0 || next-pos > varintLenMax || v < math.MinInt32 || v > math.MaxInt32 {
		return 0, -1
	}
	return int(v), next
}

// readVarlong reads a varlong, in the way of readVarint.
func readVarlong(p []byte, pos int) (int64, int) {
	if uint(pos) >= uint(len(p)) {
		return 0, -1
	}
	u, n := binary.Uvarint(p[pos:])
	if n <= 0 {
		return 0, -1
	}
	return int64(u>>1) ^ -int64(u&1), pos + n
}

func appendVarint(dst []byte, v int) []byte { return binary.AppendVarint(dst, int64(v)) }

func appendVarlong(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) }

// varlongLen is the length in bytes of the shortest encoding of v.
func varlongLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}

func varintLen(v int) int { return varlongLen(int64(v)) }
