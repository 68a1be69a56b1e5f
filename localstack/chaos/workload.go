package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// errNotDense says that served offsets have a gap.
var errNotDense = errors.New("offsets are not dense")

// LoadConfig says how much producers do.
type LoadConfig struct {
	Partitions  int
	Idempotent  int     // producers of each kind
	PlainAll    int     //
	PlainOne    int     //
	Rate        float64 // records per second that all of them aim at; 0: as many as go
	RecordsMin  int     // of a request
	RecordsMax  int     //
	FillBytes   int     // of a record
	ReadBackOne int     // of so many acknowledgements one is read back from another node
}

// DefaultLoadConfig is that of a chaos run.
func DefaultLoadConfig() LoadConfig {
	return LoadConfig{
		Partitions: 8, Idempotent: 16, PlainAll: 4, PlainOne: 4, Rate: 5000,
		RecordsMin: 20, RecordsMax: 200, FillBytes: 64, ReadBackOne: 4,
	}
}

// cluster is what a workload needs to know of the nodes.
type cluster interface {
	// clients are those of the nodes that exist now, running or not.
	clients() []*client
	// life names the latest start of a node.
	life(node *client) string
}

// workload is producers and consumers that go on, whatever happens to the nodes,
// until they are told to finish.
type workload struct {
	LoadConfig
	topic    topic
	seed     uint64
	balancer *client
	cluster  cluster
	ledger   *Ledger
	found    *Findings
	observed *Observed
	bounds   *Bounds
	stats    *stats

	// refused is told of every answer of the load balancer that is neither what was
	// asked for nor a matter of bounds. May be nil.
	refused func(answer)
	// acknowledged is told when a producer gets an acknowledgement. May be nil.
	acknowledged func(producer int, at time.Time)

	requests  atomic.Int64
	finishing chan struct{} // closed by finish
	readBacks chan readBack
	consumers []*consumer
	producers []*producer
}

// trimmedPartition gets trims; only idempotent producers write to it.
func (w *workload) trimmedPartition() int32 { return int32(w.Partitions - 1) }

// random is the source of chance of one part of the load.
func (w *workload) random(part string, number int) *rand.Rand {
	return rand.New(rand.NewPCG(w.seed, hashOf(fmt.Appendf(nil, "%s %d", part, number))))
}

// prepare makes the topic and names the producers.
func (w *workload) prepare(ctx context.Context) error {
	w.finishing = make(chan struct{})
	w.readBacks = make(chan readBack, readBacksMax)
	body := fmt.Appendf(nil, `{"partitions":%d}`, w.Partitions)
	for {
		a := w.balancer.within(ctx, requestTimeout, http.MethodPut, "/v1/topics/"+w.topic.name, body, "Content-Type", mediaJSON)
		if a.status == http.StatusCreated || a.status == http.StatusOK {
			break
		}
		if !a.again() {
			return fmt.Errorf("create the topic: %s", a)
		}
		if err := pause(ctx, retryPause); err != nil {
			return fmt.Errorf("create the topic: %s: %w", a, err)
		}
	}
	for _, kind := range []struct {
		Kind
		count int
	}{{Idempotent, w.Idempotent}, {PlainAll, w.PlainAll}, {PlainOne, w.PlainOne}} {
		for i := range kind.count {
			number := len(w.producers)
			p := &producer{workload: w, number: uint32(number), kind: kind.Kind, random: w.random("producer", number)}
			p.partition = int32(i % w.Partitions)
			p.direct = kind.Kind == PlainOne && i%2 == 1
			if w.Rate > 0 {
				share := w.Rate / float64(w.Idempotent+w.PlainAll+w.PlainOne)
				p.interval = time.Duration(float64(w.RecordsMin+w.RecordsMax) / 2 / share * float64(time.Second))
			}
			w.producers = append(w.producers, p)
			if err := w.ledger.Note(event{Type: producerEvent, Producer: p.number, Kind: p.kind}); err != nil {
				return err
			}
		}
	}
	for p := range w.Partitions {
		w.consumers = append(w.consumers, &consumer{workload: w, partition: int32(p)})
	}
	return nil
}

// run does the work. Producers end some time after finish, and the rest with ctx.
func (w *workload) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range w.producers {
		group.Go(func() error { return p.run(ctx) })
	}
	for _, c := range w.consumers {
		group.Go(func() error { return c.run(ctx) })
	}
	for i := range readBackWorkers {
		group.Go(func() error { return w.readBack(ctx, w.random("read back", i)) })
	}
	group.Go(func() error { return w.trim(ctx, w.random("trim", 0)) })
	return group.Wait()
}

// judge hands an answer that is not what was asked for to refused.
func (w *workload) judge(from *client, a answer) {
	if w.refused != nil && from == w.balancer {
		w.refused(a)
	}
}

// finish lets each producer end once its request is settled.
func (w *workload) finish() { close(w.finishing) }

func (w *workload) isFinishing() bool {
	select {
	case <-w.finishing:
		return true
	default:
		return false
	}
}

// ended tells whether an error is the end of the run rather than one of its own.
func ended(ctx context.Context, err error) bool { return err != nil && ctx.Err() != nil }

// stats counts what happens. It is safe for concurrent use.
type stats struct {
	records  atomic.Int64 // acknowledged
	requests atomic.Int64 // acknowledged
	repeats  atomic.Int64 // answered as duplicates
	fetched  atomic.Int64 // records by consumers
	bounds   atomic.Int64 // answers to questions for bounds
	gone     atomic.Int64 // answers of 410 that were asked for
	readBack atomic.Int64 // acknowledgements that were read back at once
	trims    atomic.Int64 // acknowledged

	mu      sync.Mutex
	answers map[string]int64 // guarded by mu; to producers, by kind of answer
}

func newStats() *stats { return &stats{answers: map[string]int64{}} }

func (s *stats) answer(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[kind]++
}
