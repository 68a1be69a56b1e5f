package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/ingest"
)

const (
	askFetch   = "GET " + partitionRecords + "?offset=0 HTTP/1.1\r\nHost: h\r\n\r\n"
	askProduce = "POST " + partitionRecords + " HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx"
)

// TestLeave: everything is served, and each answer is the last of its connection.
func TestLeave(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		for _, left := range []bool{false, true} {
			if left {
				a.server.Leave()
			}
			for _, ask := range []string{askProduce, askFetch, "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n", "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"} {
				res, text, _ := a.ask(ask)
				if res.StatusCode != http.StatusOK || res.Close != left {
					t.Errorf("left: %v, %.30q: %d, closes: %v: %s", left, ask, res.StatusCode, res.Close, text)
				}
			}
		}
	})
}

// TestLeaveReachesRequestsUnderWay: their answers come after it.
func TestLeaveReachesRequestsUnderWay(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.node.before = func(context.Context, int64, ingest.Options) error {
			a.server.Leave()
			return nil
		}
		if res, text, _ := a.ask(askProduce); res.StatusCode != http.StatusOK || !res.Close {
			t.Errorf("%d, closes: %v: %s", res.StatusCode, res.Close, text)
		}
	})
}

// TestRefuse: nothing changes any more, and reads go on.
func TestRefuse(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.server.Refuse()
		for ask, status := range map[string]int{
			askFetch: http.StatusOK,
			"GET /v1/topics/t/partitions/0/offsets HTTP/1.1\r\nHost: h\r\n\r\n": http.StatusOK,
			"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n":                          http.StatusOK,
			askProduce: http.StatusServiceUnavailable,
			"PUT /v1/topics/u HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n":                       http.StatusServiceUnavailable,
			"PATCH /v1/topics/t HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n":                     http.StatusServiceUnavailable,
			"DELETE /v1/topics/t HTTP/1.1\r\nHost: h\r\n\r\n":                                         http.StatusServiceUnavailable,
			"DELETE /v1/topics/t/partitions/0/records?before=1 HTTP/1.1\r\nHost: h\r\n\r\n":           http.StatusServiceUnavailable,
			"POST /v1/producers HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n":                     http.StatusServiceUnavailable,
			"POST " + partitionRecords + " HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nxyz": http.StatusServiceUnavailable,
		} {
			res, text, _ := a.ask(ask)
			if res.StatusCode != status {
				t.Errorf("%.40q: %d %s", ask, res.StatusCode, text)
			}
			if status == http.StatusServiceUnavailable && (res.Header.Get("Retry-After") == "" || !strings.Contains(text, `"draining"`) || !strings.Contains(text, `"no_side_effects":true`)) {
				t.Errorf("%.40q: %v %s", ask, res.Header, text)
			}
		}
	})
}

// TestQuiet waits for what is under way, and then for a time without requests.
func TestQuiet(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.server.conns.inside.Add(1) // somebody keeps a connection open
		time.Sleep(time.Minute)
		began := time.Now()
		quiet := func(ctx context.Context) error { return a.server.Quiet(ctx, time.Second) }
		if err := quiet(a.t.Context()); err != nil || time.Since(began) != time.Second { // one may be on its way
			t.Errorf("without a request for a minute: %v after %s", err, time.Since(began))
		}

		release := make(chan struct{})
		a.node.before = func(context.Context, int64, ingest.Options) error { <-release; return nil }
		answered := make(chan int, 1)
		go func() {
			res, _, _ := a.ask(askProduce)
			answered <- res.StatusCode
		}()
		synctest.Wait() // it is under way
		a.server.Refuse()
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithTimeout(a.t.Context(), time.Second)
		defer cancel()
		if err := quiet(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while a request is served: %v", err)
		}
		close(release)
		if status := <-answered; status != http.StatusOK {
			t.Errorf("a request that came before Refuse: %d", status)
		}

		began = time.Now()
		time.Sleep(time.Second / 2)
		a.ask(askProduce) // refused, but somebody still sends
		a.ask(askFetch)
		a.ask("GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n")
		if err := quiet(a.t.Context()); err != nil || time.Since(began) != 3*time.Second/2 {
			t.Errorf("after requests: %v after %s", err, time.Since(began))
		}
		began = time.Now()
		go func() {
			time.Sleep(time.Second / 2)
			a.ask("GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n") // those who ask for health never stop
		}()
		if err := quiet(a.t.Context()); err != nil || time.Since(began) != time.Second {
			t.Errorf("amid a health check: %v after %s", err, time.Since(began))
		}

		a.ask(askFetch)
		a.server.conns.inside.Add(-1)
		synctest.Wait()
		began = time.Now()
		if err := quiet(a.t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("right after a request, without a connection: %v after %s", err, time.Since(began))
		}
	})
}
