// Package catalog knows which bytes of which objects hold which offsets.
//
// At its core is a pure state machine: Apply carries out an Edit on a State and
// returns a Result. It does no I/O, reads no clock, draws no random number and
// starts no goroutine, so that every replica that applies the same edits at the
// same journal times has the same State, down to the bytes of its snapshot.
//
// # Invariants
//
//   - The extents of a partition follow each other without gap or overlap from
//     at or below the log start up to the end offset; the log start lies within
//     the first of them.
//
//   - The end offset and the log start never fall.
//
//   - An object is in the catalog as long as it has live extents, and says how
//     many; when the last one goes, it becomes garbage, and is never both.
//
//   - A commit applies only on top of the number that its node's last commit
//     left, so a late, repeated or reordered commit has no effect.
//
//   - Of each producer id and partition the last five batches are remembered,
//     consecutive in sequence, until the id as a whole expires. No id is given
//     out twice.
//
//   - A request that landed under an idempotency key is remembered with where it
//     landed, until the key expires; until then nothing else lands under it.
//
//   - The feature level never falls, and nothing in the state belongs to a higher
//     one.
//
// CheckStep and CheckTouched check them for one edit, CheckAll for all.
//
// # Sharing
//
// A State has one owner, which applies edits. Clone gives another State in
// O(1); either may then be changed by its own owner without the other noticing,
// while any number of goroutines read. Everything within is an immutable value
// that a change replaces: Topic, Partition, the nodes of the trees. The one
// memory that is written after others can see it is the unused end of a
// partition's extent arrays (see sharedArray), which no reader looks at.
//
// # Goroutines and locks
//
// Run owns the loop, which owns the replica and everything of Catalog that is
// not guarded by a lock, a goroutine that writes snapshots, and one that sends
// heartbeats to the leader. The loop starts
// one goroutine for a Pull and one for each forwarded request, and waits for
// them when it ends. ServeForward, ServePull and ServeKeep run on their callers'
// goroutines. relay.mu is taken before Catalog.mu; no lock is held over I/O.
package catalog
