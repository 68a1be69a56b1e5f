package localstack

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// settleDeadline bounds how long records with acks=1 may take from their
// acknowledgement into the log.
const settleDeadline = 20 * time.Second

// startNode starts a node of the plain build that ends with the test.
func startNode(ctx context.Context, t testing.TB, o NodeOptions) *Node {
	t.Helper()
	n, err := NewNode(withDefaults(t, o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Kill(); err != nil {
			t.Error(err)
		}
	})
	if err := n.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	return n
}

func withDefaults(t testing.TB, o NodeOptions) NodeOptions {
	if o.Binary == "" {
		o.Binary = wadi(t)
	}
	if o.LogFile == "" {
		o.LogFile = filepath.Join(t.TempDir(), "node.log")
	}
	return o
}

// onMinIO is the options of a node with its store in m.
func onMinIO(t testing.TB, m *MinIO, args ...string) NodeOptions {
	return NodeOptions{
		Store: m.StoreURL(prefix(t)), Env: m.Env(), DataDir: filepath.Join(t.TempDir(), "data"), Args: args,
	}
}

// deadline ends what a test waits for long before the test itself is ended.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), loadDeadline)
	t.Cleanup(cancel)
	return ctx
}

// mustAgree reads a topic from all nodes, which must serve the same, and
// compares it with the ledger.
func mustAgree(ctx context.Context, t testing.TB, l *load, apis ...*apiClient) {
	t.Helper()
	var first [][]string
	soon, cancel := context.WithTimeout(ctx, settleDeadline)
	defer cancel()
	for i, api := range apis {
		var log [][]string
		err := eventually(soon, func() (err error) {
			if log, err = readLog(ctx, api, l.topic, l.partitions); err == nil {
				err = l.ledger.check(log)
			}
			return err
		})
		if err != nil {
			t.Errorf("node %d: %v", i, err)
		}
		if i == 0 {
			first = log
		} else if !slices.EqualFunc(first, log, slices.Equal) {
			t.Errorf("nodes 0 and %d serve different records", i)
		}
	}
	t.Log(l.ledger.summary())
}

// walFiles are the files of write-ahead buffers in a data directory.
func walFiles(t testing.TB, data string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, "wal", "*.wal*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// timesLogged counts a message in a node's log.
func timesLogged(t testing.TB, n *Node, message string) int {
	t.Helper()
	return strings.Count(string(mustRead(t, n.LogFile)), message)
}
