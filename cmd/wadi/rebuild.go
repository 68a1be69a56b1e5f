package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/wadilog/wadi/rebuild"
)

// leftOutShown bounds the objects named in the text of a report.
const leftOutShown = 20

// rebuildFlags are those of wadi rebuild.
type rebuildFlags struct {
	store  string
	yes    bool
	json   bool
	config rebuild.Config
}

func newRebuildCommand(env *environment, open storeOpener) *cobra.Command {
	f := rebuildFlags{config: rebuild.DefaultConfig()}
	cmd := &cobra.Command{
		Use:   "rebuild --store URL",
		Short: "Rebuild a lost catalog from the segments",
		Long: `When the journal and the snapshots below catalog/ are lost, make a new catalog of
what the segments say of themselves, and say what could not be known.

Stop all nodes first: one that still runs goes on writing the journal that was lost,
and what it acknowledges then is lost. A journal, or any part of one, is never
written over.

Without --yes nothing is written, and the report is of what would be.`,
		Example: `  wadi rebuild --store s3://logs/prod
  wadi rebuild --store s3://logs/prod --yes --json > report.json`,
		Args: positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env, open) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.store, "store", "", "`URL` of the object store")
	flags.BoolVar(&f.yes, "yes", false, "write the catalog")
	flags.IntVar(&f.config.Read.Concurrency, "concurrency", f.config.Read.Concurrency, "segments read at once")
	flags.BoolVar(&f.json, "json", false, "print the report as JSON")
	return cmd
}

func (f *rebuildFlags) run(ctx context.Context, env *environment, open storeOpener) (err error) {
	if f.store == "" {
		return usagef("--store is needed")
	}
	if err := f.config.Validate(); err != nil {
		return &usageError{err}
	}
	bucket, closeStore, err := open(ctx, f.store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	b, err := rebuild.New(f.config, bucket, shard)
	if err != nil {
		return err
	}
	bar := startProgressOf(env, "read segments", false, func() (done, total int64) {
		if done, total = b.Progress(); total == 0 {
			total = -1
		}
		return done, total
	})
	report, err := b.Run(ctx, f.yes)
	bar.stop()
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return cause
	}
	if err != nil && !errors.Is(err, rebuild.ErrWrittenMeanwhile) {
		return err
	}
	return errors.Join(f.print(env, report), err)
}

func (f *rebuildFlags) print(env *environment, r rebuild.Report) error {
	if f.json {
		return printJSON(env.out, r)
	}
	var b strings.Builder
	verb := "rebuilt"
	if !f.yes {
		verb = "would be rebuilt"
	}
	fmt.Fprintf(&b, "%s: %d topics, %d partitions, %d records in %d extents of %d segments, %s\n",
		verb, len(r.Topics), r.Partitions, r.Records, r.Extents, r.Segments, humanize.IBytes(uint64(r.Bytes)))
	for _, t := range r.Topics {
		fmt.Fprintf(&b, "  %s: %d partitions, %d records\n", t.Name, t.Partitions, t.Records)
	}
	fmt.Fprintf(&b, "known again: %d nodes, %d producers; batches that were sent again and left out: %d, that came out of order: %d\n",
		r.Nodes, r.Producers, r.Duplicates, r.OutOfOrder)
	fmt.Fprintf(&b, "segments left out: %d\n", r.LeftOutCount)
	for i, o := range r.LeftOut {
		if i == leftOutShown {
			fmt.Fprintf(&b, "  and %d more; see --json\n", r.LeftOutCount-leftOutShown)
			break
		}
		fmt.Fprintf(&b, "  %s, %s: %s\n", o.Key, humanize.IBytes(uint64(o.Bytes)), o.Reason)
	}
	if r.LeftOutCount > 0 {
		fmt.Fprintln(&b, "  they are orphans now, and nodes delete them in a day or two; copy what is to be kept")
	}
	fmt.Fprintln(&b, "not known:")
	for _, line := range r.Unknown {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	if f.yes {
		fmt.Fprintf(&b, "written, as of slot %d; start the nodes, and run wadi verify\n", r.Slot)
	} else {
		fmt.Fprintln(&b, "nothing was written; run it again with --yes, with all nodes stopped")
	}
	_, err := fmt.Fprint(env.out, b.String())
	return err
}
