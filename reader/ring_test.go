package reader

import "testing"

func keyOf(n int) blockKey { return blockKey{len: int64(n)} }

func ringBlocks(size int, ahead bool, keys ...int) (blocks []*ringBlock) {
	for _, n := range keys {
		blocks = append(blocks, &ringBlock{key: keyOf(n), block: block{bytes: make([]byte, size)}, ahead: ahead})
	}
	return blocks
}

func (r *ring) has(n int) bool {
	_, ok := r.get(keyOf(n))
	return ok
}

func TestRingIsBounded(t *testing.T) {
	r := newRing(100, false)
	for n := range 10 {
		r.put(ringBlocks(40, false, n), 40)
		r.put(ringBlocks(40, false, n), 40) // again is nothing
		if r.bytes > 100 {
			t.Fatalf("%d bytes", r.bytes)
		}
	}
	if gone := r.put(ringBlocks(101, false, 10), 101); len(gone) != 1 || gone[0].key != keyOf(10) {
		t.Errorf("what does not fit at all: %v", gone)
	}
	for n := range 11 {
		if r.has(n) != (n == 8 || n == 9) {
			t.Errorf("block %d is there: %v", n, r.has(n))
		}
	}
}

func TestRingLetsGoOfWhatWasUsed(t *testing.T) {
	r := newRing(100, true)
	r.put(ringBlocks(30, false, 1), 30)
	r.put(ringBlocks(15, false, 2, 3), 30)
	r.put(ringBlocks(30, false, 4), 30)
	r.use(keyOf(2), 15)
	r.use(keyOf(4), 30)
	r.put(ringBlocks(30, false, 5), 30)
	if !r.has(1) || !r.has(2) || !r.has(3) || r.has(4) {
		t.Error("what was used whole does not go first")
	}
	r.use(keyOf(3), 15)
	if gone := r.put(ringBlocks(30, false, 6), 30); len(gone) != 2 || r.has(2) || r.has(3) || !r.has(1) {
		t.Error("blocks that share their memory do not go together once both were used")
	}
	r.put(ringBlocks(30, false, 7), 30)
	if r.has(1) {
		t.Error("the oldest does not go where none was used")
	}
}

func TestRingCountsWhatIsUnused(t *testing.T) {
	r := newRing(100, true)
	want := func(n int64) {
		t.Helper()
		if _, unused := r.size(); unused != n {
			t.Errorf("%d bytes unused, expected %d", unused, n)
		}
	}
	r.put(ringBlocks(20, true, 1, 2), 40)
	r.put(ringBlocks(20, false, 3), 20)
	want(40)
	r.use(keyOf(1), 5)
	r.use(keyOf(1), 5)
	r.use(keyOf(9), 5)
	want(20)
	r.put(ringBlocks(90, true, 4), 90) // pushes the others out
	want(90)
	if r.has(2) || r.bytes != 90 {
		t.Errorf("%d bytes", r.bytes)
	}
}

// TestCacheKeepsWhatIsReadAgain: blocks that were loaded twice stay when others
// pass through.
func TestCacheKeepsWhatIsReadAgain(t *testing.T) {
	l := newLog(t)
	c := l.reader(func(c *Config) { c.CacheBytes, c.ReplayCacheBytes = 1<<20, 1<<20 }).loader.cache
	const size = 1 << 18
	put := func(keys ...int) {
		for _, n := range keys {
			for range 3 {
				c.get(keyOf(n)) // somebody asks for it
			}
			c.put(replay, ringBlocks(size, false, n), size)
			c.again.Wait()
		}
	}
	put(1, 2, 3, 4)
	put(11, 12, 13, 14) // pushes the former out into the room that there is
	for n := 1; n <= 4; n++ {
		if _, ok := c.again.Get(keyOf(n).encoded()); !ok {
			t.Errorf("block %d was not kept although there was room", n)
		}
	}
	put(21, 22, 23, 24, 31, 32, 33, 34)
	for n := 1; n <= 4; n++ {
		if !c.has(keyOf(n)) {
			t.Errorf("block %d was pushed out by what was read once", n)
		}
	}
	for range 5 {
		put(41, 42, 43, 44, 51, 52, 53, 54)
	}
	kept := 0
	for _, n := range []int{41, 42, 43, 44, 51, 52, 53, 54} {
		if _, ok := c.again.Get(keyOf(n).encoded()); ok {
			kept++
		}
	}
	if kept == 0 {
		t.Error("what is read again and again is not kept")
	}
}

func TestLeftBlocksAreBounded(t *testing.T) {
	l := leftBlocks{keys: map[blockKey]struct{}{}}
	for n := range 3 * leftBlocksMax {
		if l.add(keyOf(n)) {
			t.Fatalf("%d was there", n)
		}
	}
	if len(l.keys) != leftBlocksMax || len(l.order) != leftBlocksMax || !l.add(keyOf(3*leftBlocksMax-1)) || l.add(keyOf(0)) {
		t.Errorf("%d keys, %d in order", len(l.keys), len(l.order))
	}
}
