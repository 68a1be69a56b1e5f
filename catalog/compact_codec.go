package catalog

// The shortest encodings in bytes.
const (
	compactedPartitionLenMin = 1 + 1 + 16 + 1
	compactedExtentLenMin    = 1 + 1 + 4 + 1 + 1
)

// appendCompact encodes a Compact. The layout for its result has a unit without
// appends for each partition.
func appendCompact(dst []byte, e *Compact) ([]byte, *commitLayout) {
	dst = append(dst, e.Topic[:]...)
	dst = append(dst, e.Job[:]...)
	dst = appendObject(dst, &e.Object)
	dst = appendUvarint(dst, uint64(len(e.Partitions)))
	end := Pos(0) // of the extent before
	for i := range e.Partitions {
		p := &e.Partitions[i]
		dst = appendUvarint(dst, uint64(uint32(p.Partition)))
		dst = appendUvarint(dst, uint64(p.Base))
		dst = append(dst, p.Replaced[:]...)
		dst = appendUvarint(dst, uint64(len(p.Extents)))
		for j := range p.Extents {
			x := &p.Extents[j]
			dst = appendVarint(dst, int64(x.Pos-end))
			dst = appendUvarint(dst, uint64(x.Len))
			dst = appendCRC(dst, x.CRC)
			dst = appendUvarint(dst, uint64(uint32(x.Records)))
			dst = appendUvarint(dst, uint64(uint32(x.Replaces)))
			end = x.Pos + Pos(x.Len)
		}
	}
	return dst, &commitLayout{units: make([]int, len(e.Partitions))}
}

func (r *wireReader) compact(e *Compact) *commitLayout {
	e.Topic, e.Job, e.Object = r.id(), r.id(), r.object()
	n := r.count(compactedPartitionLenMin)
	if n > 0 {
		e.Partitions = make([]CompactedPartition, n)
	}
	end := Pos(0)
	for i := range e.Partitions {
		p := &e.Partitions[i]
		p.Partition = int32(r.number())
		p.Base = Offset(r.uvarint())
		p.Replaced = r.id()
		if n := r.count(compactedExtentLenMin); n > 0 {
			p.Extents = make([]CompactedExtent, n)
		}
		for j := range p.Extents {
			x := &p.Extents[j]
			x.Pos = end + Pos(r.varint())
			x.Len = int64(r.uvarint())
			x.CRC = r.crc()
			x.Records = int32(r.number())
			x.Replaces = int32(r.number())
			end = x.Pos + Pos(x.Len)
		}
		if r.err != nil {
			break
		}
	}
	return &commitLayout{units: make([]int, n)}
}
