package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// running is a catalog on a bucket of its own making, or on another's.
type running struct {
	*catalog.Catalog
	store  *memstore.Store
	faults *faultstore.Store
	cancel context.CancelFunc
	ended  chan error
}

func start(t *testing.T, store *memstore.Store, set func(*catalog.Config)) *running {
	t.Helper()
	return startWith(t, store, nil, set)
}

// startWith starts a catalog that reaches others through peers.
func startWith(t *testing.T, store *memstore.Store, peers catalog.Peers, set func(*catalog.Config)) *running {
	t.Helper()
	return startKnowing(t, catalog.FeatureLevel, store, peers, set)
}

// startKnowing starts a catalog whose code knows the feature levels up to level.
func startKnowing(t *testing.T, level uint32, store *memstore.Store, peers catalog.Peers, set func(*catalog.Config)) *running {
	t.Helper()
	r := &running{store: store, faults: faultstore.New(store), ended: make(chan error, 1)}
	logger := slog.New(slog.DiscardHandler)
	j, err := journal.New(journal.DefaultConfig(), r.faults, "000", logger, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	cfg := catalog.DefaultConfig()
	if set != nil {
		set(&cfg)
	}
	if r.Catalog, err = catalog.New(cfg, j, peers, logger, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	r.SetKnownLevel(level)
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	go func() { r.ended <- r.Run(ctx) }()
	select {
	case <-r.Ready():
	case err := <-r.ended:
		r.ended <- err
	}
	return r
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func (r *running) mustPropose(t *testing.T, e catalog.Edit) catalog.Result {
	t.Helper()
	result, err := r.Propose(t.Context(), e)
	if err != nil || result.Err != nil {
		t.Fatalf("%T: %v, %v", e, err, result.Err)
	}
	return result
}

func (r *running) createTopic(t *testing.T, name string) catalog.TopicPartition {
	t.Helper()
	id := uuid.New()
	r.mustPropose(t, catalog.CreateTopic{ID: id, Name: name, Partitions: 1, Config: catalog.DefaultTopicConfig()})
	return catalog.TopicPartition{Topic: id}
}

func commitOf(node catalog.NodeID, after uint64, tp catalog.TopicPartition, records int32) catalog.CommitSegment {
	return catalog.CommitSegment{
		Node: node, After: after, Upto: after + 1,
		Object: catalog.NewObject{ID: ulid.Make(), Kind: catalog.SegmentObject, Size: 200, IndexPos: 100},
		Units: []catalog.Unit{{Appends: []catalog.Append{{
			Partition: tp, Len: 100, Records: records, Expected: catalog.AnyOffset, Producer: recordbatch.NoProducer,
		}}}},
	}
}

// TestGivenUpEdits tells the two ways to give up apart: before an edit was
// sent nothing of it will ever be there, after that nobody knows.
func TestGivenUpEdits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memstore.New(), nil)
		r.createTopic(t, "first")
		r.faults.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Times: faultstore.Always, Fault: faultstore.LoseResponse()})
		r.faults.Add(faultstore.Rule{Op: objstore.OpGet, Times: faultstore.Always, Fault: faultstore.FailBefore()})
		sent, err := r.Submit(catalog.CreateTopic{ID: uuid.New(), Name: "sent", Partitions: 1, Config: catalog.DefaultTopicConfig()})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		queued, err := r.Submit(catalog.CreateTopic{ID: uuid.New(), Name: "queued", Partitions: 1, Config: catalog.DefaultTopicConfig()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := sent.Wait(ctx); !errors.Is(err, catalog.ErrUnknownOutcome) {
			t.Errorf("an edit that was sent: %v", err)
		}
		if _, err := queued.Wait(ctx); !errors.Is(err, catalog.ErrNotCommitted) {
			t.Errorf("an edit that waited: %v", err)
		}
		r.faults.Reset()
		<-sent.Done()
		r.createTopic(t, "last")
		var names []string
		for _, topic := range r.View().Topics("", "", 10) {
			names = append(names, topic.Name)
		}
		if want := []string{"first", "last", "sent"}; !slices.Equal(names, want) {
			t.Errorf("topics %v, expected %v", names, want)
		}
		r.stop(t)
	})
}

// TestVoidClaimInOwnSlot is a writer that slept while its slot was committed,
// snapshotted and deleted, and then took by a claim that is void: the claim
// proves nothing about the writer's edit, which must not be reported as
// refused, nor be applied twice.
func TestVoidClaimInOwnSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		r := start(t, store, nil)
		tp := r.createTopic(t, "flights")
		node := uuid.New()
		r.mustPropose(t, catalog.RegisterNode{Node: node})
		before := len(journalKeys(store))

		// The slot lands; its answer is lost, and reads fail: the writer sleeps.
		r.faults.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Times: faultstore.Always, Fault: faultstore.LoseResponse()})
		r.faults.Add(faultstore.Rule{Op: objstore.OpGet, Times: faultstore.Always, Fault: faultstore.FailBefore()})
		p, err := r.Submit(commitOf(node, 0, tp, 3))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.faults.SetDown(true)
		keys := journalKeys(store)
		if len(keys) != before+1 {
			t.Fatalf("%d slots, expected the writer's to be the one after %d", len(keys), before)
		}
		slept := keys[len(keys)-1]
		overtaken := store.Clone() // for a claimer that sleeps as well

		// Another node leads, and snapshots twice, so that the slot is deleted.
		other := start(t, store, func(c *catalog.Config) { c.SnapshotSlots = 4 })
		for i := range 40 {
			other.createTopic(t, fmt.Sprintf("topic-%d", i))
			synctest.Wait() // the snapshot, if one is due
		}
		other.stop(t)
		if slices.Contains(journalKeys(store), slept) {
			t.Fatalf("%s was not deleted", slept)
		}
		// The sleeping claimer wanted that very slot, and puts its claim there.
		putVoidClaim(t, store, overtaken, slept)

		r.faults.Reset()
		result, err := p.Wait(t.Context())
		var order *catalog.CommitOrderError
		switch {
		case err != nil:
			if !errors.Is(err, catalog.ErrUnknownOutcome) {
				t.Errorf("the edit is reported as %v", err)
			}
		case errors.As(result.Err, &order) && order.Last == 1:
		default:
			t.Errorf("the edit is reported as %+v", result)
		}
		view, err := r.Confirm(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if end := view.Partition(tp).End(); end != 3 {
			t.Errorf("end offset %d, expected 3", end)
		}
		r.stop(t)
	})
}

func journalKeys(store *memstore.Store) []string {
	var keys []string
	for _, key := range store.Keys() {
		if strings.HasPrefix(key, "catalog/000/journal/") {
			keys = append(keys, key)
		}
	}
	return keys
}

// putVoidClaim puts into store, under key, the claim of a node whose replica is
// that of an older copy of the bucket without that key.
func putVoidClaim(t *testing.T, store, older *memstore.Store, key string) {
	t.Helper()
	if _, err := older.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	claimer := start(t, older, nil)
	claimer.createTopic(t, "lost")
	claimer.stop(t)
	claim, err := older.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutIfAbsent(t.Context(), key, claim.Body); err != nil {
		t.Fatal(err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memstore.New(), func(c *catalog.Config) { c.QueueMax = 3 })
		r.faults.SetOutage(faultstore.Hanging)
		errs := map[error]int{}
		for range 10 {
			_, err := r.Submit(catalog.AllocateProducerID{})
			errs[err]++
			synctest.Wait()
		}
		// One is on its way; it left the queue.
		if errs[nil] != 4 && errs[nil] != 3 || errs[catalog.ErrBusy] != 10-errs[nil] {
			t.Errorf("submissions: %v", errs)
		}
		huge := commitOf(uuid.New(), 0, catalog.TopicPartition{}, 1)
		huge.Units[0].Appends = make([]catalog.Append, 100_000)
		if _, err := r.Submit(huge); !errors.Is(err, catalog.ErrEditTooLarge) {
			t.Errorf("an edit larger than an entry: %v", err)
		}
		r.faults.Reset()
		r.stop(t)
	})
}

func TestConfirmTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memstore.New(), nil)
		r.faults.SetOutage(faultstore.Hanging)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := r.Confirm(ctx); !errors.Is(err, catalog.ErrNotConfirmed) {
			t.Errorf("Confirm while the store is away: %v", err)
		}
		// A view that was confirmed a moment ago does; later it does not.
		if _, err := r.Recent(ctx); !errors.Is(err, catalog.ErrNotConfirmed) && err != nil {
			t.Errorf("Recent: %v", err)
		}
		time.Sleep(catalog.DefaultConfig().RecentFor)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Recent(ctx); !errors.Is(err, catalog.ErrNotConfirmed) {
			t.Errorf("Recent of an old view while the store is away: %v", err)
		}
		r.faults.Reset()
		if _, err := r.Confirm(t.Context()); err != nil {
			t.Errorf("Confirm afterwards: %v", err)
		}
		r.stop(t)
	})
}

// TestWaitBeyond wakes on commits of this node and of others, and on deletion.
func TestWaitBeyond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		a := start(t, store, nil)
		tp := a.createTopic(t, "flights")
		node := uuid.New()
		a.mustPropose(t, catalog.RegisterNode{Node: node})
		b := start(t, store, nil)

		wait := func(r *running, beyond catalog.Offset) <-chan catalog.Offset {
			end := make(chan catalog.Offset, 1)
			go func() {
				view, err := r.WaitBeyond(t.Context(), catalog.PartitionOffset{Partition: tp, Offset: beyond})
				switch {
				case err != nil:
					t.Errorf("WaitBeyond: %v", err)
					end <- -2
				case view.Partition(tp) == nil:
					end <- -1
				default:
					end <- view.Partition(tp).End()
				}
			}()
			return end
		}
		onA, onB := wait(a, 0), wait(b, 0)
		synctest.Wait()
		a.mustPropose(t, commitOf(node, 0, tp, 5))
		if end := <-onA; end != 5 {
			t.Errorf("the writer's own waiter saw %d", end)
		}
		if end := <-onB; end != 5 {
			t.Errorf("the other node's waiter saw %d", end)
		}
		gone := wait(a, 5)
		synctest.Wait()
		a.mustPropose(t, catalog.DeleteTopic{ID: tp.Topic})
		if end := <-gone; end != -1 {
			t.Errorf("the waiter of a deleted topic saw %d", end)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		other := a.createTopic(t, "other")
		if _, err := a.WaitBeyond(ctx, catalog.PartitionOffset{Partition: other}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("WaitBeyond of nothing: %v", err)
		}
		a.stop(t)
		b.stop(t)
	})
}

// TestWaitBeyondAny wakes a waiter for several partitions on a change of any.
func TestWaitBeyondAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, memstore.New(), nil)
		node := uuid.New()
		a.mustPropose(t, catalog.RegisterNode{Node: node})
		var positions []catalog.PartitionOffset
		for i := range 3 {
			positions = append(positions, catalog.PartitionOffset{Partition: a.createTopic(t, fmt.Sprintf("flights-%d", i))})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i := range positions {
			seen := make(chan *catalog.State, 1)
			go func() {
				view, err := a.WaitBeyond(ctx, positions...)
				if err != nil {
					t.Errorf("WaitBeyond: %v", err)
				}
				seen <- view
			}()
			synctest.Wait()
			if len(seen) > 0 {
				t.Fatalf("a waiter did not wait for partition %d", i)
			}
			a.mustPropose(t, commitOf(node, uint64(i), positions[i].Partition, 5))
			if view := <-seen; view == nil || view.Partition(positions[i].Partition).End() != 5 {
				t.Errorf("the waiter did not see the commit to partition %d", i)
			}
			positions[i].Offset = 5
		}
		a.stop(t)
	})
}

// TestRestartFromSnapshot loads what is left after snapshots and pruning.
func TestRestartFromSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		r := start(t, store, func(c *catalog.Config) { c.SnapshotSlots = 5 })
		tp := r.createTopic(t, "flights")
		node := uuid.New()
		r.mustPropose(t, catalog.RegisterNode{Node: node})
		for i := range uint64(50) {
			r.mustPropose(t, commitOf(node, i, tp, 2))
			synctest.Wait()
		}
		r.stop(t)
		if slots := len(journalKeys(store)); slots > 25 {
			t.Errorf("%d slots are left", slots)
		}
		again := start(t, store, nil)
		if end := again.View().Partition(tp).End(); end != 100 {
			t.Errorf("end offset %d, expected 100", end)
		}
		if err := catalog.CheckAll(again.View()); err != nil {
			t.Errorf("invariant: %v", err)
		}
		again.stop(t)
	})
}

// TestSnapshotsOfASmallStateLeaveSlots: they come sooner than those of a large
// one, and prune no more than these.
func TestSnapshotsOfASmallStateLeaveSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		const slotsMax = 30
		r := start(t, store, func(c *catalog.Config) { c.SnapshotSlots, c.SnapshotSlotsMin = slotsMax, 5 })
		tp := r.createTopic(t, "flights")
		node := uuid.New()
		r.mustPropose(t, catalog.RegisterNode{Node: node})
		snapshots := func() (n int) {
			for _, key := range store.Keys() {
				if strings.Contains(key, "/manifests/") {
					n++
				}
			}
			return n
		}
		for i := range uint64(100) {
			r.mustPropose(t, commitOf(node, i, tp, 2))
			synctest.Wait()
			if n := snapshots(); i == 12 && n != 2 {
				t.Errorf("%d snapshots after %d commits", n, i)
			}
		}
		keys := journalKeys(store)
		newest, ok := lastSlot(keys)
		for slot := newest - slotsMax; ok && slot <= newest; slot++ {
			ok = slices.Contains(keys, fmt.Sprintf("catalog/000/journal/%020d", slot))
		}
		if !ok || len(keys) > slotsMax+10 {
			t.Errorf("of %d slots %d are left: %v", newest, len(keys), keys)
		}
		r.stop(t)
	})
}

// lastSlot is the number of the last of some slots.
func lastSlot(keys []string) (slot int, ok bool) {
	slot, err := strconv.Atoi(strings.TrimPrefix(keys[len(keys)-1], "catalog/000/journal/"))
	return slot, err == nil
}

// TestDamagedJournalIsRefused: a replica never goes on from damage.
func TestDamagedJournalIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		r := start(t, store, nil)
		r.createTopic(t, "flights")
		r.stop(t)
		keys := journalKeys(store)
		o, err := store.Get(t.Context(), keys[len(keys)-1])
		if err != nil {
			t.Fatal(err)
		}
		body := slices.Clone(o.Body)
		body[len(body)/2] ^= 1
		store.Replace(keys[len(keys)-1], body)
		damaged := start(t, store, nil)
		var corrupt *journal.CorruptError
		if err := <-damaged.ended; !errors.As(err, &corrupt) {
			t.Errorf("Run on a damaged journal: %v", err)
		}
		damaged.cancel()
	})
}

// TestMissingSlotIsRefused: a hole in the journal is named, not waited for.
func TestMissingSlotIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		r := start(t, store, nil)
		for i := range 5 {
			r.createTopic(t, fmt.Sprintf("topic-%d", i))
		}
		r.stop(t)
		keys := journalKeys(store)
		if _, err := store.Delete(t.Context(), keys[3]); err != nil {
			t.Fatal(err)
		}
		holed := start(t, store, nil)
		if err := <-holed.ended; !errors.Is(err, catalog.ErrSlotMissing) || !strings.Contains(err.Error(), "slot 2") {
			t.Errorf("Run on a journal without slot 3: %v", err)
		}
		holed.cancel()
	})
}
