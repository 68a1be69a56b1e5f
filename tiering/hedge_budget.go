package tiering

import "sync"

// hedgeBurst is the number of hedges that may be saved up.
const hedgeBurst = 3

// hedgeBudget allows one hedge for every 1/share PUTs, and saves up at most
// hedgeBurst of them. It begins with one, so that the first PUT of a node that
// does little can be hedged too.
type hedgeBudget struct {
	share float64

	mu    sync.Mutex
	saved float64
}

func newHedgeBudget(share float64) *hedgeBudget {
	b := &hedgeBudget{share: share}
	if share > 0 {
		b.saved = 1
	}
	return b
}

// earn counts a PUT that is not a hedge.
func (b *hedgeBudget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saved = min(b.saved+b.share, hedgeBurst)
}

// take tells whether a hedge may be sent, and counts it.
func (b *hedgeBudget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.saved < 1 {
		return false
	}
	b.saved--
	return true
}
