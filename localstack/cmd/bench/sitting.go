package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/wadilog/wadi/internal/objstore/stores"
	"github.com/wadilog/wadi/localstack"
)

// The loads. What they have in common is in produceArgs.
const (
	saturating     = 48 // requests of 1 MiB in flight that fill the node
	saturatingText = 32 // likewise of JSON, which takes up more of the node's budget than its bytes
	idleRate       = 20 // single requests per second that leave it idle
	backgroundRate = 40 // MiB per second of uploads beside acks=1
	manyClients    = 64
	replayers      = 8  // one for each partition, so that they pass through shared segments together
	warmRate       = 24 // MiB per second, for warmFor: about 48 MiB, which the cache holds
	warmFor        = 2 * time.Second

	shapedInFlight = 16 // raw requests of a store whose own time does not count

	slotsOfGoal = 10_000 // that the goal for start-up speaks of
)

// Topics of a round.
const (
	historyTopic = "history"
	warmTopic    = "warm"
	singlesTopic = "singles"
	textTopic    = "text"
)

// sitting is one run of the command: a MinIO, and what was measured so far.
type sitting struct {
	options    options
	dir        string
	minio      *localstack.MinIO
	shape      *localstack.S3Shape // in front of it, if any
	figures    figures
	histograms histograms
	notes      []string
	progress   io.Writer
	pprof      string // address of the current node's profiles, if they are wanted
	number     int    // of the current round
}

func newSitting(ctx context.Context, o options, progress io.Writer) (*sitting, error) {
	if _, err := os.Stat(o.wadi); err != nil {
		return nil, fmt.Errorf("the binary to measure: %w", err)
	}
	dir, err := os.MkdirTemp("", "wadi-bench-")
	if err != nil {
		return nil, err
	}
	minio, err := localstack.StartMinIO(ctx, filepath.Join(dir, "minio"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &sitting{options: o, dir: dir, minio: minio, figures: figures{}, histograms: histograms{}, progress: progress}
	if o.s3Shape != "" {
		if s.shape, err = localstack.StartS3Shape(ctx, o.s3Shape, minio.Endpoint); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

func (s *sitting) close() (err error) {
	if s.shape != nil {
		err = s.shape.Stop()
	}
	return errors.Join(err, s.minio.Stop(), os.RemoveAll(s.dir))
}

// storeURL is the store that is measured, as nodes are told of it.
func (s *sitting) storeURL(prefix string) string {
	if s.shape == nil {
		return s.minio.StoreURL(prefix)
	}
	return s.minio.StoreURLAt(s.shape.Endpoint, prefix)
}

func (s *sitting) say(what string) {
	_, _ = fmt.Fprintf(s.progress, "round %d of %d: %s\n", s.number+1, s.options.rounds, what)
}

func (s *sitting) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf("round %d: ", s.number+1)+fmt.Sprintf(format, args...))
}

// round goes through all phases once. Those that are set against each other
// stand close together.
func (s *sitting) round(ctx context.Context, number int) (err error) {
	s.number = number
	dir := filepath.Join(s.dir, fmt.Sprintf("round-%d", number+1))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	opts := stores.DefaultOptions()
	opts.S3.AccessKey, opts.S3.SecretKey = s.minio.AccessKey, s.minio.SecretKey
	bucket, closeBucket, err := stores.Open(ctx, s.storeURL(""), opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBucket()) }()
	raw := newRawStore(bucket, fmt.Sprintf("raw-%d", number+1))

	limit, err := humanize.ParseBytes(s.options.memory)
	if err != nil {
		return err
	}
	s.figures.add("memory_limit.bytes", float64(limit))
	if err := s.rawLatencies(ctx, dir, raw); err != nil {
		return err
	}
	for _, p := range parts {
		if !s.options.parts[p.name] {
			continue
		}
		if err := p.measure(s, ctx, dir, raw); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return raw.remove(ctx)
}

// withNode runs a node of this round's log for as long as use takes. Its start
// is a figure of its own.
func (s *sitting) withNode(ctx context.Context, dir, start string, use func(*localstack.Node) error) (err error) {
	o := s.nodeOptions(dir, "log")
	o.DataDir = filepath.Join(dir, "data")
	if s.options.profiles != "" {
		if s.pprof, err = freeAddress(); err != nil {
			return err
		}
		o.Args = append(o.Args, "--pprof", s.pprof)
	}
	began := time.Now()
	node, err := localstack.StartNode(ctx, o)
	if err != nil {
		return err
	}
	s.figures.add(start+".seconds", time.Since(began).Seconds())
	err = use(node)
	return errors.Join(err, node.Stop())
}

// nodeOptions are of a node of one of this round's logs, without a disk.
func (s *sitting) nodeOptions(dir, log string) localstack.NodeOptions {
	return localstack.NodeOptions{
		Binary: s.options.wadi, Store: s.storeURL(fmt.Sprintf("%s-%d", log, s.number+1)),
		Env: s.minio.Env(), LogFile: filepath.Join(dir, log+".log"), Args: []string{"--memory-limit", s.options.memory},
	}
}

// withLog runs a node of a log of its own for as long as use takes.
func (s *sitting) withLog(ctx context.Context, o localstack.NodeOptions, use func(*localstack.Node) error) error {
	node, err := localstack.StartNode(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(use(node), node.Stop())
}

func (s *sitting) writeHalf(ctx context.Context, dir string, raw *rawStore) error {
	return s.withNode(ctx, dir, "start.empty", func(node *localstack.Node) error {
		return inOrder(
			func() error { return s.idle(ctx, node) },
			func() error {
				return s.measure(ctx, node, "acks-all.idle", s.produceArgs(singlesTopic, "raw", 4, "--rate", strconv.Itoa(idleRate))...)
			},
			func() error {
				return s.measure(ctx, node, "acks-1", s.produceArgs(singlesTopic, "raw", 1, "--acks", "1")...)
			},
			func() error { return s.acksOneBesideUploads(ctx, node) },
			func() error { return s.measure(ctx, node, "lockstep", s.produceArgs(singlesTopic, "raw", 1)...) },
			func() error {
				return s.measure(ctx, node, "singles", s.produceArgs(singlesTopic, "raw", manyClients)...)
			},
			func() error { return s.saturate(ctx, node, raw) },
			func() error {
				_, err := s.runLoad(ctx, node, "produce", warmTopic, "--rate", strconv.Itoa(warmRate), "--duration", warmFor.String(), "--payload", s.options.payload)
				return err
			},
		)
	})
}

func (s *sitting) produceArgs(topic, format string, connections int, more ...string) []string {
	return append([]string{
		"produce", topic, "--format", format, "--connections", strconv.Itoa(connections),
		"--duration", s.options.phase().String(), "--payload", s.options.payload,
	}, more...)
}

// idle looks at a node that nobody asks for anything.
func (s *sitting) idle(ctx context.Context, node *localstack.Node) error {
	s.say("idle")
	before, err := s.costs(ctx, node)
	if err != nil {
		return err
	}
	began := time.Now()
	select {
	case <-time.After(s.options.phase()):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := s.costs(ctx, node)
	if err != nil {
		return err
	}
	resident, err := residentBytes(node.PID())
	seconds := time.Since(began).Seconds()
	s.figures.add("idle.resident_bytes", float64(resident))
	s.figures.add("idle.cpu", (after.cpu-before.cpu).Seconds()/seconds)
	s.figures.add("idle.store_requests_per_second", (after.requests-before.requests)/seconds)
	s.figures.add("idle.dollars_per_month", (after.dollars-before.dollars)/seconds*secondsPerMonth)
	return err
}

// rawLatencies measures what a single acknowledgement is made of.
func (s *sitting) rawLatencies(ctx context.Context, dir string, raw *rawStore) error {
	s.say("raw latencies")
	d := s.options.phase() / 4
	inFlight := 1
	if s.shape != nil {
		// One after the other would be a dozen samples of something as varied as
		// this, and the store's own time does not count.
		inFlight, d = shapedInFlight, s.options.phase()
	}
	for name, measure := range map[string]func() (latency, error){
		"raw.small_put":     func() (latency, error) { return raw.smallPut(ctx, d, inFlight) },
		"raw.put_if_absent": func() (latency, error) { return raw.putIfAbsent(ctx, d, inFlight) },
		"raw.small_get":     func() (latency, error) { return raw.smallGet(ctx, d, inFlight) },
		"raw.fdatasync":     func() (latency, error) { return diskSync(dir, s.options.phase()/4) },
	} {
		l, err := measure()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.figures.add(name+".p50_seconds", l.p50)
		s.figures.add(name+".p99_seconds", l.p99)
	}
	return nil
}

func (s *sitting) acksOneBesideUploads(ctx context.Context, node *localstack.Node) error {
	background := make(chan error, 1)
	go func() {
		_, err := s.runLoad(ctx, node, s.produceArgs(historyTopic, "recordbatch", 8, "--rate", strconv.Itoa(backgroundRate))...)
		background <- err
	}()
	err := s.measure(ctx, node, "acks-1.uploads", s.produceArgs(singlesTopic, "raw", 1, "--acks", "1")...)
	return errors.Join(err, <-background)
}

// saturate produces as fast as it goes, with raw PUTs before, between and after.
func (s *sitting) saturate(ctx context.Context, node *localstack.Node, raw *rawStore) error {
	var rates []rate
	rawPut := func() error {
		s.say("raw PUT")
		r, err := raw.put(ctx, s.options.phase()/2)
		rates = append(rates, r)
		return err
	}
	produce := func(topic, format string, connections int) func() error {
		return func() error {
			return s.measure(ctx, node, "produce."+format, s.produceArgs(topic, format, connections)...)
		}
	}
	err := inOrder(rawPut, produce(historyTopic, "recordbatch", saturating), rawPut,
		produce(textTopic, "ndjson", saturatingText), produce(textTopic, "json", saturatingText), rawPut)
	s.addRates("raw.put", rates)
	return err
}

// addRates notes the median of a round.
func (s *sitting) addRates(name string, rates []rate) {
	var speed, cpu []float64
	for _, r := range rates {
		speed, cpu = append(speed, r.bytesPerSecond), append(cpu, r.cpuPerGiB)
	}
	s.figures.add(name+".bytes_per_second", median(speed))
	s.figures.add(name+".cpu_per_gib", median(cpu))
}

// readHalf replays with a process that has nothing in its memory yet.
func (s *sitting) readHalf(ctx context.Context, dir string, raw *rawStore) error {
	return s.withNode(ctx, dir, "start.round", func(node *localstack.Node) error {
		metrics, err := scrape(ctx, node.URL)
		if err != nil {
			return err
		}
		slots := metrics["wadi_catalog_slot"]
		s.figures.add("start.round.slots", slots)
		empty, full := s.figures["start.empty.seconds"][s.number], s.figures["start.round.seconds"][s.number]
		s.figures.add("start.goal.seconds", empty+(full-empty)/slots*slotsOfGoal)
		var rates []rate
		rawGet := func() error {
			s.say("raw GET")
			r, err := raw.get(ctx, s.options.phase()/2)
			rates = append(rates, r)
			return err
		}
		replay := func(name, topic string, more ...string) func() error {
			return func() error {
				return s.measure(ctx, node, name, slices.Concat([]string{"fetch", topic, "--connections", strconv.Itoa(replayers)}, more)...)
			}
		}
		warmUp := func() error {
			_, err := s.runLoad(ctx, node, "fetch", warmTopic, "--once")
			return err
		}
		err = inOrder(rawGet, replay("replay.cold", historyTopic, "--once"), rawGet, warmUp, warmUp,
			replay("replay.warm", warmTopic, "--duration", s.options.phase().String()), rawGet)
		s.addRates("raw.get", rates)
		return err
	})
}

// inOrder runs steps until one fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func get(ctx context.Context, url string) (body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if body, err = io.ReadAll(response.Body); err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return body, err
}
