package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/semaphore"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/reader"
)

// Producer takes records in. NewProducer makes one of an *ingest.Ingester.
type Producer interface {
	// Reserve takes n bytes of the node's budget, or returns an *ingest.OverloadedError at once.
	Reserve(n int64) (Reservation, error)
	ProduceRecords(ctx context.Context, topic *catalog.Topic, records []ingest.Record, opts ingest.Options) ([]ingest.Result, error)
	ProduceBatches(ctx context.Context, topic *catalog.Topic, partition int32, body []byte, opts ingest.Options) ([]ingest.Result, error)
}

// Reservation is a share of the node's byte budget; *ingest.Reservation is one.
type Reservation interface {
	Grow(n int64) error
	Release()
}

// Fetcher gives records out; *reader.Reader is one.
type Fetcher interface {
	Fetch(ctx context.Context, q reader.Query) (reader.Fetched, error)
	Bounds(ctx context.Context, tp catalog.TopicPartition) (reader.Bounds, error)
	OffsetAtTime(ctx context.Context, tp catalog.TopicPartition, ms int64) (catalog.Offset, int64, bool, error)
	Manifest(ctx context.Context, q reader.ManifestQuery) (reader.Manifest, error)
	// Await waits for some of several partitions, as a Fetch does for one.
	Await(ctx context.Context, positions []catalog.PartitionOffset, minBytes int64, maxWait time.Duration) error
}

// memberSegment is {member} where no :verb may follow: a path that has one is
// another resource, which does not have the methods of this one.
const memberSegment = "{member:[^:]*}"

// fetchPath reads like any GET does, although it is a POST.
const fetchPath = "/v1/fetch"

// Topics is the catalog; *catalog.Catalog is one.
type Topics interface {
	// View may be far behind: a node takes acks=1 while the store is away.
	View() *catalog.State
	Recent(ctx context.Context) (*catalog.State, error)
	Confirm(ctx context.Context) (*catalog.State, error)
	Propose(ctx context.Context, e catalog.Edit) (catalog.Result, error)
	// KeepMember renews the lease of a group's member.
	KeepMember(ctx context.Context, group, member string, epoch int64) error
	// WaitMember returns nil once the member is gone or has another epoch.
	WaitMember(ctx context.Context, group, member string, epoch int64) error
}

// Health tells whether the node should get requests.
type Health interface {
	// Ready returns nil, or why not: still loading, draining.
	Ready() error
}

type ingester struct{ *ingest.Ingester }

// NewProducer makes a Producer of an ingester.
func NewProducer(g *ingest.Ingester) Producer { return ingester{g} }

func (g ingester) Reserve(n int64) (Reservation, error) {
	r, err := g.Ingester.Reserve(n)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Server answers the HTTP API. It is an http.Handler; HTTPServer gives the
// http.Server that it should run in.
type Server struct {
	cfg      Config
	producer Producer
	fetcher  Fetcher
	topics   Topics
	health   Health
	logger   *slog.Logger
	metrics  *metrics

	router  chi.Router
	open    *gate // requests being served
	conns   *gate // connections
	fetched *gate // bytes of batches in answers that are being written
	streams *gate // streams that are open

	decoders *gate // bytes that decoders of bodies take up
	encoders *gate // answers that are being encoded

	decoding  *semaphore.Weighted // bytes of decompressed records
	streaming *semaphore.Weighted // bytes of batches in rounds of streams

	drain drain

	altering chan struct{} // has room for one, from reading a topic's settings until their change is committed
}

// NewServer wires the API up. It starts nothing.
func NewServer(cfg Config, producer Producer, fetcher Fetcher, topics Topics, health Health, logger *slog.Logger, reg *prometheus.Registry) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if producer == nil || fetcher == nil || topics == nil || health == nil {
		return nil, errors.New("httpapi: producer, fetcher, topics and health are all needed")
	}
	s := &Server{
		cfg:       cfg,
		producer:  producer,
		fetcher:   fetcher,
		topics:    topics,
		health:    health,
		logger:    logger,
		open:      newGate(int64(cfg.OpenRequestsMax)),
		conns:     newGate(int64(cfg.ConnectionsMax)),
		fetched:   newGate(cfg.FetchedBytesMax),
		streams:   newGate(int64(cfg.StreamsMax)),
		decoders:  newGate(cfg.DecodersBytesMax),
		encoders:  newGate(int64(cfg.EncodersMax)),
		decoding:  semaphore.NewWeighted(cfg.DecodingBytesMax),
		streaming: semaphore.NewWeighted(cfg.StreamedBytesMax),
		drain:     drain{begun: time.Now()},
		altering:  make(chan struct{}, 1),
	}
	s.metrics = newMetrics(reg, s)
	s.router = s.routes(promhttp.HandlerFor(reg, promhttp.HandlerOpts{DisableCompression: true}))
	return s, nil
}

func (s *Server) routes(metrics http.Handler) chi.Router {
	r := chi.NewRouter()
	r.Use(s.observe, s.admit, middleware.GetHead)
	r.NotFound(s.handleBody(func(x *exchange) error {
		return kindNotFound.newf("%s is no resource of this API", strings.ToValidUTF8(x.r.URL.Path, "\uFFFD"))
	}))
	r.MethodNotAllowed(s.handleBody(s.methodNotAllowed))

	r.Get("/healthz", s.handle(s.healthz))
	r.Get("/readyz", s.handle(s.readyz))
	r.Get("/metrics", s.handle(func(x *exchange) error {
		metrics.ServeHTTP(x.w, x.r)
		return nil
	}))

	r.Get("/openapi.yaml", s.handle(s.serveDocument(sync.OnceValues(func() (document, error) { return newOpenAPI(s.cfg.Version), nil }))))
	r.Get("/docs", s.handle(s.serveDocument(sync.OnceValues(func() (document, error) { return newDocsPage(s.cfg.Version) }))))

	r.Get("/v1/topics", s.handle(s.listTopics))
	r.Put("/v1/topics/{topic}", s.handleBody(s.createTopic))
	r.Get("/v1/topics/{topic}", s.handle(s.getTopic))
	r.Patch("/v1/topics/{topic}", s.handleBody(s.alterTopic))
	r.Delete("/v1/topics/{topic}", s.handle(s.deleteTopic))
	r.Post("/v1/topics/{topic}/records", s.handleBody(s.produce))
	r.Post("/v1/topics/{topic}/partitions/{partition}/records", s.handleBody(s.produce))
	r.Get("/v1/topics/{topic}/partitions/{partition}/records", s.handle(s.fetch))
	r.Delete("/v1/topics/{topic}/partitions/{partition}/records", s.handle(s.trim))
	r.Get("/v1/topics/{topic}/partitions/{partition}/offsets", s.handle(s.offsets))
	r.Get("/v1/topics/{topic}/partitions/{partition}/manifest", s.handle(s.manifest))
	r.Get("/v1/topics/{topic}/partitions/{partition}/fence", s.handle(s.getFence))
	r.Put("/v1/topics/{topic}/partitions/{partition}/fence", s.handleBody(s.setFence))
	r.Post(fetchPath, s.handleBody(s.fetchMany))
	r.Get("/v1/groups", s.handle(s.listGroups))
	r.Get("/v1/groups/{group}", s.handle(s.describeGroup))
	r.Delete("/v1/groups/{group}", s.handle(s.deleteGroup))
	r.Get("/v1/groups/{group}/offsets", s.handle(s.groupOffsets))
	r.Put("/v1/groups/{group}/offsets", s.handleBody(s.setGroupOffsets))
	r.Post("/v1/groups/{group}/members", s.handleBody(s.joinGroup))
	r.Delete("/v1/groups/{group}/members/"+memberSegment, s.handle(s.leaveGroup))
	r.Post("/v1/groups/{group}/members/{member}:heartbeat", s.handleBody(s.heartbeat))
	r.Post("/v1/groups/{group}/members/{member}:poll", s.handleBody(s.pollGroup))
	r.Post("/v1/producers", s.handleBody(s.allocateProducer))
	return r
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

// HTTPServer returns a server for s with the timeouts and limits of its Config.
// It has no address; the caller listens and calls Serve.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.cfg.ReadHeaderTimeout,
		IdleTimeout:       s.cfg.IdleTimeout,
		MaxHeaderBytes:    s.cfg.HeaderBytesMax,
		ConnContext:       s.connContext,
		ConnState:         s.connState,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
}

func (s *Server) methodNotAllowed(x *exchange) error {
	path := x.r.URL.RawPath
	if path == "" {
		path = x.r.URL.Path
	}
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		if s.router.Match(chi.NewRouteContext(), method, path) {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 { // a method that HTTP does not know, on a path that is none
		return kindNotFound.newf("%s is no resource of this API", strings.ToValidUTF8(x.r.URL.Path, "\uFFFD"))
	}
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	return kindMethodNotAllowed.newf("this resource has %s", strings.Join(allowed, ", ")).
		with("allowed", allowed).
		withHeader("Allow", strings.Join(allowed, ", "))
}
