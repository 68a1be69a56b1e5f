package peerhttp

import (
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// Config bounds what nodes take from each other, and how long they wait.
type Config struct {
	// ForwardsMax bounds the forwards that are served at a time, and
	// ForwardedBytesMax the bytes of their bodies. Beyond either they are
	// refused as catalog.ErrBusy.
	ForwardsMax       int
	ForwardedBytesMax int64
	// PullsMax bounds the pulls that are served at a time, waiting ones included.
	// Beyond it they are refused as catalog.ErrBusy.
	PullsMax int
	// KeepsMax bounds the requests with heartbeats that are served at a time.
	// Beyond it they are refused as catalog.ErrBusy.
	KeepsMax int
	// PullWaitMax bounds how long one pull waits for an entry.
	PullWaitMax time.Duration

	// ReadHeaderTimeout bounds the reading of a request's headers, BodyTimeout that
	// of its body, WriteTimeout the writing of an answer once it is known, and
	// IdleTimeout the life of an idle connection.
	ReadHeaderTimeout time.Duration
	BodyTimeout       time.Duration
	WriteTimeout      time.Duration
	IdleTimeout       time.Duration
	// HeaderBytesMax bounds the headers of a request and of an answer.
	HeaderBytesMax int
	// ConnectionsMax bounds the open connections. Beyond it they are closed.
	ConnectionsMax int

	// DialTimeout bounds how long a connection to another node may take.
	DialTimeout time.Duration
	// PeerConnectionsMax bounds the connections to one node; requests wait for
	// one. IdleConnectionsMax bounds those to one node that are kept for later.
	PeerConnectionsMax int
	IdleConnectionsMax int
}

// DefaultConfig returns the values that production uses.
func DefaultConfig() Config {
	return Config{
		ForwardsMax:       256,
		ForwardedBytesMax: 32 << 20,
		PullsMax:          512,
		KeepsMax:          256,
		PullWaitMax:       time.Minute,

		ReadHeaderTimeout: 10 * time.Second,
		BodyTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HeaderBytesMax:    16 << 10,
		ConnectionsMax:    2048,

		DialTimeout:        time.Second,
		PeerConnectionsMax: 64,
		IdleConnectionsMax: 16,
	}
}

// Validate tells what is wrong with c.
func (c Config) Validate() error {
	for _, p := range []struct {
		name  string
		value int64
	}{
		{"ForwardsMax", int64(c.ForwardsMax)},
		{"PullsMax", int64(c.PullsMax)},
		{"KeepsMax", int64(c.KeepsMax)},
		{"PullWaitMax", int64(c.PullWaitMax)},
		{"ReadHeaderTimeout", int64(c.ReadHeaderTimeout)},
		{"BodyTimeout", int64(c.BodyTimeout)},
		{"WriteTimeout", int64(c.WriteTimeout)},
		{"IdleTimeout", int64(c.IdleTimeout)},
		{"HeaderBytesMax", int64(c.HeaderBytesMax)},
		{"ConnectionsMax", int64(c.ConnectionsMax)},
		{"DialTimeout", int64(c.DialTimeout)},
		{"PeerConnectionsMax", int64(c.PeerConnectionsMax)},
		{"IdleConnectionsMax", int64(c.IdleConnectionsMax)},
	} {
		if p.value <= 0 {
			return fmt.Errorf("peerhttp: %s must be positive, not %d", p.name, p.value)
		}
	}
	if c.ForwardedBytesMax < catalog.ForwardBytesMax+messageOverheadMax {
		return fmt.Errorf("peerhttp: ForwardedBytesMax of %d cannot hold one forward", c.ForwardedBytesMax)
	}
	return nil
}
