package inprocess

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
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
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/reader"
	"github.com/wadilog/wadi/tiering"
)

// Settings are those of one life of a node.
type Settings struct {
	Catalog  catalog.Config
	Reader   reader.Config
	Ingest   ingest.Config
	WAL      wal.Config
	Uploader tiering.UploaderConfig
	API      httpapi.Config
	// Collector and Compactor are used if Tiering is set: the role of that name.
	Collector tiering.CollectorConfig
	Compactor tiering.CompactorConfig
	Tiering   bool
}

// smallSettings make of few records many segments, files and snapshots.
func smallSettings() Settings {
	s := Settings{
		Catalog: catalog.DefaultConfig(), Reader: reader.DefaultConfig(), Ingest: ingest.DefaultConfig(), WAL: wal.DefaultConfig(),
		Uploader: tiering.DefaultUploaderConfig(), API: httpapi.DefaultConfig(), Collector: tiering.DefaultCollectorConfig(),
		Compactor: tiering.DefaultCompactorConfig(),
	}
	s.Catalog.SnapshotSlots = 12
	s.Reader.CacheBytes, s.Reader.RecentBytes = 1<<20, 64<<10
	s.WAL.BufferBytesMax, s.WAL.FileBytesMax, s.WAL.BytesMax = 64<<10, 128<<10, 4<<20
	s.Ingest.FlushBytes = 1 << 10
	s.Ingest.BufferBytesMax = 1 << 20
	return s
}

// Node is one node over all its lives: its ways to the store and to other nodes,
// its disk, and the life that runs at the moment, if one does.
type Node struct {
	Name  string            // also its address
	Store *faultstore.Store // its way to the bucket
	Reads *faultstore.Store // the reader's way, through Store
	Alone bool              // it knows of other nodes by the bucket alone
	Disk  *crashfs.FS       // nil without a write-ahead buffer

	// Adjust, if set, changes the settings of each life before it begins.
	Adjust func(s *Settings, rng *rand.Rand)

	network *catalogtest.Network // between nodes; it also holds frozen ones
	logger  *slog.Logger
	fail    func(error)

	mu   sync.Mutex
	life *Life // nil while the node is down; guarded by mu
}

// Life is one process of a node.
type Life struct {
	Catalog  *catalog.Catalog
	Ingester *ingest.Ingester
	Registry *prometheus.Registry

	handler http.Handler
	ended   chan struct{} // closed when nobody hears from it any more
	stop    func()        // returns when nothing of it runs

	requests sync.WaitGroup
}

// NewNode returns a node that is down. What ends by itself is told to fail, which
// may be called from any goroutine.
func NewNode(name string, bucket objstore.Bucket, network *catalogtest.Network, fail func(error)) *Node {
	n := &Node{Name: name, Store: faultstore.New(bucket), network: network, logger: slog.New(slog.DiscardHandler), fail: fail}
	n.Reads = faultstore.New(n.Store)
	// A frozen process neither sends nor sees an answer.
	n.Store.SetHook(func(string, string) { n.thaw() })
	n.Store.SetAfterHook(func(string, string) { n.thaw() })
	return n
}

// SetLogger takes the logs of later lives, which nobody hears otherwise.
func (n *Node) SetLogger(l *slog.Logger) { n.logger = l }

func (n *Node) thaw() { n.network.Thaw(n.Name) }

// Current is the life that runs, or nil.
func (n *Node) Current() *Life {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life
}

// visit returns the current life with one request more under way, or nil.
func (n *Node) visit() *Life {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life != nil {
		n.life.requests.Add(1) // before end, and so before stop waits
	}
	return n.life
}

// Start begins a life; it does not wait until that can serve.
func (n *Node) Start(rng *rand.Rand) {
	settings := smallSettings()
	settings.Catalog.Address = n.Name
	if n.Adjust != nil {
		n.Adjust(&settings, rng)
	}
	l, err := n.begin(settings)
	if err != nil {
		n.fail(fmt.Errorf("%s: start: %w", n.Name, err))
		return
	}
	n.network.Join(n.Name, l.Catalog)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.life = l
}

func (n *Node) begin(s Settings) (*Life, error) {
	l := &Life{ended: make(chan struct{}), Registry: prometheus.NewRegistry()}
	reg := l.Registry
	j, err := journal.New(journal.DefaultConfig(), n.Store, "000", n.logger, reg)
	if err != nil {
		return nil, err
	}
	var peers catalog.Peers
	if !n.Alone {
		peers = n.network.From(n.Name)
	}
	if l.Catalog, err = catalog.New(s.Catalog, j, peers, n.logger, reg); err != nil {
		return nil, err
	}
	r, err := reader.New(s.Reader, l.Catalog, n.Reads, reg)
	if err != nil {
		return nil, err
	}
	var log *wal.Log
	if n.Disk != nil {
		if log, err = wal.Create(s.WAL, uuid.New(), n.Disk, n.logger, reg); err != nil {
			return nil, err
		}
	}
	uploader := tiering.NewUploader(s.Uploader, n.Store, n.logger, reg)
	if l.Ingester, err = ingest.New(s.Ingest, l.Catalog, uploader, r, log, n.logger, reg); err != nil {
		return nil, err
	}
	if l.handler, err = httpapi.NewServer(s.API, httpapi.NewProducer(l.Ingester), r, l.Catalog, l, n.logger, reg); err != nil {
		return nil, err
	}
	parts := map[string]func(context.Context) error{"catalog": l.Catalog.Run, "ingest": l.Ingester.Run}
	if s.Tiering {
		collector, err := tiering.NewCollector(s.Collector, l.Catalog, n.Store, n.logger, reg)
		if err != nil {
			return nil, err
		}
		compactor, err := tiering.NewCompactor(s.Compactor, l.Catalog, n.Store, traffic{l.Ingester}, n.logger, reg)
		if err != nil {
			return nil, err
		}
		parts["collector"], parts["compactor"] = collector.Run, compactor.Run
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for name, run := range parts {
		running.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				n.fail(fmt.Errorf("%s: %s ended: %w", n.Name, name, err))
			}
		})
	}
	l.stop = func() {
		cancel()
		running.Wait()
		uploader.Wait()
		l.requests.Wait()
		r.Close()
	}
	return l, nil
}

// traffic tells the compactor whether a node's buffer is filling up.
type traffic struct{ ingester *ingest.Ingester }

func (t traffic) Busy() bool { return t.ingester.BufferShare() > 0.25 }

// Ready implements httpapi.Health; nobody asks.
func (l *Life) Ready() error { return nil }

// end takes the life away from its clients and returns it, or nil.
func (n *Node) end() *Life {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.life
	n.life = nil
	if l != nil {
		close(l.ended)
	}
	return l
}

// Crash ends a life as a power cut would.
func (n *Node) Crash(rng *rand.Rand) {
	l := n.end()
	if l == nil {
		return
	}
	n.network.Leave(n.Name)
	l.stop()
	if n.Disk != nil {
		n.Disk = n.Disk.Crash(rng)
	}
}

// Retire drains a life and ends it; what it cannot drain stays on its disk.
func (n *Node) Retire(rng *rand.Rand, within time.Duration) {
	l := n.Current()
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	err := l.Ingester.Drain(ctx)
	if resignErr := l.Catalog.Resign(ctx); resignErr != nil && ctx.Err() == nil {
		n.fail(fmt.Errorf("%s: resign: %w", n.Name, resignErr))
	}
	cancel()
	n.end()
	n.network.Leave(n.Name)
	l.stop()
	if n.Disk == nil {
		return
	}
	if err == nil {
		if err := l.Ingester.Close(); err != nil {
			n.fail(fmt.Errorf("%s: close: %w", n.Name, err))
		}
		return
	}
	n.Disk = n.Disk.Crash(rng)
}
