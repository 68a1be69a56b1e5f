package ingest

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestReservationsShareOneBudget(t *testing.T) {
	g := &Ingester{admission: admission{limit: 100, retryAfter: time.Second}}
	g.metrics = newMetrics(prometheus.NewRegistry(), g)
	a, err := g.Reserve(60)
	if err != nil {
		t.Fatal(err)
	}
	b, err := g.Reserve(40)
	if err != nil {
		t.Fatal(err)
	}
	var overloaded *OverloadedError
	if _, err := g.Reserve(1); !errors.As(err, &overloaded) || overloaded.RetryAfter != time.Second {
		t.Errorf("Reserve beyond the budget: %v", err)
	}
	if err := b.Grow(1); !errors.As(err, &overloaded) {
		t.Errorf("Grow beyond the budget: %v", err)
	}
	a.Release()
	a.Release() // does nothing
	if err := b.Grow(60); err != nil {
		t.Errorf("Grow within what was given back: %v", err)
	}
	b.Release()
	if used := g.admission.inUse(); used != 0 {
		t.Errorf("%d bytes are in use after everything was given back", used)
	}
	g.admission.close("draining")
	if _, err := g.Reserve(0); !errors.As(err, &overloaded) || overloaded.Reason != "draining" {
		t.Errorf("Reserve while draining: %v", err)
	}
}
