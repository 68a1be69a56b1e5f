package main

import (
	"context"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"
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

// retryControl repeats a request that moves no records, if it may be repeated
// whatever came of it, for a short while.
func retryControl(ctx context.Context, attempt func() error) error {
	return newRetrier(controlRetryTimeout, nil).do(ctx, isTemporary, attempt)
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

// topicNames asks the node; without an answer there is nothing to complete.
func topicNames(env *environment, cmd *cobra.Command, prefix string) []cobra.Completion {
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
	defer c.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(commandContext(cmd)), completionTimeout)
	defer cancel()
	var names []cobra.Completion
	_ = c.topics(ctx, prefix, func(info topicInfo) error {
		if len(names) == completionsMax {
			return context.Canceled
		}
		if strings.HasPrefix(info.Name, prefix) {
			names = append(names, info.Name)
		}
		return nil
	})
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
