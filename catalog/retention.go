package catalog

// DueForRetention tells whether a topic has records that its settings will not
// keep any more once the journal's time is now, in ms.
func (s *State) DueForRetention(t *Topic, now int64) bool {
	if !t.Config.limitsRetention() {
		return false
	}
	for number := range t.Partitions {
		p := s.Partition(TopicPartition{Topic: t.ID, Partition: number})
		if _, n := p.expired(&t.Config, now, 1); n > 0 {
			return true
		}
	}
	return false
}

func (c *TopicConfig) limitsRetention() bool {
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
		if n == limit || !tooOld && !tooMany {
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
	if !t.Config.limitsRetention() {
		return Result{}
	}
	left := s.capacity.expirySteps
	for number := range t.Partitions {
		tp := TopicPartition{Topic: id, Partition: number}
		p := s.Partition(tp)
		start, n := p.expired(&t.Config, s.time, left)
		if n == 0 {
			continue
		}
		s.trimTo(tp, p, start)
		if left -= n; left == 0 {
			return Result{More: true}
		}
	}
	return Result{}
}
