package bytepool

import (
	"testing"

	"pgregory.net/rapid"
)

func TestSizes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(1, keptMax+10), rapid.IntRange(keptMin-2, keptMin+2), rapid.IntRange(keptMax-2, keptMax+2)).Draw(t, "n")
		size := Size(n)
		if got := cap(Get(n)); got != size {
			t.Fatalf("capacity %d, size %d", got, size)
		}
		if size < n || size-n > n/8 || Size(size) != size {
			t.Fatalf("%d bytes get %d, and that gets %d", n, size, Size(size))
		}
	})
}

// Every size has a class of its own.
func TestClasses(t *testing.T) {
	last := -1
	for size := keptMin; size <= keptMax; size = Size(size + 1) {
		if got := class(size); got <= last || got >= classesCount {
			t.Fatalf("size %d is of class %d, the one before of %d", size, got, last)
		} else {
			last = got
		}
	}
	if last != classesCount-1 {
		t.Errorf("the last class is %d of %d", last, classesCount)
	}
}

func TestBuffersComeBackEmpty(t *testing.T) {
	for _, n := range []int{1, keptMin - 1, keptMin, keptMin + 1, 1 << 20, 1<<20 + 1, keptMax, keptMax + 1} {
		for range 3 {
			b := Get(n)
			if len(b) != 0 || cap(b) < n {
				t.Fatalf("asked for %d bytes, got %d of %d", n, len(b), cap(b))
			}
			b = append(b, make([]byte, n)...)
			Put(b)
		}
	}
}

// A buffer that others have a part of must not come back.
func TestForeignBuffersAreLeftAlone(t *testing.T) {
	b := make([]byte, 100_001)
	b[5] = 7
	Put(b)
	if got := Get(100_001); cap(got) == cap(b) || b[5] != 7 {
		t.Errorf("a buffer of %d bytes was taken, and gave %d", cap(b), cap(got))
	}
}

func BenchmarkGet(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Put(Get(1<<20 + 70_000))
	}
}
