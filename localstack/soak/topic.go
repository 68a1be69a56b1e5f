package soak

import (
	"math"
	"sort"
	"time"
)

// Settings are those of a topic that decide what it keeps.
type Settings struct {
	RetentionMs    int64 // -1 is no limit
	RetentionBytes int64 // -1 is no limit
}

func (s Settings) limited() bool { return s.RetentionMs >= 0 || s.RetentionBytes >= 0 }

// topic is one incarnation of a name.
type topic struct {
	name       string
	creating   time.Time
	created    time.Time  // zero until it is known to be there
	deleting   time.Time  // zero: nobody asked for it yet
	deleted    time.Time  // zero: it may be there
	settings   []Settings // that may be in force
	partitions []*partition
}

// at tells whether the topic may have been there between two times.
func (t *topic) at(from, to time.Time) bool {
	return !t.creating.After(to) && (t.deleted.IsZero() || !t.deleted.Before(from))
}

// throughout tells whether it was there all the time between two times.
func (t *topic) throughout(from, to time.Time) bool {
	return !t.created.IsZero() && !t.created.After(from) && (t.deleting.IsZero() || t.deleting.After(to))
}

// mark is a bound that was proved at a time.
type mark struct {
	at     time.Time
	offset int64
}

// marks are proved bounds, which only grow.
type marks []mark

func (m *marks) add(at time.Time, offset int64) {
	if offset > m.last() {
		*m = append(*m, mark{at, offset})
	}
}

func (m marks) last() int64 {
	if len(m) == 0 {
		return 0
	}
	return m[len(m)-1].offset
}

// asOf is the highest that was proved by a time.
func (m marks) asOf(at time.Time) int64 {
	n := sort.Search(len(m), func(i int) bool { return m[i].at.After(at) })
	return m[:n].last()
}

// partition is what is known of one.
type partition struct {
	topic   *topic
	number  int32
	records map[int64]*record // by offset, those whose offset is known
	starts  marks             // the log start was so high, at least
	ends    marks             // the end offset was so high, at least
	trimmed int64             // highest offset that a trim asked for
	open    int64             // bytes that records without a known offset take, at the most

	mayStart   int64     // records below it may be gone
	lastCalled time.Time // of the records below mayStart, the latest call
}

// ceiling is where the log may start at a time, at the most. Records may be gone
// that a trim asked for, or that are beyond what the settings keep: older than
// retention.ms, where the journal's time may be off by slack, or followed by
// retention.bytes of others. The first record that must be there ends it, since
// the log is cut at its start alone.
//
// Extents go as a whole, when the last of their records may: this can only make
// the start lower than the ceiling.
func (p *partition) ceiling(now time.Time, slack Slack) int64 {
	limited := false
	for _, s := range p.topic.settings {
		limited = limited || s.limited()
	}
	if limited {
		// What nobody saw yet may be there, and weigh.
		beyond := int64(math.MaxInt64)
		for _, s := range p.topic.settings {
			if s.RetentionBytes >= 0 {
				beyond = min(beyond, s.RetentionBytes)
			}
		}
		byBytes := p.bytesStart(beyond)
		for p.mayStart < p.ends.last() && (p.mayStart < byBytes || p.tooOld(p.mayStart, now, slack)) {
			if r := p.records[p.mayStart]; r != nil && r.called.After(p.lastCalled) {
				p.lastCalled = r.called
			}
			p.mayStart++
		}
	}
	return max(p.mayStart, p.trimmed)
}

// bytesStart is the offset below which records are followed by so many bytes.
func (p *partition) bytesStart(bytes int64) int64 {
	if bytes == math.MaxInt64 {
		return 0
	}
	sum := p.open
	for offset := p.ends.last() - 1; offset >= p.mayStart; offset-- {
		if sum >= bytes {
			return offset + 1
		}
		if r := p.records[offset]; r != nil {
			sum += r.storedMax()
		}
		// Those without a record are counted in open.
	}
	return p.mayStart
}

// tooOld tells whether a record may be older than what is kept. It was committed
// after it and all before it were sent.
func (p *partition) tooOld(offset int64, now time.Time, slack Slack) bool {
	called := p.lastCalled
	if r := p.records[offset]; r != nil && r.called.After(called) {
		called = r.called
	}
	for _, s := range p.topic.settings {
		if s.RetentionMs < 0 {
			continue
		}
		if now.Add(slack.Ahead).Sub(called.Add(-slack.Behind)).Milliseconds() > s.RetentionMs {
			return true
		}
	}
	return false
}
