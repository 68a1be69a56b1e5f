package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/peerhttp"
)

// peerShare is the part of the memory limit that forwards of other nodes may
// take up while they wait for the store.
const peerShare = 16

// peerStopTimeout bounds how long other nodes' last requests take once the
// catalog has stopped.
const peerStopTimeout = time.Second

func (o nodeOptions) peerConfig() peerhttp.Config {
	cfg := peerhttp.DefaultConfig()
	cfg.ForwardedBytesMax = min(cfg.ForwardedBytesMax, o.MemoryLimit/peerShare)
	return cfg
}

// peerAddress is the URL at which other nodes reach this one.
func (o nodeOptions) peerAddress(listening net.Addr) string {
	if o.Advertise != "" {
		return o.Advertise
	}
	return "http://" + listening.String()
}

// unspecified tells whether a host:port to listen on names no host that could be
// asked: 0.0.0.0, ::, or nothing.
func unspecified(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// loopback tells whether an address is reached from its own machine only.
func loopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// identity is what this node shows to others, and they to it. The cluster's id is
// in the bucket alone: no resource of the public API, no log and no metric has it.
func (n *node) identity() (peerhttp.Token, bool) {
	view := n.catalog.View()
	if view == nil {
		return "", false
	}
	return peerhttp.NewToken(view.ClusterID(), n.options.PeerSecret), true
}

// newPeers makes both sides of what nodes ask of each other. Neither is used
// before n.catalog is set.
func (n *node) newPeers(reg prometheus.Registerer) (*peerhttp.Client, *peerhttp.Server, error) {
	cfg := n.options.peerConfig()
	client, err := peerhttp.NewClient(cfg, n.identity, reg)
	if err != nil {
		return nil, nil, err
	}
	server, err := peerhttp.NewServer(cfg, servedCatalog{n}, n.identity, n.logger, reg)
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return client, server, nil
}

// servedCatalog is the node's catalog, which is made after its peers.
type servedCatalog struct{ *node }

func (c servedCatalog) ServeForward(ctx context.Context, r catalog.ForwardRequest) (catalog.ForwardAnswer, error) {
	return c.catalog.ServeForward(ctx, r)
}

func (c servedCatalog) ServePull(ctx context.Context, r catalog.PullRequest) (catalog.PullAnswer, error) {
	return c.catalog.ServePull(ctx, r)
}

func (c servedCatalog) ServeKeep(ctx context.Context, r catalog.KeepRequest) (catalog.KeepAnswer, error) {
	return c.catalog.ServeKeep(ctx, r)
}

// stopPeers ends the peer listener and what is asked through it, once the
// catalog answers nothing any more.
func stopPeers(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), peerStopTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return server.Close()
}
