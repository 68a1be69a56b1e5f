package catalog_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/catalogtest"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

// startOlder starts a catalog whose code knows the first level only.
func startOlder(t *testing.T, store *memstore.Store, peers catalog.Peers, address string) *running {
	t.Helper()
	return startKnowing(t, 1, store, peers, func(c *catalog.Config) { c.Address = address })
}

// TestLevelIsRaised: a journal begins at level 1, and the first node that leads
// with a higher one raises it, in the slot of its first edit.
func TestLevelIsRaised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		for i, test := range []struct{ configured, want uint32 }{{1, 1}, {2, 2}, {1, 2}, {3, 3}, {2, 3}} {
			r := start(t, store, func(c *catalog.Config) { c.FeatureLevel = test.configured })
			r.createTopic(t, string(rune('a'+i)))
			if level := r.View().Level(); level != test.want {
				t.Errorf("a leader of level %d made it %d, expected %d", test.configured, level, test.want)
			}
			r.stop(t)
		}
	})
}

// TestNewerLevelStopsOlderCode: it stops when it meets the level in the journal
// and in a snapshot, and does not start.
func TestNewerLevelStopsOlderCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		older := startOlder(t, store, nil, "older")
		older.createTopic(t, "before")
		newer := start(t, store, func(c *catalog.Config) { c.SnapshotSlots = 2 })
		newer.createTopic(t, "after")

		p, err := older.Submit(catalog.CreateTopic{ID: uuid.New(), Name: "late", Partitions: 1, Config: catalog.DefaultTopicConfig()})
		if err != nil {
			t.Fatal(err)
		}
		wantStopped(t, older)
		if r, err := p.Wait(t.Context()); err == nil {
			t.Errorf("the older node answered %+v", r)
		}
		if _, err := older.Confirm(t.Context()); err == nil {
			t.Error("the older node confirms")
		}
		older.cancel()

		older = startOlder(t, store, nil, "older")
		wantStopped(t, older)
		older.cancel()
		for i := range 4 {
			newer.createTopic(t, string(rune('a'+i)))
		}
		synctest.Wait()
		if !slices.ContainsFunc(store.Keys(), func(key string) bool { return strings.HasPrefix(key, "catalog/000/manifests/") }) {
			t.Error("there is no snapshot")
		}
		older = startOlder(t, store, nil, "older")
		wantStopped(t, older)
		older.cancel()
		if _, ok := newer.View().TopicByName("late"); ok {
			t.Error("the older node committed an edit")
		}
		newer.stop(t)
	})
}

func wantStopped(t *testing.T, r *running) {
	t.Helper()
	select {
	case err := <-r.ended:
		var level *catalog.NewerLevelError
		if !errors.As(err, &level) || level.Level != catalog.FeatureLevel || level.Known != 1 {
			t.Errorf("the older node ended with %v", err)
		}
	case <-time.After(time.Minute):
		r.cancel()
		t.Fatal("the older node goes on")
	}
}

// TestOlderBesideOneThatIsPinned: a node that is held down to the older one's
// level shares the journal with it, in either role.
func TestOlderBesideOneThatIsPinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, network := memstore.New(), catalogtest.New()
		defer network.Close()
		pinned := startWith(t, store, network.From("pinned"), func(c *catalog.Config) {
			c.Address, c.FeatureLevel = "pinned", 1
		})
		network.Join("pinned", pinned.Catalog)
		pinned.createTopic(t, "flights")
		older := startOlder(t, store, network.From("older"), "older")
		network.Join("older", older.Catalog)
		older.createTopic(t, "boats")
		network.Leave("pinned")
		older.createTopic(t, "trains") // leads now
		network.Join("pinned", pinned.Catalog)
		pinned.createTopic(t, "trucks")
		if level := older.View().Level(); level != 1 {
			t.Errorf("the catalog is at level %d", level)
		}
		older.stop(t)
		pinned.stop(t)
	})
}

// TestOlderLeaderRefusesToRaise: the wish of a newer node that lost the lead
// may arrive at an older one.
func TestOlderLeaderRefusesToRaise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, network := memstore.New(), catalogtest.New()
		defer network.Close()
		older := startOlder(t, store, network.From("older"), "older")
		network.Join("older", older.Catalog)
		older.createTopic(t, "flights")
		newer := startWith(t, store, network.From("newer"), func(c *catalog.Config) { c.Address = "newer" })
		network.Join("newer", newer.Catalog)
		r, err := newer.Propose(t.Context(), catalog.RaiseLevel{Level: 2})
		var refused *catalog.FeatureLevelError
		if err != nil || !errors.As(r.Err, &refused) || refused.Needed != 2 || refused.Level != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		newer.createTopic(t, "boats")
		older.stop(t)
		newer.stop(t)
	})
}
