package catalog

import (
	"fmt"
	"testing"
)

// retained returns a catalog at time 1,000,000 whose partition 0 of "rivers" has
// extents of 1000 bytes, committed 1,000 ms apart, the last one now.
func retained(tb testing.TB, extents int, change func(*TopicConfig)) *fixture {
	f := newFixture(tb)
	for i := range extents {
		if i > 0 {
			f.advance(f.state.time + 1000)
		}
		f.landed(records(0, 10))
	}
	cfg := DefaultTopicConfig()
	change(&cfg)
	f.accepted(AlterTopic{ID: topicID(1), Config: cfg})
	return f
}

func TestRetain(t *testing.T) {
	for name, test := range map[string]struct {
		change   func(*TopicConfig)
		later    int64 // ms after the last commit
		logStart Offset
	}{
		"no limit":               {func(*TopicConfig) {}, 1 << 40, 0},
		"nothing is old":         {func(c *TopicConfig) { c.RetentionMs = 4000 }, 0, 0},
		"one is too old":         {func(c *TopicConfig) { c.RetentionMs = 4000 }, 1, 10},
		"two are too old":        {func(c *TopicConfig) { c.RetentionMs = 2500 }, 0, 20},
		"all but the last":       {func(c *TopicConfig) { c.RetentionMs = 0 }, 0, 40},
		"all":                    {func(c *TopicConfig) { c.RetentionMs = 0 }, 1, 50},
		"as many bytes as there": {func(c *TopicConfig) { c.RetentionBytes = 5000 }, 0, 0},
		"one byte fewer":         {func(c *TopicConfig) { c.RetentionBytes = 4999 }, 0, 0},
		"an extent fewer":        {func(c *TopicConfig) { c.RetentionBytes = 4000 }, 0, 10},
		"no bytes":               {func(c *TopicConfig) { c.RetentionBytes = 0 }, 0, 50},
		"the stricter of both":   {func(c *TopicConfig) { c.RetentionBytes, c.RetentionMs = 4000, 1500 }, 0, 30},
	} {
		t.Run(name, func(t *testing.T) {
			f := retained(t, 5, test.change)
			f.advance(f.state.time + test.later)
			topic, _ := f.state.Topic(topicID(1))
			if due := f.state.DueForRetention(topic, f.state.time); due != (test.logStart > 0) {
				t.Errorf("due is %t", due)
			}
			if r := f.accepted(Retain{Topic: topicID(1)}); r.More {
				t.Error("there is more")
			}
			p := f.state.Partition(partitionOf(1, 0))
			if p.LogStart() != test.logStart || p.End() != 50 {
				t.Errorf("bounds [%d, %d)", p.LogStart(), p.End())
			}
			if want := int(test.logStart / 10); f.state.Counts().Garbage != want {
				t.Errorf("%d objects of garbage, want %d", f.state.Counts().Garbage, want)
			}
			if f.state.DueForRetention(topic, f.state.time) {
				t.Error("it is still due")
			}
		})
	}
}

func TestRetainInSteps(t *testing.T) {
	f := retained(t, 5, func(c *TopicConfig) { c.RetentionMs = 0 })
	f.landed(records(1, 10))
	f.advance(f.state.time + 1)
	f.state.capacity.expirySteps, f.replica.capacity.expirySteps = 2, 2
	var starts []string
	for more := true; more; {
		more = f.accepted(Retain{Topic: topicID(1)}).More
		starts = append(starts, fmt.Sprint(f.state.Partition(partitionOf(1, 0)).LogStart(), f.state.Partition(partitionOf(1, 1)).LogStart()))
	}
	if got := fmt.Sprint(starts); got != "[20 0 40 0 50 10 50 10]" {
		t.Errorf("log starts %s", got)
	}
}

func TestRetainOfNothing(t *testing.T) {
	f := newFixture(t)
	if r := f.apply(Retain{Topic: topicID(9)}); r.Err != ErrTopicNotFound {
		t.Errorf("got %v", r.Err)
	}
}

func TestDropGarbage(t *testing.T) {
	f := retained(t, 3, func(*TopicConfig) {})
	f.accepted(Trim{Partition: partitionOf(1, 0), Before: 20})
	f.advance(f.state.time + 5000)
	f.accepted(Trim{Partition: partitionOf(1, 0), Before: 30})
	due, all := f.state.DueGarbage(4999, f.state.time, 10)
	if len(due) != 2 || all.Objects != 3 || all.Bytes != due[0].Size*3 || all.OldestMs != 5000 || all.DueBy {
		t.Fatalf("due %+v of %+v", due, all)
	}
	if _, all := f.state.DueGarbage(4999, f.state.time+5000, 10); !all.DueBy {
		t.Error("the third is not due later")
	}
	if due, _ := f.state.DueGarbage(0, 0, 1); len(due) != 1 {
		t.Errorf("the limit is not held: %d", len(due))
	}
	f.landed(records(0, 1))
	live := objectID(f.objects)
	f.accepted(DropGarbage{Objects: []ObjectID{due[0].ID, due[0].ID, live, objectID(77)}})
	if c := f.state.Counts(); c.Garbage != 2 || c.Objects != 1 || !f.state.Known(live) || f.state.Known(due[0].ID) || !f.state.Known(due[1].ID) {
		t.Errorf("left %+v", c)
	}
	many := make([]ObjectID, DropGarbageMax+1)
	if r := f.apply(DropGarbage{Objects: many}); r.Err == nil {
		t.Error("more than the limit was taken")
	}
}

func TestRaiseOrphanFloor(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		edit   RaiseOrphanFloor
		raised bool
		floor  uint64
	}{
		{RaiseOrphanFloor{After: 0, Floor: 1_000_001}, false, 0}, // later than now
		{RaiseOrphanFloor{After: 1, Floor: 500}, false, 0},
		{RaiseOrphanFloor{After: 0, Floor: 500}, true, 500},
		{RaiseOrphanFloor{After: 0, Floor: 600}, false, 500}, // another node was first
		{RaiseOrphanFloor{After: 500, Floor: 500}, false, 500},
		{RaiseOrphanFloor{After: 500, Floor: 400}, false, 500},
		{RaiseOrphanFloor{After: 500, Floor: 1_000_000}, true, 1_000_000},
	} {
		if r := f.accepted(test.edit); r.Created != test.raised || f.state.OrphanFloor() != test.floor {
			t.Errorf("%+v: raised %t, floor %d", test.edit, r.Created, f.state.OrphanFloor())
		}
	}
}
