package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// LinkState is what a network does to a link.
type LinkState int

const (
	Open         LinkState = iota
	Reset                  // connections are reset, new ones too
	Blackhole              // nothing passes either way; what was sent arrives late, when the link opens
	LoseAnswers            // requests arrive, and the answers never do
	LoseRequests           // nothing that is sent arrives, and the connections break in the end
	Slow                   // each piece that passes takes a while
)

func (s LinkState) String() string {
	return [...]string{"open", "reset", "blackhole", "lose answers", "lose requests", "slow"}[s]
}

const (
	// slowBy is how long a piece takes on a slow link.
	slowBy = 100 * time.Millisecond
	// linksMax bounds the connections of one proxy.
	linksMax = 1024
	// pieceBytes is how much passes a proxy at once.
	pieceBytes = 256 << 10
)

// Proxy stands between a client and a server on TCP and does what networks do.
// Its methods are safe for concurrent use.
type Proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	state   LinkState      // guarded by mu
	changed chan struct{}  // guarded by mu; closed when state changes
	links   map[*link]bool // guarded by mu
	closed  bool           // guarded by mu
}

// link is one connection and what it leads to.
type link struct {
	client, server net.Conn
	lossy          bool // guarded by the proxy's mu; something on it was lost
}

// NewProxy listens on listen for connections to target. Run serves them.
func NewProxy(listen, target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	return &Proxy{listener: listener, target: target, changed: make(chan struct{}), links: map[*link]bool{}}, nil
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Set changes what happens to the link. Connections on which something was lost
// break when the state that lost it ends.
func (p *Proxy) Set(s LinkState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == p.state {
		return
	}
	p.state = s
	close(p.changed)
	p.changed = make(chan struct{})
	for l := range p.links {
		if s == Reset || l.lossy {
			l.reset()
		}
	}
}

func (l *link) reset() {
	abort(l.client)
	abort(l.server)
}

// abort closes a connection by a reset.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// Run serves until ctx ends, and then breaks what is left.
func (p *Proxy) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		err := p.listener.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.closed = true
		for l := range p.links {
			l.reset()
		}
		return err
	})
	group.Go(func() error {
		for {
			conn, err := p.listener.Accept()
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("proxy to %s: %w", p.target, err)
			}
			group.Go(func() error {
				p.serve(ctx, conn)
				return nil
			})
		}
	})
	return group.Wait()
}

// serve passes bytes both ways until either side ends.
func (p *Proxy) serve(ctx context.Context, client net.Conn) {
	l := &link{client: client}
	// A connection that a blackhole swallows is not made before it opens.
	if !p.pass(ctx, l, false) {
		abort(client)
		return
	}
	server, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", p.target)
	if err != nil {
		abort(client)
		return
	}
	l.server = server
	if !p.add(l) {
		l.reset()
		return
	}
	defer p.remove(l)
	var both errgroup.Group
	both.Go(func() error { p.copy(ctx, l, l.server, l.client, false); return nil })
	both.Go(func() error { p.copy(ctx, l, l.client, l.server, true); return nil })
	_ = both.Wait()
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.state == Reset || len(p.links) >= linksMax {
		return false
	}
	p.links[l] = true
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
	_ = l.client.Close()
	_ = l.server.Close()
}

// copy passes bytes one way; answers are those of the server.
func (p *Proxy) copy(ctx context.Context, l *link, to, from net.Conn, answers bool) {
	piece := make([]byte, pieceBytes)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			if !p.pass(ctx, l, answers) {
				l.reset()
				return
			}
			if _, err := to.Write(piece[:n]); err != nil {
				l.reset()
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				l.reset()
				return
			}
			// One side has nothing more to say; it may still listen.
			if !p.pass(ctx, l, answers) {
				l.reset()
				return
			}
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
	}
}

// pass returns when something may pass, or that it never will.
func (p *Proxy) pass(ctx context.Context, l *link, answers bool) bool {
	for {
		p.mu.Lock()
		state, changed, closed := p.state, p.changed, p.closed
		lossy := state == LoseAnswers && answers || state == LoseRequests && !answers
		l.lossy = l.lossy || lossy
		p.mu.Unlock()
		switch {
		case closed || state == Reset:
			return false
		case state == Slow:
			return pause(ctx, slowBy) == nil
		case state == Blackhole || lossy:
			select {
			case <-changed:
				if lossy {
					return false
				}
			case <-ctx.Done():
				return false
			}
		default:
			return true
		}
	}
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
