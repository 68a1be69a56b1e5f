package chaos

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// reply is what a node that exists only in a test answers.
type reply struct {
	status int
	body   string
	next   int64 // Wadi-Next-Offset, of batches
}

func gone(start, end int64) reply {
	return reply{status: 410, body: fmt.Sprintf(`{"code":"offset_below_start","log_start_offset":%d,"high_watermark":%d}`, start, end)}
}

var (
	aboveEnd = reply{status: 416, body: `{"code":"offset_above_end","retryable":true,"no_side_effects":true,"log_start_offset":0,"high_watermark":1}`}
	busy     = reply{status: 503, body: `{"code":"overloaded","retryable":true,"no_side_effects":true}`}
	internal = reply{status: 500, body: `{"code":"internal"}`}
	missing  = reply{status: 404, body: `{"code":"topic_not_found","no_side_effects":true}`}
	empty    = reply{status: 200, next: 4}
)

// batchOf is an answer with one batch of records at an offset.
func batchOf(t *testing.T, run string, offset int64, text string) reply {
	var records []recordbatch.Record
	for _, id := range ids(text) {
		records = append(records, recordbatch.Record{Timestamp: 1, Value: appendValue(nil, run, id, 3)})
	}
	batch, err := recordbatch.Append(nil, records, recordbatch.None, recordbatch.NoProducer)
	if err != nil {
		t.Fatal(err)
	}
	recordbatch.PatchBaseOffset(batch, recordbatch.Offset(offset))
	return reply{status: 200, body: string(batch), next: offset + int64(len(records))}
}

// scripted is a workload whose only node answers every request alike.
func scripted(t *testing.T, r reply) (*workload, *client) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Wadi-Next-Offset", strconv.FormatInt(r.next, 10))
		w.WriteHeader(r.status)
		_, _ = w.Write([]byte(r.body))
	}))
	t.Cleanup(server.Close)
	node := &client{name: "node-1", url: server.URL, http: server.Client()}
	found := NewFindings()
	w := &workload{
		LoadConfig: LoadConfig{Partitions: 2}, topic: topic{run: "run", name: "t", partitions: 2}, balancer: node,
		found: found, observed: NewObserved(2, found), bounds: NewBounds(2, found), stats: newStats(),
		finishing: make(chan struct{}), readBacks: make(chan readBack, readBacksMax),
	}
	return w, node
}

// mustFind compares what was found with one promise, or with nothing.
func mustFind(t *testing.T, w *workload, promise string) {
	t.Helper()
	broken := w.found.Broken()
	if promise == "" && broken != nil || promise != "" && !slices.Contains(broken, promise) {
		t.Errorf("expected %q broken, found %v", promise, w.found.List())
	}
}

// TestConsumerJudges: position 4, end known to be 6 where said so, trimmed to 5 at most.
func TestConsumerJudges(t *testing.T) {
	flipped := batchOf(t, "run", 4, "a4 a5")
	flipped.body = flipped.body[:len(flipped.body)-3] + "x" + flipped.body[len(flipped.body)-2:]
	shifted := batchOf(t, "run", 4, "a4 a5")
	shifted.next++
	torn := batchOf(t, "run", 4, "a4 a5")
	torn.body += batchOf(t, "run", 7, "a6").body
	torn.next = 7
	for name, c := range map[string]struct {
		reply    reply
		end      int64
		promise  string
		position int64
	}{
		"records":                     {batchOf(t, "run", 4, "a4 a5"), 6, "", 6},
		"a batch that begins before":  {batchOf(t, "run", 2, "a2 a3 a4 a5"), 6, "", 6},
		"nothing yet":                 {empty, 4, "", 4},
		"nothing, and there is":       {empty, 6, visible, 4},
		"a gap":                       {batchOf(t, "run", 5, "a5 a6"), 6, dense, 4},
		"a gap between batches":       {torn, 6, dense, 4},
		"next offset is beyond":       {shifted, 6, dense, 4},
		"of another run":              {batchOf(t, "ruin", 4, "a4 a5"), 6, phantom, 4},
		"a changed byte":              {flipped, 6, answers, 4},
		"above the end":               {aboveEnd, 6, visible, 4},
		"trimmed":                     {gone(5, 6), 6, "", 5},
		"trimmed beyond what was due": {gone(6, 6), 6, lost, 4},
		"gone and not gone":           {gone(4, 6), 6, trimmed, 4},
		"gone without bounds":         {reply{status: 410, body: `{"code":"offset_below_start"}`}, 6, trimmed, 4},
		"busy":                        {busy, 6, "", 4},
		"failed":                      {internal, 6, answers, 4},
		"no such topic":               {missing, 6, answers, 4},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := scripted(t, c.reply)
			w.bounds.Ask(0, 5)
			w.bounds.Acknowledged(0, c.end)
			consumer := &consumer{workload: w, partition: 0}
			consumer.position.Store(4)
			consumer.step(t.Context(), false)
			mustFind(t, w, c.promise)
			if got := consumer.position.Load(); got != c.position {
				t.Errorf("goes on at %d, not %d", got, c.position)
			}
		})
	}
}

func TestConsumerReadsText(t *testing.T) {
	value := string(appendValue(nil, "run", RecordID{0, 4}, 3))
	text := func(offset, next int) reply {
		return reply{status: 200, body: fmt.Sprintf(`{"records":[{"offset":%d,"timestamp":1,"value":%q}],"next_offset":%d}`, offset, value, next)}
	}
	for name, c := range map[string]struct {
		reply   reply
		promise string
	}{"good": {text(4, 5), ""}, "a gap": {text(5, 6), dense}, "wrong next": {text(4, 6), dense}} {
		w, _ := scripted(t, c.reply)
		consumer := &consumer{workload: w, partition: 0}
		consumer.position.Store(4)
		consumer.step(t.Context(), true)
		mustFind(t, w, c.promise)
		if id, ok := w.observed.At(0, 4); c.promise == "" && (!ok || id != RecordID{0, 4}) {
			t.Errorf("%s: observed %v, %v", name, id, ok)
		}
	}
	// The same record has the same digest in both forms.
	w, _ := scripted(t, text(4, 5))
	w.observed.Add(0, "node-2", []Record{{Offset: 4, ID: RecordID{0, 4}, Digest: digestOf(1, []byte(value))}})
	consumer := &consumer{workload: w, partition: 0}
	consumer.position.Store(4)
	consumer.step(t.Context(), true)
	mustFind(t, w, "")
}

// TestConfirmJudges: a4 was acknowledged at offset 4.
func TestConfirmJudges(t *testing.T) {
	for name, c := range map[string]struct {
		reply   reply
		asked   int64 // of trims
		promise string
	}{
		"there":              {batchOf(t, "run", 4, "a4"), 0, ""},
		"another":            {batchOf(t, "run", 4, "a5"), 0, visible},
		"nothing":            {empty, 0, visible},
		"above the end":      {aboveEnd, 0, visible},
		"trimmed":            {gone(5, 6), 5, ""},
		"gone without trims": {gone(5, 6), 0, visible},
		"busy":               {busy, 0, ""},
		"no such topic":      {missing, 0, visible},
	} {
		t.Run(name, func(t *testing.T) {
			w, node := scripted(t, c.reply)
			w.bounds.Ask(0, c.asked)
			w.confirm(t.Context(), node, readBack{partition: 0, offset: 4, id: RecordID{0, 4}})
			mustFind(t, w, c.promise)
		})
	}
}

// TestBelowStartJudges: everything below 5 is trimmed away for long.
func TestBelowStartJudges(t *testing.T) {
	for name, c := range map[string]struct {
		reply   reply
		promise string
	}{
		"gone":          {gone(5, 9), ""},
		"served":        {batchOf(t, "run", 4, "a4"), trimmed},
		"empty":         {empty, trimmed},
		"above the end": {aboveEnd, trimmed},
		"no bounds":     {reply{status: 410, body: "{}"}, trimmed},
		"busy":          {busy, ""},
		"failed":        {internal, trimmed},
	} {
		t.Run(name, func(t *testing.T) {
			w, node := scripted(t, c.reply)
			w.bounds.Ask(0, 5)
			w.askBelowStart(t.Context(), node, 0, 4)
			mustFind(t, w, c.promise)
		})
	}
}

// TestProducerJudges sends one request of an idempotent producer and of one with
// acks=1 to a node that always answers alike.
func TestProducerJudges(t *testing.T) {
	ack := reply{status: 200, body: `{"results":[{"partition":0,"base_offset":4,"count":2}]}`}
	fewer := reply{status: 200, body: `{"results":[{"partition":0,"base_offset":4,"count":1}]}`}
	fenced := reply{status: 403, body: `{"code":"producer_fenced","no_side_effects":true}`}
	gap := reply{status: 409, body: `{"code":"out_of_order_sequence","no_side_effects":true}`}
	unclear := reply{status: 504, body: `{"code":"outcome_unknown","retryable":true}`}
	elsewhere := reply{status: 400, body: `{"code":"acks_one_not_offered","no_side_effects":true}`}
	for name, c := range map[string]struct {
		kind    Kind
		reply   reply
		outcome Outcome
		goesOn  bool
		promise string
	}{
		"acknowledged":               {Idempotent, ack, Acked, true, ""},
		"for fewer records":          {Idempotent, fewer, Acked, true, answers},
		"fenced":                     {Idempotent, fenced, Unknown, false, answers},
		"gap":                        {Idempotent, gap, Unknown, false, answers},
		"failed":                     {Idempotent, internal, Unknown, false, answers},
		"plain, busy":                {PlainAll, busy, NoEffect, true, ""},
		"plain, unknown":             {PlainAll, unclear, Unknown, true, ""},
		"plain, no node of balancer": {PlainAll, reply{status: 502, body: "<html>"}, Unknown, true, ""},
		"acks=1 elsewhere":           {PlainOne, elsewhere, NoEffect, true, ""},
		"acks=1":                     {PlainOne, reply{status: 202, body: `{"results":[{"partition":0,"count":2}]}`}, Acked, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := scripted(t, c.reply)
			file := filepath.Join(t.TempDir(), "ledger")
			var err error
			if w.ledger, err = NewLedger(file); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var running errgroup.Group
			running.Go(func() error { return w.ledger.Run(ctx) })
			events := []event{
				{Type: runEvent, Version: ledgerVersion, Run: "run", Partitions: 2}, {Type: producerEvent, Kind: c.kind},
				{Type: sentEvent, Request: 1, Parts: []Part{{Partition: 0, Seq: 0, Count: 2}}},
			}
			for _, e := range events {
				if err := w.ledger.Note(e); err != nil {
					t.Fatal(err)
				}
			}
			p := &producer{workload: w, kind: c.kind}
			goesOn, err := p.deliver(t.Context(), &Request{Number: 1, Parts: events[2].Parts}, sending{path: "/"})
			if err != nil || goesOn != c.goesOn {
				t.Errorf("goes on: %v, %v", goesOn, err)
			}
			mustFind(t, w, c.promise)
			cancel()
			if err := running.Wait(); err != nil {
				t.Fatal(err)
			}
			h, err := (&bench{ledgerFile: file}).readLedger()
			if err != nil || h.Requests[0].Outcome != c.outcome {
				t.Errorf("the ledger says %+v, %v", h.Requests[0], err)
			}
			if end := w.bounds.Floor(0, time.Now()).End; c.reply == ack && end != 6 {
				t.Errorf("the end is known to be %d", end)
			}
		})
	}
}

// TestAuditJudges reads a partition of three records from a node that tells bounds.
func TestAuditJudges(t *testing.T) {
	h := &History{
		Partitions: 1, Producers: []Kind{Idempotent}, TrimAsked: map[int32]int64{},
		Requests: []*Request{{Number: 1, Parts: []Part{{Count: 3}}, Outcome: Acked, Bases: []int64{0}}},
	}
	for name, c := range map[string]struct {
		end     int64
		records string
		promise string
	}{
		"all":            {3, "a0 a1 a2", ""},
		"out of order":   {3, "a0 a2 a1", atomicity},
		"one too many":   {4, "a0 a1 a2 a3", phantom},
		"one end short":  {2, "a0 a1", visible}, // 3 are acknowledged
		"other at place": {3, "a1 a0 a2", visible},
	} {
		t.Run(name, func(t *testing.T) {
			batch := batchOf(t, "run", 0, c.records)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/offsets") {
					_, _ = fmt.Fprintf(w, `{"start":0,"end":%d}`, c.end)
					return
				}
				w.Header().Set("Wadi-Next-Offset", strconv.FormatInt(batch.next, 10))
				_, _ = w.Write([]byte(batch.body))
			}))
			defer server.Close()
			found := NewFindings()
			w := &workload{
				LoadConfig: LoadConfig{Partitions: 1}, topic: topic{run: "run", name: "t", partitions: 1},
				found: found, observed: NewObserved(1, found), bounds: NewBounds(1, found), stats: newStats(),
			}
			w.bounds.Acknowledged(0, 3)
			logs := make([]PartitionLog, 1)
			if err := w.readAll(t.Context(), &client{name: "node-1", url: server.URL, http: server.Client()}, logs); err != nil {
				t.Fatal(err)
			}
			Check(h, logs, found)
			mustFind(t, w, c.promise)
		})
	}
}
