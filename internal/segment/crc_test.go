package segment

import (
	"hash/crc32"
	"testing"

	"pgregory.net/rapid"
)

func TestCombineCRCIsThatOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "a")
		b := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "b")
		got := CombineCRC(crc32.Checksum(a, Castagnoli), crc32.Checksum(b, Castagnoli), int64(len(b)))
		if want := crc32.Checksum(append(a, b...), Castagnoli); got != want {
			t.Fatalf("combined %08x, hashed %08x", got, want)
		}
	})
}

func TestCombineCRCOfLengthsAroundPowersOfTwo(t *testing.T) {
	b := make([]byte, 4<<20+1)
	for i := range b {
		b[i] = byte(i * 7)
	}
	start := crc32.Checksum([]byte("what went before"), Castagnoli)
	for n := 1; n <= 4<<20; n *= 2 {
		for _, n := range []int{n - 1, n, n + 1} {
			got := CombineCRC(start, crc32.Checksum(b[:n], Castagnoli), int64(n))
			if want := crc32.Update(start, Castagnoli, b[:n]); got != want {
				t.Errorf("%d bytes: combined %08x, hashed %08x", n, got, want)
			}
		}
	}
}

// Lengths that no test can hash: appending is associative.
func TestCombineCRCOfHugeLengths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := rapid.Uint32().Draw(t, "a"), rapid.Uint32().Draw(t, "b"), rapid.Uint32().Draw(t, "c")
		lenB := rapid.Int64Range(0, 1<<62-1).Draw(t, "bytes of b")
		lenC := rapid.Int64Range(0, 1<<62-1).Draw(t, "bytes of c")
		left := CombineCRC(CombineCRC(a, b, lenB), c, lenC)
		right := CombineCRC(a, CombineCRC(b, c, lenC), lenB+lenC)
		if left != right {
			t.Fatalf("(ab)c is %08x, a(bc) is %08x", left, right)
		}
	})
}

func TestCutCRCIsThatOfWhatLiesBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint32().Draw(t, "a"), rapid.Uint32().Draw(t, "b")
		lenB := rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(0, crcPeriod)).Draw(t, "bytes of b")
		if got := cutCRC(CombineCRC(a, b, lenB), b, lenB); got != a {
			t.Fatalf("cut %08x, it was %08x", got, a)
		}
	})
}

func BenchmarkCombineCRC(b *testing.B) {
	b.ReportAllocs()
	crc := uint32(1)
	for i := 0; b.Loop(); i++ {
		crc = CombineCRC(crc, 0x12345678, 0xABCDE+int64(i&0xFFF))
	}
	_ = crc
}
