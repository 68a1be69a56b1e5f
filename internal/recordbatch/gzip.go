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
	// is believed as far as DEFLATE could reach it; where there are several
	// members, the first try fails and the second has all that is allowed.
	size := int(binary.LittleEndian.Uint32(src[len(src)-4:]))
	size = min(size, limit, gzipRatioMax*len(src))
	out, err := w.gunzipInto(buffer(size), src)
	if err == errFull && size < limit {
		out = nil
		out, err = w.gunzipInto(buffer(limit), src)
	}
	if err == errFull {
		return nil, tooLarge(uint64(limit)+1, limit)
	}
	if err != nil {
		return nil, malformed("gzip: %v", err)
	}
	return out, nil
}

// gunzipInto fills dst up to its capacity, and returns errFull if that was too
// little.
func (w *workspace) gunzipInto(dst, src []byte) ([]byte, error) {
	w.src.Reset(src)
	var err error
	if w.gzipR == nil {
		w.gzipR, err = gzip.NewReader(&w.src)
	} else {
		err = w.gzipR.Reset(&w.src)
	}
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	for len(dst) < cap(dst) {
		n, err := w.gzipR.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return nil, err
		}
	}
	// The checksum is verified when the end is read.
	var more [1]byte
	for {
		switch n, err := w.gzipR.Read(more[:]); {
		case n > 0:
			return nil, errFull
		case err == io.EOF:
			return dst, nil
		case err != nil:
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
