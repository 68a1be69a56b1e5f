package verify_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/verify"
)

// meddled is a bucket that does something right before certain requests.
type meddled struct {
	objstore.Bucket
	beforeList func(prefix string)
	beforeGet  func(key string)
}

func (m *meddled) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	if m.beforeList != nil {
		m.beforeList(prefix)
	}
	return m.Bucket.List(ctx, prefix, after, limit)
}

func (m *meddled) Get(ctx context.Context, key string) (objstore.Object, error) {
	if m.beforeGet != nil {
		m.beforeGet(key)
	}
	return m.Bucket.Get(ctx, key)
}

func (m *meddled) GetRange(ctx context.Context, key string, pos, length int64) (objstore.Object, error) {
	if m.beforeGet != nil {
		m.beforeGet(key)
	}
	return m.Bucket.GetRange(ctx, key, pos, length)
}

// once returns a function that calls f at its first call that matches. Others
// that match wait until that is done.
func once(match string, f func()) func(string) {
	var begun atomic.Bool
	done := make(chan struct{}) // not a sync.Once: time goes on while it is waited for
	return func(s string) {
		if !strings.HasPrefix(s, match) {
			return
		}
		if begun.CompareAndSwap(false, true) {
			f()
			close(done)
		}
		<-done
	}
}

// live runs a test with a log and a writer that goes on with it.
func live(t *testing.T, test func(*testing.T, *testLog, *writer)) {
	l := buildLog(t)
	synctest.Test(t, func(t *testing.T) {
		w := startWriter(t, l, 8)
		node, _ := w.catalog.View().Node(node)
		w.number = node.Last
		test(t, l, w)
		w.stop()
		synctest.Wait()
	})
}

// drop trims a topic away and deletes its objects, as retention and garbage do.
func (w *writer) drop(tp catalog.TopicPartition) {
	w.t.Helper()
	view := w.catalog.View()
	w.propose(catalog.Trim{Partition: tp, Before: view.Partition(tp).End()})
	var deleted []catalog.ObjectID
	for g := range w.catalog.View().AllGarbage() {
		if _, err := w.log.mem.Delete(w.t.Context(), segment.Key(g.ID)); err != nil {
			w.t.Fatal(err)
		}
		deleted = append(deleted, g.ID)
	}
	w.propose(catalog.DropGarbage{Objects: deleted})
}

func expectWhole(t *testing.T, bucket objstore.Bucket) verify.Summary {
	t.Helper()
	s, found, err := verifyStore(t, bucket, nil)
	if err != nil || !s.Whole || !s.Complete {
		t.Errorf("%+v %v\n%s", s, err, describe(found))
	}
	return s
}

// TestDeletedWhileItReads: objects that were freed and deleted after the view was
// taken are no damage, whether the listing or a read is too late for them.
func TestDeletedWhileItReads(t *testing.T) {
	drop := func(w *writer) func() {
		return func() {
			for tp := range w.log.batches {
				w.drop(tp)
			}
			w.commit(plain(part(rivers, 0), 1, 10)) // and something new
		}
	}
	t.Run("before the listing", func(t *testing.T) {
		live(t, func(t *testing.T, l *testLog, w *writer) {
			if s := expectWhole(t, &meddled{Bucket: l.mem, beforeList: once("segments/", drop(w))}); s.Segments != 1 {
				t.Errorf("%+v", s)
			}
		})
	})
	t.Run("before a read", func(t *testing.T) {
		live(t, func(t *testing.T, l *testLog, w *writer) {
			expectWhole(t, &meddled{Bucket: l.mem, beforeGet: once("segments/", drop(w))})
		})
	})
}

// TestCommittedWhileItReads: segments that came after the view was taken are
// checked, and are not orphans.
func TestCommittedWhileItReads(t *testing.T) {
	live(t, func(t *testing.T, l *testLog, w *writer) {
		before := expectWhole(t, l.mem)
		var id catalog.ObjectID
		commit := func() { id = w.commit(plain(part(rivers, 0), 1, 10)) }
		s := expectWhole(t, &meddled{Bucket: l.mem, beforeList: once("segments/", commit)})
		if s.Segments != before.Segments+1 || s.Orphans != before.Orphans {
			t.Errorf("%+v, before it was %+v", s, before)
		}
		// One that came and is damaged is found, too.
		commit = func() {
			id = w.commit(plain(part(rivers, 0), 1, 10))
			l.mem.Replace(segment.Key(id), flipped(l.body(t, segment.Key(id)), 70))
		}
		s, found, err := verifyStore(t, &meddled{Bucket: l.mem, beforeList: once("segments/", commit)}, nil)
		if err != nil || s.Damages != 1 || found[0].Key != segment.Key(id) && damages(found)[0].Key != segment.Key(id) {
			t.Errorf("%+v %v\n%s", s, err, describe(found))
		}
	})
}

// TestPrunedWhileItReads: snapshots and entries that are deleted while they are
// read lead to the newer ones.
func TestPrunedWhileItReads(t *testing.T) {
	for _, at := range []string{"catalog/000/manifests/", "catalog/000/snapshots/", "catalog/000/journal/"} {
		t.Run(at, func(t *testing.T) {
			live(t, func(t *testing.T, l *testLog, w *writer) {
				prune := func() {
					for range 40 {
						w.commit(plain(part(rivers, 0), 1, 10))
						synctest.Wait()
					}
					time.Sleep(time.Second)
					synctest.Wait()
				}
				s := expectWhole(t, &meddled{Bucket: l.mem, beforeGet: once(at, prune)})
				if s.Slot < 60 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// TestUnread: what the store does not give out is neither whole nor damaged.
func TestUnread(t *testing.T) {
	l := buildLog(t)
	away := segment.Key(l.objects[4].ID)
	synctest.Test(t, func(t *testing.T) {
		s, found, err := verifyStore(t, &failing{Bucket: l.mem, key: away}, nil)
		if err != nil || s.Complete || !s.Whole || s.UnreadObjects != 1 {
			t.Errorf("%+v %v\n%s", s, err, describe(found))
		}
		if s, _, err := verifyStore(t, &failing{Bucket: l.mem, key: "catalog/"}, nil); err == nil || s.Complete {
			t.Errorf("%+v %v", s, err)
		}
	})
}

// failing is a bucket that does not give out some keys.
type failing struct {
	objstore.Bucket
	key string // prefix
}

var errAway = &objstore.Error{Op: objstore.OpGet, Outcome: objstore.NotCommitted, Err: objstore.ErrUnavailable}

func (f *failing) Get(ctx context.Context, key string) (objstore.Object, error) {
	if strings.HasPrefix(key, f.key) {
		return objstore.Object{}, errAway
	}
	return f.Bucket.Get(ctx, key)
}

func (f *failing) GetRange(ctx context.Context, key string, pos, length int64) (objstore.Object, error) {
	if strings.HasPrefix(key, f.key) {
		return objstore.Object{}, errAway
	}
	return f.Bucket.GetRange(ctx, key, pos, length)
}

// TestNoCatalog: an empty store is no whole log.
func TestNoCatalog(t *testing.T) {
	l := buildLog(t)
	synctest.Test(t, func(t *testing.T) {
		empty := l.mem.Clone()
		for _, key := range empty.Keys() {
			empty.Replace(key, nil)
		}
		if _, _, err := verifyStore(t, empty, nil); !errors.Is(err, verify.ErrNoCatalog) {
			t.Errorf("an empty store: %v", err)
		}
	})
}

// TestSmallBounds: with the least memory, and one object at a time, it comes to the same.
func TestSmallBounds(t *testing.T) {
	l := buildLog(t)
	synctest.Test(t, func(t *testing.T) {
		want, _, err := verifyStore(t, l.mem, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := verifyStore(t, l.mem, func(c *verify.Config) { c.Concurrency, c.BytesInFlight = 1, verify.ChunkBytes })
		if err != nil || got != want {
			t.Errorf("%+v %v, want %+v", got, err, want)
		}
		only, _, err := verifyStore(t, l.mem, func(c *verify.Config) { c.Topics = []string{"lakes"} })
		if err != nil || !only.Whole || only.Segments == 0 || only.Segments >= want.Segments || only.Orphans != 0 {
			t.Errorf("%+v %v", only, err)
		}
	})
}
