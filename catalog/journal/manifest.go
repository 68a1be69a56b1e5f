package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

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

// The layout of a manifest, version 1; docs/FORMAT.md has the table. All numbers
// are big-endian. The keys of the parts follow from the slot, the id and the
// position, so a manifest cannot name anything but parts of its own.
const (
	manifestMagic     = "WADM"
	manifestVersion   = 1
	manifestMinBytes  = 4 + 2 + 2 + 8 + 16 + 8 + 8 + 4 + 16 + 4 + 4 + crcBytes
	manifestPartBytes = 8 + 4
)

// Bytes is the length of all parts.
func (i SnapshotInfo) Bytes() int64 {
	var n int64
	for _, p := range i.Parts {
		n += p.Len
	}
	return n
}

// appendManifest encodes info, whose parts have the keys that id makes.
func appendManifest(dst []byte, info SnapshotInfo, id partID) []byte {
	start := len(dst)
	dst = append(dst, manifestMagic...)
	dst = binary.BigEndian.AppendUint16(dst, manifestVersion)
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(info.Slot))
	dst = append(dst, info.Nonce[:]...)
	dst = binary.BigEndian.AppendUint64(dst, info.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, uint64(info.Time))
	dst = binary.BigEndian.AppendUint32(dst, info.Level)
	dst = append(dst, id[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(info.Claims)))
	for _, c := range info.Claims {
		dst = binary.BigEndian.AppendUint64(dst, uint64(c))
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(info.Parts)))
	for _, p := range info.Parts {
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.Len))
		dst = binary.BigEndian.AppendUint32(dst, p.CRC)
	}
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// decodeManifest reads the manifest of a slot.
func decodeManifest(k keys, slot Slot, b []byte) (SnapshotInfo, partID, error) {
	d, err := openObject(b, manifestMagic, manifestVersion, manifestMinBytes)
	if err != nil {
		return SnapshotInfo{}, partID{}, err
	}
	reserved := d.uint16()
	info := SnapshotInfo{Slot: Slot(d.uint64()), Nonce: Nonce(d.bytes(16)), Epoch: d.uint64(), Time: int64(d.uint64()), Level: d.uint32()}
	id := partID(d.bytes(16))
	if info.Claims, err = decodeClaims(d); err != nil {
		return SnapshotInfo{}, partID{}, err
	}
	if info.Parts, err = decodeParts(d, func(part int) string { return k.part(slot, id, part) }); err != nil {
		return SnapshotInfo{}, partID{}, err
	}
	switch {
	case d.short:
		return SnapshotInfo{}, partID{}, errTruncated
	case reserved != 0:
		return SnapshotInfo{}, partID{}, errReserved
	case len(d.rest) != 0:
		return SnapshotInfo{}, partID{}, errTrailing
	case info.Slot != slot:
		return SnapshotInfo{}, partID{}, fmt.Errorf("%w: %d", errOtherSlot, info.Slot)
	}
	return info, id, info.checkClaims()
}

func decodeClaims(d *objectDecoder) ([]Slot, error) {
	n := int64(d.uint32())
	if n*8 > int64(len(d.rest)) {
		return nil, errBadCount
	}
	claims := make([]Slot, n)
	for i := range claims {
		claims[i] = Slot(d.uint64())
	}
	return claims, nil
}

func decodeParts(d *objectDecoder, key func(part int) string) ([]PartInfo, error) {
	n := int64(d.uint32())
	if n > snapshotPartsMax || n*manifestPartBytes > int64(len(d.rest)) {
		return nil, errBadCount
	}
	parts := make([]PartInfo, n)
	for i := range parts {
		parts[i] = PartInfo{Key: key(i), Len: int64(d.uint64()), CRC: d.uint32()}
		if parts[i].Len < 1 || parts[i].Len > partBytesMax {
			return nil, errBadCount
		}
	}
	return parts, nil
}

// checkClaims tells whether the claims ascend and none is above the slot.
func (i SnapshotInfo) checkClaims() error {
	for n, c := range i.Claims {
		if c > i.Slot || n > 0 && c <= i.Claims[n-1] {
			return errNotInOrder
		}
	}
	return nil
}
