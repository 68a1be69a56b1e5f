package reader

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"unsafe"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/segment"
)

// blockKey names bytes of an object. The length is part of the name: an extent
// and a block of the index may begin at the same place.
type blockKey struct {
	object catalog.ObjectID
	pos    segment.Pos
	len    int64
}

func (k blockKey) encoded() string {
	var b [32]byte
	copy(b[:16], k.object[:])
	binary.BigEndian.PutUint64(b[16:], uint64(k.pos))
	binary.BigEndian.PutUint64(b[24:], uint64(k.len))
	return string(b[:])
}

// block is what was loaded and checked: bytes, or an index decoded from them.
// It is shared and must not be written to.
type block struct {
	bytes []byte
	index *segment.Index
}

// cost is about how many bytes of memory the block takes.
func (b block) cost() int64 {
	n := int64(cap(b.bytes))
	if b.index != nil {
		for i := range b.index.Runs {
			run := &b.index.Runs[i]
			n += int64(unsafe.Sizeof(*run)) +
				int64(cap(run.Blocks))*int64(unsafe.Sizeof(segment.Block{})) +
				int64(cap(run.Batches))*int64(unsafe.Sizeof(segment.IndexBatch{}))
		}
	}
	return n
}

// blockCache keeps checked blocks, in three parts. What was loaded for the tail
// of the log, or written there by this node, and what was loaded for replays is
// in a ring each, so that neither pushes the other out. What leaves a ring for the
// second time within a while is read again and again, and goes to the third part;
// so does what leaves a ring while there is room.
type blockCache struct {
	rings   [laneCount]*ring
	again   *ristretto.Cache[string, block]
	left    leftBlocks
	metrics *metrics

	closing sync.RWMutex // held for reading while again is written to
	closed  bool         // guarded by closing
}

func newBlockCache(cfg Config, m *metrics) (*blockCache, error) {
	const meanBlock = 256 << 10 // bytes; ristretto wants ten counters for each item it may hold
	again, err := ristretto.NewCache(&ristretto.Config[string, block]{
		NumCounters: max(1000, 10*cfg.CacheBytes/meanBlock),
		MaxCost:     cfg.CacheBytes,
		BufferItems: 64,
		// Keys and bookkeeping are small beside the bytes.
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("make the block cache: %w", err)
	}
	return &blockCache{
		rings:   [laneCount]*ring{live: newRing(cfg.RecentBytes, false), replay: newRing(cfg.ReplayCacheBytes, true)},
		again:   again,
		left:    leftBlocks{keys: map[blockKey]struct{}{}},
		metrics: m,
	}, nil
}

func (c *blockCache) get(k blockKey) (block, bool) {
	for _, r := range c.rings {
		if b, ok := r.get(k); ok {
			return b, true
		}
	}
	return c.again.Get(k.encoded())
}

func (c *blockCache) has(k blockKey) bool {
	_, ok := c.get(k)
	return ok
}

// use notes that n bytes of a block were used.
func (c *blockCache) use(k blockKey, n int64) {
	for _, r := range c.rings {
		r.use(k, n)
	}
}

// unused is how many bytes were read ahead in a lane that nobody asked for yet.
func (c *blockCache) unused(k laneKind) int64 {
	_, unused := c.rings[k].size()
	return unused
}

// put keeps blocks that share their memory, with size bytes to be used in them,
// for as long as the parts see fit; not at all after close.
func (c *blockCache) put(k laneKind, blocks []*ringBlock, size int64) {
	c.closing.RLock()
	defer c.closing.RUnlock()
	if c.closed {
		return
	}
	for _, b := range blocks {
		if b.block.index != nil {
			// Each fetch from a large object begins with its index, though it is
			// loaded but once: that it is read again is known.
			c.again.Set(b.key.encoded(), b.block, b.block.cost())
		}
	}
	for _, gone := range c.rings[k].put(blocks, size) {
		if gone.ahead {
			c.metrics.unused.Inc()
		}
		if cost := gone.block.cost(); !c.left.add(gone.key) && c.again.RemainingCost() < cost {
			continue
		}
		if gone.entry != nil && len(gone.entry.blocks) > 1 {
			// It must not keep the memory of the others.
			gone.block.bytes = bytes.Clone(gone.block.bytes)
		}
		c.again.Set(gone.key.encoded(), gone.block, gone.block.cost())
	}
	c.show(k)
}

func (c *blockCache) show(k laneKind) {
	size, _ := c.rings[k].size()
	c.metrics.cached.WithLabelValues(k.String()).Set(float64(size))
	c.metrics.cached.WithLabelValues("again").Set(float64(c.again.MaxCost() - c.again.RemainingCost()))
}

func (c *blockCache) close() {
	c.closing.Lock()
	defer c.closing.Unlock()
	if !c.closed {
		c.closed = true
		c.again.Close()
	}
}

// leftBlocksMax is how many blocks that left a ring are remembered.
const leftBlocksMax = 8192

// leftBlocks remembers what left the rings last.
type leftBlocks struct {
	mu    sync.Mutex
	keys  map[blockKey]struct{} // guarded by mu
	order []blockKey            // guarded by mu; a ring
	next  int                   // guarded by mu; in order
}

// add tells whether k was there, and remembers it.
func (l *leftBlocks) add(k blockKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.keys[k]; ok {
		return true
	}
	l.keys[k] = struct{}{}
	if len(l.order) < leftBlocksMax {
		l.order = append(l.order, k)
		return false
	}
	delete(l.keys, l.order[l.next])
	l.order[l.next] = k
	l.next = (l.next + 1) % leftBlocksMax
	return false
}
