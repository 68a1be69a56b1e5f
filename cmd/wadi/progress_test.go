package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// TestProgressOnlyOnATerminal runs a slow produce with and without a terminal.
func TestProgressOnlyOnATerminal(t *testing.T) {
	for _, tty := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			node := newFakeNode(t)
			node.topic("t", 1)
			node.delay = time.Second
			var out, errOut safeBuffer
			env := &environment{in: strings.NewReader(string(join(keyedLines(300)))), out: &out, err: &errOut, errTTY: tty,
				getenv: func(string) string { return "" }, dial: node.dial}
			if status := run(t.Context(), env, []string{"produce", "t", "--batch", "1KiB"}); status != exitOK {
				t.Fatalf("status %d: %s", status, errOut.String())
			}
			lines := strings.Split(errOut.String(), "\r")
			if summary := lines[len(lines)-1]; !strings.HasPrefix(strings.TrimLeft(summary, " "), "300 records, ") {
				t.Errorf("ends in %q", summary)
			}
			if shown := len(lines) > 3; shown != tty {
				t.Errorf("terminal %v: %q", tty, errOut.String())
			}
			if out.String() != "" {
				t.Errorf("standard output %q", out.String())
			}
		})
	}
}

func TestConsumeShowsProgressBesideAFile(t *testing.T) {
	node := newFakeNode(t)
	node.topic("t", 1)
	node.put(t, "t", 0, recordbatch.None, numbered(0, 3))
	for outTTY, want := range map[bool]string{false: "3 records, ", true: ""} {
		var out, errOut safeBuffer
		env := &environment{in: strings.NewReader(""), out: &out, err: &errOut, errTTY: true, outTTY: outTTY,
			getenv: func(string) string { return "" }, dial: node.dial}
		if status := run(context.Background(), env, []string{"consume", "t"}); status != exitOK || out.String() != "v0\nv1\nv2\n" {
			t.Errorf("status %d, %q", status, out.String())
		}
		if got := errOut.String(); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("terminal for output %v: %q", outTTY, got)
		}
	}
}
