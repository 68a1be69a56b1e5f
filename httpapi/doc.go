// Package httpapi is Wadi's HTTP interface: REST resources, the codecs of
// their bodies, and problem+json.
//
// It owns no state beyond the requests that are open. Topics are looked up in
// the catalog's view and, before anything is said not to exist, in a view that
// is current (Topics.Confirm); records are handed to a Producer and fetched
// from a Fetcher.
//
// # Invariants
//
//   - The status code is the truth. An error before the first byte of an answer
//     becomes a problem with its own status (errors.go has the whole mapping).
//     After the first byte, an NDJSON produce and a stream of records end with a
//     problem as their last line or event; every other answer is broken off, so
//     that no client takes a part of it for the whole.
//   - A fetch of many partitions is 207 if some could be read and others not, and
//     has the status of the first problem if none could.
//   - The budget comes before the body: a produce request asks the Producer for
//     room for all that it announces before it reads any of it, and reserves
//     memory before it takes it, as the body comes. So a sender holds in
//     proportion to what it sent, however slow it is. A fetch reserves its share
//     of the memory for answers before anything is loaded for it.
//   - An encoded body is decoded as it is read, and what it may cost is counted: its
//     limits are those of what it decodes to, and what its decoder takes up is
//     asked for first (body_decoder.go). The window of a zstd body is what a sender
//     may hold out of proportion; all of them have a bound of their own.
//   - The end of an encoded answer is written after the handler has succeeded, and
//     at no other time.
//   - Nothing waits for a client without a deadline. Reading a body is bounded
//     by a grace time and a least rate (body.go), writing by a deadline that is
//     renewed as bytes leave (response.go).
//   - What a stream holds for a reader that is slow at the tail is its own, and
//     bounded: one buffer. What streams share is given back before they send it.
//   - A request asks for nothing that is passed over in silence: unknown query
//     parameters, unknown JSON members and headers of features that are not
//     offered are refused.
//   - Payloads, keys and query strings are never logged.
//   - openapi.yaml says all that there is: every exchange of the tests is compared
//     with it (openapi_exchange_test.go).
//
// # Goroutines
//
// A request is served on its connection's goroutine. An NDJSON produce
// stream has more (ndjson_produce.go): one that reads the body, and one for
// each chunk that is being committed, at most Config.ChunksInFlightMax. A fetch of
// many partitions has Config.FetchParallel at most (fetch_many.go). All have ended
// when the handler returns.
//
// # Locks
//
// Server.altering, a channel with room for one, is held over the read, change and write of a topic's settings,
// manyFetch.mu over the counting of one request's bytes. Neither is taken while
// the other is held.
package httpapi
