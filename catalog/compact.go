package catalog

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"github.com/wadilog/wadi/internal/mutant"
)

// ExtentsDigest tells one run of extents from another.
type ExtentsDigest [16]byte

// DigestExtents returns the digest of extents that follow each other.
func DigestExtents(extents []Extent) ExtentsDigest {
	h := sha256.New()
	var b [len(ObjectID{}) + 7*8]byte
	for i := range extents {
		e := &extents[i]
		n := copy(b[:], e.Object[:])
		for _, v := range [...]uint64{
			uint64(e.Pos), uint64(e.Len), uint64(e.Base), uint64(e.Records), uint64(e.CRC), uint64(e.MaxTimestamp), uint64(e.CommitTime),
		} {
			binary.BigEndian.PutUint64(b[n:], v)
			n += 8
		}
		h.Write(b[:])
	}
	return ExtentsDigest(h.Sum(nil)[:len(ExtentsDigest{})])
}

// compact takes time in proportion to the extents that it replaces and to the
// chunks of the partitions.
func (s *State) compact(e *Compact) Result {
	if err := s.checkCompact(e); err != nil {
		return Result{Err: err}
	}
	dropped := freedExtents{}
	units := make([]UnitResult, len(e.Partitions))
	landed := int64(0)
	for i := range e.Partitions {
		var n int
		n, units[i].Err = s.compactPartition(e, &e.Partitions[i], dropped)
		landed += int64(n)
	}
	if landed > 0 {
		s.objects.Set(Object{NewObject: e.Object, Extents: landed})
		s.extents += landed
		s.free(dropped)
	}
	return Result{Units: units}
}

// checkCompact tells whether the edit as a whole makes sense. A repeat of one that
// had an effect finds its object in the catalog, and one whose object is gone again
// finds no extents that match.
func (s *State) checkCompact(e *Compact) error {
	if err := s.checkNewObject(&e.Object); err != nil {
		return err
	}
	if len(e.Partitions) == 0 {
		return invalid(InvalidCompaction)
	}
	replaced := 0
	for i := range e.Partitions {
		p := &e.Partitions[i]
		if i > 0 && p.Partition <= e.Partitions[i-1].Partition || p.Base < 0 || len(p.Extents) == 0 {
			return invalid(InvalidCompaction)
		}
		for j := range p.Extents {
			x := &p.Extents[j]
			switch {
			case x.Records < 1, x.Len < 1, x.Pos < 0, x.Len > int64(e.Object.IndexPos), int64(x.Pos) > int64(e.Object.IndexPos)-x.Len:
				return invalid(InvalidCompaction)
			case x.Replaces < 1, int64(x.Replaces) > CompactExtentsMax, x.Len > ExtentCRCLenMax && x.CRC != e.Object.IndexCRC:
				return invalid(InvalidCompaction)
			}
			if replaced += int(x.Replaces); replaced > CompactExtentsMax {
				return invalid(InvalidCompaction)
			}
		}
	}
	if _, ok := s.Topic(e.Topic); !ok {
		return ErrTopicNotFound
	}
	if c, ok := s.compactions.Get(compactionByTopic{topic: e.Topic}); !ok || c.job != e.Job {
		return ErrCompactionClaimed
	}
	return nil
}

// compactPartition puts the new extents in the place of the old ones, if these are
// what the job read, and returns how many there are.
func (s *State) compactPartition(e *Compact, c *CompactedPartition, dropped freedExtents) (int, error) {
	tp := TopicPartition{Topic: e.Topic, Partition: c.Partition}
	p := s.Partition(tp)
	if p == nil {
		return 0, s.missing(tp)
	}
	count := 0
	for i := range c.Extents {
		count += int(c.Extents[i].Replaces)
	}
	old := p.extents.from(c.Base, count)
	if len(old) != count || !mutant.On(mutant.SkipCompactCheck) && DigestExtents(old) != c.Replaced {
		return 0, ErrExtentsChanged
	}
	made := make([]Extent, len(c.Extents))
	rest := old
	for i := range c.Extents {
		x := &c.Extents[i]
		var err error
		if made[i], err = joined(rest[:x.Replaces], x); err != nil {
			return 0, err
		}
		made[i].Object = e.Object.ID
		rest = rest[x.Replaces:]
	}
	for i := range old {
		dropped.add(&old[i])
	}
	compacted := *p
	compacted.extents = p.extents.replace(old[0].Base, old[len(old)-1].End(), made)
	s.setPartition(tp, &compacted)
	return len(made), nil
}

// joined returns the extent that x makes of old ones. It counts as committed when
// the newest of them was, so that no record is dropped before its time.
func joined(old []Extent, x *CompactedExtent) (Extent, error) {
	made := Extent{
		Pos: x.Pos, Len: x.Len, CRC: x.CRC, Records: x.Records,
		Base: old[0].Base, MaxTimestamp: math.MinInt64, CommitTime: math.MinInt64,
	}
	length, records := int64(0), int64(0)
	for i := range old {
		length += old[i].Len
		records += int64(old[i].Records)
		made.MaxTimestamp = max(made.MaxTimestamp, old[i].MaxTimestamp)
		made.CommitTime = max(made.CommitTime, old[i].CommitTime)
	}
	if length != x.Len || records != int64(x.Records) {
		return Extent{}, invalid(InvalidCompaction)
	}
	return made, nil
}

// checkTouchedByCompact checks the new extents and what stands beside them.
func (s *State) checkTouchedByCompact(e *Compact) error {
	found := int64(0)
	for i := range e.Partitions {
		c := &e.Partitions[i]
		tp := TopicPartition{Topic: e.Topic, Partition: c.Partition}
		p := s.Partition(tp)
		if p == nil {
			continue
		}
		if err := checkPartitionEnds(tp, p); err != nil {
			return err
		}
		around := p.extents.from(c.Base, len(c.Extents)+1)
		for j := range around {
			if around[j].Object == e.Object.ID {
				found++
			}
			if j > 0 && around[j].Base != around[j-1].End() {
				return broken("partition %s has the extent [%d, %d) after %d", tp, around[j].Base, around[j].End(), around[j-1].End())
			}
		}
	}
	// A refused edit may name an object that is in the catalog through another.
	if o, _ := s.Object(e.Object.ID); found > o.Extents {
		return broken("object %s counts %d live extents, %d are there", e.Object.ID, o.Extents, found)
	}
	return nil
}

// checkCompactStep checks that a Compact left bounds and bytes as they were.
func checkCompactStep(before, after *State, e *Compact) error {
	for i := range e.Partitions {
		tp := TopicPartition{Topic: e.Topic, Partition: e.Partitions[i].Partition}
		old, now := before.Partition(tp), after.Partition(tp)
		switch {
		case old == now:
		case old == nil || now == nil:
			return broken("partition %s came or went", tp)
		case now.end != old.end || now.logStart != old.logStart || now.bytes != old.bytes:
			return broken("partition %s went from [%d, %d) of %d bytes to [%d, %d) of %d", tp, old.logStart, old.end, old.bytes, now.logStart, now.end, now.bytes)
		}
	}
	return nil
}
