//go:build failpoints

package localstack

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCrashInCollecting lets a node die while it deletes what holds no records:
// nothing of what is kept may be missing after it, and no garbage may stay.
func TestCrashInCollecting(t *testing.T) {
	t.Parallel()
	c := newCrash(t, mixed, idempotent)
	c.args = []string{"--garbage-grace=10s", "--request-timeout=10s", "--flush-bytes=64KiB"}
	c.dieAt("tiering/after-floor:1")
	end := c.produceInVain()
	c.dieAt("tiering/before-delete:1")
	c.dieAt("tiering/after-delete:1")
	end()
	c.recover()
	soon, cancel := context.WithTimeout(c.ctx, settleDeadline)
	defer cancel()
	c.awaitMetric(soon, "wadi_collector_garbage_objects", func(n float64) bool { return n == 0 })
}

// awaitMetric returns when a metric of the node has such a value.
func (c *crash) awaitMetric(ctx context.Context, name string, ok func(float64) bool) {
	c.t.Helper()
	err := eventually(ctx, func() error {
		a := c.loads[0].api.send(ctx, http.MethodGet, "/metrics", "", nil)
		for line := range strings.Lines(string(a.body)) {
			if text, found := strings.CutPrefix(line, name+" "); found {
				n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
				if err == nil && ok(n) {
					return nil
				}
				return fmt.Errorf("%s is %s", name, strings.TrimSpace(text))
			}
		}
		return fmt.Errorf("there is no %s (status %d)", name, a.status)
	})
	if err != nil {
		c.t.Errorf("%v; end of the node's log:\n%s", err, c.node.LogTail())
	}
}

// produceInVain produces, beside the loads, to a topic that keeps nothing, until
// end is called.
func (c *crash) produceInVain() (end func()) {
	ctx, cancel := context.WithCancel(c.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		api := c.loads[0].api
		large := bytes.Repeat([]byte("soon forgotten "), 10_000) // fills a segment of its own, more often than not
		for ctx.Err() == nil {
			api.send(ctx, http.MethodPut, "/v1/topics/vain", mediaJSON, []byte(`{"partitions":1,"config":{"retention.bytes":0}}`))
			api.send(ctx, http.MethodPost, "/v1/topics/vain/records", "text/plain", large)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	end = func() {
		cancel()
		<-done
	}
	c.t.Cleanup(end)
	return end
}
