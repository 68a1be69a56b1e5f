package wal

import (
	"bytes"

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
