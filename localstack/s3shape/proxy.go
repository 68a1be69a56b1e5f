package s3shape

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// idleMax is how long an unused connection is kept: shorter than stores do, so
	// that a client never meets a connection that is broken behind the proxy.
	idleMax = 10 * time.Second
	// dialTimeout bounds the setup of a connection to the store.
	dialTimeout = 5 * time.Second
	headBytes   = 16 << 10
)

// Proxy passes the requests of its clients on to a store.
type Proxy struct {
	upstream string // host:port
	fates    *fates
}

// New returns a proxy for the store at host:port.
func New(upstream string, shape Shape) (*Proxy, error) {
	if err := shape.Validate(); err != nil {
		return nil, err
	}
	if _, _, err := net.SplitHostPort(upstream); err != nil {
		return nil, err
	}
	return &Proxy{upstream: upstream, fates: newFates(shape)}, nil
}

// Run serves until ctx ends, and closes the listener.
func (p *Proxy) Run(ctx context.Context, listener net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		client, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return errors.Join(err, listener.Close())
		}
		connections.Go(func() { p.serve(ctx, client) })
	}
}

// peer is one end of a connection pair. What was read ahead of a body is in the
// reader, the rest of it comes from the connection itself.
type peer struct {
	net.Conn
	in  *bufio.Reader
	out *bufio.Writer
}

func newPeer(c net.Conn) *peer {
	return &peer{Conn: c, in: bufio.NewReaderSize(c, headBytes), out: bufio.NewWriterSize(c, headBytes)}
}

// serve answers the requests of one connection, one after the other, by way of
// one connection to the store. Any error ends both.
func (p *Proxy) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	dialer := net.Dialer{Timeout: dialTimeout}
	upstream, err := dialer.DialContext(ctx, "tcp", p.upstream)
	if err != nil {
		return
	}
	defer upstream.Close()
	defer context.AfterFunc(ctx, func() {
		_ = conn.Close()
		_ = upstream.Close()
	})()
	client, store := newPeer(conn), newPeer(upstream)
	for {
		if conn.SetReadDeadline(time.Now().Add(idleMax)) != nil {
			return
		}
		request, err := http.ReadRequest(client.in)
		if err != nil || conn.SetReadDeadline(time.Time{}) != nil {
			return
		}
		e := exchange{client: client, store: store, request: request, fate: p.fates.draw(kindOf(request))}
		if err := e.run(ctx); err != nil || e.last {
			return
		}
	}
}
