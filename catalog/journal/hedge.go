package journal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
)

// putAnswer is the answer to one of the PUTs of a body.
type putAnswer struct {
	receipt objstore.Receipt
	err     error
	took    time.Duration
}

// putHedged sends the body and, if that takes longer than most do, sends it a
// second time beside the first. It returns at the first success, at the first 412,
// since what is there can be read back then, or when both have failed.
//
// The second PUT is a repeat as any other: the same body, for the slot whose only
// body it is. As with any other, its answer proves nothing about who leads; nor
// does that of the first any more, since the slot may have been taken by the
// second, built upon, and deleted, before the first arrives in an empty place.
func (s *settlement) putHedged(ctx context.Context) error {
	var puts sync.WaitGroup
	defer puts.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the PUT that lost; if it lands yet, it is a repeat that is late
	answers := make(chan putAnswer, 2)
	begun := time.Now()
	send := func() {
		begun := time.Now()
		puts.Go(func() {
			receipt, err := s.j.bucket.PutIfAbsent(ctx, s.key, s.body)
			answers <- putAnswer{receipt, err, time.Since(begun)}
		})
	}
	s.j.hedges.Earn()
	send()
	var slow <-chan time.Time // never, unless it is known what is slow
	if after, ok := s.hedgeAfter(); ok {
		hedge := time.NewTimer(after)
		defer hedge.Stop()
		slow = hedge.C
	}
	var last error
	for underWay := 1; underWay > 0; {
		select {
		case a := <-answers:
			underWay--
			s.j.observeDate(a.receipt.Date)
			if a.err == nil {
				s.j.latencies.Observe(len(s.body), a.took)
				if s.puts > 1 {
					// As long as this the first one takes at least. Were only the
					// faster of two counted, a slow store would look fast for ever.
					s.j.latencies.Observe(len(s.body), time.Since(begun))
				}
				return nil
			}
			last = a.err
			s.doubt(a.err)
			if errors.Is(a.err, objstore.ErrExists) {
				return a.err
			}
		case <-slow:
			if ctx.Err() == nil && s.j.hedges.Take() {
				s.puts++
				underWay++
				s.j.metrics.hedges.Inc()
				send()
			}
		}
	}
	return last
}

// hedgeAfter is how long a PUT may go unanswered before it is hedged, or false if
// it is not: little is known of the store's latency, or the PUT is given up by then.
func (s *settlement) hedgeAfter() (time.Duration, bool) {
	usual, ok := s.j.latencies.Quantile(len(s.body), s.j.cfg.HedgeQuantile)
	after := max(s.j.cfg.HedgeAfterMin, usual)
	return after, ok && after < s.j.cfg.AttemptTimeout
}
