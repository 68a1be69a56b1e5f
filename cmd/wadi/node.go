package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/httpapi"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/ingest/wal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/stores"
	"github.com/wadilog/wadi/reader"
	"github.com/wadilog/wadi/tiering"
)

// node is one process: the parts, and the order in which they begin and end.
type node struct {
	options  nodeOptions
	logger   *slog.Logger
	bucket   objstore.Bucket
	catalog  *catalog.Catalog
	reader   *reader.Reader   // nil without that role
	ingester *ingest.Ingester // nil without that role

	collector     *tiering.Collector // nil without that role
	compactor     *tiering.Compactor // nil without that role, or with --compaction=off
	endCollecting context.CancelFunc // of both; set by run

	api   *httpapi.Server
	http  *http.Server  // of api
	takes chan struct{} // closed when http takes no connection any more
	peers *http.Server  // for other nodes, on a listener of its own

	draining    atomic.Bool
	awaitsStore atomic.Bool // it does not answer, and nothing was loaded yet
}

// outsideRuntime is what the runtime's limit leaves out at least: the pages of the
// program's code that are in memory, and the threads' stacks.
const outsideRuntime = 28 << 20

// runNode runs a node until ctx ends, then drains it. It returns nil if
// nothing that it held was left behind.
func runNode(ctx context.Context, o nodeOptions, logger *slog.Logger) error {
	debug.SetMemoryLimit(o.MemoryLimit - max(o.MemoryLimit/8, outsideRuntime))
	at, err := listen(ctx, o)
	if err != nil {
		return err
	}
	if o.Advertise == "" && loopback(at.peers.Addr()) && !loopback(at.clients.Addr()) {
		logger.Warn("other machines cannot reach this node; set --peer-listen", "peer_addr", at.peers.Addr().String())
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n, closeParts, err := buildNode(ctx, o, at.peers.Addr(), logger, reg)
	if err != nil {
		return errors.Join(err, at.close())
	}
	return errors.Join(n.run(ctx, at), closeParts())
}

// listeners are where a node is reached.
type listeners struct {
	clients net.Listener
	peers   net.Listener
}

func listen(ctx context.Context, o nodeOptions) (listeners, error) {
	var at listeners
	clients, err := listenForClients(ctx, o.Listen)
	if err != nil {
		return at, err
	}
	at.clients = clients
	if at.peers, err = net.Listen("tcp", o.PeerListen); err != nil {
		return at, errors.Join(fmt.Errorf("--peer-listen: %w", err), at.clients.Close())
	}
	return at, nil
}

func (at listeners) close() error { return errors.Join(at.clients.Close(), at.peers.Close()) }

// buildNode makes the parts and connects them; other nodes reach it at peerAddr.
// The function it returns releases what is held when the node has ended.
func buildNode(ctx context.Context, o nodeOptions, peerAddr net.Addr, logger *slog.Logger, reg *prometheus.Registry) (*node, func() error, error) {
	n := &node{options: o, logger: logger}
	var closers []func() error
	closeParts := func() error {
		var errs []error
		for i := len(closers) - 1; i >= 0; i-- {
			errs = append(errs, closers[i]())
		}
		return errors.Join(errs...)
	}
	fail := func(err error) (*node, func() error, error) {
		return nil, nil, errors.Join(err, closeParts())
	}

	storeOptions := stores.DefaultOptions()
	storeOptions.Registerer = reg
	bucket, closeBucket, err := stores.Open(ctx, o.Store, storeOptions)
	if err != nil {
		return fail(err)
	}
	closers = append(closers, closeBucket)
	n.bucket = bucket

	j, err := journal.New(journal.DefaultConfig(), bucket, "000", logger, reg)
	if err != nil {
		return fail(err)
	}
	client, peers, err := n.newPeers(reg)
	if err != nil {
		return fail(err)
	}
	closers = append(closers, func() error { client.Close(); return nil })
	n.peers = peers.HTTPServer()
	catalogConfig := catalog.DefaultConfig()
	catalogConfig.Address = o.peerAddress(peerAddr)
	catalogConfig.FeatureLevel = o.FeatureLevel
	if n.catalog, err = catalog.New(catalogConfig, j, client, logger, reg); err != nil {
		return fail(err)
	}
	var fetcher httpapi.Fetcher = noFetcher{n.catalog}
	if o.Reader {
		if n.reader, err = reader.New(o.readerConfig(), n.catalog, bucket, reg); err != nil {
			return fail(err)
		}
		closers = append(closers, func() error { n.reader.Close(); return nil })
		fetcher = n.reader
	}
	var producer httpapi.Producer = noProducer{}
	if o.Ingest {
		if n.ingester, err = n.newIngester(reg); err != nil {
			return fail(err)
		}
		closers = append(closers, n.ingester.Close)
		producer = httpapi.NewProducer(n.ingester)
	}
	if o.Tiering {
		if n.collector, err = tiering.NewCollector(o.collectorConfig(), n.catalog, bucket, logger, reg); err != nil {
			return fail(err)
		}
	}
	if o.Compaction {
		if n.compactor, err = tiering.NewCompactor(o.compactorConfig(), n.catalog, bucket, nodeTraffic{n.ingester}, logger, reg); err != nil {
			return fail(err)
		}
	}
	if n.api, err = httpapi.NewServer(o.apiConfig(), producer, fetcher, n.catalog, n, logger, reg); err != nil {
		return fail(err)
	}
	n.http = n.api.HTTPServer()
	return n, closeParts, nil
}

func (n *node) newIngester(reg *prometheus.Registry) (*ingest.Ingester, error) {
	cfg := tiering.DefaultUploaderConfig()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	uploader := tiering.NewUploader(cfg, n.bucket, n.logger, reg)
	var log *wal.Log
	var err error
	if n.options.WAL {
		cfg := wal.DefaultConfig()
		cfg.Dir = filepath.Join(n.options.DataDir, "wal")
		if log, err = wal.Create(cfg, uuid.New(), wal.OS{}, n.logger, reg); err != nil {
			return nil, fmt.Errorf("open the write-ahead buffer: %w", err)
		}
	}
	g, err := ingest.New(n.options.ingestConfig(), n.catalog, uploader, n.cache(), log, n.logger, reg)
	if err != nil && log != nil {
		err = errors.Join(err, log.Close())
	}
	return g, err
}

// cache takes what the ingester has just written.
func (n *node) cache() ingest.Warmer {
	if n.reader == nil {
		return noCache{}
	}
	return n.reader
}

// The memory limit is shared out: a quarter for records on their way in, a
// quarter (or --cache-bytes) for the caches, an eighth for loads from the
// store, an eighth for answers being written, a sixteenth for what streams decode
// at the moment; the rest is for encoding, uploads and the runtime.

func (o nodeOptions) ingestConfig() ingest.Config {
	cfg := ingest.DefaultConfig()
	cfg.FlushBytes = o.FlushBytes
	cfg.FlushInterval = o.FlushInterval
	cfg.PutBudget = o.PutBudget
	cfg.BufferBytesMax = max(o.MemoryLimit/4, o.FlushBytes)
	// Each check may unpack so much beside the body.
	cfg.ValidationsMax = int(max(1, o.MemoryLimit/4/int64(cfg.DecompressedBytesMax)))
	return cfg
}

func (o nodeOptions) collectorConfig() tiering.CollectorConfig {
	cfg := tiering.DefaultCollectorConfig()
	cfg.GarbageGrace = o.GarbageGrace
	return cfg
}

func (o nodeOptions) compactorConfig() tiering.CompactorConfig {
	cfg := tiering.DefaultCompactorConfig()
	cfg.MinAge = o.CompactionMinAge
	cfg.TargetBytes = o.CompactionTarget
	cfg.ExtentBytesMax = min(cfg.ExtentBytesMax, o.CompactionTarget)
	cfg.BytesPerSecond = o.CompactionRate
	cfg.BufferBytes = min(cfg.BufferBytes, o.MemoryLimit/16)
	cfg.ReadBytesMax = max(catalog.ExtentCRCLenMax, min(cfg.ReadBytesMax, o.MemoryLimit/128))
	return cfg
}

func (o nodeOptions) readerConfig() reader.Config {
	cfg := reader.DefaultConfig()
	cfg.RecentBytes = o.CacheBytes / 4
	cfg.ReplayCacheBytes = o.CacheBytes / 2
	cfg.CacheBytes = max(1<<20, o.CacheBytes-cfg.RecentBytes-cfg.ReplayCacheBytes)
	loads := o.MemoryLimit / 8
	cfg.Live.BytesMax = loads * 3 / 8
	cfg.Replay.BytesMax = loads - cfg.Live.BytesMax
	// A URL must not outlive what it reads.
	cfg.PresignValidity = min(cfg.PresignValidity, max(time.Second, o.GarbageGrace))
	if !o.Presign {
		cfg.PresignValidity = 0
	}
	return cfg
}

func (o nodeOptions) apiConfig() httpapi.Config {
	cfg := httpapi.DefaultConfig()
	cfg.Version = version
	cfg.AutoCreateTopics = o.AutoCreateTopics
	cfg.DefaultPartitions = o.AutoCreatePartitions
	cfg.RequestTimeout = o.RequestTimeout
	cfg.IdleTimeout = o.IdleTimeout
	cfg.AccessLog = o.AccessLog
	cfg.ConnectionsMax = o.connectionsMax(cfg.ConnectionsMax, openFilesMax())
	// A body, what is decoded from it and its batches share the budget for
	// records on their way in.
	body := min(cfg.JSONBodyBytesMax, o.ingestConfig().BufferBytesMax/4)
	cfg.JSONBodyBytesMax, cfg.BatchBodyBytesMax = body, body
	cfg.DecodersBytesMax = o.MemoryLimit / 8
	cfg.EncodersMax = int(o.MemoryLimit / 32 / httpapi.EncoderBytes)
	cfg.FetchedBytesMax = o.MemoryLimit / 8
	cfg.StreamedBytesMax = o.MemoryLimit / 16
	// Slow readers of all of them together may take an eighth.
	cfg.StreamsMax = min(cfg.StreamsMax, int(o.MemoryLimit/8/int64(2*cfg.StreamBufferBytes)))
	cfg.DecodingBytesMax = max(o.MemoryLimit/8, int64(cfg.DecompressedBytesMax))
	return cfg
}

const (
	// connectionBytes is about what an open connection takes up in memory.
	connectionBytes = 16 << 10
	// otherFiles are for the store, the write-ahead buffer and the peers.
	otherFiles = 512
)

// connectionsMax is how many connections are served. Twice as many may be open,
// those that are refused; and files for the rest of the node must be left.
func (o nodeOptions) connectionsMax(standard, files int) int {
	if o.ConnectionLimit > 0 {
		return o.ConnectionLimit
	}
	return max(1, min(standard, int(o.MemoryLimit/8/connectionBytes), (files-otherFiles)/2))
}

// run serves until ctx ends or a part cannot go on.
func (n *node) run(ctx context.Context, at listeners) error {
	// The parts outlive ctx: they are what drains.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, running := errgroup.WithContext(running)
	collecting, endCollecting := context.WithCancel(running)
	defer endCollecting()
	n.endCollecting = endCollecting
	if n.options.Pprof != "" {
		if err := servePprof(running, group, n.options.Pprof); err != nil {
			return errors.Join(err, at.close())
		}
	}
	n.peers.BaseContext = func(net.Listener) context.Context { return running }
	n.takes = make(chan struct{})
	group.Go(func() error {
		defer close(n.takes)
		return serveHTTP(n.http, at.clients)
	})
	group.Go(func() error { return serveHTTP(n.peers, at.peers) })
	group.Go(func() error {
		if err := n.probe(running); err != nil {
			return err
		}
		group.Go(func() error { return n.catalog.Run(running) })
		if n.ingester != nil {
			group.Go(func() error { return n.ingester.Run(running) })
		}
		for _, run := range n.background() {
			group.Go(func() error {
				if err := run(collecting); !errors.Is(err, context.Canceled) {
					return err
				}
				return nil // the rest of the node drains
			})
		}
		return n.announce(running, at.clients.Addr())
	})

	select {
	case <-ctx.Done():
	case <-running.Done():
	}
	drained := n.drain(running, at.clients)
	// Others are served until this node has handed over the lead.
	stop()
	drained = errors.Join(drained, stopPeers(n.peers))
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if left := n.leftBehind(); left != nil {
		// It says what matters of a drain that came to no end.
		drained = left
	}
	return errors.Join(err, drained)
}

// background is the work that a node does for the log as a whole.
func (n *node) background() (runs []func(context.Context) error) {
	if n.collector != nil {
		runs = append(runs, n.collector.Run)
	}
	if n.compactor != nil {
		runs = append(runs, n.compactor.Run)
	}
	return runs
}

func (n *node) announce(ctx context.Context, addr net.Addr) error {
	parts := []<-chan struct{}{n.catalog.Ready()}
	if n.ingester != nil {
		parts = append(parts, n.ingester.Ready())
	}
	for _, ready := range parts {
		select {
		case <-ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	n.logger.Info("node is ready", "addr", addr.String(), "store", n.options.Store)
	if n.options.Started != nil {
		n.options.Started(addr)
	}
	return nil
}

// Ready returns nil, or why the node should get no requests.
func (n *node) Ready() error {
	if n.draining.Load() {
		return errors.New("draining")
	}
	if n.awaitsStore.Load() {
		return errors.New("the object store does not answer")
	}
	select {
	case <-n.catalog.Ready():
	default:
		return errors.New("the catalog is being loaded")
	}
	if n.ingester == nil {
		return nil
	}
	select {
	case <-n.ingester.Ready():
		return nil
	default:
		return errors.New("the write-ahead buffer is being replayed")
	}
}

func serveHTTP(server *http.Server, listener net.Listener) error {
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// servePprof serves profiles on an address of their own.
func servePprof(ctx context.Context, group *errgroup.Group, addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	group.Go(func() error { return serveHTTP(server, listener) })
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return nil
}
