package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/ingest"
)

// pipeListener gives a server connections that live in memory and keep the
// time of a synctest bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// pipeAPI is a node whose connections and time are simulated.
type pipeAPI struct {
	t      *testing.T
	node   *memoryNode
	server *Server
	l      *pipeListener
}

// inBubble runs test with a node in a bubble of virtual time.
func inBubble(t *testing.T, change func(*Config), test func(a *pipeAPI)) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		if change != nil {
			change(&cfg)
		}
		node := newMemoryNode()
		s, err := NewServer(cfg, node, node, node, node, discard(), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		a := &pipeAPI{t: t, node: node, server: s, l: &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}}
		hs := s.HTTPServer()
		hs.Handler = documented(t, hs.Handler)
		served := make(chan error, 1)
		go func() { served <- hs.Serve(a.l) }()
		test(a)
		if err := hs.Shutdown(context.Background()); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
}

// dial opens a connection.
func (a *pipeAPI) dial() net.Conn {
	client, server := net.Pipe()
	a.l.conns <- server
	return client
}

// ask sends raw text on a connection of its own and returns the answer with
// the time that it took.
func (a *pipeAPI) ask(raw string) (*http.Response, string, time.Duration) {
	a.t.Helper()
	conn := a.dial()
	defer conn.Close()
	begin := time.Now()
	go func() { _, _ = io.WriteString(conn, raw) }()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	elapsed := time.Since(begin)
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return res, string(text), elapsed
}

func (a *pipeAPI) createTopic() {
	a.t.Helper()
	if res, text, _ := a.ask("PUT /v1/topics/t HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); res.StatusCode != 201 {
		a.t.Fatalf("%d %s", res.StatusCode, text)
	}
}

func TestSlowBodyIsGivenUpAtItsDeadline(t *testing.T) {
	for _, media := range []string{typeJSON, typeNDJSON, typeBatch, "text/plain"} {
		t.Run(media, func(t *testing.T) {
			inBubble(t, nil, func(a *pipeAPI) {
				a.createTopic()
				res, text, elapsed := a.ask("POST " + partitionRecords + " HTTP/1.1\r\nHost: h\r\nContent-Type: " + media + "\r\nContent-Length: 1000\r\n\r\nhalf")
				if res.StatusCode != 408 || !res.Close || !strings.Contains(text, `"slow_body"`) {
					t.Errorf("%d %s", res.StatusCode, text)
				}
				if elapsed != DefaultConfig().BodyGrace {
					t.Errorf("answered after %s", elapsed)
				}
				if a.node.reserved != 0 {
					t.Errorf("%d bytes are still reserved", a.node.reserved)
				}
			})
		})
	}
}

// A body at the least rate takes as long as it takes; one below it does not.
func TestBodyRate(t *testing.T) {
	for _, c := range []struct {
		perSecond int
		status    int
	}{{16 << 10, 200}, {8 << 10, 408}} {
		t.Run(fmt.Sprint(c.perSecond), func(t *testing.T) {
			inBubble(t, nil, func(a *pipeAPI) {
				a.createTopic()
				const size = 1 << 20
				conn := a.dial()
				sent := make(chan struct{})
				defer func() {
					conn.Close()
					<-sent
				}()
				go func() {
					defer close(sent)
					_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", partitionRecords, size)
					piece := []byte(strings.Repeat("x", c.perSecond))
					for sent := 0; sent < size && err == nil; sent += len(piece) {
						_, err = conn.Write(piece)
						time.Sleep(time.Second) // of virtual time
					}
				}()
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				if res.StatusCode != c.status {
					t.Errorf("status %d, want %d", res.StatusCode, c.status)
				}
			})
		})
	}
}

// A stream of lines may be slow for ever, as long as lines come.
func TestSlowLinesAreNoSlowBody(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		conn := a.dial()
		sent := make(chan struct{})
		defer func() {
			conn.Close()
			<-sent
		}()
		go func() {
			defer close(sent)
			_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n", partitionRecords, typeNDJSON)
			for range 100 {
				_, _ = io.WriteString(conn, "2\r\na\n\r\n")
				time.Sleep(9 * time.Second)
			}
			_, _ = io.WriteString(conn, "1\r\nb\r\n") // and then a line without an end
		}()
		begin := time.Now()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		acks := parseAcks(t, text)
		last := acks[len(acks)-1]
		if res.StatusCode != 200 || len(acks) != 101 || last.Status != 408 || last.Records != 100 {
			t.Errorf("%d lines, the last %+v", len(acks), last)
		}
		// The last line began 900 s in; its account with the line before.
		if elapsed := time.Since(begin); elapsed < 900*time.Second || elapsed > 930*time.Second {
			t.Errorf("ended after %s", elapsed)
		}
	})
}

// The time in which the node does not read, since it commits, is not the client's.
func TestBackpressureIsNoSlowBody(t *testing.T) {
	inBubble(t, func(c *Config) {
		linesConfig(c)
		c.RequestTimeout = time.Hour
	}, func(a *pipeAPI) {
		a.createTopic()
		a.node.before = func(ctx context.Context, _ int64, _ ingest.Options) error {
			time.Sleep(time.Minute)
			return nil
		}
		// Lines that take several reads, so that the node stops within one.
		body := strings.Repeat(strings.Repeat("x", 200_000)+"\n", 12)
		res, text, elapsed := a.ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			partitionRecords, typeNDJSON, len(body), body))
		if res.StatusCode != 200 || !strings.HasSuffix(text, `{"done":true,"records":12}`+"\n") || elapsed < time.Minute {
			t.Errorf("%d after %s: %.300s", res.StatusCode, elapsed, text)
		}
	})
}

// A client that takes nothing of its answer is cut off, and what the answer
// held is given back.
func TestStuckReaderIsCutOff(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		body := strings.Repeat("x", 1<<20)
		for range 4 {
			if res, text, _ := a.ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", partitionRecords, len(body), body)); res.StatusCode != 200 {
				t.Fatalf("%d %s", res.StatusCode, text)
			}
		}
		for _, media := range []string{typeJSON, typeNDJSON, typeBatch} {
			conn := a.dial()
			_, err := fmt.Fprintf(conn, "GET %s?offset=0&max_bytes=67108864 HTTP/1.1\r\nHost: h\r\nAccept: %s\r\n\r\n", partitionRecords, media)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := a.server.fetched.inside.Load(); got < 4<<20 {
				t.Errorf("%s: %d bytes are counted while they are written", media, got)
			}
			time.Sleep(a.server.cfg.WriteTimeout + time.Second)
			synctest.Wait()
			if got := a.server.fetched.inside.Load(); got != 0 {
				t.Errorf("%s: %d bytes are still held", media, got)
			}
			if _, err := io.ReadAll(conn); err != nil { // what was written before, and the end
				t.Errorf("%s: %v", media, err)
			}
			conn.Close()
		}
	})
}

// An idle connection may wait longer than a write deadline lasts.
func TestKeepAliveOutlivesDeadlines(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		conn := a.dial()
		defer conn.Close()
		in := bufio.NewReader(conn)
		for range 3 {
			go func() {
				_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", partitionRecords)
			}()
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != 100 {
				t.Fatalf("status %d", res.StatusCode)
			}
			go func() { _, _ = io.WriteString(conn, "x") }()
			if res, err = http.ReadResponse(in, nil); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			if res.StatusCode != 200 {
				t.Fatalf("status %d", res.StatusCode)
			}
			time.Sleep(90 * time.Second) // below IdleTimeout, above all others
		}
	})
}

// The commit may take longer than the body was allowed to.
func TestLongCommitAfterTheBody(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.node.before = func(ctx context.Context, _ int64, _ ingest.Options) error {
			select {
			case <-time.After(25 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for _, media := range []string{typeJSON, typeNDJSON, "text/plain"} {
			body := `{"records":[{"value":"a"}]}`
			res, text, elapsed := a.ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", partitionRecords, media, len(body), body))
			if res.StatusCode != 200 || elapsed != 25*time.Second {
				t.Errorf("%s: %d after %s: %s", media, res.StatusCode, elapsed, text)
			}
		}
	})
}

// RequestTimeout bounds the commit.
func TestRequestTimeout(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.node.before = func(ctx context.Context, _ int64, _ ingest.Options) error {
			<-ctx.Done()
			return ctx.Err()
		}
		for _, media := range []string{typeNDJSON, "text/plain"} {
			res, text, elapsed := a.ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", partitionRecords, media))
			if res.StatusCode != 503 || elapsed != 30*time.Second || res.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %d after %s: %s", media, res.StatusCode, elapsed, text)
			}
		}
	})
}

func TestLongPoll(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		get := "GET " + partitionRecords + "?offset=0&max_wait_ms=30000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
		res, text, elapsed := a.ask(get)
		if res.StatusCode != 200 || elapsed != 30*time.Second || !strings.Contains(text, `{"records":[],"next_offset":0,`) {
			t.Errorf("%d after %s: %s", res.StatusCode, elapsed, text)
		}
		// An empty body must not leave its deadline behind.
		empty := strings.Replace(get, "Connection: close\r\n\r\n", "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1)
		if res, text, elapsed = a.ask(empty); res.StatusCode != 200 || elapsed != 30*time.Second {
			t.Errorf("%d after %s: %s", res.StatusCode, elapsed, text)
		}
		go func() {
			time.Sleep(7 * time.Second)
			a.ask("POST " + partitionRecords + " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
		}()
		if res, text, elapsed = a.ask(get); elapsed != 7*time.Second || !strings.Contains(text, `"next_offset":1`) {
			t.Errorf("%d after %s: %s", res.StatusCode, elapsed, text)
		}
		// A client that leaves ends its poll.
		conn := a.dial()
		if _, err := io.WriteString(conn, strings.Replace(get, "offset=0", "offset=1", 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := a.server.open.inside.Load(); got != 1 {
			t.Fatalf("%d requests are open", got)
		}
		conn.Close()
		synctest.Wait()
		if got := a.server.open.inside.Load(); got != 0 {
			t.Errorf("%d requests are open after the client left", got)
		}
	})
}

// A refusal does not wait for the body that it does not want.
func TestRefusalIsPrompt(t *testing.T) {
	inBubble(t, linesConfig, func(a *pipeAPI) {
		a.createTopic()
		post := func(media, length, body string) (*http.Response, string, time.Duration) {
			return a.ask("POST " + partitionRecords + " HTTP/1.1\r\nHost: h\r\nContent-Type: " + media + "\r\nContent-Length: " + length + "\r\n\r\n" + body)
		}
		a.node.before = func(context.Context, int64, ingest.Options) error { return ingest.ErrNotCommitted }
		if res, text, elapsed := post(typeNDJSON, "1000", numbered(4)); res.StatusCode != 503 || elapsed != 0 {
			t.Errorf("lines: %d after %s: %s", res.StatusCode, elapsed, text)
		}
		a.node.budget = 1
		for _, media := range []string{typeJSON, typeNDJSON, typeBatch, "text/plain"} {
			if res, text, elapsed := post(media, "1000", "x"); res.StatusCode != 503 || elapsed != 0 {
				t.Errorf("%s: %d after %s: %s", media, res.StatusCode, elapsed, text)
			}
		}
	})
}

// A connection is as good as new after a request that took its time.
func TestConnectionAfterALongCommit(t *testing.T) {
	for _, media := range []string{typeJSON, typeNDJSON, "text/plain"} {
		t.Run(media, func(t *testing.T) {
			inBubble(t, nil, func(a *pipeAPI) {
				a.createTopic()
				a.node.before = func(context.Context, int64, ingest.Options) error {
					time.Sleep(25 * time.Second)
					return nil
				}
				conn := a.dial()
				defer conn.Close()
				in := bufio.NewReader(conn)
				body := `{"records":[{"value":"a"}]}`
				for i := range 3 {
					go func() {
						_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", partitionRecords, media, len(body), body)
					}()
					res, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Fatalf("request %d: %v", i, err)
					}
					_, _ = io.Copy(io.Discard, res.Body)
					if res.StatusCode != 200 || res.Close {
						t.Fatalf("request %d: status %d, closed %t", i, res.StatusCode, res.Close)
					}
				}
			})
		})
	}
}
