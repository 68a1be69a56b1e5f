// Package journal keeps the catalog's edits in numbered objects, each written
// once, and the snapshots that let old ones be deleted.
//
// It owns, below catalog/<shard>/ of a bucket:
//
//	journal/<slot>                      one Entry, put if absent
//	snapshots/<slot>/<id>-<part>        the parts of a snapshot of the state after slot
//	manifests/<slot>                    a SnapshotInfo, put if absent, after its parts
//
// Slots are written with 20 digits, so that keys sort as slots do. The id of a
// snapshot's parts is random: two nodes that write the same snapshot never mix
// their parts, and the manifest that was put first says whose count.
//
// # Invariants
//
// A slot is settled by the store alone: the first PUT to land wins, and every
// later one is answered 412. Write never guesses. It takes a slot for its own
// only after a 200 or after it read its own nonce there, and repeats nothing but
// the body that it sent first.
//
// Prune deletes slots below the older of the newest two snapshots, but never a
// claim that the snapshot names, and never the newest slot of the journal.
// Three consequences hold with no clock at all:
//
//   - A writer that slept finds, at the slot it writes next, nothing (it still
//     leads) or the claim that deposed it. If it repeats the PUT of a slot of its
//     own that was deleted meanwhile, the 200 tells the truth: the entry was
//     committed. What it puts there again is litter that the next Prune removes.
//   - A claimer that slept may put its claim into a deleted slot. The listing
//     after that slot is then not empty, so WriteClaim calls the claim void.
//   - A reader that slept may find its next slot deleted, or a void claim in it.
//     After its slot, a listing shows that newer slots exist, so it reloads.
//
// Slot 0 is never deleted either: it holds the cluster id, and makes a bucket
// that belongs to another cluster recognisable. A claim that is void is named by
// no snapshot and goes with the other old slots.
//
// A snapshot is complete once its manifest is there. Only the newest two are to
// be relied on: a PUT of a manifest that lands late, or whose writer slept, may
// bring back an older one whose parts are gone. So a part that is missing is damage
// unless there are two newer snapshots.
//
// A key below journal/ or manifests/ that is not 20 digits is skipped, counted
// and logged: no writer of a journal makes such a key, so it cannot be an entry,
// and a stray file must not stop a cluster.
//
// # Steps at which a test may end the process
//
// journal/before-put and journal/after-put stand around every PUT of an entry
// or a manifest, journal/before-part before each part, journal/before-manifest
// and journal/after-manifest around the settlement of a manifest, and
// journal/before-delete before each deletion.
//
// # Goroutines and locks
//
// A Journal has no goroutine that outlives a call; what it remembers, the time of
// the store and its latency, is safe for concurrent use. A PUT of a slot and its
// hedge run in goroutines that the write waits for. ReadSnapshot, Prune and the
// removal of a snapshot's parts start goroutines and wait for them before they
// return.
package journal
