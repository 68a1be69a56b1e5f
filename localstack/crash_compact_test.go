//go:build failpoints

package localstack

import (
	"context"
	"testing"
	"time"
)

// leaseDeadline is how long a topic may stay the job's of a node that died, and a
// round more.
const leaseDeadline = 2 * time.Minute

// TestCrashInCompaction lets a node die at each step of a job: what it serves is what
// was produced, and after the lease of the job that died another does its work.
func TestCrashInCompaction(t *testing.T) {
	for name, point := range crashPoints {
		if point.load != small {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrash(t, mixed, plainAll, idempotent)
			ctx, end := context.WithTimeout(t.Context(), loadDeadline+2*leaseDeadline)
			defer end()
			c.ctx = ctx
			c.loads[0].extra = 200 // requests, so that there is enough to join
			c.args = []string{"--compaction-min-age=0s", "--garbage-grace=10s", "--request-timeout=10s"}
			c.dieAt(name + ":1")
			c.recover()
			soon, cancel := context.WithTimeout(c.ctx, leaseDeadline)
			defer cancel()
			c.awaitMetric(soon, "wadi_compactor_made_extents_total", func(n float64) bool { return n > 0 })
			c.awaitMetric(soon, "wadi_collector_garbage_objects", func(n float64) bool { return n == 0 })
			for _, l := range c.loads {
				if err := l.checkLog(c.ctx, l.api); err != nil {
					t.Errorf("topic %s once it is compacted: %v", l.topic, err)
				}
			}
		})
	}
}
