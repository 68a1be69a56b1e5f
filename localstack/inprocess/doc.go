// Package inprocess runs whole nodes within one process, over a bucket in memory
// that fails on request, for tests in virtual time (testing/synctest).
//
// A Node is what a machine is to `wadi serve`: it has an address, a disk or none,
// a way to the bucket and one to other nodes, and lives one life after another.
// A crash ends a life as a power cut would, Retire as SIGTERM does; what freezes a
// node on its network also holds back what it sends to the store and to clients.
//
// A Door is an http.RoundTripper that carries requests to nodes by the host of
// their address. Answers arrive bit by bit, so streams can be followed, and break
// off when the node's life ends.
//
// # Goroutines
//
// Those of a life end before Crash and Retire return, one for each request among
// them; the answer to a request whose client went away ends with its context.
package inprocess
