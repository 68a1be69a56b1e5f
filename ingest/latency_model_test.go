package ingest_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/localstack/s3shape"
	"github.com/wadilog/wadi/tiering"
)

var (
	modelRequests = flag.Int("model.requests", 150, "requests of each load of the latency model")
	modelRates    = flag.String("model.rates", "80", "requests per second, a load for each")
	modelBudgets  = flag.String("model.budgets", "0", "PUT budgets, a node for each; 0 is none")
	modelBytes    = flag.Int("model.bytes", 1<<10, "bytes of a request")
	modelSeeds    = flag.Int("model.seeds", 1, "of the store's latencies")
	modelOut      = flag.String("model.out", "", "file for the figures, as bench writes them")
)

// TestLatencyModel produces at a steady rate to a node on a store that is as slow as
// S3, in virtual time: what requests wait for one another and for the store, and
// nothing of what a processor takes. With -v it prints what it saw, which is how
// the flush controller and hedging were tuned; it judges only that every request is
// acknowledged. See docs/decisions/0037.
func TestLatencyModel(t *testing.T) {
	figures := map[string][]float64{}
	for _, rate := range numbers(t, *modelRates) {
		for _, budget := range numbers(t, *modelBudgets) {
			var all []time.Duration
			var puts, seconds float64
			for seed := range *modelSeeds {
				synctest.Test(t, func(t *testing.T) {
					m := newModel(t, float64(budget), uint64(seed+1))
					took, sent, elapsed := m.produce(t, rate)
					all, puts, seconds = append(all, took...), puts+sent, seconds+elapsed.Seconds()
				})
			}
			if len(all) != *modelRequests**modelSeeds {
				t.Errorf("%d/s: %d requests of %d were acknowledged", rate, len(all), *modelRequests**modelSeeds)
			}
			slices.Sort(all)
			at := func(permille int) time.Duration { return all[min(len(all)-1, len(all)*permille/1000)] }
			t.Logf("%4d requests/s, budget %2d: p50 %3d ms, p90 %3d ms, p99 %3d ms, p99.9 %3d ms, %.1f PUTs/s", rate, budget,
				at(500).Milliseconds(), at(900).Milliseconds(), at(990).Milliseconds(), at(999).Milliseconds(), puts/seconds)
			name := fmt.Sprintf("budget.%d.%d", rate, budget)
			figures[name+".p50_seconds"] = []float64{at(500).Seconds()}
			figures[name+".p99_seconds"] = []float64{at(990).Seconds()}
			figures[name+".puts_per_second"] = []float64{puts / seconds}
		}
	}
	if *modelOut != "" {
		text, err := json.MarshalIndent(map[string]any{"figures": figures}, "", "  ")
		if err == nil {
			err = os.WriteFile(*modelOut, text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func numbers(t *testing.T, list string) []int {
	var out []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

// putCounter counts PUTs, those included that are given up.
type putCounter struct {
	objstore.Bucket
	puts atomic.Int64
}

func (p *putCounter) Put(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	p.puts.Add(1)
	return p.Bucket.Put(ctx, key, body)
}

func (p *putCounter) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	p.puts.Add(1)
	return p.Bucket.PutIfAbsent(ctx, key, body)
}

// latencyModel is a node on a slow store.
type latencyModel struct {
	bucket   *putCounter
	ingester *ingest.Ingester
	topic    *catalog.Topic
	end      func()
}

func newModel(t *testing.T, budget float64, seed uint64) *latencyModel {
	t.Helper()
	logger, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	shape := s3shape.DefaultShape()
	shape.Seed = seed
	m := &latencyModel{bucket: &putCounter{Bucket: s3shape.NewBucket(memstore.New(), shape)}}
	j, err := journal.New(journal.DefaultConfig(), m.bucket, "000", logger, reg)
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.New(catalog.DefaultConfig(), j, nil, logger, reg)
	if err != nil {
		t.Fatal(err)
	}
	uploader := tiering.NewUploader(tiering.DefaultUploaderConfig(), m.bucket, logger, reg)
	cfg := ingest.DefaultConfig()
	cfg.PutBudget = budget
	m.ingester, err = ingest.New(cfg, c, uploader, discard{}, nil, logger, reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running errgroup.Group
	running.Go(func() error { return c.Run(ctx) })
	running.Go(func() error { return m.ingester.Run(ctx) })
	<-m.ingester.Ready()
	topic := catalog.CreateTopic{ID: uuid.New(), Name: "flights", Partitions: partitions, Config: catalog.DefaultTopicConfig()}
	if r, err := c.Propose(ctx, topic); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	m.topic, _ = c.View().TopicByName("flights")
	m.end = func() {
		cancel()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
		uploader.Wait()
	}
	return m
}

// produce sends requests at random moments, so many per second on average, and
// returns how long each took.
func (m *latencyModel) produce(t *testing.T, rate int) (took []time.Duration, puts float64, elapsed time.Duration) {
	defer m.end()
	rng := rand.New(rand.NewPCG(1, uint64(rate)))
	value := make([]byte, *modelBytes)
	var mu sync.Mutex
	var requests sync.WaitGroup
	begun, before := time.Now(), m.bucket.puts.Load()
	for n := range *modelRequests {
		time.Sleep(time.Duration(rng.ExpFloat64() / float64(rate) * float64(time.Second)))
		requests.Go(func() {
			sent := time.Now()
			records := []ingest.Record{{Partition: int32(n % partitions), Record: recordbatch.Record{Value: value}}}
			opts := ingest.Options{Acks: ingest.AcksAll, Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset}
			if _, err := m.ingester.ProduceRecords(t.Context(), m.topic, records, opts); err != nil {
				t.Errorf("request %d: %v", n, err)
				return
			}
			mu.Lock()
			took = append(took, time.Since(sent))
			mu.Unlock()
		})
	}
	requests.Wait()
	return took, float64(m.bucket.puts.Load() - before), time.Since(begun)
}
