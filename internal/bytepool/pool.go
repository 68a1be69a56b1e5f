package bytepool

import (
	"math/bits"
	"sync"
)

// Buffers of the least and the greatest size that are kept, in bytes. Smaller ones
// cost little; larger ones are rare.
const (
	keptMin = 32 << 10
	keptMax = 32 << 20
)

// Sizes come in steps of an eighth of the power of two below them, so that a
// buffer is at most that much larger than what was asked for.
const (
	stepBits     = 3
	firstPower   = 14 // 2^14 < keptMin, and 2^15 is keptMin
	lastPower    = 24 // 2^25 is keptMax
	classesCount = (lastPower - firstPower + 1) << stepBits
)

var pools [classesCount]sync.Pool // of *[]byte

// Size is the capacity of the buffer that Get(n) returns.
func Size(n int) int {
	if n < keptMin || n > keptMax {
		return n
	}
	step := 1 << (power(n) - stepBits)
	return (n + step - 1) &^ (step - 1)
}

// power is that of the greatest power of two below n.
func power(n int) int { return bits.Len(uint(n-1)) - 1 }

// class is the index of the pool of buffers of a size.
func class(size int) int {
	p := power(size)
	return (p-firstPower)<<stepBits + (size-1)>>(p-stepBits)&(1<<stepBits-1)
}

// Get returns an empty buffer of capacity Size(n). What is beyond its length is
// undefined.
func Get(n int) []byte {
	size := Size(n)
	if size < keptMin || size > keptMax {
		return make([]byte, 0, size)
	}
	if b, ok := pools[class(size)].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, size)
}

// Put gives back a buffer that Get returned, or one that was not made by Get and
// has none of its sizes, which is left alone. b may have any length, but must begin
// where the buffer does.
func Put(b []byte) {
	size := cap(b)
	if size < keptMin || size > keptMax || Size(size) != size {
		return
	}
	if poisons {
		b = b[:size]
		for i := range b {
			b[i] = 0xDB
		}
	}
	b = b[:0]
	pools[class(size)].Put(&b)
}
