package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/catalogtest"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
)

// cluster is what several nodes share: a bucket and a network.
type cluster struct {
	tb      testing.TB
	witness *witness
	network *catalogtest.Network
	logger  *slog.Logger

	crashes, sleeps atomic.Int64 // at steps

	stepsEnd atomic.Bool // nothing befalls nodes at their steps any more

	mu    sync.Mutex
	lives []*life // guarded by mu; all that were begun
}

func newCluster(tb testing.TB) *cluster {
	c := &cluster{tb: tb, witness: newWitness(tb), network: catalogtest.New(), logger: slog.New(slog.DiscardHandler)}
	tb.Cleanup(c.close)
	if *simulationLog {
		c.logger = slog.New(slog.NewTextHandler(logWriter{tb, time.Now()}, nil))
	}
	return c
}

// close ends whatever still runs, in case that a test gave up.
func (c *cluster) close() {
	c.stepsEnd.Store(true)
	c.network.Reset()
	c.mu.Lock()
	lives := c.lives
	c.mu.Unlock()
	for _, l := range lives {
		l.cancel()
		<-l.ended
	}
	c.network.Close()
}

// logWriter logs lines with the time since the schedule began.
type logWriter struct {
	tb    testing.TB
	began time.Time
}

func (w logWriter) Write(line []byte) (int, error) {
	w.tb.Logf("%10s %s", time.Since(w.began), line)
	return len(line), nil
}

// member is a node: its way to the bucket, and one life after another.
type member struct {
	cluster *cluster
	address string
	faults  *faultstore.Store
	config  func(*catalog.Config)
	steps   steps
	now     func() time.Time // its clock; nil for the true one

	mu   sync.Mutex
	life *life // guarded by mu; nil while it is down
	trap *trap // guarded by mu
}

// step is one point on the way of a request, where its node may sleep or end.
type step struct {
	op   string // one of objstore's, or forward, pull or keep
	key  string // or the address
	sent bool   // the answer is there; otherwise the request has yet to leave
}

// trap freezes a node at the first step that fits.
type trap struct {
	fits   func(step) bool
	sprung chan struct{} // closed when it did
}

// freezeAt sets a trap. The node is frozen when the channel is closed.
func (m *member) freezeAt(fits func(step) bool) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trap = &trap{fits: fits, sprung: make(chan struct{})}
	return m.trap.sprung
}

// disarm takes a trap away that has not sprung.
func (m *member) disarm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trap = nil
}

func (m *member) wake() { m.cluster.network.Resume(m.address) }

func (m *member) spring(at step) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trap != nil && m.trap.fits(at) {
		m.cluster.network.Freeze(m.address)
		close(m.trap.sprung)
		m.trap = nil
	}
}

// steps are the chances of what befalls a node at each step: before a request to
// the store or to another node leaves, and when its answer is there.
type steps struct {
	seed                  uint64
	latencyMax            time.Duration
	crash, sleep          float64
	sleepMax, downtimeMax time.Duration
}

// life is one process of a node.
type life struct {
	*catalog.Catalog
	member   *member
	cancel   context.CancelFunc
	ended    chan struct{} // closed when Run has returned
	err      error         // of Run; set before ended is closed
	dead     atomic.Bool   // nothing that it sends has an effect any more
	resigned atomic.Bool   // it was told to hand over
	floor    atomic.Uint64 // slot that a view of it was as of at least
}

func (c *cluster) newMember(address string) *member {
	return &member{cluster: c, address: address, faults: faultstore.New(c.witness), config: func(*catalog.Config) {}}
}

// start begins a life. It returns at once, while the catalog loads.
func (m *member) start() *life {
	jcfg := journal.DefaultConfig()
	if m.now != nil {
		jcfg.Now = m.now
	}
	l := &life{member: m, ended: make(chan struct{})}
	logger := m.cluster.logger.With("node", m.address)
	j, err := journal.New(jcfg, &processBucket{Bucket: m.faults, life: l, met: map[string]int{}}, "000", logger, nil)
	if err != nil {
		panic(err)
	}
	cfg := catalog.DefaultConfig()
	cfg.Address = m.address
	m.config(&cfg)
	peers := &processPeers{peers: m.cluster.network.From(m.address), life: l, met: map[string]int{}}
	if l.Catalog, err = catalog.New(cfg, j, peers, logger, prometheus.NewRegistry()); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	m.cluster.network.Join(m.address, l)
	m.cluster.mu.Lock()
	m.cluster.lives = append(m.cluster.lives, l)
	m.cluster.mu.Unlock()
	m.mu.Lock()
	m.life = l
	m.mu.Unlock()
	go func() {
		defer close(l.ended)
		l.err = l.Run(ctx)
	}()
	return l
}

// startReady begins a life and waits until its replica is loaded.
func (m *member) startReady() *life {
	l := m.start()
	select {
	case <-l.Ready():
	case <-l.ended:
	}
	return l
}

// current returns the node's life, nil while it is down or loads.
func (m *member) current() *life {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life == nil {
		return nil
	}
	select {
	case <-m.life.Ready():
		return m.life
	default:
		return nil
	}
}

// kill ends a life as kill -9 does: what it has sent may land, and nothing else.
func (l *life) kill() {
	l.dead.Store(true)
	l.stop()
}

// stop ends a life in order, and reports an error of Run.
func (l *life) stop() {
	l.cancel()
	l.member.cluster.network.Leave(l.member.address)
	<-l.ended
	l.member.mu.Lock()
	if l.member.life == l {
		l.member.life = nil
	}
	l.member.mu.Unlock()
	if l.err != nil {
		l.member.cluster.tb.Errorf("%s: %v", l.member.address, l.err)
	}
}

// errDead answers what a dead process asks.
var errDead = errors.New("the process has ended")

// step is what happens before a request leaves, or when its answer is there. The
// process may crash there, or sleep; a sleeper does not notice that its patience
// is over until it wakes, and then may go on for a moment as if it were not.
func (l *life) step(ctx context.Context, at step, n int) (context.Context, context.CancelFunc, error) {
	m := l.member
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, at, n)
	rng := rand.New(rand.NewPCG(m.steps.seed, h.Sum64()))
	if m.steps.latencyMax > 0 {
		time.Sleep(time.Duration(rng.Int64N(int64(m.steps.latencyMax))))
	}
	m.spring(at)
	switch chance := rng.Float64(); {
	case m.cluster.stepsEnd.Load():
	case chance < m.steps.crash:
		m.cluster.crashes.Add(1)
		l.dead.Store(true)
		l.cancel()
	case chance < m.steps.crash+m.steps.sleep:
		m.cluster.sleeps.Add(1)
		m.cluster.network.Freeze(m.address)
		time.AfterFunc(time.Duration(rng.Int64N(int64(m.steps.sleepMax))), func() { m.cluster.network.Resume(m.address) })
	}
	slept := m.cluster.network.Thaw(m.address)
	if l.dead.Load() {
		return ctx, func() {}, errDead
	}
	if slept && ctx.Err() != nil && rng.IntN(2) == 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		return ctx, cancel, nil
	}
	return ctx, func() {}, nil
}

// processBucket is a life's way to the bucket.
type processBucket struct {
	objstore.Bucket
	life *life

	mu  sync.Mutex
	met map[string]int // guarded by mu
}

// request sends a request through the steps before and after it.
func request[T any](b *processBucket, ctx context.Context, op, key string, send func(context.Context) (T, error)) (T, error) {
	b.mu.Lock()
	b.met[op+key]++
	n := b.met[op+key]
	b.mu.Unlock()
	var nothing T
	failed := func(err error) (T, error) {
		return nothing, &objstore.Error{Op: op, Key: key, Outcome: objstore.Unknown, Err: err}
	}
	ctx, cancel, err := b.life.step(ctx, step{op, key, false}, n)
	defer cancel()
	if err != nil {
		return failed(err)
	}
	answer, sendErr := send(ctx)
	if _, cancelAfter, err := b.life.step(ctx, step{op, key, true}, n); err != nil {
		return failed(err)
	} else {
		cancelAfter()
	}
	return answer, sendErr
}

func (b *processBucket) Get(ctx context.Context, key string) (objstore.Object, error) {
	return request(b, ctx, objstore.OpGet, key, func(ctx context.Context) (objstore.Object, error) { return b.Bucket.Get(ctx, key) })
}

func (b *processBucket) Put(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	return request(b, ctx, objstore.OpPut, key, func(ctx context.Context) (objstore.Receipt, error) { return b.Bucket.Put(ctx, key, body) })
}

func (b *processBucket) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	return request(b, ctx, objstore.OpPutIfAbsent, key, func(ctx context.Context) (objstore.Receipt, error) {
		return b.Bucket.PutIfAbsent(ctx, key, body)
	})
}

func (b *processBucket) List(ctx context.Context, prefix, startAfter string, limit int) (objstore.Page, error) {
	return request(b, ctx, objstore.OpList, prefix, func(ctx context.Context) (objstore.Page, error) {
		return b.Bucket.List(ctx, prefix, startAfter, limit)
	})
}

func (b *processBucket) Delete(ctx context.Context, key string) (objstore.Receipt, error) {
	return request(b, ctx, objstore.OpDelete, key, func(ctx context.Context) (objstore.Receipt, error) { return b.Bucket.Delete(ctx, key) })
}

// processPeers is a life's way to other nodes. The network holds it up while
// its node is frozen.
type processPeers struct {
	peers catalog.Peers
	life  *life

	mu  sync.Mutex
	met map[string]int // guarded by mu
}

func (p *processPeers) request(ctx context.Context, op, address string, send func(context.Context) error) error {
	p.mu.Lock()
	p.met[op+address]++
	n := p.met[op+address]
	p.mu.Unlock()
	ctx, cancel, err := p.life.step(ctx, step{op, address, false}, n)
	defer cancel()
	if err != nil {
		return err
	}
	sendErr := send(ctx)
	if _, cancelAfter, err := p.life.step(ctx, step{op, address, true}, n); err != nil {
		return err
	} else {
		cancelAfter()
	}
	return sendErr
}

// Forward implements catalog.Peers.
func (p *processPeers) Forward(ctx context.Context, address string, r catalog.ForwardRequest) (a catalog.ForwardAnswer, err error) {
	err = p.request(ctx, "forward", address, func(ctx context.Context) (err error) {
		a, err = p.peers.Forward(ctx, address, r)
		return err
	})
	return a, err
}

// Pull implements catalog.Peers. What the leader hands out must be in the journal.
func (p *processPeers) Pull(ctx context.Context, address string, r catalog.PullRequest) (a catalog.PullAnswer, err error) {
	err = p.request(ctx, "pull", address, func(ctx context.Context) (err error) {
		a, err = p.peers.Pull(ctx, address, r)
		return err
	})
	if err != nil {
		return catalog.PullAnswer{}, err
	}
	for i, encoded := range a.Entries {
		p.life.member.cluster.witness.checkHandedOut(address, r.After+1+journal.Slot(i), encoded)
	}
	return a, nil
}

// Keep implements catalog.Peers.
func (p *processPeers) Keep(ctx context.Context, address string, r catalog.KeepRequest) (a catalog.KeepAnswer, err error) {
	err = p.request(ctx, "keep", address, func(ctx context.Context) (err error) {
		a, err = p.peers.Keep(ctx, address, r)
		return err
	})
	return a, err
}
