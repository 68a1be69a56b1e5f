package s3shape

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Latency is a lognormal distribution, by two of its quantiles.
type Latency struct{ P50, P99 time.Duration }

// z99 is the 99% quantile of the standard normal distribution.
const z99 = 2.3263478740408408

// at returns the time whose logarithm lies z standard deviations above the mean's.
func (l Latency) at(z float64) time.Duration {
	sigma := math.Log(float64(l.P99)/float64(l.P50)) / z99
	return time.Duration(float64(l.P50) * math.Exp(sigma*z))
}

func (l Latency) validate() error {
	if l.P50 <= 0 || l.P99 < l.P50 {
		return fmt.Errorf("a median of %s and a 99%% quantile of %s", l.P50, l.P99)
	}
	return nil
}

// Shape says how a store answers.
type Shape struct {
	Put         Latency // also the parts of a multipart upload
	PutIfAbsent Latency
	Get         Latency // also HEAD
	List        Latency
	Delete      Latency
	// SlowDown is the share of requests that are refused with 503.
	SlowDown float64
	// Seed of all that is drawn.
	Seed uint64
}

// DefaultShape is S3 as seen from a machine in the same region.
func DefaultShape() Shape {
	return Shape{
		Put:         Latency{40 * time.Millisecond, 200 * time.Millisecond},
		PutIfAbsent: Latency{30 * time.Millisecond, 150 * time.Millisecond},
		Get:         Latency{20 * time.Millisecond, 80 * time.Millisecond},
		List:        Latency{30 * time.Millisecond, 150 * time.Millisecond},
		Delete:      Latency{20 * time.Millisecond, 100 * time.Millisecond},
		SlowDown:    0.001,
		Seed:        1,
	}
}

// Validate tells what is wrong with a shape.
func (s Shape) Validate() error {
	var errs []error
	for kind := range kinds {
		if err := s.of(kind).validate(); err != nil {
			errs = append(errs, fmt.Errorf("s3shape: %s: %w", kind, err))
		}
	}
	if !(s.SlowDown >= 0 && s.SlowDown < 1) {
		errs = append(errs, fmt.Errorf("s3shape: a share of %g of requests refused", s.SlowDown))
	}
	return errors.Join(errs...)
}

func (s Shape) of(k kind) Latency {
	switch k {
	case put:
		return s.Put
	case putIfAbsent:
		return s.PutIfAbsent
	case list:
		return s.List
	case del:
		return s.Delete
	default:
		return s.Get
	}
}

// fate is what was drawn for a request.
type fate struct {
	answerAfter time.Duration // the last byte
	effectAfter time.Duration // the last byte
	slowDown    bool          // and then there is no effect
}

// fates draws them. It is safe for concurrent use.
type fates struct {
	shape Shape

	mu     sync.Mutex
	random *rand.Rand // guarded by mu
}

func newFates(s Shape) *fates {
	return &fates{shape: s, random: rand.New(rand.NewPCG(s.Seed, 0))}
}

func (f *fates) draw(k kind) fate {
	f.mu.Lock()
	z, when, refused := f.random.NormFloat64(), f.random.Float64(), f.random.Float64() < f.shape.SlowDown
	f.mu.Unlock()
	after := f.shape.of(k).at(z)
	return fate{answerAfter: after, effectAfter: time.Duration(when * float64(after)), slowDown: refused}
}
