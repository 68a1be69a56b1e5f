package reader

import (
	"github.com/wadilog/wadi/catalog"
)

// Lane bounds the loads of one kind.
type Lane struct {
	// BytesMax bounds the bytes of the loads under way, and of those done that
	// the fetch which began them has yet to use. A single load may be larger;
	// it is then the only one.
	BytesMax int64
	// LoadsMax bounds the loads under way.
	LoadsMax int
}

// laneKind tells the tail of the log from its history. Each has loads and a
// share of the cache of its own, so that whoever waits for new records does not
// wait behind those who read years of old ones.
type laneKind uint8

const (
	live laneKind = iota
	replay
	laneCount
)

func (k laneKind) String() string { return [...]string{"live", "replay"}[k] }

// lane is the loads of one kind. All of it is guarded by loader.mu.
type lane struct {
	Lane
	flights map[blockKey]*flight // under way or queued, by each of their sources
	queue   []*flight            // those that wait for their share, in the order in which they were begun
	bytes   int64                // shares given out, of BytesMax
	loads   int                  // under way, of LoadsMax
	aheads  int64                // bytes under way that nobody asked for yet
	gauges  laneGauges
}

// fits tells whether a load of that share could start now.
func (l *lane) fits(share int64) bool {
	return l.bytes+share <= l.BytesMax && l.loads < l.LoadsMax
}

func (l *lane) show() {
	l.gauges.bytes.Set(float64(l.bytes))
	l.gauges.loads.Set(float64(l.loads))
	l.gauges.queued.Set(float64(len(l.queue)))
}

// laneOf tells which lane the loads of an extent go to, for a reader that has
// read run bytes in sequence without coming to the end. Live is what was
// committed lately, and the last of a partition, which a consumer that comes
// back to a quiet one asks for. Nobody who waits at the end reads much before
// coming to it, so who does is a replay.
func (r *Reader) laneOf(view *catalog.State, p *catalog.Partition, x catalog.Extent, run int64) laneKind {
	switch {
	case run > r.cfg.ReplayAfterBytes:
		return replay
	case view.Time()-x.CommitTime <= r.cfg.LiveAge.Milliseconds():
		return live
	case x.End() == p.End() && x.Len <= catalog.ExtentCRCLenMax:
		return live
	}
	return replay
}
