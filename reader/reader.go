package reader

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// replica is the catalog, as the reader sees it.
type replica interface {
	// Recent returns a view that was current a few seconds ago at the most.
	Recent(ctx context.Context) (*catalog.State, error)
	// Confirm returns a view that is current as of the call.
	Confirm(ctx context.Context) (*catalog.State, error)
	WaitBeyond(ctx context.Context, tp catalog.TopicPartition, offset catalog.Offset) (*catalog.State, error)
}

// Reader serves fetches. Its methods are safe for concurrent use. It has no
// goroutines of its own beside the cache's and those of loads under way.
type Reader struct {
	cfg     Config
	catalog replica
	loader  loader
	metrics *metrics

	ctx        context.Context // ends with Close; of background loads alone
	cancel     context.CancelFunc
	waits      context.Context // ends with EndWaits
	endWaits   context.CancelFunc
	aheads     chan struct{} // a token for each background load that may run
	background sync.WaitGroup
}

// New returns a reader; Close ends its cache.
func New(cfg Config, c replica, b bucket, reg prometheus.Registerer) (*Reader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cache, err := newBlockCache(cfg)
	if err != nil {
		return nil, err
	}
	m := newMetrics(reg)
	ctx, cancel := context.WithCancel(context.Background())
	waits, endWaits := context.WithCancel(ctx)
	return &Reader{
		ctx:      ctx,
		cancel:   cancel,
		waits:    waits,
		endWaits: endWaits,
		aheads:   make(chan struct{}, 2*max(1, cfg.ReadAheadObjects)),
		cfg:      cfg,
		catalog:  c,
		loader:   loader{cfg: cfg, bucket: b, cache: cache, bytes: semaphore.NewWeighted(cfg.LoadBytesMax), metrics: m},
		metrics:  m,
	}, nil
}

// EndWaits makes long polls, those under way and later ones, answer at once
// with what there is: a node that drains must not wait for them.
func (r *Reader) EndWaits() { r.endWaits() }

// Close ends background loads and the cache. No fetch may be under way.
func (r *Reader) Close() {
	r.cancel()
	r.background.Wait()
	r.loader.cache.close()
}

// Warm puts the body of an object that this node has just written into the
// cache. It keeps body.
func (r *Reader) Warm(id catalog.ObjectID, body []byte) {
	if int64(len(body)) <= r.cfg.WholeObjectBytes {
		r.loader.cache.put(blockKey{id, wholeObject}, body)
	}
}

// partition finds tp in a view that is current if it is not there.
func (r *Reader) partition(ctx context.Context, view *catalog.State, tp catalog.TopicPartition) (*catalog.State, *catalog.Partition, error) {
	if p := view.Partition(tp); p != nil {
		return view, p, nil
	}
	view, err := r.catalog.Confirm(ctx)
	if err != nil {
		return nil, nil, err
	}
	p := view.Partition(tp)
	if p == nil {
		if _, ok := view.Topic(tp.Topic); !ok {
			return nil, nil, catalog.ErrTopicNotFound
		}
		return nil, nil, fmt.Errorf("%w: %d", catalog.ErrPartitionNotFound, tp.Partition)
	}
	return view, p, nil
}

// Bounds returns a partition's bounds as of now.
func (r *Reader) Bounds(ctx context.Context, tp catalog.TopicPartition) (Bounds, error) {
	view, err := r.catalog.Confirm(ctx)
	if err != nil {
		return Bounds{}, err
	}
	_, p, err := r.partition(ctx, view, tp)
	if err != nil {
		return Bounds{}, err
	}
	return boundsOf(p), nil
}

func boundsOf(p *catalog.Partition) Bounds { return Bounds{Start: p.LogStart(), End: p.End()} }

// OffsetAtTime returns offset and timestamp of the first record, in offset
// order, whose timestamp is at least ms; false if there is none.
func (r *Reader) OffsetAtTime(ctx context.Context, tp catalog.TopicPartition, ms int64) (catalog.Offset, int64, bool, error) {
	view, err := r.catalog.Confirm(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	for replanned := false; ; replanned = true {
		var p *catalog.Partition
		if view, p, err = r.partition(ctx, view, tp); err != nil {
			return 0, 0, false, err
		}
		offset, timestamp, found, err := r.searchTime(ctx, view, p, ms)
		if errors.Is(err, objstore.ErrNotFound) && !replanned {
			r.metrics.replans.Inc()
			if view, err = r.catalog.Confirm(ctx); err != nil {
				return 0, 0, false, err
			}
			continue
		}
		return offset, timestamp, found, err
	}
}

func (r *Reader) searchTime(ctx context.Context, view *catalog.State, p *catalog.Partition, ms int64) (catalog.Offset, int64, bool, error) {
	x, ok := p.ExtentAtTime(ms)
	for ok {
		if x.MaxTimestamp >= ms {
			offset, timestamp, found, err := r.searchExtent(ctx, view, x, p.LogStart(), ms)
			if found || err != nil {
				return offset, timestamp, found, err
			}
		}
		// The record that is late enough lies below the log start.
		next := p.Extents(x.Base+catalog.Offset(x.Records), 1)
		if ok = len(next) > 0; ok {
			x = next[0]
		}
	}
	return 0, 0, false, nil
}

func (r *Reader) searchExtent(ctx context.Context, view *catalog.State, x catalog.Extent, start catalog.Offset, ms int64) (catalog.Offset, int64, bool, error) {
	data, err := r.extent(ctx, view, x)
	if err != nil {
		return 0, 0, false, err
	}
	base := x.Base
	for batch, err := range recordbatch.Batches(data) {
		if err != nil {
			return 0, 0, false, err
		}
		h, err := recordbatch.ParseHeader(batch)
		if err != nil {
			return 0, 0, false, err
		}
		if h.MaxTimestamp >= ms {
			records, err := recordbatch.Decode(batch, r.cfg.DecompressedBytesMax)
			if err != nil {
				return 0, 0, false, err
			}
			for i := range records {
				offset := base + catalog.Offset(i)
				if records[i].Timestamp >= ms && offset >= start {
					return offset, records[i].Timestamp, true, nil
				}
			}
		}
		base += catalog.Offset(h.RecordCount)
	}
	return 0, 0, false, nil
}

// extent loads the bytes of x as the catalog's view describes its object.
func (r *Reader) extent(ctx context.Context, view *catalog.State, x catalog.Extent) ([]byte, error) {
	o, ok := view.Object(x.Object)
	if !ok {
		return nil, fmt.Errorf("object %s of a live extent is not in the catalog", x.Object)
	}
	return r.loader.extent(ctx, o, x)
}
