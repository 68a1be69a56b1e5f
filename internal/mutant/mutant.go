// Package mutant lets a test leave out one safety rule at a time, to prove
// that the suite notices.
//
// Each rule that Wadi's promises rest on asks On with the name of the mutant
// that lacks it. Without the build tag mutants, On is the constant false and
// the compiler drops the branch. With it, WADI_MUTANT names the one rule to
// leave out. `make mutants` runs, for each name, the test that must turn red;
// docs/ARCHITECTURE.md has the table.
package mutant

// The rules that can be left out.
const (
	SkipWALSync          = "wal-sync"            // acknowledge before fsync
	SkipNonceReadBack    = "nonce-read-back"     // take an ambiguous journal PUT for success
	SkipCommitOrderCheck = "commit-order-check"  // apply a commit whatever its (id, after, upto)
	SkipListAfterClaim   = "list-after-claim"    // trust a claim without listing after it
	SkipKeepClaims       = "keep-claims"         // delete claims with the other old slots
	SkipKeepNewestSlot   = "keep-newest-slot"    // delete the newest slot with the old ones
	SkipReadCRC          = "read-crc"            // serve bytes unchecked
	SkipSoleTopic        = "sole-topic"          // hand out objects that hold bytes of several topics
	SkipPutChecksum      = "put-checksum"        // upload without a checksum that the store verifies
	SkipOneBodyPerSlot   = "one-body-per-slot"   // send another body for an unsettled slot
	SkipConfirm          = "confirm"             // answer from a replica that may be stale
	SkipFirstPut         = "first-put"           // answer questions by any PUT, whenever they came
	SkipListAfterFound   = "list-after-found"    // take a claim that a listing found for the end of the journal
	SkipPrevNonce        = "prev-nonce"          // follow an entry that does not name the one before
	SkipForwardOnce      = "forward-once"        // take a repeated request of a follower for a new one
	SkipForwardOrder     = "forward-order"       // take a follower's requests in the order in which they arrive
	SkipFailForwarded    = "fail-forwarded"      // send on, as a deposed leader, what others had forwarded
	SkipAwaitReplica     = "await-replica"       // settle a forwarded edit before the replica holds it
	SkipExpectedOffset   = "expected-offset"     // take a conditional append whatever the end offset
	SkipSequenceCheck    = "sequence-check"      // take a producer's batch whatever its sequence
	SkipKeyCheck         = "key-check"           // let a request land again under the same idempotency key
	SkipFenceCheck       = "fence-check"         // take an append whatever its fencing token
	SkipLeaseProof       = "lease-proof"         // note a heartbeat without proof that this node leads
	SkipLeaseStart       = "lease-start"         // take silence before a claim for silence of a member
	SkipRemovalWithdraw  = "removal-withdraw"    // send on, as a deposed leader, the removal of a silent member
	SkipLetGo            = "let-go"              // assign a group's partition that another member still holds
	SkipCommitAfter      = "commit-after"        // take a member's offsets whatever it committed since
	SkipCommitEpoch      = "commit-epoch"        // take a member's offsets whatever its epoch
	SkipCompactCheck     = "compact-check"       // compact a partition whatever its extents are by now
	SkipConservation     = "conservation"        // swap compacted extents in without comparing their records
	SkipOrphanFloor      = "orphan-floor"        // commit an object that may be deleted as an orphan
	SkipKnownObject      = "known-object"        // take every segment below the orphan floor for an orphan
	SkipRetained         = "retained"            // let retention drop one extent more than the settings do
	SkipSyncedPosition   = "wal-synced-position" // take WAL damage for a torn tail
)
