package journal

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
)

// pace says how long each attempt of one request waits for its answer, and how
// long it pauses before the next.
type pace struct {
	j       *Journal
	size    int // bytes of the body
	backoff time.Duration
	growth  time.Duration
}

func (j *Journal) pace(size int) *pace {
	return &pace{j: j, size: size, backoff: j.cfg.RetryBackoff, growth: 1}
}

// timeout of the next attempt.
func (p *pace) timeout() time.Duration {
	slow := time.Duration(max(0, p.size-slowBytesMin)) * time.Second / slowBytesPerSecond
	return p.growth * (p.j.cfg.AttemptTimeout + slow)
}

// attempt runs one request with its timeout and takes the Date of its error into
// account; f does so for the Date of a success.
func (p *pace) attempt(ctx context.Context, f func(ctx context.Context) error) error {
	attemptCtx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	err := f(attemptCtx)
	p.j.observeDate(objstore.DateOf(err))
	switch {
	case err == nil || attemptCtx.Err() == nil:
		p.growth = 1
	default:
		p.growth = min(2*p.growth, attemptGrowthMax)
	}
	if errors.Is(err, objstore.ErrRefused) {
		// Nothing changes within milliseconds that a store refuses outright.
		p.backoff = retryBackoffMax
	}
	return err
}

// pause waits before the next attempt; false if ctx ended.
func (p *pace) pause(ctx context.Context) bool {
	timer := time.NewTimer(p.backoff)
	defer timer.Stop()
	p.backoff = min(2*p.backoff, retryBackoffMax)
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// repeatable tells whether a request that failed with err may fare better when
// it is repeated.
func repeatable(err error) bool {
	for _, final := range []error{
		objstore.ErrNotFound, objstore.ErrRefused, objstore.ErrUnsupported, objstore.ErrInvalidRange, ErrNewerFormat,
	} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}

// repeat runs a request that does no harm when repeated, at most attemptsMax
// times and until ctx ends, and returns its last error.
func (j *Journal) repeat(ctx context.Context, size, attemptsMax int, f func(ctx context.Context) error) error {
	p := j.pace(size)
	for attempts := 1; ; attempts++ {
		err := p.attempt(ctx, f)
		if err == nil || !repeatable(err) || attempts == attemptsMax {
			return err
		}
		if !p.pause(ctx) {
			return errors.Join(context.Cause(ctx), err)
		}
		j.metrics.readRepeats.Inc()
	}
}

// get reads an object and passes its body to decode. What fails to decode is
// read again, since it may have been damaged on its way.
func (j *Journal) get(ctx context.Context, key string, size int, decode func(body []byte) error) error {
	return j.repeat(ctx, size, readAttemptsMax, func(ctx context.Context) error { return j.getOnce(ctx, key, decode) })
}

func (j *Journal) getOnce(ctx context.Context, key string, decode func(body []byte) error) error {
	object, err := j.bucket.Get(ctx, key)
	if err != nil {
		return err
	}
	j.observeDate(object.Date)
	if err := decode(object.Body); err != nil {
		return &CorruptError{Key: key, Err: err}
	}
	return nil
}

// list passes the objects below prefix and after startAfter to each, in the order
// of their keys, until that returns false. limit bounds a page.
func (j *Journal) list(ctx context.Context, prefix, startAfter string, limit int, each func(o objstore.ObjectInfo) bool) error {
	for {
		var page objstore.Page
		err := j.repeat(ctx, 0, readAttemptsMax, func(ctx context.Context) (err error) {
			page, err = j.bucket.List(ctx, prefix, startAfter, limit)
			return err
		})
		if err != nil {
			return err
		}
		j.observeDate(page.Date)
		for _, object := range page.Objects {
			if !each(object) {
				return nil
			}
			startAfter = object.Key
		}
		if !page.More || len(page.Objects) == 0 {
			return nil
		}
	}
}

// listSlots is list for keys that end in a slot; it skips all others.
func (j *Journal) listSlots(ctx context.Context, prefix, startAfter string, limit int, each func(s SlotInfo) bool) error {
	return j.list(ctx, prefix, startAfter, limit, func(o objstore.ObjectInfo) bool {
		slot, ok := parseSlot(prefix, o.Key)
		if !ok {
			j.skipForeign(o.Key)
			return true
		}
		return each(SlotInfo{Slot: slot, Bytes: o.Size})
	})
}

// skipForeign counts a key that is not the journal's. Only the first is logged
// as a warning, since every listing may meet it again.
func (j *Journal) skipForeign(key string) {
	j.metrics.foreignKeys.Inc()
	level := slog.LevelDebug
	if !j.warnedForeign.Swap(true) {
		level = slog.LevelWarn
	}
	j.logger.Log(context.Background(), level, "skipped a key that is not the journal's", "key", key)
}
