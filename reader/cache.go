package reader

import (
	"container/list"
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

// blockCache keeps checked blocks.
type blockCache struct {
	blocks *ristretto.Cache[string, block]
	recent recentBlocks

	closing sync.RWMutex // held for reading while blocks is written to
	closed  bool         // guarded by closing
}

func newBlockCache(cfg Config) (*blockCache, error) {
	const meanBlock = 256 << 10 // bytes; ristretto wants ten counters for each item it may hold
	blocks, err := ristretto.NewCache(&ristretto.Config[string, block]{
		NumCounters: max(1000, 10*cfg.CacheBytes/meanBlock),
		MaxCost:     cfg.CacheBytes,
		BufferItems: 64,
		// Keys and bookkeeping are small beside the bytes.
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("make the block cache: %w", err)
	}
	return &blockCache{blocks: blocks, recent: recentBlocks{max: cfg.RecentBytes, index: map[blockKey]*list.Element{}}}, nil
}

func (c *blockCache) get(k blockKey) (block, bool) {
	if b, ok := c.recent.get(k); ok {
		return b, true
	}
	return c.blocks.Get(k.encoded())
}

// put keeps b for as long as the caches see fit, not at all after close.
func (c *blockCache) put(k blockKey, b block) {
	c.closing.RLock()
	defer c.closing.RUnlock()
	if c.closed {
		return
	}
	c.recent.put(k, b)
	c.blocks.Set(k.encoded(), b, b.cost())
}

func (c *blockCache) close() {
	c.closing.Lock()
	defer c.closing.Unlock()
	if !c.closed {
		c.closed = true
		c.blocks.Close()
	}
}

// recentBlocks keeps the blocks that were put last, up to max bytes. It is a
// queue: using a block does not keep it longer.
type recentBlocks struct {
	max int64

	mu    sync.Mutex
	bytes int64                      // guarded by mu
	order list.List                  // guarded by mu; of *recentBlock, oldest first
	index map[blockKey]*list.Element // guarded by mu
}

type recentBlock struct {
	key   blockKey
	block block
	cost  int64
}

func (r *recentBlocks) get(k blockKey) (block, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.index[k]
	if !ok {
		return block{}, false
	}
	return e.Value.(*recentBlock).block, true
}

func (r *recentBlocks) put(k blockKey, b block) {
	cost := b.cost()
	if cost > r.max {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.index[k]; ok {
		return
	}
	r.index[k] = r.order.PushBack(&recentBlock{key: k, block: b, cost: cost})
	r.bytes += cost
	for r.bytes > r.max {
		oldest := r.order.Remove(r.order.Front()).(*recentBlock)
		delete(r.index, oldest.key)
		r.bytes -= oldest.cost
	}
}
