package catalog

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/mutant"
)

// following is what a node has under way with the leader of one epoch. It
// belongs to the goroutine of Run's loop.
type following struct {
	epoch   uint64
	address string
	session Session
	seq     uint64    // of the newest request
	flights []*flight // in the order of their numbers; those that are not settled

	ctx context.Context // of the requests to this leader
	end context.CancelFunc

	pulling   bool               // a Pull is under way
	endPull   context.CancelFunc // of that one
	pullEnded bool               // it was ended by this node
	pullAfter time.Time          // none before this
	// lost says that the last Pull failed, or that the leader does not lead any
	// more. From then on the bucket says what comes next.
	lost bool
	// behind says that there is something in the bucket that the leader does
	// not send.
	behind bool
	// stalled is how long the leader has been waiting for the store.
	stalled time.Duration
	// nobody says that nobody listens at the address. A leader that does write
	// is somebody all the same; then refuted is set.
	nobody, refuted bool
	backoff         time.Duration // between Pulls that fail
	lookedAt        time.Time     // at the bucket
	lookAfter       time.Time     // no look before this
	lookPause       time.Duration
}

// flight is a forwarded request.
type flight struct {
	seq       uint64
	proposals []*Proposal
	layouts   []*commitLayout // of the commits among them, to decode their outcomes
	results   []Result        // once answered
	slot      journal.Slot    // that holds the edits, once answered

	done chan struct{} // closed when all of its edits are settled
}

// forwarded is the answer to a flight.
type forwarded struct {
	following *following
	flight    *flight
	answer    ForwardAnswer
	err       error
}

// pulled is the answer to a Pull.
type pulled struct {
	following *following
	after     journal.Slot // that it was asked for
	answer    PullAnswer
	err       error
}

const (
	// peerBackoffMin and peerBackoffMax bound the pauses between requests that
	// another node did not answer, and between looks at the bucket meanwhile.
	peerBackoffMin = 25 * time.Millisecond
	peerBackoffMax = 500 * time.Millisecond
	// pullGrace is how much longer than it was asked to wait a leader may take
	// for the answer to a Pull.
	pullGrace = time.Second
	// pullHeadStart is how long an entry that was seen in the bucket may take to
	// come from the leader before it is read from the bucket.
	pullHeadStart = 20 * time.Millisecond
)

// followNewest turns to the leader of the replica's epoch, unless this node
// leads. What was forwarded in an older epoch and is not settled by now was not
// committed there, as far as the newest claim is in force; it is sent again.
func (c *Catalog) followNewest(ctx context.Context) {
	f := c.following
	if c.peers == nil || f != nil && f.epoch == c.replica.epoch && !c.leader || f == nil && c.leader {
		return
	}
	c.endFollowing()
	c.relay.observe(c.replica.epoch, c.replica.leader)
	if c.leader {
		return
	}
	f = &following{epoch: c.replica.epoch, address: c.replica.leader, session: journal.NewNonce(), lookedAt: time.Now()}
	f.ctx, f.end = context.WithCancel(ctx)
	c.following = f
	c.heard()
}

// endFollowing gives up what is under way with a leader and puts its edits
// before all others. Whether a void claim hid their commit is not known, so they
// are in doubt.
func (c *Catalog) endFollowing() {
	f := c.following
	if f == nil {
		return
	}
	f.end()
	c.following = nil
	var unsettled []*Proposal
	for _, flight := range f.flights {
		for _, p := range flight.proposals {
			if !p.settled() {
				unsettled = append(unsettled, p)
			}
		}
	}
	c.landings = landings{}
	c.giveBackProposals(unsettled, true)
}

// mayForward tells whether there is a leader to whom another request may go.
func (c *Catalog) mayForward() bool {
	f := c.following
	return c.hearsLeader() && (len(f.flights) == 0 || len(f.flights) < c.cfg.ForwardsMax && f.seq-f.flights[0].seq < batchesKept-1)
}

// forward sends what waits in the queue to the leader.
func (c *Catalog) forward() {
	proposals := c.takeProposals(c.cfg.ForwardBytes)
	if len(proposals) == 0 {
		return
	}
	f := c.following
	f.seq++
	request := ForwardRequest{Epoch: f.epoch, Session: f.session, Seq: f.seq}
	fl := &flight{seq: f.seq, proposals: proposals, done: make(chan struct{})}
	request.Edits, fl.layouts = appendForwarded(nil, proposals)
	f.flights = append(f.flights, fl)
	c.metrics.forwardedEdits.Add(float64(len(proposals)))
	c.peerTasks.Go(func() { c.deliver(f, fl, request) })
}

// deliver sends one request until the leader has answered it, or it is settled
// without, or its epoch has ended. To repeat it is safe, since a leader takes each number once; and it may
// lead yet that says it does not, when its claim was seen before it knows itself.
func (c *Catalog) deliver(f *following, fl *flight, request ForwardRequest) {
	for backoff := peerBackoffMin; ; backoff = min(2*backoff, peerBackoffMax) {
		ctx, cancel := context.WithTimeout(f.ctx, c.cfg.ForwardTimeout)
		answer, err := c.peers.Forward(ctx, f.address, request)
		cancel()
		if errors.Is(err, ErrBusy) {
			backoff = peerBackoffMin
		} else {
			select {
			case c.answers <- forwarded{following: f, flight: fl, answer: answer, err: err}:
			case <-fl.done: // the journal said first what became of it
				return
			case <-f.ctx.Done():
				return
			}
		}
		if err == nil {
			return
		}
		select {
		case <-time.After(backoff):
		case <-fl.done:
			return
		case <-f.ctx.Done():
			return
		}
	}
}

// takeArrivals takes what other nodes answered meanwhile.
func (c *Catalog) takeArrivals(ctx context.Context) error {
	c.pull()
	for {
		select {
		case a := <-c.answers:
			c.takeAnswer(a)
		case p := <-c.pulls:
			if err := c.takePull(ctx, p); err != nil {
				return err
			}
			c.pull()
		default:
			return ctx.Err()
		}
	}
}

func (c *Catalog) takeAnswer(a forwarded) {
	if a.following != c.following {
		return
	}
	err := a.err
	if err == nil {
		a.flight.results, err = decodeOutcomes(a.answer.Outcomes, a.flight.layouts)
	}
	if err != nil {
		// Whether the leader took it is told by the journal, once a new epoch
		// has begun.
		c.loseLeader(err)
		return
	}
	a.flight.slot = a.answer.Slot
	c.heard()
	c.settleFlights()
}

// settleFlights settles answered edits that the replica holds: whoever is told
// of a commit then finds it on this node.
func (c *Catalog) settleFlights() {
	f := c.following
	if f == nil {
		return
	}
	kept := f.flights[:0]
	for _, fl := range f.flights {
		if fl.results != nil && (fl.slot <= c.replica.last || mutant.On(mutant.SkipAwaitReplica)) {
			for i, p := range fl.proposals {
				c.settle(p, fl.results[i])
			}
		}
		if fl.settled() {
			close(fl.done)
		} else {
			kept = append(kept, fl)
		}
	}
	clear(f.flights[len(kept):])
	f.flights = kept
}

// settled tells that the outcome of every edit was found in the journal.
func (fl *flight) settled() bool {
	for _, p := range fl.proposals {
		if !p.settled() {
			return false
		}
	}
	return true
}

// settle resolves an edit that the replica holds, unless it is.
func (c *Catalog) settle(p *Proposal, r Result) {
	if p.settled() {
		return
	}
	p.resolve(r, nil)
	c.stuckSince = time.Now()
}

// settleLanded settles the edits whose outcome the applied entries held.
func (c *Catalog) settleLanded() {
	found := c.landings.found
	c.landings.found = nil
	for _, l := range found {
		c.settle(l.proposal, l.result)
	}
}

// pull asks the leader for the next entries, unless it is being asked.
func (c *Catalog) pull() {
	f := c.following
	if !c.followsSomebody() || f.pulling || time.Now().Before(f.pullAfter) {
		return
	}
	f.pulling = true
	request := PullRequest{Address: c.cfg.Address, After: c.replica.last, Nonce: c.replica.nonce, Wait: c.cfg.PullWait}
	if c.resigning.Load() {
		request.Address = ""
	}
	ctx, cancel := context.WithTimeout(f.ctx, c.cfg.PullWait+pullGrace)
	f.endPull = cancel
	c.peerTasks.Go(func() {
		defer cancel()
		answer, err := c.peers.Pull(ctx, f.address, request)
		select {
		case c.pulls <- pulled{following: f, after: request.After, answer: answer, err: err}:
		case <-f.ctx.Done():
		}
	})
}

// withdraw ends the Pull under way, and with it the leader's belief that this
// node could lead next.
func (c *Catalog) withdraw() {
	if f := c.following; f != nil && f.pulling {
		f.pullEnded = true
		f.endPull()
	}
}

func (c *Catalog) takePull(ctx context.Context, p pulled) error {
	f := p.following
	f.pulling = false
	ended := f.pullEnded
	f.pullEnded = false
	if f != c.following || p.err != nil && ended {
		return nil
	}
	if p.err != nil {
		c.pullFailed(p.err)
		return nil
	}
	if f.stalled = p.answer.Stalled; f.stalled < c.cfg.TakeoverMin {
		c.heard()
	}
	f.lost, f.nobody, f.backoff = false, false, 0
	err := c.applyPulled(ctx, p.after, p.answer.Entries)
	if p.answer.Resigned && f == c.following {
		c.claimNow = p.answer.Successor == c.cfg.Address && !c.resigning.Load()
		f.pullAfter = time.Now().Add(peerBackoffMin)
		c.loseLeader(errResigned)
	}
	return err
}

var errResigned = errors.New("the leader hands over")

func (c *Catalog) pullFailed(err error) {
	f := c.following
	var notLeader *NotLeaderError
	switch {
	case errors.Is(err, ErrBehind):
		c.heard()
		f.behind = true
	case errors.As(err, &notLeader):
		f.behind = notLeader.Epoch > f.epoch
	}
	f.backoff = min(max(2*f.backoff, peerBackoffMin), peerBackoffMax)
	f.pullAfter = time.Now().Add(f.backoff)
	c.loseLeader(err)
}

// applyPulled applies entries that follow the slot after. The replica may have
// read some of them from the bucket meanwhile.
func (c *Catalog) applyPulled(ctx context.Context, after journal.Slot, encoded [][]byte) error {
	var entries []journal.Entry
	for i, body := range encoded {
		slot := after + 1 + journal.Slot(i)
		if slot <= c.replica.last {
			continue
		}
		e, err := journal.Decode(slot, body)
		if err != nil {
			c.loseLeader(err) // the bucket has the truth
			break
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return nil
	}
	c.metrics.pulledEntries.Add(float64(len(entries)))
	changed := c.newTouched()
	err := c.replica.applyAll(entries, changed)
	c.publish(ctx, time.Time{})
	c.watch.notify(changed)
	return err
}

// loseLeader turns to the bucket for a while, for the next entries and for the
// claim of another leader.
func (c *Catalog) loseLeader(err error) {
	f := c.following
	if !f.lost {
		level := slog.LevelWarn
		if notLeader := (*NotLeaderError)(nil); errors.Is(err, ErrNobodyThere) || errors.Is(err, ErrBehind) || errors.Is(err, errResigned) || errors.As(err, &notLeader) {
			level = slog.LevelInfo // as it happens whenever the lead changes
		}
		c.logger.Log(f.ctx, level, "the leader cannot be followed", "leader", f.address, "epoch", f.epoch, "error", err)
		f.lookAfter, f.lookPause = time.Time{}, 0
	}
	f.lost, f.nobody = true, errors.Is(err, ErrNobodyThere)
	c.metrics.peerErrors.Inc()
}

// hearsLeader tells whether the leader sends its entries without being asked
// for each.
func (c *Catalog) hearsLeader() bool {
	return c.followsSomebody() && !c.following.lost
}

// awaitPulled gives the entries up to a slot, which was seen in the bucket,
// some time to come from the leader.
func (c *Catalog) awaitPulled(ctx context.Context, upto journal.Slot) error {
	if !c.hearsLeader() {
		return nil
	}
	timer := time.NewTimer(pullHeadStart)
	defer timer.Stop()
	for c.replica.last < upto && c.hearsLeader() {
		c.pull()
		select {
		case p := <-c.pulls:
			if err := c.takePull(ctx, p); err != nil {
				return err
			}
		case a := <-c.answers:
			c.takeAnswer(a)
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// busy tells whether edits of this node wait to be committed.
func (c *Catalog) busy(edits bool) bool {
	return edits || c.following != nil && len(c.following.flights) > 0
}

// noteWork remembers since when edits have been waiting with none settled.
func (c *Catalog) noteWork(edits bool) {
	switch {
	case !c.busy(edits):
		c.stuckSince = time.Time{}
	case c.stuckSince.IsZero():
		c.stuckSince = time.Now()
	}
}

// lookDue tells whether it is time to look in the bucket for what no leader
// sends.
func (c *Catalog) lookDue() bool { return !time.Now().Before(c.lookTime()) }

// never is a time that does not come.
var never = time.Unix(1<<40, 0)

func (c *Catalog) lookTime() time.Time {
	f := c.following
	switch {
	case f == nil || c.hearsLeader():
		return never
	case f.behind || !c.stuckSince.IsZero() || c.watch.any():
		return f.lookAfter
	default: // nobody needs it; but the longer it waits, the more there will be to read
		return f.lookedAt.Add(c.cfg.RecentFor)
	}
}

func (c *Catalog) look(ctx context.Context) error {
	f := c.following
	f.lookPause = min(max(2*f.lookPause, peerBackoffMin), peerBackoffMax)
	f.lookedAt = time.Now()
	f.lookAfter = f.lookedAt.Add(f.lookPause)
	last := c.replica.last
	if err := c.follow(ctx); err != nil {
		return err
	}
	if f != c.following {
		return nil
	}
	if f.behind {
		f.behind, f.pullAfter = false, time.Now()
	}
	if c.replica.last > last {
		c.heardOf()
	}
	return nil
}

// heard notes a sign of life of the leader, and draws how long the next silence
// may be.
func (c *Catalog) heard() {
	c.heardAt = time.Now()
	spread := c.cfg.TakeoverMax - c.cfg.TakeoverMin
	c.patience = c.cfg.TakeoverMin + rand.N(spread+1)
	c.patienceAbandoned = c.cfg.AbandonedMin + rand.N(c.cfg.AbandonedMax-c.cfg.AbandonedMin+1)
}

// heardOf is heard for a leader that was seen to write, though it cannot be reached.
func (c *Catalog) heardOf() {
	c.following.refuted = true
	c.heard()
}

// claimDue tells whether this node should take the lead.
func (c *Catalog) claimDue(edits bool) bool { return !time.Now().Before(c.claimTime(edits)) }

// claimTime is when this node should take the lead, if things stay as they are.
func (c *Catalog) claimTime(edits bool) time.Time {
	if c.leader {
		return never
	}
	if c.claimNow {
		return time.Time{}
	}
	f := c.following
	switch {
	case !c.busy(edits):
		return never
	case f == nil, f.address == "", f.address == c.cfg.Address: // nobody to wait for
		return c.claimAfter
	}
	due := c.heardAt.Add(c.patience)
	if f.nobody && !f.refuted {
		due = c.heardAt.Add(c.patienceAbandoned)
	}
	return later(c.claimAfter, earlier(due, c.desertedAt()))
}

// desertedAt is when a leader that may well write for others has done nothing
// for this node for too long; never while it is the store that holds it up.
func (c *Catalog) desertedAt() time.Time {
	if f := c.following; !f.lost && f.stalled >= c.cfg.TakeoverMin {
		return never
	}
	return c.stuckSince.Add(c.cfg.UnreachableMax)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// nextTurn is when there is something to do though nothing arrives.
func (c *Catalog) nextTurn(edits bool) time.Time {
	next := earlier(c.claimTime(edits), c.lookTime())
	if c.followsSomebody() && !c.following.pulling {
		next = earlier(next, c.following.pullAfter)
	}
	return next
}

// followsSomebody tells whether the newest claim names another node.
func (c *Catalog) followsSomebody() bool {
	f := c.following
	return f != nil && f.address != "" && f.address != c.cfg.Address
}

// landings finds in applied entries the edits that this node has forwarded.
type landings struct {
	following *following // whose flights are looked for
	found     []landing

	flight     *flight // whose edits come next
	next, left int     // the next of them, and how many there are
}

// landing is an edit with what became of it.
type landing struct {
	proposal *Proposal
	result   Result
}

// add takes one edit of an entry, in the order in which they stand there.
func (l *landings) add(e Edit, r Result) {
	if l == nil {
		return
	}
	if m, ok := e.(Forwarded); ok {
		l.flight = l.following.flightOf(m)
		l.next, l.left = int(m.First), int(m.Count)
		return
	}
	if l.flight == nil {
		return
	}
	l.found = append(l.found, landing{proposal: l.flight.proposals[l.next], result: r})
	l.next++
	if l.left--; l.left == 0 || l.next == len(l.flight.proposals) {
		l.flight = nil
	}
}

// count is how many were found.
func (l *landings) count() int {
	if l == nil {
		return 0
	}
	return len(l.found)
}

// cut forgets what was found beyond n: the entries were not applied after all.
func (l *landings) cut(n int) {
	if l != nil {
		l.found, l.flight = l.found[:n], nil
	}
}

// flightOf returns the flight that an entry names, nil if it is another node's.
func (f *following) flightOf(m Forwarded) *flight {
	if f == nil || m.Session != f.session {
		return nil
	}
	for _, fl := range f.flights {
		if fl.seq == m.Seq && int(m.First) < len(fl.proposals) {
			return fl
		}
	}
	return nil
}

// newTouched also looks for the edits of this node.
func (c *Catalog) newTouched() touched {
	c.landings = landings{following: c.following, found: c.landings.found}
	t := newTouched()
	t.landings = &c.landings
	return t
}
