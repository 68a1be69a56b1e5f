// Package journal keeps the catalog's edits in numbered objects, each written
// once, and the snapshots that let old ones be deleted.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/internal/objstore"
)

// Slot numbers the journal's entries from 0.
type Slot uint64

// Nonce tells one entry from any other.
type Nonce [16]byte

// Kind is what an entry does.
type Kind uint8

// The kinds of entry.
const (
	Genesis Kind = iota + 1 // slot 0: holds the cluster id as its payload
	Claim                   // begins an epoch; holds the claimer's address
	Edits                   // holds edits with their outcomes; may be empty to carry only the time
)

// EntryBytesMax bounds one encoded entry.
const EntryBytesMax = 4 << 20

// Entry is what one slot holds.
type Entry struct {
	Slot    Slot
	Kind    Kind
	Epoch   uint64
	Nonce   Nonce
	Prev    Nonce  // nonce of the entry before; zero in slot 0
	Time    int64  // ms; highest Date of the store that the writer saw
	Writer  string // address of the writer
	Payload []byte // the catalog's encoding; opaque here
}

// Append encodes e after dst.
func (e *Entry) Append(dst []byte) []byte { panic("stub") }

// Decode reads the entry of a slot; a *CorruptError if it is not one, or is
// that of another slot.
func Decode(slot Slot, b []byte) (Entry, error) { panic("stub") }

// CorruptError is an object of the journal whose bytes are not what was written.
type CorruptError struct {
	Key string
	Err error
}

func (e *CorruptError) Error() string { return fmt.Sprintf("corrupt %s: %v", e.Key, e.Err) }

func (e *CorruptError) Unwrap() error { return e.Err }

// Conditions that callers branch on.
var (
	ErrNoEntry    = errors.New("no entry in this slot")
	ErrNoSnapshot = errors.New("no snapshot")
	ErrVoidClaim  = errors.New("claim fell into a deleted slot")
	ErrSlotTaken  = errors.New("slot taken by another entry")
)

// Config of a journal.
type Config struct {
	AttemptTimeout time.Duration // an unanswered request is repeated after this long; 1 s
	RetryBackoff   time.Duration // least pause between repeats; 20 ms, grows to 1 s
	PartBytes      int           // target length of a snapshot's parts; 8 MiB
}

// DefaultConfig returns the values that production uses.
func DefaultConfig() Config { panic("stub") }

// Journal reads and writes the slots and snapshots of one shard. It keeps no
// replica and no goroutine, and is safe for concurrent use; that entries follow
// the protocol (one writer per epoch, one body per slot) is up to its user,
// except within a call of Write.
type Journal struct{}

// New returns the journal below catalog/<shard>/ of bucket.
func New(cfg Config, bucket objstore.Bucket, shard string, logger *slog.Logger, reg prometheus.Registerer) (*Journal, error) {
	panic("stub")
}

// StoreTime is the highest Date of the store seen so far, in ms; Dates more
// than 10 minutes from the local clock are passed over and counted.
func (j *Journal) StoreTime() int64 { panic("stub") }

// Read returns the entry of a slot, or ErrNoEntry.
func (j *Journal) Read(ctx context.Context, slot Slot) (Entry, error) { panic("stub") }

// After lists up to limit slots above slot, ascending. An empty answer proves
// that nothing above slot existed when the request was sent.
func (j *Journal) After(ctx context.Context, slot Slot, limit int) ([]Slot, error) { panic("stub") }

// Written is how Write settled a slot in the caller's favour.
type Written struct {
	// First tells that the first PUT was answered 200: only then does the
	// write prove that the writer still led when the PUT was sent.
	First bool
}

// Write puts e into its slot and returns when the slot is settled: nil if e is
// there, a *TakenError (ErrSlotTaken) if another entry is. It sends the same
// body at every repeat, reads back after every 412 and every ambiguous error,
// and compares nonces. It gives up only when ctx ends; then the outcome is
// unknown, and the only body that may be sent for this slot is the same one.
func (j *Journal) Write(ctx context.Context, e *Entry) (Written, error) { panic("stub") }

// TakenError carries the entry that took the slot.
type TakenError struct{ Entry Entry }

func (e *TakenError) Error() string {
	return fmt.Sprintf("slot %d holds an entry of epoch %d by %q", e.Entry.Slot, e.Entry.Epoch, e.Entry.Writer)
}

// Is makes errors.Is(err, ErrSlotTaken) true.
func (e *TakenError) Is(target error) bool { return target == ErrSlotTaken }

// WriteClaim writes a claim as Write does, then lists the slots after it: if
// there are any the claim fell into an old, deleted slot and is ErrVoidClaim.
func (j *Journal) WriteClaim(ctx context.Context, e *Entry) (Written, error) { panic("stub") }

// SnapshotInfo describes a snapshot; it is its manifest.
type SnapshotInfo struct {
	Slot   Slot   // of the last entry that it holds
	Nonce  Nonce  // of that entry
	Epoch  uint64 // of the newest claim
	Time   int64  // ms; the journal's time
	Level  uint32 // the catalog's feature level
	Claims []Slot // every claim at or below Slot, ascending
	Parts  []PartInfo
}

// PartInfo describes a part of a snapshot.
type PartInfo struct {
	Key string
	Len int64  // bytes
	CRC uint32 // CRC32C
}

// WriteSnapshot stores what encode writes, in parts, then the manifest, and
// returns it. That a snapshot of the same slot exists already is no error: the
// one that was first stays, and is returned.
func (j *Journal) WriteSnapshot(ctx context.Context, info SnapshotInfo, encode func(yield func(chunk []byte) error) error) (SnapshotInfo, error) {
	panic("stub")
}

// Snapshots returns the slots of all complete snapshots, ascending.
func (j *Journal) Snapshots(ctx context.Context) ([]Slot, error) { panic("stub") }

// LatestSnapshot returns the newest manifest, or ErrNoSnapshot.
func (j *Journal) LatestSnapshot(ctx context.Context) (SnapshotInfo, error) { panic("stub") }

// ReadSnapshot passes the snapshot's parts to decode in order, each checked
// against its CRC. ErrNoEntry (wrapped) if the snapshot was deleted meanwhile.
func (j *Journal) ReadSnapshot(ctx context.Context, info SnapshotInfo, decode func(part []byte) error) error {
	panic("stub")
}

// Prune reads the newest snapshot back, verifies it, and then deletes all but
// the newest two snapshots and, below the older of these, every slot that is
// neither a claim named by that snapshot nor the newest slot. With fewer than
// two snapshots it does nothing. It returns how many objects it deleted.
func (j *Journal) Prune(ctx context.Context) (deleted int, err error) { panic("stub") }
