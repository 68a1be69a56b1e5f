package localstack

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// needNginx skips a test on a developer's machine that has no nginx. In CI it is
// an error: the tests behind nginx are what holds the promises up.
func needNginx(t testing.TB) {
	t.Helper()
	if _, err := FindNginx(); errors.Is(err, ErrNoNginx) && os.Getenv("CI") != "true" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// startCluster starts a cluster on the shared MinIO that ends with the test.
func startCluster(ctx context.Context, t testing.TB, o ClusterOptions) *Cluster {
	t.Helper()
	needNginx(t)
	o.Binary, o.MinIO, o.Prefix = wadi(t), sharedMinIO(t), prefix(t)
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	c, err := StartCluster(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the end of nginx's log:\n%s", tailOfFile(c.Nginx.conf.ErrorLog))
		}
	})
	return c
}

// clusterLoad is producers of all kinds behind nginx. Requests with acks=1 of one
// producer get to different nodes, among which they have no order.
func clusterLoad(ctx context.Context, t testing.TB, c *Cluster, topic string) *load {
	l := &load{
		api: newAPIClient(t, c.URL), topic: topic, partitions: 3, ledger: &ledger{}, extra: 5,
		kinds: map[kind]int{idempotent: 2, plainAll: 2, plainOne: 2},
	}
	l.watch = func(kind, answer) { l.life.Add(1) }
	l.run(ctx, t)
	return l
}

func (l *load) mustAwait(ctx context.Context, t testing.TB, more int) {
	t.Helper()
	for k := range l.kinds {
		if err := l.awaitAcks(ctx, k, more); err != nil {
			t.Fatal(err)
		}
	}
}

// TestClusterUnderLoad adds, kills, restarts and removes nodes while producers send
// through nginx.
func TestClusterUnderLoad(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	c := startCluster(ctx, t, ClusterOptions{Nodes: 2})
	l := clusterLoad(ctx, t, c, "moving")
	l.mustAwait(ctx, t, 10)

	added, err := c.Add(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if added.Name != "node-3" {
		t.Errorf("the third node is called %s", added.Name)
	}
	l.mustAwait(ctx, t, 10)

	killed := c.Node("node-1")
	if err := killed.Kill(); err != nil {
		t.Fatal(err)
	}
	l.mustAwait(ctx, t, 10)
	if err := killed.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	l.mustAwait(ctx, t, 10)

	if err := c.Remove(ctx, c.Node("node-2")); err != nil {
		t.Fatal(err)
	}
	l.mustAwait(ctx, t, 10)
	if err := c.RollingRestart(ctx); err != nil {
		t.Fatal(err)
	}
	l.mustAwait(ctx, t, 10)

	// The lowest number that is free.
	if added, err = c.Add(ctx); err != nil {
		t.Fatal(err)
	}
	if added.Name != "node-2" || c.Nodes()[1] != added {
		t.Errorf("node-2 was free, and the new one is called %s", added.Name)
	}
	if err := l.finish(); err != nil {
		t.Fatal(err)
	}
	apis := []*apiClient{l.api}
	for _, n := range c.Nodes() {
		apis = append(apis, newAPIClient(t, n.URL))
	}
	mustAgree(ctx, t, l, apis...)
}

// TestClusterAdjust gives each node options of its own.
func TestClusterAdjust(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	dir := t.TempDir()
	c := startCluster(ctx, t, ClusterOptions{Nodes: 1, Dir: dir, Adjust: func(o *NodeOptions) {
		if o.Name == "node-2" {
			o.DataDir = ""
			o.Args = append(o.Args, "--roles", "reader")
		}
	}})
	added, err := c.Add(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if a := newAPIClient(t, c.URL).send(ctx, "PUT", "/v1/topics/one", mediaJSON, []byte(`{"partitions":1}`)); a.outcome != acked {
		t.Fatal(a)
	}
	a := newAPIClient(t, added.URL).send(ctx, "POST", "/v1/topics/one/partitions/0/records", mediaRaw, []byte("x"))
	if a.code != "not_ingest" {
		t.Errorf("a reader took a record: %s", a)
	}
	for _, name := range []string{"node-1/data", "node-1/node.log", "node-2/node.log", "nginx/nginx.conf"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node-2", "data")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a node without a disk has a data directory: %v", err)
	}
	if err := c.Remove(ctx, added); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(ctx, added); err == nil {
		t.Error("a node was removed twice")
	}
	if err := c.Remove(ctx, c.Node("node-1")); !errors.Is(err, ErrLastNode) {
		t.Errorf("the last node was removed: %v", err)
	}
}

// TestClusterRollingRestart restarts all nodes under load. Whoever sends again what
// a 503 says had no effect sees no failure.
func TestClusterRollingRestart(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	c := startCluster(ctx, t, ClusterOptions{Nodes: 3})
	l := &load{
		api: newAPIClient(t, c.URL), topic: "rolling", partitions: 3, ledger: &ledger{}, extra: 5,
		kinds: map[kind]int{idempotent: 4, plainAll: 4, plainOne: 4},
	}
	l.watch = func(k kind, a answer) {
		l.life.Add(1)
		if a.outcome != acked && (a.status != http.StatusServiceUnavailable || a.outcome != noEffect || a.retryAfter == "") {
			t.Errorf("%s: %s", k, a)
		}
	}
	l.run(ctx, t)
	l.mustAwait(ctx, t, 10)
	if err := c.RollingRestart(ctx); err != nil {
		t.Fatal(err)
	}
	l.mustAwait(ctx, t, 10)
	if err := l.finish(); err != nil {
		t.Fatal(err)
	}
	mustAgree(ctx, t, l, l.api)
	for _, n := range c.Nodes() {
		if starts := timesLogged(t, n, "node is ready"); starts != 2 {
			t.Errorf("%s started %d times", n.Name, starts)
		}
	}
}
