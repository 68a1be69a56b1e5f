// Command flights sends a file of flights through a node on a local MinIO, with
// the commands that a person would use, kills the node with SIGKILL while lines
// are produced, reads everything back and compares. It exits with 1 if a line
// is missing, repeated, changed or out of its key's order, or an offset is.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/wadilog/wadi/localstack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		fmt.Println("verdict: FAILED")
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	o := localstack.FlightsOptions{Prefix: "flights"}
	flags := flag.NewFlagSet("flights", flag.ExitOnError)
	flags.StringVar(&o.Wadi, "wadi", "bin/wadi", "the command to test")
	flags.StringVar(&o.Input, "input", "", "NDJSON `file`, perhaps with gzip")
	flags.IntVar(&o.Partitions, "partitions", 8, "partitions of the topic")
	flags.IntVar(&o.BatchBytes, "batch", 1<<20, "bytes of a produce request before compression")
	flags.IntVar(&o.Kills, "kills", 3, "times that the node is killed")
	flags.IntVar(&o.ProducerKills, "producer-kills", 1, "times that the producer is killed, which then resumes")
	flags.BoolVar(&o.DeleteData, "delete-data", false, "delete the node's data directory after each kill")
	keep := flags.String("dir", "", "`folder` for data and logs, which stays (default a temporary one)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.Wadi, err = filepath.Abs(o.Wadi); err != nil {
		return err
	}
	if o.Dir = *keep; o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "wadi-flights-"); err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = os.RemoveAll(o.Dir)
				return
			}
			err = fmt.Errorf("%w\nlogs are in %s", err, o.Dir)
		}()
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	o.Progress = func(text string) { say("%s", text) }

	if o.MinIO, err = localstack.StartMinIO(ctx, filepath.Join(o.Dir, "minio")); err != nil {
		return err
	}
	defer func() {
		if stopErr := o.MinIO.Stop(); err == nil {
			err = stopErr
		}
	}()
	report, err := localstack.RunFlights(ctx, o)
	if err != nil {
		return err
	}
	say("producer: %s", report.ProducerTold)
	say("produced in %s (%s), the node killed %d times and the producer %d times meanwhile",
		round(report.Produce), rate(report.Input, report.Produce), report.Kills, o.ProducerKills)
	say("consumed in %s (%s), records by partition: %s", round(report.Consume), rate(report.Replayed, report.Consume), report.Partitions)
	say("node in its last life: %s of processor time, %s resident at most",
		round(report.NodeCPU), humanize.IBytes(uint64(report.NodePeakRSS)))
	say("%s lines in, %s lines out, checksum %016x both; each of %d keys in its order, offsets dense",
		humanize.Comma(report.Input.Lines), humanize.Comma(report.Replayed.Lines), report.Replayed.Sum, report.Replayed.Keys())
	say("verdict: the same")
	return nil
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

func rate(d *localstack.LineDigest, took time.Duration) string {
	return fmt.Sprintf("%s/s", humanize.Bytes(uint64(float64(d.Bytes)/max(took.Seconds(), 1e-9))))
}
