package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wadilog/wadi/localstack"
)

func TestMedianOfRatiosIsNotTheRatioOfMedians(t *testing.T) {
	// The machine got slower from round to round, and both sides with it.
	f := figures{"wadi": {90, 20, 9}, "raw": {100, 40, 10}}
	if got := f.ratio("wadi", "raw"); got != 0.9 {
		t.Errorf("ratio %g", got)
	}
	if got := f.median("raw"); got != 40 {
		t.Errorf("median %g", got)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median of an even number of values %g", got)
	}
	if got := f.median("none"); !math.IsNaN(got) {
		t.Errorf("median of nothing %g", got)
	}
}

func TestGoals(t *testing.T) {
	f := figures{"speed": {50}, "raw": {100}, "time": {0.003}, "bound": {0.004}}
	for name, c := range map[string]struct {
		row  row
		text string
		met  bool
	}{
		"ratio met":    {row{figure: "speed", through: "raw", unit: count, goal: ratioAtLeast(0.5)}, "≥ 0.5 × raw", true},
		"ratio missed": {row{figure: "speed", through: "raw", unit: count, goal: ratioAtLeast(0.51)}, "≥ 0.51 × raw", false},
		"at least":     {row{figure: "speed", unit: count, goal: atLeast(51)}, "≥ 51.0", false},
		"at most":      {row{figure: "time", unit: milliseconds, goal: atMost(0.0029)}, "≤ 2.90", false},
		"of another": {row{figure: "time", unit: milliseconds, goal: atMostOf("other", func(f figures) float64 { return f.median("bound") })},
			"≤ 4.00 (other)", true},
		"not measured": {row{figure: "none", unit: count, goal: atMost(1)}, "≤ 1.00", false},
	} {
		if text, met := c.row.goal(f, c.row); text != c.text || met != c.met {
			t.Errorf("%s: %q, %v", name, text, met)
		}
	}
}

func TestParseMetrics(t *testing.T) {
	m, err := parseMetrics(strings.NewReader("# HELP x y\nwadi_catalog_slot 42\n" +
		`wadi_store_requests_total{op="put",result="ok"} 3` + "\n" +
		`wadi_store_requests_total{op="put",result="error"} 1` + "\n" +
		`wadi_store_requests_total{op="put-if-absent",result="ok"} 2e+02` + "\n" +
		`wadi_store_requests_total{op="get",result="ok"} 7` + "\n" +
		`wadi_store_bytes_total{op="get"} 5` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	sum := func(ops ...string) float64 { return m.sum(storeRequests, ops...) }
	if m["wadi_catalog_slot"] != 42 || sum("put") != 4 || sum("put", "put-if-absent") != 204 || sum() != 211 || m.sum(storeBytes) != 5 {
		t.Errorf("got %v", m)
	}
	for _, bad := range []string{"name", "name value"} {
		if _, err := parseMetrics(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestEveryRowIsMeasured runs a whole sitting with phases as short as they can
// be. What the figures are does not matter.
func TestEveryRowIsMeasured(t *testing.T) {
	dir := t.TempDir()
	binary, err := localstack.BuildWadi(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	some, err := os.ReadFile("../../testdata/flights-5k.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	flights := filepath.Join(dir, "flights.ndjson")
	// So often that the segments are enough for a compaction.
	if err := os.WriteFile(flights, bytes.Repeat(some, 10), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options{
		wadi: binary, rounds: 1, seconds: 0.5, payload: "log", memory: "512MiB", flights: flights, parts: allParts(),
		jsonFile: filepath.Join(dir, "figures.json"),
	}
	var table strings.Builder
	if err := run(t.Context(), o, &table, io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(o.jsonFile)
	if err != nil {
		t.Fatal(err)
	}
	var written struct{ Rows []line }
	if err := json.Unmarshal(text, &written); err != nil {
		t.Fatal(err)
	}
	for _, l := range written.Rows {
		if l.Value == nil || !strings.Contains(table.String(), l.Title) {
			t.Errorf("%q is not measured or not shown", l.Title)
		}
	}
	if len(written.Rows) != len(o.rows()) {
		t.Errorf("%d rows, of %d", len(written.Rows), len(o.rows()))
	}
}
