package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/wadilog/wadi/internal/objstore"
)

// Read returns the entry of a slot, or ErrNoEntry, which says that the slot was
// empty at some moment during the call. Failed reads are repeated a few times;
// a *CorruptError is what all of them found.
func (j *Journal) Read(ctx context.Context, slot Slot) (Entry, error) {
	var entry Entry
	err := j.get(ctx, j.keys.slot(slot), 0, decodeInto(&entry, slot))
	return entry, slotError("read", slot, err)
}

func decodeInto(entry *Entry, slot Slot) func(body []byte) error {
	return func(body []byte) (err error) {
		*entry, err = decodeEntry(slot, body)
		return err
	}
}

func slotError(verb string, slot Slot, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, objstore.ErrNotFound):
		return fmt.Errorf("%s slot %d: %w", verb, slot, ErrNoEntry)
	default:
		return fmt.Errorf("%s slot %d: %w", verb, slot, err)
	}
}

// After lists up to limit slots above slot, ascending, across gaps. An empty
// answer proves that nothing above slot existed at some moment during the call.
func (j *Journal) After(ctx context.Context, slot Slot, limit int) ([]Slot, error) {
	found, err := j.InfosAfter(ctx, slot, limit)
	if err != nil {
		return nil, err
	}
	var slots []Slot
	for _, s := range found {
		slots = append(slots, s.Slot)
	}
	return slots, nil
}

// SlotInfo is what a listing says of a slot.
type SlotInfo struct {
	Slot  Slot
	Bytes int64 // of its object
}

// InfosAfter is After with the sizes of the slots.
func (j *Journal) InfosAfter(ctx context.Context, slot Slot, limit int) ([]SlotInfo, error) {
	limit = max(limit, 1)
	var slots []SlotInfo
	err := j.listSlots(ctx, j.keys.slots, j.keys.slot(slot), min(limit, objstore.ListPageMax), func(s SlotInfo) bool {
		slots = append(slots, s)
		return len(slots) < limit
	})
	if err != nil {
		return nil, fmt.Errorf("list slots after %d: %w", slot, err)
	}
	return slots, nil
}
