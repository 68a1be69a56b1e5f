package catalog

import (
	"fmt"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// How much of a partition CheckTouched looks at.
const (
	touchedExtentsMax = 16  // newest extents that must follow each other
	touchedSearchMax  = 256 // newest extents searched for those of the commit's object
)

// InvariantError is a State that breaks one of the rules in the package's
// documentation: a bug, or memory that changed by itself.
type InvariantError struct{ Reason string }

func (e *InvariantError) Error() string { return "catalog invariant: " + e.Reason }

func broken(format string, args ...any) error {
	return &InvariantError{Reason: fmt.Sprintf(format, args...)}
}

// CheckTouched checks the invariants of what an edit touched, right after it
// was applied, and returns the first that is broken, nil if none is. The leader
// calls it before every journal write.
func CheckTouched(s *State, e Edit) error {
	switch e := e.(type) {
	case CreateTopic:
		if t, ok := s.TopicByName(e.Name); ok {
			return s.checkTopic(t)
		}
	case AlterTopic:
		if t, ok := s.Topic(e.ID); ok {
			return s.checkTopic(t)
		}
	case JoinGroup:
		return s.checkTouchedGroup(e.Group)
	case SyncMember:
		return s.checkTouchedGroup(e.Group)
	case RemoveMember:
		return s.checkTouchedGroup(e.Group)
	case CommitOffsets:
		return s.checkTouchedOffsets(&e)
	case Trim:
		if p := s.Partition(e.Partition); p != nil {
			return checkPartitionEnds(e.Partition, p)
		}
	case Retain:
		return s.checkTouchedPartitions(e.Topic)
	case Compact:
		return s.checkTouchedByCompact(&e)
	case RaiseOrphanFloor:
		if s.orphanFloor > 0 && int64(s.orphanFloor) > s.time {
			return broken("the orphan floor is %d, later than now, %d", s.orphanFloor, s.time)
		}
	case CommitSegment:
		return s.checkTouchedByCommit(&e)
	}
	return nil
}

func (s *State) checkTouchedPartitions(topic TopicID) (err error) {
	s.ofTopic(topic, func(p partitionByID) bool {
		err = checkPartitionEnds(p.id, p.partition)
		return err == nil
	})
	return err
}

// eachPartition calls check for the partitions of a topic until it fails.
func (s *State) eachPartition(id TopicID, check func(TopicPartition) error) error {
	t, ok := s.Topic(id)
	if !ok {
		return nil
	}
	for number := range t.Partitions {
		if err := check(TopicPartition{Topic: id, Partition: number}); err != nil {
			return err
		}
	}
	return nil
}

// CheckStep is CheckTouched with the state right before the edit at hand: it
// also checks that no offset and no node's number fell, and that no partition was
// taken from a member of a group. It is slow and meant for tests.
func CheckStep(before, after *State, e Edit) error {
	if err := CheckTouched(after, e); err != nil {
		return err
	}
	if after.time < before.time || after.nextProducer < before.nextProducer || after.orphanFloor < before.orphanFloor {
		return broken("time, next producer id or orphan floor fell")
	}
	if err := checkGroupsStep(before, after, e); err != nil {
		return err
	}
	switch e := e.(type) {
	case Trim:
		return checkPartitionStep(before, after, e.Partition)
	case Retain:
		return after.eachPartition(e.Topic, func(tp TopicPartition) error {
			return checkPartitionStep(before, after, tp)
		})
	case Compact:
		return checkCompactStep(before, after, &e)
	case CommitSegment:
		old, _ := before.Node(e.Node)
		if now, ok := after.Node(e.Node); ok && now.Last < old.Last {
			return broken("node %s fell from %d to %d", e.Node, old.Last, now.Last)
		}
		for i := range e.Units {
			for j := range e.Units[i].Appends {
				if err := checkPartitionStep(before, after, e.Units[i].Appends[j].Partition); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func checkPartitionStep(before, after *State, tp TopicPartition) error {
	old, now := before.Partition(tp), after.Partition(tp)
	switch {
	case old == now:
		return nil
	case old == nil || now == nil:
		return broken("partition %s came or went", tp)
	case now.end < old.end || now.logStart < old.logStart:
		return broken("partition %s went from [%d, %d) to [%d, %d)", tp, old.logStart, old.end, now.logStart, now.end)
	}
	return nil
}

// checkTopic checks that a topic is found in both ways, and its last partition.
func (s *State) checkTopic(t *Topic) error {
	byID, _ := s.Topic(t.ID)
	byName, _ := s.TopicByName(t.Name)
	switch {
	case byID != t || byName != t:
		return broken("topic %q is not the same by name and by id", t.Name)
	case s.Partition(TopicPartition{Topic: t.ID, Partition: t.Partitions - 1}) == nil:
		return broken("topic %q lacks its last partition", t.Name)
	}
	return s.checkTouchedSubscribers(t.Name)
}

func (s *State) checkTouchedByCommit(c *CommitSegment) error {
	seen := map[TopicPartition]struct{}{}
	extents, exact := int64(0), true // of the object, found in the partitions
	for i := range c.Units {
		if err := s.checkTouchedRequest(&c.Units[i]); err != nil {
			return err
		}
		for j := range c.Units[i].Appends {
			a := &c.Units[i].Appends[j]
			if err := s.checkTouchedSequence(a); err != nil {
				return err
			}
			if _, again := seen[a.Partition]; again {
				continue
			}
			seen[a.Partition] = struct{}{}
			p := s.Partition(a.Partition)
			if p == nil {
				continue
			}
			if err := checkPartitionEnds(a.Partition, p); err != nil {
				return err
			}
			n, all := countNewest(p, c.Object.ID)
			extents += n
			exact = exact && all
		}
	}
	object, _ := s.Object(c.Object.ID)
	// If the commit was refused, the object may be in the catalog through
	// another one, with extents in other partitions.
	exact = exact && s.justAdded == c.Object.ID
	if extents > object.Extents || exact && extents < object.Extents {
		return broken("object %s counts %d live extents, %d are there", c.Object.ID, object.Extents, extents)
	}
	return nil
}

// checkPartitionEnds checks the bounds and the newest extents of a partition.
func checkPartitionEnds(tp TopicPartition, p *Partition) error {
	first := p.extents.first()
	switch {
	case p.logStart < 0 || p.logStart > p.end:
		return broken("partition %s is [%d, %d)", tp, p.logStart, p.end)
	case first == nil && p.logStart != p.end:
		return broken("partition %s is [%d, %d) without extents", tp, p.logStart, p.end)
	case first == nil:
		return nil
	case first.Base > p.logStart || first.End() <= p.logStart:
		return broken("partition %s starts at %d, its first extent is [%d, %d)", tp, p.logStart, first.Base, first.End())
	}
	end, checked := p.end, 0
	var err error
	p.extents.backward(func(e *Extent) bool {
		if e.End() != end || e.Records < 1 || e.Len < 1 {
			err = broken("partition %s has the extent [%d, %d) of %d bytes before %d", tp, e.Base, e.End(), e.Len, end)
		}
		end = e.Base
		checked++
		return err == nil && checked < touchedExtentsMax
	})
	return err
}

// countNewest counts the extents of an object among the newest of a partition,
// where they lie side by side. It is not exact if they may lie deeper.
func countNewest(p *Partition, id ObjectID) (n int64, exact bool) {
	searched := 0
	exact = true
	p.extents.backward(func(e *Extent) bool {
		if e.Object == id {
			n++
			return true
		}
		searched++
		exact = n > 0 || searched < touchedSearchMax
		return n == 0 && exact
	})
	return n, exact
}

func (s *State) checkTouchedSequence(a *Append) error {
	if a.Producer.ID == recordbatch.NoProducer.ID {
		return nil
	}
	id := sequenceID{producer: a.Producer.ID, partition: a.Partition}
	if q := s.producers.sequence(id); q != nil {
		return s.checkSequence(id, q)
	}
	return nil
}

func (s *State) checkSequence(id sequenceID, q *producerSequence) error {
	p := s.Partition(id.partition)
	if p == nil || q.count < 1 || q.count > rememberedBatches || q.epoch < 0 {
		return broken("producer %d on %s: %d batches of epoch %d", id.producer, id.partition, q.count, q.epoch)
	}
	end, next := Offset(0), q.batches[0].first
	for _, b := range q.batches[:q.count] {
		if b.first < 0 || b.last < 0 || b.first != next || b.base < end {
			return broken("producer %d on %s: batch %d to %d at %d is out of order", id.producer, id.partition, b.first, b.last, b.base)
		}
		end, next = b.base+Offset(b.records()), sequenceAdd(b.last, 1)
	}
	if end > p.end {
		return broken("producer %d on %s: a batch ends at %d, the partition at %d", id.producer, id.partition, end, p.end)
	}
	return nil
}

// CheckAll checks every invariant; it is slow and meant for tests and verify.
func CheckAll(s *State) error {
	return checkAllWith(s, checkPartitions)
}

// checkAllWith is CheckAll with another check of the partitions and their extents.
func checkAllWith(s *State, partitions func(*State) error) error {
	for _, check := range []func(*State) error{checkTopics, partitions, checkNodes, checkProducers, (*State).checkRequests, (*State).checkFences, (*State).checkCompactions, (*State).checkGroups} {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

func checkTopics(s *State) error {
	if s.topics.Len() != s.names.Len() {
		return broken("%d topics with %d names", s.topics.Len(), s.names.Len())
	}
	partitions := 0
	var err error
	s.topics.Scan(func(t topicByID) bool {
		byName, _ := s.TopicByName(t.topic.Name)
		switch {
		case t.id != t.topic.ID || byName != t.topic:
			err = broken("topic %s is not found by its name %q", t.id, t.topic.Name)
		case !ValidTopicName(t.topic.Name) || !t.topic.Config.valid():
			err = broken("topic %q has an invalid name or settings", t.topic.Name)
		case t.topic.Partitions < 1 || t.topic.Partitions > TopicPartitionsMax:
			err = broken("topic %q has %d partitions", t.topic.Name, t.topic.Partitions)
		}
		for p := range t.topic.Partitions {
			if s.Partition(TopicPartition{Topic: t.id, Partition: p}) == nil {
				err = broken("topic %q lacks partition %d", t.topic.Name, p)
			}
		}
		partitions += int(t.topic.Partitions)
		return err == nil
	})
	if err == nil && partitions != s.partitions.Len() {
		err = broken("topics have %d partitions, %d are there", partitions, s.partitions.Len())
	}
	return err
}

func checkPartitions(s *State) error {
	live := map[ObjectID]int64{}
	extents := int64(0)
	var err error
	s.partitions.Scan(func(p partitionByID) bool {
		if err = checkPartitionEnds(p.id, p.partition); err == nil {
			err = s.checkExtents(p.id, p.partition, live)
		}
		extents += int64(p.partition.extents.len())
		return err == nil
	})
	if err != nil {
		return err
	}
	if extents != s.extents {
		return broken("%d extents are counted, %d are there", s.extents, extents)
	}
	return s.checkObjects(live)
}

// checkObjects checks the objects and the garbage against the live extents of each
// object.
func (s *State) checkObjects(live map[ObjectID]int64) error {
	var err error
	if len(live) != s.objects.Len() {
		return broken("%d objects, %d of them in extents", s.objects.Len(), len(live))
	}
	s.objects.Scan(func(o Object) bool {
		if o.Extents != live[o.ID] {
			err = broken("object %s counts %d live extents, %d are there", o.ID, o.Extents, live[o.ID])
		}
		if _, ok := s.GarbageObject(o.ID); ok {
			err = broken("object %s is live and garbage", o.ID)
		}
		return err == nil
	})
	bytes := int64(0)
	s.garbage.byID.Scan(func(g Garbage) bool {
		bytes += g.Size
		if _, ok := s.garbage.byAge.Get(garbageAge{g.FreedAt, g.ID}); !ok {
			err = broken("object %s is not found among the garbage of its age", g.ID)
		}
		if g.FreedAt > s.time {
			err = broken("object %s was freed at %d, later than now, %d", g.ID, g.FreedAt, s.time)
		}
		return err == nil
	})
	if err == nil && (s.garbage.byAge.Len() != s.garbage.byID.Len() || s.garbage.bytes != bytes) {
		err = broken("%d objects of %d bytes are garbage, counted are %d of %d", s.garbage.byID.Len(), bytes, s.garbage.byAge.Len(), s.garbage.bytes)
	}
	return err
}

func (s *State) checkExtents(tp TopicPartition, p *Partition, live map[ObjectID]int64) error {
	bytes, next := int64(0), Offset(0)
	if first := p.extents.first(); first != nil {
		next = first.Base
	}
	for e := range p.extents.all {
		o, ok := s.Object(e.Object)
		switch {
		case e.Base != next || e.Records < 1:
			return broken("partition %s has the extent [%d, %d) after %d", tp, e.Base, e.End(), next)
		case !ok:
			return broken("partition %s has an extent of object %s, which is gone", tp, e.Object)
		case e.Pos < 0 || e.Len < 1 || int64(e.Pos) > o.Size-e.Len:
			return broken("partition %s has an extent of bytes %d+%d of object %s, which has %d", tp, e.Pos, e.Len, e.Object, o.Size)
		case e.Len > ExtentCRCLenMax && e.CRC != o.IndexCRC:
			return broken("partition %s has a long extent without its index's CRC", tp)
		case e.CommitTime > s.time:
			return broken("partition %s has an extent of the future", tp)
		}
		live[e.Object]++
		bytes += e.Len
		next = e.End()
	}
	if bytes != p.bytes {
		return broken("partition %s counts %d bytes, %d are there", tp, p.bytes, bytes)
	}
	return checkChunks(tp, &p.extents)
}

// checkChunks checks what searches rely on.
func checkChunks(tp TopicPartition, l *extentList) error {
	if l.tailLen == 0 && l.sealedLen > 0 || l.tailLen > extentChunkLen {
		return broken("partition %s has %d chunks and a tail of %d extents", tp, l.sealedLen, l.tailLen)
	}
	for _, c := range l.sealed.first(l.sealedLen) {
		again := sealChunk(c.extents)
		if c.base != again.base || c.maxTimestamp != again.maxTimestamp {
			return broken("partition %s has a chunk at %d that says %d", tp, again.base, c.base)
		}
	}
	return nil
}

func checkNodes(s *State) error {
	var err error
	s.nodes.Scan(func(n nodeByID) bool {
		if n.node.ActiveAt > s.time {
			err = broken("node %s was active at %d, later than now, %d", n.id, n.node.ActiveAt, s.time)
		}
		return err == nil
	})
	return err
}

func checkProducers(s *State) error {
	t := s.producers
	if t.byID.Len() != t.byActivity.Len() || t.sequences.Len() != t.byPartition.Len() {
		return broken("the indexes of producers differ in length")
	}
	var err error
	t.byID.Scan(func(p producer) bool {
		if _, ok := t.byActivity.Get(p); !ok || p.id < 1 || p.id >= s.nextProducer || p.lastActive > s.time || p.epoch < 0 || p.epoch > 0 && s.level < levelOfKeys {
			err = broken("producer %d, active at %d: out of range or not found by activity", p.id, p.lastActive)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	t.sequences.Scan(func(q sequenceByID) bool {
		if _, ok := t.byID.Get(producer{id: q.id.producer}); !ok {
			err = broken("producer %d is gone, what it sent is not", q.id.producer)
			return false
		}
		if _, ok := t.byPartition.Get(q.id); !ok {
			err = broken("producer %d on %s is not found by partition", q.id.producer, q.id.partition)
			return false
		}
		err = s.checkSequence(q.id, q.sequence)
		return err == nil
	})
	return err
}
