package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore/stores"
	"github.com/wadilog/wadi/localstack"
)

// options are the flags.
type options struct {
	partitions int
	extents    int64
	appends    int
	garbage    int
	slots      int
	latency    time.Duration
	memory     int64
	profile    string
	dir        string
}

func (o *options) define(flags *flag.FlagSet) {
	flags.IntVar(&o.partitions, "partitions", 1_000_000, "partitions of the state, in topics of 1,000")
	flags.Int64Var(&o.extents, "extents", 9_900_000, "extents of the state; commits of the measurement come on top")
	flags.IntVar(&o.appends, "appends", 100, "partitions in one commit")
	flags.IntVar(&o.garbage, "garbage", 1_000_000, "objects of garbage")
	flags.IntVar(&o.slots, "slots", 0, "measure the start from a journal of so many slots instead")
	flags.DurationVar(&o.latency, "latency", 20*time.Millisecond, "with --slots: what each GET takes longer the second time")
	flags.Int64Var(&o.memory, "memory", 0, "the runtime's memory limit in `MiB`, as --memory-limit sets it for a node (default none)")
	flags.StringVar(&o.profile, "profile", "", "`file` for a CPU profile")
	flags.StringVar(&o.dir, "dir", "", "`folder` for MinIO's data (default a temporary one)")
}

func (o *options) validate() error {
	switch {
	case o.partitions < 1 || o.partitions > catalog.PartitionsMax:
		return fmt.Errorf("--partitions is not between 1 and %d", catalog.PartitionsMax)
	case o.extents < 0 || o.extents > catalog.ExtentsMax:
		return fmt.Errorf("--extents is not between 0 and %d", catalog.ExtentsMax)
	case o.appends < 1 || o.appends > topicPartitions:
		return fmt.Errorf("--appends is not between 1 and %d", topicPartitions)
	case o.slots < 0 || o.garbage < 0 || o.memory < 0 || o.latency < 0:
		return errors.New("a number is negative")
	}
	return nil
}

func main() {
	var o options
	o.define(flag.CommandLine)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if o.memory > 0 {
		// A node keeps an eighth for what is not the runtime's.
		debug.SetMemoryLimit(o.memory << 20 / 8 * 7)
	}
	minio, err := localstack.StartMinIO(ctx, o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, minio.Stop()) }()
	for _, variable := range minio.Env() {
		name, value, _ := strings.Cut(variable, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	bucket, closeBucket, err := stores.Open(ctx, minio.StoreURL("metascale"), stores.DefaultOptions())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBucket()) }()
	r := report{out}
	load, _ := os.ReadFile("/proc/loadavg")
	before, _, _ := strings.Cut(string(load), " ")
	r.title(fmt.Sprintf("%d cores, %s, load average %s before", runtime.NumCPU(), runtime.Version(), before))
	if o.slots > 0 {
		return measureStart(ctx, o, bucket, r)
	}
	return measureState(ctx, o, bucket, r)
}
