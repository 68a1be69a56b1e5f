package catalog

// Partition is the state of one partition. It is immutable: a change puts
// another in its place.
type Partition struct {
	logStart Offset
	end      Offset
	bytes    int64
	extents  extentList
}

// LogStart is the lowest offset that is still there.
func (p *Partition) LogStart() Offset { return p.logStart }

// End is the offset that the next record gets; it is also the high watermark.
func (p *Partition) End() Offset { return p.end }

// Extents returns the extents from the one that holds offset on, in order, at
// most limit of them; none if offset is not within LogStart and End. The first
// may begin below offset, and below LogStart.
func (p *Partition) Extents(offset Offset, limit int) []Extent {
	if offset < p.logStart || offset >= p.end || limit <= 0 {
		return nil
	}
	var found []Extent
	chunk, index := p.extents.search(offset)
	for ; chunk < p.extents.chunks() && len(found) < limit; chunk++ {
		extents := p.extents.chunk(chunk)[index:]
		found = append(found, extents[:min(len(extents), limit-len(found))]...)
		index = 0
	}
	return found
}

// ExtentAtTime returns the first extent that holds a record with a timestamp
// of at least ms. That record may lie below LogStart if the extent begins there.
func (p *Partition) ExtentAtTime(ms int64) (Extent, bool) {
	for i := range p.extents.chunks() {
		if i < int(p.extents.sealedLen) && p.extents.sealed.items[i].maxTimestamp < ms {
			continue
		}
		extents := p.extents.chunk(i)
		for j := range extents {
			if extents[j].MaxTimestamp >= ms {
				return extents[j], true
			}
		}
	}
	return Extent{}, false
}

// EachExtent calls yield for each extent in order until it returns false. What it
// gets must not be changed.
func (p *Partition) EachExtent(yield func(*Extent) bool) { p.extents.all(yield) }

// Bytes is the sum of the lengths of its extents.
func (p *Partition) Bytes() int64 { return p.bytes }

// ExtentCount is the number of its extents.
func (p *Partition) ExtentCount() int { return p.extents.len() }
