package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/wadilog/wadi/client"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// benchFetchFlags are those of wadi bench fetch.
type benchFetchFlags struct {
	benchFlags
	server     string
	format     string
	fetchBytes int64
	once       bool
}

func newBenchFetchCommand(env *environment) *cobra.Command {
	var f benchFetchFlags
	cmd := &cobra.Command{
		Use:   "fetch [TOPIC]",
		Short: "Measure replaying a topic",
		Long: `Measure replaying all partitions of a topic from their start, over and over until
the time is up, or with --once a single time.`,
		Example:           "  wadi bench fetch --once --connections 4",
		Args:              positional(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeTopic(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), env, append(args, defaultBenchTopic)[0])
		},
	}
	f.define(cmd, 4)
	serverFlag(cmd, &f.server)
	choiceFlag(cmd, &f.format, "format", formatRecordBatch, "of the answers", formatRecordBatch, formatNDJSON, formatJSON)
	bytesFlag(cmd.Flags(), &f.fetchBytes, "fetch-bytes", 4<<20, "bytes asked for in one request")
	cmd.Flags().BoolVar(&f.once, "once", false, "end when every record was read once")
	return cmd
}

// replay hands out ranges of a topic to those that read it. It is safe for
// concurrent use.
type replay struct {
	mu     sync.Mutex
	ranges []consumeRange // guarded by mu
	next   int            // guarded by mu
	once   bool
}

// take returns the next range, or false if every one was read.
func (r *replay) take() (consumeRange, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.once && r.next == len(r.ranges) {
		return consumeRange{}, false
	}
	r.next++
	return r.ranges[(r.next-1)%len(r.ranges)], true
}

func (f *benchFetchFlags) run(ctx context.Context, env *environment, topic string) error {
	if err := f.validate(); err != nil {
		return err
	}
	if f.fetchBytes < 1 || f.fetchBytes > client.FetchBytesMax {
		return usagef("--fetch-bytes is not between 1 and 64MiB")
	}
	if err := checkTopicName(topic); err != nil {
		return err
	}
	c, err := newClient(env, f.server, f.connections)
	if err != nil {
		return err
	}
	defer c.Close()
	info, err := c.GetTopic(ctx, topic)
	if err != nil {
		return err
	}
	bounds := make([]client.Offsets, info.Partitions)
	if err := eachPartition(ctx, info.Partitions, func(ctx context.Context, p int32) (err error) {
		bounds[p], err = c.Offsets(ctx, topic, p)
		return err
	}); err != nil {
		return err
	}
	source := &replay{once: f.once}
	for p, b := range bounds {
		if b.Start < b.End {
			source.ranges = append(source.ranges, consumeRange{int32(p), b.Start, b.End})
		}
	}
	if len(source.ranges) == 0 {
		return fmt.Errorf("topic %s is empty", topic)
	}
	title := fmt.Sprintf("fetch from %s: %d partitions, %d connections, %s answers", topic, info.Partitions, f.connections, f.format)
	settings := map[string]any{"topic": topic, "partitions": info.Partitions, "format": f.format, "fetch_bytes": f.fetchBytes, "once": f.once}
	load := loadSettings{workers: f.connections, rate: f.rate, duration: f.duration}
	if f.once {
		load.duration = 0
	}
	return f.benchFlags.run(ctx, env, "fetch", title, settings, newLoad(load), func(int) func(context.Context) (loadStep, error) {
		var at consumeRange
		return func(ctx context.Context) (loadStep, error) {
			if at.from >= at.to {
				var more bool
				if at, more = source.take(); !more {
					return loadStep{}, errLoadDone
				}
			}
			next, size, err := f.fetch(ctx, c, topic, at)
			if err != nil {
				return loadStep{}, err
			}
			step := loadStep{records: min(next, at.to) - at.from, bytes: size}
			at.from = next
			return step, nil
		}
	})
}

// fetch reads once from at.from, and returns where to go on and the size of the answer.
func (f *benchFetchFlags) fetch(ctx context.Context, c *client.Client, topic string, at consumeRange) (next, size int64, err error) {
	got, err := c.FetchEncoded(ctx, client.Fetch{
		Topic: topic, Partition: at.partition, Offset: at.from, Bytes: f.fetchBytes,
	}, benchFormats[f.format])
	if err != nil {
		return 0, 0, err
	}
	if f.format == formatRecordBatch {
		for batch, err := range recordbatch.Batches(got.Body) {
			if err != nil {
				return 0, 0, err
			}
			if err := recordbatch.CheckCRC(batch); err != nil {
				return 0, 0, err
			}
		}
	}
	return advanced(at, got.NextOffset, int64(len(got.Body)))
}

func advanced(at consumeRange, next, size int64) (int64, int64, error) {
	if next <= at.from {
		return 0, 0, fmt.Errorf("partition %d: nothing at offset %d, though it ends at %d", at.partition, at.from, at.to)
	}
	return next, size, nil
}
