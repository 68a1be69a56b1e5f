package wal

import (
	"fmt"
	"hash/crc32"
)

// stageBytes is the buffer in which small frames become one write.
const stageBytes = 256 << 10

// writer writes one file. It belongs to one goroutine.
type writer struct {
	file   File // nil when closed
	id     fileID
	name   string
	pos    int64 // end of what was written
	synced int64 // end of what fsync has returned for
	stage  []byte
	staged int // bytes in stage, not yet written at pos
}

// begin writes the file's header and makes it durable.
func (w *writer) begin(h fileHeader) error {
	if _, err := w.file.WriteAt(h.encode(), 0); err != nil {
		return fmt.Errorf("write header of %s: %w", w.name, err)
	}
	w.pos = fileHeaderSize
	return w.sync()
}

// write puts a batch behind what is there. Small frames are gathered in the
// stage, large payloads go to the file as they are.
func (w *writer) write(b batch) error {
	parts := b.parts
	var header [frameHeaderSize]byte
	for _, f := range b.frames {
		payload := parts[:f.parts]
		parts = parts[f.parts:]
		crc := uint32(0)
		for _, part := range payload {
			crc = crc32.Update(crc, castagnoli, part)
		}
		h := frameHeader{kind: kindData, length: uint32(f.length), payloadCRC: crc, number: f.number, synced: w.synced}
		h.encode(header[:], w.id, w.pos+int64(w.staged))
		if err := w.put(header[:]); err != nil {
			return err
		}
		for _, part := range payload {
			if err := w.put(part); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

func (w *writer) writeClosing(last uint64) error {
	var header [frameHeaderSize]byte
	h := frameHeader{kind: kindClosing, number: last, synced: w.synced}
	h.encode(header[:], w.id, w.pos)
	if err := w.put(header[:]); err != nil {
		return err
	}
	return w.flush()
}

func (w *writer) put(b []byte) error {
	if w.stage == nil {
		w.stage = make([]byte, stageBytes)
	}
	if w.staged+len(b) > len(w.stage) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(b) > len(w.stage)/4 {
		if err := w.flush(); err != nil {
			return err
		}
		return w.writeOut(b)
	}
	w.staged += copy(w.stage[w.staged:], b)
	return nil
}

func (w *writer) flush() error {
	if w.staged == 0 {
		return nil
	}
	b := w.stage[:w.staged]
	w.staged = 0
	return w.writeOut(b)
}

func (w *writer) writeOut(b []byte) error {
	if _, err := w.file.WriteAt(b, w.pos); err != nil {
		return fmt.Errorf("write %s at %d: %w", w.name, w.pos, err)
	}
	w.pos += int64(len(b))
	return nil
}

// sync makes everything written durable. There is no second try: after a
// failed fsync the kernel may have dropped the bytes and will report success.
func (w *writer) sync() error {
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("fsync %s: %w", w.name, err)
	}
	w.synced = w.pos
	return nil
}

func (w *writer) close() error {
	if w.file == nil {
		return nil
	}
	file := w.file
	w.file = nil
	if err := file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", w.name, err)
	}
	return nil
}
