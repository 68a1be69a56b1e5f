package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// Records is the part of the catalog that says which objects hold records.
type Records interface {
	Ready() <-chan struct{}
	// Recent returns a view that was current a few seconds ago at most.
	Recent(ctx context.Context) (*catalog.State, error)
	// View returns the replica as it is; it holds every edit that Propose returned from.
	View() *catalog.State
	Propose(ctx context.Context, e catalog.Edit) (catalog.Result, error)
}

// Collector takes out of the log what its topics do not keep any more, and out
// of the store what holds no records: garbage, whose last records were dropped,
// and orphans, which never were committed.
//
// Any number of nodes may run one. All that they do can be done twice.
type Collector struct {
	cfg     CollectorConfig
	records Records
	bucket  objstore.Bucket
	logger  *slog.Logger
	metrics *collectorMetrics

	// retained is the topic at which the last round of retention stopped, "" if
	// it came to the end. It belongs to the goroutine of these rounds.
	retained string
}

// NewCollector returns a Collector; nothing happens before Run.
func NewCollector(cfg CollectorConfig, records Records, bucket objstore.Bucket, logger *slog.Logger, reg prometheus.Registerer) (*Collector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Collector{cfg: cfg, records: records, bucket: bucket, logger: logger, metrics: newCollectorMetrics(reg)}, nil
}

// Run works until ctx ends. Whatever fails is tried again in the next round.
func (c *Collector) Run(ctx context.Context) error {
	select {
	case <-c.records.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.every(ctx, c.cfg.RetentionInterval, "retention", c.retain) })
	group.Go(func() error { return c.every(ctx, c.cfg.GarbageInterval, "garbage", c.deleteGarbage) })
	group.Go(func() error {
		return c.every(ctx, min(c.cfg.OrphanInterval/4, orphanPause), "orphans", c.deleteOrphans)
	})
	return group.Wait()
}

// firstPause is the longest pause before the first round of each kind.
const firstPause = 5 * time.Second

// orphanPause is the pause between questions whether the floor may move.
const orphanPause = 10 * time.Minute

// every carries out rounds until ctx ends. The pauses vary, so that nodes which
// began together do not all do the same at once. While older versions run beside
// this one there is nothing that a round may do.
func (c *Collector) every(ctx context.Context, pause time.Duration, what string, round func(context.Context, *catalog.State) error) error {
	for wait := min(pause, firstPause); ; wait = pause {
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			return ctx.Err()
		}
		begun := time.Now()
		view, err := c.recent(ctx)
		if err == nil && view.RetentionAllowed() == nil {
			err = round(ctx, view)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.metrics.roundTime.WithLabelValues(what).Observe(time.Since(begun).Seconds())
		if err != nil {
			c.metrics.failures.WithLabelValues(what).Inc()
			c.logger.Warn("a round of collecting failed", "what", what, "error", err)
		}
	}
}

// The journal's time stands still while nothing is written. The node's own clock
// is no more than a hint that an edit would find something due: that edit brings
// the store's time, by which Apply judges.

// retain drops the records that topics do not keep any more. A round looks at so
// many partitions, and the next goes on with the topics behind, so that it takes
// no longer however many there are; it also goes on behind a topic that failed.
func (c *Collector) retain(ctx context.Context, view *catalog.State) error {
	const page = 1000
	for looks := 0; ; {
		topics := view.Topics("", c.retained, page)
		for _, t := range topics {
			if looks >= c.cfg.LooksMax {
				return nil
			}
			c.retained = t.Name
			if looks++; !t.Config.LimitsRetention() {
				continue
			}
			if looks += int(t.Partitions); !view.DueForRetention(t, hint(view)) {
				continue
			}
			if err := c.retainTopic(ctx, t); err != nil {
				return fmt.Errorf("topic %s: %w", t.Name, err)
			}
		}
		if len(topics) < page {
			c.retained = ""
			return nil
		}
	}
}

func (c *Collector) retainTopic(ctx context.Context, t *catalog.Topic) error {
	for {
		result, err := c.propose(ctx, catalog.Retain{Topic: t.ID})
		switch {
		case err != nil:
			return err
		case errors.Is(result.Err, catalog.ErrTopicNotFound): // it was deleted meanwhile
			return nil
		case result.Err != nil:
			return result.Err
		}
		c.metrics.retentions.Inc()
		if !result.More {
			return nil
		}
	}
}

// deleteGarbage deletes objects that have been garbage for long enough, and
// then makes the catalog forget them. A crash in between leaves garbage whose
// object is gone, which is deleted again.
//
// A view that is behind does no harm: an object that is garbage never becomes
// anything else.
func (c *Collector) deleteGarbage(ctx context.Context, view *catalog.State) error {
	grace := c.cfg.GarbageGrace.Milliseconds()
	due, all := view.DueGarbage(grace, hint(view), c.cfg.DeletesMax)
	if all.DueBy && len(due) == 0 {
		if _, err := c.propose(ctx, catalog.Expire{}); err != nil {
			return err
		}
		due, all = c.records.View().DueGarbage(grace, 0, c.cfg.DeletesMax)
	}
	c.metrics.observe(all)
	for len(due) > 0 {
		batch := due[:min(len(due), catalog.DropGarbageMax)]
		due = due[len(batch):]
		if err := c.deleteBatch(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// deleteBatch deletes garbage, less what another node has deleted meanwhile.
func (c *Collector) deleteBatch(ctx context.Context, batch []catalog.Garbage) error {
	view := c.records.View()
	var doomed []catalog.NewObject
	for _, g := range batch {
		if _, still := view.GarbageObject(g.ID); still {
			doomed = append(doomed, g.NewObject)
		}
	}
	deleted, err := c.deleteAll(ctx, whatGarbage, doomed)
	if len(deleted) == 0 {
		return err
	}
	failpoint.Hit("tiering/after-delete")
	result, dropErr := c.propose(ctx, catalog.DropGarbage{Objects: deleted})
	if dropErr == nil {
		dropErr = result.Err
	}
	return errors.Join(err, dropErr)
}

// deleteAll deletes segments, several at once, and returns those whose deletion
// the store confirmed. It goes on after an error, and returns the first.
func (c *Collector) deleteAll(ctx context.Context, what string, doomed []catalog.NewObject) ([]catalog.ObjectID, error) {
	errs := make([]error, len(doomed))
	var group errgroup.Group
	group.SetLimit(c.cfg.DeletesInFlight)
	for i, o := range doomed {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
			defer cancel()
			failpoint.Hit("tiering/before-delete")
			_, errs[i] = c.bucket.Delete(ctx, segment.Key(o.ID))
			return errs[i]
		})
	}
	err := group.Wait()
	var deleted []catalog.ObjectID
	for i, o := range doomed {
		if errs[i] == nil {
			deleted = append(deleted, o.ID)
			c.metrics.deleted.WithLabelValues(what).Inc()
			c.metrics.deletedBytes.WithLabelValues(what).Add(float64(o.Size))
		}
	}
	return deleted, err
}

// hint is the time that the journal may have once something is written, in ms.
func hint(view *catalog.State) int64 { return max(view.Time(), time.Now().UnixMilli()) }

func (c *Collector) recent(ctx context.Context) (*catalog.State, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	return c.records.Recent(ctx)
}

func (c *Collector) propose(ctx context.Context, e catalog.Edit) (catalog.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	return c.records.Propose(ctx, e)
}
