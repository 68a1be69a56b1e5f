package chaos

import (
	"sync"
	"time"
)

// trimWithin is how long a node may serve what is below an acknowledged trim.
const trimWithin = 5 * time.Second

// Bounds knows what no node may deny of a partition: records that were
// acknowledged, ends and starts that any node has answered. It is safe for
// concurrent use.
type Bounds struct {
	found      *Findings
	partitions []partitionBounds
}

type partitionBounds struct {
	mu    sync.Mutex
	end   int64  // guarded by mu
	start int64  // guarded by mu
	asked int64  // guarded by mu; the most that a trim asked for
	trims []trim // guarded by mu; acknowledged, in order of time
}

type trim struct {
	start int64
	at    time.Time
}

// Floor is what was known when a question was sent.
type Floor struct {
	Start, End int64
	Trimmed    int64 // log start whose grace was over by then
}

func NewBounds(partitions int, found *Findings) *Bounds {
	return &Bounds{found: found, partitions: make([]partitionBounds, partitions)}
}

// Floor is asked right before a question is sent. Its answer must not be below.
func (b *Bounds) Floor(partition int32, now time.Time) Floor {
	p := &b.partitions[partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	f := Floor{Start: p.start, End: p.end}
	for _, t := range p.trims {
		if now.Sub(t.at) >= trimWithin {
			f.Trimmed = max(f.Trimmed, t.start)
		}
	}
	return f
}

// Acknowledged notes that offsets below end are taken.
func (b *Bounds) Acknowledged(partition int32, end int64) {
	p := &b.partitions[partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = max(p.end, end)
}

// Ask notes a trim that is about to be sent.
func (b *Bounds) Ask(partition int32, before int64) {
	p := &b.partitions[partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = max(p.asked, before)
}

// Asked is the most that any trim asked for.
func (b *Bounds) Asked(partition int32) int64 {
	p := &b.partitions[partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// Trimmed notes an acknowledged trim.
func (b *Bounds) Trimmed(partition int32, start int64, now time.Time) {
	p := &b.partitions[partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start = max(p.start, start)
	p.trims = append(p.trims, trim{start: start, at: now})
}

// Answered judges an answer to the question for the bounds that was sent when
// floor was known (P5), and takes it over.
func (b *Bounds) Answered(partition int32, by string, floor Floor, start, end int64) {
	p := &b.partitions[partition]
	p.mu.Lock()
	asked := p.asked
	p.start, p.end = max(p.start, start), max(p.end, end)
	p.mu.Unlock()
	if end < floor.End {
		b.found.Add(visible, "%s: end of partition %d is %d, and %d was known before it was asked", by, partition, end, floor.End)
	}
	if start < floor.Start {
		b.found.Add(visible, "%s: start of partition %d is %d, and %d was known before it was asked", by, partition, start, floor.Start)
	}
	if start > asked {
		b.found.Add(lost, "%s: partition %d starts at %d, and no trim asked for more than %d", by, partition, start, asked)
	}
	if start > end {
		b.found.Add(dense, "%s: partition %d is from %d to %d", by, partition, start, end)
	}
}
