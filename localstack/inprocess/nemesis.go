package inprocess

import (
	"math/rand/v2"
	"time"

	"github.com/wadilog/wadi/catalog/catalogtest"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
)

// Nemesis lets nodes suffer.
type Nemesis struct {
	Network *catalogtest.Network
	Nodes   []*Node

	DownMax   time.Duration // a node that crashed stays down
	FrozenMax time.Duration
	// Wait returns after a time, or earlier if nobody shall suffer any more.
	Wait func(time.Duration)
}

// Hurt does one thing to a node and undoes it.
func (m *Nemesis) Hurt(n *Node, rng *rand.Rand) {
	some := func(most time.Duration) { m.Wait(time.Duration(rng.Int64N(int64(most)))) }
	switch rng.IntN(8) {
	case 0, 1:
		n.Crash(rng)
		some(m.DownMax)
		n.Start(rng)
	case 2:
		n.Retire(rng, 5*time.Second)
		some(time.Second)
		n.Start(rng)
	case 3, 4:
		m.Network.Freeze(n.Name)
		some(m.FrozenMax)
		m.Network.Resume(n.Name)
	case 5:
		n.Store.SetOutage([]faultstore.Outage{faultstore.Refusing, faultstore.Hanging}[rng.IntN(2)])
		some(4 * time.Second)
		n.Store.SetOutage(faultstore.Up)
	case 6, 7:
		m.isolate(n, rng.IntN(3), some)
	}
}

// isolate cuts a node off from the others: what it sends, what it is sent, or both.
func (m *Nemesis) isolate(n *Node, how int, some func(time.Duration)) {
	for _, set := range []func(from, to string){m.Network.Cut, m.Network.Mend} {
		for _, other := range m.Nodes {
			if other == n {
				continue
			}
			if how != 1 {
				set(n.Name, other.Name)
			}
			if how != 0 {
				set(other.Name, n.Name)
			}
		}
		some(6 * time.Second)
	}
}
