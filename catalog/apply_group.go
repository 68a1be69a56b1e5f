package catalog

import "slices"

func (e *JoinGroup) valid() bool {
	if !ValidGroupName(e.Group) || !ValidGroupName(e.Member) || e.ClientID != "" && !ValidToken(e.ClientID) {
		return false
	}
	if e.SessionTimeoutMs < SessionTimeoutMsMin || e.SessionTimeoutMs > SessionTimeoutMsMax || e.Strategy > CooperativeSticky {
		return false
	}
	for i, topic := range e.Topics {
		if !ValidTopicName(topic) || i > 0 && topic <= e.Topics[i-1] {
			return false
		}
	}
	return len(e.Topics) > 0 && len(e.Topics) <= GroupTopicsMax
}

func (s *State) joinGroup(e *JoinGroup) Result {
	if !e.valid() {
		return Result{Err: invalid(InvalidGroup)}
	}
	old := s.groups.group(e.Group)
	g := &Group{Name: e.Group}
	if old != nil {
		*g = *old
	}
	at, again := g.find(e.Member)
	switch {
	case old == nil && s.groups.byName.Len() >= s.capacity.groups:
		return Result{Err: ErrCatalogFull}
	case len(g.Members) > 0 && e.Strategy != AnyStrategy && e.Strategy != g.Strategy:
		return Result{Err: ErrGroupStrategy}
	case !again && len(g.Members) >= s.capacity.groupMembers:
		return Result{Err: ErrGroupFull}
	case !again && s.groups.members >= s.capacity.members:
		return Result{Err: ErrCatalogFull}
	}
	if len(g.Members) == 0 { // a group without members takes the strategy of who comes first
		if g.Strategy = e.Strategy; g.Strategy == AnyStrategy {
			g.Strategy = CooperativeSticky
		}
	}
	epoch := s.groups.lastEpoch + 1
	m := &Member{
		ID: e.Member, ClientID: e.ClientID, Topics: g.sharedTopics(e.Topics), SessionTimeoutMs: e.SessionTimeoutMs,
		Joined: epoch, Epoch: epoch, Synced: epoch,
	}
	g.Members = slices.Clone(g.Members)
	left := []string(nil) // that the id subscribed to before
	if again {
		// Whoever had its id before is fenced, and may not know it yet: this may be
		// its own join, repeated and late. So what it held goes to no other member
		// before this one has let go.
		m.Target, m.Held, left = g.Members[at].Target, g.Members[at].Held, g.Members[at].Topics
		g.Members[at] = m
	} else {
		g.Members = slices.Insert(g.Members, at, m)
	}
	before, topics := g.Partitions, s.groups.topics+len(m.Topics)-len(left)
	s.rebalance(g, epoch)
	switch {
	case g.topics > GroupTopicsMax:
		return Result{Err: ErrGroupFull}
	case len(m.Topics) > len(left) && topics > s.capacity.memberTopics,
		g.Partitions > before && s.groups.assigned+g.Partitions-before > s.capacity.assigned:
		return Result{Err: ErrCatalogFull}
	}
	joined, newest := *g.Members[at], epoch
	if len(joined.Revoked()) == 0 {
		joined.Held = joined.Assigned
	} else {
		newest++ // which is yet to be acknowledged
	}
	joined.Epoch = newest
	g.Members[at] = &joined
	s.groups.subscribe(g.Name, m.Topics, 1)
	s.groups.subscribe(g.Name, left, -1)
	s.setGroup(old, g, newest)
	return Result{Epoch: epoch, Created: !again}
}

// sharedTopics returns the list of a member that subscribes to just these
// topics, as most do, so that it is in memory once, or else the list itself.
func (g *Group) sharedTopics(topics []string) []string {
	for _, m := range g.Members {
		if slices.Equal(m.Topics, topics) {
			return m.Topics
		}
	}
	return topics
}

func (s *State) syncMember(e *SyncMember) error {
	old := s.groups.group(e.Group)
	m, err := s.groups.current(e.Group, e.Member, e.Epoch)
	switch {
	case err != nil:
		return err
	case e.Epoch != m.Epoch:
		return &RebalanceError{Epoch: m.Epoch}
	case m.Synced == m.Epoch:
		return nil
	}
	g := old.copy()
	at, _ := g.find(e.Member)
	synced := *m
	synced.Synced, synced.Held = m.Epoch, m.Assigned
	g.Members[at] = &synced
	epoch := s.groups.lastEpoch + 1
	if !g.settle(epoch) {
		epoch = 0
	}
	s.setGroup(old, g, epoch)
	return nil
}

// current returns a member that has not joined again after epoch.
func (t *groupTable) current(group, id string, epoch int64) (*Member, error) {
	m := t.member(group, id)
	if m == nil || epoch < m.Joined {
		return nil, ErrMemberFenced
	}
	return m, nil
}

func (s *State) keepMember(e *KeepMember) error {
	_, err := s.groups.current(e.Group, e.Member, e.Epoch)
	return err
}

func (s *State) removeMember(e *RemoveMember) error {
	old := s.groups.group(e.Group)
	m := s.groups.member(e.Group, e.Member)
	if m == nil || e.Epoch != 0 && e.Epoch < m.Joined {
		return ErrMemberFenced
	}
	g := old.copy()
	at, _ := g.find(e.Member)
	g.Members = slices.Delete(g.Members, at, at+1)
	epoch := s.groups.lastEpoch + 1
	s.rebalance(g, epoch)
	s.groups.subscribe(g.Name, m.Topics, -1)
	s.setGroup(old, g, epoch)
	return nil
}

// copy returns a group whose members may be replaced.
func (g *Group) copy() *Group {
	c := *g
	c.Members = slices.Clone(g.Members)
	return &c
}

func (s *State) deleteGroup(name string) error {
	g := s.groups.group(name)
	switch {
	case g == nil:
		return ErrGroupNotFound
	case len(g.Members) > 0:
		return ErrGroupNotEmpty
	}
	s.groups.offsets.forgetGroup(name)
	s.groups.byName.Delete(g)
	return nil
}
