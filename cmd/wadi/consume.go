package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/client"
)

// consumeParallel is how many partitions are fetched at a time.
const consumeParallel = 8

// followPartitionsMax bounds the long polls that are open at a time.
const followPartitionsMax = 1024

// consumeFlags are those of wadi consume.
type consumeFlags struct {
	server       string
	partition    int32
	from         string
	to           string
	follow       bool
	direct       bool
	format       string
	count        int64
	fetchBytes   int64
	closed       bool
	retryTimeout time.Duration
	check        bool
	quiet        bool
	groups       groupFlags
}

func newConsumeCommand(env *environment) *cobra.Command {
	var f consumeFlags
	cmd := &cobra.Command{
		Use:   "consume TOPIC...",
		Short: "Print the records of a topic",
		Long: `Print the records of a topic, of all partitions unless one is named. Records of
one partition come in order, those of different partitions in any.

Without --follow it ends where the partitions ended when it began. --from and
--to take earliest, latest or end, an offset, a time (2026-01-31T12:00:00Z, or
-90m for ago); --to is not included.

With --group it is a member of a consumer group: it prints what the group gives
it, of several topics if need be, commits what it has printed, and goes on until
it is interrupted. --from then says where to begin in a partition in which the
group has committed nothing.

With --direct it reads from the bucket itself what lies in objects of this topic
alone, by URLs that a node gives out, and the rest through nodes. What it prints
is the same.

--format is value, json, or a template of %p partition, %o offset, %t timestamp
in ms, %k key, %v value, %h headers, %% percent, \n and \t.`,
		Example: `  wadi consume flights
  wadi consume flights -p 3 --from 1000 -n 10 --format '%o\t%k\t%v'
  wadi consume flights --follow --from latest --format json
  wadi consume flights --group billing`,
		Args:              positional(cobra.MinimumNArgs(1)),
		ValidArgsFunction: completeTopic(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.checkGroupFlags(args, cmd.Flags().Changed); err != nil {
				return err
			}
			if f.groups.group != "" {
				return f.runGroup(cmd.Context(), env, args)
			}
			return f.run(cmd.Context(), env, args[0])
		},
	}
	flags := cmd.Flags()
	serverFlag(cmd, &f.server)
	flags.Int32VarP(&f.partition, "partition", "p", -1, "only this `partition`")
	flags.StringVar(&f.from, "from", "earliest", "begin at this `position`")
	flags.StringVar(&f.to, "to", "", "end before this `position` (default end; none with --follow)")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with what comes")
	flags.BoolVar(&f.direct, "direct", false, "read from the bucket itself where possible")
	flags.StringVar(&f.format, "format", "value", "value, json or a template")
	flags.Int64VarP(&f.count, "count", "n", -1, "end after this many `records`")
	bytesFlag(flags, &f.fetchBytes, "fetch-bytes", 4<<20, "bytes asked for in one request")
	flags.BoolVar(&f.closed, "closed-ranges", false, "ask for ranges that are the same in each replay, so that a caching proxy serves all but the first")
	flags.DurationVar(&f.retryTimeout, "retry-timeout", 2*time.Minute, "give up after this long without progress")
	flags.BoolVar(&f.check, "check", false, "print no records but a checksum over them, to compare with that of produce")
	f.groups.add(flags)
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress")
	return cmd
}

func (f *consumeFlags) run(ctx context.Context, env *environment, topic string) error {
	if err := checkTopicName(topic); err != nil {
		return err
	}
	format, err := parseFormat(f.format)
	if err != nil {
		return usagef("--format: %w", err)
	}
	if f.partition < -1 {
		return usagef("--partition is below 0")
	}
	if f.fetchBytes < 1 || f.fetchBytes > client.FetchBytesMax {
		return usagef("--fetch-bytes is not between 1 and 64MiB")
	}
	if f.check && f.follow && f.to == "" && f.count < 0 {
		return usagef("--check needs an end: --to or -n")
	}
	if f.direct && f.follow && f.to == "" {
		return usagef("--direct needs an end: it reads history, and --follow what comes")
	}
	if f.closed && f.follow && f.to == "" {
		return usagef("--closed-ranges needs an end: --to")
	}
	now := time.Now()
	from, err := parsePosition(f.from, now)
	if err != nil {
		return usagef("--from: %w", err)
	}
	to, toGiven := position{kind: positionEnd}, f.to != ""
	if toGiven {
		if to, err = parsePosition(f.to, now); err != nil {
			return usagef("--to: %w", err)
		}
	}
	c, err := newClient(env, f.server, consumeParallel)
	if err != nil {
		return err
	}
	defer c.Close()
	info, err := c.GetTopic(ctx, topic)
	if err != nil {
		return err
	}
	partitions := []int32{f.partition}
	if f.partition >= info.Partitions {
		return fmt.Errorf("topic %s has partitions 0 to %d, not %d", topic, info.Partitions-1, f.partition)
	}
	if f.partition < 0 {
		partitions = partitions[:0]
		for p := range info.Partitions {
			partitions = append(partitions, p)
		}
	}
	if f.follow && len(partitions) > followPartitionsMax {
		return fmt.Errorf("--follow takes up to %d partitions at a time: name one", followPartitionsMax)
	}
	ranges, err := f.ranges(ctx, c, topic, partitions, from, to, f.follow && !toGiven)
	if err != nil {
		return err
	}

	limit := unbounded
	if f.count >= 0 {
		limit = f.count
	}
	reader := &consumer{
		topic: topic, fetchBytes: f.fetchBytes, closed: f.closed, parallel: consumeParallel, format: format, limit: limit, direct: f.direct,
	}
	if f.follow {
		reader.parallel = max(len(partitions), 1)
	}
	if f.check {
		reader.format, reader.digest = nil, newRecordDigest(info.Partitions)
	}
	total := int64(0)
	for _, r := range ranges {
		if r.to == unbounded {
			total = -1
			break
		}
		total += max(0, r.to-r.from)
	}
	if total > limit || total < 0 && limit < unbounded {
		total = limit
	}
	shown := *env
	shown.errTTY = env.errTTY && !env.outTTY && !f.quiet
	bar := startProgress(&shown, topic, total, false, reader.records.Load)
	reader.client = c.WithRetrier(client.NewRetrier(f.retryTimeout, func(err error) { bar.note("waiting: " + shorten(oneLine(err.Error()), 40)) }))
	reader.fallback = func(err error) { bar.note("through a node: " + shorten(oneLine(err.Error()), 60)) }

	out := bufio.NewWriterSize(env.out, outputChunk)
	began := time.Now()
	err = reader.run(ctx, ranges, func(chunk []byte) error {
		if _, err := out.Write(chunk); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		// Whoever follows wants to see each record when it comes.
		if f.follow && len(reader.out) == 0 {
			return out.Flush()
		}
		return nil
	})
	if flushErr := out.Flush(); err == nil && flushErr != nil {
		err = fmt.Errorf("write: %w", flushErr)
	}
	bar.stop()
	if f.follow && errors.Is(err, errInterrupted) {
		err = nil // that is how following ends
	}
	if err != nil {
		return fmt.Errorf("%w; read %d records", err, reader.records.Load())
	}
	if shown.errTTY {
		took := max(time.Since(began).Seconds(), 1e-9)
		n, size := reader.records.Load(), reader.bytes.Load()
		_, _ = fmt.Fprintf(env.err, "%s records, %s in %.3gs: %s records/s, %s/s\n", humanize.Comma(n), humanize.Bytes(uint64(size)),
			took, humanize.Comma(int64(float64(n)/took)), humanize.Bytes(uint64(float64(size)/took)))
	}
	if f.direct && shown.errTTY {
		_, _ = fmt.Fprintf(env.err, "%s records came from the bucket itself\n", humanize.Comma(min(reader.fromBucket.Load(), reader.records.Load())))
	}
	if reader.digest != nil {
		return reader.digest.print(env.out)
	}
	return nil
}

// ranges asks where the partitions begin and end.
func (f *consumeFlags) ranges(ctx context.Context, c *client.Client, topic string, partitions []int32, from, to position, endless bool) ([]consumeRange, error) {
	ranges := make([]consumeRange, len(partitions))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(consumeParallel)
	for i, partition := range partitions {
		group.Go(func() error {
			start, bounds, err := from.resolve(ctx, c, topic, partition)
			if err != nil {
				return err
			}
			if from.kind == positionOffset && start > bounds.End {
				return fmt.Errorf("partition %d ends at offset %d, before %d", partition, bounds.End, start)
			}
			end := bounds.End
			switch {
			case endless:
				end = unbounded
			case to.kind == positionOffset && f.follow:
				end = to.offset
			case to.kind == positionOffset:
				end = min(to.offset, bounds.End)
			case to.kind != positionEnd:
				if end, _, err = to.resolve(ctx, c, topic, partition); err != nil {
					return err
				}
			}
			ranges[i] = consumeRange{partition: partition, from: start, to: end}
			return nil
		})
	}
	return ranges, group.Wait()
}
