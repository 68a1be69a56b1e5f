package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// fakeLog answers requests without a network. What becomes of a batch is
// decided by the real state machine of the catalog; what goes wrong on the way, by
// the test.
type fakeLog struct {
	// fault decides what goes wrong with the n-th request to produce, from 1.
	fault func(n int) fault
	// hosts that cannot be reached, and those that send everybody away.
	unreachable, unwilling map[string]bool

	late sync.WaitGroup // requests that land after their answer

	mu       sync.Mutex
	state    *catalog.State
	node     catalog.NodeID
	number   uint64
	batches  map[catalog.TopicPartition][][]byte // with their offsets
	produced int
	underWay map[string]int // requests to produce, by path
	peak     int            // of underWay
	hosts    []string       // of requests, in their order
	auto     bool           // creates topics
}

// fault is what goes wrong with one request to produce.
type fault struct {
	kind  faultKind
	delay time.Duration // before anything else happens
	late  time.Duration // until a request lands that was answered before
}

type faultKind uint8

const (
	faultNone      faultKind = iota
	faultRefused             // no connection
	faultReset               // no effect, connection closed
	faultLost                // effect, connection closed
	faultLate                // connection closed, effect later
	faultBusy                // no effect, 503 with Retry-After
	faultTimeout             // no effect, 504
	faultTaken               // effect, 504
	faultLate504             // 504, effect later
	faultGateway             // no effect, 502 in HTML
	faultBroken              // effect, 500 without a word about repeats
	faultHang                // no answer until the client gives up, effect later
	faultNonsense            // effect, an answer that is cut short
	faultForbidden           // no effect, 413 of a proxy
)

func newFakeLog() *fakeLog {
	l := &fakeLog{
		state: catalog.NewState([16]byte{1}), node: uuid.New(),
		batches: map[catalog.TopicPartition][][]byte{}, underWay: map[string]int{},
	}
	catalog.Apply(l.state, catalog.RaiseLevel{Level: catalog.FeatureLevel})
	catalog.Apply(l.state, catalog.RegisterNode{Node: l.node})
	return l
}

// client returns a Client of the log that is closed when the test ends.
func (l *fakeLog) client(t testing.TB, servers ...string) *Client {
	t.Helper()
	if servers == nil {
		servers = []string{"http://one"}
	}
	c, err := New(Config{Servers: servers, HTTPClient: &http.Client{Transport: l}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (l *fakeLog) create(name string, partitions int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.apply(catalog.CreateTopic{ID: uuid.New(), Name: name, Partitions: partitions, Config: catalog.DefaultTopicConfig()})
}

func (l *fakeLog) remove(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	topic, _ := l.state.TopicByName(name)
	l.apply(catalog.DeleteTopic{ID: topic.ID})
}

// apply wants mu held.
func (l *fakeLog) apply(e catalog.Edit) catalog.Result {
	l.state.Advance(time.Now().UnixMilli())
	return catalog.Apply(l.state, e)
}

// records returns what a partition holds.
func (l *fakeLog) records(topic string, partition int32) (all []recordbatch.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, _ := l.state.TopicByName(topic)
	for _, batch := range l.batches[catalog.TopicPartition{Topic: t.ID, Partition: partition}] {
		records, err := recordbatch.Decode(batch, decompressedBytesMax)
		if err != nil {
			panic(err)
		}
		all = append(all, records...)
	}
	return all
}

func reply(r *http.Request, status int, media, body string, header ...string) *http.Response {
	h := http.Header{"Content-Type": {media}}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{
		StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

func replyJSON(r *http.Request, status int, value any) *http.Response {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return reply(r, status, mediaJSON, string(text))
}

func refuse(r *http.Request, status int, code Code, more string, header ...string) *http.Response {
	text := fmt.Sprintf(`{"title":"refused","detail":"refused by the test","code":%q%s}`, string(code), more)
	return reply(r, status, mediaProblem, text, header...)
}

const noEffect = `,"retryable":false,"no_side_effects":true`

// RoundTrip implements http.RoundTripper.
func (l *fakeLog) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.hosts = append(l.hosts, r.URL.Host)
	l.mu.Unlock()
	if l.unreachable[r.URL.Host] {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	if l.unwilling[r.URL.Host] {
		return refuse(r, 503, ErrNotReady, `,"retryable":true,"no_side_effects":true`, "Retry-After", "3"), nil
	}
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(path) == 6 && path[5] == "records" && r.Method == http.MethodPost {
		return l.produce(r, path, body)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.control(r, path, body), nil
}

// control answers what moves no records. The caller holds mu.
func (l *fakeLog) control(r *http.Request, path []string, body []byte) *http.Response {
	if len(path) == 2 && path[1] == "producers" {
		var in struct {
			ID *int64 `json:"producer_id"`
		}
		_ = json.Unmarshal(body, &in) // an empty body is fine
		result := catalog.Result{}
		if in.ID != nil {
			result = l.apply(catalog.RaiseEpoch{Producer: *in.ID})
		} else {
			result = l.apply(catalog.AllocateProducerID{})
		}
		if result.Err != nil {
			return l.refused(r, result.Err)
		}
		return replyJSON(r, 200, map[string]any{"producer_id": result.Producer, "epoch": result.Epoch})
	}
	topic, ok := l.state.TopicByName(path[2])
	if !ok && l.auto && len(path) == 4 {
		l.apply(catalog.CreateTopic{ID: uuid.New(), Name: path[2], Partitions: 2, Config: catalog.DefaultTopicConfig()})
		topic, ok = l.state.TopicByName(path[2])
	}
	if !ok {
		return refuse(r, 404, ErrTopicNotFound, noEffect)
	}
	if len(path) == 4 {
		return refuse(r, 400, ErrNoRecords, noEffect)
	}
	return replyJSON(r, 200, map[string]any{"name": topic.Name, "id": topic.ID.String(), "partitions": topic.Partitions})
}

func (l *fakeLog) refused(r *http.Request, err error) *http.Response {
	var gap *catalog.SequenceError
	switch {
	case errors.As(err, &gap):
		return refuse(r, 409, ErrOutOfOrderSequence, fmt.Sprintf(`,"expected_seq":%d`, gap.Expected)+noEffect)
	case errors.Is(err, catalog.ErrProducerFenced):
		return refuse(r, 403, ErrProducerFenced, noEffect)
	case errors.Is(err, catalog.ErrUnknownProducer):
		return refuse(r, 403, ErrUnknownProducerID, noEffect)
	case errors.Is(err, catalog.ErrTopicNotFound):
		return refuse(r, 404, ErrTopicNotFound, noEffect)
	}
	panic(err)
}

func (l *fakeLog) produce(r *http.Request, path []string, body []byte) (*http.Response, error) {
	partition, err := strconv.Atoi(path[4])
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.produced++
	n := l.produced
	l.underWay[r.URL.Path]++
	l.peak = max(l.peak, l.underWay[r.URL.Path])
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.underWay[r.URL.Path]--
		l.mu.Unlock()
	}()
	var f fault
	if l.fault != nil {
		f = l.fault(n)
	}
	if !sleep(r.Context(), f.delay) {
		return nil, r.Context().Err()
	}
	land := func() *http.Response { return l.land(r, path[2], int32(partition), body) }
	landLater := func() {
		l.late.Go(func() {
			time.Sleep(f.late)
			land()
		})
	}
	lost := io.ErrUnexpectedEOF
	switch f.kind {
	case faultRefused:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	case faultReset:
		return nil, lost
	case faultLost:
		land()
		return nil, lost
	case faultLate:
		landLater()
		return nil, lost
	case faultBusy:
		return refuse(r, 503, ErrOverloaded, `,"retryable":true,"no_side_effects":true`, "Retry-After", "1"), nil
	case faultTimeout:
		return refuse(r, 504, ErrOutcomeUnknown, `,"retryable":true`), nil
	case faultTaken:
		land()
		return refuse(r, 504, ErrOutcomeUnknown, `,"retryable":true`), nil
	case faultLate504:
		landLater()
		return refuse(r, 504, ErrOutcomeUnknown, `,"retryable":true`), nil
	case faultGateway:
		return reply(r, 502, "text/html", "<html>bad gateway</html>"), nil
	case faultBroken:
		land()
		return reply(r, 500, "text/plain", "broken"), nil
	case faultHang:
		<-r.Context().Done()
		landLater()
		return nil, r.Context().Err()
	case faultNonsense:
		land()
		return reply(r, 200, mediaJSON, `{"results":[{"partition":0`), nil
	case faultForbidden:
		return reply(r, 413, "text/html", "<html>too large</html>"), nil
	}
	return land(), nil
}

// land does what a request asks for.
func (l *fakeLog) land(r *http.Request, name string, partition int32, body []byte) *http.Response {
	l.mu.Lock()
	defer l.mu.Unlock()
	header, err := recordbatch.Validate(body, recordbatch.Limits{RecordBytesMax: 64 << 20, BatchBytesMax: 64 << 20, DecompressedBytesMax: 256 << 20})
	if err != nil {
		panic(err)
	}
	topic, ok := l.state.TopicByName(name)
	if !ok {
		return refuse(r, 404, ErrTopicNotFound, noEffect)
	}
	if partition >= topic.Partitions {
		return refuse(r, 404, ErrPartitionNotFound, noEffect)
	}
	tp := catalog.TopicPartition{Topic: topic.ID, Partition: partition}
	result := l.apply(catalog.CommitSegment{
		Node: l.node, After: l.number, Upto: l.number + 1,
		Object: catalog.NewObject{ID: ulid.Make(), Kind: catalog.SegmentObject, Size: int64(len(body)) + 100, IndexPos: catalog.Pos(len(body))},
		Units: []catalog.Unit{{Appends: []catalog.Append{{
			Partition: tp, Len: int64(len(body)), Records: header.RecordCount, MaxTimestamp: header.MaxTimestamp, Expected: catalog.AnyOffset,
			Producer: recordbatch.Producer{ID: header.ProducerID, Epoch: header.ProducerEpoch, BaseSequence: header.BaseSequence},
		}}}},
	})
	if result.Err != nil {
		panic(result.Err)
	}
	l.number++
	if err := result.Units[0].Err; err != nil {
		return l.refused(r, err)
	}
	a := result.Units[0].Appends[0]
	if !a.Duplicate {
		batch := bytes.Clone(body)
		recordbatch.PatchBaseOffset(batch, recordbatch.Offset(a.Base))
		l.batches[tp] = append(l.batches[tp], batch)
	}
	answer := map[string]any{"partition": partition, "count": header.RecordCount}
	status := 202
	if r.URL.Query().Get("acks") == "all" {
		status = 200
		answer["base_offset"], answer["timestamp"], answer["duplicate"] = a.Base, header.MaxTimestamp, a.Duplicate
	}
	return replyJSON(r, status, map[string]any{"results": []any{answer}})
}
