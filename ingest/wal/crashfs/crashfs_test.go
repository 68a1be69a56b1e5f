package crashfs_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/wadilog/wadi/ingest/wal/crashfs"
)

// outcomes runs a life many times and counts what a file holds afterwards.
func outcomes(t *testing.T, live func(*crashfs.FS)) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	for seed := range uint64(300) {
		fs := crashfs.New()
		live(fs)
		b, err := fs.Crash(rand.New(rand.NewPCG(seed, 0))).ReadFile("d/f")
		if err != nil {
			counts["none"]++
			continue
		}
		counts[string(b)]++
	}
	return counts
}

func write(t *testing.T, fs *crashfs.FS, text string, sync, syncDir bool) {
	t.Helper()
	f, err := fs.Create("d/f")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if syncDir {
		if err := fs.SyncDir("d"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatSurvives(t *testing.T) {
	if got := outcomes(t, func(fs *crashfs.FS) { write(t, fs, "abc", true, true) }); got["abc"] != 300 {
		t.Errorf("synced: %v", got)
	}
	got := outcomes(t, func(fs *crashfs.FS) { write(t, fs, "abc", true, false) })
	if got["abc"] == 0 || got["none"] == 0 || len(got) != 2 {
		t.Errorf("entry not synced: %v", got)
	}
	got = outcomes(t, func(fs *crashfs.FS) { write(t, fs, "abc", false, true) })
	for _, want := range []string{"", "a", "ab", "abc", "\x00\x00\x00"} {
		if got[want] == 0 {
			t.Errorf("bytes not synced: never %q in %v", want, got)
		}
	}
	long := strings.Repeat("a", 512) + strings.Repeat("b", 512)
	got = outcomes(t, func(fs *crashfs.FS) { write(t, fs, long, false, true) })
	if got[strings.Repeat("\x00", 512)+long[512:]] == 0 {
		t.Error("sectors were never reordered")
	}
}

func TestFailedSyncForgets(t *testing.T) {
	got := outcomes(t, func(fs *crashfs.FS) {
		write(t, fs, "", true, true)
		f, err := fs.Open("d/f")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("abc"), 0); err != nil {
			t.Fatal(err)
		}
		fs.FailSync(1)
		if err := f.Sync(); !errors.Is(err, crashfs.ErrInjected) {
			t.Fatalf("sync: %v", err)
		}
		if err := f.Sync(); err != nil {
			t.Fatalf("second sync: %v", err)
		}
		if b, _ := fs.ReadFile("d/f"); string(b) != "abc" {
			t.Fatalf("reads %q", b)
		}
	})
	if got[""] != 300 {
		t.Errorf("after a failed sync and one that returned: %v", got)
	}
}

func TestDeadAfterPowerLoss(t *testing.T) {
	fs := crashfs.New()
	write(t, fs, "abc", true, true)
	f, err := fs.Open("d/f")
	if err != nil {
		t.Fatal(err)
	}
	fs.CrashBefore(2)
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, crashfs.ErrPowerLoss) {
		t.Fatalf("sync: %v", err)
	}
	<-fs.Crashed()
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, crashfs.ErrPowerLoss) {
		t.Fatalf("read: %v", err)
	}
}
