package catalog

import "github.com/google/uuid"

func (s *State) createTopic(e *CreateTopic) Result {
	switch {
	case e.ID == uuid.Nil:
		return Result{Err: invalid(InvalidTopicID)}
	case !ValidTopicName(e.Name):
		return Result{Err: invalid(InvalidTopicName)}
	case e.Partitions < 1 || e.Partitions > TopicPartitionsMax:
		return Result{Err: invalid(InvalidPartitionCount)}
	case !e.Config.valid():
		return Result{Err: invalid(InvalidConfig)}
	}
	if t, ok := s.TopicByName(e.Name); ok {
		if t.Partitions != e.Partitions || t.Config != e.Config {
			return Result{Err: ErrTopicExists}
		}
		return Result{Topic: t.ID}
	}
	if _, ok := s.Topic(e.ID); ok {
		return Result{Err: invalid(InvalidTopicID)}
	}
	if s.partitions.Len()+int(e.Partitions) > s.capacity.partitions || !s.assignable(e.Name, e.Partitions) {
		return Result{Err: ErrCatalogFull}
	}
	t := &Topic{ID: e.ID, Name: e.Name, Partitions: e.Partitions, Config: e.Config}
	s.setTopic(t)
	s.addPartitions(e.ID, 0, e.Partitions)
	s.rebalanceSubscribers(t)
	return Result{Topic: e.ID, Created: true}
}

func (s *State) setTopic(t *Topic) {
	s.topics.Set(topicByID{id: t.ID, topic: t})
	s.names.Set(topicByName{name: t.Name, topic: t})
}

// addPartitions makes the empty partitions numbered from up to to.
func (s *State) addPartitions(id TopicID, from, to int32) {
	empty := &Partition{} // one for all: partitions are immutable
	for p := from; p < to; p++ {
		s.setPartition(TopicPartition{Topic: id, Partition: p}, empty)
	}
}

func (s *State) alterTopic(e *AlterTopic) error {
	old, ok := s.Topic(e.ID)
	if !ok {
		return ErrTopicNotFound
	}
	partitions := e.Partitions
	if partitions == 0 {
		partitions = old.Partitions
	}
	switch {
	case partitions < 0 || partitions > TopicPartitionsMax:
		return invalid(InvalidPartitionCount)
	case partitions < old.Partitions:
		return ErrPartitionsShrink
	case !e.Config.valid():
		return invalid(InvalidConfig)
	case s.partitions.Len()+int(partitions-old.Partitions) > s.capacity.partitions,
		!s.assignable(old.Name, partitions-old.Partitions):
		return ErrCatalogFull
	}
	t := &Topic{ID: old.ID, Name: old.Name, Partitions: partitions, Config: e.Config}
	s.setTopic(t)
	if partitions > old.Partitions {
		s.addPartitions(e.ID, old.Partitions, partitions)
		s.rebalanceSubscribers(t)
	}
	return nil
}

// deleteTopic takes time in proportion to the topic's partitions and extents.
func (s *State) deleteTopic(id TopicID) error {
	t, ok := s.Topic(id)
	if !ok {
		return ErrTopicNotFound
	}
	dropped := freedExtents{}
	for number := range t.Partitions {
		tp := TopicPartition{Topic: id, Partition: number}
		removed, _ := s.partitions.Delete(partitionByID{id: tp})
		for e := range removed.partition.extents.all {
			dropped.add(e)
		}
		s.producers.dropPartition(tp)
		s.fences.Delete(fence{partition: tp})
	}
	s.free(dropped)
	s.compactions.Delete(compactionByTopic{topic: id})
	s.topics.Delete(topicByID{id: id})
	s.names.Delete(topicByName{name: t.Name})
	s.dropOffsets(id)
	s.rebalanceSubscribers(t)
	return nil
}

func (s *State) trim(e *Trim) Result {
	p := s.Partition(e.Partition)
	if p == nil {
		return Result{Err: s.missing(e.Partition)}
	}
	start := min(e.Before, p.end)
	if start <= p.logStart {
		return Result{LogStart: p.logStart}
	}
	s.trimTo(e.Partition, p, start)
	return Result{LogStart: start}
}

// trimTo moves a partition's log start up, within its end, and frees the extents
// that lie below it as a whole.
func (s *State) trimTo(tp TopicPartition, p *Partition, start Offset) {
	trimmed := *p
	trimmed.logStart = start
	dropped := freedExtents{}
	trimmed.extents = p.extents.dropBefore(start, func(x *Extent) {
		trimmed.bytes -= x.Len
		dropped.add(x)
	})
	s.setPartition(tp, &trimmed)
	s.free(dropped)
}

// missing tells why there is no such partition.
func (s *State) missing(tp TopicPartition) error {
	if _, ok := s.Topic(tp.Topic); !ok {
		return ErrTopicNotFound
	}
	return ErrPartitionNotFound
}
