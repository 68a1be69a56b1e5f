package catalog

import (
	"context"
	"sync"
)

// touched is a set of partitions, topics as a whole, and groups that edits changed.
type touched struct {
	partitions map[TopicPartition]struct{}
	topics     map[TopicID]struct{}
	groups     touchedGroups
	landings   *landings // nil if no edit is looked for
}

func newTouched() touched {
	return touched{partitions: map[TopicPartition]struct{}{}, topics: map[TopicID]struct{}{}, groups: touchedGroups{}}
}

func (t touched) add(e Edit, result Result) {
	t.landings.add(e, result)
	t.groups.add(e, result)
	switch e := e.(type) {
	case CommitSegment:
		for i := range e.Units {
			for j := range e.Units[i].Appends {
				t.partitions[e.Units[i].Appends[j].Partition] = struct{}{}
			}
		}
	case Trim:
		t.partitions[e.Partition] = struct{}{}
	case DeleteTopic:
		t.topics[e.ID] = struct{}{}
	case Retain:
		t.topics[e.Topic] = struct{}{}
	}
}

// watch wakes those that wait for a partition, or a member of a group, to change.
type watch struct {
	mu      sync.Mutex
	waiters map[TopicPartition]map[chan struct{}]struct{} // guarded by mu
	groups  map[string]*watchedGroup                      // guarded by mu
}

func newWatch() *watch {
	return &watch{waiters: map[TopicPartition]map[chan struct{}]struct{}{}, groups: map[string]*watchedGroup{}}
}

// add returns a channel that gets a value when one of the partitions changes,
// until remove.
func (w *watch) add(positions []PartitionOffset) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch := make(chan struct{}, 1)
	for _, at := range positions {
		if w.waiters[at.Partition] == nil {
			w.waiters[at.Partition] = map[chan struct{}]struct{}{}
		}
		w.waiters[at.Partition][ch] = struct{}{}
	}
	return ch
}

func (w *watch) remove(positions []PartitionOffset, ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range positions {
		delete(w.waiters[at.Partition], ch)
		if len(w.waiters[at.Partition]) == 0 {
			delete(w.waiters, at.Partition)
		}
	}
}

func (w *watch) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiters) > 0 || len(w.groups) > 0
}

// notify wakes the waiters of what changed, in the state after that.
func (w *watch) notify(changed touched, s *State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notifyMembers(changed.groups, s)
	for tp := range changed.partitions {
		wake(w.waiters[tp])
	}
	if len(changed.topics) == 0 {
		return
	}
	for tp, chans := range w.waiters {
		if _, ok := changed.topics[tp.Topic]; ok {
			wake(chans)
		}
	}
}

// notifyAll wakes everyone, after a reload that hides what changed.
func (w *watch) notifyAll(s *State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notifyMembers(touchedGroups{anyGroup: {}}, s)
	for _, chans := range w.waiters {
		wake(chans)
	}
}

func wake(chans map[chan struct{}]struct{}) {
	for ch := range chans {
		select {
		case ch <- struct{}{}:
		default: // it has a value waiting already
		}
	}
}

// PartitionOffset is an offset of a partition.
type PartitionOffset struct {
	Partition TopicPartition
	Offset    Offset
}

// WaitBeyond returns the view in which one of the partitions has its end offset
// above the offset of its position, or has its log start above it, or is gone.
// It returns ctx's error if that does not come to pass. It begins with the
// replica as it is: the caller confirms first where that matters.
func (c *Catalog) WaitBeyond(ctx context.Context, positions ...PartitionOffset) (*State, error) {
	ch := c.watch.add(positions)
	defer c.watch.remove(positions, ch)
	c.signal() // a replica that has no watchers does not look for entries of others
	for {
		view := c.View()
		for _, at := range positions {
			if p := view.Partition(at.Partition); p == nil || p.End() > at.Offset || p.LogStart() > at.Offset {
				return view, nil
			}
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
