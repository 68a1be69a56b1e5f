package soak

import (
	"fmt"
	"sync"
	"time"
)

// Slack is how much less than everything the model knows.
type Slack struct {
	// Behind and Ahead are how far the journal's time, by which retention is
	// judged, may be from the clock of the model.
	Behind, Ahead time.Duration
	// Stale is for how long a node may serve what a trim, retention or a deletion
	// took away: P7 says 5 s, and a request takes its time.
	Stale time.Duration
	// Late is how long after it was given up a request may still take effect.
	Late time.Duration
}

// findingsMax is how many findings are kept; what follows the first is often
// its consequence.
const findingsMax = 20

// Model is the naive log beside the real one: per topic and partition what was
// sent, where it is, and what may be gone. Whoever sends something tells it before
// and after, and lets it judge each answer. It is safe for concurrent use.
type Model struct {
	// Say, if set, is told of each finding at once.
	Say func(format string, args ...any)

	slack Slack
	now   func() time.Time

	mu       sync.Mutex
	records  []*record           // by serial; guarded by mu
	topics   map[string][]*topic // by name, in the order in which they came; guarded by mu
	findings []string            // guarded by mu
	counts   map[string]int      // guarded by mu
	taken    int64               // bytes of values that were acknowledged; guarded by mu
}

// NewModel returns a model of an empty log.
func NewModel(slack Slack) *Model {
	return &Model{slack: slack, now: time.Now, topics: map[string][]*topic{}, counts: map[string]int{}}
}

// Find notes that something is wrong.
func (m *Model) Find(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.find(format, args...)
}

func (m *Model) find(format string, args ...any) {
	if len(m.findings) < findingsMax {
		m.findings = append(m.findings, fmt.Sprintf(format, args...))
		if m.Say != nil {
			m.Say("FINDING: "+format, args...)
		}
	}
}

// Findings are what is wrong, the oldest first.
func (m *Model) Findings() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.findings...)
}

// Count counts that something happened.
func (m *Model) Count(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[what]++
}

// Counts returns how often what happened.
func (m *Model) Counts() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := map[string]int{}
	for what, n := range m.counts {
		counts[what] = n
	}
	return counts
}

// Taken returns how many bytes of values were acknowledged so far.
func (m *Model) Taken() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken
}

// Topic stands for an incarnation towards those who make and delete it.
type Topic struct {
	m *Model
	t *topic
}

// Creating says that a topic is about to be made, of a name that no other has.
func (m *Model) Creating(name string, partitions int32, s Settings) *Topic {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &topic{name: name, creating: m.now(), settings: []*span{{Settings: s}}}
	for n := range partitions {
		t.partitions = append(t.partitions, &partition{topic: t, number: n, records: map[int64]*record{}})
	}
	m.topics[name] = append(m.topics[name], t)
	// A request that is still on its way means the topic that it finds.
	for i := len(m.records) - 1; i >= 0 && t.creating.Sub(m.records[i].called) <= m.slack.Late; i-- {
		if r := m.records[i]; r.name == name && r.topic == nil && r.fate != refused {
			r.weighIn(t)
		}
	}
	return &Topic{m: m, t: t}
}

// Created says that the topic is there.
func (t *Topic) Created() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.t.created = t.m.now()
	t.m.counts["topics created"]++
}

// Altering says that the topic is about to get other settings.
func (t *Topic) Altering(s Settings) {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.t.settings = append(t.t.settings, &span{Settings: s})
}

// Altered says that the topic has the settings that were asked for last, and that
// no request is under way that could give it others.
func (t *Topic) Altered() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.m.counts["settings changed"]++
	for _, s := range t.t.settings[:len(t.t.settings)-1] {
		if s.until.IsZero() {
			s.until = t.m.now()
		}
	}
}

// Deleting says that the topic is about to be deleted.
func (t *Topic) Deleting() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if t.t.deleting.IsZero() {
		t.t.deleting = t.m.now()
	}
}

// Deleted says that the topic is gone.
func (t *Topic) Deleted() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.t.deleted = t.m.now()
	t.m.counts["topics deleted"]++
}

// candidates are the topics that a name may have meant between two times.
func (m *Model) candidates(name string, from, to time.Time) []*topic {
	var found []*topic
	for _, t := range m.topics[name] {
		if t.at(from, to) {
			found = append(found, t)
		}
	}
	return found
}

// Sent is a produce request.
type Sent struct {
	m       *Model
	records []*record
}

// Sending says that records of some sizes are about to be sent to one partition.
func (m *Model) Sending(name string, number int32, timestamps []int64, sizes []int) *Sent {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &Sent{m: m}
	for i, size := range sizes {
		r := &record{
			serial: len(m.records), size: size, timestamp: timestamps[i], name: name, partition: number, called: m.now(), offset: unknown,
		}
		m.records = append(m.records, r)
		s.records = append(s.records, r)
		for _, t := range m.candidates(name, r.called, r.called) {
			r.weighIn(t)
		}
	}
	return s
}

// Values are those of the request's records.
func (s *Sent) Values() []string {
	values := make([]string, len(s.records))
	for i, r := range s.records {
		values[i] = r.value()
	}
	return values
}

// Refused says that nothing of the request is in the log or gets there.
func (s *Sent) Refused() { s.settle(refused) }

// Promised says that the request was answered with 202.
func (s *Sent) Promised() { s.settle(promised) }

func (s *Sent) settle(f fate) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for _, r := range s.records {
		if f == refused {
			if r.offset != unknown {
				s.m.find("%s was read at %d and then refused", r, r.offset)
			}
			r.weighNowhere()
		}
		r.fate = f
		s.m.counts[f.String()]++
		if f == promised {
			s.m.taken += int64(r.size)
		}
	}
}

// Acked says that the request was acknowledged with the offset of its first record.
func (s *Sent) Acked(base int64) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for i, r := range s.records {
		offset := base + int64(i)
		r.fate = acked
		m.counts["acknowledged"]++
		m.taken += int64(r.size)
		if r.offset != unknown && r.offset != offset {
			m.find("%s is at %d, and was acknowledged at %d", r, r.offset, offset)
			continue
		}
		switch may := m.candidates(r.name, r.called, now); len(may) {
		case 0:
			m.find("%s was acknowledged after its topic was deleted", r)
		case 1:
			m.place(may[0], r, offset)
			p := may[0].partitions[r.partition]
			p.ends.add(now, offset+1)
		default: // one of several topics of the name: whoever reads it sees which
			r.offset = offset
		}
	}
}

// place notes where a record is.
func (m *Model) place(t *topic, r *record, offset int64) bool {
	p := t.partitions[r.partition]
	switch other := p.records[offset]; {
	case other == r:
		return true
	case other != nil:
		m.find("offset %d of %s/%d has %s and %s", offset, t.name, p.number, other, r)
		return false
	case r.topic != nil && r.topic != t:
		m.find("%s is in two topics of its name", r)
		return false
	case r.offset != unknown && r.offset != offset:
		m.find("%s is at offset %d and at %d", r, r.offset, offset)
		return false
	}
	r.weighNowhere()
	r.topic, r.offset = t, offset
	p.records[offset] = r
	return true
}
