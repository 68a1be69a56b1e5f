package tiering

import (
	"errors"
	"time"
)

// CollectorConfig says when a Collector deletes what.
type CollectorConfig struct {
	// RetentionInterval is the pause between looks for records that no topic
	// keeps any more.
	RetentionInterval time.Duration
	// LooksMax bounds the topics, and their partitions if they have a limit, that
	// one round of retention looks at; the next goes on. One topic may exceed it.
	LooksMax int

	// GarbageInterval is the pause between rounds of deleting garbage.
	GarbageInterval time.Duration
	// GarbageGrace is for how long of journal time an object that holds no
	// records any more is left in the store. It must be longer than any fetch,
	// since one that has begun may still read the object.
	GarbageGrace time.Duration

	// OrphanInterval is how far the orphan floor moves at a time, at least: so
	// often the store is listed, once for all nodes.
	OrphanInterval time.Duration
	// OrphanAge is how far behind the journal's time the orphan floor stays. The
	// commit of an object that is older is refused, so it must be longer than any
	// commit is on its way.
	OrphanAge time.Duration

	// DeletesMax bounds the objects that one round deletes; the next goes on.
	DeletesMax int
	// DeletesInFlight is the greatest number of DELETEs under way in a round.
	DeletesInFlight int
	// RequestTimeout is how long a request to the store or the catalog may take.
	RequestTimeout time.Duration
}

// DefaultCollectorConfig returns the values that production uses.
func DefaultCollectorConfig() CollectorConfig {
	return CollectorConfig{
		RetentionInterval: 5 * time.Second,
		LooksMax:          50_000,
		GarbageInterval:   5 * time.Second,
		GarbageGrace:      time.Hour,
		OrphanInterval:    6 * time.Hour,
		OrphanAge:         24 * time.Hour,
		DeletesMax:        10_000,
		DeletesInFlight:   16,
		RequestTimeout:    30 * time.Second,
	}
}

// Validate reports every value that makes no sense.
func (c CollectorConfig) Validate() error {
	var errs []error
	check := func(ok bool, message string) {
		if !ok {
			errs = append(errs, errors.New("collector: "+message))
		}
	}
	check(c.RetentionInterval > 0, "RetentionInterval must be positive")
	check(c.LooksMax > 0, "LooksMax must be positive")
	check(c.GarbageInterval > 0, "GarbageInterval must be positive")
	check(c.GarbageGrace >= 0, "GarbageGrace must not be negative")
	check(c.OrphanInterval > 0, "OrphanInterval must be positive")
	check(c.OrphanAge > 0, "OrphanAge must be positive")
	check(c.DeletesMax > 0, "DeletesMax must be positive")
	check(c.DeletesInFlight > 0, "DeletesInFlight must be positive")
	check(c.RequestTimeout > 0, "RequestTimeout must be positive")
	return errors.Join(errs...)
}
