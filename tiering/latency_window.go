package tiering

import (
	"math/bits"
	"slices"
	"sync"
	"time"
)

const (
	sizeClasses       = 8   // below 64 KiB, 256 KiB, 1 MiB, … 256 MiB, and all above
	latencySamplesMax = 128 // kept for each class
	latencySamplesMin = 16  // fewer say nothing about a high quantile
)

// latencyWindow holds how long the latest PUTs took, by size of the body.
type latencyWindow struct {
	mu      sync.Mutex
	classes [sizeClasses]struct {
		samples [latencySamplesMax]time.Duration
		seen    int // ever; the latest is at (seen-1) % latencySamplesMax
	}
}

func sizeClass(size int) int {
	return min((bits.Len(uint(size)>>16)+1)/2, sizeClasses-1)
}

func (w *latencyWindow) observe(size int, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	class := &w.classes[sizeClass(size)]
	class.samples[class.seen%latencySamplesMax] = took
	class.seen++
}

// quantile returns the time within which share q of the latest PUTs of like
// size were done, or false if there were too few.
func (w *latencyWindow) quantile(size int, q float64) (time.Duration, bool) {
	w.mu.Lock()
	class := &w.classes[sizeClass(size)]
	sorted := slices.Clone(class.samples[:min(class.seen, latencySamplesMax)])
	w.mu.Unlock()
	if len(sorted) < latencySamplesMin {
		return 0, false
	}
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)], true
}
