package httpapi

import (
	"net/http"
	"sync/atomic"
	"time"
)

// response watches what a handler answers, and gives the client a deadline to
// take it.
type response struct {
	http.ResponseWriter
	conn    *http.ResponseController
	timeout time.Duration
	leaving *atomic.Bool // the answer is to be the last of its connection

	status   int // 0 until the header is written
	written  int64
	complete bool      // the answer is out, even if the handler is broken off
	renewed  time.Time // when the write deadline was last set
	endless  bool      // the answer lasts as long as its reader likes
}

// stream says that the answer has no end of its own, and gives the client other
// deadlines to take each part of it.
func (w *response) stream(timeout time.Duration) {
	w.endless = true
	w.timeout = timeout
}

// Unwrap lets http.ResponseController find the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	w.begin(status)
	w.renew()
	w.ResponseWriter.WriteHeader(status)
}

// begin takes note of the status, before the headers go out.
func (w *response) begin(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	if w.leaving.Load() {
		w.Header().Set("Connection", "close")
	}
}

func (w *response) Write(p []byte) (int, error) {
	w.begin(http.StatusOK)
	w.renew()
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
