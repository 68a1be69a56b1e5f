package journal

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"no timeout":         func(c *Config) { c.AttemptTimeout = 0 },
		"no backoff":         func(c *Config) { c.RetryBackoff = 0 },
		"backoff too long":   func(c *Config) { c.RetryBackoff = 2 * time.Second },
		"no part":            func(c *Config) { c.PartBytes = 0 },
		"part too large":     func(c *Config) { c.PartBytes = partBytesMax + 1 },
		"negative timeout":   func(c *Config) { c.AttemptTimeout = -1 },
		"negative part size": func(c *Config) { c.PartBytes = -1 },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if _, err := New(cfg, memstore.New(), "000", slog.New(slog.DiscardHandler), nil); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	logger, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	if _, err := New(DefaultConfig(), memstore.New(), "../x", logger, reg); err == nil {
		t.Error("a shard that is none was taken")
	}
	if _, err := New(DefaultConfig(), memstore.New(), "000", logger, reg); err != nil {
		t.Error(err)
	}
	if _, err := New(DefaultConfig(), memstore.New(), "000", logger, reg); err == nil {
		t.Error("the same metrics were registered twice")
	}
}

func TestMetrics(t *testing.T) {
	inBubble(t, "journal", func(t *testing.T) {
		f := newFaultFixture(t)
		f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Times: 2, Fault: faultstore.FailBefore()})
		stale := *f.chain
		f.chain.add(t, f.j, Edits, "x")
		if _, err := f.j.Write(t.Context(), stale.entry(Edits, "y")); err == nil {
			t.Error("a taken slot was written")
		}
		for range 3 {
			f.chain.add(t, f.j, Edits, "x")
			f.chain.snapshot(t, f.j, "a state of several parts")
		}
		f.fs.Add(faultstore.Rule{Op: objstore.OpGet, Fault: faultstore.CorruptRead()})
		if _, err := f.j.Prune(t.Context(), 0, nil); err != nil {
			t.Fatal(err)
		}
		m := f.j.metrics
		for name, test := range map[string]struct {
			c    prometheus.Collector
			want float64
		}{
			"committed edits":   {m.writes.WithLabelValues("edits", resultCommitted), 4},
			"taken edits":       {m.writes.WithLabelValues("edits", resultTaken), 1},
			"claims":            {m.writes.WithLabelValues("claim", resultCommitted), 1},
			"repeats":           {m.repeats, 2},
			"read-backs":        {m.readBacks, 3},
			"read repeats":      {m.readRepeats, 1},
			"snapshots":         {m.snapshots.WithLabelValues(resultCommitted), 3},
			"snapshot bytes":    {m.snapshotSize, 24},
			"deleted manifests": {m.deletions.WithLabelValues(objectManifest), 1},
			"deleted parts":     {m.deletions.WithLabelValues(objectPart), 3},
			"deleted slots":     {m.deletions.WithLabelValues(objectSlot), 2},
			"foreign keys":      {m.foreignKeys, 0},
		} {
			if got := testutil.ToFloat64(test.c); got != test.want {
				t.Errorf("%s: %v, want %v", name, got, test.want)
			}
		}
	})
}
