package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// TestClientListenerLeavesNobodyBehind sends requests to a listener before anybody
// accepts, as happens on a busy machine, and closes it: each is answered.
func TestClientListenerLeavesNobodyBehind(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells who is waiting")
	}
	const clients = 20
	l, err := listenForClients(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var waiting []net.Conn
	for i := range clients {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "POST /%d HTTP/1.1\r\nHost: wadi\r\nContent-Length: 0\r\n\r\n", i); err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, c)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a connection to a closed listener: %v", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	})}
	if err := server.Serve(l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	for i, c := range waiting {
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		text, err := io.ReadAll(response.Body)
		if want := fmt.Sprintf("/%d", i); err != nil || string(text) != want {
			t.Errorf("client %d got %q, %v", i, text, err)
		}
	}
	if err := server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// TestClientListenerAmidAFlood closes a listener while many connect: who gets in is
// answered.
func TestClientListenerAmidAFlood(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells who is waiting")
	}
	for i := range 4 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			l, err := listenForClients(t.Context(), "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "close")
			})}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = server.Serve(l)
			}()
			answered := make(chan struct{}, 1)
			var clients sync.WaitGroup
			for range 8 {
				clients.Go(func() {
					for {
						c, err := net.Dial("tcp", l.Addr().String())
						if errors.Is(err, syscall.ECONNREFUSED) {
							return
						}
						if err == nil {
							err = ask(c)
						}
						if err != nil {
							t.Error(err)
							return
						}
						select {
						case answered <- struct{}{}:
						default:
						}
					}
				})
			}
			for range 100 * (i + 1) {
				<-answered
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			<-ended
			clients.Wait()
			_ = server.Close()
		})
	}
}

func ask(c net.Conn) error {
	defer c.Close()
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: wadi\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return err
	}
	_, err := http.ReadResponse(bufio.NewReader(c), nil)
	return err
}

// TestClientListenerEndsAccept closes a listener that somebody waits at.
func TestClientListenerEndsAccept(t *testing.T) {
	l, err := listenForClients(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			_ = c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF { // it was accepted: the next Accept waits, or will
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}
