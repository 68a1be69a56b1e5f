package wal

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
)

const (
	// windowBytes is how much of a file is in memory while it is searched.
	windowBytes = 256 << 10
	// sectorBytes is the unit in which an unreadable place is stepped over.
	sectorBytes = 4096
)

// span is a half-open range of positions in a file.
type span struct{ from, to int64 }

// scanned is one step of a scanner: a frame that passes its checksums, or a
// gap where there is none.
type scanned struct {
	span
	header  frameHeader // of a frame
	gap     bool
	payload []byte // of a data frame, if it was asked for
}

// scanner reads the frames of one file in order. Where bytes are no frame it
// looks for the next position at which there is one: after a bad payload at
// the end that its header states, after a bad header wherever a header with
// the right checksum for its place is found. It does no more than that; which
// gaps are damage and which a torn tail is for survey to say.
type scanner struct {
	window window
	id     fileID
	pos    int64
	last   uint64 // number of the last good frame
	closed bool   // the closing frame was read
}

func newScanner(r io.ReaderAt, size int64, id fileID) *scanner {
	return &scanner{window: window{r: r, size: size}, id: id, pos: fileHeaderSize}
}

// next returns the next frame or gap, and false at the end. The payload is a
// copy of its own, and only there if want (nil for never) asks for it.
func (s *scanner) next(want func(number uint64) bool) (scanned, bool) {
	if s.closed || s.pos >= s.window.size {
		return scanned{}, false
	}
	from := s.pos
	h, ok := s.headerAt(from)
	if !ok {
		s.pos = s.search(from + 1)
		return scanned{span: span{from, s.pos}, gap: true}, true
	}
	body := from + frameHeaderSize
	end := body + int64(h.length)
	if end > s.window.size {
		s.pos = s.window.size
		return scanned{span: span{from, s.pos}, gap: true}, true
	}
	s.pos = end
	// Numbers ascend in every file that this package wrote. Data must come
	// with a number of its own; the closing frame repeats the last.
	if h.number < s.last || h.kind == kindData && h.number == s.last {
		return scanned{span: span{from, end}, gap: true}, true
	}
	var payload []byte
	if h.kind == kindData && want != nil && want(h.number) {
		payload = make([]byte, h.length)
		s.window.copyTo(payload, body)
		ok = crc32.Checksum(payload, castagnoli) == h.payloadCRC
	} else {
		ok = s.window.crc(body, end) == h.payloadCRC
	}
	if !ok {
		return scanned{span: span{from, end}, gap: true}, true
	}
	s.last = h.number
	s.closed = h.kind == kindClosing
	return scanned{span: span{from, end}, header: h, payload: payload}, true
}

func (s *scanner) headerAt(pos int64) (frameHeader, bool) {
	return parseFrameHeader(s.window.at(pos, frameHeaderSize), s.id, pos)
}

// search returns the first position at or after from with a good header, or
// the end of the file.
func (s *scanner) search(from int64) int64 {
	needle := []byte(frameMagicPrefix)
	for from < s.window.size {
		b := s.window.at(from, windowBytes)
		i := bytes.Index(b, needle)
		if i < 0 {
			if int64(len(b)) < windowBytes {
				break
			}
			from += int64(len(b) - len(needle) + 1)
			continue
		}
		from += int64(i)
		if _, ok := s.headerAt(from); ok {
			return from
		}
		from++
	}
	return s.window.size
}

// window reads a file through one buffer. What the disk will not give reads as
// zeros, which pass no checksum, and is remembered in unreadable.
type window struct {
	r          io.ReaderAt
	size       int64
	unreadable bool

	buf  []byte // the bytes from pos on
	pos  int64
	room []byte
}

// at returns up to n <= windowBytes bytes from pos on, fewer only at the end
// of the file. They are valid until the next call.
func (w *window) at(pos int64, n int) []byte {
	n = int(min(int64(n), w.size-pos))
	if n <= 0 {
		return nil
	}
	if skip := pos - w.pos; skip < 0 || skip+int64(n) > int64(len(w.buf)) {
		if w.room == nil {
			w.room = make([]byte, min(windowBytes, w.size))
		}
		w.buf = w.room[:min(int64(len(w.room)), w.size-pos)]
		w.pos = pos
		w.read(w.buf, pos)
	}
	return w.buf[pos-w.pos:][:n]
}

// copyTo fills b with the bytes from pos on, which must lie inside the file.
func (w *window) copyTo(b []byte, pos int64) {
	if len(b) <= windowBytes/4 {
		copy(b, w.at(pos, len(b)))
		return
	}
	w.read(b, pos)
}

// crc returns the CRC32C of the bytes between two positions.
func (w *window) crc(from, to int64) uint32 {
	crc := uint32(0)
	for from < to {
		b := w.at(from, int(min(to-from, windowBytes)))
		crc = crc32.Update(crc, castagnoli, b)
		from += int64(len(b))
	}
	return crc
}

func (w *window) read(b []byte, pos int64) {
	if n, err := w.r.ReadAt(b, pos); n == len(b) && (err == nil || errors.Is(err, io.EOF)) {
		return
	}
	// Sector by sector, to lose no more than what is really unreadable.
	for len(b) > 0 {
		part := b[:min(int64(len(b)), sectorBytes-pos%sectorBytes)]
		if n, err := w.r.ReadAt(part, pos); n != len(part) || err != nil && !errors.Is(err, io.EOF) {
			clear(part[n:])
			w.unreadable = true
		}
		b, pos = b[len(part):], pos+int64(len(part))
	}
}
