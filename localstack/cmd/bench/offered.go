package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/wadilog/wadi/localstack"
)

// The loads of the part "offered".
const (
	producers         = 8
	producerRequests  = 5   // in flight for each: as many as a producer may have on a partition
	openConnections   = 256 // enough that a load with a rate is never short of one
	steadyPhases      = 5   // a steady load takes so many phases, for the sake of its p99
	offeredTopic      = "offered"
	localSuffix       = ".local"
	producersLockstep = "producers.8x1"
	producersPipeline = "producers.8x5"
)

// shares of saturation, in percent.
var shares = []int{10, 50, 90}

// steadies are loads of 5 MB/s, by their bodies.
var steadies = []struct {
	figure, title, batch string
	rate                 int
}{
	{"steady.1mib", "5 MB/s, 1 MiB in a request", "1MiB", 5},
	{"steady.64kib", "5 MB/s, 64 KiB in a request", "64KiB", 80},
}

// offered measures what a node answers when it is offered a load of a given size.
func (s *sitting) offered(ctx context.Context, dir string, _ *rawStore) error {
	err := s.withLog(ctx, s.nodeOptions(dir, "offered"), func(node *localstack.Node) error {
		if err := s.eightProducers(ctx, node, ""); err != nil {
			return err
		}
		for _, steady := range steadies {
			err := s.measure(ctx, node, steady.figure, s.produceArgs(offeredTopic, "recordbatch", openConnections,
				"--rate", strconv.Itoa(steady.rate), "--batch", steady.batch, "--duration", (steadyPhases*s.options.phase()).String())...)
			if err != nil {
				return err
			}
		}
		const saturation = "offered.100"
		if err := s.measure(ctx, node, saturation, s.produceArgs(offeredTopic, "recordbatch", saturating)...); err != nil {
			return err
		}
		most := s.figures[saturation+".requests_per_second"][s.number]
		for _, share := range shares {
			rate := strconv.FormatFloat(most*float64(share)/100, 'f', 1, 64)
			err := s.measure(ctx, node, offeredFigure(share), s.produceArgs(offeredTopic, "recordbatch", openConnections, "--rate", rate)...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || s.shape == nil {
		return err
	}
	o := s.nodeOptions(dir, "offered-local")
	o.Store = s.minio.StoreURL(fmt.Sprintf("offered-local-%d", s.number+1))
	return s.withLog(ctx, o, func(node *localstack.Node) error { return s.eightProducers(ctx, node, localSuffix) })
}

func offeredFigure(share int) string { return fmt.Sprintf("offered.%d", share) }

// eightProducers measures producers of 1 MiB a request, in lockstep and with
// several requests in flight.
func (s *sitting) eightProducers(ctx context.Context, node *localstack.Node, suffix string) error {
	return inOrder(
		func() error {
			return s.measure(ctx, node, producersLockstep+suffix, s.produceArgs(offeredTopic, "recordbatch", producers)...)
		},
		func() error {
			return s.measure(ctx, node, producersPipeline+suffix, s.produceArgs(offeredTopic, "recordbatch", producers*producerRequests)...)
		},
	)
}

// shapedAck is the goal for an acknowledgement of a slow store, by quantile.
func shapedAck(quantile string, factor float64) func(figures) float64 {
	return func(f figures) float64 {
		return factor * (f.median("raw.small_put."+quantile+"_seconds") + f.median("raw.put_if_absent."+quantile+"_seconds"))
	}
}

// offeredRows are the lines of the table for offered loads.
func offeredRows(shaped bool) []row {
	lockstep, pipeline := producersLockstep+".bytes_per_second", producersPipeline+".bytes_per_second"
	rows := []row{
		{title: "8 producers, 1 request in flight each", figure: lockstep, unit: megabytesPerSecond, load: producersLockstep},
		{title: "8 producers, 5 requests in flight each", figure: pipeline, unit: megabytesPerSecond, load: producersPipeline},
	}
	if shaped {
		localPipeline := producersPipeline + localSuffix
		rows[1].goal = atLeastOf("half the local one", func(f figures) float64 { return f.median(localPipeline+".bytes_per_second") / 2 })
		rows = append(rows,
			row{title: "  local store, 1 request in flight each", figure: producersLockstep + localSuffix + ".bytes_per_second", unit: megabytesPerSecond, load: producersLockstep + localSuffix},
			row{title: "  local store, 5 requests in flight each", figure: localPipeline + ".bytes_per_second", unit: megabytesPerSecond, load: localPipeline},
		)
	}
	for _, steady := range steadies {
		p50 := row{title: steady.title + ", p50", figure: steady.figure + ".p50_seconds", unit: milliseconds, load: steady.figure}
		p99 := row{title: steady.title + ", p99", figure: steady.figure + ".p99_seconds", unit: milliseconds}
		if shaped {
			p50.goal = atMostOf("1.25 × (PUT + put-if-absent)", shapedAck("p50", 1.25))
			p99.goal = atMostOf("PUT + put-if-absent", shapedAck("p99", 1))
		}
		rows = append(rows, p50, p99)
	}
	for _, share := range shares {
		name := offeredFigure(share)
		rows = append(rows,
			row{title: fmt.Sprintf("%d%% of saturation, p50", share), figure: name + ".p50_seconds", unit: milliseconds, load: name},
			row{title: "  p90", figure: name + ".p90_seconds", unit: milliseconds},
			row{title: "  p99", figure: name + ".p99_seconds", unit: milliseconds},
			row{title: "  p99.9", figure: name + ".p99_9_seconds", unit: milliseconds},
		)
	}
	return rows
}
