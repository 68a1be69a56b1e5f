package journal

import (
	"errors"
	"fmt"
)

// Conditions that callers branch on, found with errors.Is.
var (
	// ErrNoEntry says that a slot is empty: not yet written, or deleted.
	ErrNoEntry = errors.New("no entry in this slot")
	// ErrSlotTaken is matched by a *TakenError.
	ErrSlotTaken = errors.New("slot taken by another entry")
	// ErrVoidClaim says that there are slots after the one a claim was put in:
	// it fell into an old, deleted slot, or was overtaken. The claimer reloads.
	ErrVoidClaim = errors.New("claim fell into a deleted slot")
	// ErrClaimUnverified says that a claim was put and that the listing after it
	// failed, so that nobody knows whether it is void. The claimer reloads.
	ErrClaimUnverified = errors.New("claim could not be verified")
	// ErrUnsettled says that a body was sent for a slot and may be there, or may
	// land yet. Only the same body may be sent for this slot, with Settle.
	ErrUnsettled = errors.New("the slot is not settled; its entry may or may not be committed")
	// ErrNotWritten says that nothing was sent, or that the store refused all
	// that was: the entry is not there and will not be.
	ErrNotWritten = errors.New("the entry was not written")
	// ErrInvalidEntry says that an entry or a snapshot cannot be stored as it is.
	ErrInvalidEntry = errors.New("invalid entry")
	// ErrEntryTooLarge says that an entry is longer than EntryBytesMax.
	ErrEntryTooLarge = fmt.Errorf("%w: longer than %d bytes", ErrInvalidEntry, EntryBytesMax)
	// ErrNewerFormat says, within a *CorruptError, that an object is of a version
	// that this build does not know.
	ErrNewerFormat = errors.New("written in a newer format")
	// ErrNoSnapshot says that there is no snapshot, or none of that slot.
	ErrNoSnapshot = errors.New("no snapshot")
	// ErrSnapshotGone says that a snapshot was deleted while it was read; there
	// are newer ones. It is also an ErrNoEntry.
	ErrSnapshotGone = fmt.Errorf("snapshot was deleted meanwhile: %w", ErrNoEntry)
	// ErrSnapshotDiffers says that the snapshot of this slot that is there
	// already names another entry: the caller's replica is not of this journal.
	ErrSnapshotDiffers = errors.New("the snapshot of this slot holds another history")
)

// CorruptError is an object of the journal whose bytes are not what was written.
type CorruptError struct {
	Key string
	Err error
}

func (e *CorruptError) Error() string { return fmt.Sprintf("corrupt %s: %v", e.Key, e.Err) }

func (e *CorruptError) Unwrap() error { return e.Err }

// TakenError carries the entry that took the slot. It does not prove that the
// entry meant for the slot was never committed: that one may have landed there,
// been deleted below a snapshot, and a void claim put in its place.
type TakenError struct{ Entry Entry }

func (e *TakenError) Error() string {
	return fmt.Sprintf("slot %d holds an entry of epoch %d by %q", e.Entry.Slot, e.Entry.Epoch, e.Entry.Writer)
}

// Is makes errors.Is(err, ErrSlotTaken) true.
func (e *TakenError) Is(target error) bool { return target == ErrSlotTaken }
