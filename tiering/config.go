package tiering

import (
	"errors"
	"time"
)

// UploaderConfig says how hard an Uploader tries.
type UploaderConfig struct {
	// AttemptTimeout is how long a PUT may take before it is given up and sent
	// again, besides what its bytes take at BytesPerSecondMin.
	AttemptTimeout time.Duration
	// BytesPerSecondMin is the slowest transfer that is still waited for. It lets
	// a large body have the time that it needs on a thin line; with one timeout
	// for all, such a body would be begun anew for ever.
	BytesPerSecondMin int

	// HedgeAfterMin is the least time after which a PUT that has not answered is
	// sent a second time beside the first; a large body has longer.
	HedgeAfterMin time.Duration
	// HedgeQuantile is the share of recent PUTs of like size that a PUT must be
	// slower than before it is hedged; within (0, 1).
	HedgeQuantile float64
	// HedgeShareMax is the greatest share of PUTs that hedges may add, from 0
	// (never hedge) to 1.
	HedgeShareMax float64

	// BackoffMin and BackoffMax bound the pause before a retry; it doubles with
	// each retry of an upload, and a random half of it is left out.
	BackoffMin time.Duration
	BackoffMax time.Duration
	// RefusedBackoff is that pause after the store refused a request in a way that
	// only a change of its settings can mend.
	RefusedBackoff time.Duration

	// InFlightMax is the greatest number of PUTs under way. Uploads beyond it wait.
	InFlightMax int
}

// DefaultUploaderConfig returns the values that production uses.
func DefaultUploaderConfig() UploaderConfig {
	return UploaderConfig{
		AttemptTimeout:    5 * time.Second,
		BytesPerSecondMin: 1 << 20,
		HedgeAfterMin:     20 * time.Millisecond,
		HedgeQuantile:     0.95,
		HedgeShareMax:     0.1,
		BackoffMin:        50 * time.Millisecond,
		BackoffMax:        5 * time.Second,
		RefusedBackoff:    15 * time.Second,
		InFlightMax:       16,
	}
}

// Validate reports every value that makes no sense.
func (c UploaderConfig) Validate() error {
	var errs []error
	check := func(ok bool, message string) {
		if !ok {
			errs = append(errs, errors.New("uploader: "+message))
		}
	}
	check(c.AttemptTimeout > 0, "AttemptTimeout must be positive")
	check(c.BytesPerSecondMin > 0, "BytesPerSecondMin must be positive")
	check(c.HedgeAfterMin > 0, "HedgeAfterMin must be positive")
	check(c.HedgeQuantile > 0 && c.HedgeQuantile < 1, "HedgeQuantile must be within 0 and 1")
	check(c.HedgeShareMax >= 0 && c.HedgeShareMax <= 1, "HedgeShareMax must be from 0 to 1")
	check(c.BackoffMin > 0, "BackoffMin must be positive")
	check(c.BackoffMax >= c.BackoffMin, "BackoffMax must not be less than BackoffMin")
	check(c.RefusedBackoff > 0, "RefusedBackoff must be positive")
	check(c.InFlightMax > 0, "InFlightMax must be positive")
	return errors.Join(errs...)
}
