package peerhttp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
)

// Catalog is the one of this node; *catalog.Catalog is one.
type Catalog interface {
	ServeForward(ctx context.Context, r catalog.ForwardRequest) (catalog.ForwardAnswer, error)
	ServePull(ctx context.Context, r catalog.PullRequest) (catalog.PullAnswer, error)
	ServeKeep(ctx context.Context, r catalog.KeepRequest) (catalog.KeepAnswer, error)
}

// Server answers other nodes. It is an http.Handler; HTTPServer gives the
// http.Server that it should run in.
type Server struct {
	cfg      Config
	catalog  Catalog
	identity Identity
	logger   *slog.Logger
	metrics  *serverMetrics
	mux      *http.ServeMux

	forwards  atomic.Int64 // being served
	forwarded atomic.Int64 // bytes of their bodies
	pulls     atomic.Int64 // being served
	keeps     atomic.Int64 // being served
	conns     atomic.Int64
}

// NewServer returns a server. It starts nothing.
func NewServer(cfg Config, c Catalog, identity Identity, logger *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, catalog: c, identity: identity, logger: logger, mux: http.NewServeMux()}
	s.metrics = newServerMetrics(reg, s)
	s.mux.HandleFunc("POST "+forwardPath, s.serve(callForward, s.forward))
	s.mux.HandleFunc("POST "+pullPath, s.serve(callPull, s.pull))
	s.mux.HandleFunc("POST "+keepPath, s.serve(callKeep, s.keep))
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// HTTPServer returns a server for s with the timeouts and limits of its Config.
// It has no address; the caller listens and calls Serve. A request ends with its
// sender, or when the server is closed.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.cfg.ReadHeaderTimeout,
		IdleTimeout:       s.cfg.IdleTimeout,
		MaxHeaderBytes:    s.cfg.HeaderBytesMax,
		ConnContext:       s.connContext,
		ConnState:         s.connState,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
}

// connContext runs before connState sees the same connection as new, on the
// goroutine that accepts.
func (s *Server) connContext(ctx context.Context, c net.Conn) context.Context {
	if s.conns.Load() >= int64(s.cfg.ConnectionsMax) {
		_ = c.Close()
	}
	return ctx
}

func (s *Server) connState(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.conns.Add(-1)
	}
}

// exchange is one request with its answer.
type exchange struct {
	w    http.ResponseWriter
	r    *http.Request
	conn *http.ResponseController
}

// statusError refuses a request in plain words, for people: the client takes
// nothing from it but that it has no answer.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// serve checks who asks, and answers with the message of work or with its error.
// What is not the body's is in the catalog's hands as long as its sender waits:
// no deadline runs from the end of the body to the beginning of the answer.
func (s *Server) serve(call string, work func(*exchange) (pieces, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{w: w, r: r, conn: http.NewResponseController(w)}
		// Also for what net/http reads of a body that was refused.
		_ = x.conn.SetReadDeadline(time.Now().Add(s.cfg.BodyTimeout))
		var m pieces
		err := s.admit(r)
		if err == nil {
			m, err = work(x)
		}
		s.metrics.count(call, err)
		_ = x.conn.SetWriteDeadline(time.Now().Add(s.cfg.WriteTimeout))
		if err != nil {
			s.refuse(x, call, err)
			return
		}
		x.answer(http.StatusOK, m)
	}
}

func (s *Server) admit(r *http.Request) error {
	token, ok := s.identity()
	switch {
	case !ok:
		return &statusError{http.StatusServiceUnavailable, "the catalog is not loaded yet"}
	case !token.shownIn(r.Header):
		return &statusError{http.StatusUnauthorized, "not a node of this cluster, or --peer-secret differs"}
	}
	return nil
}

func (s *Server) forward(x *exchange) (pieces, error) {
	defer s.forwards.Add(-1)
	if s.forwards.Add(1) > int64(s.cfg.ForwardsMax) {
		return nil, catalog.ErrBusy
	}
	if err := x.checkLength(forwardMessageMax); err != nil {
		return nil, err
	}
	defer s.forwarded.Add(-x.r.ContentLength)
	if s.forwarded.Add(x.r.ContentLength) > s.cfg.ForwardedBytesMax {
		return nil, catalog.ErrBusy
	}
	body, err := x.body()
	if err != nil {
		return nil, err
	}
	request, err := decodeForwardRequest(body)
	if err != nil {
		return nil, &statusError{http.StatusBadRequest, err.Error()}
	}
	answer, err := s.catalog.ServeForward(x.r.Context(), request)
	if err != nil {
		return nil, err
	}
	return encodeForwardAnswer(answer)
}

func (s *Server) pull(x *exchange) (pieces, error) {
	defer s.pulls.Add(-1)
	if s.pulls.Add(1) > int64(s.cfg.PullsMax) {
		return nil, catalog.ErrBusy
	}
	if err := x.checkLength(messageOverheadMax); err != nil {
		return nil, err
	}
	body, err := x.body()
	if err != nil {
		return nil, err
	}
	request, err := decodePullRequest(body)
	if err != nil {
		return nil, &statusError{http.StatusBadRequest, err.Error()}
	}
	request.Wait = min(request.Wait, s.cfg.PullWaitMax)
	answer, err := s.catalog.ServePull(x.r.Context(), request)
	if err != nil {
		return nil, err
	}
	return encodePullAnswer(answer)
}

func (s *Server) keep(x *exchange) (pieces, error) {
	defer s.keeps.Add(-1)
	if s.keeps.Add(1) > int64(s.cfg.KeepsMax) {
		return nil, catalog.ErrBusy
	}
	if err := x.checkLength(keepMessageMax); err != nil {
		return nil, err
	}
	body, err := x.body()
	if err != nil {
		return nil, err
	}
	request, err := decodeKeepRequest(body)
	if err != nil {
		return nil, &statusError{http.StatusBadRequest, err.Error()}
	}
	answer, err := s.catalog.ServeKeep(x.r.Context(), request)
	if err != nil {
		return nil, err
	}
	return encodeKeepAnswer(answer)
}

func (x *exchange) checkLength(limit int64) error {
	switch n := x.r.ContentLength; {
	case n < 0:
		return &statusError{http.StatusLengthRequired, "a body needs its length"}
	case n > limit:
		return &statusError{http.StatusRequestEntityTooLarge, "body over " + strconv.FormatInt(limit, 10) + " bytes"}
	}
	return nil
}

// body reads a body whose length was checked. After it no read deadline holds,
// or the server would take the sender for one that left.
func (x *exchange) body() ([]byte, error) {
	b := make([]byte, x.r.ContentLength)
	_, err := io.ReadFull(x.r.Body, b)
	if err == nil {
		if _, err = x.r.Body.Read(make([]byte, 1)); err == io.EOF {
			err = x.conn.SetReadDeadline(time.Time{})
		}
	}
	if err != nil {
		return nil, &statusError{http.StatusRequestTimeout, "the body did not come: " + err.Error()}
	}
	return b, nil
}

// refuse answers with what err says, exactly for those errors that promise that
// nothing was done.
func (s *Server) refuse(x *exchange, call string, err error) {
	var (
		other  *catalog.NotLeaderError
		status *statusError
	)
	switch {
	case errors.As(err, &other):
		x.answer(statusNotLeader, encodeNotLeader(other))
	case errors.Is(err, catalog.ErrBusy):
		x.answer(statusBusy, encodeBare(busy))
	case errors.Is(err, catalog.ErrBehind):
		x.answer(statusBehind, encodeBare(behind))
	case errors.As(err, &status):
		http.Error(x.w, status.text, status.status)
	default:
		if x.r.Context().Err() == nil {
			s.logger.Warn("request of a peer failed", "call", call, "error", err)
		}
		http.Error(x.w, err.Error(), http.StatusInternalServerError)
	}
}

func (x *exchange) answer(status int, m pieces) {
	h := x.w.Header()
	h.Set("Content-Type", messageMedia)
	h.Set("Content-Length", strconv.FormatInt(m.size(), 10))
	x.w.WriteHeader(status)
	for _, p := range m {
		if _, err := x.w.Write(p); err != nil {
			return // the peer is gone; there is nobody to tell
		}
	}
}
