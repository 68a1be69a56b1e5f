package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

const (
	mediaRecordBatch = "application/vnd.kafka.recordbatch.v2"
	mediaProblem     = "application/problem+json"
	mediaJSON        = "application/json"
)

// fakeNode speaks the HTTP API as far as the commands use it, over memory.
type fakeNode struct {
	server   *http.Server
	listener *pipeListener

	mu           sync.Mutex
	topics       map[string]*fakeTopic
	groups       map[string]*fakeGroup
	order        []string
	nextProducer int64
	produced     int // requests to produce
	inFlight     map[int32]int
	overlaps     int // requests to produce to a partition that had one under way
	// fault decides what goes wrong with the n-th request to produce, from 1.
	fault func(n int) fakeFault
	// refuse tells whether the n-th connection is refused, from 1.
	refuse      func(n int) bool
	connections int
	autoCreate  bool
	delay       time.Duration // of each answer to produce
	fetchFault  func(n int) fakeFault
	fetches     int
}

type fakeFault uint8

const (
	faultNone         fakeFault = iota
	faultReset                  // no effect, connection closed
	faultLostAnswer             // effect, connection closed
	faultHalfAnswer             // effect, answer cut short
	faultBusy                   // no effect, 503 with Retry-After
	faultTimeout                // no effect, 504
	faultLateTimeout            // effect, 504
	faultInternal               // effect, 500
	faultBadGateway             // no effect, 502 in HTML
	faultFenced                 // no effect, 403
	faultHang                   // effect, no answer until the client is gone
	faultBusyForWrite           // no effect, 503 with no_side_effects
)

type fakeTopic struct {
	ID         string
	config     map[string]string
	partitions []*fakePartition
}

type fakePartition struct {
	start, end int64
	batches    [][]byte // with offsets patched in
	producers  map[int64]*fakeProducer
}

type fakeProducer struct {
	next   int32
	recent []fakeAppend
}

type fakeAppend struct {
	sequence, count int32
	base            int64
}

func newFakeNode(t *testing.T) *fakeNode {
	t.Helper()
	n := &fakeNode{topics: map[string]*fakeTopic{}, groups: map[string]*fakeGroup{}, nextProducer: 1000, inFlight: map[int32]int{}, listener: newPipeListener()}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/topics/{t}", n.create)
	mux.HandleFunc("PATCH /v1/topics/{t}", n.alter)
	mux.HandleFunc("GET /v1/topics/{t}", n.describe)
	mux.HandleFunc("DELETE /v1/topics/{t}", n.remove)
	mux.HandleFunc("GET /v1/topics", n.list)
	mux.HandleFunc("POST /v1/producers", n.newProducer)
	mux.HandleFunc("GET /v1/topics/{t}/partitions/{p}/offsets", n.offsets)
	mux.HandleFunc("DELETE /v1/topics/{t}/partitions/{p}/records", n.trim)
	mux.HandleFunc("POST /v1/topics/{t}/records", n.produceNothing)
	mux.HandleFunc("POST /v1/topics/{t}/partitions/{p}/records", n.produce)
	mux.HandleFunc("GET /v1/topics/{t}/partitions/{p}/records", n.fetch)
	n.handleGroups(mux)
	n.server = &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.server.Serve(n.listener)
	}()
	t.Cleanup(func() {
		_ = n.server.Close()
		<-done
	})
	return n
}

// dial connects to the node without a network.
func (n *fakeNode) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.connections++
	refused := n.refuse != nil && n.refuse(n.connections)
	n.mu.Unlock()
	if refused {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
	}
	return n.listener.dial(ctx)
}

func (n *fakeNode) topic(name string, partitions int) *fakeTopic {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.topicLocked(name, partitions)
}

func (n *fakeNode) topicLocked(name string, partitions int) *fakeTopic {
	topic := &fakeTopic{ID: fmt.Sprintf("id-%d", len(n.order)), config: map[string]string{}}
	for range partitions {
		topic.partitions = append(topic.partitions, &fakePartition{producers: map[int64]*fakeProducer{}})
	}
	n.topics[name] = topic
	n.order = append(n.order, name)
	return topic
}

// count reads one of the node's counters.
func (n *fakeNode) count(counter *int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return *counter
}

func reject(w http.ResponseWriter, status int, code string, more string) {
	w.Header().Set("Content-Type", mediaProblem)
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"type":"about:blank","title":%q,"status":%d,"detail":"refused by the test","code":%q%s}`,
		http.StatusText(status), status, code, more)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", mediaJSON)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (t *fakeTopic) info(name string) map[string]any {
	return map[string]any{"name": name, "id": t.ID, "partitions": len(t.partitions), "config": t.config}
}

type fakeChange struct {
	Partitions int
	Config     map[string]any
}

func (c fakeChange) apply(t *fakeTopic) {
	for len(t.partitions) < c.Partitions {
		t.partitions = append(t.partitions, &fakePartition{producers: map[int64]*fakeProducer{}})
	}
	for key, value := range c.Config {
		t.config[key] = fmt.Sprint(value)
	}
}

func (n *fakeNode) create(w http.ResponseWriter, r *http.Request) {
	var change fakeChange
	if json.NewDecoder(r.Body).Decode(&change) != nil {
		reject(w, 400, "malformed_body", "")
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	name := r.PathValue("t")
	if topic := n.topics[name]; topic != nil {
		if len(topic.partitions) != change.Partitions {
			reject(w, 409, "topic_exists", "")
			return
		}
		answer(w, 200, topic.info(name))
		return
	}
	topic := n.topicLocked(name, change.Partitions)
	change.apply(topic)
	answer(w, 201, topic.info(name))
}

// find returns the topic and partition of a request, or rejects it.
func (n *fakeNode) find(w http.ResponseWriter, r *http.Request) (*fakeTopic, *fakePartition) {
	topic := n.topics[r.PathValue("t")]
	if topic == nil {
		reject(w, 404, "topic_not_found", "")
		return nil, nil
	}
	if r.PathValue("p") == "" {
		return topic, nil
	}
	p, err := strconv.Atoi(r.PathValue("p"))
	if err != nil || p < 0 || p >= len(topic.partitions) {
		reject(w, 404, "partition_not_found", "")
		return nil, nil
	}
	return topic, topic.partitions[p]
}

func (n *fakeNode) alter(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var change fakeChange
	if topic, _ := n.find(w, r); topic != nil && json.NewDecoder(r.Body).Decode(&change) == nil {
		change.apply(topic)
		answer(w, 200, topic.info(r.PathValue("t")))
	}
}

func (n *fakeNode) describe(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if topic, _ := n.find(w, r); topic != nil {
		answer(w, 200, topic.info(r.PathValue("t")))
	}
}

func (n *fakeNode) remove(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if topic, _ := n.find(w, r); topic != nil {
		delete(n.topics, r.PathValue("t"))
		n.order = slices.DeleteFunc(n.order, func(name string) bool { return name == r.PathValue("t") })
		w.WriteHeader(204)
	}
}

// list gives pages of two topics, whatever size was asked for.
func (n *fakeNode) list(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	from, _ := strconv.Atoi(r.URL.Query().Get("page_token"))
	var matching []map[string]any
	for _, name := range n.order {
		if strings.HasPrefix(name, r.URL.Query().Get("prefix")) {
			matching = append(matching, n.topics[name].info(name))
		}
	}
	page := map[string]any{"topics": matching[min(from, len(matching)):min(from+2, len(matching))]}
	if from+2 < len(matching) {
		page["next_page_token"] = strconv.Itoa(from + 2)
	}
	answer(w, 200, page)
}

// produceNothing is all that the commands ask of this resource.
func (n *fakeNode) produceNothing(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name := r.PathValue("t"); n.autoCreate && n.topics[name] == nil {
		n.topicLocked(name, 2)
	}
	if topic, _ := n.find(w, r); topic != nil {
		reject(w, 400, "no_records", "")
	}
}

func (n *fakeNode) newProducer(w http.ResponseWriter, _ *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nextProducer++
	answer(w, 200, map[string]any{"producer_id": n.nextProducer, "epoch": 0})
}

func (n *fakeNode) offsets(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, p := n.find(w, r)
	if p == nil {
		return
	}
	body := map[string]any{"start": p.start, "end": p.end}
	if ms, err := strconv.ParseInt(r.URL.Query().Get("timestamp"), 10, 64); err == nil {
		for _, record := range p.records() {
			if record.Timestamp >= ms && int64(record.Offset) >= p.start {
				body["offset"], body["timestamp"] = record.Offset, record.Timestamp
				break
			}
		}
	}
	answer(w, 200, body)
}

func (n *fakeNode) trim(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, p := n.find(w, r); p != nil {
		before, err := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64)
		if err != nil {
			reject(w, 400, "malformed_parameter", "")
			return
		}
		p.start = max(p.start, min(before, p.end))
		answer(w, 200, map[string]any{"start": p.start, "end": p.end})
	}
}

func (p *fakePartition) records() []recordbatch.Record {
	var all []recordbatch.Record
	for _, batch := range p.batches {
		records, err := recordbatch.Decode(batch, 256<<20)
		if err != nil {
			panic(err)
		}
		all = append(all, records...)
	}
	return all
}

// cutConnection ends the connection under a handler.
func cutConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func (n *fakeNode) produce(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	partition, _ := strconv.Atoi(r.PathValue("p"))
	n.mu.Lock()
	n.produced++
	fault := faultNone
	if n.fault != nil {
		fault = n.fault(n.produced)
	}
	if n.inFlight[int32(partition)]++; n.inFlight[int32(partition)] > 1 {
		n.overlaps++
	}
	n.mu.Unlock()
	if n.delay > 0 {
		time.Sleep(n.delay)
	}
	defer func() {
		n.mu.Lock()
		n.inFlight[int32(partition)]--
		n.mu.Unlock()
	}()
	switch fault {
	case faultReset:
		cutConnection(w)
		return
	case faultBusy:
		w.Header().Set("Retry-After", "1")
		reject(w, 503, "overloaded", `,"retryable":true,"no_side_effects":true`)
		return
	case faultTimeout:
		reject(w, 504, "outcome_unknown", `,"retryable":true`)
		return
	case faultBadGateway:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(502)
		_, _ = io.WriteString(w, "<html>\nbad gateway\n</html>")
		return
	case faultFenced:
		reject(w, 403, "producer_fenced", `,"retryable":false`)
		return
	}
	n.mu.Lock()
	status, result, code := n.appendLocked(w, r, body, int32(partition))
	n.mu.Unlock()
	switch fault {
	case faultLostAnswer:
		cutConnection(w)
		return
	case faultHalfAnswer:
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"results":[{"partition":0`)
		return
	case faultLateTimeout:
		reject(w, 504, "outcome_unknown", `,"retryable":true`)
		return
	case faultInternal:
		reject(w, 500, "internal", "")
		return
	case faultHang:
		<-r.Context().Done()
		return
	}
	if code != "" {
		reject(w, status, code, "")
		return
	}
	if status != 0 {
		answer(w, status, map[string]any{"results": []any{result}})
	}
}

// appendLocked does what a produce request asks for, or returns why not.
func (n *fakeNode) appendLocked(w http.ResponseWriter, r *http.Request, body []byte, partition int32) (int, map[string]any, string) {
	_, p := n.find(w, r)
	if p == nil {
		return 0, nil, ""
	}
	if r.Header.Get("Content-Type") != mediaRecordBatch {
		return 415, nil, "media_type"
	}
	header, err := recordbatch.Validate(body, recordbatch.Limits{RecordBytesMax: 64 << 20, BatchBytesMax: 64 << 20, DecompressedBytesMax: 256 << 20})
	if err != nil {
		return 400, nil, "invalid_batch"
	}
	result := map[string]any{"partition": partition, "count": header.RecordCount}
	acksOne := r.URL.Query().Get("acks") == acksOne
	base := p.end
	if header.ProducerID >= 0 {
		if acksOne {
			return 400, nil, "needs_acks_all"
		}
		if header.ProducerID > n.nextProducer {
			return 403, nil, "unknown_producer_id"
		}
		producer := p.producers[header.ProducerID]
		if producer == nil {
			producer = &fakeProducer{}
			p.producers[header.ProducerID] = producer
		}
		for _, earlier := range producer.recent {
			if earlier.sequence == header.BaseSequence && earlier.count == header.RecordCount {
				result["base_offset"], result["duplicate"] = earlier.base, true
				return 200, result, ""
			}
		}
		if header.BaseSequence != producer.next {
			return 409, nil, "out_of_order_sequence"
		}
		producer.next += header.RecordCount
		producer.recent = append(producer.recent, fakeAppend{header.BaseSequence, header.RecordCount, base})
		producer.recent = producer.recent[max(0, len(producer.recent)-5):]
	}
	stored := slices.Clone(body)
	recordbatch.PatchBaseOffset(stored, recordbatch.Offset(base))
	p.batches = append(p.batches, stored)
	p.end += int64(header.RecordCount)
	if acksOne {
		return 202, result, ""
	}
	result["base_offset"] = base
	return 200, result, ""
}

func (n *fakeNode) fetch(w http.ResponseWriter, r *http.Request) {
	offset, err := strconv.ParseInt(r.URL.Query().Get("offset"), 10, 64)
	if err != nil || r.Header.Get("Accept") != mediaRecordBatch {
		reject(w, 400, "malformed_parameter", "")
		return
	}
	bytesMax, _ := strconv.Atoi(r.URL.Query().Get("max_bytes"))
	wait, _ := strconv.Atoi(r.URL.Query().Get("max_wait_ms"))
	n.mu.Lock()
	n.fetches++
	fault := faultNone
	if n.fetchFault != nil {
		fault = n.fetchFault(n.fetches)
	}
	n.mu.Unlock()
	switch fault {
	case faultReset:
		cutConnection(w)
		return
	case faultBusy:
		w.Header().Set("Retry-After", "1")
		reject(w, 503, "overloaded", `,"retryable":true,"no_side_effects":true`)
		return
	}
	for deadline := time.Now().Add(time.Duration(wait) * time.Millisecond); ; {
		n.mu.Lock()
		_, p := n.find(w, r)
		if p == nil {
			n.mu.Unlock()
			return
		}
		bounds := fmt.Sprintf(`,"log_start_offset":%d,"high_watermark":%d`, p.start, p.end)
		if offset < p.start || offset > p.end {
			n.mu.Unlock()
			status, code := 410, "offset_below_start"
			if offset > p.end {
				status, code = 416, "offset_above_end"
			}
			reject(w, status, code, bounds)
			return
		}
		var body []byte
		next := offset
		for _, batch := range p.batches {
			header, _ := recordbatch.ParseHeader(batch)
			if end := int64(header.BaseOffset) + int64(header.RecordCount); end > offset && (len(body) == 0 || len(body)+len(batch) <= bytesMax) {
				body = append(body, batch...)
				next = end
			} else if end > offset {
				break
			}
		}
		start, end := p.start, p.end
		n.mu.Unlock()
		if len(body) == 0 && time.Now().Before(deadline) && sleep(r.Context(), 10*time.Millisecond) {
			continue
		}
		w.Header().Set("Content-Type", mediaRecordBatch)
		w.Header().Set("Wadi-Next-Offset", strconv.FormatInt(next, 10))
		w.Header().Set("Wadi-High-Watermark", strconv.FormatInt(end, 10))
		w.Header().Set("Wadi-Log-Start-Offset", strconv.FormatInt(start, 10))
		if fault == faultHalfAnswer {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
		}
		_, _ = w.Write(body)
		return
	}
}

// pipeListener is a network of one address, in memory, so that the time of a
// test can be virtual.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080} }

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, &net.OpError{Op: "dial", Net: "pipe", Err: errors.New("connection refused")}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
