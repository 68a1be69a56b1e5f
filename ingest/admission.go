package ingest

import (
	"sync"
	"time"
)

// starting is why nothing is admitted at first.
const starting = "starting"

// admission is the node's one byte budget: bodies being read, and records on
// their way to the bucket.
type admission struct {
	limit      int64
	retryAfter time.Duration

	mu     sync.Mutex
	used   int64  // guarded by mu
	closed string // guarded by mu; why nothing is admitted, "" while the node takes records
}

func (a *admission) take(n int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed != "" {
		return &OverloadedError{Reason: a.closed, RetryAfter: a.retryAfter}
	}
	if a.used+n > a.limit {
		return &OverloadedError{Reason: "buffers full", RetryAfter: a.retryAfter}
	}
	a.used += n
	return nil
}

// give returns what take took.
func (a *admission) give(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used -= n
}

func (a *admission) close(reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = reason
}

// open admits what was refused as starting; a node that drains stays closed.
func (a *admission) open() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed == starting {
		a.closed = ""
	}
}

func (a *admission) inUse() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used
}

// BufferShare is the part of the node's byte budget that is in use, from 0 to 1.
func (g *Ingester) BufferShare() float64 {
	return float64(g.admission.inUse()) / float64(g.admission.limit)
}

// Reservation is a share of the node's byte budget, for a request body. It is
// not safe for concurrent use.
type Reservation struct {
	admission *admission
	bytes     int64
}

// Reserve takes n bytes of the node's budget for a request body before it is
// read, or returns an *OverloadedError at once.
func (g *Ingester) Reserve(n int64) (*Reservation, error) {
	if err := g.admission.take(n); err != nil {
		g.metrics.refused.Inc()
		return nil, err
	}
	return &Reservation{admission: &g.admission, bytes: n}, nil
}

// Grow takes n bytes more, or returns an *OverloadedError.
func (r *Reservation) Grow(n int64) error {
	if err := r.admission.take(n); err != nil {
		return err
	}
	r.bytes += n
	return nil
}

// Release gives everything back; calling it again does nothing.
func (r *Reservation) Release() {
	r.admission.give(r.bytes)
	r.bytes = 0
}
