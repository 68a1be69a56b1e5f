package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/wadilog/wadi/ingest"
)

// body reads a request's body under a deadline that moves with its progress, and
// decodes it. It belongs to one goroutine at a time; only stop may be called by
// another.
type body struct {
	src   io.Reader
	conn  *http.ResponseController
	grace time.Duration
	rate  int64 // bytes per second, at least
	lines bool  // the account begins anew with each line

	coding coding   // that it comes in
	room   roomFunc // for the decoder

	// Of what came over the wire:

	waited time.Duration // time spent in reads since the account began
	got    int64         // bytes since then
	total  int64         // bytes since the body began
	eof    bool
	err    error // what ended the body before its end

	// Of what it decodes to, if it is encoded:

	decoder *bodyDecoder // nil before the first read and after the last
	limit   int64        // bytes that may come out; negative is without limit
	decoded int64        // bytes that came out
	silent  int64        // bytes that came in since then
	ended   error        // what ended it, io.EOF if all is well

	stopped atomic.Bool
}

func newBody(cfg Config, r *http.Request, conn *http.ResponseController) *body {
	return &body{
		src:   r.Body,
		conn:  conn,
		grace: cfg.BodyGrace,
		rate:  cfg.BodyBytesPerSecondMin,
		limit: -1,
		eof:   r.Body == nil || r.Body == http.NoBody,
	}
}

// Read returns the next decoded bytes, io.EOF at the end, or a problem. If there
// is a limit to what comes out of an encoded body, it may also be errOverLimit.
func (b *body) Read(p []byte) (int, error) {
	if b.coding == identity {
		n, err := b.readWire(p)
		b.sawLines(p[:n])
		return n, err
	}
	if b.ended != nil {
		return 0, b.ended
	}
	if b.decoder == nil {
		b.decoder = newBodyDecoder(b.coding, wire{b}, b.limit, b.room)
	}
	n, err := b.decoder.Read(p)
	b.decoded += int64(n)
	if n > 0 {
		b.silent = 0
		b.sawLines(p[:n])
	}
	if err != nil {
		b.closeDecoder()
		b.ended = b.wholeError(err)
	}
	return n, b.ended
}

// wholeError is what a client gets to see of a decoder's error.
func (b *body) wholeError(err error) error {
	var p *problem
	switch {
	case b.err != nil: // the decoder's own is only what follows from it
		return b.err
	case err == io.EOF, errors.Is(err, errOverLimit):
		return err
	case errors.As(err, &p), errors.As(err, new(*ingest.OverloadedError)), errors.Is(err, ingest.ErrNotIngest):
		return err // of the room for the decoder
	}
	return encodingProblem(b.coding, b.decoded, err)
}

// closeDecoder gives back what a decoder takes up. Whoever reads the body must
// have ended.
func (b *body) closeDecoder() {
	if b.decoder != nil {
		b.decoder.close()
		b.decoder = nil
	}
}

// sawLines begins the account anew if there is the end of a line.
func (b *body) sawLines(p []byte) {
	if b.lines && bytes.IndexByte(p, '\n') >= 0 {
		b.waited, b.got = 0, 0
	}
}

// wire is an encoded body as it comes.
type wire struct{ *body }

func (w wire) Read(p []byte) (int, error) {
	if w.limit >= 0 && w.total > w.limit+encodedSlack {
		return 0, errOverLimit
	}
	if w.silent > encodedSilenceMax {
		return 0, errSilence
	}
	n, err := w.readWire(p)
	w.silent += int64(n)
	return n, err
}

// readWire returns the next bytes as they come, io.EOF at the end, or a problem.
// Only time in which the server waits for the client counts against the client.
func (b *body) readWire(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.eof {
		return 0, io.EOF
	}
	allowed := b.grace + time.Duration(b.got/b.rate)*time.Second - b.waited
	begin := time.Now()
	// Transports without deadlines (in tests) say so; then there is none.
	_ = b.conn.SetReadDeadline(begin.Add(allowed))
	if b.stopped.Load() { // by now, or it comes after the deadline that was just set
		_ = b.conn.SetReadDeadline(longAgo)
	}
	n, err := b.src.Read(p)
	b.waited += time.Since(begin)
	b.got += int64(n)
	b.total += int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		// From here on the server watches the connection to see whether the
		// client is still there; a deadline would look as if it were not.
		// net/http clears it too, but does not promise to.
		_ = b.conn.SetReadDeadline(time.Time{})
		b.eof = true
		return n, io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.err = kindSlowBody.newf("%d bytes of the body came, too few for the time it took", b.total).
			with("min_bytes_per_second", b.rate)
	default:
		b.err = kindInvalidBody.newf("the body could not be read to its end; %d bytes came", b.total).because(err)
	}
	return n, b.err
}

// longAgo is a deadline that has passed, on any clock.
var longAgo = time.Unix(1, 0)

// stop ends a Read that waits, and all that follow.
func (b *body) stop() {
	b.stopped.Store(true)
	_ = b.conn.SetReadDeadline(longAgo)
}

// bodyFirstRead is how much of a body is read before memory for all of it is
// taken: a header alone should not cost its sender nothing and the node 16 MiB.
const bodyFirstRead = 64 << 10

// bodyGrowth is how many times more memory a body gets when it has filled what
// it had.
const bodyGrowth = 4

// readAll reads the whole body. length is what Content-Length says, -1 for
// nothing; the caller has compared it with limit, which is for what the body
// decodes to. grow is asked before more memory is taken. Over limit it returns
// tooLarge.
func (b *body) readAll(length, limit int64, grow func(int64) error, tooLarge *problem) ([]byte, error) {
	most := limit
	b.limit = limit
	if length >= 0 && b.coding == identity {
		most = length
	}
	size := min(bodyFirstRead, most)
	if err := grow(size); err != nil {
		return nil, err
	}
	buf := make([]byte, 0, size+1) // one more byte, so that the read that finds the end has room
	for {
		n, err := b.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, tooLarge
		}
		if err == io.EOF {
			return buf, nil
		}
		if err == errOverLimit {
			return nil, tooLarge
		}
		if err != nil {
			return nil, err
		}
		if len(buf) < cap(buf) {
			continue
		}
		next := min(bodyGrowth*size, most)
		if err := grow(next - size); err != nil {
			return nil, err
		}
		size = next
		buf = append(make([]byte, 0, next+1), buf...)
	}
}
