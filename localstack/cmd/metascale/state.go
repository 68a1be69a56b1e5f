package main

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// topicPartitions is how many partitions a topic of the state has.
const topicPartitions = 1000

// scale is the state that is measured and what makes it grow.
type scale struct {
	state   *catalog.State
	topics  int
	next    int // partition of the next append, over all topics
	commit  catalog.CommitSegment
	appends int
}

var (
	nodeID    = catalog.NodeID{0: 0x40, 15: 1}
	clusterID = [16]byte{0: 0xc0}
)

func topicID(n int) catalog.TopicID {
	id := catalog.TopicID{0: 0x70}
	// Spread as random UUIDs are.
	binary.BigEndian.PutUint64(id[1:], uint64(n)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	return id
}

// newScale returns a catalog of so many empty partitions, all with a retention
// that nothing has reached yet.
func newScale(partitions, appends int) (*scale, error) {
	s := &scale{state: catalog.NewState(clusterID), topics: (partitions + topicPartitions - 1) / topicPartitions, appends: appends}
	s.state.Advance(time.Now().UnixMilli())
	config := catalog.DefaultTopicConfig()
	config.RetentionMs, config.RetentionBytes = 365*24*3600*1000, 1<<40
	edits := []catalog.Edit{catalog.RaiseLevel{Level: catalog.FeatureLevel}, catalog.RegisterNode{Node: nodeID, HasWAL: true}}
	for n := range s.topics {
		edits = append(edits, catalog.CreateTopic{ID: topicID(n), Name: fmt.Sprintf("topic-%07d", n), Partitions: topicPartitions, Config: config})
	}
	for _, e := range edits {
		if r := catalog.Apply(s.state, e); r.Err != nil {
			return nil, fmt.Errorf("%T: %w", e, r.Err)
		}
	}
	s.commit = catalog.CommitSegment{Node: nodeID, Object: catalog.NewObject{Kind: catalog.SegmentObject}}
	return s, nil
}

// flush returns the next commit: a run of batches for each of the partitions that
// come next, as the segments of a node hold them that serves all partitions in turn.
func (s *scale) flush() catalog.CommitSegment {
	const runBytes = 8000
	c := &s.commit
	c.After = c.Upto
	c.Upto++
	c.Object.ID = catalog.ObjectID{}
	_ = c.Object.ID.SetTime(uint64(s.state.Time()))
	binary.BigEndian.PutUint64(c.Object.ID[8:], c.Upto)
	c.Object.Size = int64(s.appends) * runBytes
	c.Object.IndexPos = catalog.Pos(c.Object.Size)
	c.Units = make([]catalog.Unit, s.appends)
	appends := make([]catalog.Append, s.appends)
	for i := range appends {
		p := s.next
		s.next = (s.next + 1) % (s.topics * topicPartitions)
		appends[i] = catalog.Append{
			Partition: catalog.TopicPartition{Topic: topicID(p / topicPartitions), Partition: int32(p % topicPartitions)},
			Pos:       catalog.Pos(i * runBytes), Len: runBytes, CRC: uint32(c.Upto), Records: 100,
			MaxTimestamp: s.state.Time(), Expected: catalog.AnyOffset, Producer: recordbatch.NoProducer,
		}
		c.Units[i].Appends = appends[i : i+1]
	}
	return *c
}

// apply carries out one flush as a leader does before it writes: on a clone, with
// the check of the invariants. It returns the time that this took.
func (s *scale) apply() (time.Duration, error) {
	e := s.flush()
	begun := time.Now()
	next := s.state.Clone()
	next.Advance(next.Time() + 50)
	result := catalog.Apply(next, e)
	if result.Err != nil {
		return 0, result.Err
	}
	for _, u := range result.Units {
		if u.Err != nil {
			return 0, u.Err
		}
	}
	if err := catalog.CheckTouched(next, e); err != nil {
		return 0, err
	}
	s.state = next
	return time.Since(begun), nil
}

// grow applies flushes until the state has so many extents, and returns the times
// of the last of them.
func (s *scale) grow(extents int64) ([]time.Duration, error) {
	const last = 1000
	var times []time.Duration
	for s.state.Counts().Extents < extents {
		took, err := s.apply()
		if err != nil {
			return nil, err
		}
		if len(times) == last {
			times = times[:copy(times, times[1:])]
		}
		times = append(times, took)
	}
	return times, nil
}
