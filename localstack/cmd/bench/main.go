package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
)

// options are the flags.
type options struct {
	wadi     string
	rounds   int
	seconds  float64
	payload  string
	jsonFile string
	profiles string
	s3Shape  string
	memory   string
	flights  string
	parts    partSet
}

func (o *options) define(flags *flag.FlagSet) {
	flags.StringVar(&o.wadi, "wadi", "bin/wadi", "the `binary` to measure")
	flags.IntVar(&o.rounds, "rounds", 3, "how often each phase runs; a row is the median")
	flags.Float64Var(&o.seconds, "seconds", 4, "length of a phase")
	flags.StringVar(&o.payload, "payload", "random", "what records hold: random or log")
	flags.StringVar(&o.jsonFile, "json", "", "`file` to write every figure to")
	flags.StringVar(&o.s3Shape, "s3-shape", "", "`binary` of localstack/cmd/s3-shape, to measure by way of it; none for the bare MinIO")
	flags.StringVar(&o.memory, "memory-limit", "512MiB", "of the nodes")
	flags.StringVar(&o.flights, "flights", "", "`file` of flights for the part compaction, which is left out without")
	o.parts = allParts()
	flags.Var(&o.parts, "parts", "which of "+o.parts.String()+" to measure")
	flags.StringVar(&o.profiles, "profiles", "", "`folder` for a CPU profile of the node per phase; it costs some speed")
}

func (o *options) validate() error {
	switch {
	case o.rounds < 1 || o.rounds > 100:
		return errors.New("--rounds is not between 1 and 100")
	case !(o.seconds >= 0.5 && o.seconds <= 600):
		return errors.New("--seconds is not between 0.5 and 600")
	case o.payload != "random" && o.payload != "log":
		return errors.New("--payload is neither random nor log")
	case len(o.parts) == 0:
		return errors.New("--parts names none")
	}
	if _, err := humanize.ParseBytes(o.memory); err != nil {
		return fmt.Errorf("--memory-limit: %w", err)
	}
	return nil
}

// phase is the length of one phase.
func (o *options) phase() time.Duration { return time.Duration(o.seconds * float64(time.Second)) }

func main() {
	var o options
	o.define(flag.CommandLine)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out, progress io.Writer) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return err
		}
	}
	machine := describeMachine()
	began := time.Now()
	s, err := newSitting(ctx, o, progress)
	if err != nil {
		return err
	}
	for n := range o.rounds {
		if err = s.round(ctx, n); err != nil {
			err = fmt.Errorf("round %d: %w", n+1, err)
			break
		}
	}
	if err = errors.Join(err, s.close()); err != nil {
		return err
	}
	r := report{machine: machine, options: o, took: time.Since(began), figures: s.figures, histograms: s.histograms, notes: s.notes}
	if err := r.print(out); err != nil {
		return err
	}
	if o.jsonFile == "" {
		return nil
	}
	return r.writeJSON(o.jsonFile)
}
