package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/catalogtest"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

// group is several catalogs on one bucket that reach each other. The first
// leads, and has made a topic with one partition.
type group struct {
	*testing.T
	store   *memstore.Store
	network *catalogtest.Network
	nodes   []*running
	tp      catalog.TopicPartition
	ids     []catalog.NodeID
	last    []uint64
}

func inGroup(t *testing.T, size int, test func(g *group)) {
	synctest.Test(t, func(t *testing.T) {
		g := &group{T: t, store: memstore.New(), network: catalogtest.New()}
		defer g.network.Close()
		for range size {
			g.add()
		}
		defer func() {
			for i := range g.nodes {
				g.end(i)
			}
		}()
		g.tp = g.nodes[0].createTopic(t, "flights")
		synctest.Wait()
		test(g)
	})
}

func address(i int) string { return fmt.Sprintf("node-%d", i) }

// add starts a node; it joins as a follower if another leads.
func (g *group) add() int {
	i := len(g.nodes)
	g.nodes = append(g.nodes, startWith(g.T, g.store, g.network.From(address(i)), func(c *catalog.Config) { c.Address = address(i) }))
	g.network.Join(address(i), g.nodes[i].Catalog)
	g.ids, g.last = append(g.ids, uuid.New()), append(g.last, 0)
	return i
}

// end ends a node, once.
func (g *group) end(i int) {
	if g.nodes[i].Catalog != nil {
		g.network.Leave(address(i))
		g.nodes[i].stop(g.T)
		g.nodes[i].Catalog = nil
	}
}

// commit appends one record through a node, and returns its offset.
func (g *group) commit(i int) catalog.Offset {
	g.Helper()
	if g.last[i] == 0 {
		g.nodes[i].mustPropose(g.T, catalog.RegisterNode{Node: g.ids[i]})
	}
	r := g.nodes[i].mustPropose(g.T, commitOf(g.ids[i], g.last[i], g.tp, 1))
	g.last[i]++
	base := r.Units[0].Appends[0].Base
	if end := g.nodes[i].View().Partition(g.tp).End(); end <= base {
		g.Errorf("node %d was told of offset %d, its own end offset is %d", i, base, end)
	}
	return base
}

// TestFollowersForward: what followers commit goes through the one leader, and
// they know of each other's commits without asking the bucket.
func TestFollowersForward(t *testing.T) {
	inGroup(t, 3, func(g *group) {
		g.commit(1)
		g.commit(2)
		sent := g.nodes[1].faults.Count("") + g.nodes[2].faults.Count("")
		for n := range 30 {
			if base := g.commit(n % 3); base != catalog.Offset(n+2) {
				t.Fatalf("commit %d got offset %d", n, base)
			}
		}
		synctest.Wait()
		for i, r := range g.nodes {
			if end := r.View().Partition(g.tp).End(); end != 32 {
				t.Errorf("node %d is at end offset %d", i, end)
			}
		}
		if more := g.nodes[1].faults.Count("") + g.nodes[2].faults.Count("") - sent; more > 0 {
			t.Errorf("the followers sent %d requests to the bucket", more)
		}
	})
}

// TestTakeover: a follower leads soon after the leader's process ended, and
// within TakeoverMax and a bit when it stands still or cannot be reached.
func TestTakeover(t *testing.T) {
	for name, test := range map[string]struct {
		lose func(g *group)
		max  time.Duration
	}{
		"gone":        {func(g *group) { g.end(0) }, 500 * time.Millisecond},
		"frozen":      {func(g *group) { g.network.Freeze(address(0)) }, 3 * time.Second},
		"unreachable": {func(g *group) { g.network.Cut(address(1), address(0)) }, 3 * time.Second},
		"without its store": {func(g *group) {
			g.nodes[0].faults.Add(faultstore.Rule{Times: 1000, Fault: faultstore.FailBefore()})
		}, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inGroup(t, 2, func(g *group) {
				g.commit(1)
				time.Sleep(time.Second) // the leader has nothing of its own to write any more
				begun := time.Now()
				test.lose(g)
				if base := g.commit(1); base != 1 {
					t.Errorf("the next record got offset %d", base)
				}
				if took := time.Since(begun); took > test.max {
					t.Errorf("no commit for %v", took)
				}
				g.network.Reset()
				g.nodes[0].faults.Reset()
			})
		})
	}
}

// TestLostAnswerIsFoundInTheJournal: the leader commits an edit and dies before
// it answers. The node that sent it learns its offset from the journal.
func TestLostAnswerIsFoundInTheJournal(t *testing.T) {
	inGroup(t, 2, func(g *group) {
		g.commit(1)
		g.network.SetHook(func(c catalogtest.Call) (catalogtest.Fault, bool) {
			return catalogtest.SwallowAnswer(), true
		})
		time.Sleep(600 * time.Millisecond) // the pull under way was not to be swallowed
		committed, given := make(chan catalog.Offset), make(chan int64)
		go func() { committed <- g.commit(1) }()
		go func() { given <- g.nodes[1].mustPropose(g.T, catalog.AllocateProducerID{}).Producer }()
		synctest.Wait()
		if end := g.nodes[1].View().Partition(g.tp).End(); end != 1 {
			t.Fatalf("the follower heard of the commit: end offset %d", end)
		}
		g.network.SetHook(nil)
		g.end(0)
		if base := <-committed; base != 1 {
			t.Errorf("the record got offset %d", base)
		}
		if id := <-given; id != 1 {
			t.Errorf("producer id %d: the edit was committed twice", id)
		}
		if base := g.commit(1); base != 2 {
			t.Errorf("the next record got offset %d", base)
		}
	})
}

// TestRequestIsTakenOnce: a request that arrives twice, or long after, is one.
func TestRequestIsTakenOnce(t *testing.T) {
	inGroup(t, 2, func(g *group) {
		g.network.SetHook(func(c catalogtest.Call) (catalogtest.Fault, bool) {
			return catalogtest.Repeat(time.Duration(c.N%5) * 700 * time.Millisecond), c.Forward != nil
		})
		for range 10 {
			r := g.nodes[1].mustPropose(g.T, catalog.AllocateProducerID{})
			time.Sleep(time.Second)
			next := g.nodes[1].mustPropose(g.T, catalog.AllocateProducerID{})
			if next.Producer != r.Producer+1 {
				t.Errorf("id %d was followed by %d", r.Producer, next.Producer)
			}
		}
	})
}

// TestResign: a leader that hands over leaves no gap, and its successor is the
// follower that may lead.
func TestResign(t *testing.T) {
	inGroup(t, 3, func(g *group) {
		g.commit(1)
		g.commit(2)
		if err := g.nodes[1].Resign(g.Context()); err != nil { // a follower: at once
			t.Fatal(err)
		}
		synctest.Wait()
		begun := time.Now()
		if err := g.nodes[0].Resign(g.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("to hand over took %v", took)
		}
		g.end(0)
		begun = time.Now()
		if base := g.commit(2); base != 2 {
			t.Errorf("offset %d", base)
		}
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("the successor's first commit took %v", took)
		}
	})
}

// TestResignAlone: nobody follows, so there is nothing to wait for.
func TestResignAlone(t *testing.T) {
	inGroup(t, 1, func(g *group) {
		g.commit(0)
		begun := time.Now()
		if err := g.nodes[0].Resign(g.Context()); err != nil || time.Since(begun) > 0 {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// TestBehindTheRelay: a follower that the leader's memory does not reach back to
// reads the bucket, and follows again.
func TestBehindTheRelay(t *testing.T) {
	inGroup(t, 2, func(g *group) {
		g.commit(1)
		g.network.Freeze(address(1))
		for range 20_000 / 100 {
			var proposals []*catalog.Proposal
			for range 100 {
				p, err := g.nodes[0].Submit(catalog.AllocateProducerID{})
				if err != nil {
					t.Fatal(err)
				}
				proposals = append(proposals, p)
				synctest.Wait()
			}
			for _, p := range proposals {
				if _, err := p.Wait(g.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		g.network.Resume(address(1))
		g.commit(0)
		time.Sleep(5 * time.Second)
		if end := g.nodes[1].View().Partition(g.tp).End(); end != 2 {
			t.Errorf("the follower is at end offset %d", end)
		}
	})
}

// TestForwardRefused: other epochs, strangers' bytes and followers are refused.
func TestForwardRefused(t *testing.T) {
	inGroup(t, 2, func(g *group) {
		var notLeader *catalog.NotLeaderError
		_, err := g.nodes[0].ServeForward(g.Context(), catalog.ForwardRequest{Epoch: 7, Seq: 1})
		if !errors.As(err, &notLeader) || notLeader.Leader != address(0) || notLeader.Epoch != 1 {
			t.Errorf("another epoch: %v", err)
		}
		if _, err = g.nodes[1].ServePull(g.Context(), catalog.PullRequest{}); !errors.As(err, &notLeader) {
			t.Errorf("a follower: %v", err)
		}
		if _, err = g.nodes[0].ServePull(g.Context(), catalog.PullRequest{}); !errors.Is(err, catalog.ErrBehind) {
			t.Errorf("a nonce of another journal: %v", err)
		}
		if _, err = g.nodes[0].ServeForward(g.Context(), catalog.ForwardRequest{Epoch: 1, Seq: 1, Edits: []byte{1, 99}}); !errors.Is(err, catalog.ErrNewerEdit) {
			t.Errorf("an edit of a newer kind: %v", err)
		}
		ctx, cancel := context.WithCancel(g.Context())
		cancel()
		if _, err = g.nodes[0].ServeForward(ctx, catalog.ForwardRequest{Epoch: 1, Seq: 2}); !errors.Is(err, context.Canceled) {
			t.Errorf("a gap in the session, given up: %v", err)
		}
		if _, err = g.nodes[0].ServeForward(g.Context(), catalog.ForwardRequest{Epoch: 1, Seq: 2}); !errors.Is(err, catalog.ErrBusy) {
			t.Errorf("a gap in the session: %v", err)
		}
	})
}

// TestBusyLeaderExpires: a leader that always has something to write does not
// forget to forget.
func TestBusyLeaderExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memstore.New(), func(c *catalog.Config) { c.ExpireInterval = 2 * time.Second })
		defer r.stop(t)
		for range 200 {
			r.mustPropose(t, catalog.AllocateProducerID{})
			time.Sleep(50 * time.Millisecond)
		}
		j, err := journal.New(journal.DefaultConfig(), r.store, "000", slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		sweeps := 0
		for slot := journal.Slot(1); ; slot++ {
			e, err := j.Read(t.Context(), slot)
			if errors.Is(err, journal.ErrNoEntry) {
				break
			}
			edits, _, decodeErr := catalog.DecodeEdits(e.Payload)
			if err != nil || decodeErr != nil {
				t.Fatal(err, decodeErr)
			}
			for _, edit := range edits {
				if _, ok := edit.(catalog.Expire); ok {
					sweeps++
				}
			}
		}
		if sweeps < 4 {
			t.Errorf("%d sweeps in 10 s of work, one is due every 2 s", sweeps)
		}
	})
}
