package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/client"
)

// groupsFlags are those that the commands on consumer groups share.
type groupsFlags struct {
	server string
	json   bool
}

func newGroupsCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "groups",
		Aliases: []string{"group"},
		Short:   "List, describe, delete and reset consumer groups",
	}
	group(cmd)
	cmd.AddCommand(newGroupsListCommand(env), newGroupsDescribeCommand(env), newGroupsDeleteCommand(env), newGroupsResetCommand(env))
	return cmd
}

// groupsCommand makes a command that talks to a node about one group, or about
// none if use names none.
func groupsCommand(env *environment, use, short string, f *groupsFlags, run func(ctx context.Context, c *client.Client, group string) error) *cobra.Command {
	takesGroup := strings.Contains(use, "GROUP")
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if takesGroup {
				name = args[0]
				if err := checkGroupName(name); err != nil {
					return err
				}
			}
			c, err := newClient(env, f.server, consumeParallel)
			if err != nil {
				return err
			}
			defer c.Close()
			return run(cmd.Context(), c, name)
		},
	}
	if takesGroup {
		cmd.Args = positional(cobra.ExactArgs(1))
		cmd.ValidArgsFunction = completeGroup(env)
	}
	serverFlag(cmd, &f.server)
	return cmd
}

func groupsJSONFlag(cmd *cobra.Command, f *groupsFlags) {
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

func checkGroupName(name string) error {
	if checkTopicName(name) != nil { // they look the same
		return usagef("%q is not a name of a group: 1 to 249 of A-Z a-z 0-9 . _ -", name)
	}
	return nil
}

// completeGroup completes the name of a group as the first argument.
func completeGroup(env *environment) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return groupNames(env, cmd, prefix), cobra.ShellCompDirectiveNoFileComp
	}
}

func groupNames(env *environment, cmd *cobra.Command, prefix string) []cobra.Completion {
	return namesOf(env, cmd, prefix, (*client.Client).Groups, func(g client.GroupInfo) string { return g.Name })
}

// orDash is what a table shows of a text that may not be there.
func orDash(text *string) string {
	if text == nil {
		return "-"
	}
	return *text
}

func newGroupsListCommand(env *environment) *cobra.Command {
	var f groupsFlags
	var prefix string
	cmd := groupsCommand(env, "list", "List consumer groups", &f, func(ctx context.Context, c *client.Client, _ string) error {
		list := []client.GroupInfo{}
		for info, err := range c.Groups(ctx, prefix) {
			if err != nil {
				return err
			}
			list = append(list, info)
		}
		if f.json {
			return printJSON(env.out, list)
		}
		return printTable(env.out, func(row func(cells ...any)) {
			row("GROUP", "STATE", "STRATEGY", "MEMBERS")
			for _, info := range list {
				row(info.Name, info.State, orDash(info.Strategy), info.Members)
			}
		})
	})
	cmd.Flags().StringVar(&prefix, "prefix", "", "only groups whose name begins with `text`")
	groupsJSONFlag(cmd, &f)
	return cmd
}

func newGroupsDescribeCommand(env *environment) *cobra.Command {
	var f groupsFlags
	cmd := groupsCommand(env, "describe GROUP", "Show a group's members, and how far it is behind", &f, func(ctx context.Context, c *client.Client, name string) error {
		d, err := c.DescribeGroup(ctx, name)
		if err != nil {
			return err
		}
		if f.json {
			return printJSON(env.out, d)
		}
		return printTable(env.out, func(row func(cells ...any)) { groupRows(d, row) })
	})
	groupsJSONFlag(cmd, &f)
	return cmd
}

func groupRows(d client.GroupDescription, row func(cells ...any)) {
	row("group", d.Name)
	row("state", d.State)
	row("strategy", orDash(d.Strategy))
	row("epoch", d.Epoch)
	row("lag", d.Lag)
	if len(d.Members) > 0 {
		row()
		row("MEMBER", "CLIENT", "EPOCH", "SESSION", "PARTITIONS", "TO LET GO")
		for _, m := range d.Members {
			session := time.Duration(m.SessionTimeoutMs) * time.Millisecond
			row(m.ID, orDash(m.ClientID), m.Epoch, session, listPartitions(m.Assignment), listPartitions(m.Revoked))
		}
	}
	if len(d.Partitions) > 0 {
		row()
		row("TOPIC", "PARTITION", "COMMITTED", "START", "END", "LAG", "MEMBER")
		for _, p := range d.Partitions {
			row(p.Topic, p.Partition, offsetOrDash(p.Committed), p.LogStart, p.End, p.Lag, orDash(p.Member))
		}
	}
}

func offsetOrDash(offset *int64) string {
	if offset == nil {
		return "-"
	}
	return strconv.FormatInt(*offset, 10)
}

// listPartitions writes partitions as flights[0-2,5] orders[1].
func listPartitions(assignment []client.TopicPartitions) string {
	var topics []string
	for _, t := range assignment {
		var runs []string
		for i := 0; i < len(t.Partitions); {
			first := i
			for i++; i < len(t.Partitions) && t.Partitions[i] == t.Partitions[i-1]+1; i++ {
			}
			run := strconv.Itoa(int(t.Partitions[first]))
			if i-first > 1 {
				run += "-" + strconv.Itoa(int(t.Partitions[i-1]))
			}
			runs = append(runs, run)
		}
		topics = append(topics, t.Topic+"["+strings.Join(runs, ",")+"]")
	}
	if len(topics) == 0 {
		return "-"
	}
	return strings.Join(topics, " ")
}

func newGroupsDeleteCommand(env *environment) *cobra.Command {
	var f groupsFlags
	return groupsCommand(env, "delete GROUP", "Forget a group without members, and its offsets", &f, func(ctx context.Context, c *client.Client, name string) error {
		if err := c.DeleteGroup(ctx, name); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.out, "deleted group %s\n", name)
		return err
	})
}

// groupReset is the change of a group's offset in one partition, as groups reset
// --json prints it.
type groupReset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Old       *int64 `json:"old_offset"`
	New       int64  `json:"new_offset"`
}

// resetFlags are what groups reset is asked to do.
type resetFlags struct {
	groupsFlags
	to        string
	topics    []string
	partition int32
	dryRun    bool
}

func newGroupsResetCommand(env *environment) *cobra.Command {
	var f resetFlags
	cmd := groupsCommand(env, "reset GROUP --to POSITION", "Move the offsets of a group without members", &f.groupsFlags, func(ctx context.Context, c *client.Client, name string) error {
		return f.run(ctx, env, c, name)
	})
	cmd.Long = `Move the offsets of a group to a position: earliest, latest, an offset, or a time
(2026-01-31T12:00:00Z, or -90m for ago). Without --topic it concerns the partitions
in which the group has committed. The group must not have members: end its
consumers first. A group that is not there yet is made.`
	cmd.Example = `  wadi groups reset billing --to earliest --dry-run
  wadi groups reset billing --to -2h --topic orders
  wadi groups reset billing --to 4711 --topic orders -p 3`
	cmd.Flags().StringVar(&f.to, "to", "", "`position` to go on from")
	cmd.Flags().StringArrayVar(&f.topics, "topic", nil, "only this `topic`; may be repeated")
	cmd.Flags().Int32VarP(&f.partition, "partition", "p", -1, "only this `partition`")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only show what would change")
	groupsJSONFlag(cmd, &f.groupsFlags)
	// The flag was defined above: the error says that it was not.
	_ = cmd.RegisterFlagCompletionFunc("topic", func(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return topicNames(env, cmd, prefix), cobra.ShellCompDirectiveNoFileComp
	})
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]cobra.Completion{"earliest", "latest"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// validate tells whether the flags go together, and where to go.
func (f *resetFlags) validate() (position, error) {
	if f.to == "" {
		return position{}, usagef("--to is needed")
	}
	to, err := parsePosition(f.to, time.Now())
	if err != nil {
		return position{}, usagef("--to: %w", err)
	}
	for _, topic := range f.topics {
		if err := checkTopicName(topic); err != nil {
			return position{}, err
		}
	}
	if f.partition >= 0 && len(f.topics) != 1 {
		return position{}, usagef("--partition needs one --topic")
	}
	if to.kind == positionOffset && f.partition < 0 {
		return position{}, usagef("an offset in --to needs --topic and --partition")
	}
	return to, nil
}

func (f *resetFlags) run(ctx context.Context, env *environment, c *client.Client, name string) error {
	to, err := f.validate()
	if err != nil {
		return err
	}
	d, err := c.DescribeGroup(ctx, name)
	if err != nil && (!errors.Is(err, client.ErrGroupNotFound) || len(f.topics) == 0) {
		return err
	}
	if n := len(d.Members); n > 0 {
		return fmt.Errorf("group %s has %d members; end its consumers first", name, n)
	}
	resets, err := f.choose(ctx, c, d)
	if err != nil {
		return err
	}
	if err := resolveResets(ctx, c, to, resets); err != nil {
		return err
	}
	if !f.dryRun {
		if err := commitResets(ctx, c, name, resets); err != nil {
			return err
		}
	}
	if f.json {
		return printJSON(env.out, resets)
	}
	return printTable(env.out, func(row func(cells ...any)) {
		row("TOPIC", "PARTITION", "OLD", "NEW")
		for _, r := range resets {
			row(r.Topic, r.Partition, offsetOrDash(r.Old), r.New)
		}
	})
}

// choose returns the partitions that are concerned, by topic and number.
func (f *resetFlags) choose(ctx context.Context, c *client.Client, d client.GroupDescription) ([]groupReset, error) {
	resets := []groupReset{}
	old := map[string]map[int32]*int64{}
	for _, p := range d.Partitions {
		if p.Committed == nil {
			continue
		}
		if old[p.Topic] == nil {
			old[p.Topic] = map[int32]*int64{}
		}
		old[p.Topic][p.Partition] = p.Committed
		if len(f.topics) == 0 {
			resets = append(resets, groupReset{Topic: p.Topic, Partition: p.Partition, Old: p.Committed})
		}
	}
	topics := slices.Clone(f.topics)
	slices.Sort(topics)
	for _, topic := range slices.Compact(topics) {
		info, err := c.GetTopic(ctx, topic)
		if err != nil {
			return nil, err
		}
		if f.partition >= info.Partitions {
			return nil, fmt.Errorf("topic %s has partitions 0 to %d, not %d", topic, info.Partitions-1, f.partition)
		}
		for p := range info.Partitions {
			if f.partition < 0 || f.partition == p {
				resets = append(resets, groupReset{Topic: topic, Partition: p, Old: old[topic][p]})
			}
		}
	}
	return resets, nil
}

// resolveResets finds the new offsets, a few at a time.
func resolveResets(ctx context.Context, c *client.Client, to position, resets []groupReset) error {
	parallel, ctx := errgroup.WithContext(ctx)
	parallel.SetLimit(consumeParallel)
	for i := range resets {
		r := &resets[i]
		parallel.Go(func() error {
			offset, bounds, err := to.resolve(ctx, c, r.Topic, r.Partition)
			r.New = offset
			if err == nil && (r.New < bounds.Start || r.New > bounds.End) {
				err = fmt.Errorf("offset %d is outside of [%d, %d]", r.New, bounds.Start, bounds.End)
			}
			if err != nil {
				return fmt.Errorf("topic %s, partition %d: %w", r.Topic, r.Partition, err)
			}
			return nil
		})
	}
	return parallel.Wait()
}

// resetOffsetsMax is how many offsets one request moves; the API takes no more.
const resetOffsetsMax = 10_000

func commitResets(ctx context.Context, c *client.Client, name string, resets []groupReset) error {
	for len(resets) > 0 {
		n := min(len(resets), resetOffsetsMax)
		offsets := make([]client.GroupOffset, n)
		for i, r := range resets[:n] {
			offsets[i] = client.GroupOffset{Topic: r.Topic, Partition: r.Partition, Offset: r.New}
		}
		if err := c.SetGroupOffsets(ctx, name, offsets); err != nil {
			return err
		}
		resets = resets[n:]
	}
	return nil
}
