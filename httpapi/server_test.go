package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/wadilog/wadi/catalog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testAPI is a node behind a real server on a real connection.
type testAPI struct {
	t      *testing.T
	node   *memoryNode
	server *Server
	url    string
	client *http.Client
}

// discard is a logger whose lines nobody reads, but which are made.
func discard() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func newTestAPI(t *testing.T, change func(*Config)) *testAPI {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	node := newMemoryNode()
	s, err := NewServer(cfg, node, node, node, node, discard(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := s.HTTPServer()
	served := make(chan error, 1)
	go func() { served <- hs.Serve(l) }()
	transport := &http.Transport{DisableCompression: true} // tests ask for it themselves
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := hs.Shutdown(context.Background()); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return &testAPI{t: t, node: node, server: s, url: "http://" + l.Addr().String(), client: &http.Client{Transport: transport}}
}

// answer is what came back, with its body read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request. headers are alternating names and values.
func (a *testAPI) do(method, path, body string, headers ...string) answer {
	a.t.Helper()
	return a.send(method, path, strings.NewReader(body), headers...)
}

func (a *testAPI) send(method, path string, body io.Reader, headers ...string) answer {
	a.t.Helper()
	r, err := http.NewRequest(method, a.url+path, body)
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	res, err := a.client.Do(r)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatalf("%s %s: read answer: %v", method, path, err)
	}
	return answer{res.StatusCode, res.Header, text}
}

// want checks the status and returns the answer.
func (a *testAPI) want(status int, got answer) answer {
	a.t.Helper()
	if got.status != status {
		a.t.Fatalf("status %d, want %d: %s", got.status, status, got.body)
	}
	return got
}

// wantProblem checks a problem's status and code, and returns its members.
func (a *testAPI) wantProblem(status int, code string, got answer) map[string]any {
	a.t.Helper()
	a.want(status, got)
	if media := got.header.Get("Content-Type"); media != "application/problem+json" {
		a.t.Fatalf("Content-Type %q of a problem: %s", media, got.body)
	}
	p := decode(a.t, got.body)
	if p["code"] != code || p["status"] != float64(status) {
		a.t.Fatalf("problem %s, want code %s", got.body, code)
	}
	return p
}

func decode(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// wantJSON checks an answer's body, members in any order.
func (a *testAPI) wantJSON(status int, want string, got answer) {
	a.t.Helper()
	a.want(status, got)
	var g, w any
	if err := json.Unmarshal(got.body, &g); err != nil {
		a.t.Fatalf("%v: %s", err, got.body)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		a.t.Fatalf("%v: %s", err, want)
	}
	gt, _ := json.Marshal(g)
	wt, _ := json.Marshal(w)
	if !bytes.Equal(gt, wt) {
		a.t.Fatalf("answer %s\nwant   %s", gt, wt)
	}
}

const (
	typeJSON   = "application/json"
	typeNDJSON = "application/x-ndjson"
	typeBatch  = "application/vnd.kafka.recordbatch.v2"
	typeEvents = "text/event-stream"
)

// topic creates a topic t.
func (a *testAPI) topic(partitions string) {
	a.t.Helper()
	a.want(http.StatusCreated, a.do("PUT", "/v1/topics/t", `{"partitions":`+partitions+`}`))
}

func TestTopicLife(t *testing.T) {
	a := newTestAPI(t, nil)
	got := a.want(201, a.do("PUT", "/v1/topics/flights", `{"partitions":8,"config":{"retention.ms":604800000,"compression.type":"zstd"}}`, "Content-Type", typeJSON))
	created := decode(t, got.body)
	id, _ := created["id"].(string)
	if id == "" || created["partitions"] != 8.0 || got.header.Get("Location") != "/v1/topics/flights" {
		t.Fatalf("created %s", got.body)
	}
	topic := `{"name":"flights","id":"` + id + `","partitions":8,"config":{"retention.ms":604800000,"retention.bytes":-1,"max.message.bytes":1048576,"compression.type":"zstd","message.timestamp.type":"CreateTime"}}`
	a.wantJSON(201, topic, got)
	a.wantJSON(200, topic, a.do("GET", "/v1/topics/flights", ""))
	a.wantJSON(200, topic, a.do("PUT", "/v1/topics/flights", `{"config":{"compression.type":"zstd","retention.ms":"604800000"},"partitions":8}`))
	a.wantProblem(409, "topic_exists", a.do("PUT", "/v1/topics/flights", `{"partitions":9}`))

	// PATCH leaves what it does not name, null resets, partitions grow.
	got = a.want(200, a.do("PATCH", "/v1/topics/flights", `{"partitions":10,"config":{"max.message.bytes":1000,"compression.type":null}}`))
	topic = `{"name":"flights","id":"` + id + `","partitions":10,"config":{"retention.ms":604800000,"retention.bytes":-1,"max.message.bytes":1000,"compression.type":"producer","message.timestamp.type":"CreateTime"}}`
	a.wantJSON(200, topic, got)
	a.wantJSON(200, topic, a.do("GET", "/v1/topics/flights", ""))
	a.wantProblem(409, "partitions_shrink", a.do("PATCH", "/v1/topics/flights", `{"partitions":9}`))

	got = a.want(204, a.do("DELETE", "/v1/topics/flights", ""))
	if len(got.body) != 0 {
		t.Fatalf("204 with a body: %s", got.body)
	}
	a.wantProblem(404, "topic_not_found", a.do("DELETE", "/v1/topics/flights", ""))
	a.wantProblem(404, "topic_not_found", a.do("GET", "/v1/topics/flights", ""))
}

func TestListTopicsInPages(t *testing.T) {
	a := newTestAPI(t, nil)
	for _, name := range []string{"b-2", "a", "b-1", "b-3", "c"} {
		a.want(201, a.do("PUT", "/v1/topics/"+name, ""))
	}
	var names []string
	token := ""
	for {
		got := decode(t, a.want(200, a.do("GET", "/v1/topics?prefix=b-&page_size=2&page_token="+token, "")).body)
		topics := got["topics"].([]any)
		if len(topics) > 2 {
			t.Fatalf("a page of %d", len(topics))
		}
		for _, topic := range topics {
			names = append(names, topic.(map[string]any)["name"].(string))
		}
		if token = got["next_page_token"].(string); token == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "b-1 b-2 b-3" {
		t.Fatalf("listed %s", got)
	}
	a.wantJSON(200, `{"topics":[],"next_page_token":""}`, a.do("GET", "/v1/topics?prefix=zzz", ""))
}

func TestConfirmBeforeNotFound(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/v1/topics/none", ""},
		{"DELETE", "/v1/topics/none", ""},
		{"PATCH", "/v1/topics/none", "{}"},
		{"POST", "/v1/topics/none/records", "x"},
		{"POST", "/v1/topics/t/partitions/1/records", "x"},
		{"GET", "/v1/topics/none/partitions/0/records?offset=0", ""},
		{"GET", "/v1/topics/t/partitions/1/records?offset=0", ""},
		{"GET", "/v1/topics/t/partitions/1/offsets", ""},
		{"DELETE", "/v1/topics/t/partitions/1/records?before=0", ""},
	} {
		a.node.unconfirm = nil
		a.want(404, a.do(r.method, r.path, r.body))
		a.node.unconfirm = catalog.ErrNotConfirmed
		got := a.do(r.method, r.path, r.body)
		a.wantProblem(503, "not_confirmed", got)
		if got.header.Get("Retry-After") != "1" {
			t.Errorf("%s %s: Retry-After %q", r.method, r.path, got.header.Get("Retry-After"))
		}
	}
	a.node.unconfirm = nil
}

func TestProduceAndFetch(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("2")
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":0,"count":4,"timestamp":1700000000001}]}`,
		a.do("POST", "/v1/topics/t/partitions/0/records", `{"records":[
			{"key":"k","value":"text\n\"é\"","headers":[["a","b"],["bin",{"base64":"/w=="}],["null",null]],"timestamp":1700000000000},
			{"key_base64":"/wA=","value_base64":"/v8=","timestamp":1700000000001},
			{"key":null,"value":null,"timestamp":1700000000000},
			{"key":"","value_json": { "a" : [ 1.50 , "x y" , null ] },"timestamp":1700000000000}
		]}`, "Content-Type", typeJSON))
	want := []string{
		`{"offset":0,"timestamp":1700000000000,"key":"k","value":"text\n\"é\"","headers":[["a","b"],["bin",{"base64":"/w=="}],["null",null]]}`,
		`{"offset":1,"timestamp":1700000000001,"key_base64":"/wA=","value_base64":"/v8=","headers":[]}`,
		`{"offset":2,"timestamp":1700000000000,"key":null,"value":null,"headers":[]}`,
		`{"offset":3,"timestamp":1700000000000,"key":"","value":"{\"a\":[1.50,\"x y\",null]}","headers":[]}`,
	}
	records := "/v1/topics/t/partitions/0/records?offset="
	a.wantJSON(200, `{"records":[`+strings.Join(want, ",")+`],"next_offset":4,"high_watermark":4,"log_start_offset":0}`, a.do("GET", records+"0", ""))
	a.wantJSON(200, `{"records":[`+strings.Join(want[1:3], ",")+`],"next_offset":3,"high_watermark":4,"log_start_offset":0}`, a.do("GET", records+"1&max_records=2", ""))
	a.wantJSON(200, `{"records":[],"next_offset":4,"high_watermark":4,"log_start_offset":0}`, a.do("GET", records+"4", ""))
	a.wantJSON(200, `{"records":[],"next_offset":4,"high_watermark":4,"log_start_offset":0}`, a.do("GET", records+"latest", ""))
	a.wantJSON(200, `{"records":[`+strings.Join(want[1:], ",")+`],"next_offset":4,"high_watermark":4,"log_start_offset":0}`, a.do("GET", records+"timestamp:1700000000001", ""))

	got := a.want(200, a.do("GET", records+"1", "", "Accept", typeNDJSON))
	if string(got.body) != strings.Join(want[1:], "\n")+"\n" {
		t.Fatalf("lines %s", got.body)
	}
	if h := got.header; h.Get("Wadi-Next-Offset") != "4" || h.Get("Wadi-High-Watermark") != "4" || h.Get("Wadi-Log-Start-Offset") != "0" || h.Get("Cache-Control") != "no-store" || h.Get("Vary") != "Accept, Accept-Encoding" {
		t.Fatalf("headers %v", h)
	}
	got = a.want(200, a.do("GET", records+"2&values_only=true", "", "Accept", typeNDJSON))
	if string(got.body) != "\n{\"a\":[1.50,\"x y\",null]}\n" {
		t.Fatalf("values %q", got.body)
	}
	a.wantJSON(200, `{"start":0,"end":4}`, a.do("GET", "/v1/topics/t/partitions/0/offsets", ""))
	a.wantJSON(200, `{"start":0,"end":4,"offset":1,"timestamp":1700000000001}`, a.do("GET", "/v1/topics/t/partitions/0/offsets?timestamp=1700000000001", ""))
	a.wantJSON(200, `{"start":0,"end":4,"offset":null,"timestamp":null}`, a.do("GET", "/v1/topics/t/partitions/0/offsets?timestamp=1800000000001", ""))

	// Batches come out whole, and go in as they came out.
	got = a.want(200, a.do("GET", records+"2", "", "Accept", typeBatch))
	if got.header.Get("Wadi-Next-Offset") != "4" || got.header.Get("Content-Type") != typeBatch {
		t.Fatalf("headers %v", got.header)
	}
	a.wantJSON(200, `{"results":[{"partition":1,"base_offset":0,"count":8,"timestamp":1700000000001}]}`,
		a.send("POST", "/v1/topics/t/partitions/1/records", bytes.NewReader(append(got.body, got.body...)), "Content-Type", typeBatch))
	got = a.want(200, a.do("GET", "/v1/topics/t/partitions/1/records?offset=5&max_records=1", ""))
	a.wantJSON(200, `{"records":[`+strings.Replace(want[1], `"offset":1`, `"offset":5`, 1)+`],"next_offset":6,"high_watermark":8,"log_start_offset":0}`, got)

	// Trim, and below and above the bounds.
	a.wantJSON(200, `{"log_start_offset":2}`, a.do("DELETE", "/v1/topics/t/partitions/0/records?before=2", ""))
	p := a.wantProblem(410, "offset_below_start", a.do("GET", records+"1", ""))
	if p["log_start_offset"] != 2.0 || p["high_watermark"] != 4.0 {
		t.Fatalf("bounds %v", p)
	}
	p = a.wantProblem(416, "offset_above_end", a.do("GET", records+"5", ""))
	if p["log_start_offset"] != 2.0 || p["high_watermark"] != 4.0 {
		t.Fatalf("bounds %v", p)
	}
	a.wantJSON(200, `{"records":[`+strings.Join(want[2:], ",")+`],"next_offset":4,"high_watermark":4,"log_start_offset":2}`, a.do("GET", records+"earliest", ""))
}

func TestProduceRaw(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	before := time.Now().UnixMilli()
	a.want(200, a.do("POST", "/v1/topics/t/records?key=k%00", "a\x00\xff", "Record-Header-Trace-Id", "1", "Record-Header-Trace-Id", "2", "Record-Header-a", "é"))
	a.wantJSON(202, `{"results":[{"partition":0,"count":1}]}`, a.do("POST", "/v1/topics/t/partitions/0/records?acks=1", "", "Content-Type", "text/plain"))
	got := decode(t, a.want(200, a.do("GET", "/v1/topics/t/partitions/0/records?offset=0", "")).body)
	records := got["records"].([]any)
	for _, r := range records {
		at := r.(map[string]any)["timestamp"].(float64)
		if at < float64(before) || at > float64(time.Now().UnixMilli()) {
			t.Fatalf("timestamp %v", at)
		}
		delete(r.(map[string]any), "timestamp")
	}
	text, _ := json.Marshal(records)
	if want := `[{"headers":[["a","é"],["trace-id","1"],["trace-id","2"]],"key":"k\u0000","offset":0,"value_base64":"YQD/"},{"headers":[],"key":null,"offset":1,"value":""}]`; string(text) != want {
		t.Fatalf("records %s\nwant    %s", text, want)
	}
}

func TestProduceLines(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	body := `{"id":"k1","n":1}` + "\r\n" + ` {"n":2} ` + "\n" + `{"id":{"b": [1, 2]}}` + "\n" + `{"i\u0064":"\u00e9"}`
	got := a.want(200, a.do("POST", "/v1/topics/t/records?key_field=id", body, "Content-Type", typeNDJSON))
	lines := strings.Split(strings.TrimSuffix(string(got.body), "\n"), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], `{"first_record":0,"count":4,"results":[{"partition":0,"base_offset":0,"count":4,"timestamp":`) || lines[1] != `{"done":true,"records":4}` {
		t.Fatalf("answer %s", got.body)
	}
	got = a.want(200, a.do("GET", "/v1/topics/t/partitions/0/records?offset=0&values_only=true", "", "Accept", typeNDJSON))
	if string(got.body) != body+"\n" {
		t.Fatalf("values %q", got.body)
	}
	var keys []any
	for _, r := range decode(t, a.want(200, a.do("GET", "/v1/topics/t/partitions/0/records?offset=0", "")).body)["records"].([]any) {
		keys = append(keys, r.(map[string]any)["key"])
	}
	if text, _ := json.Marshal(keys); string(text) != `["k1",null,"{\"b\":[1,2]}","é"]` {
		t.Fatalf("keys %s", text)
	}
	// Any bytes, empty lines between, none after the last line's end.
	a.want(202, a.do("POST", "/v1/topics/t/records?acks=1", "\x00\xff\n\nx\n", "Content-Type", typeNDJSON))
	got = a.want(200, a.do("GET", "/v1/topics/t/partitions/0/records?offset=4&values_only=true", "", "Accept", typeNDJSON))
	if string(got.body) != "\x00\xff\n\nx\n" {
		t.Fatalf("values %q", got.body)
	}
}

func TestMethodAndRoute(t *testing.T) {
	a := newTestAPI(t, nil)
	got := a.do("POST", "/v1/topics/t", "")
	a.wantProblem(405, "method_not_allowed", got)
	if allow := got.header.Get("Allow"); allow != "GET, PUT, PATCH, DELETE, HEAD" {
		t.Errorf("Allow: %s", allow)
	}
	a.wantProblem(404, "not_found", a.do("POST", "/v1/fetch/", ""))
	a.wantProblem(404, "topic_not_found", a.do("GET", "/v1/topics/none", ""))
	a.want(200, a.do("HEAD", "/healthz", ""))
	a.want(200, a.do("GET", "/readyz", ""))
	a.node.notReady = errors.New("draining")
	a.wantProblem(503, "not_ready", a.do("GET", "/readyz", ""))
	metrics := a.want(200, a.do("GET", "/metrics", "")).body
	for _, want := range []string{
		`wadi_http_requests_total{class="4xx",method="GET",route="/v1/topics/{topic}"} 1`,
		`wadi_http_requests_total{class="4xx",method="POST",route="none"} 2`,
		`wadi_http_problems_total{code="not_ready"} 1`,
	} {
		if !bytes.Contains(metrics, []byte(want)) {
			t.Errorf("metrics without %s", want)
		}
	}
}
