package reader

import "time"

// flight is a load under way, or one that is done and whose blocks the fetch
// that began it has yet to use: one request to the store.
type flight struct {
	lane   laneKind
	parts  []loaded // sources side by side; at least one
	queued time.Time
	done   chan struct{}

	share   int64 // of the lane's bytes
	held    bool  // by the fetch that began it; guarded by loader.mu
	started bool  // guarded by loader.mu
	landed  bool  // guarded by loader.mu
}

// loaded is one source of a flight.
type loaded struct {
	source
	block block // as err, set before done is closed
	err   error
	ahead bool // nobody asked for it yet; guarded by loader.mu
}

func newFlight(k laneKind, group []source, bytesMax int64) *flight {
	f := &flight{lane: k, parts: make([]loaded, len(group)), done: make(chan struct{}), share: min(spanned(&group[0], &group[len(group)-1]), bytesMax)}
	for i := range group {
		f.parts[i].source = group[i]
	}
	return f
}

// spanned is how many bytes there are from the first source to the last, which
// lie side by side.
func spanned(first, last *source) int64 {
	return int64(last.key.pos) + last.key.len - int64(first.key.pos)
}

// asked notes that somebody wants a source: it no longer counts as read ahead.
// It wants loader.mu held.
func (f *flight) asked(in *lane, key blockKey) {
	for i := range f.parts {
		if p := &f.parts[i]; p.key == key && p.ahead {
			p.ahead = false
			in.aheads -= p.key.len
		}
	}
}

// result returns the block of one of the sources once the load is done.
func (f *flight) result(key blockKey) (block, error) {
	for i := range f.parts {
		if p := &f.parts[i]; p.key == key {
			return p.block, p.err
		}
	}
	panic("reader: a load is asked for what is not in it")
}
