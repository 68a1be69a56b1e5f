package localstack

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// lastLine is the end of a node's log, which is where it says why it ended.
func lastLine(n *Node) string {
	log := n.LogTail()
	return string(log[bytes.LastIndexByte(log, '\n')+1:])
}

// mustRefuseToStart launches a node that has to end with status 1, one clear line
// at the end, and without having been ready.
func mustRefuseToStart(ctx context.Context, t *testing.T, o NodeOptions, wants ...string) {
	t.Helper()
	node, err := NewNode(withDefaults(t, o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Kill() })
	if err := node.Launch(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-node.Done():
	case <-ctx.Done():
		t.Fatalf("the node does not end; end of its log:\n%s", node.LogTail())
	}
	if code := node.process.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit status %d", code)
	}
	line := lastLine(node)
	for _, want := range append(wants, "wadi serve: ") {
		if !strings.Contains(line, want) {
			t.Errorf("the last line is %q, it does not say %q", line, want)
		}
	}
	if bytes.Contains(node.LogTail(), []byte("node is ready")) {
		t.Error("the node was ready")
	}
	t.Log(line)
}

// TestARefusedNodeSaysSo: MinIO does not know its key, or its secret is another,
// or the bucket is not there.
func TestARefusedNodeSaysSo(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	m := sharedMinIO(t)
	for name, c := range map[string]struct {
		change func(*NodeOptions)
		want   string
	}{
		"Key":    {func(o *NodeOptions) { o.Env = append(o.Env, "AWS_ACCESS_KEY_ID=nobody") }, "InvalidAccessKeyId"},
		"Secret": {func(o *NodeOptions) { o.Env = append(o.Env, "AWS_SECRET_ACCESS_KEY=not-the-secret") }, "SignatureDoesNotMatch"},
		"Bucket": {func(o *NodeOptions) { o.Store = strings.Replace(o.Store, "s3://"+m.Bucket, "s3://missing", 1) }, "NoSuchBucket"},
	} {
		t.Run(name, func(t *testing.T) {
			o := onMinIO(t, m)
			c.change(&o)
			mustRefuseToStart(ctx, t, o, "the store refuses this node; check its credentials", c.want)
		})
	}
}

// TestANodeWaitsForItsStore: nobody listens where the store should be, until it
// comes.
func TestANodeWaitsForItsStore(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	m := ownMinIO(t)
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	node, err := NewNode(withDefaults(t, onMinIO(t, m)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Kill() })
	if err := node.Launch(ctx); err != nil {
		t.Fatal(err)
	}
	if err := eventually(ctx, func() error {
		if err := node.Ready(ctx); err == nil || !strings.Contains(err.Error(), "the object store does not answer") {
			return fmt.Errorf("readyz: %w", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := m.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := node.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if warned := timesLogged(t, node, "waiting for the store"); warned < 1 || warned > 3 {
		t.Errorf("the log said %d times that the store is away", warned)
	}
	if a := newAPIClient(t, node.URL).send(ctx, http.MethodPut, "/v1/topics/back", mediaJSON, []byte(`{"partitions":1}`)); a.status != http.StatusCreated {
		t.Errorf("create a topic: %s", a)
	}
	if err := node.Stop(); err != nil {
		t.Error(err)
	}
}
