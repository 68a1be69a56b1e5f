package journal

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

func smallParts(c *Config) { c.PartBytes = 10 }

func readBack(t *testing.T, j *Journal, info SnapshotInfo) string {
	t.Helper()
	var content []byte
	err := j.ReadSnapshot(t.Context(), info, func(part []byte) error {
		content = append(content, part...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestSnapshotRoundTrip(t *testing.T) {
	j := open(t, memstore.New(), smallParts)
	if _, err := j.LatestSnapshot(t.Context()); !errors.Is(err, ErrNoSnapshot) {
		t.Fatalf("before the first: %v", err)
	}
	c := begin(t, j)
	for _, content := range []string{"", "short", strings.Repeat("0123456789", 3), strings.Repeat("abc", 15)} {
		c.add(t, j, Edits, "")
		// Chunks that fit the parts in no way.
		info, err := j.WriteSnapshot(t.Context(), c.info(), func(yield func([]byte) error) error {
			for chunk := range slices.Chunk([]byte(content), 7) {
				if err := yield(chunk); err != nil {
					return err
				}
				clear(chunk)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := (len(content) + 9) / 10; len(info.Parts) != n || info.Bytes() != int64(len(content)) {
			t.Errorf("%d bytes in %d parts, want %d in %d", info.Bytes(), len(info.Parts), len(content), n)
		}
		latest, err := j.LatestSnapshot(t.Context())
		if err != nil || !slices.Equal(latest.Parts, info.Parts) || !slices.Equal(latest.Claims, c.claims) || latest.Slot != c.next-1 ||
			latest.Nonce != c.prev || latest.Epoch != c.epoch || latest.Time != 5 || latest.Level != 1 {
			t.Fatalf("got %+v, %v, want %+v", latest, err, info)
		}
		if got := readBack(t, j, latest); got != content {
			t.Errorf("got %q, want %q", got, content)
		}
	}
	if slots, err := j.Snapshots(t.Context()); err != nil || !slices.Equal(slots, []Slot{2, 3, 4, 5}) {
		t.Errorf("got %v, %v", slots, err)
	}
}

func TestSnapshotThatWasFirstStays(t *testing.T) {
	store := memstore.New()
	first, second := open(t, store, smallParts), open(t, store, smallParts)
	c := begin(t, first)
	want := c.snapshot(t, first, "as the first node encodes it")
	got, err := second.WriteSnapshot(t.Context(), c.info(), oneChunk("another encoding"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	if content := readBack(t, second, got); content != "as the first node encodes it" {
		t.Errorf("got %q", content)
	}
	for _, key := range store.Keys() {
		if _, ok := first.keys.parsePart(key); ok && !slices.ContainsFunc(want.Parts, func(p PartInfo) bool { return p.Key == key }) {
			t.Errorf("%s was left behind", key)
		}
	}
}

func TestSnapshotOfAnotherHistoryIsRefused(t *testing.T) {
	j := open(t, memstore.New())
	c := begin(t, j)
	c.snapshot(t, j, "one")
	other := c.info()
	other.Nonce = NewNonce()
	if _, err := j.WriteSnapshot(t.Context(), other, oneChunk("two")); !errors.Is(err, ErrSnapshotDiffers) {
		t.Errorf("got %v", err)
	}
}

func TestSnapshotThatFailsToEncodeLeavesNothing(t *testing.T) {
	store := memstore.New()
	j := open(t, store, smallParts)
	c := begin(t, j)
	before := store.Keys()
	broken := errors.New("broken")
	_, err := j.WriteSnapshot(t.Context(), c.info(), func(yield func([]byte) error) error {
		if err := yield(make([]byte, 25)); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) || !slices.Equal(store.Keys(), before) {
		t.Errorf("got %v, keys %v", err, store.Keys())
	}
	info := c.info()
	info.Claims = []Slot{9}
	if _, err := j.WriteSnapshot(t.Context(), info, oneChunk("x")); !errors.Is(err, ErrInvalidEntry) {
		t.Errorf("a claim above the slot: %v", err)
	}
}

func TestReadSnapshotFindsDamage(t *testing.T) {
	store := memstore.New()
	j := open(t, store, smallParts)
	c := begin(t, j)
	info := c.snapshot(t, j, "twenty bytes of state and more")
	whole := store.Clone()
	nothing := func([]byte) error { return nil }
	for name, damage := range map[string]func(body []byte) []byte{
		"bit":     func(b []byte) []byte { b[3] ^= 1; return b },
		"cut":     func(b []byte) []byte { return b[:5] },
		"longer":  func(b []byte) []byte { return append(b, 0) },
		"missing": func([]byte) []byte { return nil },
	} {
		inBubble(t, name, func(t *testing.T) {
			damaged := whole.Clone()
			part := info.Parts[1]
			object, err := damaged.Get(t.Context(), part.Key)
			if err != nil {
				t.Fatal(err)
			}
			damaged.Replace(part.Key, damage(object.Body))
			var corrupt *CorruptError
			if err := open(t, damaged).ReadSnapshot(t.Context(), info, nothing); !errors.As(err, &corrupt) || corrupt.Key != part.Key {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("deleted", func(t *testing.T) {
		deleted := whole.Clone()
		deleted.Replace(info.Parts[2].Key, nil)
		deleted.Replace(j.keys.manifest(info.Slot+1), []byte("newer"))
		deleted.Replace(j.keys.manifest(info.Slot+2), []byte("newest"))
		if err := open(t, deleted).ReadSnapshot(t.Context(), info, nothing); !errors.Is(err, ErrSnapshotGone) || !errors.Is(err, ErrNoEntry) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("decoder", func(t *testing.T) {
		broken := errors.New("broken")
		if err := j.ReadSnapshot(t.Context(), info, func(part []byte) error {
			if bytes.Contains(part, []byte("and")) {
				return broken
			}
			return nil
		}); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}

// busyStore counts the GETs that are under way at once.
type busyStore struct {
	*memstore.Store
	underWay, most atomic.Int32
}

func (s *busyStore) Get(ctx context.Context, key string) (objstore.Object, error) {
	n := s.underWay.Add(1)
	defer s.underWay.Add(-1)
	s.most.Store(max(s.most.Load(), n))
	time.Sleep(time.Duration(100-10*n) * time.Millisecond) // later ones are answered first
	return s.Store.Get(ctx, key)
}

func TestSnapshotIsReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &busyStore{Store: memstore.New()}
		j := open(t, store, smallParts)
		c := begin(t, j)
		content := strings.Repeat("0123456789abcdefghi", 10)
		info := c.snapshot(t, j, content)
		store.most.Store(0)
		if got := readBack(t, j, info); got != content {
			t.Errorf("got %q", got)
		}
		if n := store.most.Load(); n != 4 {
			t.Errorf("%d GETs were under way at once, want that of the next part and three more", n)
		}
		// What is under way ends with the caller's interest.
		refused := errors.New("refused")
		if err := j.ReadSnapshot(t.Context(), info, func([]byte) error { return refused }); !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		if n := store.underWay.Load(); n != 0 {
			t.Errorf("%d GETs are left under way", n)
		}
	})
}
