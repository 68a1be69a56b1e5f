package reader

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/segment"
)

// blockKey names a stretch of an object that is loaded, checked and kept as a
// whole.
type blockKey struct {
	object catalog.ObjectID
	pos    segment.Pos // where it begins; wholeObject for all of it
}

const wholeObject segment.Pos = -1

func (k blockKey) String() string { return fmt.Sprintf("%s@%d", k.object, k.pos) }

// blockCache keeps checked bytes. What it returns is shared and must not be
// written to.
type blockCache struct {
	blocks *ristretto.Cache[string, []byte]
	recent recentBlocks
}

func newBlockCache(cfg Config) (*blockCache, error) {
	const meanBlock = 256 << 10 // bytes; ristretto wants ten counters for each item it may hold
	blocks, err := ristretto.NewCache(&ristretto.Config[string, []byte]{
		NumCounters: max(1000, 10*cfg.CacheBytes/meanBlock),
		MaxCost:     cfg.CacheBytes,
		BufferItems: 64,
		// Cost is in bytes of the values alone; keys and bookkeeping are small
		// beside them.
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("make the block cache: %w", err)
	}
	return &blockCache{blocks: blocks, recent: recentBlocks{max: cfg.RecentBytes}}, nil
}

func (c *blockCache) get(k blockKey) ([]byte, bool) {
	if b, ok := c.recent.get(k); ok {
		return b, true
	}
	return c.blocks.Get(k.String())
}

func (c *blockCache) put(k blockKey, b []byte) {
	c.recent.put(k, b)
	c.blocks.Set(k.String(), b, int64(len(b)))
}

func (c *blockCache) close() { c.blocks.Close() }

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
	key  blockKey
	body []byte
}

func (r *recentBlocks) get(k blockKey) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.index[k]
	if !ok {
		return nil, false
	}
	return e.Value.(*recentBlock).body, true
}

func (r *recentBlocks) put(k blockKey, body []byte) {
	if int64(len(body)) > r.max {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.index[k]; ok {
		return
	}
	if r.index == nil {
		r.index = map[blockKey]*list.Element{}
	}
	r.index[k] = r.order.PushBack(&recentBlock{key: k, body: body})
	r.bytes += int64(len(body))
	for r.bytes > r.max {
		oldest := r.order.Remove(r.order.Front()).(*recentBlock)
		delete(r.index, oldest.key)
		r.bytes -= int64(len(oldest.body))
	}
}
