package reader

import (
	"sync"

	"github.com/wadilog/wadi/catalog"
)

// trailsMax is how many places are remembered at which a fetch ended.
const trailsMax = 4096

// trails remembers where fetches ended, to know a sequential reader when the
// next one begins there, without knowing who it is.
type trails struct {
	mu     sync.Mutex
	depths map[place]int // guarded by mu; how many objects to read ahead of a fetch that begins there
	order  []place       // guarded by mu; a ring of the places in depths, and some that were followed
	next   int           // guarded by mu; in order
}

type place struct {
	partition catalog.TopicPartition
	offset    catalog.Offset
}

func newTrails() *trails { return &trails{depths: map[place]int{}} }

// follow returns how far to read ahead of a fetch that begins at offset; 0 if
// none ended there.
func (t *trails) follow(tp catalog.TopicPartition, offset catalog.Offset) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := place{tp, offset}
	depth := t.depths[at]
	delete(t.depths, at)
	return depth
}

// leave notes that a fetch ended before offset.
func (t *trails) leave(tp catalog.TopicPartition, offset catalog.Offset, depth int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := place{tp, offset}
	t.depths[at] = depth
	if len(t.order) < trailsMax {
		t.order = append(t.order, at)
		return
	}
	delete(t.depths, t.order[t.next])
	t.order[t.next] = at
	t.depths[at] = depth
	t.next = (t.next + 1) % trailsMax
}

// readAhead begins to load up to depth objects, or pieces of large ones, that
// hold the records from offset up to end. It is a hint: with loads enough under
// way it does nothing, and what fails is the next fetch's to meet.
func (r *Reader) readAhead(view *catalog.State, p *catalog.Partition, offset, end catalog.Offset, depth int) {
	if depth == 0 {
		return
	}
	limit := 2 * r.cfg.ReadAheadObjects
	var last blockKey
	for _, x := range p.Extents(offset, 4*depth) {
		o, ok := view.Object(x.Object)
		if !ok || x.Base >= end {
			return
		}
		pieces := r.loader.knownPieces(o, x)
		for i := range pieces {
			if pieces[i].end() <= offset {
				continue
			}
			if pieces[i].base >= end {
				return
			}
			for j := range pieces[i].sources {
				s := &pieces[i].sources[j]
				if s.key == last {
					continue
				}
				if depth == 0 || !r.loader.ahead(s, limit) {
					return
				}
				last = s.key
				depth--
			}
		}
	}
}

// knownPieces returns the pieces of an extent, or its index if that must be
// loaded to know them.
func (l *loader) knownPieces(o catalog.Object, x catalog.Extent) []piece {
	if whole, ok := l.wholePiece(o, x); ok {
		return []piece{whole}
	}
	index := indexSource(o)
	if b, ok := l.cache.get(index.key); ok {
		if parts, err := partsOf(b.index, o, x); err == nil {
			return parts
		}
	}
	return []piece{{object: o.ID, base: x.Base, records: int64(x.Records), sources: []source{index}}}
}
