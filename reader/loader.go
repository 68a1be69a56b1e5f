package reader

import (
	"context"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wadilog/wadi/internal/mutant"
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

	mu      sync.Mutex
	flights map[blockKey]*flight // guarded by mu; under way or queued
	queue   []*flight            // guarded by mu; those that wait for their share, in the order in which they were begun
	bytes   int64                // guarded by mu; shares given out, of cfg.LoadBytesMax
	aheads  int                  // guarded by mu; flights that nobody asked for yet
}

// flight is a load under way, or one that is done and whose block the fetch
// that began it has yet to use.
type flight struct {
	source source
	done   chan struct{}
	block  block // as err, set before done is closed
	err    error

	share  int64 // of loader.bytes
	ahead  bool  // guarded by loader.mu
	held   bool  // by the fetch that began it; guarded by loader.mu
	landed bool  // guarded by loader.mu
}

func newFlight(s *source, cfg Config) *flight {
	return &flight{source: *s, done: make(chan struct{}), share: min(s.key.len, cfg.LoadBytesMax)}
}

func newLoader(cfg Config, b bucket, m *metrics) (*loader, error) {
	cache, err := newBlockCache(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &loader{
		cfg:     cfg,
		bucket:  b,
		cache:   cache,
		metrics: m,
		ctx:     ctx,
		cancel:  cancel,
		flights: map[blockKey]*flight{},
	}, nil
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
	w := window{loader: l, sources: sources, held: make([]*flight, len(sources))}
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

// window is the sources that one fetch wants, in order, and the loads that it
// began for them.
type window struct {
	*loader
	sources []source
	held    []*flight // by source; nil where another's load, or the cache, serves
	begun   int       // sources that were looked at
	used    int       // sources before this one are not held any more
}

// wait returns the block of source i, and begins the loads of those after it.
func (w *window) wait(ctx context.Context, i int) (block, error) {
	// Sources that repeat the one before were passed over. They are done with,
	// and what would be begun for them now would never be let go of.
	w.begun = max(w.begun, i)
	for ; w.begun < min(i+w.cfg.LoadsPerFetch, len(w.sources)); w.begun++ {
		if s := &w.sources[w.begun]; !w.cached(s.key) {
			if f, began := w.begin(s); began {
				w.held[w.begun] = f
			}
		}
	}
	f := w.held[i]
	if f == nil {
		if b, ok := w.cache.get(w.sources[i].key); ok {
			w.metrics.hits.Inc()
			return b, nil
		}
		// Another fetch's load, or the cache has lost it again. A load that
		// begins now waits for its share behind those begun before it, and
		// must not wait for what is held here.
		w.letGo()
		var began bool
		if f, began = w.begin(&w.sources[i]); began {
			w.held[i] = f
			w.used = min(w.used, i)
		}
	}
	w.metrics.misses.Inc()
	select {
	case <-f.done:
		return f.block, f.err
	case <-ctx.Done():
		return block{}, ctx.Err()
	}
}

// letGoBefore lets go of what is held for the sources before i.
func (w *window) letGoBefore(i int) {
	for ; w.used < i; w.used++ {
		if f := w.held[w.used]; f != nil {
			w.release(f)
			w.held[w.used] = nil
		}
	}
}

func (w *window) letGo() { w.letGoBefore(w.begun) }

func (l *loader) cached(k blockKey) bool {
	_, ok := l.cache.get(k)
	return ok
}

// begin returns the load of a source that is under way, or else begins one,
// which the caller then holds.
func (l *loader) begin(s *source) (f *flight, began bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.flights[s.key]; ok {
		if f.ahead {
			// It is asked for now, and no longer counts as read ahead.
			f.ahead = false
			l.aheads--
		}
		return f, false
	}
	f = newFlight(s, l.cfg)
	f.held = true
	l.flights[s.key] = f
	l.queue = append(l.queue, f)
	l.dequeue()
	return f, true
}

// ahead begins to load a source that somebody is likely to ask for, unless
// that would hold up what is asked for now. It tells whether there is room for
// more of its kind, of which there may be limit.
func (l *loader) ahead(s *source, limit int) bool {
	if l.cached(s.key) {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.flights[s.key]; ok {
		return true
	}
	f := newFlight(s, l.cfg)
	if l.aheads >= limit || len(l.queue) > 0 || l.bytes+f.share > l.cfg.LoadBytesMax {
		return false
	}
	f.ahead = true
	l.aheads++
	l.metrics.aheads.Inc()
	l.flights[s.key] = f
	l.queue = append(l.queue, f)
	l.dequeue()
	return true
}

// dequeue starts the loads whose turn it is. It wants mu held.
func (l *loader) dequeue() {
	for len(l.queue) > 0 && l.bytes+l.queue[0].share <= l.cfg.LoadBytesMax {
		f := l.queue[0]
		l.queue = l.queue[1:]
		l.bytes += f.share
		l.running.Go(func() { l.run(f) })
	}
}

// run carries a load out.
func (l *loader) run(f *flight) {
	var ok bool
	if f.block, ok = l.cache.get(f.source.key); !ok {
		f.block, f.err = l.load(&f.source)
		if f.err == nil {
			l.cache.put(f.source.key, f.block)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.flights, f.source.key)
	if f.ahead {
		l.aheads--
	}
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

// freeIfUnused gives a share back, once. It wants mu held.
func (l *loader) freeIfUnused(f *flight) {
	if f.landed && !f.held {
		l.bytes -= f.share
		l.dequeue()
	}
}

// load gets a source from the store, again if that fails in a way that may
// pass. Its error is the store's, or a *segment.CorruptError.
func (l *loader) load(s *source) (block, error) {
	pause := l.cfg.Backoff
	for attempt := 1; ; attempt++ {
		b, err := l.attempt(s)
		if err == nil || attempt >= l.cfg.AttemptsMax || !mayPass(err) {
			return b, err
		}
		l.metrics.retries.Inc()
		if corrupt := (*segment.CorruptError)(nil); errors.As(err, &corrupt) {
			continue // the store is well; something between changed the bytes
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)):
			pause *= 2
		case <-l.ctx.Done():
			return block{}, err
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

// attempt gets a source from the store once, and checks it.
func (l *loader) attempt(s *source) (block, error) {
	transfer := time.Duration(float64(s.key.len) / float64(l.cfg.BytesPerSecondMin) * float64(time.Second))
	ctx, cancel := context.WithTimeout(l.ctx, l.cfg.AttemptTimeout+transfer)
	defer cancel()
	got, err := s.get(ctx, l.bucket)
	if errors.Is(err, objstore.ErrInvalidRange) {
		err = damaged(s.objectKey(), s.key.pos, err) // the object is shorter than it was
	}
	if err == nil {
		var b block
		if b, err = s.check(got.Body); err == nil {
			return b, nil
		}
	}
	if corrupt := (*segment.CorruptError)(nil); errors.As(err, &corrupt) {
		l.metrics.corrupt.Inc()
	}
	return block{}, err
}

func (s *source) get(ctx context.Context, b bucket) (objstore.Object, error) {
	if s.kind == wholeObject {
		return b.Get(ctx, s.objectKey())
	}
	return b.GetRange(ctx, s.objectKey(), int64(s.key.pos), s.key.len)
}

func (s *source) objectKey() string { return segment.Key(s.key.object) }

// check returns the block that was read, or a *segment.CorruptError.
func (s *source) check(body []byte) (block, error) {
	if mutant.On(mutant.SkipReadCRC) {
		return s.unchecked(body)
	}
	if err := checkSize(body, s.key.len); err != nil {
		return block{}, damaged(s.objectKey(), s.key.pos, err)
	}
	pos, err := s.key.pos, error(nil)
	switch s.kind {
	case wholeObject:
		pos, err = checkObject(body, s.indexPos, s.crc)
	case indexTail:
		var index *segment.Index
		if index, err = segment.DecodeIndex(body, s.crc); err == nil {
			return block{index: index}, nil
		}
	case batchRun:
		err = checkRun(body, s.crc)
	case indexBlock:
		err = checkCRC(crc32.Checksum(body, segment.Castagnoli), s.crc)
	}
	if err != nil {
		return block{}, damaged(s.objectKey(), pos, err)
	}
	return block{bytes: body}, nil
}

func (s *source) unchecked(body []byte) (block, error) {
	if s.kind != indexTail {
		return block{bytes: body}, nil
	}
	index, err := segment.DecodeIndex(body, s.crc)
	return block{index: index}, err
}
