package catalog

import "context"

// touchedGroups is a set of groups whose members edits changed. With anyGroup in
// it, it may have been any.
type touchedGroups map[string]struct{}

// anyGroup is no name that a group can have.
const anyGroup = ""

func (t touchedGroups) add(e Edit, result Result) {
	if result.Err != nil {
		return
	}
	switch e := e.(type) {
	case JoinGroup:
		t[e.Group] = struct{}{}
	case SyncMember:
		t[e.Group] = struct{}{}
	case RemoveMember:
		t[e.Group] = struct{}{}
	case CreateTopic, AlterTopic, DeleteTopic:
		t[anyGroup] = struct{}{} // whoever subscribes to its name
	}
}

// watchedGroup is a group for whose members somebody waits.
type watchedGroup struct {
	last    *Group // as of the last look; a group that did not change is the same
	waiters map[*memberWaiter]struct{}
}

// memberWaiter waits until a member is gone, or has another epoch.
type memberWaiter struct {
	member  string
	epoch   int64
	changed chan struct{} // holds a value once that may be
}

// due tells whether a waiter need not wait any more, in a view of its group.
func (w *memberWaiter) due(g *Group) bool {
	if g == nil {
		return true
	}
	m := g.Member(w.member)
	return m == nil || m.Epoch != w.epoch
}

func (w *watch) addMember(group string, waiter *memberWaiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	watched := w.groups[group]
	if watched == nil {
		watched = &watchedGroup{waiters: map[*memberWaiter]struct{}{}}
		w.groups[group] = watched
	}
	watched.waiters[waiter] = struct{}{}
}

func (w *watch) removeMember(group string, waiter *memberWaiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	watched := w.groups[group]
	delete(watched.waiters, waiter)
	if len(watched.waiters) == 0 {
		delete(w.groups, group)
	}
}

// notifyMembers wakes those waiters whose member is not what they wait with any
// more. It wants mu held.
func (w *watch) notifyMembers(changed touchedGroups, s *State) {
	if _, any := changed[anyGroup]; any {
		for name, watched := range w.groups {
			if g := s.Group(name); g == nil || g != watched.last {
				watched.notify(g)
			}
		}
		return
	}
	for name := range changed {
		if watched := w.groups[name]; watched != nil {
			watched.notify(s.Group(name))
		}
	}
}

func (g *watchedGroup) notify(now *Group) {
	g.last = now
	for waiter := range g.waiters {
		if !waiter.due(now) {
			continue
		}
		select {
		case waiter.changed <- struct{}{}:
		default: // it has a value waiting already
		}
	}
}

// WaitMember returns nil once the replica has no such member, or it has another
// epoch; ctx's error if that does not come to pass. It begins with the replica as
// it is: the caller confirms first where that matters.
func (c *Catalog) WaitMember(ctx context.Context, group, member string, epoch int64) error {
	waiter := &memberWaiter{member: member, epoch: epoch, changed: make(chan struct{}, 1)}
	c.watch.addMember(group, waiter)
	defer c.watch.removeMember(group, waiter)
	c.signal() // a replica that has no watchers does not look for entries of others
	for !waiter.due(c.View().Group(group)) {
		select {
		case <-waiter.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
