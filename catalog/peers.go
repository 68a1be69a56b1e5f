package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
)

// Peers reaches the catalogs of other nodes by the addresses that their claims
// name. An error of its methods that wraps none of *NotLeaderError, ErrBusy,
// ErrBehind and ErrNobodyThere says nothing about whether the request arrived,
// or arrives later.
type Peers interface {
	// Forward sends edits to the node at address, which should lead, and
	// returns once they are settled. It is ServeForward of that node's catalog.
	Forward(ctx context.Context, address string, r ForwardRequest) (ForwardAnswer, error)
	// Pull asks the node at address, which should lead, for the entries after
	// one. It is ServePull of that node's catalog.
	Pull(ctx context.Context, address string, r PullRequest) (PullAnswer, error)
	// Keep sends heartbeats to the node at address, which should lead. It is
	// ServeKeep of that node's catalog.
	Keep(ctx context.Context, address string, r KeepRequest) (KeepAnswer, error)
}

// Session names what one node forwards within one epoch.
type Session = journal.Nonce

// ForwardRequest carries edits from a follower to its leader.
type ForwardRequest struct {
	Epoch   uint64  // that the leader is asked to write in
	Session Session // of the sender in this epoch
	// Seq counts the requests of a session from 1. The leader takes them in
	// that order, each once: the same number again is the same request again,
	// and gets the same answer.
	Seq   uint64
	Edits []byte // opaque outside of this package; at most ForwardBytesMax
}

// ForwardAnswer says what became of forwarded edits.
type ForwardAnswer struct {
	Slot     journal.Slot // that holds them, or the last of them
	Outcomes []byte       // opaque outside of this package; at most ForwardBytesMax
}

// ForwardBytesMax bounds the edits, and the outcomes, of one request.
const ForwardBytesMax = journal.EntryBytesMax

// PullRequest asks for the entries after one that the follower has.
type PullRequest struct {
	Address string        // of the follower, for a leader that hands over; "" for one that must not lead
	After   journal.Slot  // the follower's last slot
	Nonce   journal.Nonce // of the entry there
	Wait    time.Duration // how long to wait for one that is not there yet
}

// PullAnswer carries entries from the leader.
type PullAnswer struct {
	// Entries are encoded, and follow each other from After+1. None if none
	// came in time. One may have journal.EntryBytesMax; all have twice that.
	Entries [][]byte
	// Stalled is how long the leader has been waiting for the store to settle
	// the slot that it writes; 0 if it waits for none.
	Stalled time.Duration
	// Resigned says that the leader writes nothing any more. Successor is the
	// address that it wants to lead next; "" if it has no wish.
	Resigned  bool
	Successor string
}

// PullBytesMax bounds the entries of one answer.
const PullBytesMax = 2 * journal.EntryBytesMax

// NotLeaderError refuses a request that another node should get; nothing of it
// was done.
type NotLeaderError struct {
	Epoch  uint64 // newest that the refusing node knows
	Leader string // address of its claimer
}

func (e *NotLeaderError) Error() string {
	return fmt.Sprintf("this node does not lead; epoch %d is that of %q", e.Epoch, e.Leader)
}

var (
	// ErrBehind refuses a Pull of entries that the leader does not hold in
	// memory; the follower reads the bucket.
	ErrBehind = errors.New("the entries are not in the leader's memory")
	// ErrNobodyThere says that nobody listens at an address: nothing was sent,
	// and the node that had it has most likely ended.
	ErrNobodyThere = errors.New("no node listens at this address")
)
