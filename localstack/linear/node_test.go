package linear_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/catalogtest"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/httpapi"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/ingest/wal"
	"github.com/wadilog/wadi/ingest/wal/crashfs"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/reader"
	"github.com/wadilog/wadi/tiering"
)

// node is one of the world's nodes over all its lives: its ways to the store and
// to other nodes, its disk, and the process that runs at the moment, if one does.
type node struct {
	t       *testing.T
	name    string               // also its address
	store   *faultstore.Store    // its way to the bucket
	reads   *faultstore.Store    // the reader's way, through store
	network *catalogtest.Network // between nodes; it also holds frozen ones
	alone   bool                 // it knows of other nodes by the bucket alone
	disk    *crashfs.FS          // nil without a write-ahead buffer
	logger  *slog.Logger

	mu   sync.Mutex
	life *life // nil while the node is down; guarded by mu
}

// life is one process of a node.
type life struct {
	catalog  *catalog.Catalog
	ingester *ingest.Ingester
	handler  http.Handler
	ended    chan struct{} // closed when nobody hears from it any more
	stop     func()        // returns when nothing of it runs

	requests sync.WaitGroup
}

func newNode(t *testing.T, name string, bucket *memstore.Store, network *catalogtest.Network) *node {
	n := &node{t: t, name: name, store: faultstore.New(bucket), network: network, logger: slog.New(slog.DiscardHandler)}
	n.reads = faultstore.New(n.store)
	// A frozen process neither sends nor sees an answer.
	n.store.SetHook(func(string, string) { n.thaw() })
	n.store.SetAfterHook(func(string, string) { n.thaw() })
	return n
}

func (n *node) thaw() { n.network.Thaw(n.name) }

func (n *node) current() *life {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life
}

// visit returns the current life with one request more under way, or nil.
func (n *node) visit() *life {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life != nil {
		n.life.requests.Add(1) // before end, and so before stop waits
	}
	return n.life
}

// start begins a life; it does not wait until that can serve.
func (n *node) start(rng *rand.Rand) {
	l := &life{ended: make(chan struct{})}
	reg := prometheus.NewRegistry()
	must := func(err error) {
		if err != nil {
			n.t.Errorf("%s: start: %v", n.name, err)
			panic(err)
		}
	}
	j, err := journal.New(journal.DefaultConfig(), n.store, "000", n.logger, reg)
	must(err)
	catalogConfig := catalog.DefaultConfig()
	catalogConfig.Address = n.name
	catalogConfig.SnapshotSlots = 12
	var peers catalog.Peers
	if !n.alone {
		peers = n.network.From(n.name)
	}
	l.catalog, err = catalog.New(catalogConfig, j, peers, n.logger, reg)
	must(err)

	readerConfig := reader.DefaultConfig()
	readerConfig.CacheBytes, readerConfig.RecentBytes = 1<<20, 64<<10
	r, err := reader.New(readerConfig, l.catalog, n.reads, reg)
	must(err)

	var log *wal.Log
	if n.disk != nil {
		cfg := wal.DefaultConfig()
		cfg.BufferBytesMax, cfg.FileBytesMax, cfg.BytesMax = 64<<10, 128<<10, 4<<20
		log, err = wal.Create(cfg, uuid.New(), n.disk, n.logger, reg)
		must(err)
	}
	ingestConfig := ingest.DefaultConfig()
	ingestConfig.FlushBytes = 1 << 10
	ingestConfig.FlushInterval = time.Duration(10+rng.IntN(200)) * time.Millisecond
	ingestConfig.BufferBytesMax = 1 << 20
	uploader := tiering.NewUploader(tiering.DefaultUploaderConfig(), n.store, n.logger, reg)
	l.ingester, err = ingest.New(ingestConfig, l.catalog, uploader, r, log, n.logger, reg)
	must(err)

	apiConfig := httpapi.DefaultConfig()
	apiConfig.RequestTimeout = time.Duration(500+rng.IntN(4000)) * time.Millisecond
	l.handler, err = httpapi.NewServer(apiConfig, httpapi.NewProducer(l.ingester), r, l.catalog, l, n.logger, reg)
	must(err)

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		running.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				n.t.Errorf("%s: %s ended: %v", n.name, name, err)
			}
		})
	}
	part("catalog", l.catalog.Run)
	part("ingest", l.ingester.Run)
	l.stop = func() {
		cancel()
		running.Wait()
		uploader.Wait()
		l.requests.Wait()
		r.Close()
	}
	n.network.Join(n.name, l.catalog)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.life = l
}

// Ready implements httpapi.Health; nobody asks.
func (l *life) Ready() error { return nil }

// end takes the process away from its clients and returns it, or nil.
func (n *node) end() *life {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.life
	n.life = nil
	if l != nil {
		close(l.ended)
	}
	return l
}

// crash ends a life as a power cut would.
func (n *node) crash(rng *rand.Rand) {
	l := n.end()
	if l == nil {
		return
	}
	n.network.Leave(n.name)
	l.stop()
	if n.disk != nil {
		n.disk = n.disk.Crash(rng)
	}
}

// retire drains a life and ends it; what it cannot drain stays on its disk.
func (n *node) retire(rng *rand.Rand, within time.Duration) {
	l := n.current()
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	err := l.ingester.Drain(ctx)
	if resignErr := l.catalog.Resign(ctx); resignErr != nil && ctx.Err() == nil {
		n.t.Errorf("%s: resign: %v", n.name, resignErr)
	}
	cancel()
	n.end()
	n.network.Leave(n.name)
	l.stop()
	if n.disk == nil {
		return
	}
	if err == nil {
		if err := l.ingester.Close(); err != nil {
			n.t.Errorf("%s: close: %v", n.name, err)
		}
		return
	}
	n.disk = n.disk.Crash(rng)
}

// frontDoor carries requests of clients to nodes, by the host of their address.
type frontDoor struct {
	nodes map[string]*node

	mu    sync.Mutex
	rng   *rand.Rand // guarded by mu
	loses float64    // chance of a request, and of an answer, to be lost; guarded by mu
}

// draw draws whether something is lost, and how long it travels.
func (d *frontDoor) draw() (lost bool, travels time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Float64() < d.loses, time.Duration(d.rng.Int64N(int64(5 * time.Millisecond)))
}

func (d *frontDoor) setLoss(chance float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loses = chance
}

var errReset = errors.New("connection reset")

// RoundTrip implements http.RoundTripper.
func (d *frontDoor) RoundTrip(r *http.Request) (*http.Response, error) {
	n := d.nodes[r.URL.Host]
	l := n.visit()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s: connection refused", n.name)}
	}
	answered := make(chan *http.Response, 1)
	go func() {
		defer l.requests.Done()
		defer close(answered)
		lost, travels := d.draw()
		time.Sleep(travels)
		if lost {
			return
		}
		n.thaw()
		response := serve(l.handler, r)
		n.thaw()
		lost, travels = d.draw()
		time.Sleep(travels)
		if !lost && response != nil {
			answered <- response
		}
	}()
	select {
	case <-l.ended:
		return nil, errReset
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case response := <-answered:
		if response == nil {
			return nil, errReset
		}
		return response, nil
	}
}

// serve returns nil if the answer broke off.
func serve(h http.Handler, r *http.Request) (response *http.Response) {
	defer func() {
		if cause := recover(); cause != nil && cause != http.ErrAbortHandler {
			panic(cause)
		}
	}()
	inbound := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.RequestURI(), r.Body)
	inbound.Header, inbound.ContentLength = r.Header, r.ContentLength
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, inbound)
	return recorder.Result()
}
