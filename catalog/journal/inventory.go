package journal

import (
	"context"
	"fmt"
	"strings"

	"github.com/wadilog/wadi/internal/objstore"
)

// Inventory is what a listing found below catalog/<shard>/. Beside writers it is
// of no single moment.
type Inventory struct {
	Slots     []Slot // ascending
	Manifests []Slot // ascending
	Parts     []Part // by key
	Foreign   []objstore.ObjectInfo
}

// Part is a part of a snapshot, named by a manifest or not.
type Part struct {
	objstore.ObjectInfo
	Slot Slot
}

// Inventory lists all objects of the journal.
func (j *Journal) Inventory(ctx context.Context) (Inventory, error) {
	var found Inventory
	err := j.list(ctx, j.keys.root(), "", objstore.ListPageMax, func(o objstore.ObjectInfo) bool {
		if slot, ok := j.keys.parseSlot(o.Key); ok {
			found.Slots = append(found.Slots, slot)
		} else if slot, ok := j.keys.parseManifest(o.Key); ok {
			found.Manifests = append(found.Manifests, slot)
		} else if slot, ok := j.keys.parsePart(o.Key); ok {
			found.Parts = append(found.Parts, Part{ObjectInfo: o, Slot: slot})
		} else {
			found.Foreign = append(found.Foreign, o)
		}
		return true
	})
	if err != nil {
		return Inventory{}, fmt.Errorf("list the journal: %w", err)
	}
	return found, nil
}

// SlotKey is the key of the entry in a slot.
func (j *Journal) SlotKey(s Slot) string { return j.keys.slot(s) }

// ManifestKey is the key of the manifest of the snapshot of a slot.
func (j *Journal) ManifestKey(s Slot) string { return j.keys.manifest(s) }

// root is what all keys begin with.
func (k keys) root() string { return strings.TrimSuffix(k.slots, "journal/") }
