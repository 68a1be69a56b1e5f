package journal

import (
	"sync/atomic"
	"time"
)

// clockSkewMax is how far a Date of the store may be from the local clock and
// still count.
const clockSkewMax = 10 * time.Minute

// storeClock remembers the highest Date of the store, and goes on from there.
type storeClock struct {
	highest atomic.Pointer[storeDate] // nil before the first
	suspect atomic.Bool               // the last Date was passed over
}

// storeDate is a Date of the store, and when it came.
type storeDate struct {
	ms int64
	at time.Time // with a monotonic reading
}

// now is the store's time by the local monotonic clock since the Date came.
func (d *storeDate) now() int64 {
	if d == nil {
		return 0
	}
	return d.ms + time.Since(d.at).Milliseconds()
}

// StoreTime is the store's time in ms: the highest Date seen so far, in answers of
// any kind, errors included, and what has passed since by the monotonic clock; 0
// before the first. A leader that had nothing to write for hours would else date
// what comes then by the last Date that it saw, and retention would drop it at once.
// Dates more than 10 minutes from the local clock are passed over and counted, and
// time stands still.
func (j *Journal) StoreTime() int64 {
	d := j.clock.highest.Load()
	if d != nil && j.clock.suspect.Load() {
		return d.ms
	}
	return d.now()
}

// ClockSuspect tells whether the last Date of the store was more than 10
// minutes from the local clock. One of the two is wrong then, StoreTime stands
// still, and with it everything that expires.
func (j *Journal) ClockSuspect() bool { return j.clock.suspect.Load() }

// observeDate takes the Date of an answer into account; the zero time is none.
func (j *Journal) observeDate(date time.Time) {
	if date.IsZero() {
		return
	}
	skew := date.Sub(j.now()).Abs()
	suspect := skew > clockSkewMax
	if was := j.clock.suspect.Swap(suspect); was != suspect {
		j.logClock(suspect, date, skew)
	}
	if suspect {
		j.metrics.suspectDates.Inc()
		return
	}
	for next := (&storeDate{ms: date.UnixMilli(), at: time.Now()}); ; {
		seen := j.clock.highest.Load()
		if next.ms <= seen.now() || j.clock.highest.CompareAndSwap(seen, next) {
			return
		}
	}
}

func (j *Journal) logClock(suspect bool, date time.Time, skew time.Duration) {
	if suspect {
		j.logger.Warn("the clocks of the store and of this node differ; expiry pauses", "store_date", date, "skew", skew)
		return
	}
	j.logger.Info("the clocks of the store and of this node agree again", "store_date", date)
}
