package catalog_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
)

// TestScheduleDeposedLeaderIsAsked asks a leader that others cannot reach and have
// deposed, before it can know.
func TestScheduleDeposedLeaderIsAsked(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		leader, b, c := s.members[0], s.members[1], s.members[2]
		s.isolate(leader)
		for range 1 + s.rng.IntN(4) {
			s.write(b)
			s.ask(leader)
			time.Sleep(time.Duration(s.rng.IntN(500)) * time.Millisecond)
			s.ask(c)
		}
		if s.rng.IntN(2) == 0 {
			s.begin(leader)
		}
		s.ask(leader)
		s.reunite(leader)
		s.write(leader)
	})
}

// unsettled lets the leader's next slot land without an answer, and takes the
// store away from it.
func (s *schedule) unsettled(leader *member) journal.Slot {
	slot := s.witness.newest() + 1
	lostAnswers(leader)
	s.begin(leader)
	s.await("the leader writes", func() bool { return s.witness.newest() >= slot })
	outage := faultstore.Hanging
	if s.rng.IntN(2) == 0 {
		outage = faultstore.Refusing
	}
	leader.faults.SetOutage(outage)
	return slot
}

// TestScheduleDeposedLeaderWithUnsettledPut asks a leader while its own PUT is not
// settled, and others have taken over, snapshotted and deleted that slot. In some
// schedules a void claim falls into it before the leader can reach the store again.
func TestScheduleDeposedLeaderWithUnsettledPut(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		leader, b, c := s.members[0], s.members[1], s.members[2]
		busy := []*member{b, c}
		withVoidClaim := s.rng.IntN(2) == 0
		if withVoidClaim {
			s.sleepingClaimer(c)
			busy = busy[:1]
		}
		slot := s.unsettled(leader)
		s.ask(leader)
		s.moveOn(slot, busy...)
		s.ask(leader)
		if withVoidClaim {
			c.wake()
			s.awaitLanded(slot)
			s.reunite(c)
		}
		s.ask(leader)
		leader.faults.Reset()
		for range 3 {
			s.ask(leader)
			time.Sleep(time.Duration(s.rng.IntN(300)) * time.Millisecond)
		}
		s.write(leader)
	})
}

// TestScheduleRepeatedPutInDeletedSlot lets a leader repeat the PUT of a slot that it had
// written and others have deleted: it is answered 200, which proves that the entry
// was committed, and not that the leader leads.
func TestScheduleRepeatedPutInDeletedSlot(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		leader, b, c := s.members[0], s.members[1], s.members[2]
		slot := s.unsettled(leader)
		s.ask(leader)
		s.moveOn(slot, b, c)
		repeats := s.witness.repeatCount()
		leader.faults.Reset()
		if s.rng.IntN(2) == 0 {
			// Nor can it read for a while.
			leader.faults.Add(faultstore.Rule{Op: objstore.OpGet, Prefix: slotKeys, Times: 1 + s.rng.IntN(8), Fault: faultstore.FailBefore()})
		}
		for range 5 {
			s.ask(leader)
			time.Sleep(time.Duration(s.rng.IntN(300)) * time.Millisecond)
		}
		s.write(leader)
		if s.witness.repeatCount() == repeats {
			s.tb.Errorf("slot %d was not written again", slot)
		}
	})
}

// TestScheduleDeposedLeaderDropsForwards lets followers forward edits to a leader that
// cannot write them. Others take over, and the edits are settled through them; then
// the old leader can reach the store again, and must not send on what it holds.
func TestScheduleDeposedLeaderDropsForwards(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		leader, b, c := s.members[0], s.members[1], s.members[2]
		own := catalog.CreateTopic{ID: uuid.New(), Name: "own", Partitions: 1, Config: catalog.DefaultTopicConfig()}
		s.mustPropose(leader, own)
		s.unsettled(leader)
		ctx, cancel := s.patience(time.Minute)
		defer cancel()
		for i := range 4 + s.rng.IntN(8) {
			config := own.Config
			config.RetentionMs = 1_000_000 + int64(i)
			e, err := s.up([]*member{b, c}[i%2]).submit(catalog.AlterTopic{ID: own.ID, Config: config})
			if err != nil {
				s.tb.Fatalf("submit: %v", err)
			}
			s.pending.Go(func() { _, _ = e.wait(ctx) })
			time.Sleep(time.Duration(s.rng.IntN(50)) * time.Millisecond)
		}
		s.write(b)
		s.write(c)
		leader.faults.Reset()
		s.ask(leader)
		s.write(leader)
		time.Sleep(time.Duration(s.rng.IntN(2000)) * time.Millisecond)
	})
}
