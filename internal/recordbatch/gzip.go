package recordbatch

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
)

// gzipRatioMax is more than how much longer than its input the output of
// DEFLATE can be (RFC 1951: 258 bytes take at least two bits).
const gzipRatioMax = 1032

// errFull says that a buffer is full before its input is at its end.
var errFull = errors.New("buffer is full")

// gunzip decompresses one or more gzip members (RFC 1952).
func (w *workspace) gunzip(src []byte, limit int, buffer func(int) []byte) ([]byte, error) {
	if len(src) < 4 {
		return nil, malformed("gzip: %v", io.ErrUnexpectedEOF)
	}
	// The last four bytes state the length of the last member modulo 2^32. It
	// is believed as far as DEFLATE could reach it. Where there are several
	// members it is too little.
	stated := int(binary.LittleEndian.Uint32(src[len(src)-4:]))
	if size := min(stated, gzipRatioMax*len(src)); size <= limit {
		out, err := w.gunzipInto(buffer(size), src)
		if err == nil {
			return out, nil
		}
		if err != errFull {
			return nil, malformed("gzip: %v", err)
		}
	}
	// Nothing is taken for what may be a bomb before it is known to fit.
	size, err := w.gunzipLen(src, limit)
	if err == errFull {
		return nil, tooLarge(uint64(limit)+1, limit)
	}
	var out []byte
	if err == nil {
		out, err = w.gunzipInto(buffer(size), src)
	}
	if err != nil {
		return nil, malformed("gzip: %v", err)
	}
	return out, nil
}

// gzipScratchLen is the length in bytes of what is thrown away at a time.
const gzipScratchLen = 32 << 10

// gunzipLen finds out how long the output is, and returns errFull if that is over
// limit.
func (w *workspace) gunzipLen(src []byte, limit int) (int, error) {
	scratch := make([]byte, gzipScratchLen)
	total := 0
	w.src.Reset(src)
	for w.src.Len() > 0 {
		err := w.resetGunzip()
		if err == nil {
			w.gzipR.Multistream(false)
		}
		for err == nil {
			var n int
			n, err = w.gzipR.Read(scratch)
			if total += n; total > limit {
				return 0, errFull
			}
		}
		if err != io.EOF {
			return 0, err
		}
	}
	return total, nil
}

// gunzipInto fills dst up to its capacity, and returns errFull if that was too
// little.
func (w *workspace) gunzipInto(dst, src []byte) ([]byte, error) {
	w.src.Reset(src)
	for w.src.Len() > 0 {
		if err := w.resetGunzip(); err != nil {
			return nil, err
		}
		// Left to itself the reader takes a cut header for the end.
		w.gzipR.Multistream(false)
		var err error
		if dst, err = w.gunzipMember(dst); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// resetGunzip reads the header of a member.
func (w *workspace) resetGunzip() (err error) {
	if w.gzipR == nil {
		w.gzipR, err = gzip.NewReader(&w.src)
	} else {
		err = w.gzipR.Reset(&w.src)
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// gunzipMember appends the output of a member to dst, within its capacity. The
// reader verifies the member's checksum when it comes to its end.
func (w *workspace) gunzipMember(dst []byte) ([]byte, error) {
	var more [1]byte // to learn whether anything comes after the last that fits
	for {
		room := dst[len(dst):cap(dst)]
		full := len(room) == 0
		if full {
			room = more[:]
		}
		n, err := w.gzipR.Read(room)
		if full && n > 0 {
			return nil, errFull
		}
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (w *workspace) gzip(dst, src []byte) []byte {
	w.dst.b = dst
	if w.gzipW == nil {
		w.gzipW = gzip.NewWriter(&w.dst)
	} else {
		w.gzipW.Reset(&w.dst)
	}
	// Writes to an appender do not fail.
	_, _ = w.gzipW.Write(src)
	_ = w.gzipW.Close()
	dst, w.dst.b = w.dst.b, nil
	return dst
}
