// Package soak puts a load on nodes that fail, on topics that drop and delete
// records all the time, and holds every answer against a naive model of the log.
// `make soak` runs it in two forms.
//
// Worlds (the tests) are several whole nodes in one process and in virtual time,
// over a store that loses answers, lands writes late, throttles, hangs and spoils
// reads; nodes crash, are drained, freeze for longer than garbage and orphans are kept,
// and are cut off from each other. A seed draws all of it, but not how goroutines
// interleave. A short form is part of `make test`.
//
// The bench (Run) is real nodes on MinIO that are killed and frozen, as is their
// store, for minutes. Its topics keep a minute, and the bytes in the bucket must
// stay level.
//
// # The model
//
// Model keeps, for each incarnation of a topic and each partition, what was sent,
// where it was acknowledged or read, and which bounds somebody proved. Of each
// answer it says whether a single log may give it: see Judge, Bounds, Gone, NotFound.
// It knows less than everything in these ways, and no others:
//
//   - The journal's time may be Slack.Behind behind the model's clock when a record is
//     committed, and Slack.Ahead ahead of it when retention is judged. So a record
//     may be gone that much before retention.ms is over.
//   - What a record takes in the log is known up to storedMore bytes. For
//     retention.bytes, records without a known outcome count as if they were there.
//   - A node may serve for Slack.Stale what was trimmed, expired or deleted.
//   - While a name changes its topic, an answer without records may be of either.
//   - Extents are dropped as a whole, so more may be kept than the settings say: one
//     extent's bytes. How old it may get is the argument of CheckRetained.
//
// When faults have stopped every reader must reach the end from the position that
// it holds, or get 410 with the bounds first; everything is read through every node;
// and after retention, compaction, garbage and orphans had their time Measure
// compares the bucket with the catalog.
package soak
