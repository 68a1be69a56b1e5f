package catalog

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

// aheadStore notes the slots that are being read at once.
type aheadStore struct {
	*memstore.Store
	mu          sync.Mutex
	slots, most int   // guarded by mu; most of the last fifty of a hundred
	bytes, peak int64 // guarded by mu
	read        int   // guarded by mu; in all
}

func (s *aheadStore) Get(ctx context.Context, key string) (objstore.Object, error) {
	o, err := s.Store.Get(ctx, key)
	s.mu.Lock()
	s.read++
	s.slots++
	s.bytes += int64(len(o.Body))
	if s.peak = max(s.peak, s.bytes); s.read%100 > 50 || s.read <= 10 {
		s.most = max(s.most, s.slots)
	}
	delay := time.Duration(10-s.read%10) * time.Millisecond // most come in another order
	s.mu.Unlock()
	time.Sleep(delay)
	s.mu.Lock()
	s.slots--
	s.bytes -= int64(len(o.Body))
	s.mu.Unlock()
	return o, err
}

// journalOf returns a journal whose slots 1 to n have payloads of so many bytes.
func journalOf(t *testing.T, n, payload int) (*journal.Journal, *aheadStore) {
	t.Helper()
	store := &aheadStore{Store: memstore.New()}
	j, err := journal.New(journal.DefaultConfig(), store, "000", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	prev := journal.NewNonce()
	for slot := range n {
		e := journal.Entry{
			Slot: journal.Slot(slot + 1), Kind: journal.Edits, Epoch: 1, Nonce: journal.NewNonce(), Prev: prev, Writer: "test",
			Payload: make([]byte, payload),
		}
		if _, err := j.Write(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
		prev = e.Nonce
	}
	return j, store
}

// readAll reads slots from first on, and returns those that it got.
func readAll(t *testing.T, j *journal.Journal, first journal.Slot, found []journal.SlotInfo, ahead readAhead) (slots []journal.Slot, err error) {
	r := newSlotReader(t.Context(), j, first, found, ahead)
	defer r.close()
	for {
		entries, err := r.next()
		for _, e := range entries {
			slots = append(slots, e.Slot)
		}
		if err != nil || len(entries) == 0 {
			return slots, err
		}
	}
}

func slotRange(from, to journal.Slot) (slots []journal.Slot) {
	for ; from <= to; from++ {
		slots = append(slots, from)
	}
	return slots
}

func TestSlotsAreReadAheadInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const payload = 1000
		j, store := journalOf(t, 100, payload)
		found, err := j.InfosAfter(t.Context(), 0, 1000)
		if err != nil || len(found) != 100 || found[0].Bytes <= payload {
			t.Fatalf("%d slots, %v", len(found), err)
		}
		size := found[0].Bytes
		for _, test := range []struct {
			ahead readAhead
			most  int
		}{
			{readAhead{slots: 1, bytes: 1 << 20}, 1},
			{readAhead{slots: 8, bytes: 1 << 20}, 8},
			{readAhead{slots: 8, bytes: 3 * size}, 3},
			{readAhead{slots: 8, bytes: 3*size - 1}, 2},
			{readAhead{slots: 8, bytes: 1}, 1},
		} {
			store.most, store.peak, store.read = 0, 0, 10
			slots, err := readAll(t, j, 1, found, test.ahead)
			if err != nil || !slices.Equal(slots, slotRange(1, 100)) {
				t.Errorf("%+v: got %v, %v", test.ahead, slots, err)
			}
			if store.most != test.most || store.peak > int64(test.most)*size {
				t.Errorf("%+v: %d slots of %d bytes were read at once, want %d", test.ahead, store.most, store.peak, test.most)
			}
		}
	})
}

// A slot that the listing lacks may have any size, and is read all the same.
func TestSlotThatTheListingLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, store := journalOf(t, 10, 10)
		found, err := j.InfosAfter(t.Context(), 4, 1000)
		if err != nil {
			t.Fatal(err)
		}
		found = slices.DeleteFunc(found, func(s journal.SlotInfo) bool { return s.Slot == 7 || s.Slot == 8 })
		store.most, store.read = 0, 0
		slots, err := readAll(t, j, 5, found, readAhead{slots: 100, bytes: journal.EntryBytesMax + 1000})
		if err != nil || !slices.Equal(slots, slotRange(5, 10)) {
			t.Errorf("got %v, %v", slots, err)
		}
		if store.most != 3 { // 5 to 7; then 8 must wait
			t.Errorf("%d slots were read at once", store.most)
		}
	})
}

func TestSlotThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, store := journalOf(t, 20, 10)
		found, err := j.InfosAfter(t.Context(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range store.Keys() {
			if strings.HasSuffix(key, "00013") {
				if _, err := store.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
		}
		slots, err := readAll(t, j, 1, found, readAhead{slots: 8, bytes: 1 << 20})
		if !errors.Is(err, errReload) || !slices.Equal(slots, slotRange(1, 12)) {
			t.Errorf("got %v, %v", slots, err)
		}
		if store.slots != 0 {
			t.Errorf("%d reads are left under way", store.slots)
		}
	})
}

// Damage is reported, behind what comes before it.
func TestSlotThatIsDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, store := journalOf(t, 20, 10)
		found, err := j.InfosAfter(t.Context(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range store.Keys() {
			if strings.HasSuffix(key, "00005") {
				store.Replace(key, []byte("damage"))
			}
		}
		slots, err := readAll(t, j, 1, found, readAhead{slots: 8, bytes: 1 << 20})
		var corrupt *journal.CorruptError
		if !errors.As(err, &corrupt) || !slices.Equal(slots, slotRange(1, 4)) {
			t.Errorf("got %v, %v", slots, err)
		}
	})
}
