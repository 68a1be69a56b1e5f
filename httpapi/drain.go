package httpapi

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// drain is how far a server is on its way out.
type drain struct {
	leaving  atomic.Bool  // each answer ends its connection
	refusing atomic.Bool  // requests that may change something get 503
	changes  atomic.Int64 // such requests that are being served
	latest   atomic.Int64 // when a request came last, in nanoseconds after begun
	begun    time.Time
}

// Leave makes each answer the last one of its connection, so that clients and
// load balancers, which keep connections, turn to other nodes. Everything is
// served as before.
func (s *Server) Leave() { s.drain.leaving.Store(true) }

// Refuse answers from now on with 503 to every request that may change something,
// before anything of it is read. Requests that are being served go on.
func (s *Server) Refuse() { s.drain.refusing.Store(true) }

// quietPoll is how often Quiet looks.
const quietPoll = 10 * time.Millisecond

// Quiet returns once no request that may change something is being served and no
// connection is open, or for d from now on no request of any kind came; or with ctx's
// error. Whoever ends the server after that meets no request that is on its way into
// one of the connections: net/http would throw it away unanswered, and its sender
// cannot know whether it took effect.
func (s *Server) Quiet(ctx context.Context, d time.Duration) error {
	begun := time.Since(s.drain.begun)
	tick := time.NewTicker(min(d, quietPoll))
	defer tick.Stop()
	for {
		silent := time.Since(s.drain.begun) - max(begun, time.Duration(s.drain.latest.Load()))
		if s.drain.changes.Load() == 0 && (silent >= d || s.conns.inside.Load() == 0) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// enter takes note of a request; false if it is refused. Each true one is
// followed by exit.
func (d *drain) enter(r *http.Request) bool {
	d.latest.Store(int64(time.Since(d.begun)))
	if reads(r) {
		return true
	}
	// Counted first: whoever sees no change after Refuse sees none later.
	d.changes.Add(1)
	if d.refusing.Load() {
		d.changes.Add(-1)
		return false
	}
	return true
}

func (d *drain) exit(r *http.Request) {
	if !reads(r) {
		d.changes.Add(-1)
	}
}

func reads(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.URL.Path == fetchPath
}
