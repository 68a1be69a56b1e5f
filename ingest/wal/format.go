package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// The byte tables are in doc.go.
const (
	fileMagic      = "WADIWAL\n"
	formatVersion  = 1
	fileHeaderSize = 64

	frameHeaderSize = 32
	// Both kinds of frame begin with the same three bytes, so that a search
	// for the next frame after damage looks for one needle.
	frameMagicPrefix = "\xf5WF"
	kindData         = 'D'
	kindClosing      = 'E'

	// fileOverhead is what a file holds besides its data frames.
	fileOverhead = fileHeaderSize + frameHeaderSize
)

// Suffixes of the files in the directory.
const (
	fileSuffix    = ".wal"
	partSuffix    = ".tmp"     // being made, holds no frame
	spareSuffix   = ".spare"   // released, to be overwritten
	damagedSuffix = ".damaged" // replayed as far as it could be read, kept for the operator
	unknownSuffix = ".unknown" // of a node id that the catalog does not know
	lockName      = "LOCK"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fileID is a file's identity. Every frame's checksum covers it, so that the
// frames of another file, or of an earlier use of the same blocks, never pass.
type fileID struct {
	node uuid.UUID
	seq  uint64
}

func (id fileID) name() string {
	return fmt.Sprintf("%s-%010d%s", id.node, id.seq, fileSuffix)
}

// parseFileName is the inverse of name; it accepts nothing else.
func parseFileName(name string) (fileID, bool) {
	stem, ok := strings.CutSuffix(name, fileSuffix)
	if !ok || len(stem) < 36+1+10 || stem[36] != '-' {
		return fileID{}, false
	}
	node, err := uuid.Parse(stem[:36])
	if err != nil {
		return fileID{}, false
	}
	seq, err := strconv.ParseUint(stem[37:], 10, 64)
	if err != nil {
		return fileID{}, false
	}
	id := fileID{node: node, seq: seq}
	return id, id.name() == name
}

// fileHeader begins every file.
type fileHeader struct {
	id fileID
	// after is the last frame number of all earlier files of the node id, 0
	// before the first.
	after uint64
	// previousBytes is the final length of the file before, 0 for the first.
	previousBytes int64
}

func (h fileHeader) encode() []byte {
	b := make([]byte, fileHeaderSize)
	copy(b, fileMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	copy(b[16:32], h.id.node[:])
	binary.LittleEndian.PutUint64(b[32:], h.id.seq)
	binary.LittleEndian.PutUint64(b[40:], h.after)
	binary.LittleEndian.PutUint64(b[48:], uint64(h.previousBytes))
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// parseFileHeader reads the header of the file that the name calls id. A file
// of another identity is as unusable as one with a broken header: its frames
// would not pass.
func parseFileHeader(b []byte, id fileID) (fileHeader, error) {
	if len(b) < fileHeaderSize {
		return fileHeader{}, fmt.Errorf("file header has %d bytes of %d", len(b), fileHeaderSize)
	}
	if string(b[:8]) != fileMagic {
		return fileHeader{}, fmt.Errorf("file magic is %q", b[:8])
	}
	if got, want := crc32.Checksum(b[:60], castagnoli), binary.LittleEndian.Uint32(b[60:]); got != want {
		return fileHeader{}, fmt.Errorf("file header has CRC32C %08x and states %08x", got, want)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return fileHeader{}, fmt.Errorf("%w %d", errVersion, v)
	}
	h := fileHeader{
		after:         binary.LittleEndian.Uint64(b[40:]),
		previousBytes: int64(binary.LittleEndian.Uint64(b[48:])),
	}
	copy(h.id.node[:], b[16:32])
	h.id.seq = binary.LittleEndian.Uint64(b[32:])
	if h.id != id {
		return fileHeader{}, fmt.Errorf("file belongs to %s", h.id.name())
	}
	if h.previousBytes < 0 {
		return fileHeader{}, fmt.Errorf("length of the file before is %d", h.previousBytes)
	}
	return h, nil
}

// frameHeader precedes every payload.
type frameHeader struct {
	kind       byte
	length     uint32 // of the payload, in bytes
	payloadCRC uint32 // CRC32C of the payload
	number     uint64 // of the closing frame: that of the last data frame in or before the file
	synced     int64  // position up to which fsync had returned when the frame was written
}

// encode writes the header of the frame at position pos of file id.
func (h frameHeader) encode(b []byte, id fileID, pos int64) {
	_ = b[frameHeaderSize-1]
	copy(b, frameMagicPrefix)
	b[3] = h.kind
	binary.LittleEndian.PutUint32(b[8:], h.length)
	binary.LittleEndian.PutUint32(b[12:], h.payloadCRC)
	binary.LittleEndian.PutUint64(b[16:], h.number)
	binary.LittleEndian.PutUint64(b[24:], uint64(h.synced))
	binary.LittleEndian.PutUint32(b[4:], frameHeaderCRC(b, id, pos))
}

// parseFrameHeader reads the header at position pos of file id. Its CRC covers
// the length and the payload's CRC, so the length of a header that passes can
// be trusted also when the payload does not.
func parseFrameHeader(b []byte, id fileID, pos int64) (frameHeader, bool) {
	if len(b) < frameHeaderSize || string(b[:3]) != frameMagicPrefix {
		return frameHeader{}, false
	}
	if frameHeaderCRC(b, id, pos) != binary.LittleEndian.Uint32(b[4:]) {
		return frameHeader{}, false
	}
	h := frameHeader{
		kind:       b[3],
		length:     binary.LittleEndian.Uint32(b[8:]),
		payloadCRC: binary.LittleEndian.Uint32(b[12:]),
		number:     binary.LittleEndian.Uint64(b[16:]),
		synced:     int64(binary.LittleEndian.Uint64(b[24:])),
	}
	switch {
	case h.kind != kindData && h.kind != kindClosing,
		h.kind == kindClosing && h.length != 0,
		h.synced < fileHeaderSize || h.synced > pos:
		return frameHeader{}, false
	}
	return h, true
}

// frameHeaderCRC covers where the frame lies (node id, file sequence,
// position) and the header but for the CRC itself.
func frameHeaderCRC(b []byte, id fileID, pos int64) uint32 {
	var place [32]byte
	copy(place[:16], id.node[:])
	binary.LittleEndian.PutUint64(place[16:], id.seq)
	binary.LittleEndian.PutUint64(place[24:], uint64(pos))
	crc := crc32.Update(0, castagnoli, place[:])
	crc = crc32.Update(crc, castagnoli, b[:4])
	return crc32.Update(crc, castagnoli, b[8:frameHeaderSize])
}
