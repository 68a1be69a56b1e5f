package ingest

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// putsPerFlush is what a flush costs: the segment and its journal slot.
const putsPerFlush = 2

// openSegment gathers units until it is sealed.
type openSegment struct {
	units   []*unit
	bytes   int64
	appends int
	opened  time.Time
}

func (o *openSegment) add(u *unit, now time.Time) {
	if len(o.units) == 0 {
		o.opened = now
	}
	o.units = append(o.units, u)
	o.bytes += u.bytes
	o.appends += u.catalogAppends()
}

// flushController decides when the open segment is sealed: on size, on age, or
// at once while nothing is in flight. So a lone request travels alone and one
// of many joins those that came while the last segment was under way.
//
// All its fields belong to the holder of Ingester.mu.
type flushController struct {
	cfg      Config
	budget   *rate.Limiter // nil: no ceiling
	inFlight int           // segments sealed and not settled
	open     openSegment
}

func newFlushController(cfg Config) flushController {
	f := flushController{cfg: cfg}
	if cfg.PutBudget > 0 {
		burst := max(putsPerFlush, int(cfg.PutBudget))
		f.budget = rate.NewLimiter(rate.Limit(cfg.PutBudget), burst)
	}
	return f
}

// full tells that the open segment is sealed whatever else holds.
func (f *flushController) full() bool {
	return f.open.bytes >= f.cfg.FlushBytes || f.open.appends >= f.cfg.SegmentAppendsMax
}

// decide returns why the open segment is to be sealed now ("size", "age",
// "idle", "drain"), or "" and how long that may take at most; 0 means until
// something changes.
func (f *flushController) decide(now time.Time, draining bool) (cause string, wait time.Duration) {
	if len(f.open.units) == 0 {
		return "", 0
	}
	age := now.Sub(f.open.opened)
	switch {
	case f.full():
		// The cheapest PUT there is. It takes its tokens without waiting, so
		// small segments wait the longer.
		if f.budget != nil {
			f.budget.ReserveN(now, putsPerFlush)
		}
		return "size", 0
	case draining:
		return "drain", 0
	case f.inFlight == 0:
		cause = "idle"
	case age >= f.cfg.FlushInterval:
		cause = "age"
	default:
		return "", f.cfg.FlushInterval - age
	}
	if f.budget == nil || f.budget.AllowN(now, putsPerFlush) {
		return cause, 0
	}
	missing := float64(putsPerFlush) - f.budget.TokensAt(now)
	return "", time.Duration(missing / f.cfg.PutBudget * float64(time.Second))
}

// seal hands out the open segment's units and begins the next one.
func (f *flushController) seal() []*unit {
	units := f.open.units
	f.open = openSegment{}
	f.inFlight++
	return units
}

// runFlush seals segments and hands them to the lane, in order.
func (g *Ingester) runFlush(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		g.mu.Lock()
		cause, wait := g.flush.decide(time.Now(), g.draining)
		var units []*unit
		if cause != "" {
			units = g.flush.seal()
		}
		g.mu.Unlock()
		if units != nil {
			g.metrics.flushes.WithLabelValues(cause).Inc()
			if err := g.lane.send(ctx, units); err != nil {
				return err
			}
			continue
		}
		if wait <= 0 {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.flushWake:
		case <-timer.C:
		}
	}
}

func (g *Ingester) wakeFlush() {
	select {
	case g.flushWake <- struct{}{}:
	default:
	}
}

// flushSettled tells the controller that a segment is no longer in flight.
func (g *Ingester) flushSettled() {
	g.mu.Lock()
	g.flush.inFlight--
	g.mu.Unlock()
	g.wakeFlush()
}
