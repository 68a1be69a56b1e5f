package main

import (
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// bucketsPerDecade of a histogram that is printed: each is about 26% wider than
// the one before.
const bucketsPerDecade = 10

// latencyBucket counts the operations that took at most UpTo µs, and longer than
// the bucket before.
type latencyBucket struct {
	UpTo  int64 `json:"up_to"`
	Count int64 `json:"count"`
}

// buckets leaves out those that are empty.
func buckets(h *hdrhistogram.Histogram) []latencyBucket {
	out := []latencyBucket{}
	for _, bar := range h.Distribution() {
		if bar.Count == 0 {
			continue
		}
		decades := math.Ceil(math.Log10(float64(max(1, bar.To)))*bucketsPerDecade) / bucketsPerDecade
		upTo := int64(math.Round(math.Pow(10, decades)))
		if last := len(out) - 1; last >= 0 && out[last].UpTo == upTo {
			out[last].Count += bar.Count
		} else {
			out = append(out, latencyBucket{upTo, bar.Count})
		}
	}
	return out
}
