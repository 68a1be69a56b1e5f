package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// session runs commands of a test, against a fake node if it has one.
type session struct {
	t    *testing.T
	node *fakeNode
	vars map[string]string
	in   string
	ctx  context.Context
}

// outcome is what a command left behind.
type outcome struct {
	status   int
	out, err string
}

func (s *session) run(args ...string) outcome {
	s.t.Helper()
	var out, errOut bytes.Buffer
	env := &environment{
		in: strings.NewReader(s.in), out: &out, err: &errOut,
		getenv: func(name string) string { return s.vars[name] },
	}
	if s.node != nil {
		env.dial = s.node.dial
	}
	ctx := s.ctx
	if ctx == nil {
		ctx = s.t.Context()
	}
	status := run(ctx, env, args)
	return outcome{status, out.String(), errOut.String()}
}

// must runs a command that has to succeed, and returns what it printed.
func (s *session) must(args ...string) string {
	s.t.Helper()
	o := s.run(args...)
	if o.status != exitOK {
		s.t.Fatalf("wadi %s: status %d: %s", strings.Join(args, " "), o.status, o.err)
	}
	return o.out
}

func writeFile(t *testing.T, name string, body []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExitStatusAndOneLine(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		status int
		err    string // part of the only line on standard error
	}{
		{"version", []string{"version"}, exitOK, ""},
		{"help", []string{"--help"}, exitOK, ""},
		{"help of a command", []string{"produce", "--help"}, exitOK, ""},
		{"no command", nil, exitUsage, "which command?"},
		{"no command of a group", []string{"topics"}, exitUsage, "one of alter, create"},
		{"unknown command", []string{"prodcue"}, exitUsage, `perhaps you mean "produce"`},
		{"unknown command of a group", []string{"topics", "creat"}, exitUsage, `perhaps you mean "create"`},
		{"unknown flag", []string{"consume", "t", "--nope"}, exitUsage, "unknown flag: --nope"},
		{"too few arguments", []string{"consume"}, exitUsage, "requires at least 1 arg(s)"},
		{"too many arguments", []string{"version", "x"}, exitUsage, "unknown command"},
		{"bad size", []string{"serve", "--memory-limit", "12 parsecs"}, exitUsage, "is not a size such as 512MiB"},
		{"negative size", []string{"serve", "--memory-limit=-1MiB"}, exitUsage, "is not a size"},
		{"bad duration", []string{"serve", "--flush-interval", "5"}, exitUsage, "flush-interval"},
		{"bad choice", []string{"produce", "t", "--acks", "2"}, exitUsage, `"2" is not one of all, 1`},
		{"bad role", []string{"serve", "--roles", "ingest,cook"}, exitUsage, `"cook" is not one of`},
		{"no store", []string{"serve"}, exitUsage, "--store is needed"},
		{"no folder", []string{"serve", "--store", "mem://"}, exitUsage, "--wal=off"},
		{"peers at every address", []string{"serve", "--store", "mem://", "--wal=off", "--peer-listen", "0.0.0.0:7171"}, exitUsage, "say with --advertise"},
		{"peers at every address of version 6", []string{"serve", "--store", "mem://", "--wal=off", "--peer-listen", "[::]:7171"}, exitUsage, "say with --advertise"},
		{"peers at no address", []string{"dev", "--peer-listen", ":7171"}, exitUsage, "say with --advertise"},
		{"bad topic name", []string{"produce", "a/b"}, exitUsage, "is not a name of a topic"},
		{"topic that climbs", []string{"topics", "delete", ".."}, exitUsage, "is not a name of a topic"},
		{"bad server", []string{"topics", "list", "--server", "ftp://x"}, exitUsage, "is not the URL of a node"},
		{"bad format", []string{"consume", "t", "--format", "%x"}, exitUsage, "there is no %x"},
		{"bad position", []string{"consume", "t", "--from", "yesterday"}, exitUsage, "neither earliest"},
		{"resume without log", []string{"produce", "t", "--resume"}, exitUsage, "--resume needs --ack-log"},
		{"missing input", []string{"produce", "t", "/does/not/exist"}, exitFailure, "no such file"},
		{"missing topic", []string{"produce", "t"}, exitFailure, "404 topic_not_found"},
		{"missing settings file", []string{"version", "--config", "/does/not/exist"}, exitUsage, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &session{t: t, node: newFakeNode(t)}
			got := s.run(c.args...)
			if got.status != c.status {
				t.Errorf("status %d, want %d: %s", got.status, c.status, got.err)
			}
			if c.err == "" {
				if got.err != "" {
					t.Errorf("standard error: %q", got.err)
				}
				return
			}
			if got.out != "" || strings.Count(got.err, "\n") != 1 || !strings.HasSuffix(got.err, "\n") || !strings.Contains(got.err, c.err) {
				t.Errorf("standard output %q, standard error %q, want one line with %q", got.out, got.err, c.err)
			}
		})
	}
}

func TestEveryCommandHasHelpAndCompletion(t *testing.T) {
	s := &session{t: t}
	for _, command := range []string{"dev", "serve", "topics", "topics create", "topics list", "topics describe", "topics alter",
		"topics delete", "topics trim", "produce", "consume", "bench", "version"} {
		args := strings.Fields(command)
		if help := s.must(append(args, "--help")...); !strings.Contains(help, "Usage:") {
			t.Errorf("help of %s: %q", command, help)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if script := s.must("completion", shell); !strings.Contains(script, "wadi") {
			t.Errorf("completion for %s: %q", shell, script)
		}
	}
	if got := s.must("__complete", "produce", "t", "--acks", ""); !strings.HasPrefix(got, "all\n1\n") {
		t.Errorf("completion of --acks: %q", got)
	}
}

func TestTopicNamesComplete(t *testing.T) {
	s := &session{t: t, node: newFakeNode(t)}
	for _, name := range []string{"flights", "flags", "other", "flights-2"} {
		s.node.topic(name, 1)
	}
	if got := s.must("__complete", "consume", "fli"); !strings.HasPrefix(got, "flights\nflights-2\n:4\n") {
		t.Errorf("completion: %q", got)
	}
}
