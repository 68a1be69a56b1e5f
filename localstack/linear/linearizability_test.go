package linear_test

import (
	"flag"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/wadilog/wadi/localstack/linear"
)

var (
	seedFlag  = flag.Uint64("linear.seed", 0, "run this seed alone")
	histories = flag.Int("linear.histories", 60, "how many histories to make, from seed 1 on")
	firstSeed = flag.Uint64("linear.first", 1, "the first seed")
)

const (
	// operations is how many each history has at least, refused ones left out.
	operations = 220
	// checkTimeout ends the checker. A history takes it a few milliseconds.
	checkTimeout = 20 * time.Second
	// inDoubtMin is the share of operations, of all histories together, whose
	// outcome must be unknown: without them this proves little.
	inDoubtMin = 0.02
)

// TestLinearizability makes histories of several nodes that fail in every way,
// and checks each.
func TestLinearizability(t *testing.T) {
	seeds := *histories
	first := *firstSeed
	if *seedFlag != 0 {
		seeds, first = 1, *seedFlag
	}
	var mu sync.Mutex
	var sum linear.Count
	checked := 0
	verdicts := map[linear.Verdict]int{}
	t.Run("histories", func(t *testing.T) {
		for i := range seeds {
			seed := first + uint64(i)
			t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
				t.Parallel()
				history, count := makeHistory(t, seed)
				verdict, page, err := linear.Check(history, checkTimeout)
				if err != nil {
					t.Error(err)
				}
				if verdict != linear.Linearizable {
					t.Errorf("seed %d: the history is %s, see %s", seed, verdict, page)
				}
				mu.Lock()
				defer mu.Unlock()
				sum.Add(count)
				verdicts[verdict]++
				if count.Operations < operations {
					t.Errorf("seed %d: %d operations, expected %d at least", seed, count.Operations, operations)
				}
				if checked++; checked%250 == 0 {
					fmt.Printf("%d of %d histories are checked\n", checked, seeds)
				}
			})
		}
	})
	share := float64(sum.InDoubt) / float64(max(1, sum.Operations))
	// To standard output, so that it is seen without -v in the package's folder.
	fmt.Printf("%d histories, seeds %d to %d: %d linearizable, %d illegal, %d unknown\n", seeds, first, first+uint64(seeds)-1,
		verdicts[linear.Linearizable], verdicts[linear.Illegal], verdicts[linear.Unknown])
	fmt.Printf("%d operations, %d in doubt (%.1f%%), %d promised, %d duplicates, %d mismatches; and %d refused\n",
		sum.Operations, sum.InDoubt, 100*share, sum.Promised, sum.Duplicates, sum.Mismatches, sum.Refused)
	if verdicts[linear.Linearizable] != seeds {
		t.Errorf("%d of %d histories are linearizable", verdicts[linear.Linearizable], seeds)
	}
	if share < inDoubtMin && seeds >= 20 {
		t.Errorf("%.1f%% of the operations are in doubt, expected %.1f%% at least", 100*share, 100*inDoubtMin)
	}
}

// makeHistory runs a world. What it does is drawn from the seed; how goroutines
// interleave is not, nor are the names of segments.
func makeHistory(t *testing.T, seed uint64) (history []porcupine.Operation, count linear.Count) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed)
		w.run()
		history, count = w.history.Operations(), w.history.Count()
	})
	return history, count
}
