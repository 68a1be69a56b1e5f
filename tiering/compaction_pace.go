package tiering

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// slowdown is how many times as long as usual requests to the store take when
// compaction makes room for others.
const slowdown = 3

// pace holds compaction to its share of the store's bandwidth.
type pace struct {
	cfg     *CompactorConfig
	traffic Traffic
	limiter *rate.Limiter

	mu     sync.Mutex
	usual  float64 // seconds that a GET takes, over the last hundreds; guarded by mu
	lately float64 // over the last few; guarded by mu
}

func newPace(cfg *CompactorConfig, traffic Traffic) *pace {
	return &pace{cfg: cfg, traffic: traffic, limiter: rate.NewLimiter(rate.Limit(cfg.BytesPerSecond), int(cfg.ReadBytesMax))}
}

// wait returns when n bytes may be read, or when ctx ends.
func (p *pace) wait(ctx context.Context, n int64) error {
	limit := rate.Limit(p.cfg.BytesPerSecond)
	if p.traffic.Busy() || p.slow() {
		limit *= rate.Limit(p.cfg.BusyShare)
	}
	if p.limiter.Limit() != limit {
		p.limiter.SetLimit(limit)
	}
	for n > 0 {
		take := min(n, int64(p.limiter.Burst()))
		if err := p.limiter.WaitN(ctx, int(take)); err != nil {
			return err
		}
		n -= take
	}
	return nil
}

// took notes how long a GET took.
func (p *pace) took(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := d.Seconds()
	if p.usual == 0 {
		p.usual, p.lately = s, s
		return
	}
	p.usual += (s - p.usual) / 256
	p.lately += (s - p.lately) / 8
}

func (p *pace) slow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lately > slowdown*p.usual
}
