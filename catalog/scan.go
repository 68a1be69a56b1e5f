package catalog

import "iter"

// The contents of a State, in the order of their keys. The receiver must not
// change meanwhile.

// AllObjects goes through the objects that hold records.
func (s *State) AllObjects() iter.Seq[Object] { return s.objects.Scan }

// AllGarbage goes through the objects whose last live extent is gone.
func (s *State) AllGarbage() iter.Seq[Garbage] { return s.garbage.byID.Scan }

// AllPartitions goes through the partitions of all topics.
func (s *State) AllPartitions() iter.Seq2[TopicPartition, *Partition] {
	return func(yield func(TopicPartition, *Partition) bool) {
		s.partitions.Scan(func(p partitionByID) bool { return yield(p.id, p.partition) })
	}
}

// AllExtents goes through the extents of a partition in order. They are shared
// and must not be written to.
func (p *Partition) AllExtents() iter.Seq[*Extent] { return p.extents.all }
