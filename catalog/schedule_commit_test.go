package catalog_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/catalogtest"
)

// TestScheduleForwardsOutOfOrder lets two followers send commits without waiting for
// answers, over a network that delivers every request late, twice, after its
// successor, or unseen. As long as one leader leads, none may be refused: it
// takes each request once, in the order in which they were sent.
func TestScheduleForwardsOutOfOrder(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		if s.rng.IntN(2) == 0 {
			s.network.Randomize(s.seed, catalogtest.Probabilities{
				LoseRequest: 0.1, LoseAnswer: 0.1, Repeat: 0.4, ArriveLate: 0.1, LateMax: 5 * time.Second,
				Delay: 0.8, DelayMax: 200 * time.Millisecond,
			})
		} else {
			// The first delivery of each request comes after the second request.
			s.network.SetHook(func(c catalogtest.Call) (catalogtest.Fault, bool) {
				if c.Forward == nil {
					return catalogtest.Fault{}, false
				}
				late := time.Duration(100*(c.N%3)) * time.Millisecond
				return catalogtest.Fault{Delay: late, Again: time.Duration(1+c.N) * 150 * time.Millisecond}, true
			})
		}
		own := catalog.CreateTopic{ID: uuid.New(), Name: "own", Partitions: 1, Config: catalog.DefaultTopicConfig()}
		s.mustPropose(s.members[0], own)
		claims := s.witness.claimCount()
		var sent []*sentEdit
		for range 5 + s.rng.IntN(10) {
			for _, m := range s.members[1:] {
				for range 1 + s.rng.IntN(3) {
					edit := catalog.Edit(s.nextCommit(m))
					if s.rng.IntN(4) == 0 {
						s.writers[m].last--
						config := own.Config
						config.RetentionMs = 1_000_000 + int64(len(sent))
						edit = catalog.AlterTopic{ID: own.ID, Config: config}
					}
					e, err := s.up(m).submit(edit)
					if err != nil {
						s.tb.Fatalf("submit: %v", err)
					}
					sent = append(sent, e)
				}
			}
			time.Sleep(time.Duration(s.rng.IntN(60)) * time.Millisecond)
		}
		ctx, cancel := s.patience(time.Minute)
		defer cancel()
		time.Sleep(time.Duration(s.rng.IntN(3000)) * time.Millisecond)
		for _, e := range sent {
			r, err := e.wait(ctx)
			commit, ok := e.edit.(catalog.CommitSegment)
			if !ok {
				if err != nil || r.Err != nil {
					s.tb.Errorf("%+v: %v, %v", e.edit, err, r.Err)
				}
				continue
			}
			_, there := s.witness.commit(commitKey{commit.Node, commit.Upto})
			var order *catalog.CommitOrderError
			switch {
			case err != nil:
				s.tb.Errorf("commit %d: %v", commit.Upto, err)
			case r.Err == nil:
			case errors.As(r.Err, &order) && order.Last >= commit.Upto && there && s.witness.claimCount() > claims:
				// Sent again to another leader.
			default:
				s.tb.Errorf("commit %d, with %d claims meanwhile: %v", commit.Upto, s.witness.claimCount()-claims, r.Err)
			}
		}
	})
}

// TestScheduleCopiedDataDirectory lets two nodes commit the same batches under one node
// id, as when a live data directory is copied and both copies are replayed.
func TestScheduleCopiedDataDirectory(t *testing.T) {
	runSchedule(t, func(s *schedule) {
		id := uuid.New()
		s.mustPropose(s.members[1], catalog.RegisterNode{Node: id, HasWAL: true})
		copies := []*member{s.members[s.rng.IntN(2)], s.members[2]}
		batches := uint64(4 + s.rng.IntN(8))
		edits := make([]catalog.CommitSegment, batches)
		for i := range edits {
			edits[i] = s.commitOf(id, uint64(i), uint64(i)+1, s.rng)
		}
		var mu sync.Mutex
		acknowledged := map[uint64]int{}
		var replays sync.WaitGroup
		for _, m := range copies {
			pause := time.Duration(s.rng.IntN(40)) * time.Millisecond
			replays.Go(func() {
				ctx, cancel := s.patience(2 * time.Minute)
				defer cancel()
				for _, edit := range edits {
					time.Sleep(pause)
					for ctx.Err() == nil {
						edit.Object.ID = newObjectID()
						r, err := m.current().propose(ctx, edit)
						if err == nil && r.Err == nil {
							mu.Lock()
							acknowledged[edit.Upto]++
							mu.Unlock()
							break
						}
						var order *catalog.CommitOrderError
						if err == nil && errors.As(r.Err, &order) && order.Last >= edit.Upto {
							break // the other copy was faster
						}
						if err == nil {
							s.tb.Errorf("%s: commit %d: %v", m.address, edit.Upto, r.Err)
						}
					}
				}
			})
		}
		if s.rng.IntN(2) == 0 {
			time.Sleep(time.Duration(s.rng.IntN(300)) * time.Millisecond)
			s.isolate(s.members[0])
			time.Sleep(time.Duration(s.rng.IntN(5000)) * time.Millisecond)
			s.reunite(s.members[0])
		}
		replays.Wait()
		for upto := uint64(1); upto <= batches; upto++ {
			if _, ok := s.witness.commit(commitKey{id, upto}); !ok || acknowledged[upto] > 1 {
				s.tb.Errorf("commit %d is there: %v, acknowledged %d times", upto, ok, acknowledged[upto])
			}
		}
	})
}
