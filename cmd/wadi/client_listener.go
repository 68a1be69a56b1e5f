package main

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// clientListener takes the connections of clients. Its Close, which may be called
// again, leaves nobody behind who was let in before: the kernel completes
// connections on its own, and a load balancer sends its request at once. A listener
// that is simply closed resets those that were not accepted yet, and their senders
// cannot know whether the requests took effect. So Accept goes on to return them,
// and net.ErrClosed only after the last one.
type clientListener struct {
	net.Listener

	closing atomic.Bool
	mu      sync.Mutex
	closed  bool       // guarded by mu
	err     error      // of closing; guarded by mu
	waiting []net.Conn // complete when the listener closed, and not accepted yet; guarded by mu
}

func listenForClients(ctx context.Context, addr string) (*clientListener, error) {
	// Multipath TCP, which Go prefers, has no filters, and its listeners let others in
	// after they were shut.
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &clientListener{Listener: l}, nil
}

// Accept waits for a connection.
func (l *clientListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil || !l.closing.Load() {
		return c, err
	}
	l.mu.Lock() // until Close knows who is waiting
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil, net.ErrClosed
	}
	c, l.waiting = l.waiting[0], l.waiting[1:]
	return c, nil
}

// Close lets nobody in any more.
func (l *clientListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		l.closing.Store(true)
		l.waiting = letNobodyIn(l.Listener)
		l.err = l.Listener.Close()
	}
	return l.err
}
