package journal

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/internal/hedging"
	"github.com/wadilog/wadi/internal/objstore"
)

// Journal reads and writes the slots and snapshots of one shard. It keeps no
// replica and no goroutine, and is safe for concurrent use; that entries follow
// the protocol (one writer per epoch, one body per slot) is up to its user,
// except within a call of Write.
type Journal struct {
	cfg     Config
	bucket  objstore.Bucket
	keys    keys
	logger  *slog.Logger
	metrics *metrics
	now     func() time.Time
	clock   storeClock

	latencies hedging.Window // of PUTs of slots
	hedges    *hedging.Budget

	warnedForeign   atomic.Bool
	pruneDeletesMax int // PruneDeletesMax, but for tests
}

// New returns the journal below catalog/<shard>/ of bucket. A nil registerer
// leaves the metrics unregistered.
func New(cfg Config, bucket objstore.Bucket, shard string, logger *slog.Logger, reg prometheus.Registerer) (*Journal, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	k, err := newKeys(shard)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{
		cfg: cfg, bucket: bucket, keys: k, logger: logger, metrics: newMetrics(), now: cfg.Now,
		hedges: hedging.NewBudget(cfg.HedgeShareMax), pruneDeletesMax: PruneDeletesMax,
	}
	if j.now == nil {
		j.now = time.Now
	}
	if err := j.metrics.register(reg); err != nil {
		return nil, fmt.Errorf("journal: register metrics: %w", err)
	}
	return j, nil
}
