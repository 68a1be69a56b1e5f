package main

import (
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// rounds measures what nodes do every few seconds, and what one request asks for.
func (s *scale) rounds(r report, garbage int) error {
	begun := time.Now()
	page := s.state.Topics("", "", s.topics)
	r.row("all topics, by name", "%s", since(begun))
	begun = time.Now()
	for _, t := range page {
		if s.state.DueForRetention(t, s.state.Time()) {
			return fmt.Errorf("topic %s is due", t.Name)
		}
	}
	r.row("look at all partitions for retention", "%s", since(begun))
	begun = time.Now()
	if result := catalog.Apply(s.state.Clone(), catalog.Retain{Topic: page[0].ID}); result.Err != nil {
		return result.Err
	}
	r.row(fmt.Sprintf("Retain of %d partitions", page[0].Partitions), "%s", since(begun))

	littered, err := litter(garbage)
	if err != nil {
		return err
	}
	begun = time.Now()
	if due, _ := littered.DueGarbage(3_600_000, littered.Time(), 10_000); len(due) > 0 {
		return fmt.Errorf("%d objects are due", len(due))
	}
	r.row(fmt.Sprintf("look at %d objects of garbage", garbage), "%s", since(begun))
	return nil
}

// litter returns a catalog with so many objects of garbage, none of them due.
func litter(objects int) (*catalog.State, error) {
	s, err := newScale(topicPartitions, 1)
	if err != nil {
		return nil, err
	}
	for range objects {
		e := s.flush()
		if r := catalog.Apply(s.state, e); r.Err != nil {
			return nil, r.Err
		}
		// The extent goes with the next round over the partitions at the latest.
		tp := e.Units[0].Appends[0].Partition
		if r := catalog.Apply(s.state, catalog.Trim{Partition: tp, Before: s.state.Partition(tp).End()}); r.Err != nil {
			return nil, r.Err
		}
	}
	if n := s.state.Counts().Garbage; n != objects {
		return nil, fmt.Errorf("%d objects of garbage instead of %d", n, objects)
	}
	return s.state, nil
}
