// Package s3shape stands in front of a local object store and makes it answer
// as slowly as S3 does, so that what decides there (pipelining, hedging, waiting)
// can be measured on one machine.
//
// Each request is drawn a time from a lognormal distribution through two quantiles
// that are given for its kind, and is answered no sooner than that after its last
// byte has come; what the store itself needs counts towards it. Somewhere within
// that time the store gets to see the request: its last byte is held back until
// then. So a caller that goes away may or may not have written something, as on
// S3. A few requests are refused with 503 SlowDown and never reach the store.
//
// Bandwidth is not limited, and bodies are passed on within the kernel where the
// system can do so; the proxy is to cost little beside what it stands in front of.
//
// Times are drawn in the order in which requests come, from a generator with a
// seed. A connection has one goroutine, which ends with it; Run owns them all.
package s3shape
