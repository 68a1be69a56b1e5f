package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/internal/objstore"
)

// awkwardKeys sort differently by bytes than by path or by letters.
var awkwardKeys = []string{
	"a-b/c", "a-c", "a.b", "a.b/c", "a/b", "a/b-c/d", "a/b.c", "a/bb", "a0", "a=1/b=2", "aB", "a_b", "ab/c/d/e/f",
	"b/00000000000000000009", "b/00000000000000000010", "b/00000000000000000010x", "b/9", "b/A", "b/a",
}

func (suite) listOrder(t *testing.T, b objstore.Bucket) {
	keys := awkwardKeys
	// a.b/c and a.b cannot both be in a folder.
	keys = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return key == "a.b/c" })
	for i := range keys {
		key := keys[(i*7)%len(keys)] // not in order
		mustPut(t, b, key, noise(i))
	}
	slices.Sort(keys)
	starts := append(slices.Clone(keys), "", "a", "a-", "a/", "a/b-", "a0/x", "b", "b/0", "b/99", "c", "zzz")
	for _, prefix := range []string{"", "a", "a-", "a/", "a/b", "b", "b/", "b/0000000000000000001", "ab/c/d", "ab/c/d/e/f", "nothing", "nothing/", "a=1/"} {
		for _, start := range starts {
			want := slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
				return key <= start || !strings.HasPrefix(key, prefix)
			})
			page, err := b.List(t.Context(), prefix, start, 0)
			if err != nil {
				t.Fatalf("list %q after %q: %v", prefix, start, err)
			}
			if got := keysOf(page); !slices.Equal(got, want) || page.More {
				t.Fatalf("list %q after %q:\n got %q (more: %v)\nwant %q", prefix, start, got, page.More, want)
			}
		}
	}
	page, err := b.List(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range page.Objects {
		got, err := b.Get(t.Context(), o.Key)
		if err != nil || got.Size != o.Size {
			t.Fatalf("%s is listed with %d bytes and has %d (%v)", o.Key, o.Size, got.Size, err)
		}
	}
}

func (suite) listPages(t *testing.T, b objstore.Bucket) {
	var keys []string
	for i := range 23 {
		key := fmt.Sprintf("p/%03d", i)
		if i%3 == 0 {
			key += "/x"
		}
		keys = append(keys, key)
		mustPut(t, b, key, nil)
	}
	mustPut(t, b, "q", nil)
	for _, limit := range []int{1, 2, 3, 7, 22, 23, 24} {
		got, err := listAll(t.Context(), b, "p/", "", limit)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, keys) {
			t.Fatalf("in pages of %d:\n got %q\nwant %q", limit, got, keys)
		}
		page, err := b.List(t.Context(), "p/", "", limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Objects) != min(limit, 23) || page.More != (limit < 23) {
			t.Fatalf("the first page of %d has %d keys, more: %v", limit, len(page.Objects), page.More)
		}
	}
}

func (suite) listBeyondOnePage(t *testing.T, b objstore.Bucket) {
	const count = objstore.ListPageMax + 5
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(8)
	for i := range count {
		group.Go(func() error {
			_, err := b.Put(ctx, fmt.Sprintf("many/%05d", i), nil)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{0, -1, objstore.ListPageMax, 5000} {
		page, err := b.List(t.Context(), "many/", "", limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Objects) != objstore.ListPageMax || !page.More {
			t.Fatalf("limit %d: %d keys, more: %v", limit, len(page.Objects), page.More)
		}
	}
	got, err := listAll(t.Context(), b, "many/", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != count || !slices.IsSorted(got) {
		t.Fatalf("%d keys, sorted: %v", len(got), slices.IsSorted(got))
	}
}

// listShowsWhatWasDone checks after each put and delete that LIST knows.
func (suite) listShowsWhatWasDone(t *testing.T, b objstore.Bucket) {
	group, ctx := errgroup.WithContext(t.Context())
	for writer := range 4 {
		group.Go(func() error { return seesOwnDeeds(ctx, b, writer) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func seesOwnDeeds(ctx context.Context, b objstore.Bucket, writer int) error {
	prefix := fmt.Sprintf("w%d/", writer)
	for i := range 15 {
		key := fmt.Sprintf("%s%d", prefix, i)
		if _, err := b.PutIfAbsent(ctx, key, []byte(key)); err != nil {
			return err
		}
		page, err := b.List(ctx, prefix, "", 0)
		if err != nil {
			return err
		}
		if got := keysOf(page); !slices.Equal(got, []string{key}) {
			return fmt.Errorf("after the put of %s LIST shows %q", key, got)
		}
		if _, err := b.Delete(ctx, key); err != nil {
			return err
		}
		page, err = b.List(ctx, prefix, "", 0)
		if err != nil {
			return err
		}
		if len(page.Objects) > 0 {
			return fmt.Errorf("after the delete of %s LIST shows %q", key, keysOf(page))
		}
	}
	return nil
}

// listSeesNewestOfMovingWindow does what a journal does: keys are put in
// ascending order, and one is deleted only once newer ones are there. A LIST must
// never find nothing, since a sleeper learns from it that it is behind.
func (s suite) listSeesNewestOfMovingWindow(t *testing.T, b objstore.Bucket) {
	kept := 1
	if !s.features.InstantList {
		// Such a store looks up one by one the keys it found at first, and leaves
		// out those that have gone since. A journal keeps thousands.
		kept = 50
	}
	if _, err := b.PutIfAbsent(t.Context(), slotKey(0), nil); err != nil {
		t.Fatal(err)
	}
	group, ctx := errgroup.WithContext(t.Context())
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		for slot := 1; slot <= 150+kept; slot++ {
			if _, err := b.PutIfAbsent(ctx, slotKey(slot), nil); err != nil {
				return err
			}
			if slot < kept {
				continue
			}
			if _, err := b.Delete(ctx, slotKey(slot-kept)); err != nil {
				return err
			}
		}
		return nil
	})
	for range 2 {
		group.Go(func() error {
			for !isClosed(done) {
				page, err := b.List(ctx, "journal/", "", 0)
				if err != nil {
					return err
				}
				if len(page.Objects) == 0 {
					return fmt.Errorf("LIST shows nothing, though the newest key is never deleted")
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// listShowsOneInstant: each key is put once the one before it is there and
// deleted once the one before it is gone, so at any instant they have no gap.
func (s suite) listShowsOneInstant(t *testing.T, b objstore.Bucket) {
	if !s.features.InstantList {
		return
	}
	group, ctx := errgroup.WithContext(t.Context())
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		for slot := range 200 {
			if _, err := b.PutIfAbsent(ctx, slotKey(slot), nil); err != nil {
				return err
			}
			if slot < 20 {
				continue
			}
			if _, err := b.Delete(ctx, slotKey(slot-20)); err != nil {
				return err
			}
		}
		return nil
	})
	for range 2 {
		group.Go(func() error {
			for !isClosed(done) {
				page, err := b.List(ctx, "journal/", "", 0)
				if err != nil {
					return err
				}
				if err := dense(keysOf(page)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func dense(keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	var first int
	if _, err := fmt.Sscanf(keys[0], "journal/%d", &first); err != nil {
		return err
	}
	for i, key := range keys {
		if key != slotKey(first+i) {
			return fmt.Errorf("LIST has a gap before %s: %q", key, keys)
		}
	}
	return nil
}

func slotKey(slot int) string { return fmt.Sprintf("journal/%020d", slot) }

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func keysOf(page objstore.Page) []string {
	keys := make([]string, 0, len(page.Objects))
	for _, o := range page.Objects {
		keys = append(keys, o.Key)
	}
	return keys
}
