package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/wadilog/wadi/localstack/chaos"
)

// errFailed says that a promise was seen broken; what it was is printed.
var errFailed = errors.New("the run failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	o := chaos.Options{Load: chaos.DefaultLoadConfig()}
	flags := flag.NewFlagSet("chaos", flag.ExitOnError)
	flags.StringVar(&o.Fleet.Binary, "wadi", "bin/wadi", "the command to test")
	flags.Uint64Var(&o.Seed, "seed", 0, "of the faults and the load (default one by chance)")
	flags.IntVar(&o.Fleet.Nodes, "nodes", 3, "nodes at the start")
	flags.IntVar(&o.Fleet.Extra, "extra", 2, "nodes that may be added")
	flags.IntVar(&o.Cycles, "cycles", 0, "cycles of faults, at least")
	flags.DurationVar(&o.Lasts, "duration", 0, "time with faults, at least")
	flags.IntVar(&o.FaultsMin, "faults-min", 0, "fail with fewer faults")
	flags.Int64Var(&o.RecordsMin, "records-min", 0, "fail with fewer acknowledged records")
	flags.Float64Var(&o.Load.Rate, "rate", o.Load.Rate, "records per second to aim at, 0 for as many as go")
	flags.Func("node-env", "`NAME=value` for the environment of nodes; may be repeated", func(setting string) error {
		o.Fleet.Env = append(o.Fleet.Env, setting)
		return nil
	})
	scenario := flags.String("scenario", "chaos", "chaos, takeover (kill -9 of the leader, gaps measured) or rolling (restarts without a failed request)")
	rounds := flags.Int("rounds", 5, "rounds of takeover and rolling")
	keep := flags.String("dir", "", "`folder` for data and logs, which stays (default a temporary one)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.Fleet.Binary, err = filepath.Abs(o.Fleet.Binary); err != nil {
		return err
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	if *keep != "" {
		o.Fleet.Dir, err = filepath.Abs(*keep)
		if err == nil {
			err = os.MkdirAll(o.Fleet.Dir, 0o755)
		}
	} else {
		o.Fleet.Dir, err = os.MkdirTemp("", "wadi-chaos-")
	}
	if err != nil {
		return err
	}
	defer func() {
		switch {
		case err != nil:
			err = fmt.Errorf("%w; data and logs are in %s", err, o.Fleet.Dir)
		case *keep == "":
			err = os.RemoveAll(o.Fleet.Dir)
		}
	}()
	o.Say = func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	o.Say("seed: %d", o.Seed)
	report, err := play(ctx, *scenario, o, *rounds)
	if err != nil {
		if report != nil && len(report.Findings) > 0 {
			err = errors.Join(err, report.Write(out))
		}
		return err
	}
	if err := report.Write(out); err != nil {
		return err
	}
	if !report.Passed() {
		return errFailed
	}
	return nil
}

// play runs a scenario.
func play(ctx context.Context, scenario string, o chaos.Options, rounds int) (*chaos.Report, error) {
	switch scenario {
	case "chaos":
		return chaos.Run(ctx, o)
	case "rolling":
		return chaos.RunRolling(ctx, o, rounds)
	case "takeover":
		o.Load = chaos.TakeoverLoad()
		report, takeovers, err := chaos.RunTakeover(ctx, o, rounds)
		if err != nil {
			return report, err
		}
		var all, one time.Duration
		for _, t := range takeovers {
			all, one = max(all, t.All), max(one, t.One)
		}
		o.Say("%d leaders killed: at most %s without any acknowledgement, and %s for one producer (goal %s)",
			len(takeovers), all.Round(time.Millisecond), one.Round(time.Millisecond), chaos.TakeoverGoal)
		return report, nil
	default:
		return nil, fmt.Errorf("no such scenario: %q", scenario)
	}
}
