package reader

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// replica is the catalog, as the reader sees it.
type replica interface {
	// Recent returns a view that was current a few seconds ago at the most.
	Recent(ctx context.Context) (*catalog.State, error)
	// Confirm returns a view that is current as of the call.
	Confirm(ctx context.Context) (*catalog.State, error)
	// WaitBeyond returns a view in which one of the partitions has its end, or
	// its log start, above the offset given, or is gone.
	WaitBeyond(ctx context.Context, positions ...catalog.PartitionOffset) (*catalog.State, error)
}

// Reader serves fetches. Its methods are safe for concurrent use.
type Reader struct {
	cfg     Config
	catalog replica
	loader  *loader
	trails  *trails
	metrics *metrics

	presigner  objstore.Presigner // nil if the store has none
	soleTopics *soleTopics

	waits    context.Context // ends with EndWaits
	endWaits context.CancelFunc
}

// Bounds of a partition.
type Bounds struct {
	Start catalog.Offset
	End   catalog.Offset
}

// New returns a reader; Close ends its cache.
func New(cfg Config, c replica, b bucket, reg prometheus.Registerer) (*Reader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := newMetrics(reg)
	l, err := newLoader(cfg, b, m)
	if err != nil {
		return nil, err
	}
	presigner, _ := objstore.PresignerOf(b)
	waits, endWaits := context.WithCancel(context.Background())
	return &Reader{
		cfg:     cfg,
		catalog: c,
		loader:  l,
		trails:  newTrails(),
		metrics: m,

		presigner:  presigner,
		soleTopics: newSoleTopics(),

		waits:    waits,
		endWaits: endWaits,
	}, nil
}

// EndWaits makes long polls, those under way and later ones, answer at once
// with what there is: a node that drains must not wait for them. Fetched.Ending
// tells those who would ask again.
func (r *Reader) EndWaits() { r.endWaits() }

// Close ends loads that nobody waits for, and the cache. No fetch may be under
// way.
func (r *Reader) Close() {
	r.endWaits()
	r.loader.close()
}

// Warm puts the body of an object that this node has just written into the
// cache. It keeps body, which must not be changed any more. After Close it does
// nothing.
func (r *Reader) Warm(id catalog.ObjectID, body []byte) {
	if size := int64(len(body)); size <= r.cfg.WholeObjectBytes {
		r.loader.cache.put(live, []*ringBlock{{key: blockKey{object: id, len: size}, block: block{bytes: body}}}, size)
	}
}

// find returns a partition of a view that is current, or that knows of it.
func find(view *catalog.State, tp catalog.TopicPartition) (*catalog.Partition, error) {
	if p := view.Partition(tp); p != nil {
		return p, nil
	}
	if _, ok := view.Topic(tp.Topic); !ok {
		return nil, catalog.ErrTopicNotFound
	}
	return nil, fmt.Errorf("%w: %d", catalog.ErrPartitionNotFound, tp.Partition)
}

// confirm returns a view that is current, and tp in it.
func (r *Reader) confirm(ctx context.Context, tp catalog.TopicPartition) (*catalog.State, *catalog.Partition, error) {
	view, err := r.catalog.Confirm(ctx)
	if err != nil {
		return nil, nil, err
	}
	p, err := find(view, tp)
	return view, p, err
}

// Bounds returns a partition's bounds as of now.
func (r *Reader) Bounds(ctx context.Context, tp catalog.TopicPartition) (Bounds, error) {
	_, p, err := r.confirm(ctx, tp)
	if err != nil {
		return Bounds{}, err
	}
	return boundsOf(p), nil
}

func boundsOf(p *catalog.Partition) Bounds { return Bounds{Start: p.LogStart(), End: p.End()} }

// replanning calls read with a view, and once more with a current one if an
// object that the view names is gone. If one is still missing then, the error
// is a *segment.CorruptError that names it.
func (r *Reader) replanning(ctx context.Context, view *catalog.State, p *catalog.Partition, tp catalog.TopicPartition, read func(*catalog.State, *catalog.Partition) error) error {
	err := read(view, p)
	if !errors.Is(err, objstore.ErrNotFound) {
		return err
	}
	r.metrics.replans.Inc()
	if view, p, err = r.confirm(ctx, tp); err != nil {
		return err
	}
	err = read(view, p)
	if missing := (*objstore.Error)(nil); errors.Is(err, objstore.ErrNotFound) && errors.As(err, &missing) {
		return &segment.CorruptError{Key: missing.Key, Err: err}
	}
	return err
}
