package journal

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wadilog/wadi/internal/objstore/memstore"
)

func TestWriteReadAfter(t *testing.T) {
	store := memstore.New()
	j := open(t, store)
	if _, err := j.Read(t.Context(), 0); !errors.Is(err, ErrNoEntry) {
		t.Fatalf("read of an empty journal: %v", err)
	}
	c := begin(t, j)
	e := c.entry(Edits, "one")
	written, err := j.Write(t.Context(), e)
	if err != nil || !written.First {
		t.Fatalf("got %+v, %v", written, err)
	}
	c.wrote(e)
	got, err := j.Read(t.Context(), e.Slot)
	if err != nil || !reflect.DeepEqual(got, *e) {
		t.Fatalf("got %+v, %v", got, err)
	}
	c.add(t, j, Edits, "two")

	// A gap, as Prune leaves it, hides nothing that comes after it.
	store.Replace(j.keys.slot(2), nil)
	for _, test := range []struct {
		after Slot
		limit int
		want  []Slot
	}{
		{0, 10, []Slot{1, 3}}, {0, 1, []Slot{1}}, {1, 10, []Slot{3}}, {2, 10, []Slot{3}}, {3, 10, nil}, {0, 0, []Slot{1}},
	} {
		if got, err := j.After(t.Context(), test.after, test.limit); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("after %d, limit %d: got %v, %v, want %v", test.after, test.limit, got, err, test.want)
		}
	}
	if _, err := j.Read(t.Context(), 2); !errors.Is(err, ErrNoEntry) {
		t.Errorf("read of a gap: %v", err)
	}
}

func TestAfterTurnsPages(t *testing.T) {
	store := memstore.New()
	j := open(t, store)
	for slot := range Slot(2500) {
		store.Replace(j.keys.slot(slot), []byte("x"))
	}
	slots, err := j.After(t.Context(), 99, 2200)
	if err != nil || len(slots) != 2200 || slots[0] != 100 || slots[2199] != 2299 {
		t.Errorf("got %d slots, %v", len(slots), err)
	}
}

func TestAfterSkipsForeignKeys(t *testing.T) {
	store := memstore.New()
	j := open(t, store)
	for _, key := range []string{"0", "00000000000000000001.tmp", "00000000000000000001x", "README"} {
		store.Replace(j.keys.slots+key, []byte("x"))
	}
	store.Replace(j.keys.slot(7), []byte("x"))
	if slots, err := j.After(t.Context(), 0, 1); err != nil || !slices.Equal(slots, []Slot{7}) {
		t.Errorf("got %v, %v", slots, err)
	}
	if n := testutil.ToFloat64(j.metrics.foreignKeys); n != 2 {
		t.Errorf("%v foreign keys counted before slot 7", n)
	}
	if slots, err := j.After(t.Context(), 7, 1); err != nil || len(slots) != 0 {
		t.Errorf("got %v, %v", slots, err)
	}
}

func TestReadReportsDamage(t *testing.T) { synctest.Test(t, testReadReportsDamage) }

func testReadReportsDamage(t *testing.T) {
	store := memstore.New()
	j := open(t, store)
	c := begin(t, j)
	b := c.entry(Edits, "x").Append(nil)
	b[len(b)/2] ^= 1
	store.Replace(j.keys.slot(2), b)
	_, err := j.Read(t.Context(), 2)
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.Key != j.keys.slot(2) {
		t.Errorf("got %v", err)
	}
}
