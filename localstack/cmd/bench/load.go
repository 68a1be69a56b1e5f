package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/wadilog/wadi/localstack"
)

const gib = 1 << 30

// loadGrace is how much longer than asked for a load may take: for making its
// bodies, and for a replay that has no end in time.
const loadGrace = 60 * time.Second

// loadResult is the part of what `wadi bench --json` prints that is used here.
type loadResult struct {
	Seconds        float64 `json:"seconds"`
	Bytes          int64   `json:"bytes"` // of values, or of fetched batches
	Requests       int64   `json:"requests"`
	BytesPerSec    float64 `json:"bytes_per_second"`
	RequestsPerSec float64 `json:"requests_per_second"`
	Latency        struct {
		P50  float64 `json:"p50"`
		P90  float64 `json:"p90"`
		P99  float64 `json:"p99"`
		P999 float64 `json:"p99_9"`
		Max  float64 `json:"max"`
	} `json:"latency_us"`
	Histogram        histogram        `json:"latency_histogram_us"`
	Errors           map[string]int64 `json:"errors"`
	Missed           int64            `json:"missed"`
	ClientCPUSeconds float64          `json:"client_cpu_seconds"`
}

// runLoad runs `wadi bench` against a node, in a process of its own, so that the
// processor time of the load is not the node's nor this command's.
func (s *sitting) runLoad(ctx context.Context, node *localstack.Node, args ...string) (loadResult, error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.phase()+loadGrace)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.options.wadi, append(slices.Concat([]string{"bench"}, args), "--server", node.URL, "--json")...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	var result loadResult
	if err := cmd.Run(); err != nil {
		return result, fmt.Errorf("wadi bench %v: %w: %s", args, errors.Join(err, context.Cause(ctx)), bytes.TrimSpace(problems.Bytes()))
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		return result, fmt.Errorf("wadi bench %v: %w", args, err)
	}
	return result, nil
}

// measure runs a load and notes what it came to and what it cost the node, as
// figures whose names begin with name.
func (s *sitting) measure(ctx context.Context, node *localstack.Node, name string, args ...string) error {
	s.say(name)
	before, err := s.costs(ctx, node)
	if err != nil {
		return err
	}
	stopProfile := s.profile(ctx, node, name)
	result, err := s.runLoad(ctx, node, args...)
	if err = errors.Join(err, stopProfile()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	after, err := s.costs(ctx, node)
	if err != nil {
		return err
	}
	size := float64(result.Bytes) / gib
	for figure, value := range map[string]float64{
		"bytes_per_second":    result.BytesPerSec,
		"requests_per_second": result.RequestsPerSec,
		"p50_seconds":         result.Latency.P50 / 1e6,
		"p90_seconds":         result.Latency.P90 / 1e6,
		"p99_seconds":         result.Latency.P99 / 1e6,
		"p99_9_seconds":       result.Latency.P999 / 1e6,
		"cpu_per_gib":         (after.cpu - before.cpu).Seconds() / size,
		"cpu_per_request":     (after.cpu - before.cpu).Seconds() / float64(result.Requests),
		"peak_bytes":          float64(after.peak),
		"puts_per_gib":        (after.puts - before.puts) / size,
		"puts_per_second":     (after.puts - before.puts) / result.Seconds,
		"dollars_per_tib":     (after.dollars - before.dollars) / size * 1024,
		"gets":                after.gets - before.gets,
		"store_bytes_read":    (after.read - before.read) / float64(result.Bytes),
		"client_cpu_per_gib":  result.ClientCPUSeconds / size,
	} {
		s.figures.add(name+"."+figure, value)
	}
	s.histograms.add(name, result.Histogram)
	s.noteFailures(name, result)
	return nil
}

func (s *sitting) noteFailures(name string, result loadResult) {
	for kind, n := range result.Errors {
		s.note("%s: %d requests failed with %s", name, n, kind)
	}
	if result.Missed > 0 {
		s.note("%s: %d requests behind the target rate", name, result.Missed)
	}
}

// costs are what a node has used up so far.
type costs struct {
	cpu      time.Duration
	peak     int64 // highest memory since costs were asked for the last time
	puts     float64
	gets     float64
	requests float64 // of all kinds
	dollars  float64 // for them, at list price
	read     float64 // bytes, from the store
}

func (s *sitting) costs(ctx context.Context, node *localstack.Node) (costs, error) {
	metrics, err := scrape(ctx, node.URL)
	if err != nil {
		return costs{}, err
	}
	c := costs{
		puts:     metrics.sum(storeRequests, "put", "put-if-absent", "put-stream"),
		gets:     metrics.sum(storeRequests, "get", "get-range"),
		requests: metrics.sum(storeRequests),
		read:     metrics.sum(storeBytes, "get", "get-range"),
		dollars:  metrics.dollars(),
	}
	if c.cpu, c.peak, err = node.Usage(); err != nil {
		return c, err
	}
	return c, resetPeak(node.PID())
}

// profile takes a CPU profile of the node while a load runs, if any are wanted.
func (s *sitting) profile(ctx context.Context, node *localstack.Node, name string) (stop func() error) {
	if s.options.profiles == "" {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() { done <- s.saveProfile(ctx, name) }()
	return func() error { return <-done }
}

// saveProfile keeps the profile of the last round.
func (s *sitting) saveProfile(ctx context.Context, name string) error {
	seconds := max(1, int(s.options.seconds))
	body, err := get(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.pprof, seconds))
	if err != nil {
		return err
	}
	return os.WriteFile(fmt.Sprintf("%s/%s.pprof", s.options.profiles, name), body, 0o644)
}
