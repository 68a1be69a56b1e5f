package tiering

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/hedging"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// ErrDamaged says that the bytes of a segment changed in this node's memory after
// they were checked. No try can succeed any more.
var ErrDamaged = errors.New("the segment was damaged in memory")

// errUnanswered is a PUT that was given up after its time.
var errUnanswered = errors.New("store did not answer in time")

// Uploader brings sealed segments into the store.
type Uploader struct {
	cfg       UploaderConfig
	bucket    objstore.Putter
	logger    *slog.Logger
	metrics   *uploaderMetrics
	slots     chan struct{} // holds a token for each PUT under way
	puts      sync.WaitGroup
	latencies hedging.Window
	hedges    *hedging.Budget
	health    storeHealth
}

// NewUploader returns an Uploader into bucket. It panics if cfg is not valid.
func NewUploader(cfg UploaderConfig, bucket objstore.Putter, logger *slog.Logger, reg prometheus.Registerer) *Uploader {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	u := &Uploader{
		cfg:    cfg,
		bucket: bucket,
		logger: logger,
		slots:  make(chan struct{}, cfg.InFlightMax),
		hedges: hedging.NewBudget(cfg.HedgeShareMax),
	}
	u.metrics = newUploaderMetrics(reg, &u.health)
	return u
}

// Health tells how the store has dealt with the latest PUTs.
func (u *Uploader) Health() Health { return u.health.get() }

// Wait returns when every PUT has ended that an Upload left behind. No Upload
// may be called while it waits.
func (u *Uploader) Wait() { u.puts.Wait() }

// Upload puts body, whose CRC32C should be crc, under key, which must never have
// had another body, and tries until it succeeds or ctx ends. The caller must not
// change body any more, also after Upload returned: a PUT that was given up may
// still read it.
//
// The error is that of ctx, and wraps the last one of the store; or ErrDamaged, if
// the store refuses body because it is not what crc says. As an *objstore.Error it
// tells whether the object may exist, or may yet appear.
func (u *Uploader) Upload(ctx context.Context, key string, body []byte, crc uint32) (objstore.Receipt, error) {
	begun := time.Now()
	up := upload{Uploader: u, key: key, body: body, crc: crc}
	for {
		receipt, err := up.attempt(ctx)
		if err == nil {
			failpoint.Hit("tiering/after-put")
			u.metrics.uploadTime.Observe(time.Since(begun).Seconds())
			return receipt, nil
		}
		if errors.Is(err, objstore.ErrChecksum) && crc32.Checksum(body, segment.Castagnoli) != crc {
			return objstore.Receipt{}, &objstore.Error{Op: objstore.OpPut, Key: key, Outcome: up.outcome(), Err: fmt.Errorf("%w: %w", ErrDamaged, err)}
		}
		if ctx.Err() != nil || !pause(ctx, up.backoff(err)) {
			return objstore.Receipt{}, up.giveUp(ctx)
		}
	}
}

// upload is the state of one Upload.
type upload struct {
	*Uploader
	key      string
	body     []byte
	crc      uint32
	attempts int
	unknown  bool  // a PUT without an answer may have taken effect, or may yet
	lastErr  error // of the store
}

// putResult is the answer to one PUT.
type putResult struct {
	receipt objstore.Receipt
	err     error
	hedge   bool
	took    time.Duration
}

// attempt sends one PUT, and a hedge if that is slow, and waits for the first
// success, the last failure, or the end of its time.
func (up *upload) attempt(parent context.Context) (objstore.Receipt, error) {
	if err := up.takeSlot(parent); err != nil {
		return objstore.Receipt{}, err
	}
	failpoint.Hit("tiering/before-put")
	begun, errBefore := time.Now(), up.lastErr
	ctx, cancel := context.WithTimeoutCause(parent, up.timeout(), errUnanswered)
	defer cancel() // also ends the PUT that lost
	answers := make(chan putResult, 2)
	kind := kindFirst
	if up.attempts > 0 {
		kind = kindRetry
	}
	up.attempts++
	up.hedges.Earn()
	up.send(ctx, kind, answers)
	underWay := 1
	hedge := time.NewTimer(up.hedgeAfter())
	defer hedge.Stop()
	for underWay > 0 {
		select {
		case answer := <-answers:
			underWay--
			if up.took(answer, begun) {
				return answer.receipt, nil
			}
		case <-hedge.C:
			if up.sendHedge(ctx, answers) {
				underWay++
			}
		case <-ctx.Done():
			// They may yet take effect. That one may have answered at this very
			// moment makes no difference: another PUT of the same is harmless.
			up.unknown = true
			up.lastErr = context.Cause(ctx)
			underWay = 0
		}
	}
	if err := parent.Err(); err != nil {
		up.lastErr = errBefore // what the PUTs say now is that they were told to end
		return objstore.Receipt{}, err
	}
	up.failed(begun)
	return objstore.Receipt{}, up.lastErr
}

// takeSlot waits for a place among the PUTs under way.
func (up *upload) takeSlot(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err // or else a free slot might win
	}
	select {
	case up.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// took takes note of an answer, and tells whether it was a success.
func (up *upload) took(answer putResult, begun time.Time) bool {
	if answer.err != nil {
		up.lastErr = answer.err
		up.unknown = up.unknown || objstore.OutcomeOf(answer.err) != objstore.NotCommitted
		return false
	}
	up.metrics.putTime.Observe(answer.took.Seconds())
	up.latencies.Observe(len(up.body), answer.took)
	if answer.hedge {
		up.metrics.hedgesWon.Inc()
		// The first PUT would have taken longer than this. Were only the winners
		// counted, a store that turned slow would look fast for ever.
		up.latencies.Observe(len(up.body), time.Since(begun))
	}
	if before := up.health.succeeded(time.Now()); !before.Healthy() {
		up.logger.Info("store takes segments again", "segment", up.key, "away", time.Since(before.AwaySince), "attempts", up.attempts)
	}
	return true
}

// failed takes note of an attempt that failed.
func (up *upload) failed(begun time.Time) {
	before := up.health.failed(begun, up.lastErr)
	switch {
	case refused(up.lastErr):
		up.logger.Error("store refuses a segment; check its permissions and that the bucket exists", "segment", up.key, "attempts", up.attempts, "err", up.lastErr)
	case before.Healthy():
		up.logger.Warn("store does not take segments; trying on", "segment", up.key, "err", up.lastErr)
	default:
		up.logger.Debug("store does not take a segment", "segment", up.key, "attempts", up.attempts, "err", up.lastErr)
	}
}

// send starts a PUT for which a slot has been taken.
func (up *upload) send(ctx context.Context, kind string, answers chan<- putResult) {
	u, key, body, crc := up.Uploader, up.key, up.body, up.crc
	u.metrics.puts.WithLabelValues(kind).Inc()
	u.metrics.bytes.Add(float64(len(body)))
	u.metrics.inFlight.Inc()
	begun := time.Now()
	u.puts.Go(func() {
		receipt, err := objstore.PutWithCRC(ctx, u.bucket, key, body, crc)
		if err != nil && ctx.Err() != nil && context.Cause(ctx) == errUnanswered {
			err = fmt.Errorf("%w: %w", errUnanswered, err)
		}
		if err != nil && (ctx.Err() == nil || errors.Is(err, errUnanswered)) {
			u.metrics.failures.WithLabelValues(failureReason(err)).Inc()
		}
		u.metrics.inFlight.Dec()
		<-u.slots
		answers <- putResult{receipt, err, kind == kindHedge, time.Since(begun)}
	})
}

// sendHedge sends a second PUT beside the first if budget and slots allow. It
// does not wait for a slot: first PUTs of other segments come before it.
func (up *upload) sendHedge(ctx context.Context, answers chan<- putResult) bool {
	select {
	case up.slots <- struct{}{}:
	default:
		up.metrics.hedgesWithheld.Inc()
		return false
	}
	if !up.hedges.Take() {
		<-up.slots
		up.metrics.hedgesWithheld.Inc()
		return false
	}
	up.send(ctx, kindHedge, answers)
	return true
}

// timeout is how long an attempt may take.
func (up *upload) timeout() time.Duration {
	transfer := float64(len(up.body)) / float64(up.cfg.BytesPerSecondMin)
	return up.cfg.AttemptTimeout + time.Duration(transfer*float64(time.Second))
}

// A body beyond hedgeSmallBytes is not slow before it could have passed at
// hedgeBytesPerSecond: several segments share a line, and a second one would not
// make them faster.
const (
	hedgeSmallBytes     = 64 << 10
	hedgeBytesPerSecond = 40 << 20
)

func transferTime(size int) time.Duration {
	return time.Duration(max(0, size-hedgeSmallBytes)) * time.Second / hedgeBytesPerSecond
}

// hedgeAfter is how long a PUT may go unanswered before it is hedged.
func (up *upload) hedgeAfter() time.Duration {
	usual, ok := up.latencies.Quantile(len(up.body), up.cfg.HedgeQuantile)
	if !ok {
		// Nothing is known of this store yet; do not take it for slow too soon.
		usual = up.timeout() / 4
	}
	return max(up.cfg.HedgeAfterMin+transferTime(len(up.body)), usual)
}

// backoff is the pause before the attempt after one that failed with err. Half
// of it is random, so that uploads which failed together do not return together.
func (up *upload) backoff(err error) time.Duration {
	d := up.cfg.RefusedBackoff
	if !refused(err) {
		d = up.cfg.BackoffMin << min(up.attempts-1, 20)
		if d > up.cfg.BackoffMax || d <= 0 { // it may have overflowed
			d = up.cfg.BackoffMax
		}
	}
	return d/2 + rand.N(d/2+1)
}

// giveUp is the error of an upload whose context has ended.
func (up *upload) giveUp(ctx context.Context) error {
	e := &objstore.Error{Op: objstore.OpPut, Key: up.key, Outcome: up.outcome(), Err: ctx.Err()}
	if up.lastErr != nil {
		e.Date = objstore.DateOf(up.lastErr)
		e.Err = fmt.Errorf("%w after %d attempts, the last: %w", ctx.Err(), up.attempts, up.lastErr)
	}
	return fmt.Errorf("upload segment: %w", e)
}

// outcome is what may have become of an upload that did not succeed.
func (up *upload) outcome() objstore.Outcome {
	if up.unknown {
		return objstore.Unknown
	}
	return objstore.NotCommitted
}

// pause waits for d, and tells whether ctx has not ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
