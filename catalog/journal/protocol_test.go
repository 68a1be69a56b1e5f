package journal

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

// moveOn writes what makes every slot so far superfluous, and prunes: the
// newest snapshot is of the newest slot.
func (c *chain) moveOn(t *testing.T, j *Journal) {
	t.Helper()
	for range 2 {
		c.add(t, j, Edits, "later")
		c.snapshot(t, j, "state")
	}
	if _, err := j.Prune(t.Context(), 0, nil); err != nil {
		t.Fatal(err)
	}
}

// A leader sleeps before it writes its next slot. Meanwhile it is deposed, and
// the journal goes on, is snapshot and pruned.
func TestDeposedLeaderFindsTheClaim(t *testing.T) {
	store := memstore.New()
	sleeper, other := open(t, store), open(t, store)
	c := begin(t, sleeper)
	c.add(t, sleeper, Edits, "before the sleep")
	asleep := *c

	claim := c.add(t, other, Claim, "")
	c.moveOn(t, other)
	c.moveOn(t, other)

	if e, err := sleeper.Read(t.Context(), asleep.next); err != nil || !reflect.DeepEqual(e, *claim) {
		t.Errorf("the slot after its last holds %+v, %v, want the claim", e, err)
	}
	written, err := sleeper.Write(t.Context(), asleep.entry(Edits, "after the sleep"))
	var taken *TakenError
	if !errors.As(err, &taken) || taken.Entry.Nonce != claim.Nonce {
		t.Errorf("got %+v, %v, want the claim that deposed it", written, err)
	}
}

// A reader sleeps. Meanwhile all that it has not read is deleted but the newest
// slot: it must learn that it is behind.
func TestSleepingReaderSeesThatItIsBehind(t *testing.T) {
	store := memstore.New()
	j := open(t, store)
	c := begin(t, j)
	last := c.next - 1
	c.moveOn(t, j)
	c.moveOn(t, j)
	slots, err := j.After(t.Context(), last, 10)
	if err != nil || len(slots) == 0 {
		t.Fatalf("after slot %d: %v, %v, so the reader believes to be current", last, slots, err)
	}
	if !slices.Contains(slots, c.next-1) {
		t.Errorf("slots %v without the newest, %d", slots, c.next-1)
	}
}

// A claimer sleeps before it puts its claim into what was the next slot.
func TestClaimIntoDeletedSlotIsVoid(t *testing.T) {
	store := memstore.New()
	sleeper, leader := open(t, store), open(t, store)
	c := begin(t, leader)
	asleep := *c
	c.moveOn(t, leader)
	c.moveOn(t, leader)
	if _, err := leader.Read(t.Context(), asleep.next); !errors.Is(err, ErrNoEntry) {
		t.Fatalf("the slot was not deleted: %v", err)
	}

	void := asleep.entry(Claim, "")
	if _, err := sleeper.WriteClaim(t.Context(), void); !errors.Is(err, ErrVoidClaim) {
		t.Fatalf("got %v", err)
	}
	// The leader does not notice, and the claim goes with the old slots.
	c.moveOn(t, leader)
	if _, err := leader.Read(t.Context(), void.Slot); !errors.Is(err, ErrNoEntry) {
		t.Errorf("the void claim is still there: %v", err)
	}
}

// A claim is overtaken while its writer sleeps between the PUT and the listing.
func TestOvertakenClaimIsVoid(t *testing.T) {
	store := memstore.New()
	fs := faultstore.New(store)
	sleeper, other := open(t, fs), open(t, store)
	c := begin(t, other)
	claim := c.entry(Claim, "")
	fs.SetHook(onFirst(objstore.OpList, func() {
		c.wrote(claim)
		c.add(t, other, Claim, "")
	}))
	if _, err := sleeper.WriteClaim(t.Context(), claim); !errors.Is(err, ErrVoidClaim) {
		t.Errorf("got %v", err)
	}
}

// A writer's PUT lands without an answer, the writer sleeps, and the slot is
// deleted below a snapshot. It finds nothing there, repeats, and is answered 200:
// the truth, but no proof that it still leads.
func TestSleeperRepeatsIntoItsDeletedSlot(t *testing.T) {
	inBubble(t, "sleeper", func(t *testing.T) {
		store := memstore.New()
		fs := faultstore.New(store)
		sleeper, other := open(t, fs), open(t, store)
		c := begin(t, sleeper)
		e := c.entry(Edits, "landed unseen")
		fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Fault: faultstore.HangAfter()})
		fs.SetHook(onFirst(objstore.OpGet, func() {
			c.wrote(e)
			c.add(t, other, Claim, "")
			c.moveOn(t, other)
			c.moveOn(t, other)
		}))
		written, err := sleeper.Write(t.Context(), e)
		if err != nil || written.First {
			t.Fatalf("got %+v, %v", written, err)
		}
		if n := fs.Count(objstore.OpPutIfAbsent); n != 4 {
			t.Errorf("%d PUTs of the sleeper, want genesis, claim and two of the entry", n)
		}
		// Its next write meets the claim.
		if _, err := sleeper.Write(t.Context(), &Entry{
			Slot: e.Slot + 1, Kind: Edits, Epoch: e.Epoch, Nonce: NewNonce(), Prev: e.Nonce,
		}); !errors.Is(err, ErrSlotTaken) {
			t.Errorf("got %v", err)
		}
		c.moveOn(t, other)
		if _, err := other.Read(t.Context(), e.Slot); !errors.Is(err, ErrNoEntry) {
			t.Errorf("what the sleeper left was not pruned: %v", err)
		}
	})
}

// As before, and in the sleeper's deleted slot there is a void claim. A
// TakenError does not prove that the entry was never committed.
func TestTakenByVoidClaimLeavesTheOutcomeUnknown(t *testing.T) {
	inBubble(t, "sleeper", func(t *testing.T) {
		store := memstore.New()
		fs := faultstore.New(store)
		sleeper, other, claimer := open(t, fs), open(t, store), open(t, store)
		c := begin(t, sleeper)
		asleep := *c
		e := c.entry(Edits, "landed unseen")
		fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Fault: faultstore.HangAfter()})
		fs.SetHook(onFirst(objstore.OpGet, func() {
			c.wrote(e)
			c.add(t, other, Claim, "")
			c.moveOn(t, other)
			c.moveOn(t, other)
			if _, err := claimer.WriteClaim(t.Context(), asleep.entry(Claim, "")); !errors.Is(err, ErrVoidClaim) {
				t.Errorf("got %v", err)
			}
		}))
		if _, err := sleeper.Write(t.Context(), e); !errors.Is(err, ErrSlotTaken) {
			t.Fatalf("got %v", err)
		}
		// What tells it: the slots after the claim do not follow it.
		after, err := sleeper.After(t.Context(), e.Slot, 1)
		if err != nil || len(after) == 0 {
			t.Errorf("got %v, %v", after, err)
		}
	})
}

// Genesis stays, so that a node that found no snapshot and slept does not begin
// the journal anew.
func TestGenesisStays(t *testing.T) {
	store := memstore.New()
	j, late := open(t, store), open(t, store)
	c := begin(t, j)
	c.moveOn(t, j)
	c.moveOn(t, j)
	_, err := late.Write(t.Context(), (&chain{}).entry(Genesis, "another cluster"))
	var taken *TakenError
	if !errors.As(err, &taken) || string(taken.Entry.Payload) != "cluster" {
		t.Errorf("got %v", err)
	}
}

// A writer of a snapshot sleeps until its parts are deleted, then puts the
// manifest. It is never the newest, and the next Prune removes it.
func TestManifestOfSleeperIsHarmless(t *testing.T) {
	inBubble(t, "sleeper", func(t *testing.T) {
		store := memstore.New()
		fs := faultstore.New(store)
		sleeper, other := open(t, fs), open(t, store)
		c := begin(t, other)
		fs.SetHook(onFirst(objstore.OpPutIfAbsent, func() {
			c.moveOn(t, other)
			c.moveOn(t, other)
			if n := partsOf(other, store); n != 2 {
				t.Errorf("%d parts are left, want those of two snapshots", n)
			}
		}))
		old := c.snapshot(t, sleeper, "old state")
		if slots, err := other.Snapshots(t.Context()); err != nil || !slices.Contains(slots, old.Slot) {
			t.Fatalf("got %v, %v", slots, err)
		}
		latest, err := other.LatestSnapshot(t.Context())
		if err != nil || latest.Slot != c.next-1 {
			t.Errorf("got %+v, %v", latest, err)
		}
		if err := other.ReadSnapshot(t.Context(), old, func([]byte) error { return nil }); !errors.Is(err, ErrSnapshotGone) {
			t.Errorf("read of the old one: %v", err)
		}
		if n, err := other.Prune(t.Context(), 0, nil); n != 1 || err != nil {
			t.Errorf("pruned %d, %v, want the manifest", n, err)
		}
	})
}
