package catalog_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
)

// TestScheduleSleepingLeader freezes a leader at its PUT, or at the GET by which it
// confirms, until the slot was taken over, snapshotted and deleted.
func TestScheduleSleepingLeader(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		leader, b, c := s.members[0], s.members[1], s.members[2]
		answered := s.rng.IntN(2) == 0
		var sprung <-chan struct{}
		if s.rng.IntN(3) > 0 {
			sprung = leader.freezeAt(onOp(objstore.OpPutIfAbsent, answered))
			s.begin(leader)
		} else {
			sprung = leader.freezeAt(onOp(objstore.OpGet, answered))
			s.ask(leader)
		}
		if !awaitSprung(sprung) {
			s.tb.Fatal("the leader does not come by")
		}
		slot := s.witness.newest() + 1
		s.ask(leader)
		s.begin(leader)
		s.moveOn(slot, b, c)
		s.ask(leader)
		leader.wake()
		s.ask(leader)
		s.write(leader)
	})
}

// TestScheduleSleepingFollower freezes a follower while it lists, reads or pulls, until
// the slots that it would read next were deleted.
func TestScheduleSleepingFollower(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		a, b, follower := s.members[0], s.members[1], s.members[2]
		if s.rng.IntN(2) == 0 {
			s.isolate(follower) // it reads the bucket
		}
		sent := s.rng.IntN(2) == 0
		fits := []func(step) bool{
			onOp(objstore.OpList, sent), onOp(objstore.OpGet, sent),
			func(at step) bool { return at.op == "pull" && at.sent == sent },
		}[s.rng.IntN(3)]
		sprung := follower.freezeAt(fits)
		s.write(a)
		s.ask(follower)
		for range 3 {
			s.write(a)
		}
		if !awaitSprung(sprung) {
			follower.disarm() // it had no need to
			return
		}
		s.ask(follower)
		s.begin(follower)
		s.moveOn(s.witness.newest()+1, a, b)
		s.ask(follower)
		follower.wake()
		s.ask(follower)
		s.reunite(follower)
		s.write(follower)
	})
}

// isolate cuts a node off from all others.
func (s *schedule) isolate(m *member) {
	for _, other := range s.members {
		s.network.Cut(m.address, other.address)
		s.network.Cut(other.address, m.address)
	}
}

// reunite ends isolate.
func (s *schedule) reunite(m *member) {
	for _, other := range s.members {
		s.network.Mend(m.address, other.address)
		s.network.Mend(other.address, m.address)
	}
}

// sleepingClaimer cuts a node off, so that it claims the next slot, and freezes
// it before its PUT leaves. The leader lives, and has not written that slot.
func (s *schedule) sleepingClaimer(m *member) journal.Slot {
	s.isolate(m)
	sprung := m.freezeAt(onOp(objstore.OpPutIfAbsent, false))
	s.begin(m)
	if !awaitSprung(sprung) {
		s.tb.Fatalf("%s does not claim", m.address)
	}
	return s.witness.newest() + 1
}

// TestScheduleSleepingClaimer freezes a claimer before its claim leaves, before or after
// it was answered, and at the listing behind it, until the slot was written by
// others, snapshotted and deleted.
func TestScheduleSleepingClaimer(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		leader, claimer, c := s.members[0], s.members[1], s.members[2]
		if s.rng.IntN(2) == 0 {
			// The leader lives, and writes the slot.
			slot := s.sleepingClaimer(claimer)
			void := s.witness.voidCount()
			s.moveOn(slot, leader, c)
			claimer.wake()
			s.ask(claimer)
			s.reunite(claimer)
			s.write(claimer)
			if s.witness.voidCount() != void+1 {
				s.tb.Errorf("the claim did not fall into slot %d", slot)
			}
			return
		}
		// The leader ended, and another claimer is faster.
		claimed, sent := false, s.rng.IntN(2) == 0
		atListing := s.rng.IntN(2) == 0
		sprung := claimer.freezeAt(func(at step) bool {
			if !atListing {
				return onOp(objstore.OpPutIfAbsent, sent)(at)
			}
			claimed = claimed || onOp(objstore.OpPutIfAbsent, true)(at)
			return claimed && onOp(objstore.OpList, sent)(at)
		})
		s.up(leader).kill()
		s.begin(claimer)
		if !awaitSprung(sprung) {
			s.tb.Fatal("the claimer does not come by")
		}
		slot := s.witness.newest() + 1
		s.ask(claimer)
		s.moveOn(slot, c)
		claimer.wake()
		s.ask(claimer)
		s.write(claimer)
	})
}

// TestScheduleLateClaim lets a claim land in a deleted slot long after its writer has
// ended, while the old leader, or a follower, still has to look at that slot.
func TestScheduleLateClaim(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		a, b, c := s.members[0], s.members[1], s.members[2]
		claimer, sleeper, busy := b, c, a
		s.isolate(claimer)
		claimer.faults.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Prefix: slotKeys, Times: faultstore.Always, Fault: faultstore.HangThenLand(0)})
		s.begin(claimer)
		s.await("the claim is on its way", func() bool { return claimer.faults.Pending() > 0 })
		slot := s.witness.newest() + 1
		s.up(claimer).kill()
		s.reunite(claimer)

		// Somebody sleeps at the slot before.
		s.isolate(sleeper)
		sprung := sleeper.freezeAt(onOp(objstore.OpList, s.rng.IntN(2) == 0))
		s.ask(sleeper)
		if !awaitSprung(sprung) {
			s.tb.Fatal("the follower does not list")
		}
		s.moveOn(slot, busy)
		void := s.witness.voidCount()
		claimer.faults.Land()
		if s.witness.voidCount() != void+1 {
			s.tb.Errorf("the claim did not fall into slot %d", slot)
		}
		claimer.faults.Reset()
		sleeper.wake()
		s.ask(sleeper)
		s.reunite(sleeper)
		claimer.startReady()
		s.write(sleeper)
		s.write(claimer)
	})
}

// TestScheduleVoidClaimInListedSlot freezes a reader between its listing and the reading
// of the slot that it found. Meanwhile the slot is deleted, and a claim falls into
// it that follows on from the reader's last entry.
func TestScheduleVoidClaimInListedSlot(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		leader, claimer, reader := s.members[0], s.members[1], s.members[2]
		slot := s.sleepingClaimer(claimer)
		s.isolate(reader)
		listed := reader.freezeAt(func(at step) bool {
			return onOp(objstore.OpList, true)(at) && s.witness.newest() >= slot
		})
		s.write(leader)
		s.ask(reader)
		if !awaitSprung(listed) {
			s.tb.Fatal("the reader does not list")
		}
		s.moveOn(slot, leader)
		claimer.wake()
		s.awaitLanded(slot)
		reader.wake()
		s.ask(reader)
		time.Sleep(time.Second)
		s.ask(reader)
		s.reunite(claimer)
		s.reunite(reader)
		s.write(reader)
	})
}

// awaitLanded waits until something is in a slot again.
func (s *schedule) awaitLanded(slot journal.Slot) {
	s.await("something lands in the slot", func() bool { return slices.Contains(s.witness.Keys(), slotKey(slot)) })
}

// TestScheduleOwnLateClaim lets a claimer find its own claim in the journal without
// having been told that it has the lead: the listing behind it failed, or its
// process ended and began anew before or after the claim landed.
func TestScheduleOwnLateClaim(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		leader, claimer, c := s.members[0], s.members[1], s.members[2]
		how := s.rng.IntN(3)
		switch how {
		case 0:
			// The listing behind the claim fails, for good or nearly.
			claimed, times := false, 4+s.rng.IntN(8)
			claimer.faults.SetHook(func(op, key string) {
				claimed = claimed || op == objstore.OpPutIfAbsent && strings.HasPrefix(key, slotKeys)
				if op == objstore.OpList && claimed {
					claimer.faults.SetHook(nil)
					claimer.faults.Add(faultstore.Rule{Op: objstore.OpList, Prefix: slotKeys, Times: times, Fault: faultstore.FailBefore()})
				}
			})
		case 1:
			claimer.faults.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Prefix: slotKeys, Fault: faultstore.HangAfter()})
		default:
			claimer.faults.Add(faultstore.Rule{
				Op: objstore.OpPutIfAbsent, Prefix: slotKeys, Times: faultstore.Always,
				Fault: faultstore.HangThenLand(time.Duration(1+s.rng.IntN(8000)) * time.Millisecond),
			})
		}
		s.up(leader).kill()
		s.begin(claimer)
		if how > 0 {
			claims := s.witness.claimCount()
			s.await("the claim leaves", func() bool { return claimer.faults.Pending() > 0 || s.witness.claimCount() > claims })
			s.up(claimer).kill()
			claimer.faults.Reset() // what is late stays under way
			if s.rng.IntN(2) == 0 {
				s.begin(c)
			}
			time.Sleep(time.Duration(s.rng.IntN(4000)) * time.Millisecond)
			claimer.startReady()
		}
		for range 5 {
			s.ask(claimer)
			s.ask(c)
			time.Sleep(time.Duration(s.rng.IntN(3000)) * time.Millisecond)
		}
		s.write(claimer)
		s.write(c)
	})
}
