package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// body reads a request's body under a deadline that moves with its progress.
// It belongs to one goroutine at a time; only stop may be called by another.
type body struct {
	src   io.Reader
	conn  *http.ResponseController
	grace time.Duration
	rate  int64 // bytes per second, at least
	lines bool  // the account begins anew with each line

	waited time.Duration // time spent in reads since the account began
	got    int64         // bytes since then
	total  int64         // bytes since the body began
	eof    bool
	err    error // what ended the body before its end

	stopped atomic.Bool
}

func newBody(cfg Config, r *http.Request, conn *http.ResponseController) *body {
	return &body{
		src:   r.Body,
		conn:  conn,
		grace: cfg.BodyGrace,
		rate:  cfg.BodyBytesPerSecondMin,
		eof:   r.Body == nil || r.Body == http.NoBody,
	}
}

// Read returns the next bytes, io.EOF at the end, or a problem. Only time in
// which the server waits for the client counts against the client.
func (b *body) Read(p []byte) (int, error) {
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
	if b.lines && bytes.IndexByte(p[:n], '\n') >= 0 {
		b.waited, b.got = 0, 0
	}
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
// nothing; the caller has compared it with limit. grow is asked before more
// memory is taken. Over limit it returns tooLarge.
func (b *body) readAll(length, limit int64, grow func(int64) error, tooLarge *problem) ([]byte, error) {
	most := limit
	if length >= 0 {
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
