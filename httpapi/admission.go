package httpapi

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
)

// gate counts what is inside, up to a limit.
type gate struct {
	limit  int64
	inside atomic.Int64
}

func newGate(limit int64) *gate { return &gate{limit: limit} }

// enter takes n places, or none and returns false. One that is larger than the
// whole gate may enter an empty one, so that it can be served at all.
func (g *gate) enter(n int64) bool {
	now := g.inside.Add(n)
	if now <= g.limit || now == n {
		return true
	}
	g.inside.Add(-n)
	return false
}

func (g *gate) leave(n int64) { g.inside.Add(-n) }

// alwaysServed are the paths that answer also when the node is at its limits:
// an operator needs them most then.
var alwaysServed = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

// admit refuses requests over the limits of open requests and connections,
// before anything is read or looked up for them.
func (s *Server) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if alwaysServed[r.URL.Path] {
			next.ServeHTTP(w, r)
			return
		}
		if !s.drain.enter(r) {
			s.exchange(w, r).fail(kindOverloaded.newf("draining").with("reason", "draining"))
			return
		}
		defer s.drain.exit(r)
		if r.Context().Value(overLimitKey{}) != nil {
			w.Header().Set("Connection", "close")
			s.exchange(w, r).fail(kindOverloaded.newf("too many connections").
				with("reason", "connections").with("limit", s.conns.limit))
			return
		}
		if !s.open.enter(1) {
			s.exchange(w, r).fail(kindOverloaded.newf("too many open requests").
				with("reason", "open requests").with("limit", s.open.limit))
			return
		}
		defer s.open.leave(1)
		next.ServeHTTP(w, r)
	})
}

// overLimitKey marks the context of a connection that came over the limit.
type overLimitKey struct{}

// connContext runs before connState sees the same connection as new, on the
// goroutine that accepts.
func (s *Server) connContext(ctx context.Context, c net.Conn) context.Context {
	switch open := s.conns.inside.Load(); {
	case open >= 2*s.conns.limit:
		// Even a refusal costs a goroutine and buffers.
		_ = c.Close()
	case open >= s.conns.limit:
		return context.WithValue(ctx, overLimitKey{}, true)
	}
	return ctx
}

func (s *Server) connState(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.inside.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.conns.inside.Add(-1)
	}
}
