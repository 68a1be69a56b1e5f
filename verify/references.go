package verify

import (
	"bytes"
	"cmp"
	"slices"
	"sort"

	"github.com/wadilog/wadi/catalog"
)

// reference is an extent, looked up by its object.
type reference struct {
	extent    *catalog.Extent
	partition *partitionRef
}

// partitionRef is a partition with the name of its topic.
type partitionRef struct {
	id       catalog.TopicPartition
	name     string
	logStart catalog.Offset
}

// records are those of the extent that are in the log.
func (r *reference) records() Records { return r.partition.records(r.extent.Base, r.extent.End()) }

func (p *partitionRef) records(from, to catalog.Offset) Records {
	return Records{
		Topic: p.name, TopicID: p.id.Topic.String(), Partition: p.id.Partition,
		From: max(from, p.logStart), To: max(to, p.logStart),
	}
}

// references are the extents of some objects, in the order of object, then
// position.
type references []reference

// collect goes through all extents of a catalog, or of some topics of it, and
// keeps those of the objects that are wanted.
func collect(view *catalog.State, topics map[string]bool, wanted func(catalog.ObjectID) bool) references {
	var found references
	var topic *catalog.Topic
	for id, p := range view.AllPartitions() {
		if topic == nil || topic.ID != id.Topic {
			topic, _ = view.Topic(id.Topic)
		}
		if len(topics) > 0 && !topics[topic.Name] {
			continue
		}
		ref := &partitionRef{id: id, name: topic.Name, logStart: p.LogStart()}
		for x := range p.AllExtents() {
			if wanted(x.Object) {
				found = append(found, reference{extent: x, partition: ref})
			}
		}
	}
	slices.SortFunc(found, func(a, b reference) int {
		return cmp.Or(a.extent.Object.Compare(b.extent.Object), cmp.Compare(a.extent.Pos, b.extent.Pos))
	})
	return found
}

// of returns the extents of one object, by position.
func (r references) of(id catalog.ObjectID) []reference {
	from := sort.Search(len(r), func(i int) bool { return bytes.Compare(r[i].extent.Object[:], id[:]) >= 0 })
	to := from
	for to < len(r) && r[to].extent.Object == id {
		to++
	}
	return r[from:to]
}

// recordsOf are the records of extents, joined where they follow each other.
func recordsOf(refs []reference) []Records {
	var all []Records
	for i := range refs {
		all = append(all, refs[i].records())
	}
	slices.SortFunc(all, func(a, b Records) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.TopicID, b.TopicID), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.From, b.From))
	})
	var joined []Records
	for _, r := range all {
		if n := len(joined); n > 0 && joined[n-1].TopicID == r.TopicID && joined[n-1].Partition == r.Partition && joined[n-1].To == r.From {
			joined[n-1].To = r.To
			continue
		}
		joined = append(joined, r)
	}
	return joined
}
