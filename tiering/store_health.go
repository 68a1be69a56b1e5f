package tiering

import (
	"errors"
	"sync"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
)

// Health is what the uploads of a node tell about the store.
type Health struct {
	// LastSuccess is when a PUT last succeeded; zero if none has yet.
	LastSuccess time.Time
	// AwaySince is when the first of the attempts began that have failed since
	// the last success; zero if none has.
	AwaySince time.Time
	// Err is the last of those failures.
	Err error
	// Refused tells that Err is a refusal: the store answers, but only a change
	// of its settings or of the node's credentials will make it accept.
	Refused bool
}

// Healthy tells whether no attempt has failed since the last success. It is
// true before the first PUT.
func (h Health) Healthy() bool { return h.AwaySince.IsZero() }

// storeHealth keeps the Health of a store.
type storeHealth struct {
	mu  sync.Mutex
	now Health
}

func (s *storeHealth) get() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// succeeded returns the health before.
func (s *storeHealth) succeeded(at time.Time) Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.now
	s.now = Health{LastSuccess: at}
	return before
}

// failed counts an attempt that began at begun, and returns the health before.
func (s *storeHealth) failed(begun time.Time, err error) Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.now
	if s.now.AwaySince.IsZero() {
		s.now.AwaySince = begun
	}
	s.now.Err = err
	s.now.Refused = refused(err)
	return before
}

// refused tells whether err will recur until somebody changes a setting.
func refused(err error) bool {
	return errors.Is(err, objstore.ErrRefused) || errors.Is(err, objstore.ErrUnsupported)
}
