package catalog

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/tidwall/btree"
)

// State is the catalog: what the journal's edits have made of it. A State has
// one owner that applies edits; its Clones are immutable views that any number
// of goroutines may read. A Clone may itself be given an owner that applies
// edits to it; neither changes the other.
type State struct {
	// cloning serializes Clone, which marks the trees of its receiver as shared.
	// Readers do not look at the mark, and the owner is the only one to change
	// a tree.
	cloning sync.Mutex

	clusterID    [16]byte
	level        uint32
	time         int64  // ms of journal time
	orphanFloor  uint64 // ms; objects with an older ULID are not committed any more
	nextProducer int64
	extents      int64 // of all partitions
	capacity     capacity

	// justAdded is the object of the edit applied last, if that was a commit
	// and not refused; CheckTouched asks. It is no part of the catalog.
	justAdded ObjectID

	topics     *btree.BTreeG[topicByID]
	names      *btree.BTreeG[topicByName]
	partitions *btree.BTreeG[partitionByID]
	nodes      *btree.BTreeG[nodeByID]
	objects    *btree.BTreeG[Object] // with live extents, by id
	garbage    *garbageTable

	fences      *fenceTable
	compactions *btree.BTreeG[compactionByTopic]

	producers *producerTable
	requests  *requestTable
	groups    *groupTable
}

// The items of the trees, each with its key.
type (
	topicByID struct {
		id    TopicID
		topic *Topic
	}
	topicByName struct {
		name  string
		topic *Topic
	}
	partitionByID struct {
		id        TopicPartition
		partition *Partition
	}
	nodeByID struct {
		id   NodeID
		node Node
	}
)

// Object is an object that holds records.
type Object struct {
	NewObject
	Extents int64 // live ones
}

// Garbage is an object whose last live extent is gone.
type Garbage struct {
	NewObject
	FreedAt int64 // ms of journal time
}

// Node is one life of an ingest node.
type Node struct {
	Last     uint64 // number of its last committed batch
	HasWAL   bool
	ActiveAt int64 // ms of journal time: when it last registered or committed
}

// newTree returns a tree whose single owner needs no lock.
func newTree[T any](less func(a, b T) bool) *btree.BTreeG[T] {
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

// NewState returns the catalog of an empty journal.
func NewState(clusterID [16]byte) *State {
	return &State{
		clusterID:    clusterID,
		level:        firstLevel,
		nextProducer: 1,
		capacity:     defaultCapacity(),
		topics: newTree(func(a, b topicByID) bool {
			return bytes.Compare(a.id[:], b.id[:]) < 0
		}),
		names: newTree(func(a, b topicByName) bool { return a.name < b.name }),
		partitions: newTree(func(a, b partitionByID) bool {
			return a.id.compare(b.id) < 0
		}),
		nodes: newTree(func(a, b nodeByID) bool {
			return bytes.Compare(a.id[:], b.id[:]) < 0
		}),
		objects: newTree(func(a, b Object) bool { return a.ID.Compare(b.ID) < 0 }),
		garbage: newGarbageTable(),
		fences:  newFenceTable(),
		compactions: newTree(func(a, b compactionByTopic) bool {
			return bytes.Compare(a.topic[:], b.topic[:]) < 0
		}),
		producers: newProducerTable(),
		requests:  newRequestTable(),
		groups:    newGroupTable(),
	}
}

// Clone returns an immutable view in O(1). It may be called on any State, also
// while others read or clone it, but not while its owner applies an edit to it.
func (s *State) Clone() *State {
	s.cloning.Lock()
	defer s.cloning.Unlock()
	return &State{
		clusterID:    s.clusterID,
		level:        s.level,
		time:         s.time,
		orphanFloor:  s.orphanFloor,
		nextProducer: s.nextProducer,
		extents:      s.extents,
		capacity:     s.capacity,
		justAdded:    s.justAdded,
		topics:       s.topics.Copy(),
		names:        s.names.Copy(),
		partitions:   s.partitions.Copy(),
		nodes:        s.nodes.Copy(),
		objects:      s.objects.Copy(),
		garbage:      s.garbage.clone(),
		fences:       s.fences.Copy(),
		compactions:  s.compactions.Copy(),
		producers:    s.producers.clone(),
		requests:     s.requests.clone(),
		groups:       s.groups.clone(),
	}
}

// Advance moves the journal's time to ms, if that is later.
func (s *State) Advance(ms int64) { s.time = max(s.time, ms) }

// Apply carries out one edit. It is deterministic: no I/O, no clock, no random.
// A refused edit changes nothing.
func Apply(s *State, e Edit) Result {
	s.justAdded = ObjectID{}
	switch e := e.(type) {
	case CreateTopic:
		return s.createTopic(&e)
	case AlterTopic:
		return Result{Err: s.alterTopic(&e)}
	case DeleteTopic:
		return Result{Err: s.deleteTopic(e.ID)}
	case RegisterNode:
		return Result{Err: s.registerNode(&e)}
	case RemoveNode:
		s.nodes.Delete(nodeByID{id: e.Node})
		return Result{}
	case KeepNode:
		return Result{Err: s.keepNode(&e)}
	case AllocateProducerID:
		return s.allocateProducer()
	case RaiseEpoch:
		return s.raiseEpoch(e.Producer)
	case SetFence:
		return s.setFence(&e)
	case Trim:
		return s.trim(&e)
	case Expire:
		return s.expire()
	case CommitSegment:
		return s.commitSegment(&e)
	case RaiseLevel:
		return s.raiseLevel(&e)
	case JoinGroup:
		return s.joinGroup(&e)
	case SyncMember:
		return Result{Err: s.syncMember(&e)}
	case KeepMember:
		return Result{Err: s.keepMember(&e)}
	case RemoveMember:
		return Result{Err: s.removeMember(&e)}
	case CommitOffsets:
		return Result{Err: s.commitOffsets(&e)}
	case DeleteGroup:
		return Result{Err: s.deleteGroup(e.Group)}
	case Retain:
		return s.retain(e.Topic)
	case DropGarbage:
		return s.dropGarbage(&e)
	case RaiseOrphanFloor:
		return s.raiseOrphanFloor(&e)
	case ClaimCompaction:
		return s.claimCompaction(&e)
	case Compact:
		return s.compact(&e)
	case Forwarded:
		return Result{}
	default:
		panic(fmt.Sprintf("catalog: edit of type %T", e))
	}
}

func (s *State) registerNode(e *RegisterNode) error {
	if _, ok := s.Node(e.Node); ok {
		return nil
	}
	if s.nodes.Len() >= s.capacity.nodes {
		return ErrCatalogFull
	}
	s.setNode(e.Node, Node{HasWAL: e.HasWAL, ActiveAt: s.time})
	return nil
}

func (s *State) keepNode(e *KeepNode) error {
	n, ok := s.Node(e.Node)
	if !ok {
		return ErrUnknownNode
	}
	n.HasWAL, n.ActiveAt = e.HasWAL, s.time
	s.setNode(e.Node, n)
	return nil
}

func (s *State) expire() Result {
	left, moreRequests := s.requests.expire(s.time, s.capacity.expirySteps)
	moreProducers := s.producers.expire(s.time, left)
	moreNodes := s.expireNodes(s.capacity.expirySteps)
	return Result{More: moreRequests || moreProducers || moreNodes}
}

// expireNodes removes the ids of nodes without a write-ahead buffer, or with one
// that was replayed, that have been silent for long. Those that have a buffer stay,
// since it may be replayed at any time.
func (s *State) expireNodes(steps int) (more bool) {
	var gone []nodeByID
	s.nodes.Scan(func(n nodeByID) bool {
		if !n.node.HasWAL && s.time-n.node.ActiveAt > NodeExpiryMs {
			if more = len(gone) == steps; more {
				return false
			}
			gone = append(gone, n)
		}
		return true
	})
	for _, n := range gone {
		s.nodes.Delete(n)
	}
	return more
}

func (s *State) setNode(id NodeID, n Node) { s.nodes.Set(nodeByID{id: id, node: n}) }

func (s *State) setPartition(tp TopicPartition, p *Partition) {
	s.partitions.Set(partitionByID{id: tp, partition: p})
}

// ClusterID is what slot 0 holds.
func (s *State) ClusterID() [16]byte { return s.clusterID }

// Time is the journal's time in ms.
func (s *State) Time() int64 { return s.time }

// Level is the catalog's feature level.
func (s *State) Level() uint32 { return s.level }

// OrphanFloor is the ULID time in ms below which no object is committed any more.
func (s *State) OrphanFloor() uint64 { return s.orphanFloor }

// Topic returns a topic by id.
func (s *State) Topic(id TopicID) (*Topic, bool) {
	found, ok := s.topics.Get(topicByID{id: id})
	return found.topic, ok
}

// TopicByName returns a topic by name.
func (s *State) TopicByName(name string) (*Topic, bool) {
	found, ok := s.names.Get(topicByName{name: name})
	return found.topic, ok
}

// Topics returns up to limit topics whose names begin with prefix and sort
// after after, by name.
func (s *State) Topics(prefix, after string, limit int) []*Topic {
	var found []*Topic
	s.names.Ascend(topicByName{name: max(prefix, after)}, func(t topicByName) bool {
		switch {
		case len(found) >= limit:
			return false
		case t.name <= after && after != "":
			return true
		case !strings.HasPrefix(t.name, prefix):
			return t.name < prefix
		}
		found = append(found, t.topic)
		return true
	})
	return found
}

// Partition returns a partition, nil if there is none.
func (s *State) Partition(tp TopicPartition) *Partition {
	found, _ := s.partitions.Get(partitionByID{id: tp})
	return found.partition
}

// Object returns an object that has live extents.
func (s *State) Object(id ObjectID) (Object, bool) {
	return s.objects.Get(objectKey(id))
}

// GarbageObject returns an object that had live extents and has none any more.
func (s *State) GarbageObject(id ObjectID) (Garbage, bool) {
	return s.garbage.byID.Get(garbageKey(id))
}

func objectKey(id ObjectID) Object { return Object{NewObject: NewObject{ID: id}} }

// Node returns an ingest node's last number.
func (s *State) Node(id NodeID) (Node, bool) {
	found, ok := s.nodes.Get(nodeByID{id: id})
	return found.node, ok
}

// Counts are the sizes of a catalog.
type Counts struct {
	Topics, Partitions, Nodes, Objects, Garbage int
	Producers, ProducerPartitions               int
	Extents                                     int64
	RequestKeys, RequestKeyAppends, Fences      int
	Groups, Members, CommittedOffsets           int
}

// Counts returns how much the catalog holds, in O(1).
func (s *State) Counts() Counts {
	return Counts{
		Topics:             s.topics.Len(),
		Partitions:         s.partitions.Len(),
		Nodes:              s.nodes.Len(),
		Objects:            s.objects.Len(),
		Garbage:            s.garbage.byID.Len(),
		Producers:          s.producers.byID.Len(),
		ProducerPartitions: s.producers.sequences.Len(),
		Extents:            s.extents,
		RequestKeys:        s.requests.byKey.Len(),
		RequestKeyAppends:  s.requests.appends,
		Fences:             s.fences.Len(),
		Groups:             s.groups.byName.Len(),
		Members:            s.groups.members,
		CommittedOffsets:   s.groups.offsets.byGroup.Len(),
	}
}

// freedExtents counts extents that were dropped, by object.
type freedExtents map[ObjectID]int64

func (f freedExtents) add(e *Extent) { f[e.Object]++ }

// free takes dropped extents off their objects. One that has none left becomes
// garbage as of the journal's time.
func (s *State) free(dropped freedExtents) {
	for id, n := range dropped {
		o, ok := s.objects.Get(objectKey(id))
		if !ok || o.Extents < n {
			panic(fmt.Sprintf("catalog: object %s has %d live extents, %d of them dropped", id, o.Extents, n))
		}
		s.extents -= n
		if o.Extents -= n; o.Extents > 0 {
			s.objects.Set(o)
			continue
		}
		s.objects.Delete(o)
		s.garbage.add(Garbage{NewObject: o.NewObject, FreedAt: s.time})
	}
}
