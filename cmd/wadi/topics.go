package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/client"
)

// topicsFlags are those that the commands on topics share.
type topicsFlags struct {
	server string
	json   bool
}

func newTopicsCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "topics",
		Aliases: []string{"topic"},
		Short:   "Create, list, describe, alter, delete and trim topics",
	}
	group(cmd)
	cmd.AddCommand(newTopicsCreateCommand(env), newTopicsListCommand(env), newTopicsDescribeCommand(env),
		newTopicsAlterCommand(env), newTopicsDeleteCommand(env), newTopicsTrimCommand(env))
	return cmd
}

// topicsCommand makes a command that talks to a node about one topic, or about
// none if use names none.
func topicsCommand(env *environment, use, short string, f *topicsFlags, run func(ctx context.Context, c *client.Client, topic string) error) *cobra.Command {
	takesTopic := strings.Contains(use, "TOPIC")
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			topic := ""
			if takesTopic {
				topic = args[0]
				if err := checkTopicName(topic); err != nil {
					return err
				}
			}
			c, err := newClient(env, f.server, consumeParallel)
			if err != nil {
				return err
			}
			defer c.Close()
			return run(cmd.Context(), c, topic)
		},
	}
	if takesTopic {
		cmd.Args = positional(cobra.ExactArgs(1))
		cmd.ValidArgsFunction = completeTopic(env)
	}
	serverFlag(cmd, &f.server)
	return cmd
}

func jsonFlag(cmd *cobra.Command, f *topicsFlags) {
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

// topicConfigFlag defines --config for a topic's settings. It hides the flag
// of that name for the settings file, which WADI_CONFIG still names.
func topicConfigFlag(cmd *cobra.Command, p *[]string) {
	cmd.Flags().StringArrayVar(p, configFlag, nil, "`setting` of the topic, as in retention.ms=86400000; may be repeated")
	// The flag was defined on the line above: the error says that it was not.
	_ = cmd.Flags().SetAnnotation(configFlag, flagOnly, []string{"true"})
}

// parseTopicConfig reads settings as key=value.
func parseTopicConfig(settings []string) (client.TopicConfig, error) {
	config := client.TopicConfig{}
	for _, setting := range settings {
		key, value, ok := strings.Cut(setting, "=")
		if !ok || key == "" {
			return nil, usagef("--config %q is not key=value (a file with settings is named by WADI_CONFIG here)", setting)
		}
		if _, twice := config[key]; twice {
			return nil, usagef("--config %s is given twice", key)
		}
		config[key] = value
	}
	return config, nil
}

func newTopicsCreateCommand(env *environment) *cobra.Command {
	var f topicsFlags
	var partitions int32
	var settings []string
	cmd := topicsCommand(env, "create TOPIC", "Create a topic", &f, func(ctx context.Context, c *client.Client, topic string) error {
		config, err := parseTopicConfig(settings)
		if err != nil {
			return err
		}
		if partitions < 1 || partitions > partitionsMax {
			return usagef("--partitions is not between 1 and %d", partitionsMax)
		}
		info, created, err := c.CreateTopic(ctx, topic, client.TopicSettings{Partitions: partitions, Config: config})
		if err != nil {
			return err
		}
		if f.json {
			return printJSON(env.out, info)
		}
		if !created {
			_, err = fmt.Fprintf(env.out, "topic %s is there already, with %d partitions\n", topic, info.Partitions)
			return err
		}
		_, err = fmt.Fprintf(env.out, "created topic %s with %d partitions\n", topic, info.Partitions)
		return err
	})
	cmd.Example = "  wadi topics create flights --partitions 8 --config retention.ms=604800000 --config compression.type=zstd"
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.Flags().Int32Var(&partitions, "partitions", 1, "number of partitions")
	topicConfigFlag(cmd, &settings)
	jsonFlag(cmd, &f)
	return cmd
}

func newTopicsListCommand(env *environment) *cobra.Command {
	var f topicsFlags
	var prefix string
	cmd := topicsCommand(env, "list", "List topics", &f, func(ctx context.Context, c *client.Client, _ string) error {
		list := []client.Topic{}
		for info, err := range c.Topics(ctx, prefix) {
			if err != nil {
				return err
			}
			list = append(list, info)
		}
		if f.json {
			return printJSON(env.out, list)
		}
		return printTable(env.out, func(row func(cells ...any)) {
			row("TOPIC", "PARTITIONS", "ID")
			for _, info := range list {
				row(info.Name, info.Partitions, info.ID)
			}
		})
	})
	cmd.Flags().StringVar(&prefix, "prefix", "", "only topics whose name begins with `text`")
	jsonFlag(cmd, &f)
	return cmd
}

// topicDescription is what topics describe --json prints.
type topicDescription struct {
	client.Topic
	Offsets []partitionOffsets `json:"offsets"`
}

type partitionOffsets struct {
	Partition int32 `json:"partition"`
	client.Offsets
}

func newTopicsDescribeCommand(env *environment) *cobra.Command {
	var f topicsFlags
	cmd := topicsCommand(env, "describe TOPIC", "Show a topic's settings and offsets", &f, func(ctx context.Context, c *client.Client, topic string) error {
		var d topicDescription
		var err error
		if d.Topic, err = c.GetTopic(ctx, topic); err != nil {
			return err
		}
		d.Offsets = make([]partitionOffsets, d.Partitions)
		if err := eachPartition(ctx, d.Partitions, func(ctx context.Context, p int32) (err error) {
			d.Offsets[p].Partition = p
			d.Offsets[p].Offsets, err = c.Offsets(ctx, topic, p)
			return err
		}); err != nil {
			return err
		}
		if f.json {
			return printJSON(env.out, d)
		}
		return printTable(env.out, d.rows)
	})
	jsonFlag(cmd, &f)
	return cmd
}

func (d topicDescription) rows(row func(cells ...any)) {
	row("topic", d.Name)
	row("id", d.ID)
	row("partitions", d.Partitions)
	var keys []string
	for key := range d.Config {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		row(key, d.Config[key])
	}
	row()
	row("PARTITION", "START", "END", "RECORDS")
	total := int64(0)
	for _, p := range d.Offsets {
		row(p.Partition, p.Start, p.End, p.End-p.Start)
		total += p.End - p.Start
	}
	row("all", "", "", total)
}

func newTopicsAlterCommand(env *environment) *cobra.Command {
	var f topicsFlags
	var partitions int32
	var settings []string
	cmd := topicsCommand(env, "alter TOPIC", "Change a topic's settings, or give it more partitions", &f, func(ctx context.Context, c *client.Client, topic string) error {
		config, err := parseTopicConfig(settings)
		if err != nil {
			return err
		}
		if partitions < 0 || partitions > partitionsMax {
			return usagef("--partitions is not between 1 and %d", partitionsMax)
		}
		if partitions == 0 && len(config) == 0 {
			return usagef("nothing to change: use --partitions or --config")
		}
		info, err := c.AlterTopic(ctx, topic, client.TopicSettings{Partitions: partitions, Config: config})
		if err != nil {
			return err
		}
		if f.json {
			return printJSON(env.out, info)
		}
		_, err = fmt.Fprintf(env.out, "altered topic %s\n", topic)
		return err
	})
	cmd.Flags().Int32Var(&partitions, "partitions", 0, "raise the number of partitions; keys move to other partitions")
	topicConfigFlag(cmd, &settings)
	jsonFlag(cmd, &f)
	return cmd
}

func newTopicsDeleteCommand(env *environment) *cobra.Command {
	var f topicsFlags
	return topicsCommand(env, "delete TOPIC", "Delete a topic with all of its records", &f, func(ctx context.Context, c *client.Client, topic string) error {
		if err := c.DeleteTopic(ctx, topic); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.out, "deleted topic %s\n", topic)
		return err
	})
}

func newTopicsTrimCommand(env *environment) *cobra.Command {
	var f topicsFlags
	var partition int32
	var before string
	cmd := topicsCommand(env, "trim TOPIC --before POSITION", "Drop the oldest records", &f, func(ctx context.Context, c *client.Client, topic string) error {
		if before == "" {
			return usagef("--before is needed")
		}
		at, err := parsePosition(before, time.Now())
		if err != nil {
			return usagef("--before: %w", err)
		}
		if at.kind == positionOffset && partition < 0 {
			return usagef("an offset in --before needs --partition")
		}
		info, err := c.GetTopic(ctx, topic)
		if err != nil {
			return err
		}
		if partition >= info.Partitions {
			return fmt.Errorf("topic %s has partitions 0 to %d, not %d", topic, info.Partitions-1, partition)
		}
		starts := make([]int64, info.Partitions)
		trim := func(ctx context.Context, p int32) error {
			offset, _, err := at.resolve(ctx, c, topic, p)
			if err != nil {
				return err
			}
			starts[p] = offset
			_, err = c.Trim(ctx, topic, p, offset)
			return err
		}
		if partition < 0 {
			err = eachPartition(ctx, info.Partitions, trim)
		} else {
			err = trim(ctx, partition)
		}
		if err != nil {
			return err
		}
		for p, start := range starts {
			if partition >= 0 && int32(p) != partition {
				continue
			}
			if _, err := fmt.Fprintf(env.out, "partition %d begins at offset %d\n", p, start); err != nil {
				return err
			}
		}
		return nil
	})
	cmd.Long = `Drop the records before a position: an offset, a time (2026-01-31T12:00:00Z, or
-90m for ago), or end for all there are. They are gone on all nodes within 5 s.`
	cmd.Flags().Int32VarP(&partition, "partition", "p", -1, "only this `partition`")
	cmd.Flags().StringVar(&before, "before", "", "first `position` to keep")
	return cmd
}

// eachPartition calls each for all partitions, a few at a time.
func eachPartition(ctx context.Context, partitions int32, each func(context.Context, int32) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(consumeParallel)
	for p := range partitions {
		group.Go(func() error {
			if err := each(ctx, p); err != nil {
				return fmt.Errorf("partition %d: %w", p, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// printTable lays out the cells that rows gives to row.
func printTable(w io.Writer, rows func(row func(cells ...any))) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var failed error
	rows(func(cells ...any) {
		for i, cell := range cells {
			format := "%v\t"
			if i == len(cells)-1 {
				format = "%v"
			}
			_, err := fmt.Fprintf(table, format, cell)
			failed = errors.Join(failed, err)
		}
		_, err := fmt.Fprintln(table)
		failed = errors.Join(failed, err)
	})
	return errors.Join(failed, table.Flush())
}
