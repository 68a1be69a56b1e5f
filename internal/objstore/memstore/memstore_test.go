package memstore_test

import (
	"testing"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/objstore/storetest"
)

func TestConformance(t *testing.T) {
	features := storetest.Features{InstantList: true, UploadsByPrefix: true}
	storetest.Run(t, features, func(*testing.T) objstore.Bucket { return memstore.New() })
}

func TestClock(t *testing.T) {
	s := memstore.New()
	s.SetClock(func() time.Time { return time.Date(2001, 2, 3, 4, 5, 6, 789, time.Local) })
	r, err := s.Put(t.Context(), "key", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2001, 2, 3, 4, 5, 6, 0, time.Local); !r.Date.Equal(want) {
		t.Fatalf("date %v, want %v", r.Date, want)
	}
	s.SetClock(func() time.Time { return time.Time{} })
	o, err := s.Get(t.Context(), "key")
	if err != nil || !o.Date.IsZero() {
		t.Fatalf("date %v (%v), want none", o.Date, err)
	}
}

func TestCloneAndReplace(t *testing.T) {
	s := memstore.New()
	if _, err := s.Put(t.Context(), "key", []byte("before")); err != nil {
		t.Fatal(err)
	}
	upload := s.BeginUpload("up")
	c := s.Clone()
	s.Replace("key", []byte("after"))
	s.Replace("other", []byte("x"))
	s.Replace("other", nil)
	if err := s.AbortUpload(t.Context(), upload); err != nil {
		t.Fatal(err)
	}
	for store, want := range map[*memstore.Store]string{s: "after", c: "before"} {
		o, err := store.Get(t.Context(), "key")
		if err != nil || string(o.Body) != want || len(store.Keys()) != 1 {
			t.Fatalf("body %q, keys %q (%v), want %q", o.Body, store.Keys(), err, want)
		}
	}
	if uploads, err := c.ListUploads(t.Context(), ""); err != nil || len(uploads) != 1 {
		t.Fatalf("uploads of the clone: %v (%v)", uploads, err)
	}
}
