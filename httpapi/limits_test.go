package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// untilClosed returns how long a connection stayed open, and what came from it.
func untilClosed(conn io.Reader) (time.Duration, string) {
	begin := time.Now()
	text, _ := io.ReadAll(conn)
	return time.Since(begin), string(text)
}

// Whoever says nothing, or goes on with headers for ever, is not waited for.
func TestSlowHeadersAreGivenUp(t *testing.T) {
	for _, sent := range []string{"", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nHost: h\r\nX-Slow: a"} {
		inBubble(t, nil, func(a *pipeAPI) {
			conn := a.dial()
			defer conn.Close()
			go func() { _, _ = io.WriteString(conn, sent) }()
			if after, text := untilClosed(conn); after != a.server.cfg.ReadHeaderTimeout {
				t.Errorf("%q: closed after %s with %q", sent, after, text)
			}
		})
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	inBubble(t, func(c *Config) { c.IdleTimeout = 11 * time.Minute }, func(a *pipeAPI) {
		conn := a.dial()
		defer conn.Close()
		go func() { _, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n") }()
		in := bufio.NewReader(conn)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if after, text := untilClosed(in); after != 11*time.Minute || text != "" {
			t.Errorf("closed after %s with %q", after, text)
		}
	})
}

func TestHeadersAreBounded(t *testing.T) {
	inBubble(t, func(c *Config) { c.HeaderBytesMax = 8 << 10 }, func(a *pipeAPI) {
		for n, want := range map[int]int{7 << 10: 200, 16 << 10: 431} {
			conn := a.dial()
			go func() {
				_, _ = fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", n))
			}()
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != want {
				t.Errorf("headers of %d bytes: status %d", n, res.StatusCode)
			}
			conn.Close()
			synctest.Wait()
		}
	})
}

// A client that takes nothing of an encoded answer is cut off as well, and its
// encoder given back.
func TestStuckReaderOfAnEncodedAnswer(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		noise := make([]byte, 1<<20)
		_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
		for range 2 {
			if res, text, _ := a.ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", partitionRecords, len(noise), noise)); res.StatusCode != 200 {
				t.Fatalf("%d %s", res.StatusCode, text)
			}
		}
		for _, coding := range []string{"gzip", "zstd"} {
			conn := a.dial()
			if _, err := fmt.Fprintf(conn, "GET %s?offset=0&max_bytes=67108864 HTTP/1.1\r\nHost: h\r\nAccept-Encoding: %s\r\n\r\n", partitionRecords, coding); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := a.server.encoders.inside.Load(); got != 1 {
				t.Errorf("%s: %d encoders are counted", coding, got)
			}
			time.Sleep(a.server.cfg.WriteTimeout + time.Second)
			synctest.Wait()
			if encoders, held := a.server.encoders.inside.Load(), a.server.fetched.inside.Load(); encoders != 0 || held != 0 {
				t.Errorf("%s: %d encoders and %d bytes are still held", coding, encoders, held)
			}
			conn.Close()
		}
	})
}

// TestRequestIDs: an answer has the request's own id if it does no harm in a log.
func TestRequestIDs(t *testing.T) {
	a := newTestAPI(t, nil)
	for id, kept := range map[string]bool{
		"abc-123":                   true,
		strings.Repeat("x", 128):    true,
		strings.Repeat("x", 129):    false,
		"with space":                false,
		"é":                         false,
		"":                          false,
		`"quoted"`:                  true,
		"00-4bf92f3577b34da6-01":    true,
		"tab\tin it":                false,
		"{\"injected\":\"member\"}": true,
	} {
		for _, path := range []string{"/healthz", "/v1/topics/none", "/nowhere"} {
			got := a.do("GET", path, "", "X-Request-Id", id).header.Get("X-Request-Id")
			if (got == id) != kept || got == "" {
				t.Errorf("%s: the answer to %q has %q", path, id, got)
			}
		}
	}
	first, second := a.do("GET", "/healthz", "").header, a.do("GET", "/healthz", "").header
	if first.Get("X-Request-Id") == second.Get("X-Request-Id") {
		t.Errorf("two requests have the id %s", first.Get("X-Request-Id"))
	}
}

// TestAccessLog: a line for each request says what it was and how it went, and
// nothing of what it held.
func TestAccessLog(t *testing.T) {
	const secret = "secret"
	for _, on := range []bool{true, false} {
		var log bytes.Buffer
		cfg := DefaultConfig()
		cfg.AccessLog = on
		node := newMemoryNode()
		s, err := NewServer(cfg, node, node, node, node, slog.New(slog.NewJSONHandler(&log, nil)), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		requests := []struct{ method, path, media, body string }{
			{"PUT", "/v1/topics/t", typeJSON, ""},
			{"POST", partitionRecords + "?key=" + secret, "text/plain", secret},
			{"POST", partitionRecords, typeJSON, `{"records":[{"key":"` + secret + `","value":"` + secret + `"}]}`},
			{"POST", partitionRecords, typeJSON, `{"` + secret + `":1}`},
			{"POST", partitionRecords + "?key_field=" + secret, typeNDJSON, `{"` + secret + `":"` + secret + `"}`},
			{"GET", partitionRecords + "?offset=0&" + secret + "=1", "", ""},
			{"GET", partitionRecords + "?offset=0", "", ""},
			{"GET", "/" + secret, "", ""},
		}
		for i, r := range requests {
			serveOne(t, s, r.method, r.path, r.media, r.body, fmt.Sprint("id-", i))
		}
		if !on {
			if log.Len() > 0 {
				t.Errorf("logged without being asked: %s", log.Bytes())
			}
			continue
		}
		if strings.Contains(log.String(), secret) {
			t.Errorf("what requests held is in the log: %s", log.Bytes())
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != len(requests) {
			t.Fatalf("%d lines for %d requests: %s", len(lines), len(requests), log.Bytes())
		}
		for i, line := range lines {
			var l struct {
				Msg, Level, Method, Route, Remote string
				RequestID                         string `json:"request_id"`
				Status                            int
				Received, Bytes, Elapsed          int64
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			if l.Msg != "request" || l.Level != "INFO" || l.RequestID != fmt.Sprint("id-", i) || l.Method != requests[i].method ||
				l.Route == "" || l.Remote == "" || l.Status == 0 || l.Received != int64(len(requests[i].body)) || l.Bytes == 0 {
				t.Errorf("line %s", line)
			}
		}
	}
}

// serveOne sends one request over a connection of its own.
func serveOne(t *testing.T, s *Server, method, path, media, body, id string) {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	hs := s.HTTPServer()
	served := make(chan error, 1)
	go func() { served <- hs.Serve(l) }()
	a := &pipeAPI{t: t, server: s, l: l}
	a.ask(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: h\r\nX-Request-Id: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", method, path, id, media, len(body), body))
	if err := hs.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	<-served
}
