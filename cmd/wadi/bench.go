package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"
)

// The values of --format.
const (
	formatRecordBatch = "recordbatch"
	formatNDJSON      = "ndjson"
	formatJSON        = "json"
	formatRaw         = "raw"
)

// defaultBenchTopic is what a load is written to and read from.
const defaultBenchTopic = "bench"

// benchFlags are those that all loads share.
type benchFlags struct {
	connections int
	rate        float64
	duration    time.Duration
	json        bool
}

func newBenchCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a node or a store",
		Long: `Measure a node or a store with a load that ends by itself.

With --rate latency counts from the time at which a request was due, so that a
stall weighs as much as it does for those who wait.`,
	}
	group(cmd)
	cmd.AddCommand(newBenchProduceCommand(env), newBenchFetchCommand(env), newBenchStoreCommand(env, openStore))
	return cmd
}

func (f *benchFlags) define(cmd *cobra.Command, connections int) {
	flags := cmd.Flags()
	flags.IntVar(&f.connections, "connections", connections, "requests in flight")
	flags.Float64Var(&f.rate, "rate", 0, "requests per second to aim at, 0 for as many as go")
	flags.DurationVar(&f.duration, "duration", 10*time.Second, "how long")
	flags.BoolVar(&f.json, "json", false, "print JSON")
}

func (f *benchFlags) validate() error {
	switch {
	case f.connections < 1 || f.connections > 4096:
		return usagef("--connections is not between 1 and 4096")
	case f.rate < 0 || math.IsNaN(f.rate) || math.IsInf(f.rate, 0):
		return usagef("--rate is not a number of requests per second")
	case f.duration <= 0 || f.duration > 24*time.Hour:
		return usagef("--duration is not between 0 and 24h")
	}
	return nil
}

// benchReport is what --json prints.
type benchReport struct {
	Bench    string         `json:"bench"`
	Settings map[string]any `json:"settings"`
	loadResult
}

// run runs a load and prints what it came to.
func (f *benchFlags) run(ctx context.Context, env *environment, name, title string, settings map[string]any, l *load,
	worker func(n int) func(context.Context) (loadStep, error)) error {
	bar := startProgress(env, name, -1, true, l.bytes.Load)
	result := l.run(ctx, worker)
	bar.stop()
	if result.gaveUp != nil {
		return fmt.Errorf("failed %d times in a row: %w", loadFailuresMax, result.gaveUp)
	}
	if result.Requests == 0 {
		if result.firstError != nil {
			return fmt.Errorf("no request succeeded: %w", result.firstError)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	if f.json {
		settings["connections"], settings["rate"], settings["duration_seconds"] = f.connections, f.rate, f.duration.Seconds()
		return printJSON(env.out, benchReport{name, settings, result})
	}
	if _, err := fmt.Fprintln(env.out, title); err != nil {
		return err
	}
	return result.print(env.out)
}
