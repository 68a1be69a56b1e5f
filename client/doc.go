// Package client is the Go client of Wadi: topics, records in and records out,
// over the HTTP API of any node.
//
// A Client talks to one node, to whatever balances the load of several, or to a
// list of nodes. A Producer gathers records into batches and sends each record
// once and in order, whatever happens on the way. A Reader walks the records of
// partitions; a GroupConsumer shares them with others and remembers how far it
// came. Append writes records under a condition: at an expected offset,
// under a fencing token, once for an idempotency key.
//
// # Errors
//
// An answer that says no is an *Error with the status, the code and the actual
// values. Each code is an error of its own, so that
//
//	errors.Is(err, client.ErrTopicNotFound)
//
// holds whatever wraps it. A request without an answer is a *ConnectionError.
// Three questions can be asked of any error of this package: IsRetryable,
// HadNoEffect and IsOutcomeUnknown. A write that failed and of which neither
// HadNoEffect nor a refusal is known may be in the log, or may yet come into it;
// nothing here takes the unknown for a failure and writes it again in a way
// that could store it twice.
//
// # Repeats
//
// What may be repeated is repeated, with growing pauses and not before
// Retry-After, until Config.RetryTimeout is over: reads, settings, and writes
// that had no effect for sure or that the log recognises when they come again.
//
// # Goroutines
//
// A Client has none of its own, apart from those of net/http that hold
// connections, which Close ends. A Producer has one for each partition that it
// has records for, and one for each request; Close waits for them. A Reader has
// some only while one of its loops runs. A GroupConsumer has one while records are
// out; it ends with the context of the loop or Poll, and Close waits for it.
package client
