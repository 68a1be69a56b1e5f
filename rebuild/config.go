package rebuild

import (
	"fmt"
	"time"

	"github.com/wadilog/wadi/verify"
)

// Config of a Rebuilder.
type Config struct {
	// Read says how the store is read.
	Read verify.Config
	// Now is the clock from which the first slot and epoch are taken; nil for time.Now.
	Now func() time.Time
}

// DefaultConfig returns what the command uses.
func DefaultConfig() Config { return Config{Read: verify.DefaultConfig()} }

// Validate names the first setting that is out of its bounds.
func (c Config) Validate() error {
	if err := c.Read.Validate(); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	return nil
}

const (
	// producerIDsSkipped is how many producer ids are left out before the next.
	producerIDsSkipped = 1 << 20
	// bufferedFor is how long after its last segment a node may come back with a
	// write-ahead buffer: for so long its id does not expire.
	bufferedFor = 7 * 24 * time.Hour
	// slotMin is the least first slot, on a store without a clock.
	slotMin = 1 << 40
	// leftOutMax bounds how many objects a Report names of each kind.
	leftOutMax = 1000
)
