package reader

import (
	"sync"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/segment"
)

// trailsMax is how many places are remembered at which a fetch ended.
const trailsMax = 4096

// trails remembers where fetches ended, to know a sequential reader when the
// next one begins there, without knowing who it is.
type trails struct {
	mu    sync.Mutex
	ends  map[place]trail // guarded by mu
	order []place         // guarded by mu; a ring of the places in ends, and some that were followed
	next  int             // guarded by mu; in order
}

type place struct {
	partition catalog.TopicPartition
	offset    catalog.Offset
}

// trail is what is known of the fetches that led to a place.
type trail struct {
	run   int64 // bytes that were read in sequence, without coming to the end
	last  int64 // bytes of the last of them
	ahead int64 // bytes to read ahead of a fetch that begins here
	chain bool  // of closed ranges, each of which begins where the one before ended
}

func newTrails() *trails { return &trails{ends: map[place]trail{}} }

// follow returns the trail of which a fetch at offset is the next step; the zero
// one if none ended there.
func (t *trails) follow(tp catalog.TopicPartition, offset catalog.Offset) trail {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := place{tp, offset}
	found := t.ends[at]
	delete(t.ends, at)
	return found
}

// leave notes that a fetch ended before offset.
func (t *trails) leave(tp catalog.TopicPartition, offset catalog.Offset, left trail) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := place{tp, offset}
	if len(t.order) < trailsMax {
		t.order = append(t.order, at)
	} else {
		delete(t.ends, t.order[t.next])
		t.order[t.next] = at
		t.next = (t.next + 1) % trailsMax
	}
	t.ends[at] = left
}

// blockLen is the least that is read ahead.
const blockLen = segment.BlockLen

// step returns the trail after a fetch of so many bytes. How far a reader is read
// ahead of doubles with each step, up to most, and is halved if there was no room
// for all of it.
func (t trail) step(bytes, most int64, room bool) trail {
	next := trail{run: t.run + bytes, last: bytes, chain: t.chain}
	switch {
	case t.ahead == 0:
		next.ahead = max(blockLen, bytes)
	case room:
		next.ahead = 2 * t.ahead
	default:
		next.ahead = max(blockLen, t.ahead/2)
	}
	next.ahead = min(next.ahead, most)
	return next
}

// limit is the offset up to which a fetch that ends at end is read ahead of: what is
// behind a closed range may be of no use, unless it is one of a chain.
func (t trail) limit(p *catalog.Partition, q Query, end catalog.Offset) catalog.Offset {
	if q.Until == NoUntil || t.chain {
		return p.End()
	}
	return end
}

// readAhead begins to load what holds the records from offset up to end, up to so
// many bytes, for a reader that has come along the trail. It is a hint: with loads
// enough under way it does nothing, and what fails is the next fetch's to meet. It
// tells whether there was room for it.
func (r *Reader) readAhead(view *catalog.State, p *catalog.Partition, offset, end catalog.Offset, bytes int64, t trail) (room bool) {
	if t.ahead == 0 {
		return true
	}
	// A reader that is far ahead in a large object asks for many blocks at once,
	// and each time for as many: it waits until they are enough.
	a := aheadOf{loader: r.loader, left: bytes, groupMax: min(r.cfg.RangeBytesMax, t.ahead/2)}
	for _, x := range p.Extents(offset, extentsAhead) {
		o, ok := view.Object(x.Object)
		if !ok || x.Base >= end {
			return a.flush()
		}
		for _, piece := range r.loader.knownPieces(o, x, r.laneOf(view, p, x, t.run), offset, a.left) {
			if piece.base >= end {
				return a.flush()
			}
			for i := range piece.sources {
				if !a.add(&piece.sources[i]) {
					return !a.refused
				}
			}
		}
	}
	return a.flush()
}

// extentsAhead is how many extents are read ahead at most.
const extentsAhead = 256

// aheadOf is what a fetch reads ahead.
type aheadOf struct {
	*loader
	left     int64 // bytes
	groupMax int64 // bytes of one request
	group    []source
	last     blockKey
	refused  bool
}

// add takes the next source, and tells whether more are wanted.
func (a *aheadOf) add(s *source) bool {
	if s.key == a.last {
		return true
	}
	if a.left <= 0 {
		return false
	}
	a.last = s.key
	a.left -= s.key.len
	if !a.needs(s) {
		return a.flush()
	}
	if n := len(a.group); n > 0 && (!s.continues(&a.group[n-1]) || spanned(&a.group[0], s) > a.groupMax) && !a.flush() {
		return false
	}
	a.group = append(a.group, *s)
	if s.kind != indexBlock || spanned(&a.group[0], s) >= a.groupMax {
		return a.flush()
	}
	return true
}

// flush begins to load what has gathered, and tells whether there may be room for
// more.
func (a *aheadOf) flush() bool {
	if len(a.group) > 0 {
		a.refused = !a.ahead(a.group[0].lane, a.group)
		a.group = nil
	}
	return !a.refused
}

// knownPieces returns the pieces of an extent that hold the records from offset on,
// of about so many bytes, or its index if that must be loaded to know them.
func (l *loader) knownPieces(o catalog.Object, x catalog.Extent, k laneKind, offset catalog.Offset, bytes int64) []piece {
	if whole, ok := l.wholePiece(o, x, k); ok {
		return []piece{whole}
	}
	index := indexSource(o, k)
	if b, ok := l.cache.get(index.key); ok {
		if parts, err := partsOf(b.index, o, x, k, offset, bytes); err == nil {
			return parts
		}
	}
	return []piece{{object: o.ID, base: x.Base, records: int64(x.Records), sources: []source{index}}}
}
