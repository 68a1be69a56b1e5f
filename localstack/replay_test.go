package localstack

import (
	"bufio"
	"bytes"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// consume runs `wadi consume` and returns what it printed.
func (p *cachingProxy) consume(args ...string) string {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), wadi(p.t), append([]string{"consume", "t", "--server", p.nginx.URL, "--quiet"}, args...)...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("consume: %v: %s", err, problems.Bytes())
	}
	return string(out)
}

// TestConsumeFromACache: with --closed-ranges the second replay costs the node
// nothing, wherever each of them begins.
func TestConsumeFromACache(t *testing.T) {
	t.Parallel()
	p := newCachingProxy(t, 20)
	args := []string{"--closed-ranges", "--fetch-bytes", "64KiB"}
	first := p.consume(args...)
	if want := p.consume("--fetch-bytes", "64KiB"); first != want || strings.Count(first, "\n") < 20 {
		t.Fatalf("%d bytes in closed ranges, %d otherwise", len(first), len(want))
	}
	before := p.fetched()
	if second := p.consume(args...); second != first {
		t.Error("the second replay differs from the first")
	}
	if got := p.fetched() - before; got != 0 {
		t.Errorf("the node fetched %g bytes for the second replay", got)
	}
}

// TestReplayGoesOnAfterAKill: a node is killed under a replay. Once there is one
// again, the replay goes on where it was, with no record missing or twice.
func TestReplayGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	store := (&url.URL{Scheme: "file", Path: t.TempDir()}).String()
	node, err := StartNode(ctx, NodeOptions{Name: "node", Binary: wadi(t), Store: store, LogFile: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Stop(); err != nil {
			t.Error(err)
		}
	})
	api := newAPIClient(t, node.URL)
	const requests, each = 40, 200
	if a := api.send(ctx, "PUT", "/v1/topics/t", "", nil); a.status != 201 {
		t.Fatal(a)
	}
	for n := range requests {
		var lines strings.Builder
		for i := range each {
			fmt.Fprintf(&lines, "%d %s\n", n*each+i, noise(n*each+i, 1000))
		}
		if a := api.send(ctx, "POST", "/v1/topics/t/partitions/0/records", "application/x-ndjson", []byte(lines.String())); a.status != 200 {
			t.Fatal(a)
		}
	}
	// It can be ahead of who reads what it prints by its buffers alone.
	replay := exec.CommandContext(ctx, wadi(t), "consume", "t", "-p", "0", "--server", node.URL, "--format", `%o %v\n`, "--fetch-bytes", "100KB", "--quiet")
	out, err := replay.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var problems bytes.Buffer
	replay.Stderr = &problems
	if err := replay.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	at := 0
	for ; lines.Scan(); at++ {
		fields := strings.Fields(lines.Text())
		if want := strconv.Itoa(at); len(fields) < 2 || fields[0] != want || fields[1] != want {
			t.Fatalf("record %d is %.40q", at, lines.Text())
		}
		if at == requests*each/4 {
			if err := node.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := node.Restart(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := replay.Wait(); err != nil || at != requests*each {
		t.Errorf("read %d records of %d: %v: %s", at, requests*each, err, problems.Bytes())
	}
}
