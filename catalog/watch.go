package catalog

import (
	"context"
	"sync"
)

// touched is a set of partitions, and topics as a whole, that edits changed.
type touched struct {
	partitions map[TopicPartition]struct{}
	topics     map[TopicID]struct{}
	landings   *landings // nil if no edit is looked for
}

func newTouched() touched {
	return touched{partitions: map[TopicPartition]struct{}{}, topics: map[TopicID]struct{}{}}
}

func (t touched) add(e Edit, result Result) {
	t.landings.add(e, result)
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
	}
}

// watch wakes those that wait for a partition to change.
type watch struct {
	mu      sync.Mutex
	waiters map[TopicPartition]map[chan struct{}]struct{} // guarded by mu
}

func newWatch() *watch {
	return &watch{waiters: map[TopicPartition]map[chan struct{}]struct{}{}}
}

// add returns a channel that gets a value when tp changes, until remove.
func (w *watch) add(tp TopicPartition) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch := make(chan struct{}, 1)
	if w.waiters[tp] == nil {
		w.waiters[tp] = map[chan struct{}]struct{}{}
	}
	w.waiters[tp][ch] = struct{}{}
	return ch
}

func (w *watch) remove(tp TopicPartition, ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiters[tp], ch)
	if len(w.waiters[tp]) == 0 {
		delete(w.waiters, tp)
	}
}

func (w *watch) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiters) > 0
}

// notify wakes the waiters of what changed.
func (w *watch) notify(changed touched) {
	w.mu.Lock()
	defer w.mu.Unlock()
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
func (w *watch) notifyAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
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

// WaitBeyond returns the view in which tp's end offset is above offset, or in
// which tp is gone or its log start above offset. It returns ctx's error if
// that does not come to pass. It begins with the replica as it is: the caller
// confirms first where that matters.
func (c *Catalog) WaitBeyond(ctx context.Context, tp TopicPartition, offset Offset) (*State, error) {
	ch := c.watch.add(tp)
	defer c.watch.remove(tp, ch)
	c.signal() // a replica that has no watchers does not look for entries of others
	for {
		view := c.View()
		p := view.Partition(tp)
		if p == nil || p.End() > offset || p.LogStart() > offset {
			return view, nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
