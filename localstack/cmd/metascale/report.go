package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// report writes a table in Markdown, a row at a time.
type report struct{ out io.Writer }

func (r report) title(columns string) {
	_, _ = fmt.Fprintf(r.out, "| %s | |\n|---|---:|\n", columns)
}

func (r report) row(what, format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, "| %s | %s |\n", what, fmt.Sprintf(format, args...))
}

// quantiles writes the median and the 99th percentile, and the longest.
func quantiles(times []time.Duration) string {
	if len(times) == 0 {
		return "none"
	}
	times = slices.Sorted(slices.Values(times))
	at := func(q float64) time.Duration { return times[min(len(times)-1, int(q*float64(len(times))))] }
	return fmt.Sprintf("%s / %s / %s", brief(at(0.5)), brief(at(0.99)), brief(times[len(times)-1]))
}

// brief is a duration with three digits.
func brief(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3g ms", d.Seconds()*1e3)
	default:
		return fmt.Sprintf("%.3g µs", d.Seconds()*1e6)
	}
}

func since(begun time.Time) string { return brief(time.Since(begun)) }
