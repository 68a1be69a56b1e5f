package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest/wal"
	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// committer is the catalog, as ingest sees it.
type committer interface {
	Ready() <-chan struct{}
	View() *catalog.State
	Submit(e catalog.Edit) (*catalog.Proposal, error)
	Propose(ctx context.Context, e catalog.Edit) (catalog.Result, error)
}

// uploader puts a sealed segment, whose CRC32C should be crc, into the bucket, and
// tries until ctx ends.
type uploader interface {
	Upload(ctx context.Context, key string, body []byte, crc uint32) (objstore.Receipt, error)
}

// Warmer takes the body of a segment that was just committed, for readers of
// this node. It may keep body.
type Warmer interface {
	Warm(id catalog.ObjectID, body []byte)
}

// Ingester takes records for any partition and brings them into the log.
type Ingester struct {
	cfg     Config
	catalog committer
	wal     *wal.Log // nil: acks=all only
	logger  *slog.Logger
	metrics *metrics
	node    catalog.NodeID
	lane    *lane
	keyless atomic.Uint64

	ready     chan struct{} // closed when requests are taken
	stopped   chan struct{} // closed when Run has returned
	walErr    error         // why the write-ahead buffer failed; set before Run returns
	flushWake chan struct{} // holds a value when the flush controller is to look

	admission   admission
	validations chan struct{} // a token for each compressed batch that may be checked
	uploads     uploadMeter

	// mu makes numbers, write-ahead frames and units follow the same order.
	mu        sync.Mutex
	number    uint64          // guarded by mu; of the newest unit
	flush     flushController // guarded by mu
	draining  bool            // guarded by mu
	unsettled int             // guarded by mu; units that are not resolved
	walled    unsettledWAL    // guarded by mu
	drained   chan struct{}   // closed when draining and unsettled is 0
}

// New returns an ingest node under a new node id, which is that of
// its write-ahead log, if it has one. Nothing is taken before Run is ready.
func New(cfg Config, c committer, up uploader, warm Warmer, log *wal.Log, logger *slog.Logger, reg prometheus.Registerer) (*Ingester, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	g := &Ingester{
		cfg:         cfg,
		catalog:     c,
		wal:         log,
		logger:      logger,
		node:        uuid.New(),
		ready:       make(chan struct{}),
		stopped:     make(chan struct{}),
		flushWake:   make(chan struct{}, 1),
		admission:   admission{limit: cfg.BufferBytesMax, retryAfter: cfg.RetryAfter, closed: starting},
		validations: make(chan struct{}, cfg.ValidationsMax),
		uploads:     uploadMeter{places: cfg.UploadsMax},
		flush:       newFlushController(cfg),
		drained:     make(chan struct{}),
	}
	if log != nil {
		g.node = log.Node()
	}
	g.metrics = newMetrics(reg, g)
	g.lane = g.newLane(g.node, 0, up, warm)
	g.lane.settled = g.segmentSettled
	return g, nil
}

func (g *Ingester) newLane(node catalog.NodeID, last uint64, up uploader, warm Warmer) *lane {
	return &lane{
		node:     node,
		catalog:  g.catalog,
		uploader: up,
		warmer:   warm,
		logger:   g.logger,
		metrics:  g.metrics,
		settled:  func(*sealedSegment) {},
		meter:    &g.uploads,
		uploads:  make(chan struct{}, g.cfg.UploadsMax),
		queue:    make(chan *upload, g.cfg.UploadsMax),
		sent:     last,
		sealed:   last,
		landed:   last,
	}
}

// Ready is closed when the node takes records.
func (g *Ingester) Ready() <-chan struct{} { return g.ready }

// Accepting tells why no records are taken at the moment, nil if they are.
func (g *Ingester) Accepting() error { return g.admission.take(0) }

// Run registers the node, commits what earlier lives left in the write-ahead
// buffer, and then serves until ctx ends. If the write-ahead buffer failed
// meanwhile, Run returns that error in the end.
func (g *Ingester) Run(ctx context.Context) error {
	defer close(g.stopped)
	group, ctx := errgroup.WithContext(ctx)
	if g.wal != nil {
		group.Go(func() error { g.runWAL(ctx); return nil })
	}
	group.Go(func() error {
		if err := g.start(ctx); err != nil {
			return err
		}
		group.Go(func() error { return g.keepRegistered(ctx) })
		group.Go(func() error { return g.lane.run(ctx) })
		group.Go(func() error { return g.runFlush(ctx) })
		close(g.ready)
		g.admission.open()
		return nil
	})
	err := group.Wait()
	g.admission.close("stopped")
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, g.walErr)
}

// runWAL runs the write-ahead log. When it fails (a full disk, a failed fsync)
// it takes no more frames, ever, and the node offers acks=all alone. It does not
// end the node: what was acknowledged is in memory too, and the best that can
// be done for it is to bring it into the bucket.
func (g *Ingester) runWAL(ctx context.Context) {
	if g.walErr = g.wal.Run(ctx); g.walErr != nil {
		g.logger.Error("the write-ahead buffer failed, acks=1 is refused from here on", "error", g.walErr)
	}
}

func (g *Ingester) start(ctx context.Context) error {
	select {
	case <-g.catalog.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	register := catalog.RegisterNode{Node: g.node, HasWAL: g.wal != nil}
	if err := g.proposeUntilDone(ctx, register); err != nil {
		return fmt.Errorf("register the node: %w", err)
	}
	if g.wal == nil {
		return nil
	}
	return g.replay(ctx)
}

// keepEvery is how often a node keeps its id from expiring. One with a write-ahead
// buffer has to as well: a copy of its files that was replayed elsewhere says that
// nothing is left of it.
const keepEvery = catalog.NodeExpiryMs * time.Millisecond / 4

func (g *Ingester) keepRegistered(ctx context.Context) error {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		g.mu.Lock()
		draining := g.draining
		g.mu.Unlock()
		if draining {
			return nil // its id is about to go, and must not come back
		}
		if err := g.proposeUntilDone(ctx, catalog.KeepNode{Node: g.node, HasWAL: g.wal != nil}); err != nil {
			g.logger.Warn("the node could not keep its id", "error", err)
		}
	}
}

// proposeUntilDone repeats an edit that does no harm twice.
func (g *Ingester) proposeUntilDone(ctx context.Context, e catalog.Edit) error {
	for {
		result, err := g.catalog.Propose(ctx, e)
		if err == nil {
			return result.Err
		}
		if ctx.Err() != nil || !errors.Is(err, catalog.ErrBusy) {
			return err
		}
		select {
		case <-time.After(g.cfg.RetryAfter / 10):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// produce brings a unit into the log, or refuses it.
func (g *Ingester) produce(ctx context.Context, topic *catalog.Topic, u *unit, opts Options) ([]Result, error) {
	if opts.needsKeys() {
		if results, err := g.lookUp(topic, u, opts); results != nil || err != nil {
			return results, err
		}
	}
	acks := opts.Acks
	if acks == AcksOne && g.wal == nil {
		return nil, ErrNoWAL
	}
	if n := u.catalogAppends(); n > g.cfg.SegmentAppendsMax {
		return nil, &recordbatch.TooLargeError{What: "request's number of batches", Bytes: int64(n), Limit: int64(g.cfg.SegmentAppendsMax)}
	}
	if err := g.admission.take(u.bytes); err != nil {
		g.metrics.refused.Inc()
		return nil, err
	}
	ticket, err := g.enqueue(u, acks)
	if err != nil {
		g.admission.give(u.bytes)
		return nil, err
	}
	if opts.Placed != nil {
		opts.Placed()
	}
	if acks == AcksAll {
		return u.wait(ctx, g.stopped)
	}
	if err := ticket.Wait(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	failpoint.Hit("ingest/after-wal-ack")
	results := make([]Result, len(u.appends))
	for i := range u.appends {
		a := &u.appends[i]
		results[i] = Result{Partition: a.partition.Partition, BaseOffset: -1, Records: a.records, Timestamp: a.timestamp}
	}
	return results, nil
}

// lookUp gives the unit its idempotency key, and returns the results of the
// request that landed under that before, if the replica knows of one. If it does
// not, the commit decides.
func (g *Ingester) lookUp(topic *catalog.Topic, u *unit, opts Options) ([]Result, error) {
	if err := g.Accepting(); err != nil {
		return nil, err // there may be no replica yet
	}
	view := g.catalog.View()
	// A commit at a lower level would be refused as a whole, with what others
	// have in it.
	if err := view.KeysAllowed(); err != nil {
		return nil, err
	}
	if opts.Key.Name == "" {
		return nil, nil
	}
	u.key = catalog.NewRequestKey(topic.ID, opts.Key.Name, opts.Key.Request)
	landed, known, err := view.Request(u.key)
	if err != nil || !known {
		return nil, err
	}
	return resultsOfRequest(landed), nil
}

// enqueue gives the unit its number and its place in the open segment, and
// with acks=1 in the write-ahead buffer.
func (g *Ingester) enqueue(u *unit, acks Acks) (wal.Ticket, error) {
	var frame [][]byte
	if acks == AcksOne {
		frame = u.frame()
		u.walled = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return wal.Ticket{}, &OverloadedError{Reason: "draining", RetryAfter: g.cfg.RetryAfter}
	}
	var ticket wal.Ticket
	if acks == AcksOne {
		var err error
		if ticket, err = g.wal.Append(g.number+1, frame...); err != nil {
			return ticket, g.walError(err)
		}
	}
	if acks == AcksOne {
		g.walled.add(u, 1)
	}
	g.number++
	u.number = g.number
	g.flush.open.add(u, time.Now())
	g.unsettled++
	if g.flush.due() {
		g.wakeFlush()
	}
	return ticket, nil
}

// walError says what a frame that was not taken means for the caller.
func (g *Ingester) walError(err error) error {
	switch {
	case errors.Is(err, wal.ErrTooLarge):
		return fmt.Errorf("write-ahead buffer: %w: %w", recordbatch.ErrTooLarge, err)
	case errors.Is(err, wal.ErrBusy), errors.Is(err, wal.ErrFull):
		return &OverloadedError{Reason: "write-ahead buffer full", RetryAfter: g.cfg.RetryAfter}
	default:
		return &OverloadedError{Reason: "write-ahead buffer failed", RetryAfter: g.cfg.RetryAfter}
	}
}

// segmentSettled gives back what a segment's units held.
func (g *Ingester) segmentSettled(s *sealedSegment) {
	if g.wal != nil {
		// Every unit up to the last of this segment has been committed,
		// refused by the catalog, or was never promised.
		g.wal.Release(s.units[len(s.units)-1].number)
	}
	for _, u := range s.units {
		g.admission.give(u.bytes)
	}
	g.mu.Lock()
	g.unsettled -= len(s.units)
	for _, u := range s.units {
		if u.walled {
			g.walled.add(u, -1)
		}
	}
	g.closeIfDrained()
	g.mu.Unlock()
	g.flushSettled(len(s.units))
}

// oldestUnflushed is the age of the oldest unit that is not settled.
func (g *Ingester) oldestUnflushed(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if oldest := g.flush.oldest(); !oldest.IsZero() {
		return now.Sub(oldest)
	}
	return 0
}

// closeIfDrained wants mu held.
func (g *Ingester) closeIfDrained() {
	if !g.draining || g.unsettled > 0 {
		return
	}
	select {
	case <-g.drained:
	default:
		close(g.drained)
	}
}

// Close removes the write-ahead files of a drained node, and gives its
// directory free. Call it after Run has returned.
func (g *Ingester) Close() error {
	if g.wal == nil {
		return nil
	}
	var err error
	if g.wal.Empty() {
		err = g.wal.Remove()
	}
	return errors.Join(err, g.wal.Close())
}
