package localstack

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// cachingProxy is a node with a topic of some records, behind an nginx.
type cachingProxy struct {
	t     testing.TB
	node  *Node
	nginx *Nginx
	http  *http.Client
}

const cachedRecords = "/v1/topics/t/partitions/0/records"

func newCachingProxy(t testing.TB, records int) *cachingProxy {
	ctx := deadline(t)
	store := (&url.URL{Scheme: "file", Path: t.TempDir()}).String()
	node, err := StartNode(ctx, NodeOptions{Name: "node", Binary: wadi(t), Store: store, LogFile: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Stop(); err != nil {
			t.Error(err)
		}
	})
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	p := &cachingProxy{t, node, startNginx(ctx, t, strings.TrimPrefix(node.URL, "http://")), &http.Client{Transport: transport}}
	p.send("PUT", "/v1/topics/t", nil)
	for n := range records {
		p.send("POST", cachedRecords, []byte(noise(n, 20_000)))
	}
	return p
}

// send sends a request through nginx and expects that it succeeds.
func (p *cachingProxy) send(method, path string, body []byte, headers ...string) (*http.Response, []byte) {
	p.t.Helper()
	r, text := p.ask(method, path, body, headers...)
	if r.StatusCode/100 != 2 {
		p.t.Fatalf("%s %s: %s: %.300s", method, path, r.Status, text)
	}
	return r, text
}

func (p *cachingProxy) ask(method, path string, body []byte, headers ...string) (*http.Response, []byte) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), method, p.nginx.URL+path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := p.http.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	return response, text
}

var fetchedBytes = regexp.MustCompile(`(?m)^wadi_reader_fetched_bytes_total\{.*\} (\S+)$`)

// fetched is how many bytes the node has handed out, by its own account.
func (p *cachingProxy) fetched() (sum float64) {
	p.t.Helper()
	response, err := p.http.Get(p.node.URL + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, found := range fetchedBytes.FindAllSubmatch(text, -1) {
		n, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			p.t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// replay reads all records in closed ranges, and returns the answers and how often
// each came from where.
func (p *cachingProxy) replay(records int, headers ...string) (answers string, from map[string]int) {
	p.t.Helper()
	from = map[string]int{}
	var all strings.Builder
	for at := 0; at < records; {
		r, text := p.send("GET", fmt.Sprintf("%s?offset=%d&until=%d&max_bytes=65536", cachedRecords, at, records), nil, headers...)
		if c := r.Header.Get("Cache-Control"); c != "public, max-age=3600, immutable" || r.Header.Get("ETag") == "" {
			p.t.Fatalf("an answer to a closed range has %v", r.Header)
		}
		from[r.Header.Get("X-Cache")]++
		all.Write(text)
		next, err := strconv.Atoi(r.Header.Get("Wadi-Next-Offset"))
		if err != nil || next <= at {
			p.t.Fatalf("next offset %q after %d", r.Header.Get("Wadi-Next-Offset"), at)
		}
		at = next
	}
	return all.String(), from
}

// TestNginxServesTheSecondReplay from its cache, in each format of its own: the node
// has nothing to do with it.
func TestNginxServesTheSecondReplay(t *testing.T) {
	t.Parallel()
	const records = 20
	p := newCachingProxy(t, records)
	for _, headers := range [][]string{
		{"Accept", "application/vnd.kafka.recordbatch.v2"},
		{"Accept", "application/x-ndjson"},
		{"Accept", "application/x-ndjson", "Accept-Encoding", "gzip"},
		{"Accept", "application/x-ndjson", "Accept-Encoding", "zstd"},
	} {
		before := p.fetched()
		first, from := p.replay(records, headers...)
		if p.fetched() == before || from["MISS"] < 5 || len(from) != 1 {
			t.Errorf("%v: the first replay came from %v; node fetched %g bytes", headers, from, p.fetched()-before)
		}
		before = p.fetched()
		second, from := p.replay(records, headers...)
		if got := p.fetched() - before; got != 0 || from["HIT"] < 5 || len(from) != 1 {
			t.Errorf("%v: the second replay came from %v; node fetched %g bytes", headers, from, got)
		}
		if first != second {
			t.Errorf("%v: the second replay differs from the first", headers)
		}
	}
}

// TestNginxKeepsOnlyWhatNeverChanges: all else comes from the node each time.
func TestNginxKeepsOnlyWhatNeverChanges(t *testing.T) {
	t.Parallel()
	p := newCachingProxy(t, 3)
	for name, c := range map[string]struct {
		query   string
		headers []string
		want    string // X-Cache of the second answer
	}{
		"open":                  {"offset=0", nil, ""},
		"not all there yet":     {"offset=0&until=100", nil, "MISS"},
		"nothing there yet":     {"offset=3&until=100", nil, "MISS"},
		"closed":                {"offset=0&until=3", nil, "HIT"},
		"closed, HEAD":          {"offset=0&until=2", nil, "HIT"},
		"carries credentials":   {"offset=0&until=1", []string{"Authorization", "Bearer x"}, "BYPASS"},
		"range is out of range": {"offset=50&until=60", nil, "MISS"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &cachingProxy{t, p.node, p.nginx, p.http}
			method := "GET"
			if strings.HasSuffix(name, "HEAD") {
				method = "HEAD"
			}
			p.ask(method, cachedRecords+"?"+c.query, nil, c.headers...)
			if r, _ := p.ask(method, cachedRecords+"?"+c.query, nil, c.headers...); r.Header.Get("X-Cache") != c.want {
				t.Errorf("%s: cache says %q, expected %q", r.Status, r.Header.Get("X-Cache"), c.want)
			}
		})
	}
	// What was not all there is, once it is.
	p.send("POST", cachedRecords, []byte("x"))
	if r, text := p.send("GET", cachedRecords+"?offset=3&until=4", nil); r.Header.Get("Cache-Control") == "no-store" || !bytes.Contains(text, []byte(`"value":"x"`)) {
		t.Errorf("%v: %s", r.Header, text)
	}
}

// TestNginxAnswersConditions for what it keeps.
func TestNginxAnswersConditions(t *testing.T) {
	t.Parallel()
	p := newCachingProxy(t, 3)
	const path = cachedRecords + "?offset=0&until=3"
	r, _ := p.send("GET", path, nil)
	tag := r.Header.Get("ETag")
	before := p.fetched()
	if r, text := p.ask("GET", path, nil, "If-None-Match", tag); r.StatusCode != http.StatusNotModified || len(text) != 0 || r.Header.Get("ETag") != tag {
		t.Errorf("%s, %v", r.Status, r.Header)
	}
	if got := p.fetched() - before; got != 0 {
		t.Errorf("the node fetched %g bytes", got)
	}
}
