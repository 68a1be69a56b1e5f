package tiering

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
)

// behaviour is how a store deals with one PUT.
type behaviour struct {
	delay  time.Duration // before it answers
	effect bool          // whether the object is written, after the delay
	err    error         // the answer
	lands  time.Duration // the object is written this long after the answer, whatever that was
	hang   bool          // no answer before the request is cancelled
	deaf   bool          // does not even notice that
}

var (
	fine        = behaviour{delay: 10 * time.Millisecond, effect: true}
	throttled   = behaviour{delay: 5 * time.Millisecond, err: putError(objstore.NotCommitted, objstore.ErrThrottled)}
	refusal     = behaviour{delay: 5 * time.Millisecond, err: putError(objstore.NotCommitted, objstore.ErrRefused)}
	lostAnswer  = behaviour{delay: 5 * time.Millisecond, effect: true, err: putError(objstore.Unknown, errors.New("connection reset"))}
	lateLanding = behaviour{delay: 5 * time.Millisecond, lands: time.Minute, err: putError(objstore.Unknown, errors.New("connection reset"))}
	hanging     = behaviour{hang: true}
)

func putError(outcome objstore.Outcome, err error) error {
	return &objstore.Error{Op: "put", Outcome: outcome, Err: err}
}

func slow(d time.Duration) behaviour { return behaviour{delay: d, effect: true} }

// scriptedStore deals with its PUTs as a script says, one behaviour each, and
// with those beyond the script as with the last.
type scriptedStore struct {
	t      testing.TB
	script []behaviour

	mu          sync.Mutex
	puts        []time.Time // when each began
	cancelled   int         // that were cancelled before they answered
	inFlight    int
	inFlightMax int
	objects     map[string][]byte
	landings    int // writes of an object
	successes   int // answers without an error
	background  sync.WaitGroup
}

func newScriptedStore(t testing.TB, script ...behaviour) *scriptedStore {
	return &scriptedStore{t: t, script: script, objects: make(map[string][]byte)}
}

func (s *scriptedStore) Put(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	s.mu.Lock()
	b := s.script[min(len(s.puts), len(s.script)-1)]
	s.puts = append(s.puts, time.Now())
	s.inFlight++
	s.inFlightMax = max(s.inFlightMax, s.inFlight)
	s.mu.Unlock()

	err := s.answer(ctx, b)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	if err != nil && ctx.Err() != nil {
		s.cancelled++
		return objstore.Receipt{}, err
	}
	if b.effect {
		s.land(key, body)
	}
	if b.lands > 0 {
		s.background.Go(func() {
			time.Sleep(b.lands)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.land(key, body)
		})
	}
	if b.err != nil {
		return objstore.Receipt{}, b.err
	}
	s.successes++
	return objstore.Receipt{Date: time.Now()}, nil
}

// answer waits until the store answers, and fails if the request ends before.
func (s *scriptedStore) answer(ctx context.Context, b behaviour) error {
	var answered <-chan time.Time
	if !b.hang {
		answered = time.After(b.delay)
	}
	cancelled := ctx.Done()
	if b.deaf {
		cancelled = nil
	}
	select {
	case <-answered:
		return nil
	case <-cancelled:
		return putError(objstore.Unknown, ctx.Err())
	}
}

// land writes an object. Under one key there must never be two bodies.
func (s *scriptedStore) land(key string, body []byte) {
	if old, ok := s.objects[key]; ok && !bytes.Equal(old, body) {
		s.t.Errorf("%s: another body", key)
	}
	s.objects[key] = bytes.Clone(body)
	s.landings++
}
