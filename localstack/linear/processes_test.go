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
	processDeadline = 5 * time.Minute
	// settleDeadline bounds how long promised records may take into the log.
	settleDeadline = 30 * time.Second
)

// TestProcesses makes histories of three real nodes on MinIO that are killed and
// frozen meanwhile, and checks each. Each history has a topic of its own; all of
// them are made at the same time.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts MinIO and nodes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), processDeadline)
	defer cancel()
	seed := max(1, *seedFlag)
	nodes, client := startProcesses(ctx, t)

	var running sync.WaitGroup
	loads := make([]*linear.Workload, *processHistories)
	made := make([]linear.History, *processHistories)
	for i := range loads {
		topic := fmt.Sprintf("history-%d", i)
		loads[i] = &linear.Workload{
			Mix: linear.Conditions, Partitions: partitions, Operations: operations, Clients: 4,
			TimeoutMax: 2 * time.Second, PauseMax: 100 * time.Millisecond,
			NewClient: func() *linear.Client {
				return &linear.Client{
					HTTP: client, Topic: topic, History: &made[i],
					Unexpected: func(err error) { t.Errorf("%s: %v", topic, err); cancel() },
				}
			},
		}
		for _, n := range nodes {
			loads[i].Nodes = append(loads[i].Nodes, n.URL)
		}
		createTopic(ctx, t, client, nodes[0].URL, topic)
		running.Go(func() { loads[i].Run(ctx, &made[i], rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	killed, frozen := haunt(ctx, t, nodes, done, rand.New(rand.NewPCG(seed, 21)))
	<-done
	for _, n := range nodes {
		if err := n.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
	}

	var sum linear.Count
	for i, load := range loads {
		for _, node := range load.Nodes {
			// Only in what is promised may a node be behind.
			until := time.Now().Add(settleDeadline)
			err := load.ReadAll(ctx, node)
			for err != nil && time.Now().Before(until) && ctx.Err() == nil {
				err = load.ReadAll(ctx, node)
			}
			if err != nil {
				t.Errorf("history %d: %s: %v", i, node, err)
			}
		}
		verdict, page, err := linear.Check(made[i].Operations(), checkTimeout)
		if verdict != linear.Linearizable {
			t.Errorf("history %d is %s, see %s (%v)", i, verdict, page, err)
		}
		sum.Add(made[i].Count())
	}
	fmt.Printf("%d histories of processes, seed %d: %d nodes killed, %d frozen; %d operations, %d in doubt, %d promised, %d refused\n",
		len(loads), seed, killed, frozen, sum.Operations, sum.InDoubt, sum.Promised, sum.Refused)
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
func haunt(ctx context.Context, t *testing.T, nodes []*localstack.Node, done <-chan struct{}, rng *rand.Rand) (killed, frozen int) {
	pause := func(most time.Duration) bool {
		select {
		case <-done:
			return false
		case <-ctx.Done():
			return false
		case <-time.After(time.Duration(rng.Int64N(int64(most)))):
			return true
		}
	}
	for pause(500 * time.Millisecond) {
		n := nodes[rng.IntN(len(nodes))]
		var err error
		if rng.IntN(2) == 0 {
			killed++
			if err = n.Kill(); err == nil {
				pause(time.Second)
				err = n.Restart(ctx)
			}
		} else {
			frozen++
			if err = n.Pause(); err == nil {
				pause(2 * time.Second)
				err = n.Resume()
			}
		}
		if err != nil {
			t.Errorf("%s: %v", n.URL, err)
			return killed, frozen
		}
	}
	return killed, frozen
}
