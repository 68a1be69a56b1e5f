package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// nodesLeftMin is how many nodes a removal leaves.
	nodesLeftMin = 2
	// storeStartsMax bounds the tries to start the store again.
	storeStartsMax = 5
)

// FaultReport is a fault that happened.
type FaultReport struct {
	At   time.Duration // since the run began
	Kind FaultKind
	Text string
}

// injector carries out a schedule.
type injector struct {
	fleet  *fleet
	ledger *Ledger
	began  time.Time
	say    func(format string, args ...any)

	mu     sync.Mutex
	busy   map[*member]bool // guarded by mu; a fault is at work on it
	faults []FaultReport    // guarded by mu
}

// step injects the faults of one cycle, and returns when they and the quiet after
// them are over.
func (in *injector) step(ctx context.Context, s Step) error {
	if s.Faults[0].Kind.needsCalm() {
		if err := in.fleet.waitReady(ctx); err != nil {
			return err
		}
	}
	group, inner := errgroup.WithContext(ctx)
	happened := make([]bool, len(s.Faults))
	for i, fault := range s.Faults {
		group.Go(func() error {
			var err error
			if happened[i], err = in.inject(inner, fault); err != nil {
				return fmt.Errorf("%s: %w", fault, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if !slices.Contains(happened, true) {
		return nil
	}
	return pause(ctx, s.Rest)
}

// note writes a fault down as it begins.
func (in *injector) note(f Fault, target string) error {
	report := FaultReport{At: time.Since(in.began), Kind: f.Kind, Text: f.String() + target}
	in.mu.Lock()
	in.faults = append(in.faults, report)
	number := len(in.faults)
	in.mu.Unlock()
	in.say("%7.1fs  fault %d: %s", report.At.Seconds(), number, report.Text)
	return in.ledger.Note(event{Type: faultEvent, Text: report.Text})
}

// choose takes a node for a fault, which gives it back by release; nil if there is
// none that it could be done to.
func (in *injector) choose(ctx context.Context, f Fault, fits func(*member) bool) *member {
	var leader *member
	if f.Leader {
		leader = in.fleet.leader(ctx)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	var candidates []*member
	for _, m := range in.fleet.members() {
		if m.running.Load() && !in.busy[m] && fits(m) {
			candidates = append(candidates, m)
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	m := candidates[int(f.Pick)%len(candidates)]
	if leader != nil && slices.Contains(candidates, leader) {
		m = leader
	}
	in.busy[m] = true
	return m
}

func (in *injector) release(m *member) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.busy, m)
}

func anyNode(*member) bool { return true }

// inject carries out one fault, from its beginning to its end. It tells whether
// there was anything to do it to.
func (in *injector) inject(ctx context.Context, f Fault) (bool, error) {
	switch f.Kind {
	case CutStoreOfAll:
		return true, in.cutAll(ctx, f)
	case PauseStore, KillStore:
		return true, in.storeAway(ctx, f)
	case AddNode:
		m, err := in.fleet.add(ctx)
		if m == nil || err != nil {
			return false, err
		}
		return true, in.note(f, " "+m.name)
	case RollingRestart:
		return true, in.roll(ctx, f)
	}
	fits := anyNode
	switch f.Kind {
	case LoseNode:
		fits = func(m *member) bool { return !m.disk }
	case RemoveNode:
		fits = func(m *member) bool { return m.disk }
	}
	if len(in.fleet.members()) <= nodesLeftMin && (f.Kind == RemoveNode || f.Kind == LoseNode) {
		return false, nil
	}
	m := in.choose(ctx, f, fits)
	if m == nil {
		return false, nil
	}
	defer in.release(m)
	if err := in.note(f, " ("+m.name+")"); err != nil {
		return false, err
	}
	return true, in.onNode(ctx, f, m)
}

func (in *injector) onNode(ctx context.Context, f Fault, m *member) error {
	switch f.Kind {
	case KillNode:
		if err := m.kill(); err != nil {
			return err
		}
		if err := pause(ctx, f.Lasts); err != nil {
			return err
		}
		return m.start(ctx)
	case PauseNode:
		if err := m.freeze(); err != nil {
			return nil // it has just ended by itself, and its watch tells of that
		}
		return errors.Join(pause(ctx, f.Lasts), m.thaw())
	case CutStore:
		m.store.Set(f.Link)
		defer m.store.Set(Open)
		return pause(ctx, f.Lasts)
	case CutPeers:
		m.peers.Set(f.Link)
		defer m.peers.Set(Open)
		return pause(ctx, f.Lasts)
	case RestartNode:
		return m.restart(ctx)
	case RemoveNode:
		return in.fleet.remove(ctx, m, true)
	case LoseNode:
		return in.fleet.remove(ctx, m, false)
	default:
		return fmt.Errorf("no such fault: %d", f.Kind)
	}
}

func (in *injector) cutAll(ctx context.Context, f Fault) error {
	if err := in.note(f, ""); err != nil {
		return err
	}
	members := in.fleet.members()
	for _, m := range members {
		m.store.Set(f.Link)
	}
	defer func() {
		for _, m := range members {
			m.store.Set(Open)
		}
	}()
	return pause(ctx, f.Lasts)
}

func (in *injector) storeAway(ctx context.Context, f Fault) error {
	in.fleet.storeMu.Lock()
	defer in.fleet.storeMu.Unlock()
	if err := in.note(f, ""); err != nil {
		return err
	}
	minio := in.fleet.minio
	if f.Kind == PauseStore {
		if err := minio.Pause(); err != nil {
			return err
		}
		return errors.Join(pause(ctx, f.Lasts), minio.Resume())
	}
	if err := minio.Kill(); err != nil {
		return err
	}
	if err := pause(ctx, f.Lasts); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := minio.Restart(ctx)
		if err == nil || attempt == storeStartsMax {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// roll restarts every node, each when the one before is ready.
func (in *injector) roll(ctx context.Context, f Fault) error {
	if err := in.note(f, ""); err != nil {
		return err
	}
	for _, m := range in.fleet.members() {
		if err := m.restart(ctx); err != nil {
			return err
		}
		if err := in.fleet.waitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}
