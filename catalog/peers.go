package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
)

// Peers reaches the catalogs of other nodes by the addresses that their claims
// name. An error of its methods that wraps none of *NotLeaderError, ErrBusy and
// ErrBehind says nothing about whether the request arrived.
type Peers interface {
	// Forward sends edits to the node at address, which should lead, and
	// returns once they are settled. It is ServeForward of that node's catalog.
	Forward(ctx context.Context, address string, r ForwardRequest) (ForwardAnswer, error)
	// Pull asks the node at address, which should lead, for the entries after
	// one. It is ServePull of that node's catalog.
	Pull(ctx context.Context, address string, r PullRequest) (PullAnswer, error)
}

// Session names one life of a node's catalog to the leaders that it follows.
type Session = journal.Nonce

// ForwardRequest carries edits from a follower to its leader.
type ForwardRequest struct {
	Epoch   uint64  // that the leader is asked to write in
	Session Session // of the sender
	// Seq ascends within a session. The same number again is the same request
	// again: the leader takes its edits once, and answers both.
	Seq   uint64
	Edits []byte // opaque outside of this package; at most ForwardBytesMax
}

// ForwardAnswer says what became of forwarded edits.
type ForwardAnswer struct {
	Outcomes []byte // opaque outside of this package; at most ForwardBytesMax
}

// ForwardBytesMax bounds the edits, and the outcomes, of one request.
const ForwardBytesMax = journal.EntryBytesMax

// PullRequest asks for the entries after one that the follower has.
type PullRequest struct {
	Epoch   uint64 // of the leader's claim
	Session Session
	Address string        // of the follower, for a leader that hands over
	After   journal.Slot  // the follower's last slot
	Nonce   journal.Nonce // of the entry there
	Wait    time.Duration // how long to wait for one that is not there yet
}

// PullAnswer carries entries from the leader.
type PullAnswer struct {
	// Entries are encoded, and follow each other from After+1. None if none
	// came in time. One may have journal.EntryBytesMax; all have twice that.
	Entries [][]byte
	// Resigned says that the leader writes nothing any more. Successor is the
	// address that it wants to lead next; "" if it has no wish.
	Resigned  bool
	Successor string
}

// NotLeaderError refuses a request that another node should get; nothing of it
// was done.
type NotLeaderError struct {
	Epoch  uint64 // newest that the refusing node knows
	Leader string // address of its claimer
}

func (e *NotLeaderError) Error() string {
	return fmt.Sprintf("this node does not lead; epoch %d is that of %s", e.Epoch, e.Leader)
}

// ErrBehind refuses a Pull of entries that the leader does not hold in memory;
// the follower reads the bucket.
var ErrBehind = errors.New("the entries are not in the leader's memory")
