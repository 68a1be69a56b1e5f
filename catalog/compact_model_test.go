package catalog

import (
	"maps"
	"math"
	"slices"

	"pgregory.net/rapid"
)

type modelLease struct {
	job   JobID
	until int64
}

// modelCompaction is extents that took the place of others.
type modelCompaction struct{ extents []Extent }

func (c modelCompaction) replaceIn(all []Extent) (replaced []Extent) {
	from, to := c.extents[0].Base, c.extents[len(c.extents)-1].End()
	for _, e := range all {
		switch {
		case e.Base < from || e.Base >= to:
			replaced = append(replaced, e)
		case e.Base == from:
			replaced = append(replaced, c.extents...)
		}
	}
	return replaced
}

func (m *model) claimCompaction(e ClaimCompaction) Result {
	if _, ok := m.topics[e.Topic]; !ok {
		return Result{Err: ErrTopicNotFound}
	}
	held, ok := m.leases[e.Topic]
	switch mine := ok && held.job == e.Job; {
	case mine && e.ForMs == 0:
		delete(m.leases, e.Topic)
		return Result{}
	case !ok && e.ForMs == 0:
		return Result{}
	case mine || !ok || e.ForMs > 0 && held.until < m.time:
		m.leases[e.Topic] = modelLease{job: e.Job, until: m.time + e.ForMs}
		return Result{Created: !mine}
	default:
		return Result{Err: ErrCompactionClaimed}
	}
}

func (m *model) compact(e Compact) Result {
	switch {
	case e.Object.ID.Time() < m.orphanFloor:
		return Result{Err: ErrOrphanFloor}
	case m.objects[e.Object.ID]:
		return Result{Err: ErrObjectExists}
	}
	if _, ok := m.topics[e.Topic]; !ok {
		return Result{Err: ErrTopicNotFound}
	}
	if l, ok := m.leases[e.Topic]; !ok || l.job != e.Job {
		return Result{Err: ErrCompactionClaimed}
	}
	var result Result
	for _, c := range e.Partitions {
		tp := TopicPartition{Topic: e.Topic, Partition: c.Partition}
		p, ok := m.partitions[tp]
		if !ok {
			result.Units = append(result.Units, UnitResult{Err: ErrPartitionNotFound})
			continue
		}
		made, err := p.joined(c, e.Object.ID)
		result.Units = append(result.Units, UnitResult{Err: err})
		if err == nil {
			p.compacted = append(slices.Clone(p.compacted), modelCompaction{made})
			m.partitions[tp] = p
			m.objects[e.Object.ID] = true
		}
	}
	m.collect()
	return result
}

// joined is what a compaction makes of the extents that are there.
func (p modelPartition) joined(c CompactedPartition, object ObjectID) (made []Extent, err error) {
	all := p.extents()
	at := slices.IndexFunc(all, func(e Extent) bool { return e.Base == c.Base })
	n := 0
	for _, x := range c.Extents {
		n += int(x.Replaces)
	}
	if at < 0 || at+n > len(all) || DigestExtents(all[at:at+n]) != c.Replaced {
		return nil, ErrExtentsChanged
	}
	for _, x := range c.Extents {
		e := Extent{Object: object, Pos: x.Pos, Base: all[at].Base, CRC: x.CRC, MaxTimestamp: math.MinInt64}
		for _, old := range all[at : at+int(x.Replaces)] {
			e.Len += old.Len
			e.Records += old.Records
			e.MaxTimestamp = max(e.MaxTimestamp, old.MaxTimestamp)
			e.CommitTime = old.CommitTime // the last is the newest
		}
		if e.Len != x.Len || e.Records != x.Records {
			return nil, invalid(InvalidCompaction)
		}
		at += int(x.Replaces)
		made = append(made, e)
	}
	return made, nil
}

func drawJob(t *rapid.T) JobID {
	return JobID{byte(rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "job"))}
}

// drawCompact returns a job's edit for extents that are there, or were.
func (m *machine) drawCompact(t *rapid.T) (e Compact, ok bool) {
	if len(m.swaps) > 0 && rapid.IntRange(0, 3).Draw(t, "repeat") == 0 {
		return rapid.SampledFrom(m.swaps).Draw(t, "swap"), true
	}
	m.objects++
	tp := m.drawPartition(t)
	e = Compact{Topic: tp.Topic, Job: drawJob(t), Object: NewObject{
		ID: objectID(m.objects), Kind: SegmentObject, Size: 1 << 40, IndexPos: 1 << 39, IndexCRC: rapid.Uint32().Draw(t, "index crc"),
	}}
	if rapid.IntRange(0, 19).Draw(t, "other object") == 0 {
		e.Object.ID = objectID(rapid.IntRange(1, m.objects).Draw(t, "object"))
	}
	pos := Pos(0)
	known := slices.SortedFunc(maps.Keys(m.model.partitions), TopicPartition.compare)
	for _, other := range known {
		all := m.model.partitions[other].extents()
		if other.Topic != tp.Topic || len(all) == 0 {
			continue
		}
		first := rapid.IntRange(0, len(all)-1).Draw(t, "first")
		all = all[first:rapid.IntRange(first+1, len(all)).Draw(t, "end")]
		p := CompactedPartition{Partition: other.Partition, Base: all[0].Base, Replaced: DigestExtents(all)}
		for len(all) > 0 {
			n := rapid.IntRange(1, len(all)).Draw(t, "replaces")
			x := CompactedExtent{Pos: pos, Replaces: int32(n), CRC: rapid.Uint32().Draw(t, "crc")}
			for _, old := range all[:n] {
				x.Len += old.Len
				x.Records += old.Records
			}
			if x.Len > ExtentCRCLenMax {
				x.CRC = e.Object.IndexCRC
			}
			pos += Pos(x.Len)
			all = all[n:]
			p.Extents = append(p.Extents, x)
		}
		switch rapid.IntRange(0, 19).Draw(t, "odd") {
		case 0:
			p.Replaced[0]++
		case 1:
			p.Extents[0].Records++
		}
		e.Partitions = append(e.Partitions, p)
	}
	return e, len(e.Partitions) > 0
}

func (m *machine) compactActions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"claim compaction": func(t *rapid.T) {
			m.apply(t, ClaimCompaction{Topic: m.drawPartition(t).Topic, Job: drawJob(t), ForMs: rapid.Int64Range(0, 2000).Draw(t, "for")})
		},
		"compact": func(t *rapid.T) {
			e, ok := m.drawCompact(t)
			if !ok {
				return
			}
			if rapid.IntRange(0, 3).Draw(t, "claimed") > 0 {
				m.apply(t, ClaimCompaction{Topic: e.Topic, Job: e.Job, ForMs: 1000})
			}
			m.apply(t, e)
			m.swaps = append(m.swaps, e)
		},
		"draw compaction": func(t *rapid.T) { // to be applied later, when things have changed
			if e, ok := m.drawCompact(t); ok {
				m.swaps = append(m.swaps, e)
			}
		},
	}
}
