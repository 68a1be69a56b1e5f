// Command soak runs nodes on a local MinIO whose topics keep a minute, puts a
// steady load on them while it kills and freezes them and their store, and checks
// each answer against a naive model, that the bytes in the bucket stay level, and
// what is left there at the end. `make soak` calls it:
//
//	go run ./localstack/cmd/soak --wadi ./bin/wadi [--seed N] [--nodes 3] [--duration 10m] [--faults=false]
//
// It exits with 1 on FAIL, and then leaves data and logs in the folder that it names.
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

	"github.com/wadilog/wadi/localstack/soak"
)

// errFailed says that something is wrong with the system; what it was is printed.
var errFailed = errors.New("FAIL")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	var o soak.Options
	flags := flag.NewFlagSet("soak", flag.ExitOnError)
	flags.StringVar(&o.Binary, "wadi", "bin/wadi", "the command to test")
	flags.Uint64Var(&o.Seed, "seed", 0, "of the faults and the load (default one by chance)")
	flags.IntVar(&o.Nodes, "nodes", 3, "how many nodes")
	flags.DurationVar(&o.Lasts, "duration", 10*time.Minute, "time with load")
	flags.BoolVar(&o.Faults, "faults", true, "kill and freeze nodes, and the store")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.Binary, err = filepath.Abs(o.Binary); err != nil {
		return err
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	if o.Dir, err = os.MkdirTemp("", "wadi-soak-"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w; data and logs are in %s", err, o.Dir)
			return
		}
		err = os.RemoveAll(o.Dir)
	}()
	o.Say = func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	o.Say("seed: %d", o.Seed)
	report, err := soak.Run(ctx, o)
	if report != nil {
		tell(report, o.Say)
	}
	if err == nil && len(report.Findings) > 0 {
		err = errFailed
	}
	return err
}

func tell(r *soak.Report, say func(string, ...any)) {
	say("%v", r.Counts)
	say("faults: %v", r.Hits)
	say("bytes of segments in the bucket: %d at the most; %.2f for each byte that may be kept in the first third, %.2f in the last", r.Peak, r.First, r.Last)
	say("bytes of journal and snapshots: %d at the most", r.CatalogPeak)
	if r.End != nil {
		say("at the end: %s", r.End)
	}
	say("%d findings", len(r.Findings))
}
