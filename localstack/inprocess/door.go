package inprocess

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// travelMax is the longest way of a request, and of an answer.
const travelMax = 5 * time.Millisecond

var errReset = errors.New("connection reset")

// Door carries requests of clients to nodes, by the host of their address.
type Door struct {
	nodes map[string]*Node

	mu    sync.Mutex
	rng   *rand.Rand // guarded by mu
	loses float64    // chance of a request, and of an answer, to be lost; guarded by mu
}

// NewDoor returns a door that loses nothing.
func NewDoor(rng *rand.Rand) *Door { return &Door{nodes: map[string]*Node{}, rng: rng} }

// Add opens the door to a node. Not beside RoundTrip.
func (d *Door) Add(n *Node) { d.nodes[n.Name] = n }

// SetLoss sets the chance of a request, and of an answer, to be lost.
func (d *Door) SetLoss(chance float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loses = chance
}

// draw draws whether something is lost, and how long it travels.
func (d *Door) draw() (lost bool, travels time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Float64() < d.loses, time.Duration(d.rng.Int64N(int64(travelMax)))
}

// RoundTrip implements http.RoundTripper.
func (d *Door) RoundTrip(r *http.Request) (*http.Response, error) {
	n := d.nodes[r.URL.Host]
	l := n.visit()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s: connection refused", n.Name)}
	}
	ctx, cancel := context.WithCancel(r.Context())
	w := newWire(ctx, cancel, n, l)
	go func() {
		defer l.requests.Done()
		lost, travels := d.draw()
		time.Sleep(travels)
		if !lost {
			n.thaw()
		}
		if lost || !serve(l.handler, w, r) {
			close(w.broken)
			return
		}
		n.thaw()
		w.finish()
	}()
	select {
	case <-l.ended:
	case <-w.broken:
	case <-w.begun:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	lost, travels := d.draw()
	time.Sleep(travels)
	select {
	case <-w.begun:
	default:
		lost = true
	}
	if lost {
		cancel()
		return nil, errReset
	}
	return w.response(r), nil
}

// serve returns false if the answer broke off.
func serve(h http.Handler, w *wire, r *http.Request) (whole bool) {
	defer func() {
		if cause := recover(); cause != nil && cause != http.ErrAbortHandler {
			panic(cause)
		}
	}()
	inbound := httptest.NewRequestWithContext(w.ctx, r.Method, r.URL.RequestURI(), r.Body)
	inbound.Header, inbound.ContentLength = r.Header, r.ContentLength
	h.ServeHTTP(w, inbound)
	return true
}
