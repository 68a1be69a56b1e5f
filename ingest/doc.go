// Package ingest takes records for any partition and brings them into the log.
//
// A request becomes a unit: its batches, one run of them for each partition. A
// unit is committed or refused as a whole, and is never split over two
// segments. Units gather in the open segment until the flush controller seals
// it; the lane uploads sealed segments, several at a time, and commits them in
// order.
//
//	ProduceRecords ─┐             ┌ flush controller ┐        lane
//	ProduceBatches ─┴► unit ─► open segment ─► seal ─► upload ─► commit ─► results
//	                     └► write-ahead frame (acks=1), answered once it is fsynced
//
// # Invariants
//
//   - Units have ascending numbers, per node id. The order of the numbers, of
//     the write-ahead frames, of the units in a segment and of the commits is
//     the same: enqueue gives all of them out under one lock.
//   - A commit says (after, upto), the numbers around its units, and the catalog
//     takes it only on top of after. So a commit that is sent again, or a
//     write-ahead buffer that is replayed again, has no second effect.
//   - A unit with acks=all can be withdrawn until its commit begins, and only
//     until then: beginCommit and withdraw race for its stage. A withdrawn unit
//     leaves its bytes in the segment and a gap in the numbers.
//   - A unit in the write-ahead buffer is never withdrawn. It leaves the buffer
//     when its commit was answered, also if the answer was that its topic is gone.
//   - Every unit that was enqueued is resolved once, unless the node stops; then
//     its waiter withdraws it or reports its outcome as unknown.
//   - A unit with an idempotency key that landed before, here or elsewhere, is
//     answered with what landed then. Only the commit can tell for sure that
//     there was none.
//   - What admission gave to a unit is given back when its segment is settled,
//     since the segment holds the unit's bytes until then, whoever still waits.
//
// # Goroutines
//
// Run owns all: the write-ahead log's; runFlush, which seals and starts uploads
// (one goroutine each, Config.UploadsMax at most); the lane's two, one that waits
// for uploads in order and submits commits, one that hands out their results. An
// error of the lane ends the node: the catalog refuses this node's commits
// from then on, because its id was removed or is used by another. An error of
// the write-ahead log ends acks=1: after a failed fsync nothing may be
// acknowledged by it, while the rest goes on.
//
// # Locks
//
// Ingester.mu is taken before that of the write-ahead log, and before
// admission.mu never: admission is asked first and told last, without mu.
package ingest
