package soak

import (
	"flag"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedFlag  = flag.Uint64("soak.seed", 0, "run this seed alone")
	seeds     = flag.Int("soak.seeds", 20, "how many worlds to run, from the first seed on")
	firstSeed = flag.Uint64("soak.first", 1, "the first seed")
	lasts     = flag.Duration("soak.lasts", 2*time.Minute, "of virtual time, with faults, in each world")
)

// TestSoak lets several nodes take, serve, drop and delete records while they fail
// in every way, with the naive model beside them.
func TestSoak(t *testing.T) {
	n, first := *seeds, *firstSeed
	if *seedFlag != 0 {
		n, first = 1, *seedFlag
	}
	var mu sync.Mutex
	sum := map[string]int{}
	t.Run("worlds", func(t *testing.T) {
		for i := range n {
			seed := first + uint64(i)
			t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				defer func() { t.Logf("%s", time.Since(began)) }()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, seed)
					usage := w.run(*lasts)
					for _, f := range w.model.Findings() {
						t.Errorf("seed %d: %s", seed, f)
					}
					t.Logf("seed %d: %s", seed, usage)
					mu.Lock()
					defer mu.Unlock()
					for what, n := range w.model.Counts() {
						sum[what] += n
					}
				})
			})
		}
	})
	fmt.Printf("%d worlds, seeds %d to %d: %v\n", n, first, first+uint64(n)-1, sum)
}
