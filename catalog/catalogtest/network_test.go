package catalogtest_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/catalogtest"
	"github.com/wadilog/wadi/catalog/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers a Forward with the number of the request as the slot, and a Pull
// with one entry, after a while.
type echo struct {
	takes time.Duration
	err   error

	mu     sync.Mutex
	seqs   []uint64 // of the requests that were served to the end; guarded by mu
	broken int      // requests that broke off; guarded by mu
}

func (e *echo) work(ctx context.Context, seq uint64) error {
	select {
	case <-time.After(e.takes):
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Err() != nil {
		e.broken++
		return ctx.Err()
	}
	e.seqs = append(e.seqs, seq)
	return e.err
}

func (e *echo) ServeForward(ctx context.Context, r catalog.ForwardRequest) (catalog.ForwardAnswer, error) {
	err := e.work(ctx, r.Seq)
	clear(r.Edits) // its own copy
	return catalog.ForwardAnswer{Slot: journal.Slot(r.Seq)}, err
}

func (e *echo) ServePull(ctx context.Context, r catalog.PullRequest) (catalog.PullAnswer, error) {
	err := e.work(ctx, uint64(r.After))
	return catalog.PullAnswer{Entries: [][]byte{[]byte("entry")}}, err
}

func (e *echo) ServeKeep(ctx context.Context, r catalog.KeepRequest) (catalog.KeepAnswer, error) {
	err := e.work(ctx, uint64(r.Heartbeats[0].Epoch))
	clear(r.Heartbeats) // its own copy
	return catalog.KeepAnswer{Outcomes: []catalog.KeepOutcome{catalog.KeepRenewed}}, err
}

func (e *echo) served() []uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.seqs)
}

// inNetwork runs a test with node b, and node a's way to it.
func inNetwork(t *testing.T, test func(t *testing.T, n *catalogtest.Network, b *echo, from catalog.Peers)) {
	synctest.Test(t, func(t *testing.T) {
		n := catalogtest.New()
		defer n.Close()
		b := &echo{takes: time.Millisecond}
		n.Join("b", b)
		test(t, n, b, n.From("a"))
	})
}

// forward sends request seq from a to b with a patience of one second.
func forward(from catalog.Peers, seq uint64) (catalog.ForwardAnswer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return from.Forward(ctx, "b", catalog.ForwardRequest{Seq: seq, Edits: []byte("edits")})
}

// TestFaults sends one request through each fault and looks what both ends see.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault  catalogtest.Fault
		served int
		told   bool          // the sender got the answer
		after  time.Duration // until the sender knew
	}{
		"none":               {catalogtest.Fault{}, 1, true, time.Millisecond},
		"lost":               {catalogtest.LoseRequest(), 0, false, 0},
		"answer lost":        {catalogtest.LoseAnswer(), 1, false, time.Millisecond},
		"swallowed":          {catalogtest.Swallow(), 0, false, time.Second},
		"answer swallowed":   {catalogtest.SwallowAnswer(), 1, false, time.Second},
		"repeated":           {catalogtest.Repeat(time.Hour), 2, true, time.Millisecond},
		"late":               {catalogtest.ArriveLate(time.Hour), 1, false, 0},
		"delayed":            {catalogtest.Fault{Delay: 100 * time.Millisecond, AnswerDelay: 100 * time.Millisecond}, 1, true, 201 * time.Millisecond},
		"delayed too long":   {catalogtest.Fault{Delay: time.Minute}, 1, false, time.Second},
		"answer held up":     {catalogtest.Fault{AnswerDelay: time.Minute}, 1, false, time.Second},
		"lost and once more": {catalogtest.Fault{Lost: true, Silent: true, Again: time.Minute}, 1, false, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *catalogtest.Network, b *echo, from catalog.Peers) {
				n.SetHook(func(call catalogtest.Call) (catalogtest.Fault, bool) {
					if call.From != "a" || call.To != "b" || call.Forward == nil || call.Forward.Seq != 7 {
						t.Errorf("the hook saw %+v", call)
					}
					return c.fault, true
				})
				began := time.Now()
				answer, err := forward(from, 7)
				if (err == nil) != c.told || c.told && answer.Slot != 7 {
					t.Errorf("the sender got %+v, %v", answer, err)
				}
				if took := time.Since(began); took != c.after {
					t.Errorf("the sender knew after %s, expected %s", took, c.after)
				}
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if got := b.served(); len(got) != c.served {
					t.Errorf("served %v, expected %d times", got, c.served)
				}
			})
		})
	}
}

// TestKeepTravels: a node's heartbeats arrive as they were sent, as a kind of their own.
func TestKeepTravels(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *catalogtest.Network, b *echo, from catalog.Peers) {
		lost := false
		n.SetHook(func(call catalogtest.Call) (catalogtest.Fault, bool) {
			if call.Keep == nil || call.Keep.Heartbeats[0].Member != "m" {
				t.Errorf("the hook saw %+v", call)
			}
			return catalogtest.Fault{AnswerLost: lost}, true
		})
		r := catalog.KeepRequest{Heartbeats: []catalog.Heartbeat{{Group: "g", Member: "m", Epoch: 7}}}
		a, err := from.Keep(t.Context(), "b", r)
		if err != nil || len(a.Outcomes) != 1 || a.Outcomes[0] != catalog.KeepRenewed {
			t.Errorf("got %+v, %v", a, err)
		}
		lost = true
		if _, err = from.Keep(t.Context(), "b", r); err == nil {
			t.Error("a lost answer was told")
		}
		if got := b.served(); len(got) != 2 || r.Heartbeats[0].Member != "m" {
			t.Errorf("served %v, and the sender's is %+v", got, r)
		}
	})
}

// TestErrorsThatCross keep their identity between nodes; no others do.
func TestErrorsThatCross(t *testing.T) {
	for _, c := range []struct {
		err     error
		crosses bool
	}{
		{&catalog.NotLeaderError{Epoch: 3, Leader: "c"}, true},
		{fmt.Errorf("full: %w", catalog.ErrBusy), true},
		{catalog.ErrBehind, true},
		{catalog.ErrNotCommitted, false},
		{catalog.ErrUnknownOutcome, false},
		{catalog.ErrNobodyThere, false},
	} {
		inNetwork(t, func(t *testing.T, _ *catalogtest.Network, b *echo, from catalog.Peers) {
			b.err = c.err
			_, err := forward(from, 1)
			if err == nil || errors.Is(err, c.err) != c.crosses {
				t.Errorf("%v arrived as %v", c.err, err)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *catalogtest.Network, b *echo, from catalog.Peers) {
		b.takes = 500 * time.Millisecond
		time.AfterFunc(100*time.Millisecond, func() { n.Leave("b") })
		began := time.Now()
		if _, err := forward(from, 1); err == nil || errors.Is(err, catalog.ErrNobodyThere) || time.Since(began) > 100*time.Millisecond {
			t.Errorf("a node that ended at work: %v after %s", err, time.Since(began))
		}
		if _, err := forward(from, 2); !errors.Is(err, catalog.ErrNobodyThere) {
			t.Errorf("a node that has ended: %v", err)
		}
		again := &echo{}
		n.Join("b", again)
		if _, err := forward(from, 3); err != nil || len(again.served()) != 1 {
			t.Errorf("its next life: %v", err)
		}
	})
}

// TestCutIsOneWay: requests of the way are swallowed, and so are the answers to
// those that came the other way.
func TestCutIsOneWay(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *catalogtest.Network, b *echo, from catalog.Peers) {
		n.Cut("a", "b")
		if _, err := forward(from, 1); !errors.Is(err, context.DeadlineExceeded) || len(b.served()) != 0 {
			t.Errorf("cut from a to b: %v, served %v", err, b.served())
		}
		n.Mend("a", "b")
		n.Cut("b", "a")
		if _, err := forward(from, 2); !errors.Is(err, context.DeadlineExceeded) || len(b.served()) != 1 {
			t.Errorf("cut from b to a: %v, served %v", err, b.served())
		}
		n.Mend("b", "a")
		if _, err := forward(from, 3); err != nil {
			t.Errorf("mended: %v", err)
		}
	})
}

func TestFrozenNode(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *catalogtest.Network, b *echo, from catalog.Peers) {
		n.Freeze("b")
		if _, err := forward(from, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("to a frozen node: %v", err)
		}
		n.Resume("b")
		time.Sleep(time.Second)
		if got := b.served(); len(got) != 1 {
			t.Errorf("resumed, it served %v", got)
		}
		// A frozen sender does not notice that its time is over.
		n.Freeze("a")
		time.AfterFunc(time.Minute, func() { n.Resume("a") })
		began := time.Now()
		_, _ = forward(from, 2)
		if took := time.Since(began); took < time.Minute {
			t.Errorf("a frozen sender went on after %s", took)
		}
	})
}

// TestRandomFaults are the same for a seed and others for another.
func TestRandomFaults(t *testing.T) {
	run := func(seed uint64) (told []bool, served int) {
		inNetwork(t, func(t *testing.T, n *catalogtest.Network, b *echo, from catalog.Peers) {
			n.Randomize(seed, catalogtest.Probabilities{
				LoseRequest: .2, LoseAnswer: .2, Repeat: .2, ArriveLate: .2, LateMax: time.Minute,
				Delay: .3, DelayMax: 500 * time.Millisecond,
			})
			for seq := range uint64(100) {
				_, err := forward(from, seq)
				told = append(told, err == nil)
			}
			n.Reset()
			if _, err := forward(from, 100); err != nil {
				t.Errorf("after Reset: %v", err)
			}
			time.Sleep(time.Hour)
			served = len(b.served())
		})
		return told, served
	}
	told, served := run(1)
	if again, servedAgain := run(1); !reflect.DeepEqual(told, again) || served != servedAgain {
		t.Errorf("the same seed: %v and %v, served %d and %d", told, again, served, servedAgain)
	}
	if other, _ := run(2); reflect.DeepEqual(told, other) {
		t.Errorf("another seed gives the same: %v", told)
	}
}

// TestCloseEndsWhatIsUnderWay: the bubble would not end otherwise.
func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *catalogtest.Network, b *echo, from catalog.Peers) {
		b.takes = time.Hour
		n.Freeze("c")
		n.Join("c", &echo{})
		n.SetHook(func(catalogtest.Call) (catalogtest.Fault, bool) { return catalogtest.Repeat(time.Hour), true })
		for _, to := range []string{"b", "c"} {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if _, err := from.Pull(ctx, to, catalog.PullRequest{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("pull from %s: %v", to, err)
			}
			cancel()
		}
	})
}
