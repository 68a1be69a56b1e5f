package reader

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// bucket is the store, as the reader sees it.
type bucket interface {
	Get(ctx context.Context, key string) (objstore.Object, error)
	GetRange(ctx context.Context, key string, pos, length int64) (objstore.Object, error)
}

// loader brings sources from the bucket, checked, through the cache. Whoever
// wants the same source at the same time shares one load.
type loader struct {
	cfg     Config
	bucket  bucket
	cache   *blockCache
	metrics *metrics

	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	running sync.WaitGroup // of loads

	mu    sync.Mutex
	lanes [laneCount]*lane // what is in them is guarded by mu
}

func newLoader(cfg Config, b bucket, m *metrics) (*loader, error) {
	cache, err := newBlockCache(cfg, m)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &loader{
		cfg:     cfg,
		bucket:  b,
		cache:   cache,
		metrics: m,
		ctx:     ctx,
		cancel:  cancel,
	}
	for k, bounds := range map[laneKind]Lane{live: cfg.Live, replay: cfg.Replay} {
		l.lanes[k] = &lane{Lane: bounds, flights: map[blockKey]*flight{}, gauges: m.lane(k)}
	}
	return l, nil
}

// close ends the loads under way and waits for them.
func (l *loader) close() {
	l.cancel()
	l.running.Wait()
	l.cache.close()
}

// each calls use with the block of each source in turn, loading some ahead.
// Sources that are the same should stand side by side.
func (l *loader) each(ctx context.Context, sources []source, use func(i int, b block) error) error {
	w := window{loader: l, sources: sources, flights: make([]*flight, len(sources))}
	defer w.letGo()
	var current block
	for i := range sources {
		if i == 0 || sources[i].key != sources[i-1].key {
			w.letGoBefore(i)
			var err error
			if current, err = w.wait(ctx, i); err != nil {
				return err
			}
		}
		if err := use(i, current); err != nil {
			return err
		}
	}
	return nil
}

// one returns the block of one source.
func (l *loader) one(ctx context.Context, s source) (b block, err error) {
	err = l.each(ctx, []source{s}, func(_ int, got block) error { b = got; return nil })
	return b, err
}

// begin returns the load of a source that is under way in the lane, or else
// begins one, which the caller then holds, of group: the source and blocks behind
// it. It tells how many of these the load that began is for.
//
// A load that waits for its turn in another lane is not waited for: whoever waits
// at the tail must not stand behind replays.
func (l *loader) begin(k laneKind, group []source) (f *flight, began int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.underWay(k, group[0].key); f != nil {
		f.asked(l.lanes[f.lane], group[0].key)
		return f, 0
	}
	n := 1
	for n < len(group) && l.underWay(k, group[n].key) == nil {
		n++
	}
	f = newFlight(k, group[:n], l.lanes[k].BytesMax)
	f.held = true
	l.enqueue(f)
	return f, n
}

// underWay returns the load of a source that a lane may wait for. It wants mu held.
func (l *loader) underWay(k laneKind, key blockKey) *flight {
	for _, in := range l.lanes {
		if f, ok := in.flights[key]; ok && (f.lane == k || f.started) {
			return f
		}
	}
	return nil
}

// ahead begins to load sources side by side that somebody is likely to ask for,
// unless that would hold up what is asked for now, or there is no memory to keep
// them. It tells whether there may be room for more.
func (l *loader) ahead(k laneKind, group []source) bool {
	size := spanned(&group[0], &group[len(group)-1])
	l.mu.Lock()
	defer l.mu.Unlock()
	in := l.lanes[k]
	for i := range group {
		if l.underWay(k, group[i].key) != nil {
			return true // somebody else was faster
		}
	}
	f := newFlight(k, group, in.BytesMax)
	if len(in.queue) > 0 || !in.fits(f.share) || in.aheads+l.cache.unused(k)+size > l.aheadMax(k, group[0].kind) {
		return false
	}
	for i := range f.parts {
		f.parts[i].ahead = true
		in.aheads += f.parts[i].key.len
		l.metrics.aheads.Inc()
	}
	l.enqueue(f)
	return true
}

// aheadMax is how many bytes of a kind may be read ahead and not asked for yet, of
// what the lane's part of the cache holds. Whole objects get less: others pass
// through them too, and whoever is in front must not push out what those in the
// rear have yet to read.
func (l *loader) aheadMax(k laneKind, kind sourceKind) int64 {
	quarter := l.cache.rings[k].max / 4
	if kind == wholeObject {
		return quarter
	}
	return 3 * quarter
}

// needs tells whether a source is neither in the cache nor under way.
func (l *loader) needs(s *source) bool {
	if l.cache.has(s.key) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.underWay(s.lane, s.key) == nil
}

// enqueue puts a load into its lane. It wants mu held.
func (l *loader) enqueue(f *flight) {
	in := l.lanes[f.lane]
	for i := range f.parts {
		in.flights[f.parts[i].key] = f
	}
	f.queued = time.Now()
	in.queue = append(in.queue, f)
	l.dequeue(in)
}

// dequeue starts the loads whose turn it is. It wants mu held.
func (l *loader) dequeue(in *lane) {
	for len(in.queue) > 0 && in.fits(in.queue[0].share) {
		f := in.queue[0]
		in.queue = in.queue[1:]
		in.bytes += f.share
		in.loads++
		f.started = true
		in.gauges.wait.Observe(time.Since(f.queued).Seconds())
		l.running.Go(func() { l.run(f) })
	}
	in.show()
}

// run carries a load out.
func (l *loader) run(f *flight) {
	l.load(f)
	in := l.lanes[f.lane]
	var good []*ringBlock
	size := int64(0)
	l.mu.Lock()
	for i := range f.parts {
		if p := &f.parts[i]; p.err == nil {
			good = append(good, &ringBlock{key: p.key, block: p.block, ahead: p.ahead})
			size += p.useful()
		}
	}
	l.mu.Unlock()
	if len(good) > 0 {
		l.cache.put(f.lane, good, size)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range f.parts {
		// From here on the cache counts it.
		f.asked(in, f.parts[i].key)
		delete(in.flights, f.parts[i].key)
	}
	in.loads--
	f.landed = true
	close(f.done)
	l.freeIfUnused(f)
}

// release says that the fetch that began a load needs it no more.
func (l *loader) release(f *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.held = false
	l.freeIfUnused(f)
}

// freeIfUnused gives a share back, and lets others take the place of a load that
// has ended. It wants mu held.
func (l *loader) freeIfUnused(f *flight) {
	in := l.lanes[f.lane]
	if f.landed && !f.held {
		in.bytes -= f.share
	}
	if f.landed {
		l.dequeue(in)
	}
}

// load gets the sources of a flight. Blocks that are damaged must not take those
// beside them along, so what failed together is then tried apart.
func (l *loader) load(f *flight) {
	if l.cached(f.parts) {
		return
	}
	l.loadParts(f.parts)
	if len(f.parts) == 1 {
		return
	}
	for i := range f.parts {
		if corrupt := (*segment.CorruptError)(nil); errors.As(f.parts[i].err, &corrupt) {
			l.loadParts(f.parts[i : i+1])
		}
	}
}

// cached finds all of the parts in the cache, where another load may have put
// them since this one was begun.
func (l *loader) cached(parts []loaded) (all bool) {
	for i := range parts {
		if parts[i].block, all = l.cache.get(parts[i].key); !all {
			return false
		}
	}
	return true
}

// loadParts gets sources that lie side by side from the store in one request,
// again if that fails in a way that may pass. Their errors are the store's, or
// a *segment.CorruptError.
func (l *loader) loadParts(parts []loaded) {
	pause := l.cfg.Backoff
	for attempt := 1; ; attempt++ {
		err := l.attempt(parts)
		if err == nil || attempt >= l.cfg.AttemptsMax || !mayPass(err) {
			return
		}
		l.metrics.retries.Inc()
		if corrupt := (*segment.CorruptError)(nil); errors.As(err, &corrupt) {
			continue // the store is well; something between changed the bytes
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)):
			pause *= 2
		case <-l.ctx.Done():
			return
		}
	}
}

// mayPass tells whether the same request may succeed a moment later.
func mayPass(err error) bool {
	for _, lasting := range []error{objstore.ErrNotFound, objstore.ErrRefused, objstore.ErrUnsupported, context.Canceled} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	return true
}

// attempt gets sources from the store once, and checks them. It returns the
// first of their errors.
func (l *loader) attempt(parts []loaded) error {
	first := &parts[0].source
	n := spanned(first, &parts[len(parts)-1].source)
	transfer := time.Duration(float64(n) / float64(l.cfg.BytesPerSecondMin) * float64(time.Second))
	ctx, cancel := context.WithTimeout(l.ctx, l.cfg.AttemptTimeout+transfer)
	defer cancel()
	got, err := first.get(ctx, l.bucket, n)
	if errors.Is(err, objstore.ErrInvalidRange) {
		err = damaged(first.objectKey(), first.key.pos, err) // the object is shorter than it was
	}
	if err == nil && len(parts) > 1 {
		if err = checkSize(got.Body, n); err != nil {
			err = damaged(first.objectKey(), first.key.pos, err)
		}
	}
	failed := err
	rest := got.Body
	for i := range parts {
		p := &parts[i]
		if p.block, p.err = (block{}), err; err == nil {
			body := rest
			if len(parts) > 1 {
				body, rest = rest[:p.key.len:p.key.len], rest[p.key.len:]
			}
			p.block, p.err = p.check(body)
		}
		if failed == nil {
			failed = p.err
		}
	}
	if corrupt := (*segment.CorruptError)(nil); errors.As(failed, &corrupt) {
		l.metrics.corrupt.Inc()
	}
	return failed
}
