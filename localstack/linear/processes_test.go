package linear_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wadilog/wadi/localstack"
	"github.com/wadilog/wadi/localstack/linear"
)

var processHistories = flag.Int("linear.processes", 6, "how many histories of real processes to make")

const (
	// processDeadline bounds the making of these histories.
	processDeadline = 10 * time.Minute
	// settleDeadline bounds how long promised records may take into the log.
	settleDeadline = 30 * time.Second
)

// roundHistories is how many histories are made at the same time, each on a
// topic of its own, under the same faults.
const roundHistories = 6

// TestProcesses makes histories of three real nodes on MinIO that are killed and
// frozen meanwhile, and checks each.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts MinIO and nodes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), processDeadline)
	defer cancel()
	seed := max(1, *seedFlag)
	r := &rounds{T: t, ctx: ctx, end: cancel, rng: rand.New(rand.NewPCG(seed, 21))}
	r.nodes, r.client = startProcesses(ctx, t)
	for made := 0; made < *processHistories && !t.Failed(); made += roundHistories {
		r.run(made, min(roundHistories, *processHistories-made))
	}
	fmt.Printf("%d histories of processes, seed %d: %d nodes killed, %d frozen; %d operations, %d in doubt, %d promised, %d refused\n",
		*processHistories, seed, r.killed, r.frozen, r.sum.Operations, r.sum.InDoubt, r.sum.Promised, r.sum.Refused)
}

// rounds is the nodes with what they went through.
type rounds struct {
	*testing.T
	ctx    context.Context
	end    context.CancelFunc
	rng    *rand.Rand
	nodes  []*localstack.Node
	client *http.Client

	killed, frozen int
	sum            linear.Count
}

// run makes and checks histories under faults.
func (r *rounds) run(first, histories int) {
	loads := make([]*linear.Workload, histories)
	made := make([]linear.History, histories)
	var running sync.WaitGroup
	for i := range loads {
		topic := fmt.Sprintf("history-%d", first+i)
		loads[i] = &linear.Workload{
			Mix: linear.Conditions, Partitions: partitions, Operations: operations, Clients: 4,
			TimeoutMax: 2 * time.Second, PauseMax: 100 * time.Millisecond,
			NewClient: func() *linear.Client {
				return &linear.Client{
					HTTP: r.client, Topic: topic, History: &made[i],
					Unexpected: func(err error) { r.Errorf("%s: %v", topic, err); r.end() },
				}
			},
		}
		for _, n := range r.nodes {
			loads[i].Nodes = append(loads[i].Nodes, n.URL)
		}
		createTopic(r.ctx, r.T, r.client, r.nodes[0].URL, topic)
		rng := rand.New(rand.NewPCG(r.rng.Uint64(), uint64(i)))
		running.Go(func() { loads[i].Run(r.ctx, &made[i], rng) })
	}
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	r.haunt(done)
	<-done
	for _, n := range r.nodes {
		if err := n.WaitReady(r.ctx); err != nil {
			r.Fatal(err)
		}
	}
	for i, load := range loads {
		for _, node := range load.Nodes {
			if err := r.readAll(load, node); err != nil {
				r.Errorf("history %d: %s: %v", first+i, node, err)
			}
		}
		verdict, page, err := linear.Check(made[i].Operations(), checkTimeout)
		if verdict != linear.Linearizable {
			r.Errorf("history %d is %s, see %s (%v)", first+i, verdict, page, err)
		}
		r.sum.Add(made[i].Count())
	}
}

// readAll gives what was promised some time to get into the log.
func (r *rounds) readAll(load *linear.Workload, node string) error {
	until := time.Now().Add(settleDeadline)
	for {
		err := load.ReadAll(r.ctx, node)
		if err == nil || r.ctx.Err() != nil || time.Now().After(until) {
			return err
		}
	}
}

// startProcesses starts MinIO and three nodes, one without a disk.
func startProcesses(ctx context.Context, t *testing.T) ([]*localstack.Node, *http.Client) {
	t.Helper()
	binary, err := localstack.BuildWadi(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	minio, err := localstack.StartMinIO(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := minio.Stop(); err != nil {
			t.Error(err)
		}
	})
	var nodes []*localstack.Node
	for i := range 3 {
		o := localstack.NodeOptions{
			Binary: binary, Store: minio.StoreURL("linear"), Env: minio.Env(),
			LogFile: filepath.Join(t.TempDir(), "node.log"),
			Args:    []string{"--request-timeout", "1500ms"},
		}
		if i > 0 {
			o.DataDir = filepath.Join(t.TempDir(), "data")
		}
		n, err := localstack.StartNode(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Kill(); err != nil {
				t.Error(err)
			}
		})
		nodes = append(nodes, n)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return nodes, &http.Client{Transport: transport}
}

func createTopic(ctx context.Context, t *testing.T, client *http.Client, node, name string) {
	t.Helper()
	body := fmt.Sprintf(`{"partitions":%d}`, partitions)
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, node+"/v1/topics/"+name, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("create topic %s: %s", name, response.Status)
	}
}

// haunt kills and freezes one node after another until done, and leaves all of
// them running.
func (r *rounds) haunt(done <-chan struct{}) {
	pause := func(most time.Duration) bool {
		select {
		case <-done:
			return false
		case <-r.ctx.Done():
			return false
		case <-time.After(time.Duration(r.rng.Int64N(int64(most)))):
			return true
		}
	}
	for pause(500 * time.Millisecond) {
		n := r.nodes[r.rng.IntN(len(r.nodes))]
		var err error
		if r.rng.IntN(2) == 0 {
			r.killed++
			if err = n.Kill(); err == nil {
				pause(time.Second)
				err = n.Restart(r.ctx)
			}
		} else {
			r.frozen++
			if err = n.Pause(); err == nil {
				pause(2 * time.Second)
				err = n.Resume()
			}
		}
		if err != nil {
			r.Errorf("%s: %v", n.URL, err)
			return
		}
	}
}
