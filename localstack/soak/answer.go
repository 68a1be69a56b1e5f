package soak

import (
	"time"
)

// Question is what a node is asked about one partition, and when.
type Question struct {
	Node      string
	Topic     string
	Partition int32
	Offset    int64
	Until     int64 // end of a closed range, or -1
	Asked     time.Time
	// Shared answers hold records of other partitions too, which may leave no room
	// for those of this one.
	Shared bool
}

// Fetched is one record of an answer.
type Fetched struct {
	Offset    int64  `json:"offset"`
	Value     string `json:"value"`
	Timestamp int64  `json:"timestamp"`
}

// Records is an answer of 200 to a fetch.
type Records struct {
	Records  []Fetched `json:"records"`
	Next     int64     `json:"next_offset"`
	End      int64     `json:"high_watermark"`
	LogStart int64     `json:"log_start_offset"`
}

// Ask begins a question.
func (m *Model) Ask(node, name string, partition int32, offset int64) Question {
	return Question{Node: node, Topic: name, Partition: partition, Offset: offset, Until: -1, Asked: m.now()}
}

// Judge says whether an answer of 200 is what a single log may answer:
//
//   - records stand at the asked offset and those after it, without a gap (P3), and
//     each is one that was sent there, with its bytes (P2), where it always was (P6);
//   - none is refused, or below a log start that was proved long enough ago (P7),
//     or of a topic that is gone for so long;
//   - if there is none, none is known to be there (P5);
//   - the bounds go with what is known.
//
// It returns false if the answer is wrong.
func (m *Model) Judge(q Question, a Records) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for i, f := range a.Records {
		if f.Offset != q.Offset+int64(i) {
			m.find("%s: %s/%d from %d: record %d has offset %d", q.Node, q.Topic, q.Partition, q.Offset, i, f.Offset)
			return false
		}
	}
	if a.Next != q.Offset+int64(len(a.Records)) {
		m.find("%s: %s/%d from %d: %d records, and the next offset is %d", q.Node, q.Topic, q.Partition, q.Offset, len(a.Records), a.Next)
		return false
	}
	t, ok := m.topicOf(q, a.Records, now)
	if t == nil {
		return ok
	}
	p := t.partitions[q.Partition]
	if known := p.starts.asOf(q.Asked.Add(-m.slack.Stale)); q.Offset < known {
		m.find("%s: %s/%d serves from %d, and %s ago the log began at %d", q.Node, q.Topic, q.Partition, q.Offset, m.slack.Stale, known)
		return false
	}
	for i, f := range a.Records {
		serial, _ := serialOf(f.Value)
		r := m.records[serial]
		if r.fate == refused {
			m.find("%s: %s/%d has %s at %d", q.Node, q.Topic, q.Partition, r, f.Offset)
			return false
		}
		if !m.place(t, r, q.Offset+int64(i)) {
			return false
		}
	}
	m.counts["records read"] += len(a.Records)
	p.ends.add(now, a.Next)
	if q.Until >= 0 { // nothing is said of the bounds
		return true
	}
	if a.End < a.Next || a.LogStart > q.Offset {
		m.find("%s: %s/%d from %d up to %d: the bounds are %d and %d", q.Node, q.Topic, q.Partition, q.Offset, a.Next, a.LogStart, a.End)
		return false
	}
	if known := p.ends.asOf(q.Asked); len(a.Records) == 0 && q.Offset < known && !q.Shared {
		m.find("%s: %s/%d has nothing at %d, and its end was %d before", q.Node, q.Topic, q.Partition, q.Offset, known)
		return false
	}
	p.ends.add(now, a.End)
	return m.startAt(q, p, now, a.LogStart)
}

// topicOf finds out which topic of a name an answer is about; nil if nobody can
// tell, and false if there is no such topic.
func (m *Model) topicOf(q Question, records []Fetched, now time.Time) (*topic, bool) {
	may := m.candidates(q.Topic, q.Asked.Add(-m.slack.Stale), now)
	for _, f := range records {
		serial, ok := serialOf(f.Value)
		if !ok || serial >= len(m.records) {
			m.find("%s: %s/%d has a record at %d that nobody sent: %.60q", q.Node, q.Topic, q.Partition, f.Offset, f.Value)
			return nil, false
		}
		r := m.records[serial]
		if f.Value != r.value() || f.Timestamp != r.timestamp || r.name != q.Topic || r.partition != q.Partition {
			m.find("%s: %s/%d has other bytes at %d than those of %s: %.60q, timestamp %d", q.Node, q.Topic, q.Partition, f.Offset, r, f.Value, f.Timestamp)
			return nil, false
		}
		var left []*topic
		for _, t := range may {
			if r.topic == t || r.topic == nil && (t.deleted.IsZero() || !t.deleted.Before(r.called)) {
				left = append(left, t)
			}
		}
		if may = left; len(may) == 0 {
			m.find("%s: %s/%d has %s at %d, whose topic is gone for more than %s", q.Node, q.Topic, q.Partition, r, f.Offset, m.slack.Stale)
			return nil, false
		}
	}
	switch {
	case len(may) == 0:
		m.find("%s: %s/%d is there, and was deleted more than %s ago", q.Node, q.Topic, q.Partition, m.slack.Stale)
		return nil, false
	case len(may) > 1:
		return nil, true
	case int(q.Partition) >= len(may[0].partitions):
		m.find("%s: %s has no partition %d", q.Node, q.Topic, q.Partition)
		return nil, false
	}
	return may[0], true
}

// startAt takes note of where a log starts.
func (m *Model) startAt(q Question, p *partition, now time.Time, start int64) bool {
	p.ends.add(now, start)
	if start > p.starts.last() {
		if most := p.ceiling(now, m.slack); start > most {
			m.find("%s: %s/%d starts at %d, and what is at %d must be there: %v, sent %s ago, settings %s",
				q.Node, q.Topic, q.Partition, start, most, p.records[most], m.age(p.records[most], now), p.topic.describe())
			return false
		}
		p.starts.add(now, start)
	}
	return true
}

func (m *Model) age(r *record, now time.Time) time.Duration {
	if r == nil {
		return -1
	}
	return now.Sub(r.called)
}

// Bounds judges what a node, or an error of its, said of a partition's bounds as
// they were after the question (P5).
func (m *Model) Bounds(q Question, start, end int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	may := m.candidates(q.Topic, q.Asked, now)
	if len(may) == 0 {
		m.find("%s: %s/%d has bounds, and was deleted before", q.Node, q.Topic, q.Partition)
		return false
	}
	if len(may) > 1 || int(q.Partition) >= len(may[0].partitions) {
		return true
	}
	p := may[0].partitions[q.Partition]
	knownStart, knownEnd := p.starts.asOf(q.Asked), p.ends.asOf(q.Asked)
	if start < knownStart || end < knownEnd || start > end {
		m.find("%s: %s/%d is from %d to %d, and it was from %d to %d at least before", q.Node, q.Topic, q.Partition, start, end, knownStart, knownEnd)
		return false
	}
	p.ends.add(now, end)
	return m.startAt(q, p, now, start)
}

// Gone judges an answer of 410.
func (m *Model) Gone(q Question, start, end int64) bool {
	m.Count("410")
	if q.Offset >= start {
		m.Find("%s: %s/%d: offset %d is gone, and the log starts at %d", q.Node, q.Topic, q.Partition, q.Offset, start)
		return false
	}
	return m.Bounds(q, start, end)
}

// Above judges an answer of 416.
func (m *Model) Above(q Question, start, end int64) bool {
	m.Count("416")
	if q.Offset <= end {
		m.Find("%s: %s/%d: offset %d is above the end %d", q.Node, q.Topic, q.Partition, q.Offset, end)
		return false
	}
	return m.Bounds(q, start, end)
}

// NotFound judges an answer of 404.
func (m *Model) NotFound(q Question) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.counts["404"]++
	for _, t := range m.topics[q.Topic] {
		if t.throughout(q.Asked, now) {
			m.find("%s: %s is not there", q.Node, q.Topic)
			return false
		}
	}
	return true
}

// Trimming says that a trim is about to be asked for.
func (m *Model) Trimming(q Question) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.candidates(q.Topic, q.Asked, q.Asked) {
		p := t.partitions[q.Partition]
		p.trimmed = max(p.trimmed, q.Offset)
	}
}

// Trimmed judges the answer to a trim.
func (m *Model) Trimmed(q Question, start int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.counts["trims"]++
	may := m.candidates(q.Topic, q.Asked, now)
	if len(may) != 1 {
		return true
	}
	p := may[0].partitions[q.Partition]
	if start < min(q.Offset, p.ends.asOf(q.Asked)) {
		m.find("%s: %s/%d was to be trimmed to %d, and starts at %d", q.Node, q.Topic, q.Partition, q.Offset, start)
		return false
	}
	return m.startAt(q, p, now, start)
}

// known is the end offset of a partition as far as anybody knows.
func (m *Model) known(name string, number int32) (start, end int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.topics[name]
	if len(all) == 0 || int(number) >= len(all[len(all)-1].partitions) {
		return 0, 0
	}
	p := all[len(all)-1].partitions[number]
	return p.starts.last(), p.ends.last()
}
