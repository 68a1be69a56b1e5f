package localstack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTwoNodesOneBucket lets two nodes take the lead from each other while
// producers send to both; then one is frozen while it may lead, and one killed.
func TestTwoNodesOneBucket(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	m := sharedMinIO(t)
	both := &ledger{}
	var nodes []*Node
	var loads []*load
	for _, name := range []string{"a-", "b-"} {
		node := startNode(ctx, t, onMinIO(t, m))
		l := &load{
			api: newAPIClient(t, node.URL), name: name, topic: "shared", partitions: 4, ledger: both, extra: 5,
			kinds: map[kind]int{idempotent: 2, plainAll: 2, plainOne: 2},
		}
		l.run(ctx, t)
		nodes, loads = append(nodes, node), append(loads, l)
	}
	await := func(more int) {
		t.Helper()
		for _, k := range []kind{idempotent, plainAll, plainOne} {
			if err := loads[0].awaitAcks(ctx, k, more); err != nil {
				t.Fatal(err)
			}
		}
	}
	await(100)
	if err := nodes[0].Pause(); err != nil {
		t.Fatal(err)
	}
	await(50) // by the other one
	if err := nodes[0].Resume(); err != nil {
		t.Fatal(err)
	}
	await(50)
	if err := nodes[1].Kill(); err != nil {
		t.Fatal(err)
	}
	loads[1].life.Add(1)
	await(50)
	if err := nodes[1].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	await(50)
	for i, l := range loads {
		if err := l.finish(); err != nil {
			t.Fatalf("%v; end of the log of node %d:\n%s", err, i, nodes[i].LogTail())
		}
	}
	mustAgree(ctx, t, loads[0], loads[0].api, loads[1].api)
	for i, node := range nodes {
		turns := timesLogged(t, node, "took the lead")
		t.Logf("node %d took the lead %d times", i, turns)
		if turns < 2 {
			t.Errorf("node %d did not take the lead back", i)
		}
		if err := node.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestCopiedDataDir starts two nodes at once, one on the data directory of a
// node that was killed with acknowledged records in its write-ahead buffer, one
// on a copy of it. The log gets each record once.
func TestCopiedDataDir(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	m := ownMinIO(t)
	options := onMinIO(t, m)
	node := startNode(ctx, t, options)
	l := &load{
		api: newAPIClient(t, node.URL), topic: "copied", partitions: 3, ledger: &ledger{}, extra: 5,
		kinds:      map[kind]int{idempotent: 1, plainAll: 1, plainOne: 3},
		recordSize: 200 << 10, // so much that both replay for longer than one keeps the lead
	}
	l.run(ctx, t)
	if err := l.awaitAcks(ctx, plainOne, 50); err != nil {
		t.Fatal(err)
	}
	if err := m.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := l.awaitAcks(ctx, plainOne, 200); err != nil {
		t.Fatal(err)
	}
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	l.life.Add(1)
	copied := options
	copied.DataDir = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied.DataDir, os.DirFS(options.DataDir)); err != nil {
		t.Fatal(err)
	}
	if len(walFiles(t, copied.DataDir)) == 0 {
		t.Fatal("there is nothing to replay")
	}
	if err := m.Resume(); err != nil {
		t.Fatal(err)
	}
	other, err := NewNode(withDefaults(t, copied))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Kill() })
	var starting errgroup.Group
	starting.Go(func() error { return node.Restart(ctx) })
	starting.Go(func() error { return other.Restart(ctx) })
	if err := starting.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := l.finish(); err != nil {
		t.Fatal(err)
	}
	mustAgree(ctx, t, l, l.api, newAPIClient(t, other.URL))
	for _, n := range []*Node{node, other} {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}
	// Whoever comes second finds that the id is gone, and keeps its files aside.
	for _, data := range []string{options.DataDir, copied.DataDir} {
		for _, left := range walFiles(t, data) {
			if !strings.HasSuffix(left, ".wal.unknown") {
				t.Errorf("write-ahead file after a stop in good order: %s", left)
			}
		}
	}
}

// TestDrain ends a node under load by SIGTERM, with a store that does not
// answer for a while, so that draining can be looked at.
func TestDrain(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	m := ownMinIO(t)
	options := onMinIO(t, m)
	node := startNode(ctx, t, options)
	l := &load{
		api: newAPIClient(t, node.URL), topic: "drained", partitions: 3, ledger: &ledger{}, extra: 5,
		kinds: map[kind]int{idempotent: 2, plainAll: 4, plainOne: 4},
	}
	l.run(ctx, t)
	for _, k := range []kind{idempotent, plainAll, plainOne} {
		if err := l.awaitAcks(ctx, k, 50); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := l.awaitAcks(ctx, plainOne, 50); err != nil {
		t.Fatal(err)
	}
	if err := node.Terminate(); err != nil {
		t.Fatal(err)
	}
	if err := eventually(ctx, func() error {
		if a := l.api.send(ctx, "GET", "/readyz", "", nil); a.status != 503 || a.retryAfter == "" {
			return errUnexpected(a)
		}
		return nil
	}); err != nil {
		t.Fatalf("readyz while draining: %v", err)
	}
	for _, acks := range []string{"all", "1"} {
		a := l.api.send(ctx, "POST", "/v1/topics/drained/partitions/0/records?acks="+acks, mediaRaw, []byte("late"))
		if a.status != 503 || a.retryAfter == "" || a.outcome != noEffect {
			t.Errorf("produce with acks=%s while draining: %s", acks, a)
		}
	}
	if err := m.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := node.WaitEnd(ctx); err != nil {
		t.Fatal(err)
	}
	if left := walFiles(t, options.DataDir); len(left) > 0 {
		t.Errorf("write-ahead files of a drained node: %v", left)
	}
	// Nothing of it depends on the node's disk any more.
	if err := os.RemoveAll(options.DataDir); err != nil {
		t.Fatal(err)
	}
	l.life.Add(1)
	if err := node.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.finish(); err != nil {
		t.Fatal(err)
	}
	mustAgree(ctx, t, l, l.api)
}

// TestWithoutWAL runs a node that has no disk.
func TestWithoutWAL(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	options := onMinIO(t, sharedMinIO(t))
	options.DataDir = ""
	node := startNode(ctx, t, options)
	l := &load{
		api: newAPIClient(t, node.URL), topic: "diskless", partitions: 2, ledger: &ledger{}, extra: 1,
		kinds: map[kind]int{idempotent: 2, plainAll: 2},
	}
	l.run(ctx, t)
	if err := l.awaitAcks(ctx, plainAll, 20); err != nil {
		t.Fatal(err)
	}
	a := l.api.send(ctx, "POST", "/v1/topics/diskless/partitions/0/records?acks=1", mediaRaw, []byte("x"))
	if a.status != 400 || a.code != "acks_one_not_offered" || a.outcome != noEffect {
		t.Errorf("acks=1 without a write-ahead buffer: %s", a)
	}
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := node.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.finish(); err != nil {
		t.Fatal(err)
	}
	mustAgree(ctx, t, l, l.api)
	if err := node.Stop(); err != nil {
		t.Error(err)
	}
}
