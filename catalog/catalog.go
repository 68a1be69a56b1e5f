package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog/journal"
)

// Errors of the running catalog.
var (
	// ErrUnknownOutcome says that an edit may or may not have been committed.
	ErrUnknownOutcome = errors.New("the outcome of the edit is unknown")
	// ErrNotCommitted says that an edit was given up before it was sent.
	ErrNotCommitted = errors.New("the edit was not committed")
	// ErrNotConfirmed says that the replica could not be made current in time.
	ErrNotConfirmed = errors.New("the catalog cannot be confirmed at the moment")
	// ErrBusy says that the leader's queue is full; nothing was taken.
	ErrBusy = errors.New("the catalog's queue is full")
	// ErrNotReady says that the replica has not been loaded yet.
	ErrNotReady = errors.New("the catalog is not loaded yet")
	// ErrSlotMissing says that the journal has a hole: a slot is gone that no
	// snapshot holds.
	ErrSlotMissing = errors.New("the journal's next slot is missing, and no snapshot holds it")
	// ErrEditTooLarge says that an edit does not fit into one journal entry.
	ErrEditTooLarge = errors.New("the edit does not fit into a journal entry")
)

// Catalog is a replica of the catalog that takes the lead when it has edits to
// commit. Its methods are safe for concurrent use.
type Catalog struct {
	cfg     Config
	journal *journal.Journal
	known   uint32 // newest feature level that this code knows
	peers   Peers  // nil: this node leads, or waits for others to be quiet
	logger  *slog.Logger
	metrics *metrics
	watch   *watch
	relay   *relay
	leases  *leases

	heartbeats *heartbeats // to the leader

	ready chan struct{}
	view  atomic.Pointer[view]
	wake  chan struct{} // holds a value when there is something to do

	mu         sync.Mutex
	queue      []*Proposal // guarded by mu; in the order in which they will be applied
	queueBytes int         // guarded by mu
	questions  []*question // guarded by mu
	stopped    bool        // guarded by mu

	resigning atomic.Bool   // set by Resign
	resigned  chan struct{} // closed when the lead is another node's, or nobody's

	answers   chan forwarded
	pulls     chan pulled
	peerTasks sync.WaitGroup // requests to other nodes

	// The rest belongs to the goroutine of Run's loop.
	replica    *replica
	leader     bool
	claimAfter time.Time  // no claim before this
	claimNow   bool       // the leader wishes that this node claims
	following  *following // nil while this node leads, or without peers
	landings   landings
	// heardAt is when the leader last gave a sign of life; patience, or
	// patienceAbandoned if nobody listens at its address, is how long it may be
	// silent before a node with edits to commit claims.
	heardAt                     time.Time
	patience, patienceAbandoned time.Duration
	stuckSince                  time.Time // since when edits have been waiting with none settled; zero if none wait
	leaseScan                   leaseScan
	handOverEnd                 time.Time // when to stop waiting for a successor; zero before Resign
	lastExpiry                  time.Time // when the newest Expire was sent
	expiry                      *Proposal // that one; nil before the first

	snapshotting atomic.Bool
	snapshots    chan snapshotJob
	// snapshotBytes is the size of the newest snapshot known here.
	snapshotBytes atomic.Int64
}

// view is what readers see: a state and when it was last proved current.
type view struct {
	state     *State
	confirmed time.Time // when the request that proved it current was sent
	leads     bool      // this node is the leader, as far as it knows
	epoch     uint64    // of the newest claim
	leader    string    // address in it
}

// question asks that the replica be made current.
type question struct {
	done chan struct{} // closed when view or err is set
	view *State
	err  error
}

// New returns a catalog over a journal. Without peers it reaches other nodes
// through the bucket alone. Nothing happens before Run.
func New(cfg Config, j *journal.Journal, peers Peers, logger *slog.Logger, reg prometheus.Registerer) (*Catalog, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Catalog{
		cfg:       cfg,
		journal:   j,
		known:     FeatureLevel,
		peers:     peers,
		logger:    logger,
		metrics:   newMetrics(reg),
		watch:     newWatch(),
		leases:    newLeases(),
		ready:     make(chan struct{}),
		wake:      make(chan struct{}, 1),
		snapshots: make(chan snapshotJob, 1),
		resigned:  make(chan struct{}),
		answers:   make(chan forwarded),
		pulls:     make(chan pulled),
	}
	c.heartbeats = newHeartbeats()
	c.relay = newRelay(cfg, c.enqueue)
	return c, nil
}

// Run loads the replica and keeps it, until ctx ends or the catalog cannot go
// on (damage in the bucket, a newer version's edits, a replica that differs
// from the journal). Edits that were sent and not settled by then are
// ErrUnknownOutcome.
func (c *Catalog) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.loop(ctx) })
	group.Go(func() error { return c.runSnapshots(ctx) })
	group.Go(func() error { return c.runHeartbeats(ctx) })
	err := group.Wait()
	c.relay.stepDown()
	c.stop()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Ready is closed once the replica is loaded.
func (c *Catalog) Ready() <-chan struct{} { return c.ready }

// View returns the replica as it is; it may be behind. Nil before Ready.
func (c *Catalog) View() *State {
	if v := c.view.Load(); v != nil {
		return v.state
	}
	return nil
}

// Recent returns a view that was proved current within the last
// Config.RecentFor, and confirms it if need be.
func (c *Catalog) Recent(ctx context.Context) (*State, error) {
	if v := c.view.Load(); v != nil && time.Since(v.confirmed) < c.cfg.RecentFor {
		return v.state, nil
	}
	return c.Confirm(ctx)
}

// Confirm returns a view that is current as of the call, or an error that
// wraps ErrNotConfirmed.
func (c *Catalog) Confirm(ctx context.Context) (*State, error) {
	q := &question{done: make(chan struct{})}
	if err := c.ask(q); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotConfirmed, err)
	}
	select {
	case <-q.done:
		return q.view, q.err
	case <-ctx.Done():
		// The question stays in the queue until the store answers; it is
		// bounded by QueueMax and costs nothing of its own.
		return nil, fmt.Errorf("%w: %w", ErrNotConfirmed, ctx.Err())
	}
}

func (c *Catalog) ask(q *question) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return ErrNotReady
	}
	if len(c.questions) >= c.cfg.QueueMax {
		return ErrBusy
	}
	c.questions = append(c.questions, q)
	c.signal()
	return nil
}

// Propose commits one edit and returns what became of it; that it was refused
// is in Result.Err. Its own error wraps ErrUnknownOutcome if the edit may have
// been committed; with any other error it was not.
func (c *Catalog) Propose(ctx context.Context, e Edit) (Result, error) {
	p, err := c.Submit(e)
	if err != nil {
		return Result{}, err
	}
	return p.Wait(ctx)
}

// Submit queues one edit. Edits are applied in the order of their submission.
func (c *Catalog) Submit(e Edit) (*Proposal, error) {
	p := newProposal(e)
	if p.size > entryPayloadMax {
		return nil, fmt.Errorf("%w: up to %d bytes", ErrEditTooLarge, p.size)
	}
	return p, c.enqueue(p)
}

// enqueue puts proposals into the queue, all or none.
func (c *Catalog) enqueue(proposals ...*Proposal) error {
	bytes := 0
	for _, p := range proposals {
		bytes += p.size
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return fmt.Errorf("%w: the catalog has stopped", ErrNotCommitted)
	}
	if len(c.queue)+len(proposals) > c.cfg.QueueMax || c.queueBytes+bytes > c.cfg.QueueBytesMax && len(c.queue) > 0 {
		return ErrBusy
	}
	c.queue = append(c.queue, proposals...)
	c.queueBytes += bytes
	c.signal()
	return nil
}

func (c *Catalog) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// stop fails whatever still waits; Run's goroutines have ended.
func (c *Catalog) stop() {
	c.mu.Lock()
	queue, questions := c.queue, c.questions
	c.queue, c.questions, c.queueBytes, c.stopped = nil, nil, 0, true
	c.mu.Unlock()
	for _, p := range queue {
		outcome := ErrNotCommitted
		if p.inDoubt.Load() {
			outcome = ErrUnknownOutcome
		}
		p.resolve(Result{}, fmt.Errorf("%w: the catalog has stopped", outcome))
	}
	if f := c.following; f != nil {
		for _, flight := range f.flights {
			for _, p := range flight.proposals {
				if !p.settled() {
					p.resolve(Result{}, fmt.Errorf("%w: the catalog has stopped", ErrUnknownOutcome))
				}
			}
		}
	}
	for _, q := range questions {
		q.err = fmt.Errorf("%w: the catalog has stopped", ErrNotConfirmed)
		close(q.done)
	}
}
