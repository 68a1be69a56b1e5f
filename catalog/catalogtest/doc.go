// Package catalogtest connects the catalogs of several nodes within one
// process, over a network that loses, delays, repeats and reorders.
//
// A Fault says what becomes of one request. A Hook scripts faults; Randomize
// draws them from a seed, and the draw depends on the seed, the two addresses,
// the kind of request and how often these met only, so that the same seed gives
// the same faults however goroutines interleave. Beside single requests, the way
// from one node to another can be cut, and nodes can be frozen.
//
// Each request travels in a goroutine of its own, which Close ends and waits
// for. Delays are timers of package time, so a Network runs inside a
// testing/synctest bubble. No lock is held while a request, a delay or a hook
// runs.
package catalogtest
