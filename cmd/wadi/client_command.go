package main

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"

	"github.com/wadilog/wadi/client"
)

// defaultServer is the node that wadi dev starts.
const defaultServer = "http://127.0.0.1:8080"

// controlRetryTimeout is how long requests that move no records are repeated:
// enough for a node to be restarted.
const controlRetryTimeout = 5 * time.Second

// completionTimeout bounds what the shell waits for names of topics.
const completionTimeout = time.Second

// completionsMax bounds how many of them it gets.
const completionsMax = 200

func serverFlag(cmd *cobra.Command, p *string) {
	cmd.Flags().StringVar(p, "server", defaultServer, "`URL` of the node")
}

// newClient returns a client of the node at server that keeps up to
// connections open, and repeats what may be repeated for a short while. A server
// that is no URL of a node is wrong usage.
func newClient(env *environment, server string, connections int) (*client.Client, error) {
	c, err := client.New(client.Config{
		Servers: []string{server}, Connections: connections, DialContext: env.dial,
		RetryTimeout: controlRetryTimeout, UserAgent: "wadi/" + version,
	})
	if err != nil {
		return nil, usagef("--server: %w", err)
	}
	return c, nil
}

// sleep waits for d, or returns false when ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// completeTopic completes the name of a topic as the first argument.
func completeTopic(env *environment) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return topicNames(env, cmd, prefix), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeTopicThenFiles completes the name of a topic, and after it files.
func completeTopicThenFiles(env *environment) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return topicNames(env, cmd, prefix), cobra.ShellCompDirectiveNoFileComp
	}
}

func topicNames(env *environment, cmd *cobra.Command, prefix string) []cobra.Completion {
	return namesOf(env, cmd, prefix, (*client.Client).Topics, func(t client.Topic) string { return t.Name })
}

// namesOf asks the node for what begins with prefix; without an answer there is
// nothing to complete.
func namesOf[T any](env *environment, cmd *cobra.Command, prefix string,
	list func(*client.Client, context.Context, string) iter.Seq2[T, error], name func(T) string) []cobra.Completion {
	if applySettings(cmd, env.getenv) != nil {
		return nil
	}
	server, err := cmd.Flags().GetString("server")
	if err != nil {
		return nil
	}
	c, err := newClient(env, server, 1)
	if err != nil {
		return nil
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(commandContext(cmd)), completionTimeout)
	defer cancel()
	var names []cobra.Completion
	for item, err := range list(c.WithRetryTimeout(-1), ctx, prefix) {
		if err != nil || len(names) == completionsMax {
			break
		}
		// A node may list more than it was asked for.
		if strings.HasPrefix(name(item), prefix) {
			names = append(names, name(item))
		}
	}
	return names
}

func commandContext(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}

// quantile reads a histogram of microseconds.
func quantile(h *hdrhistogram.Histogram, q float64) time.Duration {
	d := time.Duration(h.ValueAtQuantile(q)) * time.Microsecond
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(10 * time.Microsecond)
}
