package main

import (
	"testing"
)

// TestBucketsHoldEveryLatency: none is lost, and each is in the bucket that its
// time belongs to.
func TestBucketsHoldEveryLatency(t *testing.T) {
	h := newLatency()
	for _, us := range []int64{1, 1, 90, 100, 101, 120, 3_000_000} {
		if err := h.RecordValue(us); err != nil {
			t.Fatal(err)
		}
	}
	got := map[int64]int64{}
	last := int64(0)
	for _, b := range buckets(h) {
		if b.UpTo <= last {
			t.Errorf("bucket %d after %d", b.UpTo, last)
		}
		last = b.UpTo
		got[b.UpTo] = b.Count
	}
	want := map[int64]int64{1: 2, 100: 2, 126: 2, 3_162_278: 1}
	if len(got) != len(want) {
		t.Errorf("buckets %v, expected %v", got, want)
	}
	for upTo, count := range want {
		if got[upTo] != count {
			t.Errorf("%d operations took up to %d µs, expected %d", got[upTo], upTo, count)
		}
	}
}
