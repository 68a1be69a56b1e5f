package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// Traffic tells how busy a node is with its clients.
type Traffic interface {
	// Busy tells whether what is not urgent should make room.
	Busy() bool
}

// Compactor joins small extents of a topic into large ones of a segment of its own,
// sorted by partition and offset.
//
// Any number of nodes may run one. A topic is one job's at a time, by a lease in the
// catalog; but what makes a job safe is that the catalog looks at the extents which
// it replaces, and that an object is committed once.
type Compactor struct {
	cfg     CompactorConfig
	records Records
	bucket  objstore.Bucket
	logger  *slog.Logger
	metrics *compactorMetrics
	pace    *pace

	// Owned by Run: objects found damaged, whose extents are left alone.
	damaged map[catalog.ObjectID]struct{}
	sized   time.Time // when the backlog was looked at last

	toldLevel bool // that the feature level is too low
}

// NewCompactor returns a Compactor; nothing happens before Run.
func NewCompactor(cfg CompactorConfig, records Records, bucket objstore.Bucket, traffic Traffic, logger *slog.Logger, reg prometheus.Registerer) (*Compactor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Compactor{
		cfg: cfg, records: records, bucket: bucket, logger: logger,
		metrics: newCompactorMetrics(reg), pace: newPace(&cfg, traffic),
		damaged: map[catalog.ObjectID]struct{}{},
	}, nil
}

// backlogPause is the pause between two looks at the whole backlog.
const backlogPause = time.Minute

// Run works until ctx ends. Whatever fails is tried again in a later round.
func (c *Compactor) Run(ctx context.Context) error {
	select {
	case <-c.records.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	for wait := min(c.cfg.Interval, firstPause); ; wait = c.cfg.Interval {
		if !pause(ctx, wait/2+rand.N(wait)) {
			return ctx.Err()
		}
		if err := c.round(ctx); err != nil && ctx.Err() == nil {
			c.logger.Warn("a round of compaction failed", "error", err)
		}
	}
}

// round goes over the topics, from one at random on, so that nodes which began
// together do not all ask for the same.
func (c *Compactor) round(ctx context.Context) error {
	view, err := c.recent(ctx)
	if err != nil {
		return err
	}
	if err := view.CompactionAllowed(); err != nil {
		if !c.toldLevel {
			c.toldLevel = true
			c.logger.Warn("nothing is compacted yet", "error", err)
		}
		return nil
	}
	topics := view.Topics("", "", math.MaxInt)
	if time.Since(c.sized) >= backlogPause {
		c.sized = time.Now()
		c.metrics.observe(c.backlog(view, topics))
	}
	if len(topics) == 0 {
		return nil
	}
	var errs []error
	first, left := rand.N(len(topics)), c.cfg.JobsPerRound
	for i := range topics {
		t := topics[(first+i)%len(topics)]
		for range min(left, c.cfg.JobsPerTopic) {
			view = c.records.View()
			if t, _ = view.Topic(t.ID); t == nil {
				break
			}
			p := c.planner(view)
			todo := p.plan(view, t)
			if !p.worth(&todo) {
				break
			}
			left--
			if err := c.compact(ctx, view, &todo); err != nil {
				errs = append(errs, fmt.Errorf("topic %s: %w", t.Name, err))
				break
			}
		}
		if ctx.Err() != nil || left == 0 {
			break
		}
	}
	return errors.Join(errs...)
}

func (c *Compactor) planner(view *catalog.State) *planner {
	return &planner{cfg: c.cfg, now: hint(view), damaged: func(id catalog.ObjectID) bool {
		_, ok := c.damaged[id]
		return ok
	}}
}

func (c *Compactor) backlog(view *catalog.State, topics []*catalog.Topic) (all backlog) {
	p := c.planner(view)
	for _, t := range topics {
		p.backlog(view, t, &all)
	}
	return all
}

// errClaimed is a topic that another job has.
var errClaimed = errors.New("another job compacts the topic")

// compact carries a plan out, and counts what came of it. Its error ends the jobs of
// the topic for this round; that another node is at work is none to report.
func (c *Compactor) compact(ctx context.Context, view *catalog.State, todo *plan) error {
	begun := time.Now()
	c.metrics.running.Inc()
	defer c.metrics.running.Dec()
	job := &compaction{Compactor: c, view: view, plan: todo, id: uuid.New()}
	result, err := job.run(ctx)
	switch {
	case errors.Is(err, errClaimed):
		c.metrics.jobs.WithLabelValues(jobClaimed).Inc()
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errSourceGone):
		result = jobInVain
	case err != nil:
		return c.failed(todo, err)
	}
	c.metrics.jobs.WithLabelValues(result).Inc()
	c.metrics.jobTime.Observe(time.Since(begun).Seconds())
	return nil
}

// failed takes note of a job that failed.
func (c *Compactor) failed(todo *plan, err error) error {
	reason := reasonCatalog
	var damage *segment.CorruptError
	var conservation *conservationError
	switch {
	case errors.As(err, &conservation):
		reason = reasonConservation
		c.logger.Error("compacted records are not those that were read; nothing was replaced", "topic", todo.topic.Name, "error", err)
	case errors.As(err, &damage):
		reason = reasonDamage
		id, keyErr := segment.ParseKey(damage.Key)
		if keyErr == nil && len(c.damaged) < c.cfg.DamagedMax {
			c.damaged[id] = struct{}{}
		}
		c.logger.Error("an object to compact is damaged; its extents are left as they are", "topic", todo.topic.Name, "segment", damage.Key, "error", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errStalled):
		reason = reasonTimeout
	case objectError(err):
		reason = reasonStore
	}
	c.metrics.jobs.WithLabelValues(jobFailed).Inc()
	c.metrics.failures.WithLabelValues(reason).Inc()
	return err
}

func objectError(err error) bool {
	var e *objstore.Error
	return errors.As(err, &e)
}

func (c *Compactor) recent(ctx context.Context) (*catalog.State, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	return c.records.Recent(ctx)
}

func (c *Compactor) propose(ctx context.Context, e catalog.Edit) (catalog.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	return c.records.Propose(ctx, e)
}

// compaction is one job at work.
type compaction struct {
	*Compactor
	*plan
	view *catalog.State // in which it was planned
	id   catalog.JobID
}

// run carries the job out and returns its result.
func (j *compaction) run(parent context.Context) (result string, err error) {
	ctx, cancel := context.WithTimeout(parent, j.cfg.JobTimeout)
	defer cancel()
	// The journal's time stands still while nothing is written; a lease that begins
	// then would end with the next entry. This edit brings the store's time.
	if hint(j.view)-j.view.Time() > j.cfg.LeaseTime.Milliseconds()/4 {
		if _, err := j.propose(ctx, catalog.Expire{}); err != nil {
			return "", fmt.Errorf("bring the journal's time: %w", err)
		}
	}
	if err := j.claim(ctx); err != nil {
		return "", err
	}
	failpoint.Hit("compaction/after-claim")
	ctx, lost := context.WithCancelCause(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		if err := j.keepClaim(ctx); err != nil {
			lost(err)
		}
	}()
	edit, err := j.rewrite(ctx)
	if err == nil {
		result, err = j.swap(ctx, edit)
	}
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errClaimed) {
		err = cause
	}
	lost(nil)
	<-kept
	j.giveBack(parent)
	return result, err
}

// claim takes the lease of the topic, or renews it.
func (j *compaction) claim(ctx context.Context) error {
	r, err := j.propose(ctx, catalog.ClaimCompaction{Topic: j.topic.ID, Job: j.id, ForMs: j.cfg.LeaseTime.Milliseconds()})
	switch {
	case err != nil:
		return fmt.Errorf("claim the topic: %w", err)
	case errors.Is(r.Err, catalog.ErrCompactionClaimed), errors.Is(r.Err, catalog.ErrTopicNotFound):
		return errClaimed
	}
	return r.Err
}

// keepClaim renews the lease until ctx ends. Its error says that another job has
// the topic, or that it is gone; one that could not be asked is no reason to stop,
// since the catalog judges in the end.
func (j *compaction) keepClaim(ctx context.Context) error {
	for pause(ctx, j.cfg.LeaseTime/3) {
		if err := j.claim(ctx); errors.Is(err, errClaimed) {
			return err
		}
	}
	return nil
}

// giveBack ends the lease, for which nobody waits.
func (j *compaction) giveBack(ctx context.Context) {
	if ctx.Err() == nil {
		// If this fails the lease expires.
		_, _ = j.propose(ctx, catalog.ClaimCompaction{Topic: j.topic.ID, Job: j.id})
	}
}

// swapPause is the pause before an edit whose outcome is unknown is proposed again.
const swapPause = time.Second

// swap puts the new extents in the place of the old ones. The edit may be repeated:
// the second time the catalog knows the object.
func (j *compaction) swap(ctx context.Context, edit *catalog.Compact) (string, error) {
	failpoint.Hit("compaction/before-swap")
	for {
		r, err := j.propose(ctx, *edit)
		switch {
		case err == nil && errors.Is(r.Err, catalog.ErrObjectExists):
			failpoint.Hit("compaction/after-swap")
			return jobDone, nil // an attempt before, whose answer was lost
		case err == nil && r.Err != nil:
			return "", fmt.Errorf("swap extents: %w", r.Err)
		case err == nil:
			failpoint.Hit("compaction/after-swap")
			return j.swapped(edit, r.Units), nil
		case !pause(ctx, swapPause):
			return "", fmt.Errorf("swap extents: %w", err)
		}
	}
}

func (j *compaction) swapped(edit *catalog.Compact, units []catalog.UnitResult) string {
	changed := 0
	for i, u := range units {
		if u.Err != nil {
			changed++
			continue
		}
		for _, x := range edit.Partitions[i].Extents {
			j.metrics.replaced.Add(float64(x.Replaces))
			j.metrics.made.Inc()
		}
	}
	switch changed {
	case 0:
		return jobDone
	case len(units):
		return jobInVain
	default:
		return jobPartly
	}
}
