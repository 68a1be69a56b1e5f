package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/segment"
)

// lane brings the sealed segments of one node id into the bucket and the
// catalog: several uploads at a time, commits in order.
type lane struct {
	node     catalog.NodeID
	catalog  committer
	uploader uploader
	warmer   Warmer
	logger   *slog.Logger
	metrics  *metrics
	settled  func(s *sealedSegment) // called in order, after a segment's units were resolved

	meter   *uploadMeter
	uploads chan struct{} // a token for each upload that may run
	queue   chan *upload  // in order of sealing
	sent    uint64        // owned by the committing goroutine: last number that a commit was sent for
	sealed  uint64        // owned by the sender: last number that was sealed
	landed  uint64        // owned by the settling goroutine: last number whose commit the catalog took
}

// upload is a segment on its way; done has a value when the PUT has ended.
type upload struct {
	segment *sealedSegment
	after   uint64
	upto    uint64
	done    chan error
	begun   time.Time
}

// send takes the units of one segment in their order. It returns once an
// upload is under way, and waits while too many are.
func (l *lane) send(ctx context.Context, units []*unit) error {
	select {
	case l.uploads <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	up := &upload{after: l.sealed, upto: units[len(units)-1].number, done: make(chan error, 1), begun: time.Now()}
	l.sealed = up.upto
	sealed, err := l.seal(up, units)
	if err != nil {
		return err
	}
	up.segment = sealed
	l.metrics.segmentBytes.Observe(float64(len(sealed.Body)))
	l.metrics.segmentUnits.Observe(float64(len(units)))
	failpoint.Hit("ingest/after-seal")
	l.meter.begin(time.Now())
	go func() {
		defer func() {
			l.meter.end(time.Now())
			<-l.uploads
		}()
		_, err := l.uploader.Upload(ctx, segment.Key(sealed.ID), sealed.Body, sealed.CRC)
		up.done <- err
	}()
	select {
	case l.queue <- up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// seal makes a segment of units under a ULID of the journal's time.
func (l *lane) seal(up *upload, units []*unit) (*sealedSegment, error) {
	id := ulid.MustNew(uint64(l.catalog.View().Time()), ulid.DefaultEntropy())
	sealed, err := seal(id, segment.Origin{Node: l.node, After: up.after, Upto: up.upto}, units)
	if err != nil {
		return nil, fmt.Errorf("seal a segment: %w", err) // a bug: what it is made of was validated
	}
	return sealed, nil
}

// run commits what was sent, in order, until ctx ends.
func (l *lane) run(ctx context.Context) error {
	settling := make(chan *commit, cap(l.queue))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(settling)
		for {
			var up *upload
			select {
			case up = <-l.queue:
			case <-ctx.Done():
				return ctx.Err()
			}
			c, err := l.commit(ctx, up)
			if err != nil {
				return err
			}
			select {
			case settling <- c:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	group.Go(func() error {
		for c := range settling {
			if err := l.settle(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// commit is a segment whose edit was submitted.
type commit struct {
	*upload
	taking   []bool
	where    []unitResults
	edit     catalog.CommitSegment
	proposal *catalog.Proposal // nil if every unit was withdrawn
}

// describe makes the edit's object and units of the segment.
func (c *commit) describe() {
	s := c.segment
	c.edit.Object = catalog.NewObject{
		ID:       s.ID,
		Kind:     catalog.SegmentObject,
		Size:     int64(len(s.Body)),
		IndexPos: s.IndexPos,
		IndexCRC: s.IndexCRC,
	}
	c.edit.Units, c.where = s.commitUnits(c.taking)
}

// commit waits for the upload and submits the edit that gives its units their
// offsets.
func (l *lane) commit(ctx context.Context, up *upload) (*commit, error) {
	select {
	case err := <-up.done:
		if err != nil {
			return nil, fmt.Errorf("upload %s: %w", segment.Key(up.segment.ID), err)
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	failpoint.Hit("ingest/after-upload")
	c := &commit{upload: up, taking: make([]bool, len(up.segment.units))}
	some := false
	for i, u := range up.segment.units {
		c.taking[i] = u.beginCommit()
		some = some || c.taking[i]
	}
	if !some {
		return c, nil
	}
	c.edit = catalog.CommitSegment{Node: l.node, After: l.sent, Upto: up.upto}
	c.describe()
	var err error
	c.proposal, err = submit(ctx, l.catalog, c.edit)
	if err != nil {
		return nil, err
	}
	l.sent = up.upto
	return c, nil
}

// submit queues an edit, and waits while the queue is full.
func submit(ctx context.Context, c committer, e catalog.Edit) (*catalog.Proposal, error) {
	for {
		p, err := c.Submit(e)
		if !errors.Is(err, catalog.ErrBusy) {
			return p, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// decided waits for the catalog's answer. A segment that has become older than the
// orphan floor, because this process slept, is uploaded again under a new ULID;
// commits that were sent meanwhile are refused since its numbers were missing, and
// sent again.
func (l *lane) decided(ctx context.Context, c *commit) (catalog.Result, error) {
	for {
		result, err := c.proposal.Wait(ctx)
		if err == nil {
			err = result.Err
		}
		var order *catalog.CommitOrderError
		switch {
		case errors.Is(err, catalog.ErrOrphanFloor):
			if err := l.renew(ctx, c); err != nil {
				return catalog.Result{}, err
			}
		case errors.As(err, &order) && order.Last < c.edit.After && l.landed == c.edit.After:
		default:
			return result, err
		}
		if c.proposal, err = submit(ctx, l.catalog, c.edit); err != nil {
			return catalog.Result{}, err
		}
	}
}

// renew uploads a segment that was refused under a new ULID.
func (l *lane) renew(ctx context.Context, c *commit) error {
	l.logger.Warn("a segment is older than the orphan floor, and is uploaded again", "segment", segment.Key(c.segment.ID))
	sealed, err := l.seal(c.upload, c.segment.units)
	if err != nil {
		return err
	}
	key := segment.Key(sealed.ID)
	if _, err := l.uploader.Upload(ctx, key, sealed.Body, sealed.CRC); err != nil {
		return fmt.Errorf("upload %s: %w", key, err)
	}
	c.segment = sealed
	c.describe()
	return nil
}

// settle waits for the catalog's answer and hands it to the units.
func (l *lane) settle(ctx context.Context, c *commit) error {
	if c.proposal != nil {
		result, err := l.decided(ctx, c)
		var order *catalog.CommitOrderError
		switch {
		case err == nil:
			l.landed = c.upto
		case errors.As(err, &order) && order.Last >= c.upto:
			// It had been committed before, and so may those after it have been;
			// what came of it is not known here. One after it that was refused
			// since this one was missing is sent again.
			l.landed = c.upto
			l.unknown(c, err)
			l.settled(c.segment)
			return nil
		default:
			l.unknown(c, err)
			return fmt.Errorf("commit %s: %w", segment.Key(c.segment.ID), err)
		}
		failpoint.Hit("ingest/after-commit")
		l.warmer.Warm(c.segment.ID, c.segment.Body)
		for i, u := range c.segment.units {
			if !c.taking[i] {
				continue
			}
			results, err := c.segment.resultsOf(i, c.where[i], result.Units)
			if err == errRepeat {
				results, err = l.replayed(u)
			} else if err == nil {
				for j := range results {
					l.metrics.records.Add(float64(results[j].Records))
				}
				l.metrics.bytes.Add(float64(u.bytes))
			}
			u.resolve(results, err)
		}
		l.metrics.commitSeconds.Observe(time.Since(c.begun).Seconds())
	}
	for i, u := range c.segment.units {
		if !c.taking[i] {
			l.metrics.withdrawn.Inc()
			u.resolve(nil, ErrNotCommitted)
		}
	}
	l.settled(c.segment)
	return nil
}

// replayed returns what became of the request that landed under the unit's key.
// The replica holds the commit by now, and with it that request.
func (l *lane) replayed(u *unit) ([]Result, error) {
	landed, known, err := l.catalog.View().Request(u.key)
	if err == nil && !known {
		// A day has passed since, and more than the key's last moment.
		err = fmt.Errorf("%w: what landed under the idempotency key is forgotten by now", ErrOutcomeUnknown)
	}
	if err != nil {
		return nil, err
	}
	return resultsOfRequest(landed), nil
}

// resultsOfRequest are those of a request that landed before under its key.
func resultsOfRequest(landed []catalog.LandedAppend) []Result {
	results := make([]Result, len(landed))
	for i, a := range landed {
		results[i] = Result{Partition: a.Partition, BaseOffset: a.Base, Records: int(a.Records), Timestamp: a.MaxTimestamp, Duplicate: true}
	}
	return results
}

// unknown resolves the units of a commit that may have happened.
func (l *lane) unknown(c *commit, err error) {
	for i, u := range c.segment.units {
		if c.taking[i] {
			l.metrics.unknownOutcome.Inc()
			u.resolve(nil, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err))
		} else {
			u.resolve(nil, ErrNotCommitted)
		}
	}
}
