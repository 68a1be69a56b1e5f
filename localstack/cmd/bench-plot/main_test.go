package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const written = `{"figures": {
	"budget.10.0.p50_seconds": [0.1, 0.09, 0.3], "budget.10.0.p99_seconds": [0.3], "budget.10.0.puts_per_second": [15],
	"budget.10.2.p50_seconds": [0.5, null], "budget.10.2.p99_seconds": [1.4], "budget.10.2.puts_per_second": [2],
	"budget.1.0.p50_seconds": [0.08], "budget.1.0.p99_seconds": [0.2], "budget.1.0.puts_per_second": [2],
	"produce.json.p50_seconds": [7]}}`

func TestReadTakesMediansInOrder(t *testing.T) {
	curves, err := read([]byte(written))
	if err != nil {
		t.Fatal(err)
	}
	if len(curves) != 2 || curves[0].rate != 1 || curves[1].rate != 10 || len(curves[1].points) != 2 {
		t.Fatalf("curves %+v", curves)
	}
	if got, want := curves[1].points[0], (point{budget: 2, p50: 0.5, p99: 1.4, puts: 2}); got != want {
		t.Errorf("%+v, expected %+v", got, want)
	}
	if got, want := curves[1].points[1], (point{budget: 0, p50: 0.1, p99: 0.3, puts: 15}); got != want {
		t.Errorf("%+v, expected %+v", got, want)
	}
	for _, bad := range []string{"", `{}`, `{"figures": {"budget.1.0.p50_seconds": [1]}}`, `{"figures": {"budget.x.0.p50_seconds": [1]}}`} {
		if _, err := read([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestDrawingIsWellFormed, and all of it lies within the picture.
func TestDrawingIsWellFormed(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.json"), filepath.Join(dir, "out.svg")
	if err := os.WriteFile(in, []byte(written), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(in, out, "a < b"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for d := xml.NewDecoder(strings.NewReader(string(text))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != 4 {
		t.Errorf("%d lines for two curves of two quantiles", lines)
	}
	curves, _ := read([]byte(written))
	f := newFrame(curves)
	for _, seconds := range []float64{0.08, 1.4} {
		if y := f.y(seconds); math.IsNaN(y) || y < top || y > height-bottom {
			t.Errorf("%g s are drawn at %g", seconds, y)
		}
	}
	if f.x(2) >= f.x(0) {
		t.Error("no ceiling is drawn left of one")
	}
}
