package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/wadilog/wadi/client"
)

// groupCloseTimeout bounds the last commit and the leave of a group's member.
const groupCloseTimeout = 10 * time.Second

// groupFlags are those of wadi consume that concern a group.
type groupFlags struct {
	group          string
	member         string
	strategy       string
	sessionTimeout time.Duration
}

func (g *groupFlags) add(flags *pflag.FlagSet) {
	flags.StringVarP(&g.group, "group", "g", "", "share the partitions with the other members of this `group`, and commit what was printed")
	flags.StringVar(&g.member, "member-id", "", "with --group: `id` under which a restart keeps its partitions (default a random one)")
	flags.StringVar(&g.strategy, "strategy", "", "with --group: cooperative-sticky or range (default what the group has)")
	flags.DurationVar(&g.sessionTimeout, "session-timeout", 30*time.Second, "with --group: how long nothing need be heard of the member")
}

// notWithGroup are flags of consume that name what a group decides.
var notWithGroup = []string{"partition", "to", "follow", "direct", "check", "closed-ranges"}

// checkGroupFlags finds flags that have no meaning together.
func (f *consumeFlags) checkGroupFlags(topics []string, changed func(string) bool) error {
	if f.groups.group != "" {
		for _, name := range notWithGroup {
			if changed(name) {
				return usagef("--%s has no meaning with --group", name)
			}
		}
		return nil
	}
	for _, name := range []string{"member-id", "strategy", "session-timeout"} {
		if changed(name) {
			return usagef("--%s needs --group", name)
		}
	}
	if len(topics) != 1 {
		return usagef("several topics need --group")
	}
	return nil
}

// runGroup prints what the group gives this member until it is interrupted, or has
// printed as much as it should, and commits it.
func (f *consumeFlags) runGroup(ctx context.Context, env *environment, topics []string) error {
	format, err := parseFormat(f.format)
	if err != nil {
		return usagef("--format: %w", err)
	}
	from, err := parsePosition(f.from, time.Now())
	if err != nil || from.kind != positionEarliest && from.kind != positionEnd {
		return usagef("--from is earliest or latest with --group: it is for partitions in which the group has committed nothing")
	}
	start := client.Earliest()
	if from.kind == positionEnd {
		start = client.Latest()
	}
	c, err := newClient(env, f.server, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	shown := *env
	shown.errTTY = env.errTTY && !env.outTTY && !f.quiet
	limit, printed := unbounded, int64(0)
	if f.count >= 0 {
		limit = f.count
	}
	member, err := c.WithRetryTimeout(f.retryTimeout).ConsumeGroup(client.GroupConfig{
		Group: f.groups.group, Topics: topics, MemberID: f.groups.member, ClientID: "wadi-consume", Strategy: f.groups.strategy,
		SessionTimeout: f.groups.sessionTimeout, Start: start, MaxBytes: f.fetchBytes,
		OnAssigned: func(p []client.TopicPartitions) { f.tell(&shown, "assigned", p) },
		OnRevoked:  func(p []client.TopicPartitions, _ bool) { f.tell(&shown, "revoked", p) },
	})
	if err != nil {
		return &usageError{err}
	}
	out := bufio.NewWriterSize(env.out, outputChunk)
	var line []byte
	for err == nil && printed < limit {
		var records []client.Record
		if records, err = member.Poll(ctx); err != nil {
			break
		}
		for i := range records {
			if printed == limit {
				// What is not printed must not be committed.
				err = member.Rewind(records[i:])
				break
			}
			line = format(line[:0], records[i])
			if _, err = out.Write(line); err != nil {
				break
			}
			printed++
		}
		// Only what has left this process is committed, by the next Poll or here.
		if flushErr := out.Flush(); flushErr != nil {
			err = fmt.Errorf("write: %w", flushErr)
		}
		if err == nil && (printed == limit || ctx.Err() != nil) {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupCloseTimeout)
			err = member.Commit(last)
			cancel()
		}
	}
	if errors.Is(err, errInterrupted) {
		err = nil // that is how it ends
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupCloseTimeout)
	defer cancel()
	if closeErr := member.Close(last); err == nil {
		err = closeErr
	}
	if err != nil {
		if errors.Is(err, client.ErrOffsetBelowStart) {
			err = fmt.Errorf("%w; wadi groups reset moves the group", err)
		}
		return fmt.Errorf("%w; read %d records", err, printed)
	}
	return nil
}

// tell says on a terminal which partitions come and go.
func (f *consumeFlags) tell(env *environment, what string, partitions []client.TopicPartitions) {
	if !env.errTTY {
		return
	}
	for _, t := range partitions {
		_, _ = fmt.Fprintf(env.err, "%s %s %v\n", what, t.Topic, t.Partitions)
	}
}
