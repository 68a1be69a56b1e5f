package soak

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/stores"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/localstack"
)

const (
	storePrefix = "soak"
	// retention and garbageGrace are of the topics and nodes of a run.
	retention    = time.Minute
	garbageGrace = 30 * time.Second
	// window is for how long what was acknowledged may be in the bucket: until
	// retention and garbage took notice.
	window = retention + garbageGrace + 30*time.Second
	// sampleEvery is how often the bucket is measured.
	sampleEvery = 5 * time.Second
	// levelMax is how many bytes may be there for each that was acknowledged within
	// the window: twice while both a compacted segment and what it replaced are, and
	// some that were committed and not acknowledged.
	levelMax = 2.5
	// levelShare is how much more of them may be there in the last third of a run than
	// in its first: what a load offers depends on what else the machine does, and
	// this does not.
	levelShare = 1.25
	// settleTime is enough for retention and garbage after the end.
	settleTime = 2*retention + 2*garbageGrace
)

// Options say how to run real nodes.
type Options struct {
	Binary string // of wadi
	Nodes  int
	Dir    string // for data and logs; it must exist
	Seed   uint64
	Lasts  time.Duration // with load
	Faults bool          // kill and freeze nodes, and the store
	Say    func(format string, args ...any)
}

// Report is what came of a run.
type Report struct {
	Findings    []string
	Counts      map[string]int
	Hits        map[string]int // faults by kind
	Peak        int64          // bytes of segments in the bucket
	First, Last float64        // bytes there for each acknowledged within the window: means of the first third and of the last
	CatalogPeak int64          // bytes of journal and snapshots
	End         *Usage
}

// bench is a cluster with a load on it.
type bench struct {
	Options
	cluster *localstack.Cluster
	bucket  objstore.Bucket
	model   *Model
	load    *Load
	rng     *rand.Rand
	report  *Report
	samples []float64 // bytes of segments for each byte acknowledged within the window

}

// Run puts a steady load on real nodes over MinIO whose topics keep a minute, and
// checks that nothing is served wrongly, that the bytes in the bucket stay level,
// and what is left in it at the end. What is wrong with the system is in the
// report; the error is one of the harness.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	cluster, err := localstack.StartCluster(ctx, localstack.ClusterOptions{
		Binary: o.Binary, Nodes: o.Nodes, Dir: o.Dir, Prefix: storePrefix,
		Adjust: func(n *localstack.NodeOptions) {
			n.Args = append(n.Args, "--garbage-grace="+garbageGrace.String(), "--request-timeout=10s", "--compaction-min-age=10s")
		},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	for _, setting := range cluster.MinIO.Env() {
		name, value, _ := strings.Cut(setting, "=")
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	bucket, closeBucket, err := stores.Open(ctx, cluster.MinIO.StoreURL(storePrefix), stores.DefaultOptions())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeBucket()) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	b := &bench{
		Options: o, cluster: cluster, bucket: bucket, rng: rand.New(rand.NewPCG(o.Seed, 41)),
		model:  NewModel(Slack{Behind: 3 * time.Second, Ahead: 3 * time.Second, Stale: 15 * time.Second, Late: 40 * time.Second}),
		report: &Report{Hits: map[string]int{}},
	}
	b.model.Say = o.Say
	b.load = &Load{
		Model: b.model, HTTP: &http.Client{Transport: transport},
		Topics: 3, Partitions: 4, Lasting: 3, Producers: 4, Readers: 6,
		RecordsMax: 20, SizeMax: 4000, Between: 50 * time.Millisecond, AcksOne: true, Timeout: 15 * time.Second,
		HoldMax: 90 * time.Second, ChurnMin: 20 * time.Second,
		Settings: []Settings{{retention.Milliseconds(), -1}},
	}
	for _, n := range cluster.Nodes() {
		b.load.Nodes = append(b.load.Nodes, n.URL)
	}
	err = b.run(ctx)
	b.report.Findings, b.report.Counts = b.model.Findings(), b.model.Counts()
	return b.report, err
}

func (b *bench) run(ctx context.Context) error {
	wardens := b.load.Make(ctx, b.rng)
	loading, end := context.WithTimeout(ctx, b.Lasts)
	defer end()
	finish, over := context.WithCancel(ctx)
	defer over()
	var busy sync.WaitGroup
	rng := rand.New(rand.NewPCG(b.rng.Uint64(), 42))
	busy.Go(func() { b.load.Run(loading, finish, rng, wardens) })
	sampling, endSampling := context.WithCancel(loading)
	defer endSampling()
	busy.Go(func() { b.sample(sampling) })
	err := b.haunt(loading)
	if err != nil {
		end()
	}
	<-loading.Done()
	time.AfterFunc(5*time.Minute, over)
	busy.Wait()
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	b.checkLevel()
	b.load.ReadAll(finish)
	b.Say("the load has ended; retention and garbage have %s", settleTime)
	sleep(ctx, settleTime)
	b.load.ReadAll(finish)
	b.model.CheckRetained(30*time.Second, 64<<20)
	return b.audit(ctx)
}

// haunt kills and freezes nodes, and the store, until ctx ends. All run at its end.
func (b *bench) haunt(ctx context.Context) error {
	if !b.Faults {
		return nil
	}
	started := context.WithoutCancel(ctx)
	for {
		sleep(ctx, time.Duration(5+b.rng.IntN(20))*time.Second)
		if ctx.Err() != nil {
			return nil
		}
		nodes := b.cluster.Nodes()
		n := nodes[b.rng.IntN(len(nodes))]
		what := []string{"kill", "kill", "freeze", "freeze the store", "kill the store"}[b.rng.IntN(5)]
		b.report.Hits[what]++
		pause := func() { sleep(ctx, time.Duration(b.rng.IntN(6000))*time.Millisecond) }
		var err error
		switch what {
		case "kill":
			if err = n.Kill(); err == nil {
				pause()
				err = n.Restart(started)
			}
		case "freeze":
			if err = n.Pause(); err == nil {
				pause()
				err = n.Resume()
			}
		case "freeze the store":
			if err = b.cluster.MinIO.Pause(); err == nil {
				pause()
				err = b.cluster.MinIO.Resume()
			}
		case "kill the store":
			if err = b.cluster.MinIO.Kill(); err == nil {
				pause()
				err = b.cluster.MinIO.Restart(started)
			}
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", what, n.Name, err)
		}
	}
}

// sample measures the bucket again and again.
func (b *bench) sample(ctx context.Context) {
	began := time.Now()
	type mark struct {
		at    time.Time
		taken int64
	}
	var marks []mark
	for told := began; ; {
		sleep(ctx, sampleEvery)
		segments, err := size(ctx, b.bucket, segment.KeyPrefix)
		var log int64
		if err == nil {
			log, err = size(ctx, b.bucket, catalogPrefix)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil { // the store is away
			continue
		}
		marks = append(marks, mark{time.Now(), b.model.Taken()})
		if time.Since(began) > window {
			for len(marks) > 1 && time.Since(marks[1].at) > window {
				marks = marks[1:]
			}
			b.samples = append(b.samples, float64(segments)/float64(max(1, b.model.Taken()-marks[0].taken)))
		}
		b.report.Peak, b.report.CatalogPeak = max(b.report.Peak, segments), max(b.report.CatalogPeak, log)
		if time.Since(told) > 15*time.Second {
			told = time.Now()
			counts := b.model.Counts()
			b.Say("%6.0fs  %.1f MiB of segments, %.1f MiB of journal and snapshots; %d records acknowledged, %d read, %d findings", time.Since(began).Seconds(),
				float64(segments)/(1<<20), float64(log)/(1<<20), counts["acknowledged"], counts["records read"], len(b.model.Findings()))
		}
	}
}

// size is how many bytes there are below a prefix.
func size(ctx context.Context, bucket objstore.Bucket, prefix string) (bytes int64, err error) {
	for after, more := "", true; more; {
		page, err := bucket.List(ctx, prefix, after, objstore.ListPageMax)
		if err != nil {
			return 0, err
		}
		more = page.More
		for _, o := range page.Objects {
			after = o.Key
			bytes += o.Size
		}
	}
	return bytes, nil
}

// checkLevel compares the first third of the samples with the last. The journal has
// bounds of its own: it is cut at snapshots, which are thousands of slots apart.
func (b *bench) checkLevel() {
	third := len(b.samples) / 3
	if third == 0 {
		return // too short a run to say
	}
	b.report.First, b.report.Last = mean(b.samples[:third]), mean(b.samples[len(b.samples)-third:])
	if b.report.Last > levelShare*b.report.First || b.report.Last > levelMax {
		b.model.Find("the bucket grows: %.2f bytes for each byte of the last %s at first, %.2f at last", b.report.First, window, b.report.Last)
	}
}

func mean(of []float64) float64 {
	sum := 0.0
	for _, n := range of {
		sum += n
	}
	return sum / float64(len(of))
}

// audit compares the bucket with the catalog as it is read from there.
func (b *bench) audit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	view, err := loadCatalog(ctx, b.bucket)
	if err != nil {
		return err
	}
	u, err := Measure(ctx, b.bucket, view)
	if err != nil {
		return err
	}
	b.report.End = u
	if len(u.Missing) > 0 {
		b.model.Find("%d live objects are missing: %v", len(u.Missing), u.Missing[:min(5, len(u.Missing))])
	}
	if len(u.Foreign) > 0 {
		b.model.Find("nobody knows %v", u.Foreign)
	}
	// Orphans are left for a day, in which a commit may be on its way.
	if most := b.report.Peak / 100; u.GarbageBytes+u.OrphanBytes > most {
		b.model.Find("garbage and orphans are more than %d bytes: %s", most, u)
	}
	return b.model.Verify(ctx, b.bucket)
}

// loadCatalog reads a catalog that nobody edits any more.
func loadCatalog(ctx context.Context, bucket objstore.Bucket) (*catalog.State, error) {
	quiet, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	j, err := journal.New(journal.DefaultConfig(), bucket, shard, quiet, reg)
	if err != nil {
		return nil, err
	}
	c, err := catalog.New(catalog.DefaultConfig(), j, nil, quiet, reg)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(running) }()
	view, err := func() (*catalog.State, error) {
		select {
		case <-c.Ready():
			return c.Confirm(ctx)
		case err := <-ended:
			ended <- err
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}()
	stop()
	if runErr := <-ended; runErr != nil && !errors.Is(runErr, context.Canceled) {
		err = errors.Join(err, runErr)
	}
	return view, err
}
