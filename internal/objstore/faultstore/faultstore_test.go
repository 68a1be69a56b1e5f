package faultstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

// TestWriteFaults looks at what each fault tells the writer and what it leaves.
func TestWriteFaults(t *testing.T) {
	for _, test := range []struct {
		name    string
		fault   faultstore.Fault
		err     error // nil for success
		outcome objstore.Outcome
		there   bool // right after the answer
		landed  bool // after Land
		dated   bool
	}{
		{"none", faultstore.Fault{}, nil, objstore.Committed, true, true, true},
		{"FailBefore", faultstore.FailBefore(), objstore.ErrUnavailable, objstore.Unknown, false, false, true},
		{"FailAfter", faultstore.FailAfter(), objstore.ErrUnavailable, objstore.Unknown, true, true, true},
		{"LoseRequest", faultstore.LoseRequest(), objstore.ErrUnavailable, objstore.Unknown, false, false, false},
		{"LoseResponse", faultstore.LoseResponse(), objstore.ErrUnavailable, objstore.Unknown, true, true, false},
		{"Throttle", faultstore.Throttle(), objstore.ErrThrottled, objstore.Unknown, false, false, true},
		{"ThrottleAfter", faultstore.ThrottleAfter(), objstore.ErrThrottled, objstore.Unknown, true, true, true},
		{"RefuseAsConflict", faultstore.RefuseAsConflict(), objstore.ErrConflict, objstore.NotCommitted, false, false, true},
		{"ExistsByOwnWrite", faultstore.ExistsByOwnWrite(), objstore.ErrExists, objstore.NotCommitted, true, true, true},
		{"MangleBody", faultstore.MangleBody(), objstore.ErrChecksum, objstore.NotCommitted, false, false, true},
		{"HangBefore", faultstore.HangBefore(), context.DeadlineExceeded, objstore.Unknown, false, false, false},
		{"HangAfter", faultstore.HangAfter(), context.DeadlineExceeded, objstore.Unknown, true, true, false},
		{"LandLate", faultstore.LandLate(0), objstore.ErrUnavailable, objstore.Unknown, false, true, false},
		{"HangThenLand", faultstore.HangThenLand(0), context.DeadlineExceeded, objstore.Unknown, false, true, false},
		{"DelayBy", faultstore.DelayBy(time.Second), nil, objstore.Committed, true, true, true},
		{"DelayAnswer", faultstore.DelayAnswer(time.Second), nil, objstore.Committed, true, true, true},
		{"DelayBy too long", faultstore.DelayBy(time.Hour), context.DeadlineExceeded, objstore.Unknown, false, false, false},
		{"DelayAnswer too long", faultstore.DelayAnswer(time.Hour), context.DeadlineExceeded, objstore.Unknown, true, true, false},
		{"CutRead", faultstore.CutRead(), nil, objstore.Committed, true, true, true},
	} {
		for _, op := range []string{objstore.OpPut, objstore.OpPutIfAbsent, objstore.OpPutStream} {
			t.Run(test.name+"/"+op, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inner := memstore.New()
					s := faultstore.New(inner, faultstore.Rule{Op: op, Fault: test.fault})
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					defer cancel()
					body := []byte("the body")
					err := write(ctx, s, op, "key", body)
					clear(body) // a late landing must have a copy
					if !errors.Is(err, test.err) || objstore.OutcomeOf(err) != test.outcome {
						t.Fatalf("got %v (%v), want %v (%v)", err, objstore.OutcomeOf(err), test.err, test.outcome)
					}
					if err != nil && objstore.DateOf(err).IsZero() == test.dated {
						t.Fatalf("date of %v is %v", err, objstore.DateOf(err))
					}
					wantThere(t, inner, test.there)
					for _, l := range s.Land() {
						if l.Err != nil || l.Key != "key" || l.Op != op {
							t.Fatalf("landed: %+v", l)
						}
					}
					wantThere(t, inner, test.landed)
				})
			})
		}
	}
}

func write(ctx context.Context, b objstore.Bucket, op, key string, body []byte) error {
	var err error
	switch op {
	case objstore.OpPut:
		_, err = b.Put(ctx, key, body)
	case objstore.OpPutIfAbsent:
		_, err = b.PutIfAbsent(ctx, key, body)
	case objstore.OpPutStream:
		_, err = b.PutStream(ctx, key, bytes.NewReader(body))
	}
	return err
}

func wantThere(t *testing.T, inner *memstore.Store, there bool) {
	t.Helper()
	o, err := inner.Get(t.Context(), "key")
	if (err == nil) != there {
		t.Fatalf("object there: %v, want %v", err == nil, there)
	}
	if there && string(o.Body) != "the body" {
		t.Fatalf("body %q", o.Body)
	}
}

func TestReadFaults(t *testing.T) {
	body := []byte("0123456789")
	for _, test := range []struct {
		name  string
		fault faultstore.Fault
		err   error
		want  string // "" if only the error counts
	}{
		{"CutRead", faultstore.CutRead(), objstore.ErrUnavailable, ""},
		{"ShortenRead", faultstore.ShortenRead(), nil, "01234"},
		{"CorruptRead", faultstore.CorruptRead(), nil, "01234%6789"},
		{"LoseResponse", faultstore.LoseResponse(), objstore.ErrUnavailable, ""},
		{"FailAfter", faultstore.FailAfter(), objstore.ErrUnavailable, ""},
		{"Throttle", faultstore.Throttle(), objstore.ErrThrottled, ""},
		{"HangBefore", faultstore.HangBefore(), context.DeadlineExceeded, ""},
		{"LandLate", faultstore.LandLate(0), objstore.ErrUnavailable, ""},
		{"dropped and short", faultstore.Fault{Effect: faultstore.Dropped, Answer: faultstore.Short}, objstore.ErrUnavailable, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := memstore.New()
				inner.Replace("key", body)
				s := faultstore.New(inner, faultstore.Rule{Fault: test.fault, Times: 2})
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				whole, err := s.Get(ctx, "key")
				part, rangeErr := s.GetRange(ctx, "key", 0, 10)
				for _, err := range []error{err, rangeErr} {
					if !errors.Is(err, test.err) {
						t.Fatalf("got %v, want %v", err, test.err)
					}
					if err != nil && objstore.OutcomeOf(err) != objstore.NotCommitted {
						t.Fatalf("outcome of a read is %v", objstore.OutcomeOf(err))
					}
				}
				if string(whole.Body) != test.want || string(part.Body) != test.want {
					t.Fatalf("got %q and %q, want %q", whole.Body, part.Body, test.want)
				}
				after, err := s.Get(ctx, "key")
				if err == nil && !bytes.Equal(after.Body, body) {
					t.Fatalf("the fault changed the object: %q", after.Body)
				}
			})
		})
	}
}

func TestRulesCountMatches(t *testing.T) {
	s := faultstore.New(memstore.New(),
		faultstore.Rule{Op: objstore.OpPutIfAbsent, Prefix: "catalog/", Skip: 1, Fault: faultstore.FailBefore()},
		faultstore.Rule{Prefix: "catalog/", Skip: 2, Times: 2, Fault: faultstore.Throttle()},
		faultstore.Rule{Op: objstore.OpDelete, Times: faultstore.Always, Fault: faultstore.LoseRequest()},
	)
	var got []string
	note := func(err error) {
		switch {
		case err == nil:
			got = append(got, "ok")
		case errors.Is(err, objstore.ErrThrottled):
			got = append(got, "throttled")
		default:
			got = append(got, "failed")
		}
	}
	for i := range 5 {
		_, err := s.PutIfAbsent(t.Context(), fmt.Sprintf("catalog/%d", i), nil)
		note(err)
		_, err = s.Put(t.Context(), "segments/x", nil)
		note(err)
		_, err = s.Delete(t.Context(), "other")
		note(err)
	}
	want := "ok ok failed | failed ok failed | throttled ok failed | throttled ok failed | ok ok failed"
	if strings.Join(got, " ") != strings.ReplaceAll(want, " |", "") {
		t.Fatalf("got %q, want %q", got, want)
	}
	if s.Count("") != 15 || s.Count(objstore.OpDelete) != 5 || s.Count(objstore.OpGet) != 0 {
		t.Fatalf("counts %d, %d, %d", s.Count(""), s.Count(objstore.OpDelete), s.Count(objstore.OpGet))
	}
	s.Reset()
	if _, err := s.Delete(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
}

// TestLateWriteMeetsAnother: a put-if-absent that lands after another took the
// slot must lose, and one that lands first must win.
func TestLateWriteMeetsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := faultstore.New(memstore.New(),
			faultstore.Rule{Prefix: "lose", Fault: faultstore.LandLate(0)},
			faultstore.Rule{Prefix: "win", Fault: faultstore.LandLate(3 * time.Second)},
		)
		ctx := t.Context()
		for _, key := range []string{"lose", "win"} {
			if _, err := s.PutIfAbsent(ctx, key, []byte("late")); objstore.OutcomeOf(err) != objstore.Unknown {
				t.Fatalf("got %v", err)
			}
		}
		if s.Pending() != 2 {
			t.Fatalf("%d pending", s.Pending())
		}
		if _, err := s.PutIfAbsent(ctx, "lose", []byte("other")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if _, err := s.PutIfAbsent(ctx, "win", []byte("other")); !errors.Is(err, objstore.ErrExists) {
			t.Fatalf("got %v", err)
		}
		landed := s.Land()
		if len(landed) != 1 || landed[0].Key != "lose" || !errors.Is(landed[0].Err, objstore.ErrExists) {
			t.Fatalf("landed %+v", landed)
		}
		for key, want := range map[string]string{"lose": "other", "win": "late"} {
			if o, err := s.Get(ctx, key); err != nil || string(o.Body) != want {
				t.Fatalf("%s: %q (%v)", key, o.Body, err)
			}
		}
	})
}

func TestDropLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memstore.New()
		s := faultstore.New(inner, faultstore.Rule{Times: 2, Fault: faultstore.LandLate(time.Second)})
		for _, key := range []string{"a", "b"} {
			if _, err := s.Put(t.Context(), key, nil); err == nil {
				t.Fatal("no error")
			}
		}
		s.DropLate()
		time.Sleep(time.Minute)
		if keys := inner.Keys(); len(keys) > 0 || s.Pending() > 0 {
			t.Fatalf("%q landed, %d pending", keys, s.Pending())
		}
	})
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := faultstore.New(memstore.New())
		s.SetDown(true)
		for _, err := range everyRequest(t.Context(), s) {
			if !errors.Is(err, objstore.ErrUnavailable) {
				t.Fatalf("got %v", err)
			}
		}
		s.SetOutage(faultstore.Hanging)
		began := time.Now()
		for _, err := range everyRequest(t.Context(), s) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
		}
		if waited := time.Since(began); waited != 9*time.Second {
			t.Fatalf("nine requests hung for %v", waited)
		}
		s.SetDown(false)
		for _, err := range everyRequest(t.Context(), s) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// everyRequest makes one request of each operation, each with a second to go.
func everyRequest(parent context.Context, b objstore.Bucket) []error {
	var errs []error
	each := func(request func(ctx context.Context) error) {
		ctx, cancel := context.WithTimeout(parent, time.Second)
		defer cancel()
		errs = append(errs, request(ctx))
	}
	each(func(ctx context.Context) error { _, err := b.Put(ctx, "key", []byte("body")); return err })
	each(func(ctx context.Context) error { _, err := b.PutIfAbsent(ctx, "new", nil); return err })
	each(func(ctx context.Context) error {
		_, err := b.PutStream(ctx, "stream", strings.NewReader("x"))
		return err
	})
	each(func(ctx context.Context) error { _, err := b.Get(ctx, "key"); return err })
	each(func(ctx context.Context) error { _, err := b.GetRange(ctx, "key", 1, 2); return err })
	each(func(ctx context.Context) error { _, err := b.List(ctx, "", "", 0); return err })
	each(func(ctx context.Context) error { _, err := b.Delete(ctx, "new"); return err })
	each(func(ctx context.Context) error { _, err := b.ListUploads(ctx, ""); return err })
	each(func(ctx context.Context) error { return b.AbortUpload(ctx, objstore.Upload{Key: "key", ID: "x"}) })
	return errs
}

func TestSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := faultstore.New(memstore.New(), faultstore.Rule{Fault: faultstore.SkewDate(time.Hour)})
		s.SetSkew(-time.Minute)
		now := time.Now()
		for _, want := range []time.Duration{59 * time.Minute, -time.Minute} {
			r, err := s.Put(t.Context(), "key", nil)
			if err != nil || r.Date.Sub(now) != want {
				t.Fatalf("date is %v off (%v), want %v", r.Date.Sub(now), err, want)
			}
		}
		_, err := s.Get(t.Context(), "missing")
		if got := objstore.DateOf(err).Sub(now); got != -time.Minute {
			t.Fatalf("date of an error is %v off", got)
		}
		page, err := s.List(t.Context(), "", "", 0)
		if err != nil || page.Date.Sub(now) != -time.Minute || !page.Objects[0].Modified.Equal(now) {
			t.Fatalf("page %+v (%v)", page, err)
		}
	})
}

// TestHooksStep holds a request at its hooks, as a test that steps a schedule does.
func TestHooksStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memstore.New()
		s := faultstore.New(inner)
		step := make(chan string)
		s.SetHook(func(op, key string) { step <- "before " + op + " " + key })
		s.SetAfterHook(func(op, key string) { step <- "after " + op + " " + key })
		done := make(chan error, 1)
		go func() {
			_, err := s.Put(t.Context(), "key", nil)
			done <- err
		}()
		synctest.Wait()
		if len(inner.Keys()) != 0 {
			t.Fatal("the effect came before the hook")
		}
		if got := <-step; got != "before put key" {
			t.Fatal(got)
		}
		synctest.Wait()
		if len(inner.Keys()) != 1 || len(done) != 0 {
			t.Fatal("the request is not between its effect and its answer")
		}
		if got := <-step; got != "after put key" {
			t.Fatal(got)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// TestRandomIsOfTheSeed: the faults do not depend on how goroutines interleave.
func TestRandomIsOfTheSeed(t *testing.T) {
	faults := func(seed uint64, goroutines int) map[string]string {
		s := faultstore.New(memstore.New())
		s.Randomize(seed, faultstore.Probabilities{
			FailBefore: .1, FailAfter: .1, LoseRequest: .1, LoseResponse: .1, Throttle: .1, Conflict: .1,
			ExistsByOwnWrite: .1, LandLate: .1, Prefix: "k",
		})
		var mu sync.Mutex
		got := make(map[string]string)
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := g; i < 300; i += goroutines {
					key := fmt.Sprintf("k%d", i)
					_, err := s.PutIfAbsent(t.Context(), key, nil)
					mu.Lock()
					got[key] = fmt.Sprint(err)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if _, err := s.Put(t.Context(), "other", nil); err != nil {
			t.Fatalf("a fault befell a key outside the prefix: %v", err)
		}
		return got
	}
	one, many, other := faults(7, 1), faults(7, 8), faults(8, 1)
	kinds, same := make(map[string]bool), 0
	for key, err := range one {
		if many[key] != err {
			t.Fatalf("%s: %q in one goroutine, %q in many", key, err, many[key])
		}
		if other[key] == err {
			same++
		}
		kinds[strings.TrimPrefix(err, "put-if-absent "+key+": ")] = true
	}
	if same == len(one) {
		t.Fatal("another seed gives the same faults")
	}
	if len(kinds) != 6 { // success, 500, loss, 503, 409, 412
		t.Fatalf("kinds of answers: %v", kinds)
	}
}

func TestRandomReadsAndDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memstore.New()
		s := faultstore.New(inner)
		s.Randomize(3, faultstore.Probabilities{
			CutRead: .2, ShortenRead: .2, CorruptRead: .2, Hang: .1, Delay: .5, DelayMax: time.Second,
			LandLate: .3, LateMax: time.Minute,
		})
		began := time.Now()
		kinds := make(map[string]int)
		body := []byte("0123456789")
		for i := range 200 {
			key := fmt.Sprint(i)
			inner.Replace(key, body)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			o, err := s.Get(ctx, key)
			cancel()
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				kinds["hung"]++
			case errors.Is(err, objstore.ErrUnavailable):
				kinds["cut"]++
			case err != nil:
				t.Fatal(err)
			case len(o.Body) < len(body):
				kinds["short"]++
			case !bytes.Equal(o.Body, body):
				kinds["corrupt"]++
			default:
				kinds["fine"]++
			}
		}
		if len(kinds) != 5 {
			t.Fatalf("kinds of reads: %v", kinds)
		}
		if time.Since(began) == 0 {
			t.Fatal("nothing was delayed")
		}
		for i := range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			_, _ = s.Put(ctx, fmt.Sprintf("late/%d", i), body)
			cancel()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.Pending() != 0 {
			t.Fatalf("%d writes never land", s.Pending())
		}
	})
}
