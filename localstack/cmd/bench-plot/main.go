// Command bench-plot draws the latency of an acknowledgement against the ceiling on
// PUTs per second, for each rate of requests, from the figures that bench or the
// latency model of ingest wrote:
//
//	go run ./localstack/cmd/bench --s3-shape ./bin/s3-shape --parts budget --json figures.json
//	go run ./localstack/cmd/bench-plot --json figures.json --out docs/images/put-budget.svg
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

func main() {
	in := flag.String("json", "", "`file` of figures")
	out := flag.String("out", "put-budget.svg", "`file` to draw into")
	title := flag.String("title", "Acknowledgement of single records, S3-shaped store", "above the plot")
	flag.Parse()
	if err := run(*in, *out, *title); err != nil {
		fmt.Fprintln(os.Stderr, "bench-plot:", err)
		os.Exit(1)
	}
}

func run(in, out, title string) (err error) {
	text, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	curves, err := read(text)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = io.WriteString(file, draw(title, curves))
	return err
}

// point is what one ceiling came to; a budget of 0 is none.
type point struct {
	budget   int
	p50, p99 float64 // seconds
	puts     float64 // per second
}

// curve is one rate of requests.
type curve struct {
	rate   int
	points []point // from the lowest budget to none
}

// read finds the figures budget.RATE.BUDGET.*, and takes medians of their rounds.
func read(text []byte) ([]curve, error) {
	var written struct {
		Figures map[string][]*float64 `json:"figures"`
	}
	if err := json.Unmarshal(text, &written); err != nil {
		return nil, err
	}
	median := func(name string) (float64, error) {
		var values []float64
		for _, v := range written.Figures[name] {
			if v != nil {
				values = append(values, *v)
			}
		}
		if len(values) == 0 {
			return 0, fmt.Errorf("%s was not measured", name)
		}
		slices.Sort(values)
		return values[len(values)/2], nil
	}
	byRate := map[int]*curve{}
	for name := range written.Figures {
		base, ok := strings.CutSuffix(name, ".p50_seconds")
		parts := strings.Split(base, ".")
		if !ok || len(parts) != 3 || parts[0] != "budget" {
			continue
		}
		rate, err := strconv.Atoi(parts[1])
		if err != nil {
			return nil, err
		}
		var p point
		if p.budget, err = strconv.Atoi(parts[2]); err != nil {
			return nil, err
		}
		for suffix, value := range map[string]*float64{".p50_seconds": &p.p50, ".p99_seconds": &p.p99, ".puts_per_second": &p.puts} {
			if *value, err = median(base + suffix); err != nil {
				return nil, err
			}
		}
		if byRate[rate] == nil {
			byRate[rate] = &curve{rate: rate}
		}
		byRate[rate].points = append(byRate[rate].points, p)
	}
	if len(byRate) == 0 {
		return nil, errors.New("no figures of budgets")
	}
	var curves []curve
	for _, c := range byRate {
		slices.SortFunc(c.points, func(a, b point) int { return rank(a.budget) - rank(b.budget) })
		curves = append(curves, *c)
	}
	slices.SortFunc(curves, func(a, b curve) int { return a.rate - b.rate })
	return curves, nil
}

// rank puts no ceiling behind the highest.
func rank(budget int) int {
	if budget == 0 {
		return 1 << 30
	}
	return budget
}
