package catalog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/mutant"
)

// Limits of a leader.
const (
	// sessionsMax bounds the nodes that forward to a leader within its epoch.
	sessionsMax = 100_000
	// relayEntriesMax bounds the entries that a leader keeps for its followers.
	relayEntriesMax = 16_384
	// batchesKept is how many answers of a session are kept. A follower repeats no
	// older request: it sends none that is so far ahead of one that it waits for.
	batchesKept = 16
	// answersAge is how long the answers of a session are kept that sends nothing
	// any more. That its requests were taken is not forgotten before the epoch ends.
	answersAge = time.Minute
	// successorAge is how long after its last Pull a follower may be asked to lead.
	successorAge = time.Second
	// followersMax bounds the followers that are remembered as successors.
	followersMax = 1000
)

// relay is what a leader does for other nodes. Its methods are safe for
// concurrent use.
type relay struct {
	cfg     Config
	enqueue func(...*Proposal) error

	mu       sync.Mutex
	changed  chan struct{} // guarded by mu; closed and replaced when something that others wait for happens
	leads    bool          // guarded by mu, like all below
	epoch    uint64        // of the newest claim that this node knows
	leader   string        // address in it
	resigns  bool          // no edits are taken any more
	resigned bool          // and none are written
	heir     string        // address of the node that should claim next
	chosenAt time.Time     // when it was chosen
	since    time.Time     // when the PUT of the slot under way began; zero if none is

	recent    []*relayed // the newest entries, without a gap
	bytes     int        // of their payloads
	sessions  map[Session]*session
	followers map[string]time.Time // by address: when it pulled last
}

// relayed is an entry that followers may ask for.
type relayed struct {
	entry journal.Entry // without its payload once it is encoded
	body  []byte        // encoded; nil until somebody asks
	size  int           // of the payload in bytes
}

// session is what one node forwarded within this epoch.
type session struct {
	taken   uint64 // number of the newest request whose edits were taken
	takenAt time.Time
	batches map[uint64]*batch
}

// batch is the edits of one request.
type batch struct {
	proposals []*Proposal // nil once it is answered; an answer takes far less
	layouts   []*commitLayout
	answer    ForwardAnswer
	err       error
}

func newRelay(cfg Config, enqueue func(...*Proposal) error) *relay {
	return &relay{cfg: cfg, enqueue: enqueue, changed: make(chan struct{})}
}

// lead begins an epoch with its claim.
func (r *relay) lead(claim *journal.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leads, r.epoch, r.leader = true, claim.Epoch, claim.Writer
	r.resigned, r.heir = false, ""
	r.recent, r.bytes = nil, 0
	r.sessions, r.followers = map[Session]*session{}, map[string]time.Time{}
	r.add(claim)
}

// stepDown ends the lead.
func (r *relay) stepDown() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leads, r.since = false, time.Time{}
	r.recent, r.bytes, r.sessions, r.followers = nil, 0, nil, nil
	r.broadcast()
}

// observe notes who leads, for those who ask this node.
func (r *relay) observe(epoch uint64, leader string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch, r.leader = epoch, leader
}

// writing notes that the PUT of a slot has begun.
func (r *relay) writing(since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = since
}

// append adds an entry that was committed.
func (r *relay) append(e *journal.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Time{}
	r.add(e)
}

// add wants mu held.
func (r *relay) add(e *journal.Entry) {
	r.recent = append(r.recent, &relayed{entry: *e, size: len(e.Payload)})
	r.bytes += len(e.Payload)
	for len(r.recent) > 1 && (r.bytes > r.cfg.RelayBytes || len(r.recent) > relayEntriesMax) {
		r.bytes -= r.recent[0].size
		r.recent[0] = nil
		r.recent = r.recent[1:]
	}
	r.broadcast()
}

// broadcast wants mu held.
func (r *relay) broadcast() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// notLeader wants mu held.
func (r *relay) notLeader() error { return &NotLeaderError{Epoch: r.epoch, Leader: r.leader} }

// ServeForward takes edits of another node's catalog and returns once they are
// settled. It refuses with a *NotLeaderError unless this one leads in the
// request's epoch, and with ErrBusy if its queue is full or an earlier request
// of the session is missing; either way nothing of the request was done. After
// any other error the edits may be committed yet.
func (c *Catalog) ServeForward(ctx context.Context, request ForwardRequest) (ForwardAnswer, error) {
	b, proposals, err := c.relay.take(ctx, request)
	if err != nil {
		return ForwardAnswer{}, err
	}
	for _, p := range proposals {
		select {
		case <-p.Done():
		case <-ctx.Done():
			return ForwardAnswer{}, ctx.Err()
		}
	}
	c.relay.mu.Lock()
	defer c.relay.mu.Unlock()
	if b.proposals != nil {
		c.metrics.relayedEdits.Add(float64(len(b.proposals)))
		b.encode()
		b.proposals, b.layouts = nil, nil
	}
	return b.answer, b.err
}

// encode makes the answer of a batch that is settled. It wants relay.mu held.
func (b *batch) encode() {
	results := make([]Result, len(b.proposals))
	for i, p := range b.proposals {
		if p.err != nil {
			if b.err = p.err; !errors.Is(p.err, ErrUnknownOutcome) {
				b.err = fmt.Errorf("%w: %w", ErrUnknownOutcome, p.err)
			}
			return
		}
		results[i] = p.result
		b.answer.Slot = max(b.answer.Slot, p.slot)
	}
	b.answer.Outcomes = appendOutcomes(nil, results, b.layouts)
}

// errForgotten answers the repeat of a request that was answered long ago.
var errForgotten = errors.New("the answer to this request is not kept any more")

// take queues the edits of a request, once and in the order of its session, and
// waits until those before it are there. The proposals are those to wait for.
func (r *relay) take(ctx context.Context, request ForwardRequest) (*batch, []*Proposal, error) {
	timeout := time.NewTimer(r.cfg.PullWait)
	defer timeout.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if !r.leads || r.epoch != request.Epoch {
			return nil, nil, r.notLeader()
		}
		s := r.sessions[request.Session]
		if s == nil {
			s = &session{batches: map[uint64]*batch{}}
		}
		if request.Seq <= s.taken && !mutant.On(mutant.SkipForwardOnce) {
			if b := s.batches[request.Seq]; b != nil {
				return b, b.proposals, nil
			}
			return nil, nil, errForgotten
		}
		if request.Seq == s.taken+1 || mutant.On(mutant.SkipForwardOnce) && request.Seq <= s.taken || mutant.On(mutant.SkipForwardOrder) {
			return r.takeNext(s, request)
		}
		changed := r.changed
		r.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-timeout.C:
			err = ErrBusy
		case <-ctx.Done():
			err = ctx.Err()
		}
		r.mu.Lock()
		if err != nil {
			return nil, nil, err
		}
	}
}

// takeNext takes the request that follows those of its session. It wants mu held.
func (r *relay) takeNext(s *session, request ForwardRequest) (*batch, []*Proposal, error) {
	if r.resigns {
		return nil, nil, r.notLeader()
	}
	if s.taken == 0 {
		if len(r.sessions) >= sessionsMax {
			return nil, nil, ErrBusy
		}
		r.forgetAnswers()
	}
	proposals, layouts, err := decodeForwarded(request.Edits)
	if err != nil {
		return nil, nil, err
	}
	for i, p := range proposals {
		p.origin = &origin{session: request.Session, seq: request.Seq, index: i}
	}
	if err := r.enqueue(proposals...); err != nil {
		return nil, nil, err
	}
	b := &batch{proposals: proposals, layouts: layouts}
	s.taken, s.takenAt = request.Seq, time.Now()
	s.batches[request.Seq] = b
	delete(s.batches, request.Seq-batchesKept)
	r.sessions[request.Session] = s
	r.broadcast()
	return b, proposals, nil
}

// forgetAnswers drops those of nodes that have gone. It wants mu held, and is
// called when a node comes.
func (r *relay) forgetAnswers() {
	for _, s := range r.sessions {
		if time.Since(s.takenAt) > answersAge {
			clear(s.batches)
		}
	}
}

// ServePull returns the entries after the follower's last one, and waits for
// one if there is none. It refuses with a *NotLeaderError unless this node
// leads, and with ErrBehind if it does not hold the follower's last entry.
func (c *Catalog) ServePull(ctx context.Context, request PullRequest) (PullAnswer, error) {
	r := c.relay
	timeout := time.NewTimer(min(max(request.Wait, 0), r.cfg.TakeoverMin))
	defer timeout.Stop()
	waited := false
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if !r.leads {
			return PullAnswer{}, r.notLeader()
		}
		r.note(request.Address)
		next, err := r.after(request.After, request.Nonce)
		if err != nil {
			return PullAnswer{}, err
		}
		if len(next) > 0 || r.resigned || waited {
			return r.answerPull(next), nil
		}
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-timeout.C:
			waited = true
		case <-ctx.Done():
			err = ctx.Err()
		}
		r.mu.Lock()
		if err != nil {
			delete(r.followers, request.Address) // it went away, or does not want to lead
			return PullAnswer{}, err
		}
	}
}

// note remembers a follower that may lead next. It wants mu held.
func (r *relay) note(address string) {
	if address == "" {
		return
	}
	if len(r.followers) >= followersMax {
		for other, at := range r.followers {
			if time.Since(at) > successorAge {
				delete(r.followers, other)
			}
		}
	}
	if len(r.followers) < followersMax {
		r.followers[address] = time.Now()
	}
}

// after returns the entries after one that the asker names with its nonce. It
// wants mu held.
func (r *relay) after(slot journal.Slot, nonce journal.Nonce) ([]*relayed, error) {
	first := r.recent[0].entry.Slot
	if slot+1 < first || slot >= first+journal.Slot(len(r.recent)) {
		return nil, ErrBehind
	}
	known := r.recent[0].entry.Prev
	if slot >= first {
		known = r.recent[slot-first].entry.Nonce
	}
	if known != nonce {
		return nil, ErrBehind
	}
	return r.recent[slot+1-first:], nil
}

// answerPull wants mu held.
func (r *relay) answerPull(next []*relayed) PullAnswer {
	answer := PullAnswer{Resigned: r.resigned, Successor: r.heir}
	if !r.since.IsZero() {
		answer.Stalled = time.Since(r.since)
	}
	size := 0
	for _, e := range next {
		if e.body == nil {
			e.body = e.entry.Append(make([]byte, 0, e.entry.EncodedLen()))
			e.entry.Payload = nil
		}
		if size += len(e.body); size > PullBytesMax {
			break
		}
		answer.Entries = append(answer.Entries, e.body)
	}
	return answer
}

// Resign hands the lead to another node, if this one has it: it takes no edits
// of other nodes from then on, commits its own, and returns when a successor has
// claimed, at once if nobody follows. ctx's error says that it gave up.
func (c *Catalog) Resign(ctx context.Context) error {
	c.relay.resign()
	c.resigning.Store(true)
	c.signal()
	select {
	case <-c.resigned:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hand over the lead: %w", ctx.Err())
	}
}

func (r *relay) resign() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resigns = true
}

// chooseSuccessor says that nothing is written any more, and by whom it should
// be from now on: the follower that asked last. One that does not claim in time
// gives way to another. "" if there is none.
func (r *relay) chooseSuccessor() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heir != "" && time.Since(r.chosenAt) < r.cfg.PullWait {
		return r.heir
	}
	passedOver := r.heir
	var newest time.Time
	for address, at := range r.followers {
		if address != passedOver && time.Since(at) <= successorAge && at.After(newest) {
			r.heir, newest = address, at
		}
	}
	r.chosenAt = time.Now()
	r.resigned = r.heir != ""
	r.broadcast()
	return r.heir
}

// handOverPoll is how often a leader that resigned looks for its successor's claim.
const handOverPoll = 20 * time.Millisecond

func (c *Catalog) handedOver() bool {
	select {
	case <-c.resigned:
		return true
	default:
		return false
	}
}

// handsOver tells that this node waits for a successor. One that found none leads
// as before for as long as it runs.
func (c *Catalog) handsOver() bool { return c.resigning.Load() && !c.handedOver() }

// handOver waits for the successor's claim, after all edits were written.
func (c *Catalog) handOver(ctx context.Context, timer *time.Timer) error {
	if c.handOverEnd.IsZero() {
		c.handOverEnd = time.Now().Add(c.cfg.HandOverMax)
	}
	if !c.leader || c.relay.chooseSuccessor() == "" || time.Now().After(c.handOverEnd) {
		c.withdraw()
		close(c.resigned)
		return nil
	}
	// The slot that this node would write next holds the claim, once it is there.
	if err := c.confirm(ctx); err != nil || !c.leader {
		return err
	}
	timer.Reset(handOverPoll)
	select {
	case <-timer.C:
	case <-c.wake:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
