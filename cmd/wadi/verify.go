package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/stores"
	"github.com/wadilog/wadi/verify"
)

// shard is that of the catalog.
const shard = "000"

// errDamaged ends wadi verify when something is damaged.
var errDamaged = errors.New("the log is damaged")

// verifyFlags are those of wadi verify.
type verifyFlags struct {
	store  string
	config verify.Config
	json   bool
	all    bool
}

// openExistingStore opens a store that is only to be read.
func openExistingStore(ctx context.Context, url string) (objstore.Bucket, func() error, error) {
	options := stores.DefaultOptions()
	options.Existing = true
	return stores.Open(ctx, url, options)
}

func newVerifyCommand(env *environment, open storeOpener) *cobra.Command {
	f := verifyFlags{config: verify.DefaultConfig()}
	cmd := &cobra.Command{
		Use:   "verify --store URL",
		Short: "Prove from the store alone that a log is whole",
		Long: `Read the journal, the snapshots and every segment of a log, and check that
nothing is damaged, missing or at odds with anything else. It needs no node, writes
nothing, and may run beside nodes at work.

What is damaged is printed line by line, with the object's key, the bytes, and the
topic, partition and offsets concerned. What is no damage is counted (--all lists
it): orphans, which are segments that the catalog does not know, uploads that were
not completed, and keys that are not Wadi's.

The exit status is 0 if the log is whole, 1 if something is damaged, and 2 if it
could not be checked, or not all of it.`,
		Example: `  wadi verify --store 's3://wadi?endpoint=http://127.0.0.1:9000'
  wadi verify --store file:///var/lib/wadi --metadata-only
  wadi verify --store s3://logs/prod --topic flights --json > report.ndjson`,
		Args: positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env, open) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.store, "store", "", "`URL` of the object store")
	flags.BoolVar(&f.config.Metadata, "metadata-only", false, "do not read the segments, only check that they are there in their length")
	flags.StringArrayVar(&f.config.Topics, "topic", nil, "only check the segments with records of this `topic`; may be given again")
	flags.IntVar(&f.config.Concurrency, "concurrency", f.config.Concurrency, "objects read at once")
	bytesFlag(flags, &f.config.BytesInFlight, "bytes-in-flight", f.config.BytesInFlight, "of segments held in memory")
	flags.BoolVar(&f.all, "all", false, "list what is no damage, too")
	flags.BoolVar(&f.json, "json", false, "print each finding and then the summary as a line of JSON")
	return cmd
}

func (f *verifyFlags) run(ctx context.Context, env *environment, open storeOpener) (err error) {
	if f.store == "" {
		return usagef("--store is needed")
	}
	if err := f.config.Validate(); err != nil {
		return &usageError{err}
	}
	bucket, closeStore, err := open(ctx, f.store)
	if err != nil {
		return &statusError{exitUnchecked, err}
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	var writeErr error
	v, err := verify.New(f.config, bucket, shard, slog.New(slog.DiscardHandler), func(found verify.Finding) {
		writeErr = errors.Join(writeErr, f.print(env, found))
	})
	if err != nil {
		return err
	}
	begun := time.Now()
	bar := startProgressOf(env, "verify", true, v.Progress)
	summary, err := v.Run(ctx)
	bar.stop()
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	writeErr = errors.Join(writeErr, f.printSummary(env, summary, time.Since(begun)))
	switch {
	case writeErr != nil:
		return writeErr
	case !summary.Whole && err != nil:
		return fmt.Errorf("%w, and not all of it could be checked: %w", errDamaged, err)
	case !summary.Whole:
		return fmt.Errorf("%w: %d findings in %d objects", errDamaged, summary.Damages, summary.DamagedKeys)
	case err != nil:
		return &statusError{exitUnchecked, fmt.Errorf("could not be checked: %w", err)}
	case !summary.Complete:
		return &statusError{exitUnchecked, fmt.Errorf("%d objects could not be read", summary.UnreadObjects)}
	}
	return nil
}

// print prints a finding, unless it is no damage and was not asked for.
func (f *verifyFlags) print(env *environment, found verify.Finding) error {
	if f.json {
		return printLine(env, "finding", found)
	}
	// An orphan with a reason may hold records that were acknowledged.
	serious := found.Class == verify.Damage || found.Class == verify.Unread || found.Class == verify.Orphan && found.Reason != ""
	if !f.all && !serious {
		return nil
	}
	line := found.String()
	if found.Size > 0 {
		line += ", " + humanize.IBytes(uint64(found.Size))
	}
	if found.AgeMs > 0 {
		line += ", " + (time.Duration(found.AgeMs) * time.Millisecond).Round(time.Second).String() + " old"
	}
	_, err := fmt.Fprintln(env.out, line)
	return err
}

// printLine prints a value as one line of JSON, under its name.
func printLine(env *environment, name string, value any) error {
	encoder := json.NewEncoder(env.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(map[string]any{name: value})
}

func (f *verifyFlags) printSummary(env *environment, s verify.Summary, took time.Duration) error {
	if f.json {
		return printLine(env, "summary", s)
	}
	var b strings.Builder
	size := func(n int64) string { return humanize.IBytes(uint64(n)) }
	fmt.Fprintf(&b, "journal: up to slot %d, %d entries and %d snapshots checked\n", s.Slot, s.Entries, s.Snapshots)
	if s.Slot < s.End {
		fmt.Fprintf(&b, "the journal goes on to slot %d and cannot be followed: of what was committed after slot %d nothing is known, and its segments count as orphans\n", s.End, s.Slot)
	}
	fmt.Fprintf(&b, "log: %d topics, %d partitions, %d records in %d extents\n", s.Topics, s.Partitions, s.Records, s.Extents)
	fmt.Fprintf(&b, "segments: %d checked, %s read in %s\n", s.Segments, size(s.SegmentBytes), took.Round(time.Millisecond))
	fmt.Fprintf(&b, "garbage: %d objects, %s; orphans: %d, %s; uploads not completed: %d\n",
		s.Garbage, size(s.GarbageBytes), s.Orphans, size(s.OrphanBytes), s.Uploads)
	if s.Leftovers > 0 || s.Foreign > 0 {
		fmt.Fprintf(&b, "leftovers of the journal: %d; keys that are not Wadi's: %d\n", s.Leftovers, s.Foreign)
	}
	if s.Whole && s.Complete {
		fmt.Fprintln(&b, "whole")
	}
	_, err := fmt.Fprint(env.out, b.String())
	return err
}
