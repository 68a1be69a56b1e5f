package ingest

import (
	"sync"
	"time"
)

// uploadMeter measures how much of the places for uploads is in use. It is what
// tells a node that could do more from one that needs help: records wait for a
// place long before the byte budget is used up.
type uploadMeter struct {
	places int

	mu      sync.Mutex
	running int           // guarded by mu
	since   time.Time     // guarded by mu; when the last free place was taken, while none is free
	full    time.Duration // guarded by mu; how long none was free, without the time after since
}

// begin and end are called with a place taken, and given back after that, so
// running never exceeds places.
func (m *uploadMeter) begin(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running++; m.running == m.places {
		m.since = now
	}
}

func (m *uploadMeter) end(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running == m.places {
		m.full += now.Sub(m.since)
	}
	m.running--
}

// utilisation is the share of places that are taken.
func (m *uploadMeter) utilisation() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return float64(m.running) / float64(m.places)
}

// fullFor is how long no place was free, in all.
func (m *uploadMeter) fullFor(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running == m.places {
		return m.full + now.Sub(m.since)
	}
	return m.full
}
