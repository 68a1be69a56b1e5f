package catalog

import (
	"maps"
	"math"
	"slices"

	"pgregory.net/rapid"

	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// model is the catalog as one would write it down without a thought for speed:
// a partition is the list of all appends that ever landed in it.
type model struct {
	time         int64
	topics       map[TopicID]Topic
	partitions   map[TopicPartition]modelPartition
	nodes        map[NodeID]Node
	objects      map[ObjectID]bool // every object of which something landed
	freedAt      map[ObjectID]int64
	producers    map[int64]int64 // id → last active
	epochs       map[int64]int16 // id → below it fenced everywhere
	fences       map[TopicPartition]string
	requests     map[[16]byte]modelRequest
	nextProducer int64
	orphanFloor  uint64
	leases       map[TopicID]modelLease
	groups       map[string]*modelGroup
	lastEpoch    int64
}

type modelRequest struct {
	request [16]byte
	time    int64
	landed  []LandedAppend
}

type modelPartition struct {
	logStart Offset
	appends  []modelAppend // all that ever landed
	// compacted is what was put in the place of extents, in order.
	compacted []modelCompaction
}

type modelAppend struct {
	Append
	object   NewObject
	base     Offset
	time     int64 // of the commit
	producer recordbatch.Producer
}

func newModel() *model {
	return &model{
		topics:       map[TopicID]Topic{},
		partitions:   map[TopicPartition]modelPartition{},
		nodes:        map[NodeID]Node{},
		objects:      map[ObjectID]bool{},
		freedAt:      map[ObjectID]int64{},
		producers:    map[int64]int64{},
		epochs:       map[int64]int16{},
		fences:       map[TopicPartition]string{},
		requests:     map[[16]byte]modelRequest{},
		nextProducer: 1,
		leases:       map[TopicID]modelLease{},
		groups:       map[string]*modelGroup{},
	}
}

func (p modelPartition) end() Offset {
	end := Offset(0)
	for _, a := range p.appends {
		end += Offset(a.Records)
	}
	return end
}

// extents merges the appends that are not trimmed away.
func (p modelPartition) extents() (all []Extent) {
	crcs := uint32(0)
	for _, a := range p.appends {
		if n := len(all); n > 0 && all[n-1].Object == a.object.ID && all[n-1].Pos+Pos(all[n-1].Len) == a.Pos {
			e := &all[n-1]
			crcs = segment.CombineCRC(crcs, a.CRC, a.Len)
			e.Len += a.Len
			e.Records += a.Records
			e.MaxTimestamp = max(e.MaxTimestamp, a.MaxTimestamp)
		} else {
			crcs = a.CRC
			all = append(all, Extent{
				Object: a.object.ID, Pos: a.Pos, Len: a.Len, Base: a.base, Records: a.Records,
				MaxTimestamp: a.MaxTimestamp, CommitTime: a.time,
			})
		}
		e := &all[len(all)-1]
		if e.CRC = crcs; e.Len > ExtentCRCLenMax {
			e.CRC = a.object.IndexCRC
		}
	}
	for _, c := range p.compacted {
		all = c.replaceIn(all)
	}
	return slices.DeleteFunc(all, func(e Extent) bool { return e.End() <= p.logStart })
}

// batches returns what a producer sent to a partition, over all epochs.
func (p modelPartition) batches(id int64) (all []modelAppend) {
	for _, a := range p.appends {
		if a.producer.ID == id {
			all = append(all, a)
		}
	}
	return all
}

// apply applies an edit that s, the state to compare with, has had already.
func (m *model) apply(e Edit, s *State) Result {
	switch e := e.(type) {
	case JoinGroup, SyncMember, KeepMember, RemoveMember, CommitOffsets, DeleteGroup:
		return m.applyGroup(e, s)
	case CreateTopic:
		for _, t := range m.topics {
			if t.Name == e.Name && (t.Partitions != e.Partitions || t.Config != e.Config) {
				return Result{Err: ErrTopicExists}
			} else if t.Name == e.Name {
				return Result{Topic: t.ID}
			}
		}
		if _, taken := m.topics[e.ID]; taken {
			return Result{Err: invalid(InvalidTopicID)}
		}
		m.topics[e.ID] = Topic(e)
		m.addPartitions(e.ID, e.Partitions)
		m.topicChanged(m.topics[e.ID], false, s)
		return Result{Topic: e.ID, Created: true}
	case AlterTopic:
		t, ok := m.topics[e.ID]
		if !ok {
			return Result{Err: ErrTopicNotFound}
		}
		if e.Partitions != 0 && e.Partitions < t.Partitions {
			return Result{Err: ErrPartitionsShrink}
		}
		grows := e.Partitions > t.Partitions
		t.Partitions, t.Config = max(t.Partitions, e.Partitions), e.Config
		m.topics[e.ID] = t
		m.addPartitions(e.ID, t.Partitions)
		if grows {
			m.topicChanged(t, false, s)
		}
		return Result{}
	case DeleteTopic:
		t, ok := m.topics[e.ID]
		if !ok {
			return Result{Err: ErrTopicNotFound}
		}
		delete(m.topics, e.ID)
		delete(m.leases, e.ID)
		maps.DeleteFunc(m.partitions, func(tp TopicPartition, _ modelPartition) bool { return tp.Topic == e.ID })
		maps.DeleteFunc(m.fences, func(tp TopicPartition, _ string) bool { return tp.Topic == e.ID })
		m.collect()
		m.topicChanged(t, true, s)
		return Result{}
	case RegisterNode:
		if _, ok := m.nodes[e.Node]; !ok {
			m.nodes[e.Node] = Node{HasWAL: e.HasWAL, ActiveAt: m.time}
		}
		return Result{}
	case RemoveNode:
		delete(m.nodes, e.Node)
		return Result{}
	case AllocateProducerID:
		id := m.nextProducer
		m.nextProducer++
		m.producers[id] = m.time
		return Result{Producer: id}
	case Trim:
		p, ok := m.partitions[e.Partition]
		if _, topic := m.topics[e.Partition.Topic]; !topic {
			return Result{Err: ErrTopicNotFound}
		} else if !ok {
			return Result{Err: ErrPartitionNotFound}
		}
		p.logStart = max(p.logStart, min(e.Before, p.end()))
		m.partitions[e.Partition] = p
		m.collect()
		return Result{LogStart: p.logStart}
	case Retain:
		return m.retain(e.Topic)
	case DropGarbage:
		for _, id := range e.Objects {
			if _, freed := m.freedAt[id]; freed {
				delete(m.freedAt, id)
				delete(m.objects, id)
			}
		}
		return Result{}
	case RaiseOrphanFloor:
		raised := e.After == m.orphanFloor && e.Floor > e.After && e.Floor <= uint64(m.time)
		if raised {
			m.orphanFloor = e.Floor
		}
		return Result{Created: raised}
	case ClaimCompaction:
		return m.claimCompaction(e)
	case Compact:
		return m.compact(e)
	case RaiseLevel:
		return Result{}
	case RaiseEpoch:
		if !m.knows(e.Producer) {
			return Result{Err: ErrUnknownProducer}
		}
		highest := m.epochs[e.Producer]
		for _, p := range m.partitions {
			for _, b := range p.batches(e.Producer) {
				highest = max(highest, b.producer.Epoch)
			}
		}
		m.epochs[e.Producer], m.producers[e.Producer] = highest+1, m.time
		return Result{Producer: e.Producer, Epoch: int64(highest) + 1}
	case SetFence:
		if _, topic := m.topics[e.Partition.Topic]; !topic {
			return Result{Err: ErrTopicNotFound}
		} else if _, ok := m.partitions[e.Partition]; !ok {
			return Result{Err: ErrPartitionNotFound}
		}
		actual := m.fences[e.Partition]
		if e.Conditional && e.Expected != actual && e.Token != actual {
			return Result{Err: &FenceError{Token: actual}}
		}
		m.fences[e.Partition] = e.Token
		return Result{}
	case Expire:
		maps.DeleteFunc(m.nodes, func(_ NodeID, n Node) bool { return !n.HasWAL && m.time-n.ActiveAt > NodeExpiryMs })
		maps.DeleteFunc(m.requests, func(_ [16]byte, r modelRequest) bool { return m.time-r.time > RequestKeyExpiryMs })
		maps.DeleteFunc(m.producers, func(_, active int64) bool { return m.time-active > ProducerExpiryMs })
		return Result{}
	case CommitSegment:
		return m.commit(e)
	case KeepNode:
		n, ok := m.nodes[e.Node]
		if !ok {
			return Result{Err: ErrUnknownNode}
		}
		n.HasWAL, n.ActiveAt = e.HasWAL, m.time
		m.nodes[e.Node] = n
		return Result{}
	case Forwarded:
		return Result{}
	}
	panic("unknown edit")
}

// knows tells whether a producer id was given out and has not expired.
func (m *model) knows(id int64) bool {
	active, ok := m.producers[id]
	return ok && m.time-active <= ProducerExpiryMs
}

func (m *model) addPartitions(id TopicID, n int32) {
	for i := range n {
		tp := TopicPartition{Topic: id, Partition: i}
		if _, ok := m.partitions[tp]; !ok {
			m.partitions[tp] = modelPartition{}
		}
	}
}

// live counts the extents of each object.
func (m *model) live() map[ObjectID]int64 {
	live := map[ObjectID]int64{}
	for _, p := range m.partitions {
		for _, e := range p.extents() {
			live[e.Object]++
		}
	}
	return live
}

func (m *model) retain(id TopicID) Result {
	t, ok := m.topics[id]
	if !ok {
		return Result{Err: ErrTopicNotFound}
	}
	for number := range t.Partitions {
		tp := TopicPartition{Topic: id, Partition: number}
		p := m.partitions[tp]
		bytes := int64(0)
		for _, e := range p.extents() {
			bytes += e.Len
		}
		for _, e := range p.extents() {
			old := t.Config.RetentionMs >= 0 && m.time-e.CommitTime > t.Config.RetentionMs
			many := t.Config.RetentionBytes >= 0 && bytes-e.Len >= t.Config.RetentionBytes
			if !old && !many {
				break
			}
			bytes -= e.Len
			p.logStart = e.End()
		}
		m.partitions[tp] = p
	}
	m.collect()
	return Result{}
}

// collect notes which objects have become garbage.
func (m *model) collect() {
	live := m.live()
	for id := range m.objects {
		if _, freed := m.freedAt[id]; !freed && live[id] == 0 {
			m.freedAt[id] = m.time
		}
	}
}

func (m *model) commit(c CommitSegment) Result {
	node, ok := m.nodes[c.Node]
	switch {
	case !ok:
		return Result{Err: ErrUnknownNode}
	case node.Last != c.After:
		return Result{Err: &CommitOrderError{Last: node.Last}}
	case c.Object.ID.Time() < m.orphanFloor:
		return Result{Err: ErrOrphanFloor}
	case m.objects[c.Object.ID]:
		return Result{Err: ErrObjectExists}
	}
	var units []UnitResult
	for _, u := range c.Units {
		trial := &model{
			time: m.time, topics: m.topics, objects: m.objects, epochs: m.epochs, fences: m.fences,
			partitions: maps.Clone(m.partitions), producers: maps.Clone(m.producers),
		}
		var result UnitResult
		var remembered []LandedAppend
		keyed := u.Key != RequestKey{}
		if r, ok := m.requests[u.Key.ID]; keyed && ok && m.time-r.time <= RequestKeyExpiryMs {
			result.Replayed = r.request == u.Key.Request
			if !result.Replayed {
				result.Err = ErrKeyReused
			}
			units = append(units, result)
			continue
		}
		for _, a := range u.Appends {
			landed, err := trial.append(a, c.Object)
			if err != nil {
				result = UnitResult{Err: err}
				break
			}
			result.Appends = append(result.Appends, landed)
			remembered = append(remembered, LandedAppend{Partition: a.Partition.Partition, Records: a.Records, Base: landed.Base, MaxTimestamp: a.MaxTimestamp})
		}
		if keyed && result.Err == nil {
			m.requests[u.Key.ID] = modelRequest{request: u.Key.Request, time: m.time, landed: remembered}
		}
		if result.Err == nil {
			m.partitions, m.producers = trial.partitions, trial.producers
		}
		units = append(units, result)
	}
	if m.live()[c.Object.ID] > 0 {
		m.objects[c.Object.ID] = true
	}
	node.Last, node.ActiveAt = c.Upto, m.time
	m.nodes[c.Node] = node
	return Result{Units: units}
}

func (m *model) append(a Append, object NewObject) (AppendResult, error) {
	p, ok := m.partitions[a.Partition]
	if _, topic := m.topics[a.Partition.Topic]; !topic {
		return AppendResult{}, ErrTopicNotFound
	} else if !ok {
		return AppendResult{}, ErrPartitionNotFound
	}
	if a.Producer.ID >= 0 {
		if !m.knows(a.Producer.ID) {
			return AppendResult{}, ErrUnknownProducer
		}
		if a.Producer.Epoch < m.epochs[a.Producer.ID] {
			return AppendResult{}, ErrProducerFenced
		}
		sent := p.batches(a.Producer.ID)
		expected := int32(0)
		if n := len(sent); n > 0 {
			last := sent[n-1]
			if a.Producer.Epoch < last.producer.Epoch {
				return AppendResult{}, ErrProducerFenced
			}
			if a.Producer.Epoch == last.producer.Epoch {
				for _, b := range sent[max(0, n-5):] {
					if b.producer == a.Producer && b.Records == a.Records {
						return AppendResult{Base: b.base, Duplicate: true}, nil
					}
				}
				expected = last.producer.BaseSequence + last.Records
			}
		}
		if a.Producer.BaseSequence != expected {
			return AppendResult{}, &SequenceError{Expected: expected}
		}
		m.producers[a.Producer.ID] = m.time
	}
	end := p.end()
	if token := m.fences[a.Partition]; a.Token != "" && a.Token != token {
		return AppendResult{}, &FenceError{Token: token}
	}
	if a.Expected != AnyOffset && a.Expected != end {
		return AppendResult{}, &OffsetError{End: end}
	}
	p.appends = append(slices.Clone(p.appends), modelAppend{Append: a, object: object, base: end, time: m.time, producer: a.Producer})
	m.partitions[a.Partition] = p
	return AppendResult{Base: end}, nil
}

// agrees compares all that can be asked of a State with the model.
func (m *model) agrees(t *rapid.T, s *State) {
	live := m.live()
	for id := range m.objects {
		o, isLive := s.Object(id)
		g, isGarbage := s.GarbageObject(id)
		freedAt, freed := m.freedAt[id]
		if o.Extents != live[id] || isLive == freed || isGarbage != freed || g.FreedAt != freedAt {
			t.Fatalf("object %s: %+v %+v, want %d live extents, freed at %d", id, o, g, live[id], freedAt)
		}
	}
	extents := int64(0)
	for tp, want := range m.partitions {
		p := s.Partition(tp)
		if p == nil || p.LogStart() != want.logStart || p.End() != want.end() {
			t.Fatalf("partition %s is %+v, want [%d, %d)", tp, p, want.logStart, want.end())
		}
		all := want.extents()
		extents += int64(len(all))
		if got := p.Extents(p.LogStart(), math.MaxInt); !slices.Equal(got, all) {
			t.Fatalf("partition %s has %+v, want %+v", tp, got, all)
		}
		if len(all) == 0 {
			continue
		}
		ms := rapid.Int64Range(0, 1001).Draw(t, "time")
		at := slices.IndexFunc(all, func(e Extent) bool { return e.MaxTimestamp >= ms })
		if e, ok := p.ExtentAtTime(ms); ok != (at >= 0) || ok && e != all[at] {
			t.Fatalf("partition %s has time %d in %+v, want number %d of %+v", tp, ms, e, at, all)
		}
		offset := Offset(rapid.Int64Range(int64(want.logStart), int64(want.end())-1).Draw(t, "offset"))
		if got := p.Extents(offset, 1); len(got) != 1 || offset < got[0].Base || offset >= got[0].End() {
			t.Fatalf("partition %s has offset %d in %+v", tp, offset, got)
		}
	}
	counts := s.Counts()
	if counts.Topics != len(m.topics) || counts.Partitions != len(m.partitions) || counts.Nodes != len(m.nodes) ||
		counts.Objects != len(live) || counts.Garbage != len(m.freedAt) || counts.Extents != extents {
		t.Fatalf("counts are %+v", counts)
	}
	for tp := range m.partitions {
		if got := s.Fence(tp); got != m.fences[tp] {
			t.Fatalf("partition %s has the token %q, want %q", tp, got, m.fences[tp])
		}
	}
	for id, want := range m.requests {
		landed, known, err := s.Request(RequestKey{ID: id, Request: want.request})
		if wantKnown := m.time-want.time <= RequestKeyExpiryMs; err != nil || known != wantKnown || known && !slices.Equal(landed, want.landed) {
			t.Fatalf("request %x landed at %+v, %t, %v; want %+v, %t", id, landed, known, err, want.landed, wantKnown)
		}
	}
	for id := range m.topics {
		job, until, ok := s.CompactionJob(id)
		if want, leased := m.leases[id]; ok != leased || ok && (job != want.job || until != want.until) {
			t.Fatalf("topic %s is compacted by %s until %d, %t; want %+v", id, job, until, ok, want)
		}
	}
	for id, want := range m.nodes {
		if got, ok := s.Node(id); !ok || got != want {
			t.Fatalf("node %s is %+v, want %+v", id, got, want)
		}
	}
	for id, want := range m.topics {
		byID, _ := s.Topic(id)
		byName, _ := s.TopicByName(want.Name)
		if byID == nil || *byID != want || byName != byID {
			t.Fatalf("topic is %+v, by name %+v, want %+v", byID, byName, want)
		}
	}
}
