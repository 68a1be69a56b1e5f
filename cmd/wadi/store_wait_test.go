package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// mustEndWith waits for the end of a node that may not become ready, and looks
// for the line that says why.
func mustEndWith(t *testing.T, n *runningNode, wants ...string) {
	t.Helper()
	select {
	case <-n.ended:
	case <-time.After(nodeTimeout):
		t.Fatal("the node does not end")
	}
	lines := strings.Split(strings.TrimSpace(n.stderr.String()), "\n")
	last := lines[len(lines)-1]
	if n.status != exitFailure || !strings.HasPrefix(last, "wadi serve: ") {
		t.Errorf("exit status %d, last line %q", n.status, last)
	}
	for _, want := range wants {
		if !strings.Contains(last, want) {
			t.Errorf("%q does not say %q", last, want)
		}
	}
	if strings.Contains(n.stderr.String(), "node is ready") {
		t.Error("the node was ready")
	}
}

// TestAStoreThatRefusesTheNode ends it, with one line.
func TestAStoreThatRefusesTheNode(t *testing.T) {
	s := newFakeS3(t)
	t.Run("wrong key", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "another-key")
		mustEndWith(t, launchNode(t, s.url, "--wal=off"), "the store refuses this node; check its credentials", "InvalidAccessKeyId")
	})
	t.Run("no such bucket", func(t *testing.T) {
		other := strings.Replace(s.url, "//bucket/", "//missing/", 1)
		mustEndWith(t, launchNode(t, other, "--wal=off"), "check its credentials and permissions, the bucket", "NoSuchBucket")
	})
	t.Run("put-if-absent with several winners", func(t *testing.T) {
		s.set(func() { s.race = true })
		defer s.set(func() { s.race = false })
		mustEndWith(t, launchNode(t, s.url, "--wal=off"), "this object store cannot be used: put-if-absent must have one winner")
	})
}

// TestAStoreThatIsAway is waited for: /readyz says so, the log says so once, and
// the node begins when the store is there.
func TestAStoreThatIsAway(t *testing.T) {
	s := newFakeS3(t)
	dead := "s3://bucket/logs?region=us-east-1&endpoint=" + url.QueryEscape("http://"+freeAddresses(t, 1)[0])
	for name, store := range map[string]string{"nobody listens": dead, "it breaks off": s.url} {
		t.Run(name, func(t *testing.T) {
			s.set(func() { s.away = true })
			n := launchNode(t, store, "--wal=off")
			n.await("an answer that says why", func() bool {
				status, text, err := n.try(http.MethodGet, "/readyz", "", "")
				return err == nil && status == http.StatusServiceUnavailable && strings.Contains(text, "the object store does not answer")
			})
			if text := n.must(http.StatusOK, http.MethodGet, "/healthz", "", ""); !strings.Contains(text, "ok") {
				t.Error(text)
			}
			if lines := strings.Count(n.stderr.String(), "waiting for the store"); lines != 1 {
				t.Errorf("the log says it %d times", lines)
			}
			if store == s.url {
				s.set(func() { s.away = false })
				n.awaitReady()
				n.must(http.StatusCreated, http.MethodPut, "/v1/topics/back", "application/json", `{"partitions":1}`)
			}
			if status := n.end(); status != exitOK {
				t.Errorf("exit status %d", status)
			}
		})
	}
}

// TestAClockTwoDaysOff: the store's clock and that of the node differ by two
// days. The store refuses the node's first signature; then everything works,
// and nothing expires.
func TestAClockTwoDaysOff(t *testing.T) {
	for name, skew := range map[string]time.Duration{"behind the store's": 48 * time.Hour, "ahead of it": -48 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := newFakeS3(t)
			// One life with clocks that agree, one that is off, one that agrees again.
			for _, skew := range []time.Duration{0, skew, 0} {
				s.set(func() { s.skew, s.skewed = skew, 0 })
				n := startNode(t, s.url, "--data-dir", t.TempDir(), "--auto-create-topics")
				for _, acks := range []string{"all", "1"} {
					want := map[string]int{"all": http.StatusOK, "1": http.StatusAccepted}[acks]
					n.must(want, http.MethodPost, "/v1/topics/a/partitions/0/records?acks="+acks, "text/plain", "record")
				}
				if status := n.end(); status != exitOK {
					t.Errorf("exit status %d", status)
				}
				s.mu.Lock()
				if (s.skewed > 0) != (skew != 0) {
					t.Errorf("with clocks %s apart, %d requests were refused for their time", skew, s.skewed)
				}
				s.mu.Unlock()
			}
			n := startNode(t, s.url, "--roles", "reader")
			text := n.must(http.StatusOK, http.MethodGet, "/v1/topics/a/partitions/0/records?offset=0", "", "")
			if got := strings.Count(text, `"value":"record"`); got != 6 || !strings.Contains(text, `"next_offset":6`) {
				t.Errorf("of 6 records: %s", text)
			}
		})
	}
}
