package s3shape

import (
	"math"
	"net/http"
	"slices"
	"testing"
	"time"
)

// TestDrawnQuantiles: what is drawn has the quantiles that were asked for.
func TestDrawnQuantiles(t *testing.T) {
	shape := DefaultShape()
	shape.SlowDown = 0.1
	f := newFates(shape)
	const n = 20_000
	for kind := range kinds {
		var drawn []time.Duration
		refused := 0
		for range n {
			one := f.draw(kind)
			drawn = append(drawn, one.answerAfter)
			if one.slowDown {
				refused++
			}
			if one.effectAfter < 0 || one.effectAfter >= one.answerAfter {
				t.Fatalf("%s: effect after %s, answer after %s", kind, one.effectAfter, one.answerAfter)
			}
		}
		slices.Sort(drawn)
		near := func(what string, got, want time.Duration) {
			if math.Abs(float64(got-want)) > 0.1*float64(want) {
				t.Errorf("%s: %s is %s, asked for %s", kind, what, got, want)
			}
		}
		near("p50", drawn[n/2], shape.of(kind).P50)
		near("p99", drawn[n/100*99], shape.of(kind).P99)
		if share := float64(refused) / n; math.Abs(share-shape.SlowDown) > 0.01 {
			t.Errorf("%s: %g of requests refused", kind, share)
		}
	}
	again := newFates(shape)
	if first, same := newFates(shape).draw(put), again.draw(put); first != same {
		t.Errorf("one seed, two fates: %v, %v", first, same)
	}
}

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		method, url, condition string
		want                   kind
	}{
		{"PUT", "/wadi/key", "", put},
		{"PUT", "/wadi/key?partNumber=1&uploadId=x", "", put},
		{"POST", "/wadi/key?uploads", "", put},
		{"PUT", "/wadi/key", "*", putIfAbsent},
		{"GET", "/wadi/key", "", get},
		{"HEAD", "/wadi/key", "", get},
		{"GET", "/wadi?list-type=2&prefix=a", "", list},
		{"GET", "/wadi?uploads", "", list},
		{"DELETE", "/wadi/key", "", del},
	} {
		r, err := http.NewRequest(c.method, "http://store"+c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.condition != "" {
			r.Header.Set("If-None-Match", c.condition)
		}
		if got := kindOf(r); got != c.want {
			t.Errorf("%s %s: %s, expected %s", c.method, c.url, got, c.want)
		}
	}
}

func TestInvalidShapes(t *testing.T) {
	for name, change := range map[string]func(*Shape){
		"no median":        func(s *Shape) { s.Put = Latency{0, time.Second} },
		"p99 below median": func(s *Shape) { s.List.P99 = s.List.P50 - 1 },
		"all refused":      func(s *Shape) { s.SlowDown = 1 },
	} {
		shape := DefaultShape()
		change(&shape)
		if _, err := New("127.0.0.1:1", shape); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
