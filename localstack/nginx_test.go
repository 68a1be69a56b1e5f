package localstack

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

var update = flag.Bool("update", false, "write what is generated anew: deploy/nginx/nginx.conf")

// TestNginxExample: what people are told to use is what the tests run on. The
// servers are those of docker-compose.yml.
func TestNginxExample(t *testing.T) {
	var want bytes.Buffer
	if err := (nginxConf{
		PIDFile: "/tmp/nginx.pid", ErrorLog: "stderr", AccessLog: "/dev/stdout", TempDir: "/tmp", CacheDir: "/tmp/cache", CacheSize: "10g",
		Workers: "auto", Listen: "8080", Servers: []string{"node-1:8080", "node-2:8080", "node-3:8080"}, Version: "1",
	}).write(&want); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("..", "deploy", "nginx", "nginx.conf")
	if *update {
		if err := os.WriteFile(name, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := mustRead(t, name); !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the template gives; go test ./localstack -run NginxExample -update writes it", name)
	}
}

// fakeNode counts the requests that it sees.
type fakeNode struct {
	address string
	seen    atomic.Int64
}

func startFakeNode(t testing.TB, handle http.HandlerFunc) *fakeNode {
	t.Helper()
	n := &fakeNode{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.seen.Add(1)
		handle(w, r)
	}))
	t.Cleanup(server.Close)
	n.address = server.Listener.Addr().String()
	return n
}

// breakOff reads the request and closes the connection without an answer.
func breakOff(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	panic(http.ErrAbortHandler)
}

func startNginx(ctx context.Context, t testing.TB, servers ...string) *Nginx {
	t.Helper()
	needNginx(t)
	n, err := StartNginx(ctx, t.TempDir(), "", servers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func nobodysAddress(t testing.TB) string {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// TestNginxRepeatsNoWrite: a POST that reached a node is never sent to another,
// and its outcome is said to be unknown.
func TestNginxRepeatsNoWrite(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	a, b := startFakeNode(t, breakOff), startFakeNode(t, breakOff)
	api := newAPIClient(t, startNginx(ctx, t, a.address, b.address).URL)
	for _, body := range []string{"", "short", noise(1, 3<<20)} {
		a.seen.Store(0)
		b.seen.Store(0)
		got := api.send(ctx, "POST", "/v1/topics/t/records", mediaRaw, []byte(body))
		if seen := a.seen.Load() + b.seen.Load(); seen > 1 {
			t.Errorf("a POST of %d bytes was sent %d times", len(body), seen)
		}
		// A connection that breaks makes nginx leave the node out for a second. Then
		// nothing was sent, and that is said.
		if wantUnknown := a.seen.Load()+b.seen.Load() == 1; wantUnknown && (got.status != 504 || got.code != "outcome_unknown" || got.outcome != unknown) {
			t.Errorf("a POST of %d bytes that may have had an effect: %s", len(body), got)
		} else if !wantUnknown && (got.status != 503 || got.outcome != noEffect) {
			t.Errorf("a POST of %d bytes that no node saw: %s", len(body), got)
		}
	}
}

// TestNginxFindsTheNodeThatRuns: what was not sent goes on to the next node.
func TestNginxFindsTheNodeThatRuns(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	up := startFakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing is missing in the answer
		_, _ = w.Write(body)
	})
	n := startNginx(ctx, t, nobodysAddress(t), up.address, nobodysAddress(t))
	api := newAPIClient(t, n.URL)
	for i := range 20 {
		body := noise(i, 1<<(i%20))
		if a := api.send(ctx, "POST", "/v1/topics/t/records", mediaRaw, []byte(body)); a.status != 200 || string(a.body) != body {
			t.Fatalf("request %d: %.200s", i, a)
		}
	}
	if err := n.SetServers(ctx, nobodysAddress(t), nobodysAddress(t)); err != nil {
		t.Fatal(err)
	}
	if up.seen.Load() != 20 {
		t.Errorf("the node saw %d requests, want 20", up.seen.Load())
	}
	// A worker that ends may answer on connections that it has.
	err := eventually(ctx, func() error {
		api.http.CloseIdleConnections()
		a := api.send(ctx, "POST", "/v1/topics/t/records", mediaRaw, []byte("x"))
		if a.status != 503 || a.code != "no_node" || a.outcome != noEffect || a.retryAfter == "" {
			return fmt.Errorf("without nodes: %s", a)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := n.SetServers(ctx, "no port"); err == nil {
		t.Error("nginx took a server without a port")
	}
	if err := n.SetServers(ctx, up.address); err != nil {
		t.Error(err)
	}
	err = eventually(ctx, func() error {
		api.http.CloseIdleConnections()
		if a := api.send(ctx, "POST", "/v1/topics/t/records", mediaRaw, []byte("x")); a.status != 200 {
			return fmt.Errorf("with the node again: %s", a)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestNginxRepeatsReads: a GET whose node breaks off goes on to the next.
func TestNginxRepeatsReads(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	broken := startFakeNode(t, breakOff)
	up := startFakeNode(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "read") })
	api := newAPIClient(t, startNginx(ctx, t, broken.address, up.address).URL)
	for range 4 {
		if a := api.send(ctx, "GET", "/v1/topics/t", "", nil); string(a.body) != "read" {
			t.Errorf("%s", a)
		}
	}
	if broken.seen.Load() == 0 {
		t.Error("the broken node saw nothing")
	}
}

// TestNginxPassesRefusalsOn: a node's 503 gets to the client with all that it
// says, and the node gets the next request all the same.
func TestNginxPassesRefusalsOn(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	refuse := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(503)
		_, _ = io.WriteString(w, `{"code":"overloaded","no_side_effects":true}`)
	}
	a, b := startFakeNode(t, refuse), startFakeNode(t, refuse)
	api := newAPIClient(t, startNginx(ctx, t, a.address, b.address).URL)
	const requests = 10
	for _, method := range []string{"GET", "POST"} {
		for range requests {
			if got := api.send(ctx, method, "/v1/topics/t/records", "", nil); got.status != 503 || got.retryAfter != "7" || got.code != "overloaded" {
				t.Errorf("%s: %s", method, got)
			}
		}
	}
	if a.seen.Load()+b.seen.Load() != 2*requests {
		t.Errorf("%d requests came to %d and %d", 2*requests, a.seen.Load(), b.seen.Load())
	}
}

// TestNginxEarlyRefusal: the answer to a body that the node does not want gets
// to a client that is still sending it.
func TestNginxEarlyRefusal(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	node := startNode(ctx, t, onMinIO(t, sharedMinIO(t)))
	api := newAPIClient(t, startNginx(ctx, t, strings.TrimPrefix(node.URL, "http://")).URL)
	if a := api.send(ctx, "PUT", "/v1/topics/t", mediaJSON, []byte(`{"partitions":1}`)); a.outcome != acked {
		t.Fatal(a)
	}
	for _, size := range []int{17 << 20, 64 << 20} {
		a := api.send(ctx, "POST", "/v1/topics/t/records", mediaJSON, make([]byte, size))
		for range 5 {
			if a.err == nil || ctx.Err() != nil {
				break
			}
			// The transport may come upon the end of the connection first, while it
			// still writes, and only then upon the answer that came before.
			a = api.send(ctx, "POST", "/v1/topics/t/records", mediaJSON, make([]byte, size))
		}
		if a.status != 413 || a.code != "body_too_large" || a.outcome != noEffect {
			t.Errorf("a body of %d MiB: %s", size>>20, a)
		}
	}
}

// TestNginxStreams: parts of bodies get through in both directions before there
// are more.
func TestNginxStreams(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), settleDeadline)
	defer cancel()
	echo := startFakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			_, _ = io.WriteString(w, lines.Text()+"\n")
			_ = control.Flush()
		}
	})
	api := newAPIClient(t, startNginx(ctx, t, echo.address).URL)
	body, feed := io.Pipe()
	context.AfterFunc(ctx, func() { _ = feed.CloseWithError(context.Cause(ctx)) })
	request, err := http.NewRequestWithContext(ctx, "POST", api.url+"/v1/topics/t/records", body)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(feed, "line\n") }() // ends with the feed
	response, err := api.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for range 3 {
		if line, err := lines.ReadString('\n'); line != "line\n" {
			t.Fatalf("%q (%v)", line, err)
		}
		if _, err := io.WriteString(feed, "line\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
}

// nobodyListens returns an error if somebody does.
func nobodyListens(address string) error {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return nil
	}
	return errors.Join(errors.New("somebody listens on "+address), connection.Close())
}

// TestNginxLeavesNothing: Stop ends the workers too, also of a master that was
// killed.
func TestNginxLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	for _, kill := range []bool{false, true} {
		n := startNginx(ctx, t, nobodysAddress(t))
		if kill {
			if err := n.process.kill(); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		if err := eventually(ctx, func() error { return nobodyListens(n.conf.Listen) }); err != nil {
			t.Errorf("killed: %v; %v", kill, err)
		}
		if err := n.Stop(); err != nil {
			t.Errorf("a second Stop: %v", err)
		}
		if _, err := os.Stat(n.conf.PIDFile); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the pid file is left: %v", err)
		}
	}
}
