package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/localstack"
)

const (
	// clientsInAll send to the nodes of a cluster, shared out evenly, so that
	// the load stays the same whatever the number of nodes.
	clientsInAll = 32
	clusterTopic = "cluster"
)

// clusterSizes are how many nodes commit at once.
var clusterSizes = []int{1, 2, 4, 8}

// severalNodes measures clusters of each size, on logs of their own.
func (s *sitting) severalNodes(ctx context.Context, dir string, _ *rawStore) error {
	for _, size := range clusterSizes {
		if err := s.cluster(ctx, dir, size); err != nil {
			return fmt.Errorf("%d nodes: %w", size, err)
		}
	}
	return nil
}

func (s *sitting) cluster(ctx context.Context, dir string, size int) (err error) {
	name := fmt.Sprintf("nodes.%d", size)
	s.say(name)
	nodes := make([]*localstack.Node, size)
	defer func() {
		for _, n := range nodes {
			if n != nil {
				err = errors.Join(err, n.Stop())
			}
		}
	}()
	for i := range nodes {
		if nodes[i], err = localstack.StartNode(ctx, localstack.NodeOptions{
			Binary: s.options.wadi, Store: s.storeURL(fmt.Sprintf("%s-log-%d", name, s.number+1)), Env: s.minio.Env(),
			LogFile: filepath.Join(dir, fmt.Sprintf("%s-%d.log", name, i+1)), Args: []string{"--memory-limit", s.options.memory},
		}); err != nil {
			return err
		}
	}
	// The topic is there before the load begins.
	if _, err := s.runLoad(ctx, nodes[0], "produce", clusterTopic, "--format", "raw", "--connections", "1", "--duration", "100ms"); err != nil {
		return err
	}
	before, err := s.commits(ctx, nodes)
	if err != nil {
		return err
	}
	began := time.Now()
	results := make([]loadResult, size)
	group, groupCtx := errgroup.WithContext(ctx)
	for i, n := range nodes {
		group.Go(func() (err error) {
			results[i], err = s.runLoad(groupCtx, n, s.produceArgs(clusterTopic, "raw", clientsInAll/size)...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	after, err := s.commits(ctx, nodes)
	if err != nil {
		return err
	}
	s.figures.add(name+".commits_per_second", (after.edits-before.edits)/took)
	s.figures.add(name+".slots_per_second", (after.slots-before.slots)/took)
	s.addShares(name, results)
	return nil
}

// addShares notes what the senders saw: all together, the slowest in the middle
// and at the end, and how even the nodes' shares were.
func (s *sitting) addShares(name string, results []loadResult) {
	var requests, p50, p99, longest float64
	least, most := math.Inf(1), 0.0
	for _, r := range results {
		requests += r.RequestsPerSec
		p50, p99, longest = max(p50, r.Latency.P50), max(p99, r.Latency.P99), max(longest, r.Latency.Max)
		least, most = min(least, r.RequestsPerSec), max(most, r.RequestsPerSec)
		for kind, n := range r.Errors {
			s.note("%s: %s requests failed with %s", name, strconv.FormatInt(n, 10), kind)
		}
	}
	s.figures.add(name+".requests_per_second", requests)
	s.figures.add(name+".p50_seconds", p50/1e6)
	s.figures.add(name+".p99_seconds", p99/1e6)
	s.figures.add(name+".max_seconds", longest/1e6)
	s.figures.add(name+".least_share", least/most)
}

// commits is how far a cluster's journal is, by its leader's own account.
type commits struct{ edits, slots float64 }

func (s *sitting) commits(ctx context.Context, nodes []*localstack.Node) (c commits, err error) {
	for _, n := range nodes {
		metrics, err := scrape(ctx, n.URL)
		if err != nil {
			return c, err
		}
		// Whoever leads counts what it writes, whoever sent it.
		c.edits += metrics["wadi_catalog_edits_total"]
		c.slots = max(c.slots, metrics["wadi_catalog_slot"])
	}
	return c, nil
}

// clusterRows are the lines of the table for clusters.
func clusterRows() []row {
	var rows []row
	for _, size := range clusterSizes {
		name, nodes := fmt.Sprintf("nodes.%d", size), fmt.Sprintf("%d nodes", size)
		if size == 1 {
			nodes = "1 node"
		}
		rows = append(rows,
			row{title: nodes + ", single records", figure: name + ".requests_per_second", unit: perSecond},
			row{title: "  commits", figure: name + ".commits_per_second", unit: perSecond},
			row{title: "  journal slots", figure: name + ".slots_per_second", unit: perSecond},
			row{title: "  p50 of the slowest node", figure: name + ".p50_seconds", unit: milliseconds},
			row{title: "  p99 of the slowest node", figure: name + ".p99_seconds", unit: milliseconds},
			row{title: "  longest of all", figure: name + ".max_seconds", unit: milliseconds, goal: atMost(5)},
			row{title: "  least share through largest", figure: name + ".least_share", unit: count},
		)
	}
	return rows
}
