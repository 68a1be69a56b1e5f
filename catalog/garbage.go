package catalog

import (
	"cmp"

	"github.com/tidwall/btree"
)

// garbageTable is the objects without live extents, and their order by age: so
// that a look at what is due does not take longer when much is not.
type garbageTable struct {
	byID  *btree.BTreeG[Garbage]
	byAge *btree.BTreeG[garbageAge]
	bytes int64 // of all
}

type garbageAge struct {
	freedAt int64 // ms of journal time
	id      ObjectID
}

func newGarbageTable() *garbageTable {
	return &garbageTable{
		byID: newTree(func(a, b Garbage) bool { return a.ID.Compare(b.ID) < 0 }),
		byAge: newTree(func(a, b garbageAge) bool {
			return cmp.Or(cmp.Compare(a.freedAt, b.freedAt), a.id.Compare(b.id)) < 0
		}),
	}
}

func (t *garbageTable) clone() *garbageTable {
	return &garbageTable{byID: t.byID.Copy(), byAge: t.byAge.Copy(), bytes: t.bytes}
}

func garbageKey(id ObjectID) Garbage { return Garbage{NewObject: NewObject{ID: id}} }

// add adds an object that is not in the table.
func (t *garbageTable) add(g Garbage) {
	t.byID.Set(g)
	t.byAge.Set(garbageAge{g.FreedAt, g.ID})
	t.bytes += g.Size
}

func (t *garbageTable) drop(id ObjectID) {
	if g, ok := t.byID.Delete(garbageKey(id)); ok {
		t.byAge.Delete(garbageAge{g.FreedAt, id})
		t.bytes -= g.Size
	}
}

// Backlog is the garbage that waits to be deleted.
type Backlog struct {
	Objects  int
	Bytes    int64
	OldestMs int64 // how long the oldest has been garbage, in ms of journal time; 0 if there is none
	// DueBy tells that more than what is due now will be at the time asked for.
	DueBy bool
}

// DueGarbage returns up to limit objects that have been garbage for longer than
// graceMs of journal time, the oldest first, and how much there is in all. It takes
// time in proportion to what it returns. Backlog.DueBy tells whether others will be
// due once the journal's time is now, in ms.
func (s *State) DueGarbage(graceMs, now int64, limit int) (due []Garbage, all Backlog) {
	all.Objects, all.Bytes = s.garbage.byID.Len(), s.garbage.bytes
	if oldest, ok := s.garbage.byAge.Min(); ok {
		all.OldestMs = max(0, s.time-oldest.freedAt)
	}
	s.garbage.byAge.Scan(func(a garbageAge) bool {
		if s.time-a.freedAt <= graceMs || len(due) == limit {
			return false
		}
		g, _ := s.garbage.byID.Get(garbageKey(a.id))
		due = append(due, g)
		return true
	})
	s.garbage.byAge.Ascend(garbageAge{freedAt: s.time - graceMs}, func(a garbageAge) bool {
		all.DueBy = now-a.freedAt > graceMs
		return false
	})
	return due, all
}

// dropGarbage forgets objects that were deleted from the store. A commit of one
// of them can only be a repeat of the one that brought it in, which its node's
// number tells apart.
func (s *State) dropGarbage(e *DropGarbage) Result {
	if len(e.Objects) > DropGarbageMax {
		return Result{Err: invalid(InvalidObject)}
	}
	for _, id := range e.Objects {
		s.garbage.drop(id)
	}
	return Result{}
}

// raiseOrphanFloor says in the Result whether this edit is the one that raised it.
func (s *State) raiseOrphanFloor(e *RaiseOrphanFloor) Result {
	if e.After != s.orphanFloor || e.Floor <= s.orphanFloor || s.time < 0 || e.Floor > uint64(s.time) {
		return Result{}
	}
	s.orphanFloor = e.Floor
	return Result{Created: true}
}

// Known tells whether the catalog knows an object, as live or as garbage.
func (s *State) Known(id ObjectID) bool {
	if _, live := s.Object(id); live {
		return true
	}
	_, dead := s.GarbageObject(id)
	return dead
}
