package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
)

// exchange is one request with its answer.
type exchange struct {
	s    *Server
	w    *response
	r    *http.Request
	conn *http.ResponseController
	body *body
	id   string
}

// handler answers a request, or returns what the client should be told.
type handler func(*exchange) error

// handle makes an http.HandlerFunc of a handler that takes no body. A body must
// not be left to net/http, which reads it without a deadline.
func (s *Server) handle(h handler) http.HandlerFunc {
	return s.handleBody(func(x *exchange) error {
		var one [1]byte
		for !x.body.eof {
			n, err := x.body.Read(one[:])
			if n > 0 {
				return kindInvalidBody.newf("this request takes no body")
			}
			if err != nil && err != io.EOF {
				return err
			}
		}
		return h(x)
	})
}

// handleBody makes an http.HandlerFunc of a handler that reads the body to its
// end, or fails.
func (s *Server) handleBody(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := s.exchange(w, r)
		defer x.body.closeDecoder()
		err := h(x)
		if err == nil {
			if err = x.w.finish(); err != nil {
				err = clientGone(err)
			}
		}
		if err != nil {
			x.fail(err)
		}
	}
}

// decodeBody makes the body one that is decoded as its Content-Encoding says.
func (x *exchange) decodeBody() (err error) {
	x.body.coding, err = contentCoding(x.r)
	if x.body.room == nil {
		x.body.room = x.s.decoderRoom
	}
	return err
}

// announced tells whether the body says that it is over a limit of bytes.
func (x *exchange) announced(limit int64) bool {
	if x.body.coding != identity {
		limit += encodedSlack
	}
	return x.r.ContentLength > limit
}

// decoderRoom is a roomFunc.
func (s *Server) decoderRoom(n int64) (release func(), err error) {
	if !s.decoders.enter(n) {
		return nil, kindOverloaded.newf("the decoders of bodies take up too much memory").
			with("reason", "body decoders").with("limit", s.decoders.limit)
	}
	return func() { s.decoders.leave(n) }, nil
}

func (s *Server) exchange(w http.ResponseWriter, r *http.Request) *exchange {
	res := w.(*response)
	res.body = newBody(s.cfg, r, res.conn)
	return &exchange{
		s:    s,
		w:    res,
		r:    r,
		conn: res.conn,
		body: res.body,
		id:   res.Header().Get(requestIDHeader),
	}
}

// fail answers with a problem, and leaves the connection in a state in which
// neither side waits for the other.
func (x *exchange) fail(err error) {
	p := toProblem(err, x.s.cfg.RetryAfter)
	x.report(p)
	if x.w.status != 0 {
		// A part of the answer is out. Breaking off is the only way left to
		// say that it is not the whole.
		panic(http.ErrAbortHandler)
	}
	h := x.w.Header()
	for _, name := range []string{"ETag", "Content-Length"} {
		h.Del(name)
	}
	p.setHeaders(h)
	text := p.appendJSON(nil)
	text = append(text, '\n')
	answer := func() { _ = x.w.whole(p.status, text) } // if the client is gone there is nobody to tell
	if x.body.eof {
		answer()
		return
	}
	x.refuseBody(answer)
}

// refuseBody sends an answer before the body was read to its end. Closing the
// connection at once would reset it under a client that is still sending, which
// then never reads the answer; so a bounded part of the rest is thrown away first.
func (x *exchange) refuseBody(answer func()) {
	rest := x.r.ContentLength - x.body.total
	short := x.body.err == nil && x.r.ContentLength >= 0 && rest <= x.s.cfg.LingerBytesMax
	waiting := x.r.Header.Get("Expect") != "" && x.body.total == 0 // it sends nothing before it is told to
	if !short || waiting {
		x.w.Header().Set("Connection", "close")
	}
	// Without this the first byte of the answer would make net/http read on.
	_ = x.conn.EnableFullDuplex()
	answer()
	_ = x.conn.Flush()
	if waiting {
		return
	}
	_ = x.conn.SetReadDeadline(time.Now().Add(x.s.cfg.LingerTimeout))
	_, err := io.CopyN(io.Discard, x.r.Body, x.s.cfg.LingerBytesMax+1)
	if err == io.EOF {
		_ = x.conn.SetReadDeadline(time.Time{})
		return
	}
	if short {
		// What is left on the wire must not be taken for the next request.
		x.w.complete = true
		panic(http.ErrAbortHandler)
	}
}

// report counts and logs a problem.
func (x *exchange) report(p *problem) {
	x.s.metrics.problems.WithLabelValues(p.code).Inc()
	level := slog.LevelDebug
	switch {
	case p.kind == kindInternal, p.kind == kindCorrupt:
		level = slog.LevelError
	case p.kind == kindNotReady, p.kind == kindOverloaded && x.s.drain.refusing.Load():
		// Probes and load balancers ask again and again, and the reason has its own line.
	case p.status >= 500:
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("request_id", x.id),
		slog.String("code", p.code),
		slog.Int("status", p.status),
	}
	if p.cause != nil {
		attrs = append(attrs, slog.Any("err", p.cause))
	}
	x.s.logger.LogAttrs(x.r.Context(), level, "request failed", attrs...)
}

// answer sends a JSON body.
func (x *exchange) answer(status int, text []byte) {
	h := x.w.Header()
	h.Set("Content-Type", mediaJSON)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	_ = x.w.whole(status, text) // the client is gone; there is nobody to tell
}

// pathParam returns a path parameter as it was meant. chi matches the escaped
// path if the request has one, the plain path otherwise.
func (x *exchange) pathParam(name string) (string, error) {
	raw := chi.URLParam(x.r, name)
	if x.r.URL.RawPath == "" {
		return raw, nil
	}
	text, err := url.PathUnescape(raw)
	if err != nil {
		return "", kindInvalidParameter.newf("the path is wrongly escaped")
	}
	return text, nil
}

// working bounds the work of a request. A client that goes away does not end
// it: what is being committed takes up memory until it is, and the budget
// should know.
func (x *exchange) working() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(x.r.Context()), x.s.cfg.RequestTimeout)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
