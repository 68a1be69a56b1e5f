package journal

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

// slotsOf returns every slot that is there.
func slotsOf(j *Journal, store *memstore.Store) (slots []Slot) {
	for _, key := range store.Keys() {
		if s, ok := j.keys.parseSlot(key); ok {
			slots = append(slots, s)
		}
	}
	return slots
}

func partsOf(j *Journal, store *memstore.Store) (n int) {
	for _, key := range store.Keys() {
		if _, ok := j.keys.parsePart(key); ok {
			n++
		}
	}
	return n
}

func TestPruneKeepsWhatTheProtocolNeeds(t *testing.T) {
	store := memstore.New()
	j := open(t, store, smallParts)
	c := begin(t, j) // genesis in 0, claim in 1
	c.add(t, j, Edits, "2")
	c.snapshot(t, j, "first, of three parts") // of slot 2
	c.add(t, j, Edits, "3")
	c.add(t, j, Claim, "4")
	c.add(t, j, Edits, "5")
	c.add(t, j, Edits, "6")

	prune := func(want int) {
		t.Helper()
		if n, err := j.Prune(t.Context(), 0, nil); n != want || err != nil {
			t.Fatalf("pruned %d, %v, want %d", n, err, want)
		}
	}
	prune(0)                   // one snapshot is too few
	c.snapshot(t, j, "second") // of slot 6
	c.add(t, j, Edits, "7")
	// Nothing lies below the older one but genesis and a claim.
	prune(0)
	c.snapshot(t, j, "third") // of slot 7
	// A void claim, parts that no manifest names, and keys of nobody.
	store.Replace(j.keys.slot(3), (&Entry{Slot: 3, Kind: Claim, Epoch: 9, Nonce: NewNonce(), Prev: NewNonce()}).Append(nil))
	store.Replace(j.keys.part(5, partID(NewNonce()), 0), []byte("abandoned"))
	store.Replace(j.keys.part(7, partID(NewNonce()), 0), []byte("under way"))
	store.Replace(j.keys.slots+"0000x", []byte("foreign"))
	store.Replace(j.keys.parts+"x", []byte("foreign"))
	store.Replace(j.keys.manifests+"x", []byte("foreign"))
	foreign := len(store.Keys())
	// Slots 2, 3 and 5, the manifest of slot 2 and its three parts, the abandoned part.
	prune(8)
	if want := []Slot{0, 1, 4, 6, 7}; !slices.Equal(slotsOf(j, store), want) {
		t.Errorf("slots %v, want %v", slotsOf(j, store), want)
	}
	if slots, err := j.Snapshots(t.Context()); err != nil || !slices.Equal(slots, []Slot{6, 7}) {
		t.Errorf("snapshots %v, %v", slots, err)
	}
	if n := partsOf(j, store); n != 3 {
		t.Errorf("%d parts are left, want the two of snapshots and the one under way", n)
	}
	if len(store.Keys()) != foreign-8 {
		t.Errorf("something else was deleted: %v", store.Keys())
	}
	prune(0)
}

func TestPruneVerifiesFirst(t *testing.T) {
	store := memstore.New()
	j := open(t, store)
	c := begin(t, j)
	for range 3 {
		c.add(t, j, Edits, "")
		c.snapshot(t, j, "state")
	}
	latest, err := j.LatestSnapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	whole := store.Clone()
	broken := errors.New("does not decode")
	var corrupt *CorruptError
	for name, test := range map[string]struct {
		damage func(*memstore.Store)
		verify VerifySnapshot
		want   func(error) bool
	}{
		"part is damaged": {
			damage: func(s *memstore.Store) { s.Replace(latest.Parts[0].Key, []byte("stale")) },
			want:   func(err error) bool { return errors.As(err, &corrupt) },
		},
		"part is missing": {
			damage: func(s *memstore.Store) { s.Replace(latest.Parts[0].Key, nil) },
			want:   func(err error) bool { return errors.As(err, &corrupt) },
		},
		"manifest is damaged": {
			damage: func(s *memstore.Store) { s.Replace(j.keys.manifest(latest.Slot), []byte("x")) },
			want:   func(err error) bool { return errors.As(err, &corrupt) },
		},
		"content does not decode": {
			verify: func(_ SnapshotInfo, read func(func([]byte) error) error) error {
				if err := read(func([]byte) error { return nil }); err != nil {
					return err
				}
				return broken
			},
			want: func(err error) bool { return errors.Is(err, broken) },
		},
		"content is not read": {
			verify: func(SnapshotInfo, func(func([]byte) error) error) error { return nil },
			want:   func(err error) bool { return err != nil },
		},
		"newest slots are gone": {
			damage: func(s *memstore.Store) { s.Replace(j.keys.slot(latest.Slot), nil) },
			want:   func(err error) bool { return errors.Is(err, ErrNoEntry) },
		},
	} {
		inBubble(t, name, func(t *testing.T) {
			store := whole.Clone()
			if test.damage != nil {
				test.damage(store)
			}
			j := open(t, store)
			before := slotsOf(j, store)
			if _, err := j.Prune(t.Context(), 0, test.verify); err == nil || !test.want(err) {
				t.Errorf("got %v", err)
			}
			if after := slotsOf(j, store); !slices.Equal(after, before) {
				t.Errorf("slots %v of %v are left", after, before)
			}
		})
	}
}

func TestPruneGoesOnWhereItStopped(t *testing.T) {
	store := memstore.New()
	j := open(t, store)
	j.pruneDeletesMax = 1100 // more than a page of a listing
	c := begin(t, j)
	for slot := range Slot(2500) {
		if c.next = slot + 2; slot%500 == 7 {
			c.claims = append(c.claims, c.next)
		}
		store.Replace(j.keys.slot(c.next), []byte("x"))
	}
	c.next++
	c.snapshot(t, j, "one")
	c.add(t, j, Edits, "")
	c.snapshot(t, j, "two")
	var rounds []int
	for range 4 {
		n, err := j.Prune(t.Context(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		rounds = append(rounds, n)
	}
	// Of the slots 2 to 2501, five are claims and the last is the snapshot's own.
	if want := []int{1100, 1100, 2494 - 2200, 0}; !slices.Equal(rounds, want) {
		t.Errorf("deleted %v, want %v", rounds, want)
	}
	if want := []Slot{0, 1, 9, 509, 1009, 1509, 2009, 2501, 2502}; !slices.Equal(slotsOf(j, store), want) {
		t.Errorf("slots %v, want %v", slotsOf(j, store), want)
	}
}

func TestPruneStopsAtErrorsAndGoesOn(t *testing.T) {
	inBubble(t, "delete fails", func(t *testing.T) {
		f := newFaultFixture(t)
		for range 3 {
			f.chain.add(t, f.j, Edits, "")
			f.chain.snapshot(t, f.j, "state")
		}
		f.fs.Add(faultstore.Rule{Op: objstore.OpDelete, Skip: 1, Times: faultstore.Always, Fault: faultstore.FailBefore()})
		if n, err := f.j.Prune(t.Context(), 0, nil); n != 1 || !errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("pruned %d, %v", n, err)
		}
		f.fs.Reset()
		if n, err := f.j.Prune(t.Context(), 0, nil); n != 2 || err != nil { // a part and slot 2
			t.Errorf("pruned %d, %v", n, err)
		}
	})
}

// TestPruneByTwoNodesAtOnce lets two nodes prune the same journal, one of them
// below older snapshots than the other.
func TestPruneByTwoNodesAtOnce(t *testing.T) {
	inBubble(t, "both", func(t *testing.T) {
		f := newFaultFixture(t)
		step := func() {
			for range 5 {
				f.chain.add(t, f.j, Edits, "")
			}
			f.chain.add(t, f.j, Claim, "")
			f.chain.snapshot(t, f.j, "state")
		}
		for range 3 {
			step()
		}
		slow := faultstore.New(f.store, faultstore.Rule{
			Op: objstore.OpDelete, Times: faultstore.Always, Fault: faultstore.LandLate(10 * time.Second),
		})
		var nodes sync.WaitGroup
		nodes.Go(func() {
			// Its deletions are in doubt, are repeated, and land in the end.
			if _, err := open(t, slow).Prune(t.Context(), 0, nil); !errors.Is(err, objstore.ErrUnavailable) {
				t.Error(err)
			}
		})
		synctest.Wait() // its first deletions are under way: the other node finds them still to do
		step()
		step()
		nodes.Go(func() {
			if _, err := open(t, f.fs).Prune(t.Context(), 0, nil); err != nil {
				t.Error(err)
			}
		})
		nodes.Wait()
		f.settle()
		want := []Slot{0}
		bound := f.chain.claims[len(f.chain.claims)-2] // the older snapshot is of a claim
		for slot := Slot(1); slot < f.chain.next; slot++ {
			if slot >= bound || slices.Contains(f.chain.claims, slot) {
				want = append(want, slot)
			}
		}
		if got := slotsOf(f.j, f.store); !slices.Equal(got, want) {
			t.Errorf("slots %v, want %v", got, want)
		}
		latest, err := f.j.LatestSnapshot(t.Context())
		if err != nil || latest.Slot != f.chain.next-1 || readBack(t, f.j, latest) != "state" {
			t.Errorf("got %+v, %v", latest, err)
		}
	})
}

// Slots that no start needs stay for a while, for those that slept.
func TestPruneLeavesSlotsToSleepers(t *testing.T) {
	store := memstore.New()
	j := open(t, store)
	c := begin(t, j) // genesis in 0, claim in 1
	for range 8 {
		c.add(t, j, Edits, "")
	}
	c.snapshot(t, j, "of slot 9")
	c.add(t, j, Edits, "")
	c.snapshot(t, j, "of slot 10")
	for _, test := range []struct {
		keep   int
		lowest Slot // that is left above the claim
	}{
		{100, 2}, {10, 2}, {8, 2}, {6, 4}, {2, 8}, {1, 9}, {0, 9},
	} {
		if _, err := j.Prune(t.Context(), test.keep, nil); err != nil {
			t.Fatal(err)
		}
		slots := slotsOf(j, store)
		if !slices.Equal(slots[:2], []Slot{0, 1}) || slots[2] != test.lowest || slots[len(slots)-1] != 10 {
			t.Errorf("%v are left of 0 to 10, with %d kept", slots, test.keep)
		}
	}
}
