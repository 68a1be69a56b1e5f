package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wadilog/wadi/catalog/catalogtest"
	"github.com/wadilog/wadi/ingest/wal/crashfs"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/localstack/inprocess"
)

const (
	// Times of the collectors in a world: long enough for what was begun to end,
	// and short enough to come many times.
	grace       = 12 * time.Second
	orphanAge   = 15 * time.Second
	orphanSteps = 5 * time.Second
	interval    = 2 * time.Second
	// requestMax is the longest that a node works on a request. It is shorter than
	// grace, as OPERATIONS.md demands of operators.
	requestMax = 4 * time.Second
	// lateMax is how late a write may land, or a request arrive.
	lateMax = 5 * time.Second
	// freezeMax is for how long a node may be frozen: for longer than garbage is
	// kept, and orphans.
	freezeMax = 45 * time.Second
	// settling is time enough for retention, garbage and orphans of all that was
	// left when faults ended.
	settling = 3 * time.Minute
	// extentMax is the size of an extent of compacted records: what retention may
	// leave.
	extentMax = 8 << 10
	// snapshotSlots are between two snapshots.
	snapshotSlots = 40
)

// slack is what the faults of a world may add up to. Two leaders' times differ by
// what spoil makes their Dates differ, and by what a Date, of whole seconds, leaves out.
var slack = Slack{Behind: 3 * time.Second, Ahead: 3 * time.Second, Stale: 6 * time.Second, Late: freezeMax + 2*lateMax}

// world is several nodes on one bucket, in virtual time, and a load.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	bucket  *memstore.Store
	nodes   []*inprocess.Node
	network *catalogtest.Network
	door    *inprocess.Door
	load    *Load
	model   *Model
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 31)), bucket: memstore.New(), network: catalogtest.New(),
		door: inprocess.NewDoor(rand.New(rand.NewPCG(seed, 32))), model: NewModel(slack),
	}
	w.load = &Load{
		Model: w.model, HTTP: &http.Client{Transport: w.door},
		Topics: 3 + w.rng.IntN(3), Partitions: 2, Lasting: 1,
		Producers: 4, Readers: 8,
		RecordsMax: 4, SizeMax: 600, Between: 150 * time.Millisecond, AcksOne: true, Timeout: 6 * time.Second,
		HoldMax: 90 * time.Second, ChurnMin: 20 * time.Second,
		Settings: []Settings{{-1, -1}, {30_000, -1}, {60_000, -1}, {-1, 4000}, {-1, 20_000}, {-1, 0}, {40_000, 8000}},
	}
	alone := w.rng.IntN(6) == 0
	for i := range 2 + w.rng.IntN(3) {
		n := inprocess.NewNode(fmt.Sprintf("node-%d", i), w.bucket, w.network, func(err error) { t.Error(err) })
		n.Alone = alone
		tiering := i == 0 || w.rng.IntN(3) > 0
		n.Adjust = func(s *inprocess.Settings, rng *rand.Rand) {
			vary(s, rng)
			s.Tiering = tiering
		}
		if w.rng.IntN(2) == 0 {
			n.Disk = crashfs.New()
		}
		w.nodes = append(w.nodes, n)
		w.door.Add(n)
		w.load.Nodes = append(w.load.Nodes, "http://"+n.Name)
		n.Start(w.rng)
	}
	w.awaitReady()
	return w
}

// vary sets a life's times.
func vary(s *inprocess.Settings, rng *rand.Rand) {
	s.Catalog.SnapshotSlots = snapshotSlots
	s.Ingest.FlushInterval = time.Duration(10+rng.IntN(200)) * time.Millisecond
	s.Ingest.FlushBytes = int64(512 << rng.IntN(4))
	s.API.RequestTimeout = requestMax/4 + time.Duration(rng.Int64N(int64(requestMax*3/4)))
	s.Collector.RetentionInterval, s.Collector.GarbageInterval = interval, interval
	s.Collector.GarbageGrace = grace
	s.Collector.OrphanInterval, s.Collector.OrphanAge = orphanSteps, orphanAge
	s.Collector.RequestTimeout = requestMax
	c := &s.Compactor
	c.Interval, c.MinAge, c.Patience = interval, 2*time.Second, 5*time.Second
	c.JobExtentsMin, c.JobBytesMin, c.FanIn = 4, 4<<10, 2+rng.IntN(4)
	c.TargetBytes, c.ExtentBytesMax = int64(4<<10<<rng.IntN(4)), extentMax
	c.LeaseTime, c.JobTimeout, c.RequestTimeout = 10*time.Second, 10*time.Second, requestMax
}

// run lets load and faults loose, heals everything, and looks at what is there.
func (w *world) run(lasts time.Duration) *Usage {
	wardens := w.load.Make(context.Background(), w.rng)
	for _, n := range w.nodes {
		w.spoil(n)
	}
	w.network.Randomize(w.rng.Uint64(), catalogtest.Probabilities{
		LoseRequest: 0.02, LoseAnswer: 0.02, Repeat: 0.02, ArriveLate: 0.02, LateMax: lateMax,
		Delay: 0.3, DelayMax: 200 * time.Millisecond,
	})
	w.door.SetLoss(0.005)
	ctx, cancel := context.WithCancel(context.Background())
	finish, over := context.WithCancel(context.Background())
	defer over()
	var busy sync.WaitGroup
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 33))
	busy.Go(func() { w.load.Run(ctx, finish, rng, wardens) })
	w.haunt(ctx, cancel, lasts)
	w.heal()
	time.AfterFunc(5*time.Minute, over)
	busy.Wait()
	w.load.ReadAll(finish)
	w.settle()
	w.load.ReadAll(finish)
	w.model.CheckRetained(20*time.Second, 2*extentMax)
	usage := w.measure()
	if err := w.model.Verify(context.Background(), w.bucket); err != nil {
		w.t.Error(err)
	}
	for _, n := range w.nodes {
		n.Retire(w.rng, time.Minute)
	}
	w.network.Close()
	return usage
}

// spoil makes requests of a node to the store fail.
func (w *world) spoil(n *inprocess.Node) {
	n.Store.Reset()
	n.Store.Randomize(w.rng.Uint64(), faultstore.Probabilities{
		FailBefore: 0.01, FailAfter: 0.02, LoseRequest: 0.01, LoseResponse: 0.02, Throttle: 0.01,
		Hang: 0.01, Conflict: 0.02, ExistsByOwnWrite: 0.02, LandLate: 0.02, CutRead: 0.01,
		Delay: 0.3, DelayMax: 100 * time.Millisecond, LateMax: lateMax,
	})
	n.Reads.Randomize(w.rng.Uint64(), faultstore.Probabilities{ShortenRead: 0.02, CorruptRead: 0.02})
	n.Store.SetSkew(time.Duration(w.rng.Int64N(int64(4*time.Second))) - 2*time.Second)
}

// haunt lets nodes suffer for a while, ends the load, and waits until nobody
// suffers.
func (w *world) haunt(ctx context.Context, end context.CancelFunc, lasts time.Duration) {
	nemesis := &inprocess.Nemesis{
		Network: w.network, Nodes: w.nodes, DownMax: 4 * time.Second, FrozenMax: freezeMax,
		Wait: func(d time.Duration) { sleep(ctx, d) },
	}
	var suffering sync.WaitGroup
	for i, n := range w.nodes {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), uint64(i)))
		suffering.Go(func() {
			for ctx.Err() == nil {
				sleep(ctx, time.Duration(rng.Int64N(int64(20*time.Second))))
				nemesis.Hurt(n, rng)
			}
		})
	}
	time.Sleep(lasts)
	end()
	suffering.Wait()
}

// heal ends all faults, lets what is late land, and begins new lives, in which
// what is on disks is committed.
func (w *world) heal() {
	w.door.SetLoss(0)
	w.network.Reset()
	for _, n := range w.nodes {
		n.Store.Reset()
		n.Reads.Reset()
		n.Crash(w.rng)
	}
	time.Sleep(4 * lateMax)
	for _, n := range w.nodes {
		n.Start(w.rng)
	}
	w.awaitReady()
}

func (w *world) awaitReady() {
	for _, n := range w.nodes {
		select {
		case <-n.Current().Ingester.Ready():
		case <-time.After(time.Hour):
			w.t.Errorf("%s does not become ready", n.Name)
		}
	}
}

// settle gives collectors their time. The journal's stands still while nothing is
// written, and so does what waits for it.
func (w *world) settle() {
	const pulse = 5 * time.Second
	url := w.load.Nodes[0] + "/v1/topics/pulse"
	w.request(http.MethodPut, url, `{"partitions":1}`)
	for i := range settling / pulse {
		time.Sleep(pulse)
		w.request(http.MethodPatch, url, fmt.Sprintf(`{"config":{"retention.ms":%d}}`, 1_000_000+i)) // no objects come of it
	}
	time.Sleep(2 * interval)
}

func (w *world) request(method, url, body string) {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := w.load.HTTP.Do(request)
	if err != nil || response.StatusCode/100 != 2 {
		w.t.Fatalf("%s %s: %v, %v", method, url, response, err)
	}
	_ = response.Body.Close()
}

// measure finds what is in the bucket and should not be, and what should.
func (w *world) measure() *Usage {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	view, err := w.nodes[0].Current().Catalog.Confirm(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := Measure(ctx, w.bucket, view)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(u.Missing) > 0 {
		w.model.Find("%d live objects are missing: %v", len(u.Missing), u.Missing[:min(5, len(u.Missing))])
	}
	if len(u.Foreign) > 0 || len(u.Uploads) > 0 {
		w.model.Find("nobody knows %v, nor the uploads %v", u.Foreign, u.Uploads)
	}
	if u.Leaked() > 0.01 {
		w.model.Find("garbage and orphans are left: %s", u)
	}
	// Claims stay for ever, and nodes that know of each other by the bucket alone
	// take the lead from each other all the time.
	if most := int64(5 * snapshotSlots); u.CatalogObjects > most && !w.nodes[0].Alone {
		w.model.Find("more than %d objects of the catalog are left: %s", most, u)
	}
	return u
}
