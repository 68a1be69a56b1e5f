package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Waits between attempts grow from the first to the second, at random between
// half of it and the whole.
const (
	backoffFirst = 50 * time.Millisecond
	backoffMax   = 5 * time.Second
)

// Retrier repeats requests until one of those that share it has succeeded
// again, or none has for its timeout. It is safe for concurrent use.
type Retrier struct {
	timeout  time.Duration
	waiting  func(err error) // called before each wait; may be nil
	began    time.Time
	progress atomic.Int64 // ns from began to the last success
	retries  atomic.Int64
}

// NewRetrier returns a Retrier that gives up after so long without progress,
// and calls waiting, if it is not nil, with the error before each pause.
func NewRetrier(timeout time.Duration, waiting func(error)) *Retrier {
	return &Retrier{timeout: timeout, waiting: waiting, began: time.Now()}
}

// GaveUpError is a failure that lasted too long.
type GaveUpError struct {
	After time.Duration
	Err   error
}

func (e *GaveUpError) Error() string {
	return fmt.Sprintf("no progress for %s: %v", e.After.Round(time.Second), e.Err)
}

func (e *GaveUpError) Unwrap() error { return e.Err }

// Retries is how often something was repeated so far.
func (r *Retrier) Retries() int64 { return r.retries.Load() }

// Do calls attempt until it succeeds, fails with an error that again does not
// want repeated, or nothing has succeeded for the timeout; then the error is a
// *GaveUpError. When ctx ends it returns the last error of attempt.
//
// If it was unknown what came of one of the attempts, that is unknown of all of
// them, whatever the last one came to: the error then says so to IsOutcomeUnknown.
func (r *Retrier) Do(ctx context.Context, again func(error) bool, attempt func() error) error {
	first := time.Since(r.began)
	unknown := false
	for tries := 0; ; tries++ {
		err := attempt()
		if err == nil {
			r.progressed()
			return nil
		}
		unknown = unknown || IsOutcomeUnknown(err)
		if ctx.Err() != nil || !again(err) {
			return markUnknown(err, unknown)
		}
		idle := time.Since(r.began) - max(first, time.Duration(r.progress.Load()))
		if idle >= r.timeout {
			return markUnknown(&GaveUpError{idle, err}, unknown)
		}
		r.retries.Add(1)
		if r.waiting != nil {
			r.waiting(err)
		}
		if !sleep(ctx, min(max(backoff(tries), retryAfterOf(err)), r.timeout-idle)) {
			return markUnknown(err, unknown)
		}
	}
}

func (r *Retrier) progressed() { r.progress.Store(int64(time.Since(r.began))) }

// unknownError is the failure of an attempt after one whose outcome is unknown.
type unknownError struct{ error }

func (e unknownError) Unwrap() error { return e.error }

func markUnknown(err error, unknown bool) error {
	if unknown && !IsOutcomeUnknown(err) {
		return unknownError{err}
	}
	return err
}

func retryAfterOf(err error) time.Duration {
	var answer *Error
	if errors.As(err, &answer) {
		return answer.RetryAfter
	}
	return 0
}

func backoff(tries int) time.Duration {
	wait := min(backoffFirst<<min(tries, 10), backoffMax)
	return wait/2 + rand.N(wait/2+1)
}

// sleep waits for d, or returns false when ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
