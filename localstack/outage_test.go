package localstack

import (
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"
)

// outageTime is how long the store is away. Shorter is for trying things out.
var outageTime = flag.Duration("outage", 60*time.Second, "how long the store is away in TestStoreOutage")

const (
	outageRequestTimeout = 5 * time.Second
	// outageAnswerMax is what is granted to a request beyond its timeout, on a
	// machine that does a lot else.
	outageAnswerMax   = outageRequestTimeout + 5*time.Second
	outageMemoryLimit = 128 << 20
	// The Go runtime aims at its limit and may exceed it for a moment.
	outageRSSMax = outageMemoryLimit * 9 / 8
)

func errUnexpected(a answer) error { return fmt.Errorf("unexpected answer: %s", a) }

// outageWatch judges every answer to a producer.
type outageWatch struct {
	mu       sync.Mutex
	began    time.Time // guarded by mu; zero before the outage
	ended    time.Time // guarded by mu; zero before its end
	statuses map[string]int
	wrong    []string
}

func (w *outageWatch) answer(k kind, a answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	sent := now.Add(-a.took)
	w.statuses[fmt.Sprintf("%s %d %s", k, a.status, a.code)]++
	during := !w.began.IsZero() && sent.After(w.began) && w.ended.IsZero()
	switch {
	case a.took > outageAnswerMax:
		w.fail("%s request was answered after %s: %s", k, a.took, a)
	case a.status < 300 && a.status > 0:
	case a.status == 503 && a.retryAfter != "" && a.outcome == noEffect:
	case a.status == 504 && k != plainOne && !during:
		// Its commit was under way when the store went, or when it came back.
	default:
		w.fail("%s request: %s (Retry-After %q, sent during the outage: %v)", k, a, a.retryAfter, during)
	}
}

func (w *outageWatch) fail(format string, args ...any) {
	if len(w.wrong) < differencesMax {
		w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	}
}

// mark notes the time of an event in t.
func (w *outageWatch) mark(t *time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*t = time.Now()
}

// TestStoreOutage takes the store away from a node under load, for a minute: once
// it hangs, once nobody listens.
func TestStoreOutage(t *testing.T) {
	for _, c := range []struct {
		name        string
		leave, come func(*testing.T, *MinIO) error
	}{
		{"Hangs",
			func(_ *testing.T, m *MinIO) error { return m.Pause() },
			func(_ *testing.T, m *MinIO) error { return m.Resume() }},
		{"Gone",
			func(_ *testing.T, m *MinIO) error { return m.Kill() },
			func(t *testing.T, m *MinIO) error { return m.Restart(t.Context()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := ownMinIO(t)
			ctx := deadline(t)
			node := startNode(ctx, t, onMinIO(t, m, "--request-timeout", outageRequestTimeout.String(),
				"--memory-limit", fmt.Sprint(outageMemoryLimit)))
			w := &outageWatch{statuses: map[string]int{}}
			l := &load{
				api: newAPIClient(t, node.URL), topic: "outage", partitions: 4, ledger: &ledger{}, extra: 5, recordSize: 16 << 10,
				kinds: map[kind]int{idempotent: 4, plainAll: 8, plainOne: 4}, watch: w.answer,
			}
			l.run(ctx, t)
			for _, k := range []kind{idempotent, plainAll, plainOne} {
				if err := l.awaitAcks(ctx, k, 50); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.leave(t, m); err != nil {
				t.Fatal(err)
			}
			w.mark(&w.began)
			if err := pause(ctx, *outageTime); err != nil {
				t.Fatal(err)
			}
			w.mark(&w.ended)
			if err := c.come(t, m); err != nil {
				t.Fatal(err)
			}
			for _, k := range []kind{idempotent, plainAll, plainOne} {
				if err := l.awaitAcks(ctx, k, 20); err != nil {
					t.Fatalf("the node does not recover: %v; end of its log:\n%s", err, node.LogTail())
				}
			}
			if err := l.finish(); err != nil {
				t.Fatal(err)
			}
			mustAgree(ctx, t, l, l.api)
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, text := range w.wrong {
				t.Error(text)
			}
			_, peak, err := node.Usage()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("answers: %v; %d MiB resident at the peak", w.statuses, peak>>20)
			if peak > outageRSSMax {
				t.Errorf("%d MiB resident at the peak, with a limit of %d MiB", peak>>20, outageMemoryLimit>>20)
			}
			if err := node.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
