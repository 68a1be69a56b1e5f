package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
)

const partitionRecords = "/v1/topics/t/partitions/0/records"

func TestIdempotence(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	got := decode(t, a.want(200, a.do("POST", "/v1/producers", "")).body)
	id := fmt.Sprintf("%.0f", got["producer_id"])
	if got["epoch"] != 0.0 {
		t.Fatalf("answer %v", got)
	}
	send := func(epoch, seq, body string) answer {
		return a.do("POST", partitionRecords, body, "Content-Type", typeJSON, "Producer-Id", id, "Producer-Epoch", epoch, "Producer-Seq", seq)
	}
	three := `{"records":[{"value":"a","timestamp":1},{"value":"b","timestamp":1},{"value":"c","timestamp":1}]}`
	one := `{"records":[{"value":"d","timestamp":1}]}`
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":0,"count":3,"timestamp":1}]}`, send("0", "0", three))
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":3,"count":1,"timestamp":1}]}`, send("0", "3", one))
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":0,"count":3,"timestamp":1,"duplicate":true}]}`, send("0", "0", three))
	gap := send("0", "9", one)
	p := a.wantProblem(409, "out_of_order_sequence", gap)
	if gap.header.Get("Producer-Expected-Seq") != "4" || p["expected_seq"] != 4.0 {
		t.Fatalf("gap answered %v, %s", gap.header, gap.body)
	}
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":4,"count":1,"timestamp":1}]}`, send("1", "0", one))
	a.wantProblem(403, "producer_fenced", send("0", "4", one))
	a.wantJSON(200, `{"start":0,"end":5}`, a.do("GET", "/v1/topics/t/partitions/0/offsets", ""))
}

func TestExpectedOffset(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	a.want(200, a.do("POST", partitionRecords, "a", "Expected-Offset", "0"))
	p := a.wantProblem(412, "offset_mismatch", a.do("POST", partitionRecords, "b", "Expected-Offset", "0"))
	if p["end_offset"] != 1.0 {
		t.Fatalf("problem %v", p)
	}
	a.want(200, a.do("POST", partitionRecords, "b", "Expected-Offset", "1"))
}

func TestAutoCreate(t *testing.T) {
	a := newTestAPI(t, func(c *Config) {
		c.AutoCreateTopics = true
		c.DefaultPartitions = 3
	})
	a.want(200, a.do("POST", "/v1/topics/fresh/records", "x"))
	if got := decode(t, a.want(200, a.do("GET", "/v1/topics/fresh", "")).body); got["partitions"] != 3.0 {
		t.Fatalf("topic %v", got)
	}
	a.wantProblem(404, "partition_not_found", a.do("POST", "/v1/topics/fresh2/partitions/3/records", "x"))
	a.wantProblem(404, "topic_not_found", a.do("GET", "/v1/topics/fresh3/partitions/0/records?offset=0", ""))
	a.wantProblem(400, "invalid_topic_name", a.do("POST", "/v1/topics/%2e/records", "x"))
}

// A topic that was deleted and created anew behind this node's back is found again.
func TestProduceFollowsARecreatedTopic(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	tries := 0
	a.node.before = func(context.Context, int64, ingest.Options) error {
		if tries++; tries == 1 {
			a.want(http.StatusNoContent, a.do("DELETE", "/v1/topics/t", ""))
			a.topic("1")
			return fmt.Errorf("commit: %w", catalog.ErrTopicNotFound)
		}
		return nil
	}
	a.want(200, a.do("POST", "/v1/topics/t/records", "x"))
	if tries != 2 {
		t.Fatalf("%d tries", tries)
	}
	a.node.before = func(context.Context, int64, ingest.Options) error {
		return fmt.Errorf("commit: %w", catalog.ErrTopicNotFound)
	}
	a.wantProblem(404, "topic_not_found", a.do("POST", "/v1/topics/t/records", "x"))
	a.node.before = nil
}

// The budget is asked before the body is read, and given back after every answer.
func TestBudgetComesFirst(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	a.node.budget = 10_000
	for _, media := range []string{typeJSON, typeNDJSON, typeBatch, "text/plain"} {
		got := a.do("POST", partitionRecords, strings.Repeat("x", 10_001), "Content-Type", media)
		a.wantProblem(503, "overloaded", got)
		if got.header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
		}
	}
	// Without a length the budget is asked as the body comes.
	for _, media := range []string{typeJSON, typeNDJSON, typeBatch, "text/plain"} {
		body := struct{ *strings.Reader }{strings.NewReader(strings.Repeat("x", 200_000))}
		a.wantProblem(503, "overloaded", a.send("POST", partitionRecords, body, "Content-Type", media))
	}
	// Records cost more than their bytes.
	a.wantProblem(503, "overloaded", a.do("POST", partitionRecords, `{"records":[`+strings.Repeat(`{"value":""},`, 300)+`{"value":""}]}`, "Content-Type", typeJSON))
	if a.node.peak > a.node.budget || a.node.reserved != 0 {
		t.Errorf("budget of %d: at most %d were taken, %d are left", a.node.budget, a.node.peak, a.node.reserved)
	}
}

func TestOutcomesOfACommit(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{fmt.Errorf("wait: %w", ingest.ErrOutcomeUnknown), 504, "outcome_unknown"},
		{context.DeadlineExceeded, 503, "timeout"},
		{&ingest.OverloadedError{Reason: "store away", RetryAfter: 1}, 503, "overloaded"},
	} {
		a.node.before = func(context.Context, int64, ingest.Options) error { return c.err }
		p := a.wantProblem(c.status, c.code, a.do("POST", partitionRecords, "x"))
		if p["no_side_effects"] != (c.status == 503) || p["retryable"] != true {
			t.Errorf("%v: %v", c.err, p)
		}
	}
	a.node.before = func(context.Context, int64, ingest.Options) error { panic("our own bug") }
	a.wantProblem(500, "internal", a.do("POST", partitionRecords, "x"))
	a.wantProblem(500, "internal", a.do("POST", partitionRecords, "x", "Content-Type", typeNDJSON))
}
