package chaos

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestAwaitProgress lets something take longer than the bound: that is found
// only if nothing went on meanwhile.
func TestAwaitProgress(t *testing.T) {
	for name, test := range map[string]struct {
		step  time.Duration // from one bit of progress to the next
		ok    bool
		after time.Duration
	}{
		"goes on":      {20 * time.Second, true, 200 * time.Second},
		"stands still": {40 * time.Second, false, liveWithin},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				f := &fleet{found: NewFindings()}
				steps := func() int64 { return int64(time.Since(begun) / test.step) }
				ok, err := f.awaitProgress(t.Context(), steps, func(context.Context) error {
					if steps() < 10 {
						return errors.New("not yet")
					}
					return nil
				})
				took := time.Since(begun)
				if err != nil || ok != test.ok || f.found.Count() > 0 == test.ok || took < test.after || took > test.after+2*liveEvery {
					t.Errorf("%t, %v after %s, with %d findings", ok, err, took, f.found.Count())
				}
			})
		})
	}
}
