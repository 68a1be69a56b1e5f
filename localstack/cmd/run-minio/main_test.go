package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestExitStatus: the command finds its store, and its status is passed on.
func TestExitStatus(t *testing.T) {
	command := []string{"sh", "-c", `test -n "$AWS_SECRET_ACCESS_KEY" || exit 4; case "$WADI_STORE" in s3://wadi*) exit 3;; esac`}
	status, err := run(t.TempDir(), command)
	if err != nil || status != 3 {
		t.Fatalf("status %d (%v)", status, err)
	}
	if status, err := run(t.TempDir(), []string{"/no/such/command"}); err == nil || status != 1 {
		t.Fatalf("status %d (%v)", status, err)
	}
}

// TestSignalIsPassedOn: the command ends by SIGTERM in its own time.
func TestSignalIsPassedOn(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "ready")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	type result struct {
		status int
		err    error
	}
	done := make(chan result, 1)
	dir := t.TempDir()
	go func() {
		status, err := run(dir, []string{"sh", "-c", `trap "exit 7" TERM; echo > "` + fifo + `"; while :; do sleep 0.05; done`})
		done <- result{status, err}
	}()
	if _, err := os.ReadFile(fifo); err != nil { // waits for the command
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.err != nil || got.status != 7 {
		t.Fatalf("status %d (%v)", got.status, got.err)
	}
}
