// Package memstore keeps objects in memory: the store of unit tests and
// simulations, and of `mem://`.
//
// It is linearizable: each operation takes effect at one instant under one
// lock. It has no goroutines and no timers, so it runs inside a testing/synctest
// bubble. Bodies are copied on the way in and out.
package memstore
