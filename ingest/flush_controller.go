package ingest

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// putsPerFlush is what a flush costs: the segment and its journal slot.
const putsPerFlush = 2

// After a segment of several requests was settled, those who sent them are
// likely to send the next at once. They are waited for, a quarter of the time
// that the segment took and gatherMax at most.
const (
	gatherShare = 4
	gatherMax   = 2 * time.Millisecond
)

// While a segment is in flight the next is sealed when this share of the time has
// passed that one takes to be settled of late, and staggerMin at least. Where a
// segment takes long, those that came after it was sealed need not wait for its end.
const (
	staggerShare = 0.5
	staggerMin   = 20 * time.Millisecond
	// flightWeight is what the latest segment counts for in that time.
	flightWeight = 0.125
)

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
// at once while nothing is in flight, or when the last was sealed a while ago
// (staggerShare). So a lone request travels alone and one of many joins those that
// came while the last segment was under way, and those whose senders had just been
// answered. Without the latter, requests of many lockstep producers would split
// into two halves that take turns.
//
// All its fields belong to the holder of Ingester.mu.
type flushController struct {
	cfg      Config
	budget   *rate.Limiter // nil: no ceiling
	inFlight int           // segments sealed and not settled
	open     openSegment
	sealed   time.Time     // when the newest segment was sealed
	flights  []flight      // the segments in flight, in order
	usual    time.Duration // that a segment takes from its seal to its settlement, of late

	gatherUntil time.Time // until then, while nothing is in flight,
	gatherUnits int       // wait for so many units
}

// flight is a segment from its seal to its settlement.
type flight struct{ opened, sealed time.Time }

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
// "idle", "stagger", "drain"), or "" and how long that may take at most; 0 means until
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
	case f.gathering(now):
		return "", f.gatherUntil.Sub(now)
	case f.inFlight == 0:
		cause = "idle"
	case age >= f.cfg.FlushInterval:
		cause = "age"
	case f.staggered(now) <= 0:
		cause = "stagger"
	default:
		return "", min(f.cfg.FlushInterval-age, f.staggered(now))
	}
	if f.budget == nil || f.budget.AllowN(now, putsPerFlush) {
		return cause, 0
	}
	missing := float64(putsPerFlush) - f.budget.TokensAt(now)
	return "", time.Duration(missing / f.cfg.PutBudget * float64(time.Second))
}

// gathering tells that the senders of the last segment are being waited for.
func (f *flushController) gathering(now time.Time) bool {
	return f.inFlight == 0 && len(f.open.units) < f.gatherUnits && now.Before(f.gatherUntil)
}

// staggered is how long the segment in flight still keeps the next one waiting.
func (f *flushController) staggered(now time.Time) time.Duration {
	pause := max(staggerMin, time.Duration(staggerShare*float64(f.usual)))
	return pause - now.Sub(f.sealed)
}

// seal hands out the open segment's units and begins the next one.
func (f *flushController) seal(now time.Time) []*unit {
	units := f.open.units
	f.flights = append(f.flights, flight{f.open.opened, now})
	f.open = openSegment{}
	f.inFlight++
	f.sealed = now
	f.gatherUnits = 0
	return units
}

// settled takes note that the oldest segment in flight, of so many units, is no
// longer.
func (f *flushController) settled(now time.Time, units int) {
	f.inFlight--
	f.took(now.Sub(f.flights[0].sealed))
	f.flights = f.flights[1:]
	if all := len(f.open.units) + units; f.inFlight == 0 && all > 1 {
		f.gatherUnits = all
		f.gatherUntil = now.Add(min(now.Sub(f.sealed)/gatherShare, gatherMax))
	}
}

// took takes note of how long a segment was in flight.
func (f *flushController) took(d time.Duration) {
	if f.usual == 0 {
		f.usual = d
		return
	}
	f.usual += time.Duration(flightWeight * float64(d-f.usual))
}

// oldest is when the oldest unit came that is not settled; zero if there is none.
func (f *flushController) oldest() time.Time {
	if len(f.flights) > 0 {
		return f.flights[0].opened
	}
	if len(f.open.units) > 0 {
		return f.open.opened
	}
	return time.Time{}
}

// due tells that a unit that was just added is a reason to decide.
func (f *flushController) due() bool {
	n := len(f.open.units)
	return n == 1 || n == f.gatherUnits || f.full()
}

// runFlush seals segments and hands them to the lane, in order.
func (g *Ingester) runFlush(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		g.mu.Lock()
		now := time.Now()
		cause, wait := g.flush.decide(now, g.draining)
		var units []*unit
		if cause != "" {
			units = g.flush.seal(now)
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

// flushSettled tells the controller that a segment of so many units is no
// longer in flight.
func (g *Ingester) flushSettled(units int) {
	g.mu.Lock()
	g.flush.settled(time.Now(), units)
	g.mu.Unlock()
	g.wakeFlush()
}
