package segment

import (
	"hash/crc32"
	"math/bits"
)

// Castagnoli is the table of every CRC32C in Wadi.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CombineCRC returns the CRC32C of a followed by b, given those of a and b and
// the length of b in bytes, which must not be negative. Its time grows with the
// number of one bits in lenB, and is well under a microsecond.
//
// A CRC is the remainder of a polynomial over GF(2), so appending b to a
// multiplies a's remainder by x^(8·lenB) and adds b's; the conditioning with
// ones at both ends cancels out. Multiplication by a constant is linear in the
// bits of the remainder, so a table does it, one for each power of two in lenB.
// The idea is that of crc32_combine in zlib (Mark Adler).
func CombineCRC(a, b uint32, lenB int64) uint32 {
	for n := uint64(lenB); n != 0; n &= n - 1 {
		a = crcShifts[bits.TrailingZeros64(n)].apply(a)
	}
	return a ^ b
}

// crcPeriod is the least n > 0 for which appending n bytes brings every remainder
// back to itself: x has the order 2^31-1 modulo Castagnoli's polynomial, which is
// x+1 times a primitive one of degree 31, and 8 has no divisor in common with that.
const crcPeriod = 1<<31 - 1

// cutCRC is the inverse of CombineCRC: it returns the CRC32C of what lies before b
// in a whole, given those of the whole and of b and the length of b in bytes, which
// must be within 0 and crcPeriod. Appending what is missing to a period takes back
// that lenB bytes were appended.
func cutCRC(whole, b uint32, lenB int64) uint32 {
	return CombineCRC(whole^b, 0, crcPeriod-lenB)
}

// crcShift multiplies a remainder by x^(8·n) for some n: for each of its eight
// nibbles, what each value of it contributes to the product. Nibbles rather
// than bytes, so that the few tables in use stay in the first-level cache.
type crcShift [8][16]uint32

func (s *crcShift) apply(crc uint32) uint32 {
	return s[0][crc&15] ^ s[1][crc>>4&15] ^ s[2][crc>>8&15] ^ s[3][crc>>12&15] ^
		s[4][crc>>16&15] ^ s[5][crc>>20&15] ^ s[6][crc>>24&15] ^ s[7][crc>>28]
}

// crcShifts[k] appends 2^k bytes. An int64 has 63 such bits.
var crcShifts = makeCRCShifts()

func makeCRCShifts() *[63]crcShift {
	var shifts [63]crcShift
	// One byte: eight steps of the shift register. Bit 31 is the coefficient of
	// x^0, so multiplying by x shifts right.
	shifts[0] = makeCRCShift(func(crc uint32) uint32 {
		for range 8 {
			crc = crc>>1 ^ crc32.Castagnoli&-(crc&1)
		}
		return crc
	})
	for k := 1; k < len(shifts); k++ {
		half := &shifts[k-1]
		shifts[k] = makeCRCShift(func(crc uint32) uint32 { return half.apply(half.apply(crc)) })
	}
	return &shifts
}

func makeCRCShift(f func(uint32) uint32) crcShift {
	var s crcShift
	for nibble := range s {
		for value := range s[nibble] {
			s[nibble][value] = f(uint32(value) << (4 * nibble))
		}
	}
	return s
}
