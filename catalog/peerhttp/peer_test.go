package peerhttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
)

// scripted is a catalog that answers what the test says.
type scripted struct {
	forward func(context.Context, catalog.ForwardRequest) (catalog.ForwardAnswer, error)
	pull    func(context.Context, catalog.PullRequest) (catalog.PullAnswer, error)
	keep    func(context.Context, catalog.KeepRequest) (catalog.KeepAnswer, error)
}

func (s scripted) ServeForward(ctx context.Context, r catalog.ForwardRequest) (catalog.ForwardAnswer, error) {
	return s.forward(ctx, r)
}

func (s scripted) ServePull(ctx context.Context, r catalog.PullRequest) (catalog.PullAnswer, error) {
	return s.pull(ctx, r)
}

func (s scripted) ServeKeep(ctx context.Context, r catalog.KeepRequest) (catalog.KeepAnswer, error) {
	return s.keep(ctx, r)
}

// failing refuses everything with err.
func failing(err error) scripted {
	return scripted{
		forward: func(context.Context, catalog.ForwardRequest) (catalog.ForwardAnswer, error) {
			return catalog.ForwardAnswer{}, err
		},
		pull: func(context.Context, catalog.PullRequest) (catalog.PullAnswer, error) {
			return catalog.PullAnswer{}, err
		},
		keep: func(context.Context, catalog.KeepRequest) (catalog.KeepAnswer, error) {
			return catalog.KeepAnswer{}, err
		},
	}
}

func known(t Token) Identity { return func() (Token, bool) { return t, true } }

func unknown() (Token, bool) { return "", false }

var cluster = NewToken([16]byte{1, 2, 3}, "")

func startServer(t *testing.T, cfg Config, c Catalog, identity Identity) (*Server, string) {
	t.Helper()
	s, err := NewServer(cfg, c, identity, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return s, startHTTP(t, s.HTTPServer())
}

func startHTTP(t *testing.T, server *http.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		// Shutdown, other than Close, waits for connections that linger.
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

func newClient(t *testing.T, identity Identity) *Client {
	t.Helper()
	c, err := NewClient(DefaultConfig(), identity, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// each makes one call of each kind and returns their errors by kind.
func each(ctx context.Context, c *Client, address string) map[string]error {
	_, forward := c.Forward(ctx, address, catalog.ForwardRequest{Edits: []byte("edits")})
	_, pull := c.Pull(ctx, address, catalog.PullRequest{Address: "http://me:1"})
	_, keep := c.Keep(ctx, address, catalog.KeepRequest{Heartbeats: []catalog.Heartbeat{{Group: "g", Member: "m", Epoch: 1}}})
	return map[string]error{callForward: forward, callPull: pull, callKeep: keep}
}

// promises tells which of the errors that promise something err is.
func promises(err error) string {
	if result := resultOf(err); result != "failed" {
		return result
	}
	return ""
}

func TestCallsReachTheCatalogAndTheirAnswersReturn(t *testing.T) {
	largest := bytes.Repeat([]byte{3}, journal.EntryBytesMax)
	forward := catalog.ForwardRequest{Epoch: 4, Session: journal.NewNonce(), Seq: 9, Edits: largest}
	outcome := catalog.ForwardAnswer{Slot: 77, Outcomes: largest[:len(largest)-1]}
	pull := catalog.PullRequest{Address: "http://me:1", After: 76, Nonce: journal.NewNonce(), Wait: time.Second}
	entries := catalog.PullAnswer{Entries: [][]byte{largest, largest}, Stalled: time.Second, Resigned: true, Successor: "http://you:1"}
	keep := catalog.KeepRequest{Heartbeats: []catalog.Heartbeat{{Group: "g", Member: "m", Epoch: 7}, {Group: "h", Member: "n", Epoch: 1 << 40}}}
	kept := catalog.KeepAnswer{Outcomes: []catalog.KeepOutcome{catalog.KeepRenewed, catalog.KeepFenced}}
	var got []any
	_, address := startServer(t, DefaultConfig(), scripted{
		forward: func(_ context.Context, r catalog.ForwardRequest) (catalog.ForwardAnswer, error) {
			got = append(got, r)
			return outcome, nil
		},
		pull: func(_ context.Context, r catalog.PullRequest) (catalog.PullAnswer, error) {
			got = append(got, r)
			return entries, nil
		},
		keep: func(_ context.Context, r catalog.KeepRequest) (catalog.KeepAnswer, error) {
			got = append(got, r)
			return kept, nil
		},
	}, known(cluster))
	c := newClient(t, known(cluster))
	for range 2 { // the second over a connection that was used
		got = nil
		answer, err := c.Forward(t.Context(), address+"/", forward)
		if err != nil || !reflect.DeepEqual(answer, outcome) {
			t.Fatalf("forward: %v, the answer came through: %v", err, reflect.DeepEqual(answer, outcome))
		}
		pulled, err := c.Pull(t.Context(), address, pull)
		if err != nil || !reflect.DeepEqual(pulled, entries) {
			t.Fatalf("pull: %v, the answer came through: %v", err, reflect.DeepEqual(pulled, entries))
		}
		outcomes, err := c.Keep(t.Context(), address, keep)
		if err != nil || !reflect.DeepEqual(outcomes, kept) {
			t.Fatalf("keep: %v, the answer came through: %v", err, reflect.DeepEqual(outcomes, kept))
		}
		if !reflect.DeepEqual(got, []any{forward, pull, keep}) {
			t.Fatal("the requests did not come through")
		}
	}
}

// TestErrorsOfTheCatalogReturn holds each error that promises something, both
// ways, and that no other turns into one of them.
func TestErrorsOfTheCatalogReturn(t *testing.T) {
	other := &catalog.NotLeaderError{Epoch: 12, Leader: "http://10.0.0.3:7171"}
	for _, c := range []struct {
		err  error
		want string
	}{
		{other, "not_leader"},
		{fmt.Errorf("serve: %w", other), "not_leader"},
		{&catalog.NotLeaderError{}, "not_leader"},
		{fmt.Errorf("serve: %w", catalog.ErrBusy), "busy"},
		{catalog.ErrBehind, "behind"},
		{catalog.ErrNobodyThere, ""},
		{catalog.ErrUnknownOutcome, ""},
		{context.DeadlineExceeded, ""},
		{errors.New("anything else"), ""},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			server, address := startServer(t, DefaultConfig(), failing(c.err), known(cluster))
			client := newClient(t, known(cluster))
			for call, err := range each(t.Context(), client, address) {
				if err == nil || promises(err) != c.want {
					t.Errorf("%s: %v promises %q, want %q", call, err, promises(err), c.want)
				}
				var got, want *catalog.NotLeaderError
				if errors.As(c.err, &want) && (!errors.As(err, &got) || *got != *want) {
					t.Errorf("%s: %v, want %v", call, err, want)
				}
				result := resultOf(c.err)
				if n := testutil.ToFloat64(server.metrics.served.WithLabelValues(call, result)); n != 1 {
					t.Errorf("%s was counted %v times as %s by the server", call, n, result)
				}
				if n := testutil.ToFloat64(client.metrics.sent.WithLabelValues(call, resultOf(err))); n != 1 {
					t.Errorf("%s was counted %v times as %s by the client", call, n, resultOf(err))
				}
			}
		})
	}
}

// TestAnswersOfStrangersPromiseNothing: a proxy, another program, another
// version. Only a whole message with the status that belongs to it counts.
func TestAnswersOfStrangersPromiseNothing(t *testing.T) {
	ok := must(t)
	other := encodeNotLeader(&catalog.NotLeaderError{Epoch: 1, Leader: "x"}).join()
	forwarded := ok(encodeForwardAnswer(catalog.ForwardAnswer{Outcomes: []byte("outcomes")}))
	pulled := ok(encodePullAnswer(catalog.PullAnswer{Entries: [][]byte{[]byte("entry")}}))
	for name, answer := range map[string]http.HandlerFunc{
		"empty 200":          func(http.ResponseWriter, *http.Request) {},
		"text":               func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello</html>") },
		"bare 421":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(statusNotLeader) },
		"bare 429":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(statusBusy) },
		"bare 410":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(statusBehind) },
		"message, other way": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(statusBusy); _, _ = w.Write(other) },
		"refusal as 200":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(other) },
		"cut": func(w http.ResponseWriter, r *http.Request) {
			answer := map[string][]byte{forwardPath: forwarded, pullPath: pulled}[r.URL.Path]
			_, _ = w.Write(answer[:len(answer)-1])
		},
		"swapped": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(map[string][]byte{forwardPath: pulled, pullPath: forwarded}[r.URL.Path])
		},
		"announced too large": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(pullMessageMax+1))
			w.WriteHeader(http.StatusOK)
		},
		"too large": func(w http.ResponseWriter, _ *http.Request) {
			for chunk, n := make([]byte, 1<<20), 0; n <= pullMessageMax; n += len(chunk) {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"unavailable": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) },
		"breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("WADP"))
			panic(http.ErrAbortHandler)
		},
		"closes": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			asked := map[string]int{}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				asked[r.URL.Path]++
				mu.Unlock()
				_, _ = io.Copy(io.Discard, r.Body)
				answer(w, r)
			}))
			defer server.Close()
			for call, err := range each(t.Context(), newClient(t, known(cluster)), server.URL) {
				if err == nil || promises(err) != "" {
					t.Errorf("%s: got %v, want an error that promises nothing", call, err)
				}
			}
			// Neither a redirect nor a lost answer makes the client ask again.
			mu.Lock()
			defer mu.Unlock()
			if want := map[string]int{forwardPath: 1, pullPath: 1, keepPath: 1}; !reflect.DeepEqual(asked, want) {
				t.Errorf("asked %v, want %v", asked, want)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, known(cluster))
	for call, err := range each(t.Context(), c, address) {
		if promises(err) != "nobody_there" {
			t.Errorf("%s to a free port: %v", call, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for call, err := range each(ended, c, address) {
		if err == nil || promises(err) != "" {
			t.Errorf("%s that was given up: %v", call, err)
		}
	}
	for _, wrong := range []string{"", "10.0.0.1:7171", "ftp://10.0.0.1", "http://", "http://a b", "http://host.invalid:1"} {
		for call, err := range each(t.Context(), c, wrong) {
			if err == nil || promises(err) != "" {
				t.Errorf("%s to %q: %v", call, wrong, err)
			}
		}
	}
}

// TestADeadNodeIsFoundOut: a client with a connection to a node that ended may
// send one request into it, and then says that nobody is there.
func TestADeadNodeIsFoundOut(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	c := newClient(t, known(cluster))
	if _, err := c.Pull(t.Context(), server.URL, catalog.PullRequest{}); err == nil {
		t.Fatal("an empty answer was taken")
	}
	server.Close()
	_, first := c.Pull(t.Context(), server.URL, catalog.PullRequest{})
	if first == nil || promises(first) != "nobody_there" && promises(first) != "" {
		t.Errorf("first: %v", first)
	}
	if _, err := c.Pull(t.Context(), server.URL, catalog.PullRequest{}); promises(err) != "nobody_there" {
		t.Errorf("second: %v", err)
	}
}

func TestStrangersAreRefusedBeforeTheirBodyIsRead(t *testing.T) {
	_, address := startServer(t, DefaultConfig(), failing(errors.New("a stranger was served")), known(cluster))
	for name, header := range map[string]string{
		"nothing":       "",
		"other scheme":  "Bearer " + string(cluster),
		"other token":   tokenScheme + string(NewToken([16]byte{9}, "")),
		"part of it":    tokenScheme + string(cluster[:32]),
		"more than it":  tokenScheme + string(cluster) + "0",
		"only a scheme": tokenScheme,
	} {
		for _, path := range []string{forwardPath, pullPath} {
			// Of the body nothing but its length ever comes.
			conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4000000\r\n", path)
			if header != "" {
				fmt.Fprintf(conn, "Authorization: %s\r\n", header)
			}
			fmt.Fprint(conn, "\r\n")
			status := make([]byte, len("HTTP/1.1 401"))
			if _, err := io.ReadFull(conn, status); err != nil || string(status) != "HTTP/1.1 401" {
				t.Errorf("%s, %s: %q, %v", path, name, status, err)
			}
			_ = conn.Close()
		}
	}
	for call, err := range each(t.Context(), newClient(t, known(NewToken([16]byte{1, 2, 3}, "other"))), address) {
		if err == nil || promises(err) != "" || !strings.Contains(err.Error(), "--peer-secret") {
			t.Errorf("%s with another secret: %v", call, err)
		}
	}
}

func TestTokensDependOnClusterAndSecret(t *testing.T) {
	seen := map[Token]bool{}
	for _, id := range [][16]byte{{}, {1}} {
		for _, secret := range []string{"", "one", "two"} {
			token := NewToken(id, secret)
			if seen[token] || token != NewToken(id, secret) || len(token) != 64 {
				t.Errorf("the token of %v and %q is %q", id, secret, token)
			}
			seen[token] = true
		}
	}
}

func TestBeforeTheClusterIsKnown(t *testing.T) {
	_, address := startServer(t, DefaultConfig(), failing(errors.New("served")), unknown)
	for call, err := range each(t.Context(), newClient(t, known(cluster)), address) {
		if err == nil || promises(err) != "" || !strings.Contains(err.Error(), "503") {
			t.Errorf("%s to a node that knows no cluster: %v", call, err)
		}
	}
	for call, err := range each(t.Context(), newClient(t, unknown), address) {
		if err == nil || promises(err) != "" || strings.Contains(err.Error(), "answered") {
			t.Errorf("%s of a node that knows no cluster: %v", call, err)
		}
	}
}

// post sends a body as it is, with the cluster's token.
func post(t *testing.T, url string, length int64, body io.Reader) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = length
	r.Close = true
	cluster.show(r.Header)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func TestBodiesAreBounded(t *testing.T) {
	_, address := startServer(t, DefaultConfig(), failing(errors.New("served")), known(cluster))
	message := samples(t)[forwardRequest]
	for _, c := range []struct {
		name   string
		path   string
		length int64
		body   []byte
		want   int
	}{
		{"forward over the limit", forwardPath, forwardMessageMax + 1, make([]byte, forwardMessageMax+1), http.StatusRequestEntityTooLarge},
		{"pull over the limit", pullPath, messageOverheadMax + 1, make([]byte, messageOverheadMax+1), http.StatusRequestEntityTooLarge},
		{"no length", forwardPath, -1, message, http.StatusLengthRequired},
		{"garbage", forwardPath, 100, make([]byte, 100), http.StatusBadRequest},
		{"empty", pullPath, 0, nil, http.StatusBadRequest},
		{"other kind", pullPath, int64(len(message)), message, http.StatusBadRequest},
		{"other path", "/internal/v2/forward", int64(len(message)), message, http.StatusNotFound},
		{"the public API", "/v1/topics", 0, nil, http.StatusNotFound},
	} {
		if got := post(t, address+c.path, c.length, bytes.NewReader(c.body)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestABodyThatDoesNotComeIsGivenUp holds the time limit for bodies.
func TestABodyThatDoesNotComeIsGivenUp(t *testing.T) {
	cfg := DefaultConfig()
	cfg.BodyTimeout = 20 * time.Millisecond
	_, address := startServer(t, cfg, failing(errors.New("served")), known(cluster))
	read, write := io.Pipe()
	defer write.Close()
	if got := post(t, address+forwardPath, 1000, read); got != http.StatusRequestTimeout {
		t.Errorf("got %d", got)
	}
}

// TestAWaitingPullIsNotCut: the time limits for bodies and answers do not run
// while the catalog waits.
func TestAWaitingPullIsNotCut(t *testing.T) {
	cfg := DefaultConfig()
	cfg.BodyTimeout, cfg.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	_, address := startServer(t, cfg, scripted{
		pull: func(ctx context.Context, r catalog.PullRequest) (catalog.PullAnswer, error) {
			select {
			case <-ctx.Done():
				return catalog.PullAnswer{}, ctx.Err()
			case <-time.After(r.Wait):
				return catalog.PullAnswer{Entries: [][]byte{[]byte("entry")}}, nil
			}
		},
	}, known(cluster))
	c := newClient(t, known(cluster))
	for range 2 {
		a, err := c.Pull(t.Context(), address, catalog.PullRequest{Wait: 300 * time.Millisecond})
		if err != nil || len(a.Entries) != 1 {
			t.Errorf("got %v, %v", a, err)
		}
	}
}

func TestThePullsWaitIsBounded(t *testing.T) {
	cfg := DefaultConfig()
	waits := make(chan time.Duration, 2)
	_, address := startServer(t, cfg, scripted{
		pull: func(_ context.Context, r catalog.PullRequest) (catalog.PullAnswer, error) {
			waits <- r.Wait
			return catalog.PullAnswer{}, nil
		},
	}, known(cluster))
	c := newClient(t, known(cluster))
	for _, wait := range []time.Duration{time.Second, time.Hour} {
		if _, err := c.Pull(t.Context(), address, catalog.PullRequest{Wait: wait}); err != nil {
			t.Fatal(err)
		}
		if got := <-waits; got != min(wait, cfg.PullWaitMax) {
			t.Errorf("a pull that wants to wait for %s waits for %s", wait, got)
		}
	}
}

// TestASenderThatGivesUpEndsItsRequest, and its client gets an error that
// promises nothing.
func TestASenderThatGivesUpEndsItsRequest(t *testing.T) {
	begun, ended := make(chan struct{}, 2), make(chan struct{}, 2)
	wait := func(ctx context.Context) error {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	}
	_, address := startServer(t, DefaultConfig(), scripted{
		forward: func(ctx context.Context, _ catalog.ForwardRequest) (catalog.ForwardAnswer, error) {
			return catalog.ForwardAnswer{}, wait(ctx)
		},
		pull: func(ctx context.Context, _ catalog.PullRequest) (catalog.PullAnswer, error) {
			return catalog.PullAnswer{}, wait(ctx)
		},
		keep: func(ctx context.Context, _ catalog.KeepRequest) (catalog.KeepAnswer, error) {
			return catalog.KeepAnswer{}, wait(ctx)
		},
	}, known(cluster))
	c := newClient(t, known(cluster))
	for _, call := range []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := c.Forward(ctx, address, catalog.ForwardRequest{})
			return err
		},
		func(ctx context.Context) error { _, err := c.Pull(ctx, address, catalog.PullRequest{}); return err },
		func(ctx context.Context) error { _, err := c.Keep(ctx, address, catalog.KeepRequest{}); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- call(ctx) }()
		<-begun
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) || promises(err) != "" {
			t.Errorf("got %v", err)
		}
		<-ended
	}
}

// TestRequestsOverTheLimitAreRefusedAsBusy fills each limit and asks once more.
func TestRequestsOverTheLimitAreRefusedAsBusy(t *testing.T) {
	edits := make([]byte, catalog.ForwardBytesMax)
	for _, c := range []struct {
		name   string
		limit  func(*Config)
		filler func(context.Context, *Client, string) error
		call   string
	}{
		{"forwards", func(c *Config) { c.ForwardsMax = 2 }, func(ctx context.Context, c *Client, address string) error {
			_, err := c.Forward(ctx, address, catalog.ForwardRequest{})
			return err
		}, callForward},
		{"bytes of forwards", func(c *Config) { c.ForwardedBytesMax = 2 * forwardMessageMax }, func(ctx context.Context, c *Client, address string) error {
			_, err := c.Forward(ctx, address, catalog.ForwardRequest{Edits: edits})
			return err
		}, ""},
		{"pulls", func(c *Config) { c.PullsMax = 2 }, func(ctx context.Context, c *Client, address string) error {
			_, err := c.Pull(ctx, address, catalog.PullRequest{})
			return err
		}, callPull},
		{"keeps", func(c *Config) { c.KeepsMax = 2 }, func(ctx context.Context, c *Client, address string) error {
			_, err := c.Keep(ctx, address, catalog.KeepRequest{})
			return err
		}, callKeep},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			c.limit(&cfg)
			begun, release := make(chan struct{}, 8), make(chan struct{})
			_, address := startServer(t, cfg, scripted{
				forward: func(context.Context, catalog.ForwardRequest) (catalog.ForwardAnswer, error) {
					begun <- struct{}{}
					<-release
					return catalog.ForwardAnswer{}, nil
				},
				pull: func(context.Context, catalog.PullRequest) (catalog.PullAnswer, error) {
					begun <- struct{}{}
					<-release
					return catalog.PullAnswer{}, nil
				},
				keep: func(context.Context, catalog.KeepRequest) (catalog.KeepAnswer, error) {
					begun <- struct{}{}
					<-release
					return catalog.KeepAnswer{}, nil
				},
			}, known(cluster))
			client := newClient(t, known(cluster))
			results := make(chan error, 2)
			for range 2 {
				go func() { results <- c.filler(t.Context(), client, address) }()
				<-begun
			}
			if err := c.filler(t.Context(), client, address); promises(err) != "busy" {
				t.Errorf("one more: %v", err)
			}
			close(release)
			for range 2 {
				if err := <-results; err != nil {
					t.Error(err)
				}
			}
			if err := c.filler(t.Context(), client, address); err != nil {
				t.Errorf("when there is room again: %v", err)
			}
		})
	}
}

func TestConnectionsOverTheLimitAreClosed(t *testing.T) {
	cfg := DefaultConfig()
	cfg.ConnectionsMax = 1
	_, address := startServer(t, cfg, failing(catalog.ErrBehind), known(cluster))
	held := newClient(t, known(cluster))
	if _, err := held.Pull(t.Context(), address, catalog.PullRequest{}); promises(err) != "behind" {
		t.Fatal(err)
	}
	if _, err := newClient(t, known(cluster)).Pull(t.Context(), address, catalog.PullRequest{}); err == nil || promises(err) != "" {
		t.Errorf("a second connection: %v", err)
	}
}

func TestConfigsAreChecked(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []func(*Config){
		func(c *Config) { c.PullsMax = 0 },
		func(c *Config) { c.DialTimeout = -1 },
		func(c *Config) { c.ForwardedBytesMax = catalog.ForwardBytesMax },
	} {
		cfg := DefaultConfig()
		spoil(&cfg)
		if _, err := NewClient(cfg, unknown, nil); err == nil {
			t.Errorf("a client takes %+v", cfg)
		}
		if _, err := NewServer(cfg, failing(nil), unknown, slog.New(slog.DiscardHandler), nil); err == nil {
			t.Errorf("a server takes %+v", cfg)
		}
	}
}
