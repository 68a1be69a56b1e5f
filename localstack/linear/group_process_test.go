package linear_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// groupProcess is one life of a group's member, which follows the loop that the
// documentation of the API describes, each request to a node picked by chance.
type groupProcess struct {
	w      *world
	ledger *groupLedger
	name   string // also its member id
	rng    *rand.Rand

	owned []int32   // partitions that it believes to have; guarded by the ledger's mu
	lease time.Time // until when; guarded by the ledger's mu

	epoch      int64
	acked      int64 // the epoch that it named last
	assignment []int32
	positions  map[int32]int64
	pending    map[int32]int64 // to commit
}

type (
	groupAnswer struct {
		Status     int             `json:"-"`
		Code       string          `json:"code"`
		Committed  bool            `json:"committed"`
		Epoch      int64           `json:"epoch"`
		Assignment []groupTopics   `json:"assignment"`
		Partitions []groupReadPart `json:"partitions"`
	}
	groupTopics struct {
		Topic      string  `json:"topic"`
		Partitions []int32 `json:"partitions"`
	}
	groupReadPart struct {
		Partition int32 `json:"partition"`
		Records   []struct {
			Offset int64  `json:"offset"`
			Value  string `json:"value"`
		} `json:"records"`
		Next    int64           `json:"next_offset"`
		Problem json.RawMessage `json:"problem"`
	}
	groupPosition struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
	}
)

func (a groupAnswer) assigned() []int32 {
	var partitions []int32
	for _, t := range a.Assignment {
		partitions = append(partitions, t.Partitions...)
	}
	return partitions
}

// run lives until ctx ends, which it does not notice beforehand: as if killed.
func (g *groupProcess) run(ctx context.Context) {
	g.ledger.begin(g)
	defer g.ledger.end(g)
	for ctx.Err() == nil {
		if g.join(ctx) {
			g.consume(ctx)
		}
	}
}

func (g *groupProcess) pause(ctx context.Context) {
	select {
	case <-time.After(time.Duration(50+g.rng.IntN(200)) * time.Millisecond):
	case <-ctx.Done():
	}
}

// ask sends a request; an answer of status 0 is none.
func (g *groupProcess) ask(ctx context.Context, path string, body map[string]any) groupAnswer {
	text, err := json.Marshal(body)
	if err != nil {
		g.w.t.Error(err)
	}
	url := g.w.load.Nodes[g.rng.IntN(len(g.w.load.Nodes))] + "/v1/groups/g/members" + path
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		g.w.t.Error(err)
		return groupAnswer{}
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := g.w.client.Do(request)
	if err != nil {
		return groupAnswer{}
	}
	defer response.Body.Close()
	var a groupAnswer
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		return groupAnswer{}
	}
	a.Status = response.StatusCode
	g.ledger.told(fmt.Sprint(a.Status, " ", a.Code))
	return a
}

// join begins anew, with nothing: what it is told is its own once a poll under that
// epoch was answered.
func (g *groupProcess) join(ctx context.Context) bool {
	g.ledger.own(g, nil, time.Time{})
	g.positions, g.pending = map[int32]int64{}, map[int32]int64{}
	a := g.ask(ctx, "", map[string]any{
		"topics": []string{groupTopic}, "member_id": g.name, "session_timeout_ms": sessionTimeout.Milliseconds(),
	})
	if ctx.Err() != nil || a.Status/100 != 2 {
		g.pause(ctx)
		return false
	}
	g.epoch, g.acked, g.assignment = a.Epoch, a.Epoch, a.assigned()
	return true
}

// consume polls until the member is fenced.
func (g *groupProcess) consume(ctx context.Context) {
	for ctx.Err() == nil {
		if g.acked != g.epoch {
			g.ledger.keep(g, g.assignment)
			g.acked = g.epoch
		}
		sent := time.Now()
		a := g.ask(ctx, "/"+g.name+":poll", map[string]any{
			"epoch": g.epoch, "commit": offsetList(g.pending), "positions": offsetList(g.positions),
			"max_wait_ms": 1000, "max_bytes": 2000,
		})
		switch {
		case ctx.Err() != nil:
			return
		case a.Status == http.StatusOK || a.Status == http.StatusMultiStatus:
			g.ledger.own(g, g.assignment, sent.Add(sessionTimeout))
			clear(g.pending)
			if time.Since(sent) < sessionTimeout {
				g.work(ctx, a, sent)
			} else {
				clear(g.positions) // the answer came too late to be used
			}
		case a.Code == "rebalance_in_progress":
			g.epoch, g.assignment = a.Epoch, a.assigned()
			// A commit that was not carried out is not repeated. What it was about
			// is read again.
			for p := range g.pending {
				if !a.Committed {
					delete(g.positions, p)
				}
			}
			clear(g.pending)
			for p := range g.positions {
				if !slices.Contains(g.assignment, p) {
					delete(g.positions, p)
				}
			}
		case a.Code == "member_fenced":
			return
		default: // nobody knows; the same again
			g.pause(ctx)
		}
	}
}

// work processes an answer's records, which may take longer than the lease.
func (g *groupProcess) work(ctx context.Context, a groupAnswer, sent time.Time) {
	for _, part := range a.Partitions {
		if part.Problem != nil {
			continue // damage on the way from the store, or the store is away
		}
		for _, r := range part.Records {
			if ctx.Err() != nil {
				return
			}
			switch g.rng.IntN(400) {
			case 0: // stuck, and back when others have its partitions
				time.Sleep(2 * sessionTimeout)
			case 1, 2, 3, 4, 5, 6, 7, 8:
				time.Sleep(time.Duration(g.rng.IntN(400)) * time.Millisecond)
			}
			if time.Since(sent) >= sessionTimeout {
				clear(g.positions) // what is not done yet is read again
				return
			}
			if ctx.Err() != nil {
				return
			}
			g.ledger.process(g, part.Partition, r.Offset, r.Value)
			g.pending[part.Partition], g.positions[part.Partition] = r.Offset+1, r.Offset+1
		}
		g.positions[part.Partition] = part.Next
	}
}

func offsetList(offsets map[int32]int64) []groupPosition {
	list := []groupPosition{}
	for p, offset := range offsets {
		list = append(list, groupPosition{groupTopic, p, offset})
	}
	slices.SortFunc(list, func(a, b groupPosition) int { return int(a.Partition - b.Partition) })
	return list
}
