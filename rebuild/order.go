package rebuild

import (
	"bytes"
	"cmp"
	"container/heap"
	"maps"
	"slices"

	"github.com/google/uuid"
)

// resolveNodes takes out the segments that were never committed as far as the
// numbers of their node tell, counts the gaps in these, and returns the others
// of each node in order.
func (s *sources) resolveNodes(r *Report) map[uuid.UUID][]*source {
	chains := map[uuid.UUID][]*source{}
	for _, src := range s.sealed() {
		if src.compacted {
			continue
		}
		chain := chains[src.origin.Node]
		for n := len(chain); n > 0 && chain[n-1].origin.Upto > src.origin.After; n-- {
			chain[n-1].out = true
			chain = chain[:n-1]
		}
		chains[src.origin.Node] = append(chain, src)
	}
	for _, chain := range chains {
		last := uint64(0)
		for _, src := range chain {
			if src.origin.After != last {
				r.NumberGaps++
			}
			last = src.origin.Upto
		}
	}
	return chains
}

// sealed returns all segments so that those of one node are in the order in which
// it sealed them. Within one ms of the journal's time, which may stand still for
// long, that is the order of their numbers: a node that starts over with lower ones
// has registered before, which is an edit and so takes the time along.
func (s *sources) sealed() []*source {
	return slices.SortedFunc(slices.Values(s.all), func(a, b *source) int {
		return cmp.Or(cmp.Compare(a.object.ID.Time(), b.object.ID.Time()),
			cmp.Compare(a.origin.After, b.origin.After), a.object.ID.Compare(b.object.ID))
	})
}

// resolveNames leaves of the topics with one name the newest: there can be only
// one, so the others were deleted.
func (s *sources) resolveNames() {
	byName := map[string]*topicFound{}
	ids := slices.SortedFunc(maps.Keys(s.topics), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		t := s.topics[id]
		other := byName[t.name]
		switch {
		case other == nil:
			byName[t.name] = t
		case other.newest.Compare(t.newest) < 0:
			other.out = true
			byName[t.name] = t
		default:
			t.out = true
		}
	}
}

// order returns the segments that were committed in the order of their commits,
// as far as it is known.
func (s *sources) order(chains map[uuid.UUID][]*source, r *Report) []*source {
	o := orderer{after: map[*source][]*source{}, before: map[*source]int{}}
	for _, chain := range chains {
		for i := 1; i < len(chain); i++ {
			o.bind(chain[i-1], chain[i])
		}
	}
	for key, ranges := range s.ranges {
		ranges = slices.DeleteFunc(ranges, func(r sequenceRange) bool { return r.source.out })
		slices.SortFunc(ranges, sequenceRange.compare)
		s.ranges[key] = ranges
		for i := 1; i < len(ranges); i++ {
			if ranges[i-1].source != ranges[i].source {
				o.bind(ranges[i-1].source, ranges[i].source)
			}
		}
	}
	var committed []*source
	for _, src := range s.all {
		if !src.out && !src.compacted {
			committed = append(committed, src)
		}
	}
	ordered := o.run(committed, r)
	s.countOpen(ordered, &o, r)
	for i, src := range ordered {
		src.place = i
	}
	return ordered
}

// orderer sorts segments so that none comes before one that it is bound to
// follow, and the oldest first where that leaves a choice.
type orderer struct {
	after  map[*source][]*source // those bound to follow it
	before map[*source]int       // how many it is bound to follow
}

func (o *orderer) bind(first, second *source) {
	o.after[first] = append(o.after[first], second)
	o.before[second]++
}

func (o *orderer) run(all []*source, r *Report) []*source {
	var ready sourceHeap
	for _, src := range all {
		if o.before[src] == 0 {
			ready = append(ready, src)
		}
	}
	heap.Init(&ready)
	ordered := make([]*source, 0, len(all))
	taken := map[*source]bool{}
	oldest := 0 // of all: those before it are taken
	for len(ordered) < len(all) {
		if len(ready) == 0 {
			// What is left is bound in a circle.
			for taken[all[oldest]] {
				oldest++
			}
			r.Contradictions++
			heap.Push(&ready, all[oldest])
		}
		src := heap.Pop(&ready).(*source)
		if taken[src] {
			continue
		}
		taken[src] = true
		ordered = append(ordered, src)
		for _, next := range o.after[src] {
			if o.before[next]--; o.before[next] == 0 && !taken[next] {
				heap.Push(&ready, next)
			}
		}
	}
	return ordered
}

// bound tells whether second is bound to follow first directly.
func (o *orderer) bound(first, second *source) bool { return slices.Contains(o.after[first], second) }

// sourceHeap has the segment of the least id on top.
type sourceHeap []*source

func (h sourceHeap) Len() int           { return len(h) }
func (h sourceHeap) Less(i, j int) bool { return h[i].object.ID.Compare(h[j].object.ID) < 0 }
func (h sourceHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *sourceHeap) Push(x any)        { *h = append(*h, x.(*source)) }
func (h *sourceHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// countOpen counts where only the time of sealing says which of two nodes was first.
func (s *sources) countOpen(ordered []*source, o *orderer, r *Report) {
	last := make([]*source, len(s.partitions))
	open := make([]bool, len(s.partitions))
	for _, src := range ordered {
		for _, p := range src.partitions {
			if before := last[p]; before != nil && before.origin.Node != src.origin.Node && !o.bound(before, src) {
				r.OpenOrder++
				open[p] = true
			}
			last[p] = src
		}
	}
	for _, is := range open {
		if is {
			r.OpenPartitions++
		}
	}
}

// holder returns a segment behind a place in the order that holds a sequence of
// a producer in a partition, nil if there is none.
func (s *sources) holder(key sequenceKey, epoch int16, sequence int32, place int) *source {
	ranges := s.ranges[key]
	from, _ := slices.BinarySearchFunc(ranges, epoch, func(r sequenceRange, epoch int16) int { return cmp.Compare(r.epoch, epoch) })
	for i := from; i < len(ranges) && ranges[i].epoch == epoch; i++ {
		r := &ranges[i]
		if compareSequences(r.first, sequence) > 0 {
			break
		}
		if compareSequences(r.last, sequence) >= 0 && r.source.place > place {
			return r.source
		}
	}
	return nil
}
