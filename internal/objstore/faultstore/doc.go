// Package faultstore wraps a bucket and makes its requests fail the way that
// requests to object stores fail: errors before and after the effect, lost
// responses, delay, hanging, short and corrupt reads, 409, a 412 for one's own
// write, 500, 503, writes that land late, clocks that differ, and the whole
// store being away.
//
// A Fault says two independent things: what became of the request (Effect) and
// what the caller is told (Answer). Rules script faults (“the second
// put-if-absent below catalog/”); Randomize draws them from a seed, and the draw
// depends on the seed, the operation, the key and how often the two met only, so
// that the same seed gives the same faults however goroutines interleave.
//
// The package starts no goroutine. Delays are timers of package time, so it runs
// inside a testing/synctest bubble. No lock is held while a request, a delay or a
// hook runs.
package faultstore
