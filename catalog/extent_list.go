package catalog

import (
	"math"
	"sort"
)

// extentChunkLen is how many extents a full chunk holds: what is copied at most
// when an extent is added, and what a search by time steps over at once.
const extentChunkLen = 64

// extentList is the extents of a partition in order. It is a value: changing
// operations return another list and leave the old one as it was.
//
// All but the newest extents are in sealed chunks of extentChunkLen (the first
// may have fewer after a trim).
type extentList struct {
	sealed    *sharedArray[extentChunk]
	tail      *sharedArray[Extent]
	sealedLen int32
	tailLen   int32
}

// extentChunk is a sealed run of extents with what a search asks first.
type extentChunk struct {
	base         Offset // of the first extent
	maxTimestamp int64  // ms
	extents      []Extent
}

func sealChunk(extents []Extent) extentChunk {
	c := extentChunk{base: extents[0].Base, maxTimestamp: math.MinInt64, extents: extents}
	for i := range extents {
		c.maxTimestamp = max(c.maxTimestamp, extents[i].MaxTimestamp)
	}
	return c
}

// append returns the list with e added.
func (l extentList) append(e Extent) extentList {
	if l.tailLen == extentChunkLen {
		l.sealed = appendShared(l.sealed, l.sealedLen, sealChunk(l.tail.first(l.tailLen)), math.MaxInt)
		l.sealedLen++
		l.tail, l.tailLen = nil, 0
	}
	l.tail = appendShared(l.tail, l.tailLen, e, extentChunkLen)
	l.tailLen++
	return l
}

// chunks is the number of chunks, the tail included.
func (l extentList) chunks() int {
	if l.tailLen == 0 {
		return int(l.sealedLen) // only of an empty list, and then 0
	}
	return int(l.sealedLen) + 1
}

// chunk returns the extents of one chunk. They must not be changed.
func (l extentList) chunk(i int) []Extent {
	if i < int(l.sealedLen) {
		return l.sealed.items[i].extents
	}
	return l.tail.first(l.tailLen)
}

// len is the number of extents.
func (l extentList) len() int {
	n := int(l.tailLen)
	for i := range l.sealed.first(l.sealedLen) {
		n += len(l.sealed.items[i].extents)
	}
	return n
}

// first returns the oldest extent, nil if there is none.
func (l extentList) first() *Extent {
	if l.chunks() == 0 {
		return nil
	}
	return &l.chunk(0)[0]
}

// search returns where the first extent whose end lies above offset is: its
// chunk, and its index in it. The chunk is chunks() if there is none.
func (l extentList) search(offset Offset) (chunk, index int) {
	sealed := l.sealed.first(l.sealedLen)
	// The chunk before the first one that begins above offset may hold it.
	chunk = sort.Search(len(sealed), func(i int) bool { return sealed[i].base > offset })
	if chunk == len(sealed) && l.tailLen > 0 && l.tail.items[0].Base <= offset {
		chunk++
	}
	chunk = max(chunk-1, 0)
	for ; chunk < l.chunks(); chunk++ {
		extents := l.chunk(chunk)
		index = sort.Search(len(extents), func(i int) bool { return extents[i].End() > offset })
		if index < len(extents) {
			return chunk, index
		}
	}
	return l.chunks(), 0
}

// from returns a copy of the n extents from the one that begins at base on; fewer if
// there are not as many, none if none begins there.
func (l extentList) from(base Offset, n int) []Extent {
	chunk, index := l.search(base)
	if chunk == l.chunks() || l.chunk(chunk)[index].Base != base {
		return nil
	}
	var found []Extent
	for ; chunk < l.chunks() && len(found) < n; chunk++ {
		extents := l.chunk(chunk)[index:]
		found = append(found, extents[:min(len(extents), n-len(found))]...)
		index = 0
	}
	return found
}

// dropBefore returns the list without the extents that end at or below offset,
// and calls dropped for each of these. What is left is copied as far as needed
// for the dropped ones to be freed.
func (l extentList) dropBefore(offset Offset, dropped func(*Extent)) extentList {
	chunk, index := l.search(offset)
	if chunk == 0 && index == 0 {
		return l
	}
	for i := range min(chunk+1, l.chunks()) {
		extents := l.chunk(i)
		if i == chunk {
			extents = extents[:index]
		}
		for j := range extents {
			dropped(&extents[j])
		}
	}
	switch {
	case chunk == l.chunks():
		return extentList{}
	case chunk == int(l.sealedLen): // only the tail is left
		rest := append([]Extent(nil), l.chunk(chunk)[index:]...)
		return extentList{tail: sharedArrayOf(rest), tailLen: int32(len(rest))}
	}
	rest := append([]extentChunk(nil), l.sealed.items[chunk:l.sealedLen]...)
	if index > 0 {
		rest[0] = sealChunk(append([]Extent(nil), rest[0].extents[index:]...))
	}
	l.sealed, l.sealedLen = sharedArrayOf(rest), int32(len(rest))
	return l
}

// replace returns the list with the extents from the one that begins at from up to
// the one that begins at to (or the end) replaced by others of the same offsets. It
// takes time in proportion to the chunks, and copies extents only of the chunks
// around what is replaced.
func (l extentList) replace(from, to Offset, by []Extent) extentList {
	first, index := l.search(from)
	rest, restIndex := l.search(to)
	middle := append(append([]Extent(nil), l.chunk(first)[:index]...), by...)
	var after []extentChunk
	tail, tailLen := l.tail, l.tailLen
	if rest < l.chunks() {
		middle = append(middle, l.chunk(rest)[restIndex:]...)
	}
	toTail := rest >= int(l.sealedLen) // what follows is in the middle
	if !toTail {
		after = l.sealed.items[rest+1 : l.sealedLen]
	}
	before := l.sealed.first(l.sealedLen)[:min(first, int(l.sealedLen))]
	// Replacing again and again must not leave many short chunks.
	for n := len(before); n > 0 && len(before[n-1].extents)+len(middle) <= extentChunkLen; n-- {
		middle = append(append([]Extent(nil), before[n-1].extents...), middle...)
		before = before[:n-1]
	}
	sealed := append(make([]extentChunk, 0, len(before)+len(middle)/extentChunkLen+1+len(after)), before...)
	for len(middle) > 0 {
		n := min(extentChunkLen, len(middle))
		if toTail && n == len(middle) {
			tail, tailLen = sharedArrayOf(middle[:n:n]), int32(n)
		} else {
			sealed = append(sealed, sealChunk(middle[:n:n]))
		}
		middle = middle[n:]
	}
	sealed = append(sealed, after...)
	list := extentList{tail: tail, tailLen: tailLen}
	if len(sealed) > 0 {
		list.sealed, list.sealedLen = sharedArrayOf(sealed), int32(len(sealed))
	}
	return list
}

// all calls yield for each extent in order until it returns false.
func (l extentList) all(yield func(*Extent) bool) {
	for i := range l.chunks() {
		extents := l.chunk(i)
		for j := range extents {
			if !yield(&extents[j]) {
				return
			}
		}
	}
}

// backward calls yield for each extent, the newest first, until it returns false.
func (l extentList) backward(yield func(*Extent) bool) {
	for i := l.chunks() - 1; i >= 0; i-- {
		extents := l.chunk(i)
		for j := len(extents) - 1; j >= 0; j-- {
			if !yield(&extents[j]) {
				return
			}
		}
	}
}
