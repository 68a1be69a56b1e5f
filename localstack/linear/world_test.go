package linear_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
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
	"github.com/wadilog/wadi/localstack/linear"
)

const (
	topic      = "flights"
	partitions = 2
)

// world is several nodes on one bucket, and a topic that clients use.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	bucket  *memstore.Store
	nodes   []*inprocess.Node
	network *catalogtest.Network // between nodes
	door    *inprocess.Door
	client  *http.Client
	history linear.History
	load    *linear.Workload
	end     context.CancelFunc // of the load
}

// newWorld starts two to four nodes without faults, and makes what clients need.
func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 11)), bucket: memstore.New(), network: catalogtest.New()}
	w.door = inprocess.NewDoor(rand.New(rand.NewPCG(seed, 12)))
	w.client = &http.Client{Transport: w.door}
	w.end = func() {}
	mix := linear.Mix(seed % 2)
	w.load = &linear.Workload{
		Mix: mix, Partitions: partitions, Operations: operations, Clients: 4 + w.rng.IntN(3),
		TimeoutMax: 5 * time.Second, PauseMax: 100 * time.Millisecond, NewClient: w.newClient,
	}
	alone := w.rng.IntN(6) == 0
	for i := range 2 + w.rng.IntN(3) {
		n := inprocess.NewNode(fmt.Sprintf("node-%d", i), w.bucket, w.network, func(err error) { t.Error(err) })
		n.Alone, n.Adjust = alone, vary
		if w.rng.IntN(2) == 0 {
			n.Disk = crashfs.New()
		}
		w.nodes = append(w.nodes, n)
		w.door.Add(n)
		w.load.Nodes = append(w.load.Nodes, "http://"+n.Name)
		n.Start(w.rng)
	}
	<-w.nodes[0].Current().Catalog.Ready()
	w.request(http.MethodPut, "/v1/topics/"+topic, fmt.Sprintf(`{"partitions":%d}`, partitions), nil)
	if mix == linear.Repeats {
		for range 3 {
			var producer struct {
				ID int64 `json:"producer_id"`
			}
			w.request(http.MethodPost, "/v1/producers", "", &producer)
			w.load.Producers = append(w.load.Producers, producer.ID)
		}
	}
	return w
}

// vary draws how long a node's life lets others wait.
func vary(s *inprocess.Settings, rng *rand.Rand) {
	s.Ingest.FlushInterval = time.Duration(10+rng.IntN(200)) * time.Millisecond
	s.API.RequestTimeout = time.Duration(500+rng.IntN(4000)) * time.Millisecond
}

func (w *world) newClient() *linear.Client {
	return &linear.Client{
		HTTP: w.client, Topic: topic, History: &w.history,
		Unexpected: func(err error) { w.t.Error(err); w.end() },
	}
}

// request sends one to the first node, which must take it.
func (w *world) request(method, path, body string, into any) {
	request, err := http.NewRequest(method, w.load.Nodes[0]+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := w.client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		w.t.Fatalf("%s %s: %s: %s, %v", method, path, response.Status, text, err)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			w.t.Fatal(err)
		}
	}
}

// spoil makes requests of a node to the store fail.
func (w *world) spoil(n *inprocess.Node) {
	n.Store.Reset()
	n.Store.Randomize(w.rng.Uint64(), faultstore.Probabilities{
		FailBefore: 0.02, FailAfter: 0.03, LoseRequest: 0.02, LoseResponse: 0.04, Throttle: 0.02,
		Hang: 0.02, Conflict: 0.02, ExistsByOwnWrite: 0.03, LandLate: 0.03, CutRead: 0.01,
		Delay: 0.5, DelayMax: 200 * time.Millisecond, LateMax: 5 * time.Second,
	})
	n.Reads.Randomize(w.rng.Uint64(), faultstore.Probabilities{ShortenRead: 0.03, CorruptRead: 0.03})
	if w.rng.IntN(4) == 0 {
		n.Store.SetSkew(time.Duration(w.rng.Int64N(int64(96*time.Hour))) - 48*time.Hour)
	}
}

// run lets clients and faults loose until there are enough operations, heals
// everything, and reads the log.
func (w *world) run() {
	for _, n := range w.nodes {
		w.spoil(n)
	}
	w.network.Randomize(w.rng.Uint64(), catalogtest.Probabilities{
		LoseRequest: 0.03, LoseAnswer: 0.03, Repeat: 0.03, ArriveLate: 0.03, LateMax: 5 * time.Second,
		Delay: 0.3, DelayMax: 300 * time.Millisecond,
	})
	w.door.SetLoss(0.005)
	ctx, cancel := context.WithCancel(context.Background())
	w.end = cancel
	var nemesis sync.WaitGroup
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 13))
	nemesis.Go(func() { w.haunt(ctx, rng) })
	w.load.Run(ctx, &w.history, w.rng)
	cancel()
	nemesis.Wait()
	w.heal()
}

// haunt lets one node after another suffer.
func (w *world) haunt(ctx context.Context, rng *rand.Rand) {
	var busy sync.WaitGroup
	defer busy.Wait()
	nemesis := &inprocess.Nemesis{
		Network: w.network, Nodes: w.nodes, DownMax: 2 * time.Second, FrozenMax: 6 * time.Second, Wait: time.Sleep,
	}
	suffering := make(chan *inprocess.Node, len(w.nodes))
	for _, i := range rng.Perm(len(w.nodes)) {
		suffering <- w.nodes[i]
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(100+rng.IntN(1500)) * time.Millisecond):
		}
		select {
		case n := <-suffering:
			rng := rand.New(rand.NewPCG(rng.Uint64(), 14))
			busy.Go(func() {
				nemesis.Hurt(n, rng)
				suffering <- n
			})
		default: // all of them do
		}
	}
}

// heal ends all faults, lets what is late land, and lets each node have a last
// life in which what is on its disk is committed. Then the log is read.
func (w *world) heal() {
	w.door.SetLoss(0)
	w.network.Reset()
	for _, n := range w.nodes {
		n.Store.Reset()
		n.Reads.Reset()
		n.Crash(w.rng)
	}
	time.Sleep(time.Minute)
	for _, n := range w.nodes {
		n.Start(w.rng)
	}
	for _, n := range w.nodes {
		<-n.Current().Ingester.Ready()
	}
	for _, n := range w.nodes {
		c := w.newClient()
		for p := range int32(partitions) {
			if _, ok := c.EndOffset(context.Background(), "http://"+n.Name, p); !ok {
				w.t.Errorf("%s: no end offset of partition %d", n.Name, p)
			}
		}
	}
	for _, node := range w.load.Nodes {
		if err := w.load.ReadAll(context.Background(), node); err != nil {
			w.t.Errorf("%s: %v", node, err)
		}
	}
	for _, n := range w.nodes {
		n.Retire(w.rng, time.Minute)
	}
	w.network.Close()
}
