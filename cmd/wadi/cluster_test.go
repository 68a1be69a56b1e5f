package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// metricOf reads the value of a series.
func (n *runningNode) metricOf(series string) float64 {
	n.t.Helper()
	text := n.must(http.StatusOK, http.MethodGet, "/metrics", "", "")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		n.t.Fatalf("there is no metric %s", series)
	}
	value, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		n.t.Fatal(err)
	}
	return value
}

func (n *runningNode) leads() bool { return n.metricOf("wadi_catalog_leader") == 1 }

// mustEndAt checks the end offset, which is exact at every node, and that the
// last record below it is there.
func (n *runningNode) mustEndAt(end int) {
	n.t.Helper()
	if text := n.must(http.StatusOK, http.MethodGet, "/v1/topics/a/partitions/0/offsets", "", ""); !strings.Contains(text, fmt.Sprintf(`"end":%d}`, end)) {
		n.t.Errorf("%s has the bounds %s, want the end %d", n.url, text, end)
	}
	if text := n.must(http.StatusOK, http.MethodGet, fmt.Sprintf("%s?offset=%d", records, end-1), "", ""); !strings.Contains(text, fmt.Sprintf(`"next_offset":%d`, end)) {
		n.t.Errorf("%s has %s, want the end %d", n.url, text, end)
	}
}

const records = "/v1/topics/a/partitions/0/records"

// TestNodesForwardToTheLeader: of two nodes one leads, the other sends it its
// commits and gets entries from it, and both serve all of it.
func TestNodesForwardToTheLeader(t *testing.T) {
	store := folderStore(t)
	first := startNode(t, store, "--wal=off", "--peer-secret", "ours")
	second := startNode(t, store, "--wal=off", "--peer-secret", "ours")
	first.must(http.StatusCreated, http.MethodPut, "/v1/topics/a", "application/json", `{"partitions":1}`)
	for i := range 10 {
		for _, n := range []*runningNode{first, second} {
			n.must(http.StatusOK, http.MethodPost, records, "text/plain", fmt.Sprint(i))
		}
	}
	for _, n := range []*runningNode{first, second} {
		n.mustEndAt(20)
	}
	leader, follower := first, second
	if second.leads() {
		leader, follower = second, first
	}
	if follower.leads() {
		t.Fatal("both lead")
	}
	for _, series := range []string{`{call="forward",result="ok"}`, `{call="pull",result="ok"}`} {
		if served := leader.metricOf("wadi_peer_served_total" + series); served == 0 {
			t.Errorf("the leader served no %s", series)
		}
		if sent := follower.metricOf("wadi_peer_sent_total" + series); sent == 0 {
			t.Errorf("the follower sent no %s", series)
		}
	}
	if failed := follower.metricOf(`wadi_peer_sent_total{call="forward",result="failed"}`); failed != 0 {
		t.Errorf("%v forwards failed", failed)
	}
}

// TestNodesWithDifferentSecretsGoByTheBucket: slower, but right.
func TestNodesWithDifferentSecretsGoByTheBucket(t *testing.T) {
	store := folderStore(t)
	first := startNode(t, store, "--wal=off", "--peer-secret", "one")
	second := startNode(t, store, "--wal=off", "--peer-secret", "two")
	first.must(http.StatusCreated, http.MethodPut, "/v1/topics/a", "application/json", `{"partitions":1}`)
	for _, n := range []*runningNode{first, second} {
		n.must(http.StatusOK, http.MethodPost, records, "text/plain", "record")
	}
	for _, n := range []*runningNode{first, second} {
		n.mustEndAt(2)
	}
}

// TestRefusalRestsOnCurrentSettings: a node that has not heard of a topic's new
// settings does not refuse a record for good that they allow.
func TestRefusalRestsOnCurrentSettings(t *testing.T) {
	store := folderStore(t)
	a, b := startNode(t, store, "--wal=off", "--peer-secret", "a"), startNode(t, store, "--wal=off", "--peer-secret", "b")
	a.must(http.StatusCreated, http.MethodPut, "/v1/topics/t", "application/json", `{"partitions":1,"config":{"max.message.bytes":10}}`)
	b.must(http.StatusOK, http.MethodPost, "/v1/topics/t/records", "text/plain", "short")
	long := strings.Repeat("long", 10)
	b.must(http.StatusRequestEntityTooLarge, http.MethodPost, "/v1/topics/t/records", "text/plain", long)
	a.must(http.StatusOK, http.MethodPatch, "/v1/topics/t", "application/json", `{"partitions":2,"config":{"max.message.bytes":100}}`)
	for _, body := range []struct{ media, text string }{
		{"text/plain", long},
		{"application/json", `{"records":[{"value":"v","partition":1}]}`},
	} {
		status, text, err := b.try(http.MethodPost, "/v1/topics/t/records", body.media, body.text)
		if changed := status == http.StatusServiceUnavailable && strings.Contains(text, "settings_changed"); err != nil || status != http.StatusOK && !changed {
			t.Errorf("%s: %d %s %v", body.media, status, text, err)
		}
		b.must(http.StatusOK, http.MethodPost, "/v1/topics/t/records", body.media, body.text)
	}
}

// TestRoles: what a node does not do it refuses, so that its sender tries another.
func TestRoles(t *testing.T) {
	store := folderStore(t)
	both := startNode(t, store, "--wal=off")
	both.must(http.StatusCreated, http.MethodPut, "/v1/topics/a", "application/json", `{"partitions":1}`)
	both.must(http.StatusOK, http.MethodPost, records, "text/plain", "record")
	for _, c := range []struct {
		roles          string
		produce, fetch bool
	}{
		{"ingest", true, false},
		{"reader", false, true},
		{"tiering", false, false},
		{"reader,tiering", false, true},
		{"tiering,ingest,reader", true, true},
	} {
		t.Run(c.roles, func(t *testing.T) {
			args := []string{"--roles", c.roles, "--auto-create-topics"}
			if c.produce {
				args = append(args, "--wal=off")
			}
			n := startNode(t, store, args...)
			for _, r := range []struct {
				does                      bool
				method, path, media, code string
			}{
				{c.produce, http.MethodPost, records, "text/plain", "not_ingest"},
				{c.produce, http.MethodPost, records, "application/x-ndjson", "not_ingest"},
				{c.produce, http.MethodPost, "/v1/topics/new-of-" + strings.ReplaceAll(c.roles, ",", "-") + "/records", "text/plain", "not_ingest"},
				{c.fetch, http.MethodGet, records + "?offset=0", "", "not_reader"},
				{c.fetch, http.MethodGet, records + "?offset=latest", "", "not_reader"},
				{c.fetch, http.MethodGet, records + "?offset=0&until=1", "", "not_reader"},
				{c.fetch, http.MethodGet, "/v1/topics/a/partitions/0/offsets?timestamp=0", "", "not_reader"},
				{true, http.MethodGet, "/v1/topics/a/partitions/0/offsets", "", ""},
				{true, http.MethodGet, "/v1/topics/a", "", ""},
				{true, http.MethodPost, "/v1/producers", "", ""},
			} {
				body := ""
				if r.media != "" {
					body = `{"a":1}`
				}
				status, header, text, err := n.exchange(r.method, n.url+r.path, r.media, body)
				switch {
				case err != nil:
					t.Error(err)
				case r.does && status != http.StatusOK:
					t.Errorf("%s %s: %d %s", r.method, r.path, status, text)
				case !r.does && (status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || header.Get("Content-Type") != "application/problem+json" ||
					!strings.Contains(text, `"code":"`+r.code+`"`) || !strings.Contains(text, `"no_side_effects":true`)):
					t.Errorf("%s %s: %d %s, want the problem %s", r.method, r.path, status, text, r.code)
				}
			}
			if !c.produce {
				n.must(http.StatusNotFound, http.MethodGet, "/v1/topics/new-of-"+strings.ReplaceAll(c.roles, ",", "-"), "", "")
			}
			// A topic can be made at any node, so any may lead.
			n.must(http.StatusCreated, http.MethodPut, "/v1/topics/made-by-"+strings.ReplaceAll(c.roles, ",", "-"), "application/json", `{"partitions":1}`)
			if status := n.end(); status != exitOK {
				t.Errorf("exit status %d", status)
			}
		})
	}
}

// TestAReaderWritesNothingToDisk: it needs no folder, and makes none.
func TestAReaderWritesNothingToDisk(t *testing.T) {
	store := folderStore(t)
	startNode(t, store, "--wal=off").end()
	here := t.TempDir()
	t.Chdir(here)
	data := filepath.Join(t.TempDir(), "data")
	n := startNode(t, store, "--roles", "reader", "--data-dir", data)
	n.must(http.StatusCreated, http.MethodPut, "/v1/topics/a", "application/json", `{"partitions":1}`)
	n.must(http.StatusOK, http.MethodGet, records+"?offset=0", "", "")
	if status := n.end(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
	if left, err := os.ReadDir(here); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("it made its --data-dir: %v", err)
	}
}

// TestADrainedLeaderHandsOver, and the other node goes on at once.
func TestADrainedLeaderHandsOver(t *testing.T) {
	store := folderStore(t)
	nodes := []*runningNode{startNode(t, store, "--wal=off"), startNode(t, store, "--wal=off")}
	nodes[0].must(http.StatusCreated, http.MethodPut, "/v1/topics/a", "application/json", `{"partitions":1}`)
	for range 3 {
		for _, n := range nodes {
			n.must(http.StatusOK, http.MethodPost, records, "text/plain", "record")
		}
	}
	leader, other := nodes[0], nodes[1]
	if other.leads() {
		leader, other = other, leader
	}
	if status := leader.end(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
	if !other.leads() {
		t.Error("the other node does not lead when the leader has ended")
	}
	if strings.Contains(leader.stderr.String(), "not handed over") {
		t.Error("the lead was not handed over")
	}
	other.must(http.StatusOK, http.MethodPost, records, "text/plain", "record")
	other.mustEndAt(7)
}

// TestDrainDelay: /readyz turns at the signal; what comes during the delay is
// served, and ends its connection.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	n := startNode(t, folderStore(t), "--wal=off", "--auto-create-topics", "--drain-delay", "10s")
	n.must(http.StatusOK, http.MethodPost, records, "text/plain", "record")
	n.stop()
	n.await("/readyz to turn", func() bool {
		status, header, _, err := n.exchange(http.MethodGet, n.url+"/readyz", "", "")
		return err == nil && status == http.StatusServiceUnavailable && header.Get("Retry-After") != ""
	})
	for _, r := range [][3]string{{http.MethodPost, records, "text/plain"}, {http.MethodGet, records + "?offset=0", ""}} {
		response := n.raw(r[0], r[1], r[2])
		if response.StatusCode != http.StatusOK || !response.Close {
			t.Errorf("%s during the delay: %d, closes: %v", r[0], response.StatusCode, response.Close)
		}
	}
}

func (n *runningNode) raw(method, path, media string) *http.Response {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, n.url+path, strings.NewReader("x"))
	if method == http.MethodGet {
		r, err = http.NewRequestWithContext(n.t.Context(), method, n.url+path, nil)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Content-Type", media)
	response, err := n.http.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response
}

// TestADrainLosesNothingThatItAccepted, with a store that comes back in time.
// What comes later is refused; a long poll ends in good order.
func TestADrainLosesNothingThatItAccepted(t *testing.T) {
	s := newFakeS3(t)
	data := t.TempDir()
	n := startNode(t, s.url, "--data-dir", data, "--auto-create-topics")
	n.must(http.StatusOK, http.MethodPost, records, "text/plain", "first")
	poll := make(chan string, 1)
	go func() {
		_, text, err := n.try(http.MethodGet, records+"?offset=1&max_wait_ms=30000", "", "")
		poll <- fmt.Sprint(text, err)
	}()
	s.set(func() { s.away = true })
	accepted := make(chan int, 1)
	go func() {
		status, _, _ := n.try(http.MethodPost, records, "text/plain", "second")
		accepted <- status
	}()
	n.await("the second to be in the node", func() bool { return n.metricOf("wadi_ingest_oldest_unflushed_seconds") > 0 })
	n.must(http.StatusAccepted, http.MethodPost, records+"?acks=1", "text/plain", "third")
	n.stop()
	n.await("records to be refused", func() bool {
		status, header, text, err := n.exchange(http.MethodPost, n.url+records+"?acks=1", "text/plain", "late")
		if err == nil && status == http.StatusAccepted {
			return false // before the signal was noticed
		}
		return err == nil && status == http.StatusServiceUnavailable && header.Get("Retry-After") != "" && strings.Contains(text, "draining")
	})
	s.set(func() { s.away = false })
	if status := <-accepted; status != http.StatusOK {
		t.Errorf("what was accepted before the signal got %d", status)
	}
	<-n.ended
	if n.status != exitOK {
		t.Errorf("exit status %d", n.status)
	}
	if got := <-poll; !strings.Contains(got, `"next_offset"`) {
		t.Errorf("the long poll got %s", got)
	}
	if left, _ := filepath.Glob(filepath.Join(data, "wal", "*.wal*")); len(left) > 0 {
		t.Errorf("left in the write-ahead buffer: %v", left)
	}
	text := startNode(t, s.url, "--roles", "reader").must(http.StatusOK, http.MethodGet, records+"?offset=0", "", "")
	for _, value := range []string{"first", "second", "third"} {
		if strings.Count(text, `"value":"`+value+`"`) != 1 {
			t.Errorf("%s is not there once: %s", value, text)
		}
	}
}

// TestADrainThatComesToNoEnd: the store stays away. The node ends with status 1
// and one line that says what stays where; the next start commits it.
func TestADrainThatComesToNoEnd(t *testing.T) {
	s := newFakeS3(t)
	data := t.TempDir()
	n := startNode(t, s.url, "--data-dir", data, "--auto-create-topics", "--drain-timeout", "1s")
	n.must(http.StatusOK, http.MethodPost, records, "text/plain", "first")
	s.set(func() { s.away = true })
	for range 2 {
		n.must(http.StatusAccepted, http.MethodPost, records+"?acks=1", "text/plain", "walled")
	}
	n.stop()
	<-n.ended
	lines := strings.Split(strings.TrimSpace(n.stderr.String()), "\n")
	last := lines[len(lines)-1]
	if n.status != exitFailure || !strings.HasPrefix(last, "wadi serve: ") || !strings.Contains(last, "2 requests with ") || !strings.Contains(last, filepath.Join(data, "wal")) {
		t.Errorf("exit status %d, last line %q", n.status, last)
	}
	s.set(func() { s.away = false })
	again := startNode(t, s.url, "--data-dir", data)
	text := again.must(http.StatusOK, http.MethodGet, records+"?offset=0", "", "")
	if strings.Count(text, `"value":"walled"`) != 2 {
		t.Errorf("after the next start: %s", text)
	}
	if status := again.end(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
}
