package localstack

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// followDeadline is when a test gives a stream up that brings nothing.
const followDeadline = time.Minute

// followThroughNginx opens a stream of events of partition 0 of topic t.
func followThroughNginx(ctx context.Context, t testing.TB, base, last string) (*http.Response, *bufio.Reader) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, "GET", base+"/v1/topics/t/partitions/0/records?offset=earliest", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	if last != "" {
		request.Header.Set("Last-Event-ID", last)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != 200 {
		text, _ := io.ReadAll(response.Body)
		t.Fatalf("status %d: %s", response.StatusCode, text)
	}
	return response, bufio.NewReader(response.Body)
}

// nextEvent reads an event, pings left out.
func nextEvent(t testing.TB, in *bufio.Reader) (name, id, data string) {
	t.Helper()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream broke off: %v", err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case field == "event":
			name = value
		case field == "id":
			id = value
		case field == "data":
			data = value
		case field == "" && name != "ping":
			return name, id, data
		}
	}
}

// TestNginxPassesEventsOn as they come: each is there before the next record is
// produced. A reader that leaves is noticed by the node; a node that drains says
// so, and the reader goes on at another from where it was.
func TestNginxPassesEventsOn(t *testing.T) {
	t.Parallel()
	binary := wadi(t) // may take its time
	ctx, cancel := context.WithTimeout(t.Context(), followDeadline)
	defer cancel()
	var nodes []*Node
	var addresses []string
	store := (&url.URL{Scheme: "file", Path: t.TempDir()}).String()
	for i := range 2 {
		n, err := StartNode(ctx, NodeOptions{Name: fmt.Sprint("node-", i), Binary: binary, Store: store, LogFile: filepath.Join(t.TempDir(), "log")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Stop(); err != nil {
				t.Error(err)
			}
		})
		nodes = append(nodes, n)
		addresses = append(addresses, strings.TrimPrefix(n.URL, "http://"))
	}
	nginx := startNginx(ctx, t, addresses[0])
	api := newAPIClient(t, nginx.URL)
	other := newAPIClient(t, nodes[1].URL)
	if a := api.send(ctx, "PUT", "/v1/topics/t", mediaJSON, []byte(`{"partitions":1}`)); a.status != 201 {
		t.Fatal(a)
	}
	produce := func(c *apiClient, value string) {
		t.Helper()
		if a := c.send(ctx, "POST", "/v1/topics/t/partitions/0/records", "text/plain", []byte(value)); a.status != 200 {
			t.Fatal(a)
		}
	}
	want := func(in *bufio.Reader, next int, value string) {
		t.Helper()
		name, id, data := nextEvent(t, in)
		if name != "batch" || id != fmt.Sprint(next) || !strings.Contains(data, `"value":"`+value+`"`) {
			t.Fatalf("event %s, id %s, %s; want %s and id %d", name, id, data, value, next)
		}
	}
	response, in := followThroughNginx(ctx, t, nginx.URL, "")
	if media := response.Header.Get("Content-Type"); media != "text/event-stream" {
		t.Errorf("Content-Type %q", media)
	}
	for i := range 5 {
		produce(other, fmt.Sprint("record ", i))
		want(in, i+1, fmt.Sprint("record ", i))
	}

	leaving, leave := context.WithCancel(ctx)
	_, second := followThroughNginx(leaving, t, nginx.URL, "4")
	want(second, 5, "record 4")
	awaitStreams(ctx, t, nodes[0], 2)
	leave()
	awaitStreams(ctx, t, nodes[0], 1)

	if err := nodes[0].Terminate(); err != nil {
		t.Fatal(err)
	}
	name, _, data := nextEvent(t, in)
	if name != "error" || !strings.Contains(data, `"code":"not_ready"`) || !strings.Contains(data, `"next_offset":5`) {
		t.Errorf("event %s: %s", name, data)
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("after the last event: %q, %v", rest, err)
	}
	produce(other, "in between")
	if err := nginx.SetServers(ctx, addresses[1]); err != nil {
		t.Fatal(err)
	}
	_, in = followThroughNginx(ctx, t, nginx.URL, "5")
	want(in, 6, "in between")
	// By a new connection: nginx closes the idle ones from before the change when it
	// likes, and a POST that meets that is not repeated.
	produce(newAPIClient(t, nginx.URL), "and on")
	want(in, 7, "and on")
	cancel() // the reader goes before its node does
	if err := nodes[0].WaitEnd(t.Context()); err != nil {
		t.Errorf("the node that drained: %v", err)
	}
}

// awaitStreams waits until a node has so many streams open.
func awaitStreams(ctx context.Context, t testing.TB, n *Node, want int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	line := fmt.Sprintf("\nwadi_http_streams %d\n", want)
	for {
		response, err := http.Get(n.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err == nil && strings.Contains(string(text), line) {
			http.DefaultClient.CloseIdleConnections()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the node does not come to %d streams", want)
		}
	}
}
