package journal

import (
	"math"
	"testing"

	"github.com/wadilog/wadi/internal/objstore"
)

func TestKeys(t *testing.T) {
	k, err := newKeys("000")
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range []Slot{0, 1, 9, 10, 1 << 40, math.MaxUint64} {
		if got, ok := k.parseSlot(k.slot(slot)); !ok || got != slot {
			t.Errorf("%s: got %d, %v", k.slot(slot), got, ok)
		}
		if got, ok := k.parseManifest(k.manifest(slot)); !ok || got != slot {
			t.Errorf("%s: got %d, %v", k.manifest(slot), got, ok)
		}
		part := k.part(slot, partID(sequence(0xf0)), 12)
		if got, ok := k.parsePart(part); !ok || got != slot {
			t.Errorf("%s: got %d, %v", part, got, ok)
		}
		for _, key := range []string{k.slot(slot), k.manifest(slot), part} {
			if err := objstore.CheckKey(key); err != nil {
				t.Error(err)
			}
		}
	}
	if a, b := k.slot(9), k.slot(10); a >= b {
		t.Errorf("%s does not sort before %s", a, b)
	}
}

func TestParseRefusesForeignKeys(t *testing.T) {
	k, err := newKeys("000")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"", "catalog/000/journal/", "catalog/000/journal/1", "catalog/000/journal/0000000000000000000x",
		"catalog/000/journal/000000000000000000001", "catalog/000/journal/99999999999999999999",
		"catalog/000/journal/+0000000000000000001", "catalog/001/journal/00000000000000000001",
		"catalog/000/journal/00000000000000000001/x", "catalog/000/journal/00000000000000000001.tmp",
	} {
		if slot, ok := k.parseSlot(key); ok {
			t.Errorf("%q was taken for slot %d", key, slot)
		}
	}
	const id = "090a0b0c0d0e0f101112131415161718"
	for _, key := range []string{
		"catalog/000/snapshots/00000000000000000001", "catalog/000/snapshots/1/" + id + "-00000",
		"catalog/000/snapshots/00000000000000000001/" + id + "-0000",
		"catalog/000/snapshots/00000000000000000001/" + id + "_00000",
		"catalog/000/snapshots/00000000000000000001/" + id[1:] + "X-00000",
		"catalog/000/snapshots/00000000000000000001/" + id + "-0000x",
	} {
		if slot, ok := k.parsePart(key); ok {
			t.Errorf("%q was taken for a part of slot %d", key, slot)
		}
	}
}

func TestShardNames(t *testing.T) {
	for _, shard := range []string{"000", "a-1", "0"} {
		if _, err := newKeys(shard); err != nil {
			t.Error(err)
		}
	}
	for _, shard := range []string{"", "..", "a/b", "A", "00000000000000000000000000000000x", "é"} {
		if _, err := newKeys(shard); err == nil {
			t.Errorf("shard %q was taken", shard)
		}
	}
}
