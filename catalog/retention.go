package catalog

import "github.com/wadilog/wadi/internal/mutant"

// DueForRetention tells whether a topic has records that its settings will not
// keep any more once the journal's time is now, in ms.
func (s *State) DueForRetention(t *Topic, now int64) bool {
	if !t.Config.LimitsRetention() {
		return false
	}
	due := false
	s.ofTopic(t.ID, func(p partitionByID) bool {
		_, n := p.partition.expired(&t.Config, now, 1)
		due = n > 0
		return !due
	})
	return due
}

// ofTopic calls yield for the partitions of a topic, in order, until it returns
// false. It is several times as fast as to look up each.
func (s *State) ofTopic(id TopicID, yield func(partitionByID) bool) {
	s.partitions.Ascend(partitionByID{id: TopicPartition{Topic: id}}, func(p partitionByID) bool {
		return p.id.Topic == id && yield(p)
	})
}

// LimitsRetention tells whether records go before their topic does.
func (c *TopicConfig) LimitsRetention() bool {
	return c.RetentionMs != Unlimited || c.RetentionBytes != Unlimited
}

// expired returns where the log begins without the oldest extents that the
// settings do not keep, at most limit of them, and how many there are. An extent
// is kept as a whole or not at all. Its age counts from its commit, so that
// history with old timestamps is not lost on arrival; and as in Kafka, what is
// kept is at least retention.bytes, if there is as much.
func (p *Partition) expired(c *TopicConfig, now int64, limit int) (start Offset, n int) {
	start = p.logStart
	bytes := p.bytes
	for e := range p.extents.all {
		tooOld := c.RetentionMs != Unlimited && now-e.CommitTime > c.RetentionMs
		tooMany := c.RetentionBytes != Unlimited && bytes-e.Len >= c.RetentionBytes
		if n == limit {
			break
		}
		if !tooOld && !tooMany {
			if mutant.On(mutant.SkipRetained) && n > 0 {
				start, n = e.End(), n+1
			}
			break
		}
		start, bytes = e.End(), bytes-e.Len
		n++
	}
	return start, n
}

// retain takes time in proportion to the topic's partitions and to the extents
// that it drops.
func (s *State) retain(id TopicID) Result {
	t, ok := s.Topic(id)
	if !ok {
		return Result{Err: ErrTopicNotFound}
	}
	if !t.Config.LimitsRetention() {
		return Result{}
	}
	type expired struct {
		partitionByID
		start Offset
	}
	var found []expired
	left := s.capacity.expirySteps
	s.ofTopic(id, func(p partitionByID) bool {
		start, n := p.partition.expired(&t.Config, s.time, left)
		if n > 0 {
			found = append(found, expired{p, start})
		}
		left -= n
		return left > 0
	})
	for _, e := range found {
		s.trimTo(e.id, e.partition, e.start)
	}
	return Result{More: left == 0}
}
