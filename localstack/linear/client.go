package linear

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Record is one record that was read, or is to be written.
type Record struct {
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset,omitempty"`
	Value     string `json:"value"`
}

// Client sends operations to nodes, one at a time, and notes them in a history.
type Client struct {
	HTTP    *http.Client
	Topic   string
	History *History
	// Unexpected is told of answers that are neither an outcome nor a failure
	// that a client must be ready for.
	Unexpected func(error)

	id    int
	fresh bool // id is this client's
}

// answer is what a node said, or why nothing is known of it.
type answer struct {
	status int
	body   []byte
	err    error
	unsent bool // err says that the request did not reach anybody
}

func (c *Client) do(ctx context.Context, method, address string, header http.Header, body string) answer {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return answer{err: err, unsent: true}
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		var op *net.OpError
		return answer{err: err, unsent: errors.As(err, &op) && op.Op == "dial"}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{err: err}
	}
	return answer{status: response.StatusCode, body: text}
}

// problem is the part of a refusal that matters here.
type problem struct {
	Code          string `json:"code"`
	NoSideEffects bool   `json:"no_side_effects"`
	EndOffset     int64  `json:"end_offset"`
	Expected      int64  `json:"expected_seq"`
	LogStart      int64  `json:"log_start_offset"`
	High          int64  `json:"high_watermark"`
}

// AppendOptions say how an append is sent.
type AppendOptions struct {
	Expected int64 // offset, or None
	Producer int64 // id, or None
	Sequence int64 // of the first record, if there is a producer
	AcksOne  bool
}

// Plain appends have no condition.
func Plain() AppendOptions { return AppendOptions{Expected: None, Producer: None} }

// Append sends records as one request and returns what became of it. Records for
// more than one partition are one operation on each; that they are all there or
// none is for the caller to see to.
func (c *Client) Append(ctx context.Context, node string, records []Record, o AppendOptions) Response {
	var requests []Request
	for _, r := range records {
		i := 0
		for i < len(requests) && requests[i].Partition != r.Partition {
			i++
		}
		if i == len(requests) {
			requests = append(requests, Request{
				Kind: Append, Partition: r.Partition, Expected: o.Expected, Producer: o.Producer, Sequence: o.Sequence,
			})
		}
		requests[i].Records = append(requests[i].Records, DigestOf(r.Value))
	}
	address := fmt.Sprintf("%s/v1/topics/%s/records", node, c.Topic)
	if len(requests) == 1 {
		address = fmt.Sprintf("%s/v1/topics/%s/partitions/%d/records", node, c.Topic, requests[0].Partition)
	}
	if o.AcksOne {
		address += "?acks=1"
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if o.Expected != None {
		header.Set("Expected-Offset", strconv.FormatInt(o.Expected, 10))
	}
	if o.Producer != None {
		header.Set("Producer-Id", strconv.FormatInt(o.Producer, 10))
		header.Set("Producer-Epoch", "0")
		header.Set("Producer-Seq", strconv.FormatInt(o.Sequence, 10))
	}
	body, err := json.Marshal(map[string][]Record{"records": records})
	if err != nil {
		c.Unexpected(err)
		return Response{Outcome: Refused}
	}
	call := c.History.call()
	told := c.do(ctx, http.MethodPost, address, header, string(body))
	var last Response
	for _, r := range requests {
		last = c.appended(told, r.Partition)
		c.note(call, r, last)
	}
	if last.Outcome.open() {
		c.fresh = false
	}
	return last
}

// appended reads the answer to an append for one of its partitions.
func (c *Client) appended(told answer, partition int32) Response {
	if told.err != nil {
		if told.unsent {
			return Response{Outcome: Refused}
		}
		return Response{Outcome: InDoubt}
	}
	switch told.status {
	case http.StatusAccepted:
		return Response{Outcome: Promised}
	case http.StatusOK:
		var body struct {
			Results []struct {
				Partition int32 `json:"partition"`
				Base      int64 `json:"base_offset"`
				Duplicate bool  `json:"duplicate"`
			} `json:"results"`
		}
		if err := json.Unmarshal(told.body, &body); err != nil {
			c.Unexpected(fmt.Errorf("append: %w: %s", err, told.body))
		}
		for _, r := range body.Results {
			if r.Partition == partition {
				return Response{Outcome: Done, Base: r.Base, Duplicate: r.Duplicate}
			}
		}
		c.Unexpected(fmt.Errorf("append: no result for partition %d: %s", partition, told.body))
		return Response{Outcome: InDoubt}
	}
	p := c.problem("append", told)
	switch {
	case told.status == http.StatusPreconditionFailed:
		return Response{Outcome: Mismatch, End: p.EndOffset}
	case p.Code == "out_of_order_sequence":
		return Response{Outcome: OutOfSequence, Due: p.Expected}
	case p.NoSideEffects:
		return Response{Outcome: Refused}
	default:
		return Response{Outcome: InDoubt}
	}
}

// problem reads a refusal, and tells of one that nothing here can cause.
func (c *Client) problem(verb string, told answer) problem {
	var p problem
	if err := json.Unmarshal(told.body, &p); err != nil {
		c.Unexpected(fmt.Errorf("%s: status %d: %w: %s", verb, told.status, err, told.body))
	}
	switch told.status {
	case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		// Reads that the store spoils several times in a row are told from
		// damage by nothing but their passing.
		if p.Code != "out_of_order_sequence" && p.Code != "acks_one_not_offered" && p.Code != "corrupt_data" {
			c.Unexpected(fmt.Errorf("%s: status %d: %s", verb, told.status, told.body))
		}
	}
	return p
}

// Read reads up to maxRecords from an offset on, waiting for the first as long
// as wait. It returns false if nothing was learned.
func (c *Client) Read(ctx context.Context, node string, partition int32, offset int64, maxRecords int, wait time.Duration) ([]Record, Response, bool) {
	query := url.Values{"offset": {strconv.FormatInt(offset, 10)}, "max_records": {strconv.Itoa(maxRecords)}}
	if wait > 0 {
		query.Set("max_wait_ms", strconv.FormatInt(wait.Milliseconds(), 10))
	}
	address := fmt.Sprintf("%s/v1/topics/%s/partitions/%d/records?%s", node, c.Topic, partition, query.Encode())
	r := Request{Kind: Read, Partition: partition, Offset: offset, Max: maxRecords}
	call := c.History.call()
	told := c.do(ctx, http.MethodGet, address, nil, "")
	if told.err != nil {
		return nil, Response{}, false
	}
	if told.status != http.StatusOK {
		p := c.problem("read", told)
		if told.status != http.StatusRequestedRangeNotSatisfiable {
			return nil, Response{}, false
		}
		a := Response{Outcome: OutOfRange, End: p.High}
		c.startsAt0(p.LogStart)
		c.note(call, r, a)
		return nil, a, true
	}
	var body struct {
		Records  []Record `json:"records"`
		Next     int64    `json:"next_offset"`
		High     int64    `json:"high_watermark"`
		LogStart int64    `json:"log_start_offset"`
	}
	if err := json.Unmarshal(told.body, &body); err != nil {
		c.Unexpected(fmt.Errorf("read: %w: %s", err, told.body))
		return nil, Response{}, false
	}
	a := Response{Outcome: Done, High: body.High}
	for i, record := range body.Records {
		if record.Offset != offset+int64(i) {
			c.Unexpected(fmt.Errorf("read from %d: record %d has offset %d", offset, i, record.Offset))
		}
		a.Records = append(a.Records, DigestOf(record.Value))
	}
	if body.Next != offset+int64(len(body.Records)) {
		c.Unexpected(fmt.Errorf("read from %d: %d records, the next offset is %d", offset, len(body.Records), body.Next))
	}
	c.startsAt0(body.LogStart)
	c.note(call, r, a)
	return body.Records, a, true
}

// EndOffset asks for the end offset. It returns false if nothing was learned.
func (c *Client) EndOffset(ctx context.Context, node string, partition int32) (int64, bool) {
	address := fmt.Sprintf("%s/v1/topics/%s/partitions/%d/offsets", node, c.Topic, partition)
	call := c.History.call()
	told := c.do(ctx, http.MethodGet, address, nil, "")
	if told.err != nil {
		return 0, false
	}
	if told.status != http.StatusOK {
		c.problem("end offset", told)
		return 0, false
	}
	var bounds struct {
		Start int64 `json:"start"`
		End   int64 `json:"end"`
	}
	if err := json.Unmarshal(told.body, &bounds); err != nil {
		c.Unexpected(fmt.Errorf("end offset: %w: %s", err, told.body))
		return 0, false
	}
	c.startsAt0(bounds.Start)
	c.note(call, Request{Kind: EndOffset, Partition: partition}, Response{Outcome: Done, End: bounds.End})
	return bounds.End, true
}

// startsAt0 holds the log start, which nothing here moves.
func (c *Client) startsAt0(start int64) {
	if start != 0 {
		c.Unexpected(fmt.Errorf("the log starts at %d", start))
	}
}

func (c *Client) note(call int64, r Request, a Response) {
	if !c.fresh {
		c.id, c.fresh = c.History.newClient(), true
	}
	c.History.add(c.id, call, r, a)
}
