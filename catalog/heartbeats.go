package catalog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wadilog/wadi/internal/mutant"
)

const (
	// KeepHeartbeatsMax bounds the heartbeats of one KeepRequest.
	KeepHeartbeatsMax = 1000
	// HeartbeatsWaitingMax bounds those that wait for the next one.
	HeartbeatsWaitingMax = 20_000
	// keepTries bounds how often one heartbeat is tried, while leaders change or
	// proofs are too old when they come, before it becomes an edit.
	keepTries = 3
)

// Heartbeat is a sign of life of a group's member.
type Heartbeat struct {
	Group  string
	Member string
	Epoch  int64 // of the newest assignment that it knows
}

// KeepRequest carries heartbeats from a follower to its leader.
type KeepRequest struct{ Heartbeats []Heartbeat }

// KeepAnswer says what became of each heartbeat.
type KeepAnswer struct{ Outcomes []KeepOutcome }

// KeepOutcome is what became of one heartbeat.
type KeepOutcome uint8

// What can become of a heartbeat.
const (
	// KeepRenewed says that the lease was renewed.
	KeepRenewed KeepOutcome = iota + 1
	// KeepStale says that the member has a newer epoch. The lease was not renewed.
	KeepStale
	// KeepFenced says that nobody is a member under that epoch.
	KeepFenced
)

// heartbeats are those that wait to be sent to the leader. Its methods are safe
// for concurrent use.
type heartbeats struct {
	wake chan struct{} // holds a value when one waits

	mu      sync.Mutex
	waiting []*heartbeat       // guarded by mu, like all below
	asked   uint64             // epoch whose leader is asked at the moment
	cancel  context.CancelFunc // of that request; nil if none is under way
	stopped bool
}

// heartbeat is one on its way.
type heartbeat struct {
	beat    Heartbeat
	done    chan struct{} // closed when the fields below are set
	outcome KeepOutcome
	err     error
}

func newHeartbeats() *heartbeats { return &heartbeats{wake: make(chan struct{}, 1)} }

// errLeaderChanged says that another node may have to be asked.
var errLeaderChanged = errors.New("the leader has changed")

// add queues a heartbeat for the leader.
func (h *heartbeats) add(beat Heartbeat) (*heartbeat, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.stopped:
		return nil, ErrNotReady
	case len(h.waiting) >= HeartbeatsWaitingMax:
		return nil, ErrBusy
	}
	added := &heartbeat{beat: beat, done: make(chan struct{})}
	h.waiting = append(h.waiting, added)
	h.signal()
	return added, nil
}

func (h *heartbeats) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// take returns those for the next request, which goes to the leader of an epoch
// and ends with cancel.
func (h *heartbeats) take(epoch uint64, cancel context.CancelFunc) []*heartbeat {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(len(h.waiting), KeepHeartbeatsMax)
	taken := h.waiting[:n:n]
	if h.waiting = h.waiting[n:]; len(h.waiting) > 0 {
		h.signal()
	} else {
		h.waiting = nil
	}
	h.asked, h.cancel = epoch, cancel
	return taken
}

// rest notes that no request is under way.
func (h *heartbeats) rest() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cancel = nil
}

// turn ends the request under way if it is not to the leader of the newest epoch.
func (h *heartbeats) turn(epoch uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cancel != nil && h.asked != epoch {
		h.cancel()
	}
}

// stop fails what waits, and what is yet to come.
func (h *heartbeats) stop() {
	h.mu.Lock()
	waiting := h.waiting
	h.waiting, h.stopped = nil, true
	h.mu.Unlock()
	settleAll(waiting, nil, ErrNotReady)
}

func settleAll(beats []*heartbeat, outcomes []KeepOutcome, err error) {
	for i, b := range beats {
		if b.err = err; err == nil {
			b.outcome = outcomes[i]
		}
		close(b.done)
	}
}

// runHeartbeats sends heartbeats to the leader, one request at a time: whatever
// comes while one is under way goes with the next.
func (c *Catalog) runHeartbeats(ctx context.Context) error {
	defer c.heartbeats.stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.heartbeats.wake:
			c.sendHeartbeats(ctx)
		}
	}
}

func (c *Catalog) sendHeartbeats(ctx context.Context) {
	v := c.view.Load() // before turn can see the request
	ctx, cancel := context.WithTimeout(ctx, c.cfg.TakeoverMin)
	defer cancel()
	beats := c.heartbeats.take(v.epoch, cancel)
	defer c.heartbeats.rest()
	if !c.mayAsk(v) || c.view.Load().epoch != v.epoch {
		settleAll(beats, nil, errLeaderChanged)
		return
	}
	request := KeepRequest{Heartbeats: make([]Heartbeat, len(beats))}
	for i, b := range beats {
		request.Heartbeats[i] = b.beat
	}
	answer, err := c.peers.Keep(ctx, v.leader, request)
	switch {
	case err == nil && len(answer.Outcomes) != len(beats):
		err = fmt.Errorf("%d heartbeats got %d answers", len(beats), len(answer.Outcomes))
	case err != nil && c.view.Load().epoch != v.epoch:
		err = errLeaderChanged
	}
	if err != nil {
		c.metrics.peerErrors.Inc()
	}
	settleAll(beats, answer.Outcomes, err)
}

// mayAsk tells whether a view names another node that leads.
func (c *Catalog) mayAsk(v *view) bool {
	return c.peers != nil && !v.leads && v.leader != "" && v.leader != c.cfg.Address
}

// KeepMember renews the lease of a group's member, at the leader; if that cannot
// be reached, by an edit. It returns ErrMemberFenced if nobody is a member under
// that epoch any more, and an error that wraps ErrNotConfirmed if that could not
// be found out.
//
// If the member has a newer epoch the lease is not renewed, and the error is nil
// all the same: View, looked at after the call, has the newer epoch then. So
// whoever is told that its epoch is the newest may count its session timeout from
// when it sent the heartbeat.
func (c *Catalog) KeepMember(ctx context.Context, group, member string, epoch int64) error {
	if !ValidGroupName(group) || !ValidGroupName(member) {
		return ErrMemberFenced // and no leader need be bothered
	}
	beat := Heartbeat{Group: group, Member: member, Epoch: epoch}
	for range keepTries {
		v := c.view.Load()
		if v == nil {
			return fmt.Errorf("%w: %w", ErrNotConfirmed, ErrNotReady)
		}
		if !v.leads && !c.mayAsk(v) {
			break
		}
		outcome, err := c.tryKeep(ctx, v, beat)
		var other *NotLeaderError
		switch {
		case err == nil && outcome <= KeepFenced:
			return c.kept(ctx, beat, outcome)
		case ctx.Err() != nil || errors.Is(err, ErrBusy) || errors.Is(err, ErrNotReady):
			return fmt.Errorf("%w: %w", ErrNotConfirmed, err)
		case errors.Is(err, errLeaderChanged), v.leads && errors.As(err, &other):
			continue
		}
		break
	}
	return c.keepByEdit(ctx, beat)
}

func (c *Catalog) tryKeep(ctx context.Context, v *view, beat Heartbeat) (KeepOutcome, error) {
	if v.leads {
		outcomes, err := c.noteHeartbeats(ctx, []Heartbeat{beat})
		if err != nil {
			return 0, err
		}
		c.metrics.heartbeats.WithLabelValues(keptHere).Inc()
		return outcomes[0], nil
	}
	b, err := c.heartbeats.add(beat)
	if err != nil {
		return 0, err
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if b.err == nil {
		c.metrics.heartbeats.WithLabelValues(keptByLeader).Inc()
	}
	return b.outcome, b.err
}

// kept is what KeepMember returns after a leader's answer.
func (c *Catalog) kept(ctx context.Context, beat Heartbeat, outcome KeepOutcome) error {
	switch outcome {
	case KeepFenced:
		return ErrMemberFenced
	case KeepStale:
		if err := c.WaitMember(ctx, beat.Group, beat.Member, beat.Epoch); err != nil {
			return fmt.Errorf("%w: %w", ErrNotConfirmed, err)
		}
	}
	return nil
}

// keepByEdit renews a lease in the journal, which also makes some node leader. A
// member of which the replica does not know is nobody only if that is confirmed.
func (c *Catalog) keepByEdit(ctx context.Context, beat Heartbeat) error {
	known := func(s *State) bool {
		_, err := s.groups.current(beat.Group, beat.Member, beat.Epoch)
		return err == nil
	}
	if !known(c.View()) {
		s, err := c.Confirm(ctx)
		switch {
		case err != nil:
			return err
		case !known(s):
			return ErrMemberFenced
		}
	}
	r, err := c.Propose(ctx, KeepMember(beat))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotConfirmed, err)
	}
	c.metrics.heartbeats.WithLabelValues(keptByEdit).Inc()
	return r.Err
}

// ServeKeep notes heartbeats that another node sends. It refuses with a
// *NotLeaderError unless this one leads. After any other error some of them may
// have been noted.
func (c *Catalog) ServeKeep(ctx context.Context, r KeepRequest) (KeepAnswer, error) {
	if len(r.Heartbeats) > KeepHeartbeatsMax {
		return KeepAnswer{}, fmt.Errorf("%d heartbeats at once, at most %d are allowed", len(r.Heartbeats), KeepHeartbeatsMax)
	}
	outcomes, err := c.noteHeartbeats(ctx, r.Heartbeats)
	if err != nil {
		return KeepAnswer{}, err
	}
	c.metrics.relayedHeartbeats.Add(float64(len(outcomes)))
	return KeepAnswer{Outcomes: outcomes}, nil
}

// noteHeartbeats renews leases as the leader. It makes itself current if what it
// knows is too old to say so (see leases.go), or to refuse.
func (c *Catalog) noteHeartbeats(ctx context.Context, beats []Heartbeat) ([]KeepOutcome, error) {
	begun := time.Now()
	outcomes := make([]KeepOutcome, len(beats))
	for range keepTries {
		v := c.view.Load()
		if v == nil || !v.leads {
			return nil, notLeaderOf(v)
		}
		removal, done := c.judgeHeartbeats(v, beats, outcomes, begun)
		switch {
		case done:
			return outcomes, nil
		case removal != nil:
			select {
			case <-removal.Done():
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		default:
			if _, err := c.Confirm(ctx); err != nil {
				return nil, err
			}
		}
	}
	return nil, fmt.Errorf("%w: the store is too slow to prove who leads", ErrNotConfirmed)
}

func notLeaderOf(v *view) error {
	if v == nil {
		return &NotLeaderError{}
	}
	return &NotLeaderError{Epoch: v.epoch, Leader: v.leader}
}

// judgeHeartbeats says what becomes of heartbeats by a view, those aside that
// were judged before. If it is not done, the removal of a member has to be
// awaited, or the view is too old.
func (c *Catalog) judgeHeartbeats(v *view, beats []Heartbeat, outcomes []KeepOutcome, begun time.Time) (removal *Proposal, done bool) {
	c.leases.mu.Lock()
	defer c.leases.mu.Unlock()
	now := time.Now()
	done = true
	for i, b := range beats {
		if outcomes[i] != 0 {
			continue
		}
		id := memberID{b.Group, b.Member}
		m := v.state.groups.member(b.Group, b.Member)
		switch {
		case m == nil || b.Epoch < m.Joined:
			if !v.confirmed.Before(begun) {
				outcomes[i] = KeepFenced
			}
		case b.Epoch < m.Epoch:
			outcomes[i] = KeepStale
		case b.Epoch > m.Epoch: // that of a view to come, or nonsense
			if !v.confirmed.Before(begun) {
				outcomes[i] = KeepStale
			}
		case now.Sub(v.confirmed) > leaseSlack(m.sessionTimeout()) && !mutant.On(mutant.SkipLeaseProof):
		default:
			under, ok := c.leases.note(id, m, now)
			if under != nil {
				removal = under
			} else if ok {
				outcomes[i] = KeepRenewed
			}
		}
		done = done && outcomes[i] != 0
	}
	return removal, done
}
