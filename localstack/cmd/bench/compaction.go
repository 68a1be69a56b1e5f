package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"time"

	"github.com/wadilog/wadi/localstack"
)

const (
	flightsTopic      = "flights"
	flightsPartitions = 8
	// smallSegment is what a log has much of whose nodes flush every quarter of a
	// second what little they got.
	smallSegment = 64 << 10
	// smallBatch fills such a segment from all partitions at once, compressed.
	smallBatch = 16 << 10
	// compactionMax is how long all jobs may take together.
	compactionMax  = 10 * time.Minute
	compactionPoll = 200 * time.Millisecond
)

// compactionRows are those of the part "compaction".
var compactionRows = []row{
	{title: "replay of small segments, cold", figure: "replay.small.bytes_per_second", unit: megabytesPerSecond, load: "replay.small"},
	{title: "  GETs", figure: "replay.small.gets", unit: count},
	{title: "  the same compacted", figure: "replay.compacted.bytes_per_second", unit: megabytesPerSecond, load: "replay.compacted",
		goal: atLeastOf("3 × that", func(f figures) float64 { return 3 * f.median("replay.small.bytes_per_second") })},
	{title: "  GETs, compacted", figure: "replay.compacted.gets", unit: count,
		goal: atMostOf("1/20", func(f figures) float64 { return f.median("replay.small.gets") / 20 })},
	{title: "  extents, small", figure: "replay.small.extents", unit: count},
	{title: "  compaction", figure: "compaction.seconds", unit: seconds},
}

// compaction produces the flights in small segments and replays them with a fresh
// node, before and after another one has compacted them. What comes out must be the
// same both times.
func (s *sitting) compaction(ctx context.Context, dir string, _ *rawStore) error {
	if s.options.flights == "" {
		s.note("compaction: left out without --flights")
		return nil
	}
	at := func(args ...string) localstack.NodeOptions {
		o := s.nodeOptions(dir, "flights")
		o.Args = append(o.Args, args...)
		return o
	}
	var before, after replayDigest
	plain := at("--compaction=off")
	return inOrder(
		func() error {
			return s.withLog(ctx, at("--compaction=off", "--flush-bytes", strconv.Itoa(smallSegment)), func(node *localstack.Node) error {
				s.say("produce flights")
				return s.wadi(ctx, node, io.Discard, "produce", flightsTopic, "--key-field", "origin", "--quiet",
					"--create", strconv.Itoa(flightsPartitions), "--batch", strconv.Itoa(smallBatch), s.options.flights)
			})
		},
		func() error { return s.withLog(ctx, plain, s.replayFlights(ctx, "replay.small", &before)) },
		func() error {
			return s.withLog(ctx, at("--compaction-min-age=0s", "--compaction-rate=1GiB"), func(node *localstack.Node) error {
				return s.compact(ctx, node)
			})
		},
		func() error { return s.withLog(ctx, plain, s.replayFlights(ctx, "replay.compacted", &after)) },
		func() error {
			if before != after {
				return fmt.Errorf("the compacted flights are others: %+v where %+v were", after, before)
			}
			s.note("compaction: %d flights, the same before and after", before.lines)
			return nil
		},
	)
}

// replayFlights measures a replay by a node that was just started, and then reads all
// of it once more as people would.
func (s *sitting) replayFlights(ctx context.Context, name string, digest *replayDigest) func(*localstack.Node) error {
	return func(node *localstack.Node) error {
		err := s.measure(ctx, node, name, "fetch", flightsTopic, "--connections", strconv.Itoa(flightsPartitions), "--once")
		if err != nil {
			return err
		}
		s.say(name + ", compared")
		return s.wadi(ctx, node, digest, "consume", flightsTopic, "--quiet", "--format", `%p\t%o\t%t\t%k\t%v`)
	}
}

// compact returns when a node has joined what was small.
func (s *sitting) compact(ctx context.Context, node *localstack.Node) error {
	s.say("compaction")
	ctx, cancel := context.WithTimeout(ctx, compactionMax)
	defer cancel()
	began := time.Now()
	tick := time.NewTicker(compactionPoll)
	defer tick.Stop()
	for {
		m, err := scrape(ctx, node.URL)
		if err != nil {
			return err
		}
		// The backlog is that of before the first job.
		seen, replaced := m["wadi_compactor_backlog_extents"], m["wadi_compactor_replaced_extents_total"]
		// A job is not begun for a few extents that are left.
		if seen > 0 && replaced >= seen*19/20 && m["wadi_compactor_running_jobs"] == 0 {
			s.figures.add("replay.small.extents", seen)
			s.figures.add("compaction.seconds", time.Since(began).Seconds())
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%g of %g small extents were replaced: %w; end of the node's log:\n%s", replaced, seen, ctx.Err(), node.LogTail())
		}
	}
}

// wadi runs a command against a node.
func (s *sitting) wadi(ctx context.Context, node *localstack.Node, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, s.options.wadi, append(args, "--server", node.URL)...)
	var problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &problems
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("wadi %s: %w: %s", args[0], errors.Join(err, ctx.Err()), bytes.TrimSpace(problems.Bytes()))
	}
	return nil
}

// replayDigest sums up lines, in whatever order those of different partitions come.
type replayDigest struct {
	lines uint64
	sum   uint64 // of the FNV-1a of each line
	line  uint64 // hash of the line that has begun, 0 if none has
}

// Write implements io.Writer.
func (d *replayDigest) Write(text []byte) (int, error) {
	const offsetBasis, prime = 14695981039346656037, 1099511628211
	for _, c := range text {
		if d.line == 0 {
			d.line = offsetBasis
		}
		if c == '\n' {
			d.lines++
			d.sum += d.line
			d.line = 0
			continue
		}
		d.line = (d.line ^ uint64(c)) * prime
	}
	return len(text), nil
}
