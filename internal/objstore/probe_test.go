package objstore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

func TestProbeAcceptsSoundStore(t *testing.T) {
	s := memstore.New()
	if err := objstore.Probe(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if keys := s.Keys(); len(keys) > 0 {
		t.Fatalf("the probe left %q", keys)
	}
}

// TestProbeBearsConflicts: a store may answer writers that meet with 409.
func TestProbeBearsConflicts(t *testing.T) {
	s := faultstore.New(memstore.New(), faultstore.Rule{Op: objstore.OpPutIfAbsent, Skip: 2, Times: 15, Fault: faultstore.RefuseAsConflict()})
	if err := objstore.Probe(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// The fakes below are stores that lack one thing each.

// checkThenAct looks whether a key is taken, and writes a moment later: so did
// versitygw 1.7.0.
type checkThenAct struct{ *memstore.Store }

func (s checkThenAct) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	if _, err := s.Get(ctx, key); err == nil {
		return s.Store.PutIfAbsent(ctx, key, body)
	}
	time.Sleep(time.Millisecond)
	return s.Put(ctx, key, body)
}

// unconditional does not look at If-None-Match.
type unconditional struct{ *memstore.Store }

func (s unconditional) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	return s.Put(ctx, key, body)
}

// overwriting answers rightly that the key is taken, after it has replaced the object.
type overwriting struct{ *memstore.Store }

func (s overwriting) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	r, err := s.Store.PutIfAbsent(ctx, key, body)
	if errors.Is(err, objstore.ErrExists) {
		if _, err := s.Put(ctx, key, body); err != nil {
			return r, err
		}
	}
	return r, err
}

// winnerless tells every writer that another one won.
type winnerless struct{ *memstore.Store }

func (s winnerless) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	if _, err := s.Store.PutIfAbsent(ctx, key, body); err != nil {
		return objstore.Receipt{}, err
	}
	return s.Store.PutIfAbsent(ctx, key, body)
}

// lateListing shows in LIST what was there a while ago.
type lateListing struct {
	*memstore.Store
	mu     sync.Mutex
	stale  *memstore.Store
	delete bool // only deletes are late
}

func (s *lateListing) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Clone()
	page, err := now.List(ctx, prefix, after, limit)
	if s.stale == nil {
		s.stale = memstore.New()
	}
	late, lateErr := s.stale.List(ctx, prefix, after, limit)
	s.stale = now
	if s.delete && len(late.Objects) < len(page.Objects) {
		return page, err
	}
	return late, lateErr
}

// fromStart does not look at start-after.
type fromStart struct{ *memstore.Store }

func (s fromStart) List(ctx context.Context, prefix, _ string, limit int) (objstore.Page, error) {
	return s.Store.List(ctx, prefix, "", limit)
}

// credulous stores what it gets.
type credulous struct{ *memstore.Store }

func (credulous) ProbeChecksum(context.Context, string) error { return objstore.ErrUnsupported }

func TestProbeRefusesUnsoundStores(t *testing.T) {
	always := func(f faultstore.Fault) *faultstore.Store {
		return faultstore.New(memstore.New(), faultstore.Rule{Op: objstore.OpPutIfAbsent, Times: faultstore.Always, Fault: f})
	}
	for _, test := range []struct {
		name   string
		bucket objstore.Bucket
		want   string
	}{
		{"check then act", checkThenAct{memstore.New()}, "one winner"},
		{"unconditional", unconditional{memstore.New()}, "one winner"},
		{"overwriting", overwriting{memstore.New()}, "one winner"},
		{"winnerless", winnerless{memstore.New()}, "one winner"},
		{"always in conflict", always(faultstore.RefuseAsConflict()), "one winner"},
		{"late listing", &lateListing{Store: memstore.New()}, "LIST must show at once"},
		{"late listing of deletes", &lateListing{Store: memstore.New(), delete: true}, "LIST must show at once"},
		{"start-after ignored", fromStart{memstore.New()}, "LIST must begin after"},
		{"no checksums", credulous{memstore.New()}, "a body that changed on the way"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := objstore.Probe(t.Context(), test.bucket)
				var refused *objstore.ProbeError
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got %v, want a refusal with %q", err, test.want)
				}
				if page, err := test.bucket.List(t.Context(), "", "", 0); err == nil && test.name != "late listing" && len(page.Objects) > 0 && test.name != "late listing of deletes" {
					t.Fatalf("the probe left %d objects", len(page.Objects))
				}
			})
		})
	}
}

// TestProbeOfStoreThatIsAway: that a store cannot be asked is no verdict.
func TestProbeOfStoreThatIsAway(t *testing.T) {
	for _, fault := range []faultstore.Fault{faultstore.LoseRequest(), faultstore.FailAfter(), faultstore.Throttle()} {
		s := faultstore.New(memstore.New(), faultstore.Rule{Op: objstore.OpPutIfAbsent, Skip: 20, Fault: fault})
		err := objstore.Probe(t.Context(), s)
		var refused *objstore.ProbeError
		if err == nil || errors.As(err, &refused) {
			t.Fatalf("got %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := objstore.Probe(ctx, memstore.New()); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}
