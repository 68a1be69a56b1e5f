//go:build failpoints

package wal_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/ingest/wal"
)

// TestKillAtEveryStep starts a process that appends, waits and releases, lets
// it die at each step in turn, and looks for all that it said was durable.
//
//	go test -tags failpoints -run TestKillAtEveryStep ./ingest/wal
func TestKillAtEveryStep(t *testing.T) {
	if dir := os.Getenv("WADI_WAL_KILL_DIR"); dir != "" {
		appendUntilKilled(t, dir)
		return
	}
	for _, step := range []string{
		"wal/after-write", "wal/after-write:7", "wal/after-sync", "wal/after-sync:7",
		"wal/after-rotate", "wal/after-rotate:4", "wal/before-remove", "wal/before-remove:5",
	} {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0], "-test.run=^TestKillAtEveryStep$")
			cmd.Env = append(os.Environ(), "WADI_WAL_KILL_DIR="+dir, "WADI_FAILPOINT="+step)
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			cmd.ExtraFiles = []*os.File{writer}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			writer.Close()
			said, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			err = cmd.Wait()
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
				t.Fatalf("the process did not die at the step: %v", err)
			}
			checkAfterKill(t, dir, said)
		})
	}
}

// appendUntilKilled reports each acknowledged number, and as a negative one
// each release before it happens, on file descriptor 3.
func appendUntilKilled(t *testing.T, dir string) {
	said := os.NewFile(3, "said")
	say := func(n int64) {
		if err := binary.Write(said, binary.LittleEndian, n); err != nil {
			t.Fatal(err)
		}
	}
	cfg := smallConfig()
	cfg.Dir = dir
	node := nodeID(1)
	l := mustStart(t, cfg, wal.OS{}, node)
	for number := uint64(1); number < 200; number++ {
		l.mustAppendAndWait(t, number, payloadOf(node, number, 300))
		say(int64(number))
		if number > 10 {
			say(-int64(number - 10))
			l.Release(number - 10)
		}
	}
}

func checkAfterKill(t *testing.T, dir string, said []byte) {
	acked, released := uint64(0), uint64(0)
	for r := bytes.NewReader(said); r.Len() > 0; {
		var n int64
		if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
			t.Fatal(err)
		}
		if n < 0 {
			released = uint64(-n)
		} else {
			acked = uint64(n)
		}
	}
	cfg := smallConfig()
	cfg.Dir = dir
	l := mustCreate(t, cfg, wal.OS{}, uuid.New())
	leftovers, err := l.Leftovers()
	if err != nil || len(leftovers) != 1 {
		t.Fatalf("leftovers %v, %v", leftovers, err)
	}
	lo := leftovers[0]
	if len(lo.Holes) > 0 || lo.After > released {
		t.Fatalf("holes %v; after %d, released %d", lo.Holes, lo.After, released)
	}
	var numbers []uint64
	for f, err := range lo.Frames(released) {
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.Payload, payloadOf(nodeID(1), f.Number, 300)) {
			t.Fatalf("frame %d has other bytes", f.Number)
		}
		numbers = append(numbers, f.Number)
	}
	// The frame that was under way may be there too.
	if last := lo.LastNumber; last < acked || last > acked+1 || !slices.Equal(numbers, upTo(last)[released:]) {
		t.Fatalf("replayed %v; acknowledged up to %d, released up to %d", numbers, acked, released)
	}
	if err := lo.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*.wal*")); len(names) != 0 {
		t.Fatalf("files %v", names)
	}
}
