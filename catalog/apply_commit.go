package catalog

import (
	"math"

	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

func (s *State) commitSegment(c *CommitSegment) Result {
	node, ok := s.Node(c.Node)
	if !ok {
		return Result{Err: ErrUnknownNode}
	}
	// First of all, so that a repeat is told as one whatever else changed.
	if !mutant.On(mutant.SkipCommitOrderCheck) && node.Last != c.After {
		return Result{Err: &CommitOrderError{Last: node.Last}}
	}
	if err := s.checkCommit(c); err != nil {
		return Result{Err: err}
	}
	s.makeRoomForKeys(c)
	staged := newStagedCommit(s, c)
	units := make([]UnitResult, len(c.Units))
	for i := range c.Units {
		units[i] = staged.takeKeyed(&c.Units[i])
	}
	staged.land()
	node.Last, node.ActiveAt = c.Upto, s.time
	s.setNode(c.Node, node)
	s.justAdded = c.Object.ID
	return Result{Units: units}
}

// checkCommit tells whether the commit as a whole makes sense.
func (s *State) checkCommit(c *CommitSegment) error {
	if c.Upto <= c.After {
		return invalid(InvalidNumbers)
	}
	if err := s.checkNewObject(&c.Object); err != nil {
		return err
	}
	for i := range c.Units {
		for j := range c.Units[i].Appends {
			if err := checkAppend(&c.Units[i].Appends[j], c.Object.Size); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkNewObject tells whether an object may come into the catalog.
func (s *State) checkNewObject(o *NewObject) error {
	switch {
	case o.ID.Time() < s.orphanFloor && !mutant.On(mutant.SkipOrphanFloor):
		return ErrOrphanFloor
	case o.Kind != SegmentObject, o.Size < 0, o.IndexPos < 0, int64(o.IndexPos) > o.Size:
		return invalid(InvalidObject)
	case s.Known(o.ID): // garbage may be deleted at any moment
		return ErrObjectExists
	}
	return nil
}

func checkAppend(a *Append, objectSize int64) error {
	switch {
	case a.Records < 1, a.Len < 1, a.Pos < 0, a.Len > objectSize, int64(a.Pos) > objectSize-a.Len:
		return invalid(InvalidAppend)
	case a.Expected < AnyOffset:
		return invalid(InvalidOffset)
	case a.Token != "" && !ValidToken(a.Token):
		return invalid(InvalidToken)
	case a.Producer.ID == recordbatch.NoProducer.ID:
		return nil
	case a.Producer.ID < 0, a.Producer.Epoch < 0, a.Producer.BaseSequence < 0:
		return invalid(InvalidProducer)
	}
	return nil
}

// stagedCommit is what a commit makes of the state, aside from it. Of each
// partition and producer it holds two values: as left by the units accepted so
// far, and as left by the unit being judged as well.
type stagedCommit struct {
	state     *State
	object    *NewObject
	bases     []AppendResult // room for the results of all appends
	extents   int64          // new ones
	index     map[TopicPartition]int
	parts     []stagedPartition
	sequences map[sequenceID]*stagedSequence
	producers map[int64]producer // those that are known

	requests       map[[16]byte]*keyedRequest // accepted under a key
	requestAppends int                        // of these

	// Of the unit being judged: for each append its partition (an index of
	// parts), and its producer's sequence unless it has none or is a duplicate.
	unitParts     []int
	unitSequences []*stagedSequence
}

type stagedPartition struct {
	id  TopicPartition
	old *Partition // nil if there is none

	end     Offset // as left by the units accepted
	judged  Offset // and by the unit being judged
	extents extentList
	bytes   int64
	open    Extent // the last new extent, which may still grow; Records is 0 if there is none
}

type stagedSequence struct {
	id       sequenceID
	landed   producerSequence
	judged   producerSequence
	accepted bool // landed differs from what the state holds
}

func newStagedCommit(s *State, c *CommitSegment) *stagedCommit {
	appends := 0
	for i := range c.Units {
		appends += len(c.Units[i].Appends)
	}
	return &stagedCommit{
		state:  s,
		object: &c.Object,
		bases:  make([]AppendResult, 0, appends),
		index:  map[TopicPartition]int{},
		parts:  make([]stagedPartition, 0, min(appends, 16)),
	}
}

// takeKeyed is take for a unit that may have a key: if one of that key is
// remembered, nothing lands.
func (c *stagedCommit) takeKeyed(u *Unit) UnitResult {
	if u.Key.isNone() {
		return c.take(u.Appends)
	}
	known := c.requests[u.Key.ID]
	if known == nil && !mutant.On(mutant.SkipKeyCheck) {
		known = c.state.requests.known(u.Key.ID, c.state.time)
	}
	switch {
	case known != nil && known.request != u.Key.Request:
		return UnitResult{Err: ErrKeyReused}
	case known != nil:
		return UnitResult{Replayed: true}
	case c.state.requests.full(len(c.requests), c.requestAppends+len(u.Appends), &c.state.capacity):
		return UnitResult{Err: ErrTooManyKeys}
	}
	result := c.take(u.Appends)
	if result.Err != nil {
		return result // nothing landed, and nothing is remembered
	}
	landed := make([]LandedAppend, len(u.Appends))
	for i := range u.Appends {
		a := &u.Appends[i]
		landed[i] = LandedAppend{Partition: a.Partition.Partition, Records: a.Records, Base: result.Appends[i].Base, MaxTimestamp: a.MaxTimestamp}
	}
	if c.requests == nil {
		c.requests = map[[16]byte]*keyedRequest{}
	}
	c.requests[u.Key.ID] = &keyedRequest{request: u.Key.Request, time: c.state.time, landed: landed}
	c.requestAppends += len(landed)
	return result
}

// take judges a unit, and lets it land if all of it can.
func (c *stagedCommit) take(appends []Append) UnitResult {
	from := len(c.bases)
	c.unitParts, c.unitSequences = c.unitParts[:0], c.unitSequences[:0]
	for i := range appends {
		result, err := c.judge(&appends[i])
		if err != nil {
			c.bases = c.bases[:from]
			c.reject()
			return UnitResult{Err: err}
		}
		c.bases = append(c.bases, result)
	}
	results := c.bases[from:len(c.bases):len(c.bases)]
	c.accept(appends, results)
	return UnitResult{Appends: results}
}

// partition returns the index of a partition in parts.
func (c *stagedCommit) partition(id TopicPartition) int {
	if n := len(c.parts); n > 0 && c.parts[n-1].id == id {
		return n - 1 // segments are grouped by partition
	}
	i, ok := c.index[id]
	if !ok {
		i = len(c.parts)
		c.index[id] = i
		p := stagedPartition{id: id, old: c.state.Partition(id)}
		if p.old != nil {
			p.end, p.judged, p.extents = p.old.end, p.old.end, p.old.extents
		}
		c.parts = append(c.parts, p)
	}
	return i
}

// judge tells where an append lands if its unit does.
func (c *stagedCommit) judge(a *Append) (AppendResult, error) {
	at := c.partition(a.Partition)
	p := &c.parts[at]
	if p.old == nil {
		return AppendResult{}, c.state.missing(a.Partition)
	}
	var q *stagedSequence
	if a.Producer.ID != recordbatch.NoProducer.ID {
		var err error
		if q, err = c.sequence(a); err != nil {
			return AppendResult{}, err
		}
		if a.Producer.Epoch < c.producers[a.Producer.ID].epoch {
			return AppendResult{}, ErrProducerFenced
		}
		base, duplicate, err := q.judged.judge(a.Producer, a.Records)
		if err != nil {
			return AppendResult{}, err
		}
		if duplicate {
			// It landed once, whatever its condition says now.
			c.unitParts = append(c.unitParts, at)
			c.unitSequences = append(c.unitSequences, nil)
			return AppendResult{Base: base, Duplicate: true}, nil
		}
	}
	switch {
	case a.Token != "" && a.Token != c.state.Fence(a.Partition) && !mutant.On(mutant.SkipFenceCheck):
		return AppendResult{}, &FenceError{Token: c.state.Fence(a.Partition)}
	case a.Expected != AnyOffset && a.Expected != p.judged && !mutant.On(mutant.SkipExpectedOffset):
		return AppendResult{}, &OffsetError{End: p.judged}
	case p.judged > math.MaxInt64-Offset(a.Records):
		return AppendResult{}, invalid(InvalidOffset)
	case c.state.extents+c.extents+int64(len(c.unitParts)) >= c.state.capacity.extents:
		return AppendResult{}, ErrCatalogFull
	}
	base := p.judged
	p.judged += Offset(a.Records)
	if q != nil {
		q.judged.add(a.Producer, a.Records, base)
	}
	c.unitParts = append(c.unitParts, at)
	c.unitSequences = append(c.unitSequences, q)
	return AppendResult{Base: base}, nil
}

// sequence returns what the append's producer sent to its partition so far.
func (c *stagedCommit) sequence(a *Append) (*stagedSequence, error) {
	id := sequenceID{producer: a.Producer.ID, partition: a.Partition}
	if q, ok := c.sequences[id]; ok {
		return q, nil
	}
	table := c.state.producers
	if _, ok := c.producers[id.producer]; !ok {
		p, ok := table.known(id.producer, c.state.time)
		if !ok {
			return nil, ErrUnknownProducer
		}
		if c.producers == nil {
			c.producers = map[int64]producer{}
			c.sequences = map[sequenceID]*stagedSequence{}
		}
		c.producers[id.producer] = p
	}
	q := &stagedSequence{id: id}
	if known := table.sequence(id); known != nil {
		q.landed, q.judged = *known, *known
	} else if table.sequences.Len()+len(c.sequences) >= c.state.capacity.producerPartitions {
		// Counts those in c.sequences that are not new as well: a few too many
		// at the very limit are no harm.
		return nil, ErrCatalogFull
	}
	c.sequences[id] = q
	return q, nil
}

// reject takes back what the unit being judged changed.
func (c *stagedCommit) reject() {
	for _, at := range c.unitParts {
		c.parts[at].judged = c.parts[at].end
	}
	for _, q := range c.unitSequences {
		if q != nil {
			q.judged = q.landed
		}
	}
}

// accept lets the unit that was judged land.
func (c *stagedCommit) accept(appends []Append, results []AppendResult) {
	for i := range appends {
		if results[i].Duplicate {
			continue
		}
		p := &c.parts[c.unitParts[i]]
		p.end = p.judged
		c.extend(p, &appends[i], results[i].Base)
		if q := c.unitSequences[i]; q != nil {
			q.landed, q.accepted = q.judged, true
		}
	}
}

// extend adds an append's bytes to a partition: to the extent before if they
// continue it, else as a new one.
func (c *stagedCommit) extend(p *stagedPartition, a *Append, base Offset) {
	p.bytes += a.Len
	e := &p.open
	length := e.Len + a.Len
	if e.Records > 0 && e.Pos+Pos(e.Len) == a.Pos && e.Records <= math.MaxInt32-a.Records {
		if length <= ExtentCRCLenMax {
			e.CRC = segment.CombineCRC(e.CRC, a.CRC, a.Len)
		} else {
			e.CRC = c.object.IndexCRC
		}
		e.Len = length
		e.Records += a.Records
		e.MaxTimestamp = max(e.MaxTimestamp, a.MaxTimestamp)
		return
	}
	if e.Records > 0 {
		p.extents = p.extents.append(*e)
	}
	c.extents++
	*e = Extent{
		Object:       c.object.ID,
		Pos:          a.Pos,
		Len:          a.Len,
		CRC:          a.CRC,
		Base:         base,
		Records:      a.Records,
		MaxTimestamp: a.MaxTimestamp,
		CommitTime:   c.state.time,
	}
	if a.Len > ExtentCRCLenMax {
		e.CRC = c.object.IndexCRC
	}
}

// land puts what was accepted into the state.
func (c *stagedCommit) land() {
	s := c.state
	for i := range c.parts {
		p := &c.parts[i]
		if p.open.Records == 0 {
			continue
		}
		s.setPartition(p.id, &Partition{
			logStart: p.old.logStart,
			end:      p.end,
			bytes:    p.old.bytes + p.bytes,
			extents:  p.extents.append(p.open),
		})
	}
	if c.extents > 0 {
		s.objects.Set(Object{NewObject: *c.object, Extents: c.extents})
		s.extents += c.extents
	}
	for id, q := range c.sequences {
		if q.accepted {
			landed := q.landed
			s.producers.setSequence(id, &landed)
			s.producers.touch(id.producer, s.time)
		}
	}
	for id, r := range c.requests {
		s.requests.add(id, r)
	}
}
