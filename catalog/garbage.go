package catalog

// Backlog is the garbage that waits to be deleted.
type Backlog struct {
	Objects  int
	Bytes    int64
	OldestMs int64 // how long the oldest has been garbage, in ms of journal time; 0 if there is none
	// DueBy tells that more than what is due now will be at the time asked for.
	DueBy bool
}

// DueGarbage returns up to limit objects that have been garbage for longer than
// graceMs of journal time, and how much there is in all. It takes time in
// proportion to that. Backlog.DueBy tells whether others will be due once the
// journal's time is now, in ms.
func (s *State) DueGarbage(graceMs, now int64, limit int) (due []Garbage, all Backlog) {
	s.garbage.Scan(func(g Garbage) bool {
		age := s.time - g.FreedAt
		all.Objects++
		all.Bytes += g.Size
		all.OldestMs = max(all.OldestMs, age)
		switch {
		case age <= graceMs:
			all.DueBy = all.DueBy || now-g.FreedAt > graceMs
		case len(due) < limit:
			due = append(due, g)
		}
		return true
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
		s.garbage.Delete(Garbage{NewObject: NewObject{ID: id}})
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
