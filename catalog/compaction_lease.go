package catalog

// compactionByTopic is the lease of a topic's compaction. Only the job that has it
// may compact, so that two nodes do not do the same work. That nothing else goes
// wrong if they do is up to Compact, which looks at what it replaces.
type compactionByTopic struct {
	topic TopicID
	job   JobID
	until int64 // ms of journal time
}

func (s *State) claimCompaction(e *ClaimCompaction) Result {
	if e.ForMs < 0 || e.ForMs > CompactionLeaseMsMax || e.Job == (JobID{}) {
		return Result{Err: invalid(InvalidCompaction)}
	}
	if _, ok := s.Topic(e.Topic); !ok {
		return Result{Err: ErrTopicNotFound}
	}
	held, ok := s.compactions.Get(compactionByTopic{topic: e.Topic})
	mine := ok && held.job == e.Job
	switch {
	case e.ForMs == 0 && mine:
		s.compactions.Delete(held)
		return Result{}
	case ok && !mine && (e.ForMs == 0 || held.until >= s.time):
		return Result{Err: ErrCompactionClaimed}
	case e.ForMs == 0:
		return Result{} // given back before
	}
	s.compactions.Set(compactionByTopic{topic: e.Topic, job: e.Job, until: s.time + e.ForMs})
	return Result{Created: !mine}
}

// CompactionJob returns the job that has the lease of a topic's compaction, and
// until when, in ms of journal time.
func (s *State) CompactionJob(id TopicID) (job JobID, until int64, ok bool) {
	c, ok := s.compactions.Get(compactionByTopic{topic: id})
	return c.job, c.until, ok
}

// checkCompactions checks that leases are those of topics.
func (s *State) checkCompactions() error {
	var err error
	s.compactions.Scan(func(c compactionByTopic) bool {
		_, ok := s.Topic(c.topic)
		if !ok || c.job == (JobID{}) || c.until > s.time+CompactionLeaseMsMax || s.level < levelOfCompaction {
			err = broken("topic %s, there %t, is being compacted by %s until %d", c.topic, ok, c.job, c.until)
		}
		return err == nil
	})
	return err
}
