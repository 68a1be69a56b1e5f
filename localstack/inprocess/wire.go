package inprocess

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// wireParts is how many writes of an answer may be on their way to a client that
// does not read: the buffers between them.
const wireParts = 64

// wire carries one answer from a handler to a client: it is the handler's
// http.ResponseWriter, with what http.ResponseController asks of it, and the body
// of the client's http.Response.
type wire struct {
	ctx    context.Context // ends when the client goes
	cancel context.CancelFunc
	node   *Node
	life   *Life

	header http.Header
	status int
	begun  chan struct{} // closed when header and status are set for good
	parts  chan []byte   // of the body; closed by finish
	broken chan struct{} // closed if the handler returned without an end

	mu       sync.Mutex
	deadline time.Time // of writes; zero if there is none; guarded by mu

	rest []byte // of the last part; the reader's
}

func newWire(ctx context.Context, cancel context.CancelFunc, n *Node, l *Life) *wire {
	return &wire{
		ctx: ctx, cancel: cancel, node: n, life: l, header: http.Header{},
		begun: make(chan struct{}), parts: make(chan []byte, wireParts), broken: make(chan struct{}),
	}
}

// Header implements http.ResponseWriter.
func (w *wire) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *wire) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		w.node.thaw()
		close(w.begun)
	}
}

// Write implements http.ResponseWriter. It waits for a client that does not read.
func (w *wire) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.node.thaw()
	w.mu.Lock()
	deadline := w.deadline
	w.mu.Unlock()
	var late <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case w.parts <- bytes.Clone(p):
		return len(p), nil
	case <-late:
		return 0, os.ErrDeadlineExceeded
	case <-w.ctx.Done():
		return 0, errReset
	case <-w.life.ended:
		return 0, errReset
	}
}

// Flush implements http.Flusher: nothing is held back.
func (w *wire) Flush() {}

// SetWriteDeadline is for http.ResponseController.
func (w *wire) SetWriteDeadline(at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = at
	return nil
}

// SetReadDeadline is for http.ResponseController: the request is there as a whole.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// EnableFullDuplex is for http.ResponseController.
func (w *wire) EnableFullDuplex() error { return nil }

// finish ends an answer that is complete.
func (w *wire) finish() {
	w.WriteHeader(http.StatusOK)
	close(w.parts)
}

func (w *wire) response(r *http.Request) *http.Response {
	return &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header.Clone(), Body: w, ContentLength: -1, Request: r,
	}
}

// Read implements io.Reader for the client.
func (w *wire) Read(p []byte) (int, error) {
	for len(w.rest) == 0 {
		select {
		case <-w.life.ended: // what is on its way is lost
			return 0, errReset
		default:
		}
		select {
		case part, more := <-w.parts:
			if !more {
				return 0, io.EOF
			}
			w.rest = part
		case <-w.broken:
			if len(w.parts) == 0 {
				return 0, errReset
			}
		case <-w.life.ended:
			return 0, errReset
		case <-w.ctx.Done():
			return 0, w.ctx.Err()
		}
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

// Close implements io.Closer for the client, who may go before the end.
func (w *wire) Close() error {
	w.cancel()
	return nil
}
