package hedging

import (
	"testing"

	"pgregory.net/rapid"
)

func TestBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.Float64Range(0, 1).Draw(t, "share")
		b := NewBudget(share)
		puts, hedges := 0, 0
		for _, hedge := range rapid.SliceOf(rapid.Bool()).Draw(t, "events") {
			if !hedge {
				b.Earn()
				puts++
			} else if b.Take() {
				hedges++
			}
		}
		if limit := 1 + share*float64(puts) + 1e-9; float64(hedges) > limit || share == 0 && hedges > 0 {
			t.Fatalf("%d hedges for %d PUTs, share %v", hedges, puts, share)
		}
	})
}
