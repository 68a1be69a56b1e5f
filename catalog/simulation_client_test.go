package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// sentEdit is an edit whose answer will be judged.
type sentEdit struct {
	life     *life
	edit     catalog.Edit
	proposal *catalog.Proposal
}

// submit sends an edit, after those that were submitted before.
func (l *life) submit(e catalog.Edit) (*sentEdit, error) {
	w := l.member.cluster.witness
	w.send(e)
	p, err := l.Submit(e)
	if err != nil {
		w.neverMind(e)
		return nil, err
	}
	return &sentEdit{l, e, p}, nil
}

// wait judges the answer to an edit: what was acknowledged is in the journal with
// that result and in the node's own replica, and what was answered as not
// committed will never be there.
func (s *sentEdit) wait(ctx context.Context) (catalog.Result, error) {
	w, who := s.life.member.cluster.witness, s.life.member.address
	r, err := s.proposal.Wait(ctx)
	switch {
	case err == nil:
		w.tell(s.edit)
		landed, ok := w.find(s.edit, r)
		if !ok {
			w.tb.Errorf("false acknowledgement: %s answered %T with %+v", who, s.edit, r)
			return r, nil
		}
		if held := w.slotsOf(who, s.life.View()); held.last < landed.slot {
			w.tb.Errorf("%s acknowledged slot %d, and its replica is at %d", who, landed.slot, held.last)
		}
	case !errors.Is(err, catalog.ErrUnknownOutcome):
		w.neverMind(s.edit)
	}
	return r, err
}

func (l *life) propose(ctx context.Context, e catalog.Edit) (catalog.Result, error) {
	s, err := l.submit(e)
	if err != nil {
		return catalog.Result{}, err
	}
	return s.wait(ctx)
}

// confirm asks for a current view and judges it: it holds all that had landed
// before the question, and is not behind an earlier view of this node.
func (l *life) confirm(ctx context.Context) *catalog.State {
	w := l.member.cluster.witness
	newest := w.newest()
	floor := journal.Slot(l.floor.Load())
	view, err := l.Confirm(ctx)
	if err != nil {
		return nil
	}
	held := w.slotsOf(l.member.address, view)
	if held.last < newest {
		w.tb.Errorf("stale answer: %s confirmed a view of slot %d after slot %d had landed", l.member.address, held.last, newest)
	}
	l.sawAtLeast(floor, held)
	return view
}

// look takes the replica as it is, which may be behind, but never behind itself.
func (l *life) look() *catalog.State {
	floor := journal.Slot(l.floor.Load())
	view := l.View()
	l.sawAtLeast(floor, l.member.cluster.witness.slotsOf(l.member.address, view))
	return view
}

func (l *life) sawAtLeast(floor journal.Slot, held slotRange) {
	if held.last < floor {
		l.member.cluster.tb.Errorf("%s went back: a view of slot %d after one of slot %d", l.member.address, held.last, floor)
	}
	for {
		seen := l.floor.Load()
		if uint64(held.first) <= seen || l.floor.CompareAndSwap(seen, uint64(held.first)) {
			return
		}
	}
}

// client commits under one node id, mostly through one node, and asks.
type client struct {
	sim  *simulation
	rng  *rand.Rand
	home *member

	id    catalog.NodeID
	last  uint64          // number of its last commit
	own   []catalog.Topic // topics that it made; nobody else changes them
	names int
}

// run works until the schedule is over, and then settles what it has begun.
func (c *client) run() {
	c.id = uuid.New()
	for registered := false; !registered; {
		r, err := c.propose(catalog.RegisterNode{Node: c.id})
		registered = err == nil && r.Err == nil
		if c.late("register") {
			return
		}
	}
	for !c.sim.over() {
		c.act()
		if c.rng.IntN(4) == 0 {
			time.Sleep(time.Duration(c.rng.IntN(2000)) * time.Millisecond)
		}
	}
}

// late tells, and reports, that faults have ended too long ago for an edit to be
// still under way.
func (c *client) late(what string) bool {
	late := time.Now().After(c.sim.ends.Add(2 * recoveryMax))
	if late {
		c.sim.tb.Errorf("not live: cannot %s through %s %s after the last fault", what, c.home.address, 2*recoveryMax)
	}
	return late
}

func (c *client) act() {
	switch at := c.rng.IntN(20); {
	case at < 10:
		c.commit()
	case at < 14:
		c.ask()
	case at < 15:
		if l := c.anyNode().current(); l != nil {
			l.look()
		}
	case at < 16:
		c.createTopic()
	case at < 17:
		c.alterTopic()
	case at < 18:
		c.deleteTopic()
	case at < 19:
		c.trim()
	default:
		c.allocate()
	}
}

func (c *client) anyNode() *member { return c.sim.members[c.rng.IntN(len(c.sim.members))] }

// through returns the node for the next request: its own one if that is up. Nodes
// are down for seconds at most.
func (c *client) through() *life {
	for {
		m := c.home
		if c.rng.IntN(8) == 0 {
			m = c.anyNode()
		}
		if l := m.current(); l != nil {
			return l
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (c *client) propose(e catalog.Edit) (catalog.Result, error) {
	// Short enough to give up now and then while the edit is under way.
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(100+c.rng.IntN(6000))*time.Millisecond)
	defer cancel()
	l := c.through()
	r, err := l.propose(ctx, e)
	if err != nil && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond) // refused at once, as by a node that ends
	}
	return r, err
}

func (c *client) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	l := c.anyNode().current()
	if l == nil {
		return
	}
	if view := l.confirm(ctx); view != nil && c.rng.IntN(8) == 0 {
		c.sim.witness.checkWhole(l.member.address, view)
	}
}

// commit sends one commit until its fate is known, as a node does that replays
// its write-ahead buffer: under the same number, and uploaded anew.
func (c *client) commit() {
	edit := c.sim.commitOf(c.id, c.last, c.last+1+uint64(c.rng.IntN(3)), c.rng)
	for !c.commitOnce(edit) && !c.late("commit") {
		if c.rng.IntN(8) > 0 {
			edit.Object.ID = newObjectID()
		}
	}
	c.last = edit.Upto
}

func newObjectID() catalog.ObjectID { return ulid.Make() }

func (s *simulation) commitOf(id catalog.NodeID, after, upto uint64, rng *rand.Rand) catalog.CommitSegment {
	return catalog.CommitSegment{
		Node:   id,
		After:  after,
		Upto:   upto,
		Object: catalog.NewObject{ID: newObjectID(), Kind: catalog.SegmentObject, Size: 4096, IndexPos: 1024},
		Units: []catalog.Unit{{Appends: []catalog.Append{{
			Partition: catalog.TopicPartition{Topic: s.topic, Partition: int32(rng.IntN(simulatedPartitions))},
			Len:       1024, Records: int32(1 + rng.IntN(5)), Expected: catalog.AnyOffset, Producer: recordbatch.NoProducer,
		}}}},
	}
}

// commitOnce sends a commit and returns whether its fate is known.
func (c *client) commitOnce(edit catalog.CommitSegment) bool {
	if c.rng.IntN(10) == 0 {
		c.twin(edit)
	}
	r, err := c.propose(edit)
	if err != nil {
		return false // nor does ErrNotCommitted say what became of earlier attempts
	}
	c.sim.judge(edit, r)
	return true
}

// judge expects that a commit came out as it should: it is there, by this
// attempt or an earlier one.
func (s *simulation) judge(edit catalog.CommitSegment, r catalog.Result) {
	key := commitKey{edit.Node, edit.Upto}
	var order *catalog.CommitOrderError
	switch {
	case r.Err == nil && r.Units[0].Err == nil:
	case errors.As(r.Err, &order) && order.Last >= edit.Upto:
		if _, ok := s.witness.commit(key); !ok {
			s.tb.Errorf("commit %d of %s is answered as committed before, and is not there", key.upto, key.node)
		}
	default:
		s.tb.Errorf("commit %d of %s: %v, %+v", key.upto, key.node, r.Err, r.Units)
	}
}

// twin sends the same commit through some node at the same time, under another
// object, as the replay of a copied data directory does.
func (c *client) twin(edit catalog.CommitSegment) {
	l := c.anyNode().current()
	if l == nil {
		return
	}
	edit.Object.ID = newObjectID()
	c.sim.clients.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_, _ = l.propose(ctx, edit)
	})
}

func (c *client) createTopic() {
	c.names++
	topic := catalog.Topic{ID: uuid.New(), Name: fmt.Sprintf("own-%s-%d", c.id, c.names), Partitions: 1, Config: catalog.DefaultTopicConfig()}
	r, err := c.propose(catalog.CreateTopic{ID: topic.ID, Name: topic.Name, Partitions: 1, Config: topic.Config})
	if err == nil && r.Err == nil {
		c.own = append(c.own, topic)
	}
}

func (c *client) alterTopic() {
	if len(c.own) == 0 {
		return
	}
	topic := &c.own[c.rng.IntN(len(c.own))]
	c.names++
	topic.Config.RetentionMs = 1_000_000 + int64(c.names)
	if r, err := c.propose(catalog.AlterTopic{ID: topic.ID, Config: topic.Config}); err == nil && r.Err != nil {
		c.sim.tb.Errorf("alter %s: %v", topic.Name, r.Err)
	}
}

func (c *client) deleteTopic() {
	if len(c.own) == 0 {
		return
	}
	topic := c.own[0]
	c.own = c.own[1:]
	remove := catalog.DeleteTopic{ID: topic.ID}
	if r, err := c.propose(remove); err == nil && r.Err != nil {
		// Sent again to another leader, it may find the topic gone.
		if _, ok := c.sim.witness.find(remove, catalog.Result{}); !ok {
			c.sim.tb.Errorf("delete %s: %v", topic.Name, r.Err)
		}
	}
}

func (c *client) trim() {
	tp := catalog.TopicPartition{Topic: c.sim.topic, Partition: int32(c.rng.IntN(simulatedPartitions))}
	end := c.sim.witness.end(tp)
	if end == 0 {
		return
	}
	before := catalog.Offset(c.rng.Int64N(int64(end)))
	if r, err := c.propose(catalog.Trim{Partition: tp, Before: before}); err == nil && (r.Err != nil || r.LogStart < before) {
		c.sim.tb.Errorf("trim to %d: %+v", before, r)
	}
}

func (c *client) allocate() {
	r, err := c.propose(catalog.AllocateProducerID{})
	if err != nil {
		return
	}
	if _, twice := c.sim.producers.LoadOrStore(r.Producer, c.id); twice {
		c.sim.tb.Errorf("twice: producer id %d was given out again", r.Producer)
	}
}
