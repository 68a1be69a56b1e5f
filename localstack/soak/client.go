package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// client sends requests to nodes and lets the model judge the answers.
type client struct {
	http  *http.Client
	model *Model
}

// reply is what a node said; status 0 says that nothing is known of it.
type reply struct {
	status int
	body   []byte
	unsent bool // the request did not reach anybody
}

// problem is the part of an error that matters here.
type problem struct {
	Code          string `json:"code"`
	Retryable     bool   `json:"retryable"`
	NoSideEffects bool   `json:"no_side_effects"`
	Start         *int64 `json:"log_start_offset"`
	End           *int64 `json:"high_watermark"`
}

// answerBytesMax bounds what is read of an answer.
const answerBytesMax = 64 << 20

func (c *client) do(ctx context.Context, method, url string, body any) reply {
	response, err := c.open(ctx, method, url, "application/json", body)
	if err != nil {
		var op *net.OpError
		return reply{unsent: errors.As(err, &op) && op.Op == "dial"}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return reply{}
	}
	return reply{status: response.StatusCode, body: text}
}

func (c *client) open(ctx context.Context, method, url, accept string, body any) (*http.Response, error) {
	var text io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, text)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", accept)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return c.http.Do(request)
}

// problemOf reads an error. One that is neither of those that say something of
// the log nor one that passes is a finding.
func (c *client) problemOf(what string, r reply) problem {
	var p problem
	if err := json.Unmarshal(r.body, &p); err != nil {
		c.model.Find("%s: status %d: %v: %.200s", what, r.status, err, r.body)
		return p
	}
	switch {
	case p.Retryable, p.Code == "topic_not_found", p.Code == "offset_below_start", p.Code == "acks_one_not_offered":
	case p.Code == codeCorrupt: // for the caller
	default:
		c.model.Find("%s: status %d: %.300s", what, r.status, r.body)
	}
	return p
}

// codeCorrupt says that records cannot be served: what the store spoils on the way
// several times in a row looks like damage.
const codeCorrupt = "corrupt_data"

func partitionURL(q Question) string {
	return fmt.Sprintf("%s/v1/topics/%s/partitions/%d", q.Node, q.Topic, q.Partition)
}

// produce sends records to one partition.
func (c *client) produce(ctx context.Context, node, name string, number int32, timestamps []int64, sizes []int, acksOne bool) {
	q := c.model.Ask(node, name, number, 0)
	sent := c.model.Sending(name, number, timestamps, sizes)
	type out struct {
		Value     string `json:"value"`
		Timestamp int64  `json:"timestamp"`
	}
	var records []out
	for i, v := range sent.Values() {
		records = append(records, out{v, timestamps[i]})
	}
	url := partitionURL(q) + "/records"
	if acksOne {
		url += "?acks=1"
	}
	r := c.do(ctx, http.MethodPost, url, map[string]any{"records": records})
	switch {
	case r.unsent:
		sent.Refused()
	case r.status == 0: // it may be in the log, or get there
	case r.status == http.StatusAccepted:
		sent.Promised()
	case r.status == http.StatusOK:
		var told struct {
			Results []struct {
				Base int64 `json:"base_offset"`
			} `json:"results"`
		}
		if err := json.Unmarshal(r.body, &told); err != nil || len(told.Results) != 1 {
			c.model.Find("%s: produce: %.200s", node, r.body)
			return
		}
		sent.Acked(told.Results[0].Base)
	default:
		p := c.problemOf(node+": produce to "+name, r)
		if p.NoSideEffects {
			sent.Refused()
		}
		if r.status == http.StatusNotFound {
			c.model.NotFound(q)
		}
	}
}

// outcome is what became of a fetch.
type outcome uint8

const (
	nothing  outcome = iota // nothing was learned
	served                  // records, or none yet
	below                   // 410
	above                   // 416
	notFound                // 404
	corrupt                 // what is stored seems to be damaged
	wrong                   // the model does not agree
)

// fetch asks for records, and returns where to go on: after what was served, or at
// the bound that is next to an offset out of range.
func (c *client) fetch(ctx context.Context, q Question, maxRecords int, wait time.Duration) (next int64, o outcome) {
	url := partitionURL(q) + "/records?offset=" + strconv.FormatInt(q.Offset, 10) + "&max_records=" + strconv.Itoa(maxRecords)
	if wait > 0 {
		url += "&max_wait_ms=" + strconv.FormatInt(wait.Milliseconds(), 10)
	}
	if q.Until >= 0 {
		url += "&until=" + strconv.FormatInt(q.Until, 10)
	}
	r := c.do(ctx, http.MethodGet, url, nil)
	return c.fetched(q, r)
}

func (c *client) fetched(q Question, r reply) (next int64, o outcome) {
	switch r.status {
	case 0:
		return q.Offset, nothing
	case http.StatusOK:
		var a Records
		if err := json.Unmarshal(r.body, &a); err != nil {
			c.model.Find("%s: fetch: %v: %.200s", q.Node, err, r.body)
			return q.Offset, wrong
		}
		return c.judge(q, a)
	}
	return c.failed(q, r)
}

func (c *client) judge(q Question, a Records) (next int64, o outcome) {
	if !c.model.Judge(q, a) {
		return q.Offset, wrong
	}
	return a.Next, served
}

// failed judges an error.
func (c *client) failed(q Question, r reply) (next int64, o outcome) {
	p := c.problemOf(q.Node+": fetch of "+q.Topic, r)
	ok := true
	next = q.Offset
	switch {
	case p.Code == codeCorrupt:
		c.model.Count("reads that stayed corrupt")
		return next, corrupt
	case r.status == http.StatusNotFound:
		o, ok = notFound, c.model.NotFound(q)
	case r.status == http.StatusGone, r.status == http.StatusRequestedRangeNotSatisfiable:
		if p.Start == nil || p.End == nil {
			c.model.Find("%s: status %d without bounds: %.200s", q.Node, r.status, r.body)
			return next, wrong
		}
		if r.status == http.StatusGone {
			next, o, ok = *p.Start, below, c.model.Gone(q, *p.Start, *p.End)
		} else {
			next, o, ok = *p.End, above, c.model.Above(q, *p.Start, *p.End)
		}
	}
	if !ok {
		o = wrong
	}
	return next, o
}

// fetchMany asks for records of several partitions at once.
func (c *client) fetchMany(ctx context.Context, qs []Question, wait time.Duration) (next []int64, outcomes []outcome) {
	type part struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
	}
	var parts []part
	for _, q := range qs {
		next = append(next, q.Offset)
		outcomes = append(outcomes, nothing)
		parts = append(parts, part{q.Topic, q.Partition, q.Offset})
	}
	r := c.do(ctx, http.MethodPost, qs[0].Node+"/v1/fetch", map[string]any{"partitions": parts, "max_bytes": 64 << 10, "max_wait_ms": wait.Milliseconds()})
	type answer struct {
		Records
		Topic     string          `json:"topic"`
		Partition int32           `json:"partition"`
		Problem   json.RawMessage `json:"problem"`
	}
	var told struct {
		Partitions []answer `json:"partitions"`
		Failed     []answer `json:"failed"`
		Status     int      `json:"status"`
	}
	if r.status == 0 {
		return next, outcomes
	}
	if err := json.Unmarshal(r.body, &told); err != nil {
		c.model.Find("%s: fetch of many: %v: %.200s", qs[0].Node, err, r.body)
		return next, outcomes
	}
	filled := 0
	for _, a := range told.Partitions {
		if len(a.Records.Records) > 0 {
			filled++
		}
	}
	for _, a := range append(told.Partitions, told.Failed...) {
		for i, q := range qs {
			if q.Topic != a.Topic || q.Partition != a.Partition {
				continue
			}
			q.Shared = filled > 0
			if a.Problem == nil {
				next[i], outcomes[i] = c.judge(q, a.Records)
				continue
			}
			var s struct {
				Status int `json:"status"`
			}
			if err := json.Unmarshal(a.Problem, &s); err != nil {
				c.model.Find("%s: fetch of many: %v: %.200s", q.Node, err, r.body)
			}
			next[i], outcomes[i] = c.failed(q, reply{status: s.Status, body: a.Problem})
		}
	}
	if len(told.Partitions)+len(told.Failed) == 0 {
		c.problemOf(qs[0].Node+": fetch of many", r)
	}
	return next, outcomes
}

// bounds asks for the bounds of a partition.
func (c *client) bounds(ctx context.Context, q Question) (start, end int64, o outcome) {
	r := c.do(ctx, http.MethodGet, partitionURL(q)+"/offsets", nil)
	switch r.status {
	case 0:
		return 0, 0, nothing
	case http.StatusOK:
		var told struct {
			Start int64 `json:"start"`
			End   int64 `json:"end"`
		}
		if err := json.Unmarshal(r.body, &told); err != nil {
			c.model.Find("%s: offsets: %v: %.200s", q.Node, err, r.body)
		}
		if !c.model.Bounds(q, told.Start, told.End) {
			return 0, 0, wrong
		}
		return told.Start, told.End, served
	}
	_, o = c.failed(q, r)
	return 0, 0, o
}

// trim asks for a log start, once.
func (c *client) trim(ctx context.Context, q Question) reply {
	c.model.Trimming(q)
	r := c.do(ctx, http.MethodDelete, partitionURL(q)+"/records?before="+strconv.FormatInt(q.Offset, 10), nil)
	if r.status == http.StatusOK {
		var told struct {
			Start int64 `json:"log_start_offset"`
		}
		if err := json.Unmarshal(r.body, &told); err != nil {
			c.model.Find("%s: trim: %v: %.200s", q.Node, err, r.body)
		}
		c.model.Trimmed(q, told.Start)
	}
	return r
}
