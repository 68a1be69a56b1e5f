package httpapi

import (
	"bytes"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// response watches what a handler answers, encodes it, and gives the client a
// deadline to take it.
type response struct {
	http.ResponseWriter
	conn     *http.ResponseController
	timeout  time.Duration
	leaving  *atomic.Bool // the answer is to be the last of its connection
	encoding encoding
	body     *body // of the request; nil before a handler has it

	status   int // 0 until the header is written
	written  int64
	complete bool      // the answer is out, even if the handler is broken off
	renewed  time.Time // when the write deadline was last set
	endless  bool      // the answer lasts as long as its reader likes
}

func (s *Server) newResponse(w http.ResponseWriter, r *http.Request) *response {
	return &response{
		ResponseWriter: w,
		conn:           http.NewResponseController(w),
		timeout:        s.cfg.WriteTimeout,
		leaving:        &s.drain.leaving,
		encoding: encoding{
			wanted: acceptedCoding(r),
			min:    s.cfg.EncodeBytesMin,
			gate:   s.encoders,
			full:   s.metrics.unencoded.Inc,
			head:   r.Method == http.MethodHead,
		},
	}
}

// stream says that the answer has no end of its own, and gives the client other
// deadlines to take each part of it.
func (w *response) stream(timeout time.Duration) {
	w.endless = true
	w.asItIs()
	w.timeout = timeout
}

// asItIs says that the answer must not be encoded.
func (w *response) asItIs() { w.encoding.never = true }

// received is how many bytes of the request's body came.
func (w *response) received() int64 {
	if w.body == nil {
		return 0
	}
	return w.body.total
}

// Unwrap lets http.ResponseController find the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader begins an answer whose body is written bit by bit.
func (w *response) WriteHeader(status int) {
	if c := w.begin(status); c != identity {
		if w.encoding.head {
			// net/http would work out a length from what is written, a wrong one.
			w.encoding.drop = true
			w.encoding.gate.leave(1)
		} else {
			w.encoding.open(c, wireWriter{w})
		}
	}
	w.renew()
	w.ResponseWriter.WriteHeader(status)
}

// whole sends an answer whose body is all there.
func (w *response) whole(status int, text []byte) error {
	h := w.Header()
	h.Set("Content-Length", strconv.Itoa(len(text)))
	if c := w.begin(status); c != identity {
		var encoded bytes.Buffer
		w.encoding.open(c, &encoded)
		_, _ = w.encoding.encoder.Write(text) // into memory, where nothing fails
		_ = w.encoding.encoder.Close()
		w.encoding.close()
		text = encoded.Bytes()
		h.Set("Content-Length", strconv.Itoa(len(text)))
	}
	w.renew()
	w.ResponseWriter.WriteHeader(status)
	_, err := wireWriter{w}.Write(text)
	return err
}

// begin takes note of the status, before the headers go out, and returns how the
// answer will be encoded.
func (w *response) begin(status int) coding {
	if w.status != 0 {
		return identity
	}
	w.status = status
	if w.leaving.Load() {
		w.Header().Set("Connection", "close")
	}
	return w.encoding.choose(status, w.Header())
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.encoding.drop {
		return len(p), nil
	}
	w.renew()
	if w.encoding.encoder != nil {
		return w.encoding.encoder.Write(p)
	}
	return wireWriter{w}.Write(p)
}

// finish writes the end of an encoded answer, of which all was written.
func (w *response) finish() error {
	if w.encoding.encoder == nil {
		return nil
	}
	w.renew()
	err := w.encoding.encoder.Close()
	w.encoding.close()
	return err
}

// wireWriter counts what is sent.
type wireWriter struct{ *response }

func (w wireWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.written += int64(n)
	return n, err
}

// renew gives the client the whole timeout again. Doing so for each of many
// small writes would be dear, so it waits until a part of the timeout is gone.
func (w *response) renew() {
	now := time.Now()
	if now.Sub(w.renewed) < w.timeout/8 {
		return
	}
	w.renewed = now
	_ = w.conn.SetWriteDeadline(now.Add(w.timeout))
}
