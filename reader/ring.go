package reader

import (
	"container/list"
	"sync"
)

// ring keeps what was put last, up to max bytes. Using a block does not keep it
// longer.
type ring struct {
	max int64
	// usedFirst lets go first of what was used whole. Several partitions' replays
	// pass through the same segments, at about the same pace; what all of them
	// have passed need not wait for its turn.
	usedFirst bool

	mu     sync.Mutex
	bytes  int64                   // guarded by mu
	unused int64                   // guarded by mu; of blocks that were read ahead and that nobody asked for yet
	open   list.List               // guarded by mu; of *ringEntry, oldest first
	used   list.List               // guarded by mu; the same, of those that were used whole
	index  map[blockKey]*ringBlock // guarded by mu
}

// ringEntry is blocks that share their memory, and so come and go together.
type ringEntry struct {
	blocks []*ringBlock
	cost   int64
	left   int64 // bytes that were not used
	whole  bool  // used so
	place  *list.Element
}

type ringBlock struct {
	key   blockKey
	block block
	ahead bool // read ahead, and not asked for
	entry *ringEntry
}

func newRing(max int64, usedFirst bool) *ring {
	return &ring{max: max, usedFirst: usedFirst, index: map[blockKey]*ringBlock{}}
}

func (r *ring) get(k blockKey) (block, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.index[k]
	if !ok {
		return block{}, false
	}
	return b.block, true
}

// use notes that n bytes of a block were used.
func (r *ring) use(k blockKey, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.index[k]
	if !ok {
		return
	}
	if b.ahead {
		b.ahead = false
		r.unused -= b.block.cost()
	}
	e := b.entry
	if e.left -= n; e.left <= 0 && r.usedFirst && !e.whole {
		e.whole = true
		r.open.Remove(e.place)
		e.place = r.used.PushBack(e)
	}
}

// put keeps blocks that share their memory, in which there are size bytes to be
// used. It returns what it let go of for them: the blocks themselves, if they do
// not fit at all.
func (r *ring) put(blocks []*ringBlock, size int64) (gone []*ringBlock) {
	e := &ringEntry{left: size}
	for _, b := range blocks {
		b.entry = e
		e.cost += b.block.cost()
	}
	if e.cost > r.max {
		e.blocks = blocks
		return blocks
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range blocks {
		// One that is there already stays with the entry that it came in.
		if _, ok := r.index[b.key]; ok {
			continue
		}
		e.blocks = append(e.blocks, b)
		r.index[b.key] = b
		if b.ahead {
			r.unused += b.block.cost()
		}
	}
	if len(e.blocks) == 0 {
		return nil
	}
	e.place = r.open.PushBack(e)
	for r.bytes += e.cost; r.bytes > r.max; {
		gone = append(gone, r.evict()...)
	}
	return gone
}

// evict lets go of an entry. It wants mu held.
func (r *ring) evict() []*ringBlock {
	from := &r.used
	if from.Len() == 0 {
		from = &r.open
	}
	e := from.Remove(from.Front()).(*ringEntry)
	for _, b := range e.blocks {
		delete(r.index, b.key)
		if b.ahead {
			r.unused -= b.block.cost()
		}
	}
	r.bytes -= e.cost
	return e.blocks
}

// size is how many bytes are kept, and how many of them were read ahead and not
// used.
func (r *ring) size() (bytes, unused int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes, r.unused
}
