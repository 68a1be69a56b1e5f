// Command wadi is the one binary of Wadi: it runs nodes (dev, serve) and talks
// to them (topics, produce, consume, bench).
//
// # What it owns
//
// Flags, settings, signals and exit statuses; the wiring of a node; and a
// client of the HTTP API that reads and writes record batches.
//
// # Invariants
//
//   - Exit status 0 is success, 1 a failure with one line on standard error, 2
//     wrong usage, also with one line.
//   - Standard output carries only what was asked for. Progress and summaries go
//     to standard error, progress only if that is a terminal.
//   - A line is reported as acknowledged only after the node's answer was read
//     whole and named the expected partition and count. With acks=all a batch is
//     repeated byte by byte until its outcome is known, so that nothing is
//     produced twice; with acks=1 it is repeated only when nothing of it can have
//     been stored.
//   - consume emits records of a partition with offsets that grow by one, or fails.
//
// # Goroutines
//
// produce: one reads lines and cuts batches, one for each partition sends them,
// one request at a time. consume: one for each partition fetches, one writes.
// Each command waits for its own before it returns.
//
// # Locks
//
// None is held while another is taken.
package main
