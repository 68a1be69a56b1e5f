package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/wadilog/wadi/client"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// batchBytesMin and batchBytesMax bound --batch: a node takes bodies of 16 MiB.
const (
	batchBytesMin = 1 << 10
	batchBytesMax = 15 << 20
)

// partitionsMax is the most partitions a topic can have.
const partitionsMax = 1 << 20

// produceFlags are those of wadi produce.
type produceFlags struct {
	server       string
	keyField     string
	partition    int32
	acks         string
	batch        int64
	linger       time.Duration
	buffer       int64
	compression  string
	connections  int
	create       int32
	skip         int64
	ackLog       string
	resume       bool
	retryTimeout time.Duration
	check        bool
	quiet        bool
}

func newProduceCommand(env *environment) *cobra.Command {
	var f produceFlags
	cmd := &cobra.Command{
		Use:   "produce TOPIC [FILE…]",
		Short: "Write lines of files or standard input to a topic",
		Long: `Write lines to a topic: each line is the value of one record. Files and standard
input may be compressed with gzip or zstd.

With --acks all (the default) every line is stored exactly once: a request whose
answer was lost is repeated under a producer id until its outcome is known, also
while nodes restart. With --acks 1 a request with an unknown outcome ends the
command, since repeating it could store lines twice.

With --ack-log the acknowledged batches are written to a file, one line each:
partition, base offset, count, number of the first line. A run that ended, for
whatever reason, goes on exactly where it was with the same arguments and
--resume. Batches are then cut by their size alone, whatever --linger says.`,
		Example: `  wadi produce flights --key-field origin flights.ndjson.gz
  journalctl -o json | wadi produce journal --acks 1
  wadi produce flights --ack-log flights.acks --resume flights.ndjson.gz`,
		Args:              positional(cobra.MinimumNArgs(1)),
		ValidArgsFunction: completeTopicThenFiles(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), env, args[0], args[1:])
		},
	}
	flags := cmd.Flags()
	serverFlag(cmd, &f.server)
	flags.StringVar(&f.keyField, "key-field", "", "top-level JSON `field` of a line that is its key")
	flags.Int32VarP(&f.partition, "partition", "p", -1, "write to this `partition`, whatever the key")
	acksFlag(cmd, &f.acks)
	bytesFlag(flags, &f.batch, "batch", 1<<20, "records that travel together, before compression")
	flags.DurationVar(&f.linger, "linger", 500*time.Millisecond, "send a batch that is not full after this long; 0 waits until it is")
	bytesFlag(flags, &f.buffer, "buffer", 64<<20, "memory for records on their way")
	choiceFlag(cmd, &f.compression, "compression", defaultCompression, "of the records", compressions...)
	flags.IntVar(&f.connections, "connections", 16, "requests in flight, one for each partition at most")
	flags.Int32Var(&f.create, "create", 0, "create the topic with this many `partitions` if it is not there")
	flags.Int64Var(&f.skip, "skip", 0, "leave out the first `lines`")
	flags.StringVar(&f.ackLog, "ack-log", "", "`file` for a line about each acknowledged batch")
	flags.BoolVar(&f.resume, "resume", false, "go on where the run that wrote --ack-log ended")
	flags.DurationVar(&f.retryTimeout, "retry-timeout", 2*time.Minute, "give up after this long without progress")
	flags.BoolVar(&f.check, "check", false, "print a checksum over all records, to compare with that of consume")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no summary")
	return cmd
}

// The values of --acks.
const (
	acksAll = "all"
	acksOne = "1"
)

func acksFlag(cmd *cobra.Command, p *string) {
	choiceFlag(cmd, p, "acks", acksAll, "acknowledged when in the store (all) or on the node's disk (1)", acksAll, acksOne)
}

func acksOf(flag string) client.Acks {
	if flag == acksOne {
		return client.AcksOne
	}
	return client.AcksAll
}

// compressions are the values of --compression.
var compressions = []string{"none", "gzip", "snappy", "lz4", "zstd"}

const defaultCompression = "lz4"

func (f *produceFlags) validate(topic string) error {
	switch {
	case f.batch < batchBytesMin || f.batch > batchBytesMax:
		return usagef("--batch is not between 1KiB and 15MiB")
	case f.buffer < 4*f.batch || f.buffer > math.MaxInt32:
		return usagef("--buffer is not between four times --batch and 2GiB")
	case f.connections < 1 || f.connections > 1024:
		return usagef("--connections is not between 1 and 1024")
	case f.linger < 0:
		return usagef("--linger is below 0")
	case f.skip < 0:
		return usagef("--skip is below 0")
	case f.partition < -1:
		return usagef("--partition is below 0")
	case f.create < 0 || f.create > partitionsMax:
		return usagef("--create is not between 1 and %d", partitionsMax)
	case f.retryTimeout < 0:
		return usagef("--retry-timeout is below 0")
	case f.resume && f.ackLog == "":
		return usagef("--resume needs --ack-log")
	case f.resume && f.acks != acksAll:
		return usagef("--resume needs --acks all: without a producer id nobody knows what became of the last requests")
	}
	return checkTopicName(topic)
}

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

func checkTopicName(name string) error {
	if !topicName.MatchString(name) || name == "." || name == ".." {
		return usagef("%q is not a name of a topic: 1 to 249 of A-Z a-z 0-9 . _ -", name)
	}
	return nil
}

func (f *produceFlags) run(ctx context.Context, env *environment, topic string, paths []string) (err error) {
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
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	input, err := newLineInput(reading, paths, env.in)
	if err != nil {
		return err
	}
	defer input.close()

	info, err := f.topic(ctx, c, topic)
	if err != nil {
		return err
	}
	if f.partition >= info.Partitions {
		return fmt.Errorf("topic %s has partitions 0 to %d, not %d", topic, info.Partitions-1, f.partition)
	}
	header := ackLogHeader{
		Topic: topic, TopicID: info.ID, Partitions: info.Partitions, Acks: f.acks,
		Producer: producerID{ID: -1, Epoch: -1}, KeyField: f.keyField, Forced: f.partition, Keyless: rand.Int32N(info.Partitions),
		BatchBytes: int(f.batch), OpenBytes: int(f.buffer / 2), Skip: f.skip,
	}
	var ledger *ackLog
	var acked []int64
	switch {
	case f.resume:
		var was ackLogHeader
		if ledger, was, acked, err = resumeAckLog(f.ackLog); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, ledger.close()) }()
		if err := was.sameInput(header); err != nil {
			return err
		}
		header = was
	case f.acks == acksAll:
		if header.Producer.ID, header.Producer.Epoch, err = c.NewProducerID(ctx); err != nil {
			return fmt.Errorf("get a producer id: %w", err)
		}
	}
	if f.ackLog != "" && !f.resume {
		if ledger, err = createAckLog(f.ackLog, header); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, ledger.close()) }()
	}

	var bar *progress
	sender := newLineProducer(ctx, c, producerSettings{
		topic: topic, partitions: info.Partitions, acks: acksOf(f.acks), codec: codec, id: header.Producer,
		bufferBytes: f.buffer - f.buffer/2, connections: f.connections,
		acked: acked, ledger: ledger, timeout: f.retryTimeout,
	}, func(err error) { bar.note("waiting: " + shorten(oneLine(err.Error()), 40)) })
	b := &batcher{
		partitions: info.Partitions, batchBytes: header.BatchBytes, openBytes: header.OpenBytes,
		forced: header.Forced, keyless: header.Keyless, open: map[int32]*lineBatch{},
		emit: sender.send, fresh: sender.fresh,
	}
	var digest *recordDigest
	if f.check {
		digest = newRecordDigest(info.Partitions)
		b.emit = func(batch *lineBatch) error {
			for _, r := range batch.records(nil, 0) {
				digest.add(batch.partition, r.Key, r.Value)
			}
			return sender.send(batch)
		}
	}
	shown := *env
	shown.errTTY = env.errTTY && !f.quiet
	bar = startProgress(&shown, topic, input.total, true, input.read.Load)
	began := time.Now()
	endLinger := func() {}
	if ledger == nil && f.linger > 0 {
		endLinger = b.lingerFor(f.linger, stopReading)
	}
	fed, readErr := f.feed(input, b)
	endLinger()
	d := sender.close()
	bar.stop()
	if d.err == nil {
		d.err = readErr
	}
	if d.err != nil {
		for _, open := range b.open {
			d.firstOpen = min(d.firstOpen, open.firstLine)
		}
		return f.failed(d, min(d.firstOpen-1, fed))
	}
	if !f.quiet {
		if err := printSummary(env.err, d, time.Since(began)); err != nil {
			return err
		}
	}
	if digest != nil {
		return digest.print(env.out)
	}
	return nil
}

// topic returns the topic, created if the flags or the node say so.
func (f *produceFlags) topic(ctx context.Context, c *client.Client, name string) (client.Topic, error) {
	if f.create > 0 {
		topic, err := c.GetTopic(ctx, name)
		if errors.Is(err, client.ErrTopicNotFound) {
			topic, _, err = c.CreateTopic(ctx, name, client.TopicSettings{Partitions: f.create})
		}
		return topic, err
	}
	topic, err := c.OpenTopic(ctx, name)
	if errors.Is(err, client.ErrTopicNotFound) {
		return topic, fmt.Errorf("%w: create it with wadi topics create %s, or use --create", err, name)
	}
	return topic, err
}

// feed reads lines until they end or the producer stops, and returns how many
// it took.
func (f *produceFlags) feed(input *lineInput, b *batcher) (int64, error) {
	var keys *keyFinder
	if f.keyField != "" {
		keys = newKeyFinder(f.keyField)
	}
	for {
		line, err := input.next()
		if errors.Is(err, io.EOF) {
			return input.lines, b.flush()
		}
		if err != nil {
			return input.lines, errors.Join(err, b.flush())
		}
		if input.lines <= f.skip {
			continue
		}
		var key []byte
		if keys != nil {
			if key, err = keys.find(line); err != nil {
				return input.lines - 1, errors.Join(fmt.Errorf("line %d %w", input.lines, err), b.flush())
			}
		}
		if err := b.add(key, line, input.lines); err != nil {
			return input.lines, err
		}
	}
}

// failed says what is in the log after all. Lines up to acked are.
func (f *produceFlags) failed(d delivery, lines int64) error {
	total, unknown := int64(0), int64(0)
	for _, n := range d.acked {
		total += n
	}
	for _, n := range d.unknown {
		unknown += n
	}
	text := fmt.Sprintf("%v; acknowledged: %d records%s", d.err, total, byPartition(d.acked))
	if unknown > 0 {
		text += fmt.Sprintf("; unknown: %d records%s", unknown, byPartition(d.unknown))
	}
	text += fmt.Sprintf("; all of the first %d lines are in", lines)
	if f.ackLog != "" && f.acks == acksAll {
		text += "; the same with --resume goes on"
	}
	return errors.New(text)
}

func byPartition(counts map[int32]int64) string {
	if len(counts) == 0 {
		return ""
	}
	var partitions []int32
	for p := range counts {
		partitions = append(partitions, p)
	}
	slices.Sort(partitions)
	var text strings.Builder
	for i, p := range partitions {
		if i > 0 {
			text.WriteString(", ")
		}
		_, _ = fmt.Fprintf(&text, "%d in partition %d", counts[p], p)
	}
	return " (" + text.String() + ")"
}

func printSummary(w io.Writer, d delivery, took time.Duration) error {
	seconds := max(took.Seconds(), 1e-9)
	text := fmt.Sprintf("%s records, %s in %s: %s records/s, %s/s",
		humanize.Comma(d.records), humanize.Bytes(uint64(d.bytes)), took.Round(time.Millisecond),
		humanize.Comma(int64(float64(d.records)/seconds)), humanize.Bytes(uint64(float64(d.bytes)/seconds)))
	if d.records > 0 {
		text += fmt.Sprintf("; ack latency p50 %s, p99 %s", quantile(d.latency, 50), quantile(d.latency, 99))
	}
	if d.retries > 0 {
		text += fmt.Sprintf("; %d retries", d.retries)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
