package hedging

import (
	"math/bits"
	"slices"
	"sync"
	"time"
)

const (
	// SamplesMax is how many requests of each class of sizes are remembered.
	SamplesMax = 128
	// SamplesMin is how many it takes; fewer say nothing about a high quantile.
	SamplesMin = 16

	sizeClasses = 8 // below 64 KiB, 256 KiB, 1 MiB, … 256 MiB, and all above
)

// Window holds how long the latest requests took, by size of the body.
type Window struct {
	mu      sync.Mutex
	classes [sizeClasses]struct {
		samples [SamplesMax]time.Duration
		seen    int // ever; the latest is at (seen-1) % SamplesMax
	}
}

func sizeClass(size int) int {
	return min((bits.Len(uint(size)>>16)+1)/2, sizeClasses-1)
}

// Observe takes note of a request.
func (w *Window) Observe(size int, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	class := &w.classes[sizeClass(size)]
	class.samples[class.seen%SamplesMax] = took
	class.seen++
}

// Quantile returns the time within which share q of the latest requests of like
// size were done, or false if there were too few.
func (w *Window) Quantile(size int, q float64) (time.Duration, bool) {
	w.mu.Lock()
	class := &w.classes[sizeClass(size)]
	sorted := slices.Clone(class.samples[:min(class.seen, SamplesMax)])
	w.mu.Unlock()
	if len(sorted) < SamplesMin {
		return 0, false
	}
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)], true
}
