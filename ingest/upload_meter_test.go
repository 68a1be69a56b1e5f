package ingest

import (
	"testing"
	"time"
)

func TestUploadMeter(t *testing.T) {
	m := uploadMeter{places: 2}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	for _, step := range []struct {
		at   int
		do   func(time.Time)
		used float64
		full time.Duration
	}{
		{0, func(time.Time) {}, 0, 0},
		{1, m.begin, 0.5, 0},
		{5, m.begin, 1, 0},
		{7, func(time.Time) {}, 1, 2 * time.Second},
		{8, m.end, 0.5, 3 * time.Second},
		{9, m.begin, 1, 3 * time.Second},
		{10, m.end, 0.5, 4 * time.Second},
		{20, m.end, 0, 4 * time.Second},
	} {
		step.do(at(step.at))
		if used, full := m.utilisation(), m.fullFor(at(step.at)); used != step.used || full != step.full {
			t.Errorf("after %d s: %g of the places, full for %s; want %g, %s", step.at, used, full, step.used, step.full)
		}
	}
}

// TestOldestUnflushed follows the oldest unit through open and sealed segments.
func TestOldestUnflushed(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := &Ingester{flush: newFlushController(DefaultConfig())}
	now := start
	want := func(age time.Duration) {
		t.Helper()
		if got := g.oldestUnflushed(now); got != age {
			t.Errorf("after %s: %s, want %s", now.Sub(start), got, age)
		}
	}
	want(0)
	g.flush.open.add(unitOf(10, 0), now)
	now = now.Add(time.Second)
	g.flush.open.add(unitOf(10, 0), now)
	want(time.Second)
	g.flush.seal(now)
	g.flush.open.add(unitOf(10, 0), now)
	now = now.Add(time.Second)
	want(2 * time.Second)
	g.flush.seal(now)
	g.flush.settled(now, 2)
	want(time.Second)
	g.flush.settled(now, 1)
	want(0)
}
