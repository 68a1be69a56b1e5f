package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/ingest"
)

func TestOpenRequestsAreBounded(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.OpenRequestsMax = 2 })
	a.topic("1")
	inside, leave := make(chan struct{}), make(chan struct{})
	a.node.before = func(context.Context, int64, ingest.Options) error {
		inside <- struct{}{}
		<-leave
		return nil
	}
	answers := make(chan answer, 2)
	for range 2 {
		go func() { answers <- a.do("POST", partitionRecords, "x") }()
		<-inside
	}
	got := a.do("POST", partitionRecords, "x")
	p := a.wantProblem(503, "overloaded", got)
	if got.header.Get("Retry-After") != "1" || p["limit"] != 2.0 || p["reason"] != "open requests" {
		t.Errorf("refused with %v, %s", got.header, got.body)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		a.want(200, a.do("GET", path, ""))
	}
	for range 2 {
		leave <- struct{}{}
		a.want(200, <-answers)
	}
	a.node.before = nil
	a.want(200, a.do("POST", partitionRecords, "x"))
}

func TestConnectionsAreBounded(t *testing.T) {
	inBubble(t, func(c *Config) { c.ConnectionsMax = 2 }, func(a *pipeAPI) {
		get := func(path string) (int, bool) {
			conn := a.dial()
			synctest.Wait() // until the server has counted it
			defer func() {
				conn.Close()
				synctest.Wait()
			}()
			go func() { _, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path) }()
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				return 0, true
			}
			_, _ = io.Copy(io.Discard, res.Body)
			return res.StatusCode, res.Close
		}
		if status, closed := get("/v1/topics"); status != 200 || closed {
			t.Errorf("status %d below the limit", status)
		}
		first, second := a.dial(), a.dial()
		synctest.Wait()
		if status, closed := get("/v1/topics"); status != 503 || !closed {
			t.Errorf("status %d above the limit, closed %t", status, closed)
		}
		if status, _ := get("/healthz"); status != 200 {
			t.Errorf("/healthz has status %d above the limit", status)
		}
		third, fourth := a.dial(), a.dial()
		synctest.Wait()
		if status, _ := get("/healthz"); status != 0 {
			t.Errorf("status %d far above the limit", status)
		}
		for _, c := range []io.Closer{first, second, third, fourth} {
			c.Close()
		}
		synctest.Wait()
		if status, closed := get("/v1/topics"); status != 200 || closed {
			t.Errorf("status %d after the others left", status)
		}
	})
}

func TestFetchedBytesAreBounded(t *testing.T) {
	a := newTestAPI(t, func(c *Config) {
		c.FetchBytesMax = 1 << 20
		c.FetchedBytesMax = 1 << 20
	})
	a.topic("1")
	a.want(200, a.do("POST", partitionRecords, "x"))
	a.server.fetched.enter(1 << 20)
	a.wantProblem(503, "overloaded", a.do("GET", partitionRecords+"?offset=0", ""))
	a.server.fetched.leave(1 << 20)
	a.want(200, a.do("GET", partitionRecords+"?offset=0", ""))
	if got := a.server.fetched.inside.Load(); got != 0 {
		t.Errorf("%d bytes are left", got)
	}
}

// TestOneAnswerLeavesRoom: an answer gets a share of the memory for answers,
// whatever its max_bytes.
func TestOneAnswerLeavesRoom(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.FetchedBytesMax = 8000 })
	a.topic("1")
	for range 40 {
		a.want(200, a.do("POST", partitionRecords, strings.Repeat("x", 200)))
	}
	held := a.server.fetched
	held.enter(7000)
	answer := a.do("GET", partitionRecords+"?offset=0&max_bytes=67108864", "")
	a.want(200, answer)
	held.leave(7000)
	if got := held.inside.Load(); got != 0 {
		t.Errorf("%d bytes are left", got)
	}
}

// TestSlowSendersHoldWhatTheySent: a body's budget follows what came of it.
func TestSlowSendersHoldWhatTheySent(t *testing.T) {
	const length = 16 << 20
	first := bodyFirstRead + 100
	r, w := io.Pipe()
	held, told := int64(0), make(chan int64, 1)
	b := &body{src: r, conn: http.NewResponseController(httptest.NewRecorder()), grace: time.Hour, rate: 1}
	go func() {
		_, err := b.readAll(length, length, func(n int64) error { held += n; return nil }, bodyTooLarge(length))
		if err == nil {
			held = -1
		}
		told <- held
	}()
	if _, err := w.Write(make([]byte, first)); err != nil {
		t.Fatal(err)
	}
	_ = w.CloseWithError(io.ErrUnexpectedEOF)
	if got := <-told; got < int64(first) || got > bodyGrowth*bodyFirstRead {
		t.Errorf("%d bytes are held for %d of %d that came", got, first, length)
	}
}

func TestGate(t *testing.T) {
	g := newGate(10)
	if !g.enter(6) || g.enter(5) || !g.enter(4) || g.enter(1) {
		t.Error("the limit does not hold")
	}
	g.leave(10)
	if !g.enter(11) || g.enter(1) {
		t.Error("one that is larger than the gate does not go alone")
	}
	g.leave(11)
	if g.inside.Load() != 0 {
		t.Errorf("%d inside", g.inside.Load())
	}
}
