package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

// Waits between attempts grow from the first to the second, at random between
// half of it and the whole.
const (
	backoffFirst = 50 * time.Millisecond
	backoffMax   = 5 * time.Second
)

// isTemporary tells whether the same request may succeed later.
func isTemporary(err error) bool {
	var transport *transportError
	if errors.As(err, &transport) {
		return true
	}
	var problem *problemError
	if !errors.As(err, &problem) {
		return false
	}
	if problem.Retryable != nil && *problem.Retryable {
		return true
	}
	switch problem.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		http.StatusTooManyRequests, http.StatusRequestTimeout:
		return true
	case http.StatusInternalServerError:
		return problem.Retryable == nil
	}
	return false
}

// hadNoEffect tells whether a failed write is known to have left nothing
// behind, so that it may be repeated without a producer id.
func hadNoEffect(err error) bool {
	var transport *transportError
	if errors.As(err, &transport) {
		return !transport.sent
	}
	var problem *problemError
	return errors.As(err, &problem) && problem.NoSideEffects
}

// isUnknown tells whether a failed write may have taken effect, or may yet.
func isUnknown(err error) bool {
	if hadNoEffect(err) {
		return false
	}
	var problem *problemError
	if !errors.As(err, &problem) {
		return true
	}
	// The other 4xx are verdicts on the request.
	return problem.Status >= 500 || problem.Status < 400 || problem.Status == http.StatusRequestTimeout
}

func retryAfterOf(err error) time.Duration {
	var problem *problemError
	if errors.As(err, &problem) {
		return problem.RetryAfter
	}
	return 0
}

// retrier repeats requests until one of those that share it has succeeded
// again, or none has for timeout. It is safe for concurrent use.
type retrier struct {
	timeout  time.Duration
	waiting  func(err error) // called before each wait; may be nil
	began    time.Time
	progress atomic.Int64 // ns from began to the last success
	retries  atomic.Int64
}

func newRetrier(timeout time.Duration, waiting func(error)) *retrier {
	return &retrier{timeout: timeout, waiting: waiting, began: time.Now()}
}

// gaveUpError is a failure that lasted too long.
type gaveUpError struct {
	after time.Duration
	err   error
}

func (e *gaveUpError) Error() string {
	return fmt.Sprintf("no progress for %s: %v", e.after.Round(time.Second), e.err)
}

func (e *gaveUpError) Unwrap() error { return e.err }

// do calls attempt until it succeeds, fails with an error that again does not
// want repeated, or nothing has succeeded for the timeout. When ctx ends it
// returns the last error of attempt.
func (r *retrier) do(ctx context.Context, again func(error) bool, attempt func() error) error {
	first := time.Since(r.began)
	for tries := 0; ; tries++ {
		err := attempt()
		if err == nil {
			r.progressed()
			return nil
		}
		if ctx.Err() != nil || !again(err) {
			return err
		}
		idle := time.Since(r.began) - max(first, time.Duration(r.progress.Load()))
		if idle >= r.timeout {
			return &gaveUpError{idle, err}
		}
		r.retries.Add(1)
		if r.waiting != nil {
			r.waiting(err)
		}
		if !sleep(ctx, min(max(backoff(tries), retryAfterOf(err)), r.timeout-idle)) {
			return err
		}
	}
}

func (r *retrier) progressed() { r.progress.Store(int64(time.Since(r.began))) }

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
