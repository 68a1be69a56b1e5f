package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// TakeoverGoal is how long producers may be without an acknowledgement when the
	// leader is killed.
	TakeoverGoal = 3 * time.Second

	// steadyTime is how long a round lets the load run before the kill.
	steadyTime = 2 * time.Second
	// takeoverWindow is how long after the kill gaps are looked for.
	takeoverWindow = 6 * time.Second
)

// TakeoverLoad is many producers with small requests, so that gaps are seen.
func TakeoverLoad() LoadConfig {
	c := DefaultLoadConfig()
	c.PlainAll, c.PlainOne = 0, 0
	c.Rate, c.RecordsMin, c.RecordsMax = 1500, 5, 15
	return c
}

// Takeover is a round of RunTakeover.
type Takeover struct {
	Leader string
	All    time.Duration // longest time without any acknowledgement
	One    time.Duration // longest time that some producer was without one
}

// gapMeter measures how long producers are without an acknowledgement. It is safe
// for concurrent use.
type gapMeter struct {
	mu      sync.Mutex
	last    []time.Time     // guarded by mu; by producer, and at the end of all
	longest []time.Duration // guarded by mu; likewise
}

// begin starts to measure: until the first acknowledgement of each the gap is
// counted from now.
func (g *gapMeter) begin(producers int, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last, g.longest = make([]time.Time, producers+1), make([]time.Duration, producers+1)
	for i := range g.last {
		g.last[i] = now
	}
}

func (g *gapMeter) acknowledged(producer int, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.last) == 0 {
		return
	}
	for _, i := range []int{producer, len(g.last) - 1} {
		g.longest[i] = max(g.longest[i], at.Sub(g.last[i]))
		if at.After(g.last[i]) {
			g.last[i] = at
		}
	}
}

// end returns the longest gaps, those included that are still open.
func (g *gapMeter) end(now time.Time) (all, one time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, last := range g.last {
		gap := max(g.longest[i], now.Sub(last))
		if i == len(g.last)-1 {
			all = gap
		} else {
			one = max(one, gap)
		}
	}
	return all, one
}

// errNoLeader says that no node leads by its own account.
var errNoLeader = errors.New("no node leads")

// RunTakeover kills the leader, round by round, while everything else is well, and
// measures how long producers are without an acknowledgement.
func RunTakeover(ctx context.Context, o Options, rounds int) (*Report, []Takeover, error) {
	b, err := startBench(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	var gaps gapMeter
	b.workload.acknowledged = gaps.acknowledged
	b.workload.refused = func(a answer) {
		if a.status != 0 && !a.problem.Retryable {
			b.found.Add(answers, "an answer that is not retryable: %s", a)
		}
	}
	var takeovers []Takeover
	report, err := b.play(ctx, o, func(ctx context.Context, r *Report) error {
		if err := b.calm(ctx, r); err != nil {
			return err
		}
		for round := range rounds {
			if err := pause(ctx, steadyTime); err != nil {
				return err
			}
			leader := b.fleet.leader(ctx)
			if leader == nil {
				return errNoLeader
			}
			if err := b.injector.note(Fault{Kind: KillNode, Leader: true}, " ("+leader.name+")"); err != nil {
				return err
			}
			gaps.begin(len(b.workload.producers), time.Now())
			if err := leader.kill(); err != nil {
				return err
			}
			if err := pause(ctx, takeoverWindow); err != nil {
				return err
			}
			t := Takeover{Leader: leader.name}
			t.All, t.One = gaps.end(time.Now())
			takeovers = append(takeovers, t)
			o.Say("round %d: without %s no producer had an acknowledgement for %s, some had none for %s", round+1, t.Leader, ms(t.All), ms(t.One))
			if t.One > TakeoverGoal {
				b.found.Add("target", "round %d: a producer had no acknowledgement for %s, the goal is %s", round+1, ms(t.One), TakeoverGoal)
			}
			if err := leader.start(ctx); err != nil {
				return err
			}
			if err := b.fleet.waitReady(ctx); err != nil {
				return err
			}
		}
		return b.calm(ctx, r)
	})
	return report, takeovers, err
}

// RunRolling restarts all nodes in good order, round by round, under load. A client
// that tries again after a 503 must see no other failure.
func RunRolling(ctx context.Context, o Options, rounds int) (*Report, error) {
	b, err := startBench(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, p := range b.workload.producers {
		p.direct = false // all go through the load balancer
	}
	b.workload.refused = func(a answer) {
		if a.status != 503 || !a.problem.NoSideEffects {
			b.found.Add(answers, "a request failed: %s (%s)", a, a.kind())
		}
	}
	return b.play(ctx, o, func(ctx context.Context, r *Report) error {
		if err := b.calm(ctx, r); err != nil {
			return err
		}
		for range rounds {
			if err := b.injector.roll(ctx, Fault{Kind: RollingRestart}); err != nil {
				return fmt.Errorf("rolling restart: %w", err)
			}
			if err := b.calm(ctx, r); err != nil {
				return err
			}
		}
		return nil
	})
}
