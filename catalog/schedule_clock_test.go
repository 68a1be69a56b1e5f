package catalog_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// TestScheduleDateJumps lets the Date of the store, or the clock of one node, or what one
// node sees of the store's Date, jump by 60 years and back. The journal's time
// must not follow, nothing may expire, and everybody goes on.
func TestScheduleDateJumps(t *testing.T) {
	const sixtyYears = 60 * 365 * 24 * time.Hour
	simulateSeeds(t, func(t *testing.T, seed uint64) {
		s := newSchedule(t, seed)
		jump := sixtyYears
		if s.rng.IntN(2) == 0 {
			jump = -jump
		}
		how, odd := s.rng.IntN(3), s.members[s.rng.IntN(3)]
		var away atomic.Bool
		if how == 0 {
			odd.now = func() time.Time {
				if away.Load() {
					return time.Now().Add(jump)
				}
				return time.Now()
			}
		}
		for _, m := range s.members {
			config := m.config
			m.config = func(c *catalog.Config) {
				config(c)
				c.ExpireInterval = 2 * time.Second
			}
		}
		s.createTopic()
		for _, m := range s.members {
			m.startReady()
		}
		for _, m := range s.members {
			s.register(m)
		}
		producer := s.mustPropose(s.members[0], catalog.AllocateProducerID{}).Producer
		batch := s.nextCommit(s.members[0])
		batch.Units[0].Appends[0].Producer = recordbatch.Producer{ID: producer}
		base := s.mustPropose(s.members[0], batch).Units[0].Appends[0].Base

		away.Store(true)
		for _, m := range s.members {
			if how == 1 || how == 2 && m == odd {
				m.faults.SetSkew(jump)
			}
		}
		for range 3 {
			s.leadBy(s.members[s.rng.IntN(3)])
			time.Sleep(5 * time.Second)
			for _, m := range s.members {
				s.ask(m)
				s.write(m)
			}
		}
		if s.rng.IntN(2) == 0 {
			// A node that begins while the clock is wrong.
			s.up(odd).stop()
			odd.startReady()
			s.write(odd)
		}
		away.Store(false)
		for _, m := range s.members {
			m.faults.SetSkew(0)
			s.write(m)
			view := s.up(m).look()
			if ahead := time.Until(time.UnixMilli(view.Time())); ahead.Abs() > time.Minute {
				t.Errorf("%s: the journal's time is off by %s", m.address, ahead)
			}
		}
		again := s.nextCommit(s.members[1])
		again.Units[0].Appends[0] = batch.Units[0].Appends[0]
		switch r := s.mustPropose(s.members[1], again); {
		case r.Err != nil || r.Units[0].Err != nil:
			t.Errorf("the batch of a producer that did not expire: %v, %+v", r.Err, r.Units)
		case !r.Units[0].Appends[0].Duplicate || r.Units[0].Appends[0].Base != base:
			t.Errorf("a batch is not recognised: %+v, it was at %d", r.Units[0].Appends[0], base)
		}
		s.finish()
	})
}
