package apitest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// answerTimeout is when a test stops waiting for an answer; far beyond the time
// that a node gives a slow body.
const answerTimeout = 2 * time.Minute

// Run sends every case to the node at baseURL, and then checks that none of
// them left anything behind. The node must run with its default limits, but the
// time that it gives a slow body may be anything below a minute.
func Run(t *testing.T, baseURL string) {
	base, err := url.Parse(baseURL)
	if err != nil {
		t.Fatal(err)
	}
	suffix := fmt.Sprintf("%016x", rand.Uint64())
	r := &runner{base: base, topic: "apitest-" + suffix, small: "apitest-small-" + suffix, group: "apitest-" + suffix, large: make(chan struct{}, largeAtOnce)}
	r.setUp(t)
	before := r.ends(t)
	t.Run("cases", func(t *testing.T) {
		for _, c := range Cases() {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				r.run(t, c)
			})
		}
	})
	if after := r.ends(t); after != before {
		t.Errorf("bad requests left something behind: it was %s and is %s", before, after)
	}
	for _, name := range []string{"new", "unknown"} {
		r.simple(t, "GET", "/v1/topics/"+name, "", http.StatusNotFound)
		r.simple(t, "GET", "/v1/groups/"+name, "", http.StatusNotFound)
	}
	r.simple(t, "DELETE", "/v1/groups/"+r.group+"/members/m", "", http.StatusNoContent)
	for _, name := range []string{r.topic, r.small} {
		r.simple(t, "DELETE", "/v1/topics/"+name, "", http.StatusNoContent)
	}
}

type runner struct {
	base                *url.URL
	topic, small, group string
	epoch               string        // of the group's member
	large               chan struct{} // has a place for each case that is sent now and refused for its size
}

// largeAtOnce is how many cases that are refused for their size are sent at the
// same time, so that the memory that they take does not depend on the machine.
const largeAtOnce = 2

// setUp makes the topics as Case.Path describes them.
func (r *runner) setUp(t *testing.T) {
	t.Helper()
	r.simple(t, "PUT", "/v1/topics/"+r.topic, `{"partitions":2}`, http.StatusCreated)
	r.simple(t, "PUT", "/v1/topics/"+r.small, `{"partitions":1,"config":{"max.message.bytes":1000}}`, http.StatusCreated)
	for range 4 {
		r.simple(t, "POST", "/v1/topics/"+r.topic+"/partitions/0/records", "record", http.StatusOK)
	}
	r.simple(t, "DELETE", "/v1/topics/"+r.topic+"/partitions/0/records?before=1", "", http.StatusOK)
	var member struct {
		Epoch json.Number `json:"epoch"`
	}
	// Epochs begin at 1, and there are to be older ones.
	for _, status := range []int{http.StatusCreated, http.StatusOK} {
		text := r.simple(t, "POST", "/v1/groups/"+r.group+"/members", `{"member_id":"m","session_timeout_ms":1800000,"topics":["`+r.topic+`"]}`, status)
		if err := json.Unmarshal([]byte(text), &member); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	r.epoch = member.Epoch.String()
}

// simple sends a good request and returns the answer's body.
func (r *runner) simple(t *testing.T, method, path, body string, status int) string {
	t.Helper()
	q, err := http.NewRequest(method, r.base.String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport, Timeout: answerTimeout}).Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, res.StatusCode, status, text)
	}
	return string(text)
}

// ends is what bad requests must not change.
func (r *runner) ends(t *testing.T) string {
	t.Helper()
	var all []string
	for _, partition := range []string{r.topic + "/partitions/0", r.topic + "/partitions/1", r.small + "/partitions/0"} {
		all = append(all, strings.TrimSpace(r.simple(t, "GET", "/v1/topics/"+partition+"/offsets", "", http.StatusOK)))
	}
	return strings.Join(append(all, r.simple(t, "GET", "/v1/groups/"+r.group, "", http.StatusOK)), " ")
}

// run sends a case as it is described: no HTTP client would send all of them.
func (r *runner) run(t *testing.T, c Case) {
	method := c.Method
	if method == "" {
		method = http.MethodPost
	}
	// Before the connection: some bodies take time to make, and the node's clock
	// for the header runs from the connection on.
	head, body := r.encode(c, method)
	if c.Status == http.StatusRequestEntityTooLarge {
		r.large <- struct{}{}
		defer func() { <-r.large }()
	}
	conn, err := net.Dial("tcp", r.base.Host)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	defer func() {
		_ = conn.Close()
		<-sent
	}()
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(sent)
		// A node that refuses need not take all; the answer is what counts.
		if _, err := io.WriteString(conn, head); err == nil {
			_, _ = conn.Write(body)
		}
	}()
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read answer's body: %v", err)
	}
	check(t, c, res, text)
	if res.Close {
		if _, err := in.ReadByte(); err == nil {
			t.Error("bytes after the answer on a connection that was to be closed")
		}
		return
	}
	r.next(t, conn, in, sent)
}

// next makes sure that the node has not lost its place on the connection.
func (r *runner) next(t *testing.T, conn net.Conn, in *bufio.Reader, sent chan struct{}) {
	t.Helper()
	<-sent
	if _, err := fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n", r.base.Host); err != nil {
		return // it chose to close
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d of the next request on the connection", res.StatusCode)
	}
}

func (r *runner) encode(c Case, method string) (string, []byte) {
	names := strings.NewReplacer("$T", r.topic, "$S", r.small, "$G", r.group, "$E", r.epoch)
	path := names.Replace(c.Path)
	lines := []string{method + " " + path + " HTTP/1.1", "Host: " + r.base.Host}
	lines = append(lines, c.Header...)
	var body []byte
	if c.Body != nil {
		body = c.Body()
	}
	encoded := func(line string) bool { return strings.HasPrefix(line, "Content-Encoding:") }
	if slices.Contains(c.Header, asJSON) && !slices.ContainsFunc(c.Header, encoded) {
		body = []byte(names.Replace(string(body)))
	}
	switch {
	case len(c.Framing) > 0:
		return strings.Join(append(lines, c.Framing...), "\r\n") + "\r\n\r\n", nil
	case c.Chunked:
		lines = append(lines, "Transfer-Encoding: chunked")
		body = chunks(body)
	case c.Announced > 0:
		lines = append(lines, fmt.Sprintf("Content-Length: %d", c.Announced))
	case c.Body != nil:
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n", body
}

// chunks cuts a body as RFC 9112, 7.1 wants it.
func chunks(body []byte) []byte {
	const size = 8000
	var out []byte
	for len(body) > 0 {
		n := min(len(body), size)
		out = fmt.Appendf(out, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return append(out, "0\r\n\r\n"...)
}

func check(t *testing.T, c Case, res *http.Response, text []byte) {
	t.Helper()
	if res.StatusCode != c.Status {
		t.Fatalf("status %d, want %d: %s", res.StatusCode, c.Status, text)
	}
	if media := res.Header.Get("Content-Type"); media != "application/problem+json" {
		t.Errorf("Content-Type %q", media)
	}
	if cache := res.Header.Get("Cache-Control"); cache != "no-store" {
		t.Errorf("Cache-Control %q", cache)
	}
	var p map[string]any
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, name := range append([]string{"type", "title", "detail"}, c.Members...) {
		if v, ok := p[name]; !ok || v == "" {
			t.Errorf("no %s: %s", name, text)
		}
	}
	if p["code"] != c.Code || p["status"] != float64(c.Status) || p["no_side_effects"] != true {
		t.Errorf("problem %s, want code %s", text, c.Code)
	}
	if want := "/problems/" + strings.ReplaceAll(c.Code, "_", "-"); p["type"] != want {
		t.Errorf("type %v, want %s", p["type"], want)
	}
	if detail, _ := p["detail"].(string); !strings.Contains(detail, c.Detail) {
		t.Errorf("detail %q without %q", detail, c.Detail)
	}
	retryable := c.Status == http.StatusRequestTimeout || c.Status == http.StatusRequestedRangeNotSatisfiable || c.Code == "rebalance_in_progress"
	if p["retryable"] != retryable {
		t.Errorf("retryable is %v", p["retryable"])
	}
	for _, line := range c.Answered {
		name, value, _ := strings.Cut(line, ": ")
		if got := res.Header.Get(name); got != value {
			t.Errorf("%s: %s, want %s", name, got, value)
		}
	}
}
