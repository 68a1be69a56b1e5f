package httpapi

import (
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
)

const (
	requestIDHeader = "X-Request-Id"
	requestIDLenMax = 128
)

// observe is around every request: it gives it an id, measures and logs it,
// and turns a panic into a 500.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		res := s.newResponse(w, r)
		id := requestID(r)
		res.Header().Set(requestIDHeader, id)
		aborted := true
		defer res.encoding.close() // of an answer that was broken off
		defer func() {
			route := strings.Replace(chi.RouteContext(r.Context()).RoutePattern(), memberSegment, "{member}", 1)
			if route == "" {
				route = "none"
			}
			s.metrics.observe(route, r.Method, res, aborted && !res.complete, time.Since(begin))
			level := slog.LevelDebug
			if s.cfg.AccessLog {
				level = slog.LevelInfo
			}
			// Neither the query nor the path as it came: they may hold keys.
			s.logger.LogAttrs(r.Context(), level, "request",
				slog.String("request_id", id),
				slog.String("remote", r.RemoteAddr),
				slog.String("method", r.Method),
				slog.String("route", route),
				slog.String("topic", chi.URLParam(r, "topic")),
				slog.Int("status", res.status),
				slog.Bool("aborted", aborted && !res.complete),
				slog.Int64("received", res.received()),
				slog.Int64("bytes", res.written),
				slog.Duration("elapsed", time.Since(begin)),
			)
		}()
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler {
				panic(cause)
			}
			s.logger.LogAttrs(r.Context(), slog.LevelError, "handler panicked",
				slog.String("request_id", id), slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
			s.exchange(res, r).fail(kindInternal.newf("the node failed; its log says more under the request id"))
			aborted = false
		}()
		next.ServeHTTP(res, r)
		aborted = false
	})
}

// requestID is the client's own if it is harmless in a log, else a random one.
func requestID(r *http.Request) string {
	if id := r.Header.Get(requestIDHeader); id != "" && len(id) <= requestIDLenMax && printable(id) {
		return id
	}
	var b [8]byte
	n := rand.Uint64()
	for i := range b {
		b[i] = byte(n >> (8 * i))
	}
	return hex.EncodeToString(b[:])
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
