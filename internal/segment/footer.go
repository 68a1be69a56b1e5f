package segment

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// FooterLen is the length in bytes of the footer, in every version.
const FooterLen = 32

// footerMagic begins a footer. The byte that is not ASCII and the line feed
// show a transfer that took the object for text.
const footerMagic = "\x89WADI\n"

// What the object is, and the version of that. A reader refuses what it does
// not know.
const (
	kindIngest    = 1 // batches of a flush, base offsets not filled in
	kindCompacted = 2 // batches with their base offsets, each run without a gap
	footerVersion = 1
)

// Where the fields of a footer lie, big-endian.
const (
	footerKindPos     = 6
	footerVersionPos  = 7
	footerIndexPosPos = 8
	footerIndexLenPos = 16
	footerIndexCRCPos = 24
	footerCRCPos      = 28
)

// Footer is the fixed end of a segment.
type Footer struct {
	Compacted bool // written by a Writer; else one flush of an ingest node
	IndexPos  Pos
	IndexLen  int64 // bytes, without the footer
	IndexCRC  uint32
}

// DecodeFooter reads the last FooterLen bytes of a segment. What they say is
// then in itself consistent, but says nothing yet about the object's length.
// Every error is a CorruptError.
func DecodeFooter(b []byte) (Footer, error) {
	if len(b) != FooterLen {
		return Footer{}, corruptf(0, "footer of %d bytes, not %d", len(b), FooterLen)
	}
	if string(b[:len(footerMagic)]) != footerMagic {
		return Footer{}, corruptf(0, "magic is %q", b[:len(footerMagic)])
	}
	// Before the version, so that damage is not taken for a newer format.
	if got, want := crc32.Checksum(b[:footerCRCPos], Castagnoli), binary.BigEndian.Uint32(b[footerCRCPos:]); got != want {
		return Footer{}, corruptf(footerCRCPos, "footer has CRC32C %08x, says %08x", got, want)
	}
	if kind, version := b[footerKindPos], b[footerVersionPos]; kind != kindIngest && kind != kindCompacted || version != footerVersion {
		return Footer{}, corruptf(footerKindPos, "kind %d, version %d: %w", kind, version, ErrVersion)
	}
	indexPos := binary.BigEndian.Uint64(b[footerIndexPosPos:])
	indexLen := binary.BigEndian.Uint64(b[footerIndexLenPos:])
	if indexPos > math.MaxInt64-FooterLen || indexLen > math.MaxInt64-FooterLen-indexPos {
		return Footer{}, corruptf(footerIndexPosPos, "index of %d bytes at byte %d", indexLen, indexPos)
	}
	return Footer{
		Compacted: b[footerKindPos] == kindCompacted,
		IndexPos:  Pos(indexPos),
		IndexLen:  int64(indexLen),
		IndexCRC:  binary.BigEndian.Uint32(b[footerIndexCRCPos:]),
	}, nil
}

func appendFooter(dst []byte, f Footer) []byte {
	start := len(dst)
	dst = append(dst, footerMagic...)
	kind := byte(kindIngest)
	if f.Compacted {
		kind = kindCompacted
	}
	dst = append(dst, kind, footerVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.IndexPos))
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.IndexLen))
	dst = binary.BigEndian.AppendUint32(dst, f.IndexCRC)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], Castagnoli))
}
