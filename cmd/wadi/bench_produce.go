package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/wadilog/wadi/client"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// benchProduceFlags are those of wadi bench produce.
type benchProduceFlags struct {
	benchFlags
	server      string
	partitions  int32
	acks        string
	format      string
	size        int64
	batch       int64
	payload     string
	compression string
}

func newBenchProduceCommand(env *environment) *cobra.Command {
	var f benchProduceFlags
	cmd := &cobra.Command{
		Use:   "produce [TOPIC]",
		Short: "Measure producing",
		Long: `Measure producing to a topic, which is created if it is not there. Bodies are made
before the clock starts, and each request carries records of one partition.`,
		Example: `  wadi bench produce --connections 16 --duration 30s
  wadi bench produce --format raw --connections 64 --rate 5000 --json`,
		Args:              positional(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeTopic(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), env, append(args, defaultBenchTopic)[0])
		},
	}
	f.define(cmd, 8)
	flags := cmd.Flags()
	serverFlag(cmd, &f.server)
	flags.Int32Var(&f.partitions, "partitions", 8, "partitions of the topic if it is created")
	acksFlag(cmd, &f.acks)
	choiceFlag(cmd, &f.format, "format", formatRecordBatch, "of the bodies", formatRecordBatch, formatNDJSON, formatJSON, formatRaw)
	bytesFlag(flags, &f.size, "size", 1<<10, "of one record's value")
	bytesFlag(flags, &f.batch, "batch", 1<<20, "values in one request; a raw body has one value")
	choiceFlag(cmd, &f.payload, "payload", "random", "what values look like", "random", "log")
	choiceFlag(cmd, &f.compression, "compression", "none", "of record batches", compressions...)
	return cmd
}

func (f *benchProduceFlags) validate(topic string) error {
	if err := f.benchFlags.validate(); err != nil {
		return err
	}
	switch {
	case f.partitions < 1 || f.partitions > partitionsMax:
		return usagef("--partitions is not between 1 and %d", partitionsMax)
	case f.size < 1 || f.size > batchBytesMax:
		return usagef("--size is not between 1 and 15MiB")
	case f.batch < 1 || f.batch > batchBytesMax:
		return usagef("--batch is not between 1 and 15MiB")
	}
	return checkTopicName(topic)
}

func (f *benchProduceFlags) run(ctx context.Context, env *environment, topic string) error {
	if err := f.validate(topic); err != nil {
		return err
	}
	codec, err := recordbatch.ParseCodec(f.compression)
	if err != nil {
		return &usageError{err}
	}
	c, err := newClient(env, f.server, f.connections)
	if err != nil {
		return err
	}
	defer c.Close()
	info, err := f.topic(ctx, c, topic)
	if err != nil {
		return err
	}
	maker := bodyMaker{
		payloads: payloads{
			random: rand.New(rand.NewPCG(1, 2)), size: int(f.size), kind: f.payload,
			text: f.format == formatJSON || f.format == formatNDJSON,
		},
		format: f.format, records: int(max(1, f.batch/f.size)), codec: codec,
	}
	if f.format == formatRaw {
		maker.records = 1
	}
	bodies, err := maker.bodies()
	if err != nil {
		return err
	}
	title := fmt.Sprintf("produce to %s: %d partitions, %d connections, acks=%s, %s bodies of %d records of %s", topic, info.Partitions,
		f.connections, f.acks, f.format, maker.records, humanize.IBytes(uint64(f.size)))
	settings := map[string]any{
		"topic": topic, "partitions": info.Partitions, "acks": f.acks, "format": f.format, "record_bytes": f.size,
		"records_per_request": maker.records, "payload": f.payload, "compression": f.compression,
	}
	var turn atomic.Int64
	l := newLoad(loadSettings{workers: f.connections, rate: f.rate, duration: f.duration})
	return f.benchFlags.run(ctx, env, "produce", title, settings, l, func(int) func(context.Context) (loadStep, error) {
		return func(ctx context.Context) (loadStep, error) {
			n := turn.Add(1) - 1
			b := bodies[n%int64(len(bodies))]
			partition := int32(n % int64(info.Partitions))
			if err := f.produce(ctx, c, topic, partition, b); err != nil {
				return loadStep{}, err
			}
			return loadStep{records: int64(b.records), bytes: b.logical}, nil
		}
	})
}

func (f *benchProduceFlags) topic(ctx context.Context, c *client.Client, topic string) (client.Topic, error) {
	info, err := c.GetTopic(ctx, topic)
	if errors.Is(err, client.ErrTopicNotFound) {
		info, _, err = c.CreateTopic(ctx, topic, client.TopicSettings{Partitions: f.partitions})
	}
	return info, err
}

// benchFormats are the values of --format as the client names them.
var benchFormats = map[string]client.Format{
	formatRecordBatch: client.FormatRecordBatch, formatNDJSON: client.FormatNDJSON,
	formatJSON: client.FormatJSON, formatRaw: client.FormatRaw,
}

// produce sends one body, and checks that all of its records are acknowledged.
func (f *benchProduceFlags) produce(ctx context.Context, c *client.Client, topic string, partition int32, b body) error {
	a, err := c.AppendEncoded(ctx, topic, partition, benchFormats[f.format], b.bytes, client.AppendOptions{Acks: acksOf(f.acks)})
	if err == nil && a.Count != b.records {
		err = fmt.Errorf("answer about %d records, not %d", a.Count, b.records)
	}
	return err
}
