package journal

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func goldenManifest(t testing.TB) (keys, SnapshotInfo, partID) {
	k, err := newKeys("000")
	if err != nil {
		t.Fatal(err)
	}
	id := partID(sequence(9))
	return k, SnapshotInfo{
		Slot: 20_000, Nonce: sequence(5), Epoch: 3, Time: 1_700_000_000_000, Level: 2, Claims: []Slot{1, 7, 20_000},
		Parts: []PartInfo{
			{Key: "catalog/000/snapshots/00000000000000020000/090a0b0c0d0e0f101112131415161718-00000", Len: 8 << 20, CRC: 0xdeadbeef},
			{Key: "catalog/000/snapshots/00000000000000020000/090a0b0c0d0e0f101112131415161718-00001", Len: 17, CRC: 1},
		},
	}, id
}

func TestManifestGolden(t *testing.T) {
	k, want, id := goldenManifest(t)
	b := golden(t, "snapshot.manifest", appendManifest(nil, want, id))
	got, gotID, err := decodeManifest(k, want.Slot, b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) || gotID != id {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got.Bytes() != 8<<20+17 {
		t.Errorf("%d bytes", got.Bytes())
	}
}

func TestManifestRefuses(t *testing.T) {
	k, info, id := goldenManifest(t)
	valid := appendManifest(nil, info, id)
	with := func(change func(*SnapshotInfo)) []byte {
		_, c, _ := goldenManifest(t)
		change(&c)
		return appendManifest(nil, c, id)
	}
	changed := func(pos int, to ...byte) []byte {
		b := bytes.Clone(valid)
		copy(b[pos:], to)
		return resum(b)
	}
	const claimsPos = 68
	for _, test := range []struct {
		name string
		slot Slot
		b    []byte
		want error
	}{
		{"nothing", info.Slot, nil, errTruncated},
		{"flipped bit", info.Slot, func() []byte { b := bytes.Clone(valid); b[20] ^= 1; return b }(), errCRC},
		{"magic", info.Slot, changed(0, 'X'), errMagic},
		{"version", info.Slot, changed(4, 0, 2), ErrNewerFormat},
		{"reserved", info.Slot, changed(7, 1), errReserved},
		{"cut", info.Slot, resum(bytes.Clone(valid[:manifestMinBytes-1])), errTruncated},
		{"appended", info.Slot, resum(append(bytes.Clone(valid), 0)), errTrailing},
		{"other slot", 5, valid, errOtherSlot},
		{"claims beyond the end", info.Slot, changed(claimsPos, 0xff, 0xff, 0xff, 0xff), errBadCount},
		{"parts beyond the end", info.Slot, changed(claimsPos+4+3*8, 0xff, 0xff, 0xff, 0xff), errBadCount},
		{"claims not in order", info.Slot, with(func(i *SnapshotInfo) { i.Claims[1] = 1 }), errNotInOrder},
		{"claim above the slot", info.Slot, with(func(i *SnapshotInfo) { i.Claims[2]++ }), errNotInOrder},
		{"empty part", info.Slot, with(func(i *SnapshotInfo) { i.Parts[0].Len = 0 }), errBadCount},
		{"negative part", info.Slot, with(func(i *SnapshotInfo) { i.Parts[0].Len = -1 }), errBadCount},
		{"huge part", info.Slot, with(func(i *SnapshotInfo) { i.Parts[0].Len = partBytesMax + 1 }), errBadCount},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, _, err := decodeManifest(k, test.slot, test.b); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func FuzzDecodeManifest(f *testing.F) {
	k, info, id := goldenManifest(f)
	f.Add(uint64(info.Slot), appendManifest(nil, info, id))
	f.Add(uint64(0), appendManifest(nil, SnapshotInfo{Claims: []Slot{}, Parts: []PartInfo{}}, id))
	f.Fuzz(func(t *testing.T, slot uint64, b []byte) {
		for _, b := range [][]byte{b, fuzzSum(b)} {
			info, id, err := decodeManifest(k, Slot(slot), b)
			if err != nil {
				continue
			}
			if again := appendManifest(nil, info, id); !bytes.Equal(again, b) {
				t.Fatalf("decoded and encoded again: got %x, want %x", again, b)
			}
		}
	})
}
