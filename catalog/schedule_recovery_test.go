package catalog_test

import (
	"testing"
	"time"
)

// TestScheduleLoadWhileSlotsAreDeleted freezes a node that loads, at every step in turn,
// until what it was about to read was snapshotted and deleted, several times.
func TestScheduleLoadWhileSlotsAreDeleted(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		a, b, late := s.members[0], s.members[1], s.members[2]
		s.up(late).stop()
		if s.rng.IntN(2) == 0 {
			s.moveOn(s.witness.newest(), a, b) // so that it begins with a snapshot
		}
		for i := range 1 + s.rng.IntN(3) {
			left := s.rng.IntN(12)
			sprung := late.freezeAt(func(step) bool { left--; return left < 0 })
			if i == 0 {
				late.start()
			}
			select {
			case <-sprung:
			case <-time.After(3 * time.Second):
			}
			s.moveOn(s.witness.newest(), a, b)
			late.wake()
		}
		l := late.life
		select {
		case <-l.Ready():
		case <-time.After(recoveryMax):
			s.tb.Errorf("not live: %s does not load", late.address)
		}
		s.ask(late)
		l.look()
		s.write(late)
	})
}
