package catalog

import "sync/atomic"

// sharedArray is memory in which persistent lists keep their items. A list is
// a sharedArray and a length; lists that grew out of each other share one, so
// that adding an item to the newest costs no copy.
//
// An item is written once, by the one list whose claim of its index succeeded,
// before that list is seen by anyone else. A list reads only below its own
// length. So two lists that grow out of the same one never write the same
// memory (the second copies instead), and no reader looks at what is written
// while it reads, whichever goroutines they run on.
type sharedArray[T any] struct {
	claimed atomic.Int32 // items that some list has written
	items   []T          // its length is the capacity
}

// sharedArrayOf returns an array that holds just these items; it keeps the slice.
func sharedArrayOf[T any](items []T) *sharedArray[T] {
	a := &sharedArray[T]{items: items}
	a.claimed.Store(int32(len(items)))
	return a
}

// appendShared adds item to the list of the first n items of a (which may be
// nil if n is 0), and returns the array that holds the longer list. growMax is
// the largest capacity of a new array that is not needed to hold n+1 items. Room
// for a quarter more keeps what lies idle small beside the items, and copies each
// item four times in all.
func appendShared[T any](a *sharedArray[T], n int32, item T, growMax int) *sharedArray[T] {
	if a != nil && int(n) < len(a.items) && a.claimed.CompareAndSwap(n, n+1) {
		a.items[n] = item
		return a
	}
	need := int(n) + 1
	grown := make([]T, max(need, min(need+need/4, growMax)))
	if a != nil {
		copy(grown, a.items[:n])
	}
	grown[n] = item
	b := &sharedArray[T]{items: grown}
	b.claimed.Store(n + 1)
	return b
}

// first returns the first n items. They must not be changed.
func (a *sharedArray[T]) first(n int32) []T {
	if a == nil {
		return nil
	}
	return a.items[:n:n]
}
