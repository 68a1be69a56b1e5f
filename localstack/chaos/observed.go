package chaos

import "sync"

// Observed is every record that any node was ever seen to serve, by partition and
// offset, to compare what is served with what was served before. It is safe for
// concurrent use.
type Observed struct {
	found      *Findings
	partitions []observedPartition
}

type observedPartition struct {
	mu   sync.Mutex
	seen []observation // guarded by mu; by offset
}

type observation struct {
	digest uint64 // 0: nothing yet
	id     RecordID
}

func NewObserved(partitions int, found *Findings) *Observed {
	return &Observed{found: found, partitions: make([]observedPartition, partitions)}
}

// Add compares records that a node served with what was served before (P6).
func (o *Observed) Add(partition int32, by string, records []Record) {
	p := &o.partitions[partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range records {
		for int64(len(p.seen)) <= r.Offset {
			p.seen = append(p.seen, observation{})
		}
		digest := max(r.Digest, 1)
		known := &p.seen[r.Offset]
		switch {
		case known.digest == 0:
			*known = observation{digest: digest, id: r.ID}
		case known.id != r.ID:
			o.found.Add(sameBytes, "%s serves record %v at %d/%d, which held %v before", by, r.ID, partition, r.Offset, known.id)
		case known.digest != digest:
			o.found.Add(sameBytes, "%s serves record %v at %d/%d with other bytes than before", by, r.ID, partition, r.Offset)
		}
	}
}

// At tells which record was seen at an offset.
func (o *Observed) At(partition int32, offset int64) (RecordID, bool) {
	p := &o.partitions[partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	if offset >= int64(len(p.seen)) || p.seen[offset].digest == 0 {
		return RecordID{}, false
	}
	return p.seen[offset].id, true
}

// CheckAcknowledged compares with what was ever seen the records that were told
// their offsets, those that are trimmed away since included (P5).
func (o *Observed) CheckAcknowledged(h *History) {
	for _, r := range h.Requests {
		for i, base := range r.Bases {
			part := r.Parts[i]
			for j := range part.Count {
				want := RecordID{r.Producer, uint32(part.Seq) + uint32(j)}
				if id, ok := o.At(part.Partition, base+int64(j)); ok && id != want {
					o.found.Add(visible, "record %v was told offset %d/%d, where %v was served", want, part.Partition, base+int64(j), id)
				}
			}
		}
	}
}
