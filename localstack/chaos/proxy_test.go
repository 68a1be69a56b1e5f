package chaos

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// lineServer answers each line with itself, and keeps what it got.
type lineServer struct {
	listener net.Listener
	group    errgroup.Group

	mu  sync.Mutex
	got []string // guarded by mu
}

func newLineServer(t *testing.T) *lineServer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &lineServer{listener: listener}
	s.group.Go(func() error {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return nil
			}
			s.group.Go(func() error {
				defer conn.Close()
				for lines := bufio.NewReader(conn); ; {
					line, err := lines.ReadString('\n')
					if err != nil {
						return nil
					}
					s.mu.Lock()
					s.got = append(s.got, line)
					s.mu.Unlock()
					if _, err := io.WriteString(conn, line); err != nil {
						return nil
					}
				}
			})
		}
	})
	return s
}

func (s *lineServer) has(line string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, got := range s.got {
		if got == line {
			return true
		}
	}
	return false
}

// proxied is a server behind a proxy, and clients of it.
type proxied struct {
	t      *testing.T
	server *lineServer
	proxy  *Proxy
}

func newProxied(t *testing.T) *proxied {
	p := &proxied{t: t, server: newLineServer(t)}
	var err error
	if p.proxy, err = NewProxy("127.0.0.1:0", p.server.listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running errgroup.Group
	running.Go(func() error { return p.proxy.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(running.Wait(), p.server.listener.Close(), p.server.group.Wait()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// line is a connection through the proxy.
type line struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (p *proxied) dial() *line {
	conn, err := net.Dial("tcp", p.proxy.Address())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return &line{t: p.t, conn: conn, in: bufio.NewReader(conn)}
}

func (l *line) say(text string) { _, _ = io.WriteString(l.conn, text) }

// hears waits for an answer.
func (l *line) hears(want string) {
	l.t.Helper()
	_ = l.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := l.in.ReadString('\n'); got != want {
		l.t.Errorf("heard %q (%v), expected %q", got, err, want)
	}
}

// hearsNothing gives a wrong answer some time to come.
func (l *line) hearsNothing() {
	l.t.Helper()
	_ = l.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	var timeout net.Error
	if got, err := l.in.ReadString('\n'); got != "" || !errors.As(err, &timeout) || !timeout.Timeout() {
		l.t.Errorf("heard %q (%v), expected nothing", got, err)
	}
}

// breaks waits for the end of the connection.
func (l *line) breaks() {
	l.t.Helper()
	_ = l.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	got, err := l.in.ReadString('\n')
	var timeout net.Error
	if got != "" || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		l.t.Errorf("heard %q (%v) where the connection should break", got, err)
	}
}

func (p *proxied) await(what string, done func() bool) {
	p.t.Helper()
	deadline, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	for !done() {
		if pause(deadline, time.Millisecond) != nil {
			p.t.Fatal(what)
		}
	}
}

func TestProxyPasses(t *testing.T) {
	p := newProxied(t)
	for _, state := range []LinkState{Open, Slow} {
		p.proxy.Set(state)
		l := p.dial()
		for _, text := range []string{"one\n", "two\n"} {
			l.say(text)
			l.hears(text)
		}
	}
}

func TestProxyResets(t *testing.T) {
	p := newProxied(t)
	old := p.dial()
	old.say("before\n")
	old.hears("before\n")
	p.proxy.Set(Reset)
	old.breaks()
	if conn, err := net.Dial("tcp", p.proxy.Address()); err == nil { // else it was reset at once
		fresh := &line{t: t, conn: conn, in: bufio.NewReader(conn)}
		fresh.say("meanwhile\n")
		fresh.breaks()
		_ = conn.Close()
	}
	p.proxy.Set(Open)
	l := p.dial()
	l.say("after\n")
	l.hears("after\n")
	if p.server.has("meanwhile\n") {
		t.Error("something passed a link that resets")
	}
}

func TestProxyBlackholeDeliversLate(t *testing.T) {
	p := newProxied(t)
	old := p.dial()
	old.say("before\n")
	old.hears("before\n")
	p.proxy.Set(Blackhole)
	fresh := p.dial()
	old.say("old\n")
	fresh.say("fresh\n")
	old.hearsNothing()
	fresh.hearsNothing()
	p.proxy.Set(Open)
	old.hears("old\n")
	fresh.hears("fresh\n")
}

func TestProxyLosesAnswers(t *testing.T) {
	p := newProxied(t)
	l := p.dial()
	l.say("before\n")
	l.hears("before\n")
	p.proxy.Set(LoseAnswers)
	l.say("arrives\n")
	p.await("the answer does not get to the proxy", func() bool {
		p.proxy.mu.Lock()
		defer p.proxy.mu.Unlock()
		for l := range p.proxy.links {
			return l.lossy
		}
		return false
	})
	if !p.server.has("arrives\n") {
		t.Error("a request was lost, not its answer")
	}
	p.proxy.Set(Open)
	l.breaks()
}

func TestProxyLosesRequests(t *testing.T) {
	p := newProxied(t)
	l := p.dial()
	l.say("before\n")
	l.hears("before\n")
	p.proxy.Set(LoseRequests)
	l.say("lost\n")
	other := p.dial()
	other.say("lost\n")
	// Whether the pieces are with the proxy yet cannot be seen; when the link
	// opens, they either were lost or pass as if they had been sent later.
	p.proxy.Set(Reset)
	l.breaks()
	other.breaks()
	if p.server.has("lost\n") {
		t.Error("a lost request arrived")
	}
}
