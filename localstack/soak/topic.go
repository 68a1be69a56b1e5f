package soak

import (
	"fmt"
	"sort"
	"strings"
	"time"
)

// Settings are those of a topic that decide what it keeps.
type Settings struct {
	RetentionMs    int64 // -1 is no limit
	RetentionBytes int64 // -1 is no limit
}

func (s Settings) limited() bool { return s.RetentionMs >= 0 || s.RetentionBytes >= 0 }

// span is when settings may have been in force.
type span struct {
	Settings
	until time.Time // zero: to this day
}

// topic is one incarnation of a name.
type topic struct {
	name       string
	creating   time.Time
	created    time.Time // zero until it is known to be there
	deleting   time.Time // zero: nobody asked for it yet
	deleted    time.Time // zero: it may be there
	settings   []*span   // the last one is the newest
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
	for _, s := range p.topic.settings {
		if s.limited() {
			p.raise(now, slack)
			break
		}
	}
	return max(p.mayStart, p.trimmed)
}

// raise moves mayStart up.
func (p *partition) raise(now time.Time, slack Slack) {
	starts := make([]int64, len(p.topic.settings))
	for i, s := range p.topic.settings {
		starts[i] = p.bytesStart(s.RetentionBytes)
	}
	for p.mayStart < p.ends.last() {
		// A record was committed after it and all before it were sent.
		called := p.lastCalled
		if r := p.records[p.mayStart]; r != nil && r.called.After(called) {
			called = r.called
		}
		may := false
		for i, s := range p.topic.settings {
			at := now
			if !s.until.IsZero() && s.until.Before(now) {
				at = s.until
			}
			if called.After(at) {
				continue
			}
			age := at.Add(slack.Ahead).Sub(called.Add(-slack.Behind))
			may = may || p.mayStart < starts[i] || s.RetentionMs >= 0 && age.Milliseconds() > s.RetentionMs
		}
		if !may {
			return
		}
		p.lastCalled = called
		p.mayStart++
	}
}

// bytesStart is the offset below which records are followed by so many bytes; 0
// if that is no limit. What nobody saw yet may be there, and weigh.
func (p *partition) bytesStart(bytes int64) int64 {
	if bytes < 0 {
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

// describe is for people.
func (t *topic) describe() string {
	var all []string
	for _, s := range t.settings {
		text := fmt.Sprintf("{retention.ms %d, retention.bytes %d", s.RetentionMs, s.RetentionBytes)
		if !s.until.IsZero() {
			text += " until " + s.until.Format(time.TimeOnly)
		}
		all = append(all, text+"}")
	}
	return strings.Join(all, ", ")
}
