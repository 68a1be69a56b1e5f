package ingest

import (
	"testing"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// unitOf makes a unit of one batch for each partition, of bytes in all.
func unitOf(bytes int, partitions ...int32) *unit {
	appends := make([]unitAppend, len(partitions))
	for i, p := range partitions {
		appends[i] = newUnitAppend(
			catalog.TopicPartition{Partition: p}, "flights",
			[]segment.Batch{{Data: make([]byte, bytes/len(partitions)), Header: recordbatch.Header{ProducerID: -1, RecordCount: 1}}},
			catalog.AnyOffset)
	}
	return newUnit(appends)
}

func TestFlushControllerDecides(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name     string
		set      func(*Config)
		units    []*unit
		inFlight int
		age      time.Duration
		draining bool
		want     string
		wait     time.Duration
	}{
		{name: "nothing to seal"},
		{name: "nothing in flight", units: []*unit{unitOf(10, 0)}, want: "idle"},
		{name: "young and others in flight", units: []*unit{unitOf(10, 0)}, inFlight: 1, age: 100 * time.Millisecond, wait: 150 * time.Millisecond},
		{name: "a while after the last", units: []*unit{unitOf(10, 0)}, inFlight: 1, set: func(c *Config) { c.FlushInterval = time.Hour }, age: 500 * time.Millisecond, want: "stagger"},
		{name: "old", units: []*unit{unitOf(10, 0)}, inFlight: 1, age: 250 * time.Millisecond, want: "age"},
		{name: "large", units: []*unit{unitOf(600, 0), unitOf(600, 0)}, inFlight: 1, want: "size"},
		{name: "one request larger than a segment", units: []*unit{unitOf(5000, 0)}, inFlight: 1, want: "size"},
		{name: "many appends", set: func(c *Config) { c.SegmentAppendsMax = 3 }, units: []*unit{unitOf(10, 0, 1), unitOf(10, 2)}, inFlight: 1, want: "size"},
		{name: "draining", units: []*unit{unitOf(10, 0)}, inFlight: 1, draining: true, want: "drain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.FlushBytes = 1000
			if c.set != nil {
				c.set(&cfg)
			}
			f := newFlushController(cfg)
			f.inFlight = c.inFlight
			f.sealed, f.usual = start, time.Second
			for _, u := range c.units {
				f.open.add(u, start)
			}
			cause, wait := f.decide(start.Add(c.age), c.draining)
			if cause != c.want || wait != c.wait {
				t.Errorf("decide: %q after %s, expected %q after %s", cause, wait, c.want, c.wait)
			}
		})
	}
}

// TestStagger lets segments of a given duration settle, and looks at how long the
// next one waits for the one that was just sealed.
func TestStagger(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		took   time.Duration // every segment before
		budget float64
		wait   time.Duration // after the last was sealed
	}{
		{name: "nothing settled yet", wait: staggerMin},
		{name: "a fast store", took: 4 * time.Millisecond, wait: staggerMin},
		{name: "a slow store", took: 100 * time.Millisecond, wait: 50 * time.Millisecond},
		{name: "a very slow store", took: 2 * time.Second, wait: 250 * time.Millisecond}, // the flush interval
		{name: "with a budget", took: 100 * time.Millisecond, budget: 1, wait: 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.PutBudget = c.budget
			f := newFlushController(cfg)
			now := start
			for range 5 {
				if c.took == 0 {
					break
				}
				f.open.add(unitOf(10, 0), now)
				f.seal(now)
				now = now.Add(c.took)
				f.settled(now, 1)
			}
			f.open.add(unitOf(10, 0), now)
			if cause, _ := f.decide(now, false); cause != "idle" {
				t.Fatalf("the first is not sealed at once: %q", cause)
			}
			f.seal(now)
			f.open.add(unitOf(10, 0), now)
			sealed := now
			for {
				cause, wait := f.decide(now, false)
				if cause != "" {
					break
				}
				if wait <= 0 {
					t.Fatal("waits without a time to look again")
				}
				now = now.Add(wait)
			}
			if got := now.Sub(sealed); got != c.wait {
				t.Errorf("waits for %s, expected %s", got, c.wait)
			}
		})
	}
}

// TestUsualFlight follows how long segments take, and is not thrown by one.
func TestUsualFlight(t *testing.T) {
	f := newFlushController(DefaultConfig())
	for range 100 {
		f.took(80 * time.Millisecond)
	}
	if f.took(880 * time.Millisecond); f.usual != 180*time.Millisecond {
		t.Errorf("one slow segment makes %s of 80 ms", f.usual)
	}
	for range 100 {
		f.took(8 * time.Millisecond)
	}
	if f.usual > 9*time.Millisecond {
		t.Errorf("%s after a hundred of 8 ms", f.usual)
	}
}

// TestPutBudget counts the flushes of a busy minute: no more PUTs than the
// budget and its burst, unless segments are full.
func TestPutBudget(t *testing.T) {
	cfg := DefaultConfig()
	cfg.PutBudget = 4
	f := newFlushController(cfg)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	flushes := 0
	for range 6000 { // every 10 ms
		f.open.add(unitOf(10, 0), now)
		cause, wait := f.decide(now, false)
		if cause != "" {
			f.seal(now)
			f.inFlight = 0
			flushes++
		} else if wait <= 0 {
			t.Fatalf("refused without a time to look again")
		}
		now = now.Add(10 * time.Millisecond)
	}
	if puts, most := putsPerFlush*flushes, 4*60+4; puts > most || puts < most-8 {
		t.Errorf("%d PUTs in a minute, expected about %d", puts, most)
	}
	f.open.add(unitOf(int(cfg.FlushBytes), 0), now)
	if cause, _ := f.decide(now, false); cause != "size" {
		t.Errorf("a full segment waits for the budget: %q", cause)
	}
}

// TestGather lets segments settle and looks at who is waited for, and for how long.
func TestGather(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name     string
		settled  int           // units of the segment that was in flight
		took     time.Duration // from its seal
		waiting  int           // units that came meanwhile
		back     int           // units that came after it was settled
		after    time.Duration // the settlement
		draining bool
		want     string
		wait     time.Duration
	}{
		{name: "one producer in lockstep", settled: 1, took: 4 * time.Millisecond, back: 1, want: "idle"},
		{name: "the other half", settled: 2, took: 4 * time.Millisecond, waiting: 2, wait: time.Millisecond},
		{name: "some are back", settled: 2, took: 4 * time.Millisecond, waiting: 2, back: 1, after: 400 * time.Microsecond, wait: 600 * time.Microsecond},
		{name: "all are back", settled: 2, took: 4 * time.Millisecond, waiting: 2, back: 2, want: "idle"},
		{name: "the first of those who were together", settled: 4, took: 4 * time.Millisecond, back: 1, wait: time.Millisecond},
		{name: "they do not come", settled: 2, took: 4 * time.Millisecond, waiting: 2, after: time.Millisecond, want: "idle"},
		{name: "a slow store", settled: 2, took: time.Second, waiting: 1, wait: gatherMax},
		{name: "draining", settled: 2, took: 4 * time.Millisecond, waiting: 2, draining: true, want: "drain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFlushController(DefaultConfig())
			add := func(n int, now time.Time) {
				for range n {
					f.open.add(unitOf(10, 0), now)
				}
			}
			add(c.settled, start)
			if cause, _ := f.decide(start, false); cause != "idle" {
				t.Fatalf("the first is not sealed at once: %q", cause)
			}
			f.seal(start)
			settled := start.Add(c.took)
			add(c.waiting, settled)
			f.settled(settled, c.settled)
			add(c.back, settled)
			if cause, wait := f.decide(settled.Add(c.after), c.draining); cause != c.want || wait != c.wait {
				t.Errorf("decide: %q after %s, expected %q after %s", cause, wait, c.want, c.wait)
			}
		})
	}
}

// TestGatheredUnitsAreNoticed: the controller is woken by the last that it waits for.
func TestGatheredUnitsAreNoticed(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f := newFlushController(DefaultConfig())
	for range 3 {
		f.open.add(unitOf(10, 0), start)
	}
	f.seal(start)
	f.settled(start.Add(4*time.Millisecond), 3)
	for n, want := range []bool{true, false, true} { // the first sets the timer
		f.open.add(unitOf(10, 0), start)
		if got := f.due(); got != want {
			t.Errorf("unit %d: due is %v", n+1, got)
		}
	}
}
