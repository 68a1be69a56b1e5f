package s3shape

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/s3store"
	"github.com/wadilog/wadi/internal/objstore/storetest"
	"github.com/wadilog/wadi/localstack"
)

// swift is a shape that keeps nobody waiting.
func swift() Shape {
	s := DefaultShape()
	quick := Latency{time.Microsecond, 10 * time.Microsecond}
	s.Put, s.PutIfAbsent, s.Get, s.List, s.Delete, s.SlowDown = quick, quick, quick, quick, quick, 0
	return s
}

// start runs a proxy in front of the server at target, and returns its URL.
func start(t *testing.T, target string, shape Shape) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(u.Host, shape)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

func client(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestBodiesPassUnchanged, in both directions, with their length told before or
// not, and over one connection.
func TestBodiesPassUnchanged(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Told", strconv.FormatInt(r.ContentLength, 10))
		w.Header().Set("Host-Seen", r.Host)
		if r.URL.Query().Has("flush") {
			w.WriteHeader(http.StatusCreated)
			w.(http.Flusher).Flush() // so that the answer is chunked
		}
		_, _ = w.Write(body)
	}))
	defer server.Close()
	address, c := start(t, server.URL, swift()), client(t)
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 2, 100, headBytes - 1, headBytes, 1 << 20} {
		for _, told := range []bool{true, false} {
			for _, query := range []string{"", "?flush"} {
				t.Run(fmt.Sprintf("%d/%v/%s", size, told, query), func(t *testing.T) {
					body := make([]byte, size)
					for i := range body {
						body[i] = byte(random.Uint32())
					}
					var reader io.Reader = bytes.NewReader(body)
					if !told {
						reader = iotest.DataErrReader(reader)
					}
					request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address+"/key"+query, reader)
					if err != nil {
						t.Fatal(err)
					}
					response, err := c.Do(request)
					if err != nil {
						t.Fatal(err)
					}
					defer response.Body.Close()
					got, err := io.ReadAll(response.Body)
					if err != nil || !bytes.Equal(got, body) {
						t.Errorf("%d bytes came back (%v)", len(got), err)
					}
					if told && response.Header.Get("Told") != strconv.Itoa(size) {
						t.Errorf("the store was told a length of %s", response.Header.Get("Told"))
					}
					if want := strings.TrimPrefix(address, "http://"); response.Header.Get("Host-Seen") != want {
						t.Errorf("host %q, signed for %q", response.Header.Get("Host-Seen"), want)
					}
				})
			}
		}
	}
}

func TestHeadHasNoBody(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
	}))
	defer server.Close()
	address, c := start(t, server.URL, swift()), client(t)
	for range 3 { // over one connection: a body that is waited for would stop the second
		response, err := c.Head(address + "/key")
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.ContentLength != 1000 {
			t.Errorf("length %d (%v)", response.ContentLength, err)
		}
	}
}

// TestRefusedRequestsHaveNoEffect counts what reaches the store.
func TestRefusedRequestsHaveNoEffect(t *testing.T) {
	var reached atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer server.Close()
	shape := swift()
	shape.SlowDown = 0.5
	address, c := start(t, server.URL, shape), client(t)
	taken, refused := int64(0), 0
	for range 100 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address+"/key", strings.NewReader(strings.Repeat("x", 50_000)))
		if err != nil {
			t.Fatal(err)
		}
		response, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
		switch {
		case err != nil:
			t.Fatal(err)
		case response.StatusCode == http.StatusOK:
			taken++
		case response.StatusCode == http.StatusServiceUnavailable && bytes.Contains(body, []byte("<Code>SlowDown</Code>")):
			refused++
		default:
			t.Fatalf("%s: %s", response.Status, body)
		}
	}
	if reached.Load() != taken || refused == 0 || taken == 0 {
		t.Errorf("%d requests reached the store, %d were taken, %d refused", reached.Load(), taken, refused)
	}
}

// TestNothingIsSeenEarly: neither does the store see a request before the time
// of its effect, nor its caller the answer.
func TestNothingIsSeenEarly(t *testing.T) {
	var seen atomic.Pointer[time.Time]
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		now := time.Now()
		seen.Store(&now)
	}))
	defer server.Close()
	shape := swift()
	shape.PutIfAbsent = Latency{20 * time.Millisecond, 20 * time.Millisecond}
	address, c := start(t, server.URL, shape), client(t)
	expected := newFates(shape)
	for range 20 {
		fate := expected.draw(putIfAbsent)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address+"/key", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("If-None-Match", "*")
		began := time.Now()
		response, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < fate.answerAfter {
			t.Errorf("answered after %s, drawn were %s", took, fate.answerAfter)
		}
		if took := seen.Load().Sub(began); took < fate.effectAfter {
			t.Errorf("the store saw it after %s, drawn were %s", took, fate.effectAfter)
		}
	}
}

// TestConformanceThroughTheProxy: a store keeps its promises behind it.
func TestConformanceThroughTheProxy(t *testing.T) {
	minio, err := localstack.StartMinIO(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := minio.Stop(); err != nil {
			t.Error(err)
		}
	})
	address := start(t, minio.Endpoint, swift())
	n := 0
	storetest.Run(t, storetest.Features{}, func(t *testing.T) objstore.Bucket {
		n++
		cfg := s3store.DefaultConfig()
		cfg.Bucket, cfg.Endpoint, cfg.Region = minio.Bucket, address, "us-east-1"
		cfg.AccessKey, cfg.SecretKey, cfg.Prefix = minio.AccessKey, minio.SecretKey, fmt.Sprintf("p-%d", n)
		s, err := s3store.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}

// TestConnectionsEndWithTheProxy: also those that are idle.
func TestConnectionsEndWithTheProxy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	u, _ := url.Parse(server.URL)
	p, err := New(u.Host, swift())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, listener) }()
	var idle []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, conn := range idle {
		_ = conn.Close()
	}
}
