package catalog

import "testing"

// TestWatchLeavesNothingBehind counts waiters down to none, also where two wait
// for the same partition.
func TestWatchLeavesNothingBehind(t *testing.T) {
	w := newWatch()
	a := TopicPartition{Partition: 1}
	b := TopicPartition{Partition: 2}
	both := []PartitionOffset{{Partition: a}, {Partition: b}}
	first, second := w.add(both), w.add(both[:1])
	w.remove(both, first)
	changed := newTouched()
	changed.partitions[a], changed.partitions[b] = struct{}{}, struct{}{}
	w.notify(changed, NewState([16]byte{}))
	if len(first) != 0 || len(second) != 1 {
		t.Errorf("%d and %d wakes, want none of the one that went and 1", len(first), len(second))
	}
	w.remove(both[:1], second)
	if w.any() || len(w.waiters) != 0 {
		t.Errorf("%d partitions still have waiters", len(w.waiters))
	}
}
