package main

import (
	"math"
	"slices"
)

// figures holds what was measured: for each name one value per round, in the
// order of the rounds.
type figures map[string][]float64

func (f figures) add(name string, value float64) { f[name] = append(f[name], value) }

// median is NaN for what was not measured.
func (f figures) median(name string) float64 { return median(f[name]) }

// ratio is the median over the rounds of one figure through another.
func (f figures) ratio(name, through string) float64 {
	a, b := f[name], f[through]
	ratios := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		ratios = append(ratios, a[i]/b[i])
	}
	return median(ratios)
}

// span is the lowest and the highest of the rounds.
func (f figures) span(name string) (low, high float64) {
	if len(f[name]) == 0 {
		return math.NaN(), math.NaN()
	}
	return slices.Min(f[name]), slices.Max(f[name])
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
