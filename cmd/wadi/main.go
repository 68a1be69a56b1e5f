package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	// exitUnchecked is that of wadi verify if it cannot tell.
	exitUnchecked = 2
)

func main() {
	ctx, stop := interruptible(context.Background())
	defer stop()
	os.Exit(run(ctx, processEnvironment(), os.Args[1:]))
}

// environment is what a command has around it. Tests bring their own.
type environment struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	inTTY  bool
	outTTY bool
	errTTY bool
	getenv func(string) string
	dial   func(ctx context.Context, network, address string) (net.Conn, error) // nil: over the network
}

func processEnvironment() *environment {
	return &environment{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		inTTY:  term.IsTerminal(int(os.Stdin.Fd())),
		outTTY: term.IsTerminal(int(os.Stdout.Fd())),
		errTTY: term.IsTerminal(int(os.Stderr.Fd())),
		getenv: os.Getenv,
	}
}

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// interruptible returns a context that the first SIGINT or SIGTERM ends. The
// second ends the process at once.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		if _, ok := <-signals; !ok {
			return
		}
		cancel(errInterrupted)
		if _, ok := <-signals; ok {
			os.Exit(exitFailure)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	}
}

// usageError is a mistake in how the command was called.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// statusError is a failure with an exit status of its own.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }

func (e *statusError) Unwrap() error { return e.err }

// run runs one command and returns the exit status.
func run(ctx context.Context, env *environment, args []string) int {
	return execute(ctx, env, newRootCommand(env), args)
}

func execute(ctx context.Context, env *environment, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	line := oneLine(err.Error())
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		_, _ = fmt.Fprintf(env.err, "%s: %s (see %s --help)\n", cmd.CommandPath(), line, cmd.CommandPath())
		return exitUsage
	}
	_, _ = fmt.Fprintf(env.err, "%s: %s\n", cmd.CommandPath(), line)
	if failed := (*statusError)(nil); errors.As(err, &failed) {
		return failed.status
	}
	return exitFailure
}

// oneLine joins the lines of a message.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}

func newRootCommand(env *environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "wadi",
		Short: "A serverless log on object storage",
		Long: `Wadi is a serverless log: topics, partitions and offsets over HTTP, with
nothing to keep alive but a bucket.

Start with "wadi dev", then "wadi topics create", "wadi produce", "wadi consume".

Every flag can be given in the environment as well (--memory-limit as
WADI_MEMORY_LIMIT) or in one YAML file named by --config (memory-limit: 512MiB).
A flag goes before the environment, the environment before the file.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return applySettings(cmd, env.getenv)
		},
	}
	group(root)
	root.SetIn(env.in)
	root.SetOut(env.out)
	root.SetErr(env.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.PersistentFlags().String(configFlag, "", "YAML `file` with settings, one per flag")
	root.AddCommand(
		newDevCommand(env, runNode),
		newServeCommand(env, runNode),
		newTopicsCommand(env),
		newGroupsCommand(env),
		newProduceCommand(env),
		newConsumeCommand(env),
		newBenchCommand(env),
		newVerifyCommand(env, openExistingStore),
		newRebuildCommand(env, openExistingStore),
		newVersionCommand(env),
	)
	return root
}

// group makes cmd a command that only holds others: without one of them, or
// with a wrong one, it is wrong usage.
func group(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		if close := cmd.SuggestionsFor(args[0]); len(close) > 0 {
			return usagef("unknown command %q, perhaps you mean %q", args[0], close[0])
		}
		return usagef("unknown command %q", args[0])
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var names []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				names = append(names, c.Name())
			}
		}
		return usagef("which command? one of %s", strings.Join(names, ", "))
	}
	cmd.SuggestionsMinimumDistance = 2
}

// positional turns cobra's complaints about arguments into wrong usage.
func positional(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}
