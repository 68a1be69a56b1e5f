package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/google/uuid"
)

const (
	FileHeaderSize  = fileHeaderSize
	FrameHeaderSize = frameHeaderSize
)

// Placed is a frame with its place in a file.
type Placed struct {
	From, To int64
	Number   uint64
	Synced   int64
	Closing  bool
	Payload  []byte
}

// FileName returns the name of a file of a node id.
func FileName(node uuid.UUID, seq uint64) string { return fileID{node, seq}.name() }

// PlacedFrames returns the good frames of a file's bytes.
func PlacedFrames(b []byte, node uuid.UUID, seq uint64) []Placed {
	s := newScanner(bytes.NewReader(b), int64(len(b)), fileID{node, seq})
	var frames []Placed
	for {
		item, ok := s.next(func(uint64) bool { return true })
		if !ok {
			return frames
		}
		if !item.gap {
			frames = append(frames, Placed{item.from, item.to, item.header.number, item.header.synced, item.header.kind == kindClosing, item.payload})
		}
	}
}

// SetVersion makes a file's header one of another format version.
func SetVersion(b []byte, version uint32) {
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
}

// EncodeFrame makes the bytes of a frame at its place.
func EncodeFrame(p Placed, node uuid.UUID, seq uint64) []byte {
	h := frameHeader{kind: kindData, length: uint32(len(p.Payload)), number: p.Number, synced: p.Synced}
	if p.Closing {
		h.kind = kindClosing
	}
	h.payloadCRC = crc32.Checksum(p.Payload, castagnoli)
	b := make([]byte, frameHeaderSize, frameHeaderSize+len(p.Payload))
	h.encode(b, fileID{node, seq}, p.From)
	return append(b, p.Payload...)
}

// EmptyFile makes the bytes of a file without frames.
func EmptyFile(node uuid.UUID, seq uint64) []byte {
	return fileHeader{id: fileID{node, seq}}.encode()
}

// HasOtherVersion tells whether a file is one that must be refused.
func HasOtherVersion(b []byte, node uuid.UUID, seq uint64) bool {
	_, err := parseFileHeader(b, fileID{node, seq})
	return errors.Is(err, errVersion)
}
