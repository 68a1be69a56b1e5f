package journal

import (
	"sync/atomic"
	"time"
)

// clockSkewMax is how far a Date of the store may be from the local clock and
// still count.
const clockSkewMax = 10 * time.Minute

// storeClock remembers the highest Date of the store.
type storeClock struct {
	ms      atomic.Int64
	suspect atomic.Bool // the last Date was passed over
}

// StoreTime is the highest Date of the store seen so far, in ms, in answers of
// any kind, errors included; 0 before the first. Dates more than 10 minutes from
// the local clock are passed over and counted.
func (j *Journal) StoreTime() int64 { return j.clock.ms.Load() }

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
	for ms := date.UnixMilli(); ; {
		seen := j.clock.ms.Load()
		if ms <= seen || j.clock.ms.CompareAndSwap(seen, ms) {
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
