package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// nodeTimeout bounds what a test waits for; far beyond what it takes.
const nodeTimeout = time.Minute

// runningNode is `wadi serve` in this process.
type runningNode struct {
	t      *testing.T
	url    string // for clients
	peers  string // for other nodes
	stderr *syncBuffer
	stop   context.CancelFunc // as SIGTERM does
	ended  chan struct{}
	status int // to be read after ended
	http   *http.Client
}

// syncBuffer is written to by a node while the test reads.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (b *syncBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func folderStore(t *testing.T) string { return "file://" + filepath.ToSlash(t.TempDir()) }

// freeAddresses returns addresses of this machine that nobody listens on.
func freeAddresses(t *testing.T, n int) (addresses []string) {
	t.Helper()
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close() // when all are known
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses
}

// launchNode starts a node and does not wait until it is ready.
func launchNode(t *testing.T, store string, args ...string) *runningNode {
	t.Helper()
	addresses := freeAddresses(t, 2)
	transport := &http.Transport{}
	n := &runningNode{
		t: t, url: "http://" + addresses[0], peers: "http://" + addresses[1],
		stderr: &syncBuffer{}, ended: make(chan struct{}), http: &http.Client{Transport: transport},
	}
	ctx, stop := context.WithCancel(t.Context())
	n.stop = stop
	env := &environment{in: strings.NewReader(""), out: io.Discard, err: n.stderr, getenv: func(string) string { return "" }}
	args = append([]string{"serve", "--store", store, "--listen", addresses[0], "--peer-listen", addresses[1]}, args...)
	go func() {
		defer close(n.ended)
		n.status = run(ctx, env, args)
	}()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		<-n.ended
		if t.Failed() {
			t.Logf("log of the node at %s:\n%s", n.url, n.stderr)
		}
	})
	return n
}

// startNode starts a node and waits until it is ready.
func startNode(t *testing.T, store string, args ...string) *runningNode {
	t.Helper()
	n := launchNode(t, store, args...)
	n.awaitReady()
	return n
}

func (n *runningNode) awaitReady() {
	n.t.Helper()
	n.await("readiness", func() bool {
		status, _, err := n.try(http.MethodGet, "/readyz", "", "")
		return err == nil && status == http.StatusOK
	})
}

// await waits until something is so, or the node has ended.
func (n *runningNode) await(what string, so func() bool) {
	n.t.Helper()
	deadline := time.After(nodeTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-n.ended:
			n.t.Fatalf("the node ended with status %d while %s was waited for", n.status, what)
		case <-deadline:
			n.t.Fatalf("%s does not come", what)
		}
	}
}

// try sends one request.
func (n *runningNode) try(method, path, media, body string) (status int, text string, err error) {
	status, _, text, err = n.exchange(method, n.url+path, media, body)
	return status, text, err
}

func (n *runningNode) exchange(method, url, media, body string) (status int, header http.Header, text string, err error) {
	r, err := http.NewRequestWithContext(n.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	response, err := n.http.Do(r)
	if err != nil {
		return 0, nil, "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, string(b), err
}

// must sends a request that has to get a status, and returns the answer's body.
func (n *runningNode) must(want int, method, path, media, body string) string {
	n.t.Helper()
	status, text, err := n.try(method, path, media, body)
	if err != nil || status != want {
		n.t.Fatalf("%s %s: %d, %v, want %d: %s", method, path, status, err, want, text)
	}
	return text
}

// end stops the node and returns its exit status.
func (n *runningNode) end() int {
	n.t.Helper()
	n.stop()
	select {
	case <-n.ended:
	case <-time.After(nodeTimeout):
		n.t.Fatal("the node does not end")
	}
	return n.status
}
