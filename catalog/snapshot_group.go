package catalog

// What a snapshot holds of consumer groups. What each member is assigned
// follows from the targets and from what is held.

func (w *snapshotWriter) group(s *State, g *Group) bool {
	w.buf = appendString(w.buf, g.Name)
	w.buf = append(w.buf, byte(g.Strategy))
	w.buf = appendUvarint(w.buf, uint64(g.Epoch))
	w.count(len(g.Members))
	w.count(g.Offsets)
	for _, m := range g.Members {
		if !w.item() || !w.member(m) {
			return false
		}
	}
	before := TopicPartition{}
	s.groups.offsets.ofGroup(g.Name, func(tp TopicPartition, committed CommittedOffset) bool {
		w.buf = appendPartition(w.buf, tp, before)
		before = tp
		w.buf = appendUvarint(w.buf, uint64(committed.Offset))
		w.buf = appendUvarint(w.buf, uint64(committed.Time))
		w.buf = appendString(w.buf, committed.Metadata)
		return w.item()
	})
	return w.item()
}

func (w *snapshotWriter) member(m *Member) bool {
	w.buf = appendString(w.buf, m.ID)
	w.buf = appendString(w.buf, m.ClientID)
	w.buf = appendUvarint(w.buf, uint64(m.SessionTimeoutMs))
	w.buf = appendUvarint(w.buf, uint64(m.Joined))
	w.buf = appendUvarint(w.buf, uint64(m.Synced-m.Joined))
	w.buf = appendUvarint(w.buf, uint64(m.Epoch-m.Synced))
	w.buf = appendUvarint(w.buf, uint64(m.Commits))
	w.count(len(m.Topics))
	w.count(len(m.Target))
	w.count(len(m.Held))
	for _, topic := range m.Topics {
		if !w.item() {
			return false
		}
		w.buf = appendString(w.buf, topic)
	}
	return w.item() && w.partitions(m.Target) && w.partitions(m.Held)
}

func (w *snapshotWriter) partitions(list []TopicPartition) bool {
	before := TopicPartition{}
	for _, tp := range list {
		w.buf = appendPartition(w.buf, tp, before)
		before = tp
		if !w.item() {
			return false
		}
	}
	return true
}

// groupReader is the group that a StateDecoder is reading.
type groupReader struct {
	group       *Group
	membersLeft int
	offsetsLeft uint64

	member                           *Member
	topicsLeft, targetLeft, heldLeft uint64
	before                           TopicPartition // in the list that is being read
}

// preallocated bounds the room made for a list before its items are there.
func preallocated(n uint64) uint64 { return min(n, 64) }

// name reads a name by the rules of topics.
func (r *wireReader) name() string {
	n := r.uvarint()
	r.require(n <= TopicNameLenMax)
	name := string(r.take(int(n)))
	r.require(ValidTopicName(name))
	return name
}

func (d *StateDecoder) readGroup(r *wireReader) {
	g := &Group{Name: r.name(), Strategy: Strategy(r.byte()), Epoch: r.signed()}
	members, offsets := r.uvarint(), r.uvarint()
	r.require(g.Strategy <= CooperativeSticky && g.Epoch <= d.state.groups.lastEpoch)
	r.require(members <= GroupMembersMax && offsets <= CommittedOffsetsMax && members+offsets > 0)
	r.require(members == 0 || g.Strategy != AnyStrategy)
	if last, ok := d.state.groups.byName.Max(); ok && r.err == nil && last.Name >= g.Name {
		r.fail(errOrder)
	}
	if r.err != nil {
		return
	}
	d.groups = groupReader{group: g, membersLeft: int(members), offsetsLeft: offsets}
	d.step = d.readMember
}

func (d *StateDecoder) readMember(r *wireReader) {
	u := &d.groups
	if u.membersLeft == 0 {
		d.endMembers()
		d.step = d.readCommittedOffset
		return
	}
	m := &Member{ID: r.name()}
	length := r.uvarint()
	r.require(length <= TokenLenMax)
	m.ClientID = string(r.take(int(length)))
	r.require(m.ClientID == "" || ValidToken(m.ClientID))
	timeout := r.number()
	r.require(timeout >= SessionTimeoutMsMin && timeout <= SessionTimeoutMsMax)
	m.SessionTimeoutMs = int32(timeout)
	last := d.state.groups.lastEpoch
	m.Joined = r.signed()
	r.require(m.Joined >= 1 && m.Joined <= last)
	synced := r.signed()
	r.require(synced <= last-m.Joined)
	m.Synced = m.Joined + synced
	epoch := r.signed()
	r.require(epoch <= last-m.Synced)
	m.Epoch = m.Synced + epoch
	m.Commits = r.signed()
	topics, target, held := r.uvarint(), r.uvarint(), r.uvarint()
	r.require(topics >= 1 && topics <= GroupTopicsMax && target <= PartitionsMax && held <= PartitionsMax)
	if n := len(u.group.Members); n > 0 && r.err == nil && u.group.Members[n-1].ID >= m.ID {
		r.fail(errOrder)
	}
	if r.err != nil {
		return
	}
	m.Topics = make([]string, 0, preallocated(topics))
	u.member, u.before = m, TopicPartition{}
	u.topicsLeft, u.targetLeft, u.heldLeft = topics, target, held
	d.step = d.readSubscription
}

// endMembers derives what follows from a group's members.
func (d *StateDecoder) endMembers() {
	g := d.groups.group
	leaving := g.leaving()
	for i, m := range g.Members {
		m.Topics = (&Group{Members: g.Members[:i]}).sharedTopics(m.Topics)
		m.Assigned = m.assignable(leaving)
		d.state.groups.subscribe(g.Name, m.Topics, 1)
	}
	g.measure(d.state.subscribed(g.Members))
	d.groups.before = TopicPartition{}
}

func (d *StateDecoder) readSubscription(r *wireReader) {
	u := &d.groups
	if u.topicsLeft == 0 {
		d.step = d.readTarget
		return
	}
	topic := r.name()
	if n := len(u.member.Topics); n > 0 && r.err == nil && u.member.Topics[n-1] >= topic {
		r.fail(errOrder)
	}
	if r.err == nil {
		u.member.Topics = append(u.member.Topics, topic)
		u.topicsLeft--
	}
}

func (d *StateDecoder) readTarget(r *wireReader) {
	u := &d.groups
	if u.targetLeft == 0 {
		u.before = TopicPartition{}
		d.step = d.readHeld
		return
	}
	if tp, ok := d.readListed(r); ok {
		u.member.Target = append(u.member.Target, tp)
		u.targetLeft--
	}
}

func (d *StateDecoder) readHeld(r *wireReader) {
	u := &d.groups
	if u.heldLeft == 0 {
		if sameList(u.member.Held, u.member.Target) {
			u.member.Held = u.member.Target // as most of the time: one list is enough
		}
		u.group.Members = append(u.group.Members, u.member)
		u.membersLeft--
		d.step = d.readMember
		return
	}
	if tp, ok := d.readListed(r); ok {
		u.member.Held = append(u.member.Held, tp)
		u.heldLeft--
	}
}

// readListed reads the next partition of a list.
func (d *StateDecoder) readListed(r *wireReader) (TopicPartition, bool) {
	tp := r.partition(d.groups.before)
	if r.err == nil && d.state.Partition(tp) == nil {
		r.fail(errReference)
	}
	if r.err == nil {
		d.groups.before = tp
	}
	return tp, r.err == nil
}

func (d *StateDecoder) readCommittedOffset(r *wireReader) {
	u := &d.groups
	if u.offsetsLeft == 0 {
		d.state.setGroup(nil, u.group, 0)
		*u = groupReader{}
		d.step = d.next
		return
	}
	tp := r.partition(u.before)
	committed := CommittedOffset{Offset: Offset(r.signed()), Time: r.signed()}
	length := r.uvarint()
	r.require(length <= OffsetMetadataLenMax)
	committed.Metadata = string(r.take(int(length)))
	if r.err == nil && d.state.Partition(tp) == nil {
		r.fail(errReference)
	}
	if r.err != nil {
		return
	}
	u.before = tp
	u.group.Offsets++
	u.offsetsLeft--
	d.state.groups.offsets.set(u.group.Name, tp, committed)
}
