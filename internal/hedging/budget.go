package hedging

import "sync"

// Burst is the number of hedges that may be saved up.
const Burst = 3

// Budget allows one hedge for every 1/share requests, and saves up at most
// Burst of them. It begins with one, so that the first request of a node that
// does little can be hedged too.
type Budget struct {
	share float64

	mu    sync.Mutex
	saved float64
}

// NewBudget returns a budget for a share from 0, for no hedges at all, to 1.
func NewBudget(share float64) *Budget {
	b := &Budget{share: share}
	if share > 0 {
		b.saved = 1
	}
	return b
}

// Earn counts a request that is not a hedge.
func (b *Budget) Earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saved = min(b.saved+b.share, Burst)
}

// Take tells whether a hedge may be sent, and counts it.
func (b *Budget) Take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.saved < 1 {
		return false
	}
	b.saved--
	return true
}
