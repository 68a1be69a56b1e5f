package httpapi

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A body may come encoded. It is decoded as it is read, so what holds for bodies
// holds for what they decode to: their limits, and the chunks of lines. A bomb is
// found out when it has filled the limit, and costs no more than a body that is
// that long.
//
// What a decoder takes up is asked for before it is made, and given back at the
// end of the body. A sender of zstd holds a window from the first frame on, whose
// size it names itself; so all decoders have a bound of their own, and cannot use
// up the memory for records.

const (
	// encodedSlack is how much longer than its limit a body may be while it is
	// encoded, in bytes: what does not compress gets a little longer.
	encodedSlack = 64 << 10
	// encodedSilenceMax bounds the bytes that come without anything to decode in
	// them: empty members, skippable frames, headers.
	encodedSilenceMax = 256 << 10
	// gzipDecoderBytes is more than what a gzip decoder takes up: its window of
	// 32 KiB, its tables, and the buffer before it.
	gzipDecoderBytes = 64 << 10
	gzipMagicBytes   = "\x1f\x8b"
	// zstdDecoderBytes is more than what a zstd decoder takes up beside its
	// window: a block on its way in and two on their way out.
	zstdDecoderBytes = 512 << 10
)

// zstdWindows are the sizes of windows that zstd decoders are made for: of what
// fits into a block, of libzstd's default level, and the largest that has to be
// taken (RFC 9659). With few sizes a pooled decoder is as large as it is counted.
var zstdWindows = [...]uint64{128 << 10, 2 << 20, 8 << 20}

const zstdWindowMax = 8 << 20

var (
	// errOverLimit says that a body decodes to more than its limit.
	errOverLimit = errors.New("the decoded body is over its limit")
	// errSilence says that a body goes on and on without content.
	errSilence = errors.New("too much of it decodes to nothing")
	errMagic   = errors.New("there is something else where a header should be")
	errWindow  = errors.New("the window of a frame is too large")
	errDict    = errors.New("a frame needs a dictionary")
)

// roomFunc takes n bytes of the memory for decoders, or says why not.
type roomFunc func(n int64) (release func(), err error)

// bodyDecoder reads a body that is encoded: one or more gzip members (RFC 1952),
// or zstd frames (RFC 8878), and nothing else.
type bodyDecoder struct {
	coding  coding
	in      *bufio.Reader
	room    roomFunc
	release func()
	left    int64 // bytes that may still come out; negative is without limit

	inside bool // a member or frame
	begun  bool // there was one

	gzip  *gzip.Reader
	zstd  *zstd.Decoder
	class int // of zstd, an index of zstdWindows
	frame zstdFrame
}

var (
	wireBuffers  = sync.Pool{New: func() any { return bufio.NewReader(nil) }}
	gzipDecoders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	zstdDecoders [len(zstdWindows)]sync.Pool // by class
)

// newBodyDecoder decodes in, of which up to limit bytes may come; a negative limit
// is none. close must be called.
func newBodyDecoder(c coding, in io.Reader, limit int64, room roomFunc) *bodyDecoder {
	d := &bodyDecoder{coding: c, in: wireBuffers.Get().(*bufio.Reader), room: room, left: limit}
	d.in.Reset(in)
	return d
}

// Read returns decoded bytes, and io.EOF after the last member if that is the end
// of the body. It does not wait for more while it has some.
func (d *bodyDecoder) Read(p []byte) (int, error) {
	for {
		if !d.inside {
			if _, err := d.in.Peek(1); err == io.EOF && d.begun {
				return 0, io.EOF
			}
			if err := d.begin(); err != nil {
				return 0, err
			}
			d.inside, d.begun = true, true
		}
		n, err := d.member().Read(p)
		if err == io.EOF {
			d.inside = false
			err = nil
		}
		if d.left >= 0 {
			d.left -= min(d.left, int64(n))
		}
		if n > 0 || err != nil {
			return n, cut(err)
		}
	}
}

func (d *bodyDecoder) member() io.Reader {
	if d.coding == codingGzip {
		return d.gzip
	}
	return d.zstd
}

// begin reads the header of a member or frame. io.EOF is for a body that ends with
// what is to be skipped.
func (d *bodyDecoder) begin() error {
	if d.coding == codingZstd {
		return d.beginFrame()
	}
	if d.gzip == nil {
		release, err := d.room(gzipDecoderBytes)
		if err != nil {
			return err
		}
		d.release = release
		d.gzip = gzipDecoders.Get().(*gzip.Reader)
	}
	if magic, err := d.in.Peek(len(gzipMagicBytes)); err != nil || string(magic) != gzipMagicBytes {
		return noMagic(magic, gzipMagicBytes, err)
	}
	if err := d.gzip.Reset(d.in); err != nil {
		return cut(err)
	}
	// Left to itself the reader takes a cut header for the end.
	d.gzip.Multistream(false)
	return nil
}

// beginFrame skips what is to be skipped, and gets a decoder whose window is
// large enough for the next frame.
func (d *bodyDecoder) beginFrame() error {
	window, err := d.frame.begin(d.in, d.left)
	if err != nil {
		return err
	}
	class := slices.IndexFunc(zstdWindows[:], func(w uint64) bool { return window <= w })
	if class < 0 {
		return errWindow
	}
	if d.zstd == nil || class > d.class {
		d.giveBack()
		if d.release, err = d.room(int64(zstdWindows[class]) + zstdDecoderBytes); err != nil {
			return err
		}
		d.class = class
		if d.zstd, err = getZstdDecoder(class); err != nil {
			return err
		}
	}
	d.frame.setWindow(zstdWindows[d.class])
	return d.zstd.Reset(&d.frame)
}

func getZstdDecoder(class int) (*zstd.Decoder, error) {
	if d, ok := zstdDecoders[class].Get().(*zstd.Decoder); ok {
		return d, nil
	}
	// One at a time is without goroutines, and without blocks read ahead.
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(zstdWindows[class]))
}

// giveBack returns the decoder and its memory.
func (d *bodyDecoder) giveBack() {
	if d.gzip != nil {
		gzipDecoders.Put(d.gzip) // which points to the buffer; that is reset
		d.gzip = nil
	}
	if d.zstd != nil {
		if d.zstd.Reset(nil) == nil {
			zstdDecoders[d.class].Put(d.zstd)
		}
		d.zstd = nil
	}
	if d.release != nil {
		d.release()
		d.release = nil
	}
}

// close ends the use of the decoder.
func (d *bodyDecoder) close() {
	d.giveBack()
	d.in.Reset(nil)
	wireBuffers.Put(d.in)
	d.in = nil
}

// noMagic is the error if what a member begins with is not there: there is something
// else, or the member is cut off at once.
func noMagic(begun []byte, magic string, err error) error {
	if (err == nil || err == io.EOF) && !strings.HasPrefix(magic, string(begun)) {
		return errMagic
	}
	return cut(err)
}

// cut is err, where an end is meant that comes too early.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// encodingProblem is what a client gets to see of an error of a bodyDecoder that
// is about the body.
func encodingProblem(c coding, decoded int64, err error) *problem {
	var what string
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		what = "it ends too early"
	case errors.Is(err, errSilence):
		what = errSilence.Error()
	case errors.Is(err, errWindow):
		return kindInvalidEncoding.newf("a frame of the body needs a window of more than %d bytes", int64(zstdWindowMax)).
			with("encoding", string(c)).with("limit", int64(zstdWindowMax))
	case errors.Is(err, errDict):
		what = errDict.Error()
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, errMagic):
		what = errMagic.Error()
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zstd.ErrCRCMismatch):
		what = "its checksum does not match"
	default:
		what = "it is damaged"
	}
	return kindInvalidEncoding.newf("the body is not well encoded with %s: %s, after %d bytes that were decoded", c, what, decoded).
		with("encoding", string(c)).because(err)
}
