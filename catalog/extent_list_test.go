package catalog

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// listOf returns a list of n extents of one record each, from offset 0 on.
func listOf(n int) extentList {
	var l extentList
	for i := range n {
		l = l.append(Extent{Base: Offset(i), Records: 1, Len: 1, MaxTimestamp: int64(i)})
	}
	return l
}

func extentsOf(l extentList) (all []Extent) {
	for e := range l.all {
		all = append(all, *e)
	}
	return all
}

// Lists that grow out of each other in any way behave as slices that are copied.
func TestExtentListAgainstSlices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type pair struct {
			list  extentList
			slice []Extent
		}
		pairs := []pair{{}}
		pick := func(t *rapid.T) pair {
			return pairs[rapid.IntRange(max(0, len(pairs)-6), len(pairs)-1).Draw(t, "from")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				p := pick(t)
				slice := append([]Extent(nil), p.slice...)
				records := rapid.Int32Range(1, 3).Draw(t, "records")
				times := rapid.Int64Range(0, 50).Draw(t, "times")
				for i := range rapid.SampledFrom([]int{1, 1, 2, 5, 63, 64, 65, 200}).Draw(t, "n") {
					e := Extent{Records: records, Len: 1, MaxTimestamp: int64(i) * times % 51}
					if len(slice) > 0 {
						e.Base = slice[len(slice)-1].End()
					}
					p.list, slice = p.list.append(e), append(slice, e)
				}
				pairs = append(pairs, pair{p.list, slice})
			},
			"drop": func(t *rapid.T) {
				p := pick(t)
				end := Offset(0)
				if len(p.slice) > 0 {
					end = p.slice[len(p.slice)-1].End()
				}
				before := Offset(rapid.Int64Range(-1, int64(end)+1).Draw(t, "before"))
				var dropped, want []Extent
				list := p.list.dropBefore(before, func(e *Extent) { dropped = append(dropped, *e) })
				slice := p.slice
				for len(slice) > 0 && slice[0].End() <= before {
					want, slice = append(want, slice[0]), slice[1:]
				}
				if !slices.Equal(dropped, want) {
					t.Fatalf("dropped %+v, want %+v", dropped, want)
				}
				pairs = append(pairs, pair{list, append([]Extent(nil), slice...)})
			},
			"replace": func(t *rapid.T) {
				p := pick(t)
				if len(p.slice) == 0 {
					return
				}
				from := rapid.IntRange(0, len(p.slice)-1).Draw(t, "first")
				to := rapid.IntRange(from+1, len(p.slice)).Draw(t, "end")
				var by []Extent
				for i := from; i < to; {
					e := p.slice[i]
					for i++; i < to && rapid.IntRange(0, 5).Draw(t, "cut") > 0; i++ {
						e.Records += p.slice[i].Records
						e.MaxTimestamp = max(e.MaxTimestamp, p.slice[i].MaxTimestamp)
					}
					by = append(by, e)
				}
				list := p.list.replace(p.slice[from].Base, p.slice[to-1].End(), by)
				if got := p.list.from(p.slice[from].Base, to-from); !slices.Equal(got, p.slice[from:to]) {
					t.Fatalf("from %d are %+v, want %+v", p.slice[from].Base, got, p.slice[from:to])
				}
				slice := append(append(append([]Extent(nil), p.slice[:from]...), by...), p.slice[to:]...)
				pairs = append(pairs, pair{list, slice})
			},
			"": func(t *rapid.T) {
				for _, p := range pairs[max(0, len(pairs)-6):] {
					if got := extentsOf(p.list); !slices.Equal(got, p.slice) {
						t.Fatalf("list is %+v, want %+v", got, p.slice)
					}
					if p.list.len() != len(p.slice) {
						t.Fatalf("length %d, want %d", p.list.len(), len(p.slice))
					}
					checkSearch(t, p.list, p.slice)
					if err := checkChunks(TopicPartition{}, &p.list); err != nil {
						t.Fatal(err)
					}
				}
			},
		})
	})
}

func checkSearch(t *rapid.T, l extentList, slice []Extent) {
	p := &Partition{extents: l}
	if len(slice) > 0 {
		p.logStart, p.end = slice[0].Base, slice[len(slice)-1].End()
	}
	offset := Offset(rapid.Int64Range(int64(p.logStart)-1, int64(p.end)+1).Draw(t, "offset"))
	limit := rapid.IntRange(-1, 200).Draw(t, "limit")
	var want []Extent
	for _, e := range slice {
		if offset >= p.logStart && offset < p.end && e.End() > offset && len(want) < limit {
			want = append(want, e)
		}
	}
	if got := p.Extents(offset, limit); !slices.Equal(got, want) {
		t.Fatalf("Extents(%d, %d) = %+v, want %+v", offset, limit, got, want)
	}
	ms := rapid.Int64Range(-1, 51).Draw(t, "ms")
	var first *Extent
	for i := range slice {
		if slice[i].MaxTimestamp >= ms {
			first = &slice[i]
			break
		}
	}
	got, ok := p.ExtentAtTime(ms)
	if ok != (first != nil) || ok && got != *first {
		t.Fatalf("ExtentAtTime(%d) = %+v, %v, want %+v", ms, got, ok, first)
	}
}

// Siblings that grow out of one list on different goroutines, while others read
// that list, do not see each other. The race detector watches.
func TestSiblingListsShareNothing(t *testing.T) {
	for _, n := range []int{0, 1, 3, 60, 64, 100, 1000} {
		parent := listOf(n)
		want := extentsOf(parent)
		siblings := make([]extentList, 4)
		var group sync.WaitGroup
		for i := range siblings {
			group.Go(func() {
				l := parent
				for j := range 200 {
					l = l.append(Extent{Base: Offset(n + j), Records: 1, Len: int64(i)})
				}
				siblings[i] = l
			})
			group.Go(func() {
				for range 10 {
					if got := extentsOf(parent); !slices.Equal(got, want) {
						t.Errorf("the parent of %d changed", n)
					}
				}
			})
		}
		group.Wait()
		for i, l := range siblings {
			all := extentsOf(l)
			if len(all) != n+200 || !slices.Equal(all[:n], want) {
				t.Fatalf("sibling %d of %d has %d extents, or others than its parent", i, n, len(all))
			}
			for _, e := range all[n:] {
				if e.Len != int64(i) {
					t.Fatalf("sibling %d has an extent of sibling %d", i, e.Len)
				}
			}
		}
	}
}

// What a trim dropped is not kept in memory by what is left.
func TestTrimFreesMemory(t *testing.T) {
	const n = 100_000
	l := listOf(n)
	full := heapInUse()
	l = l.dropBefore(n-1, func(*Extent) {})
	if freed := full - heapInUse(); freed < n*60 {
		t.Errorf("a trim of %d extents freed %d bytes", n, freed)
	}
	runtime.KeepAlive(l)
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestExtentTakes64Bytes(t *testing.T) {
	if size := unsafe.Sizeof(Extent{}); size != 64 {
		t.Errorf("an Extent takes %d bytes", size)
	}
	const n = 1_000_000
	before := heapInUse()
	l := listOf(n)
	if each := float64(heapInUse()-before) / n; each > 67 {
		t.Errorf("each of %d extents takes %.1f bytes", n, each)
	}
	runtime.KeepAlive(l)
}

// Adding an extent to a long list copies a bounded amount, also when the list
// has a sibling already.
func TestAppendToLongListIsCheap(t *testing.T) {
	l := listOf(1_000_000 + extentChunkLen/2)
	e := Extent{Base: Offset(l.len()), Records: 1, Len: 1}
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	var a, b extentList
	if bytes := allocated(func() { a = l.append(e) }); bytes > 8<<10 {
		t.Errorf("the newest line took %d bytes", bytes)
	}
	if bytes := allocated(func() { b = l.append(e) }); bytes > 8<<10 {
		t.Errorf("a sibling took %d bytes", bytes)
	}
	if a.tail == b.tail {
		t.Error("siblings share their tail")
	}
}

func TestSearchByTimeSkipsChunks(t *testing.T) {
	p := &Partition{extents: listOf(1000), end: 1000}
	for ms, want := range map[int64]Offset{math.MinInt64: 0, 0: 0, 63: 63, 64: 64, 777: 777, 999: 999} {
		if e, ok := p.ExtentAtTime(ms); !ok || e.Base != want {
			t.Errorf("ExtentAtTime(%d) begins at %d, %v", ms, e.Base, ok)
		}
	}
	if e, ok := p.ExtentAtTime(1000); ok {
		t.Errorf("ExtentAtTime beyond all is %+v", e)
	}
}
