package journal

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

func TestStoreTimeIsTheHighestDate(t *testing.T) {
	inBubble(t, "dates", func(t *testing.T) {
		store := memstore.New()
		fs := faultstore.New(store)
		local := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		remote := local
		store.SetClock(func() time.Time { return remote })
		j := open(t, fs, func(c *Config) { c.Now = func() time.Time { return local } })
		expect := func(step string, want time.Time, suspect bool) {
			t.Helper()
			got := time.UnixMilli(j.StoreTime()).UTC()
			if j.StoreTime() == 0 {
				got = time.Time{}
			}
			if !got.Equal(want) || j.ClockSuspect() != suspect {
				t.Errorf("%s: %v, suspect %v, want %v, %v", step, got, j.ClockSuspect(), want, suspect)
			}
		}
		read := func() { _, _ = j.Read(t.Context(), 0) }
		expect("at first", time.Time{}, false)
		read() // the Date of a 404
		expect("a 404", local, false)

		remote = local.Add(time.Minute)
		c := begin(t, j)
		expect("a PUT", remote, false)

		remote = local.Add(2 * time.Minute)
		if _, err := j.After(t.Context(), 0, 1); err != nil {
			t.Fatal(err)
		}
		expect("a LIST", remote, false)

		remote = local.Add(3 * time.Minute)
		fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Fault: faultstore.FailAfter()})
		high := remote
		c.add(t, j, Edits, "")
		expect("a 500 and a read-back", high, false)

		remote = local.Add(-time.Minute)
		read()
		expect("an earlier Date", high, false)

		remote = local.Add(10*time.Minute + time.Second)
		read()
		expect("a Date too far ahead", high, true)
		remote = local.Add(-11 * time.Minute)
		read()
		expect("a Date too far behind", high, true)
		if n := testutil.ToFloat64(j.metrics.suspectDates); n != 2 {
			t.Errorf("%v suspect dates counted", n)
		}

		remote = time.Time{} // a store that does not say
		read()
		expect("no Date", high, true)
		remote = local.Add(10 * time.Minute)
		read()
		expect("a Date within the bound", remote, false)

		remote = local.Add(-time.Minute)
		c.snapshot(t, j, "x")
		info, err := j.LatestSnapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		high = local.Add(10 * time.Minute)
		expect("a snapshot", high, false)
		local = local.Add(time.Hour)
		remote = local
		readBack(t, j, info)
		expect("a part", local, false)
	})
}

// A leader that has not spoken to the store for hours dates what it writes next by
// what has passed since, not by the last Date: retention counts from there.
func TestStoreTimeGoesOn(t *testing.T) {
	inBubble(t, "idle", func(t *testing.T) {
		store := memstore.New()
		ahead := 5 * time.Minute // of the local clock
		store.SetClock(func() time.Time { return time.Now().Add(ahead) })
		j := open(t, store, func(c *Config) { c.Now = time.Now })
		begin(t, j)
		began := time.Now()
		time.Sleep(3 * time.Hour)
		if got, want := time.UnixMilli(j.StoreTime()), began.Add(3*time.Hour+ahead); !got.Equal(want) {
			t.Errorf("%v after three hours, want %v", got, want)
		}
		ahead = 4 * time.Minute // another part of the store
		if _, err := j.After(t.Context(), 0, 1); err != nil {
			t.Fatal(err)
		}
		if got, want := time.UnixMilli(j.StoreTime()), began.Add(3*time.Hour+5*time.Minute); !got.Equal(want) {
			t.Errorf("%v after an earlier Date, want %v", got, want)
		}
		ahead = 20 * time.Minute
		if _, err := j.After(t.Context(), 0, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if got := time.UnixMilli(j.StoreTime()); !j.ClockSuspect() || got.After(began.Add(ahead)) {
			t.Errorf("%v an hour after the clocks parted, suspect %t", got, j.ClockSuspect())
		}
	})
}
