// Package verify proves from the store alone that a log is whole.
//
// # What it checks
//
// The journal: all entries decode, follow each other without a gap from the
// older of the newest two snapshots on (or from slot 0, if that is still there),
// and come to the outcomes that they state. The snapshots: manifests and parts are
// there and decode, their catalog keeps its invariants, and each is, byte by byte,
// what the entries before it come to. The segments: each that holds records is
// there, in its length; its footer and index are those that were committed; its
// batches, blocks and runs are those of the index, its extents those of the
// catalog. What is no damage is listed: orphans, uploads that were not completed,
// leftovers of the journal, keys that are not Wadi's.
//
// # Invariants
//
// It writes nothing. It may run beside nodes that produce, retain, compact and
// prune: before something is called missing it is looked for in a catalog that
// is newer than the moment at which it was not there. What was deleted is never
// live again, so what was not there and is live later is missing.
//
// Damage is read twice, so that bytes which changed on their way are not taken
// for it.
//
// # Memory
//
// One catalog, a bounded number of references from objects to extents (a larger
// catalog is gone through in several passes, by the shards of the segments' keys),
// and Config.BytesInFlight.
//
// # Goroutines and locks
//
// Run owns all goroutines and waits for them. Verifier.mu guards the summary and
// makes findings come one at a time; nothing is taken while it is held.
package verify
