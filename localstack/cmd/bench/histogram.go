package main

import (
	"cmp"
	"slices"
)

// bucket counts the requests that took at most UpTo µs, and longer than the
// bucket before.
type bucket struct {
	UpTo  int64 `json:"up_to"`
	Count int64 `json:"count"`
}

// histogram is in ascending order.
type histogram []bucket

// histograms are of latencies, by the load that saw them, over all rounds.
type histograms map[string]histogram

func (h histograms) add(name string, more histogram) {
	sum := slices.Clone(h[name])
	for _, b := range more {
		at, found := slices.BinarySearchFunc(sum, b, func(a, b bucket) int { return cmp.Compare(a.UpTo, b.UpTo) })
		if found {
			sum[at].Count += b.Count
		} else {
			sum = slices.Insert(sum, at, b)
		}
	}
	h[name] = sum
}
