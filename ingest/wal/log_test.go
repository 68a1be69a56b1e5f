package wal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/ingest/wal"
	"github.com/wadilog/wadi/ingest/wal/crashfs"
)

func TestConfigIsValidated(t *testing.T) {
	if err := wal.DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*wal.Config){
		"no directory":        func(c *wal.Config) { c.Dir = "" },
		"no buffer":           func(c *wal.Config) { c.BufferBytesMax = 32 },
		"buffer beyond uint":  func(c *wal.Config) { c.BufferBytesMax = 1 << 33; c.FileBytesMax = 1 << 34; c.BytesMax = 1 << 36 },
		"no frames":           func(c *wal.Config) { c.BufferFramesMax = 0 },
		"file below buffer":   func(c *wal.Config) { c.FileBytesMax = c.BufferBytesMax },
		"bytes for one file":  func(c *wal.Config) { c.BytesMax = c.FileBytesMax },
		"bytes for two, less": func(c *wal.Config) { c.BytesMax = 2*c.FileBytesMax - 1 },
	} {
		cfg := wal.DefaultConfig()
		change(&cfg)
		if cfg.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestFramesGatheredBeforeOneSync shows the group commit: what was appended
// while nothing could be written costs one fsync.
func TestFramesGatheredBeforeOneSync(t *testing.T) {
	cfg := wal.DefaultConfig()
	l := mustCreate(t, cfg, crashfs.New(), nodeID(1))
	var tickets []wal.Ticket
	for number := range uint64(1000) {
		ticket, err := l.Append(number+1, []byte("a"), []byte("b"))
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, ticket)
	}
	l.start()
	for _, ticket := range tickets {
		if err := l.Wait(t.Context(), ticket); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.metric(t, "wadi_wal_syncs_total"); n != 1 {
		t.Fatalf("%v fsyncs, want 1", n)
	}
	l.mustStopAndClose(t)
}

func TestAppendRefuses(t *testing.T) {
	cfg := smallConfig()
	cfg.BytesMax = 2 * cfg.FileBytesMax
	fs := crashfs.New()
	l := mustCreate(t, cfg, fs, nodeID(1))
	refuses := func(want error, number uint64, size int) {
		t.Helper()
		if _, err := l.Append(number, make([]byte, size)); !errors.Is(err, want) {
			t.Fatalf("append frame %d of %d bytes: %v, want %v", number, size, err, want)
		}
	}
	refuses(wal.ErrNumberOrder, 0, 1)
	refuses(wal.ErrTooLarge, 1, 1024-31)
	if _, err := l.Append(5, make([]byte, 900)); err != nil {
		t.Fatal(err)
	}
	refuses(wal.ErrNumberOrder, 5, 1)
	refuses(wal.ErrBusy, 6, 900)
	l.Release(7)
	refuses(wal.ErrNumberOrder, 7, 1)
	l.start()
	number := uint64(7)
	full := false
	for !full {
		ticket, err := l.Append(number+1, make([]byte, 900))
		switch {
		case errors.Is(err, wal.ErrBusy): // until the frame before is fsynced
		case errors.Is(err, wal.ErrFull):
			full = true
		case err != nil:
			t.Fatal(err)
		default:
			number++
			if err := ticket.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if held := l.metric(t, "wadi_wal_bytes"); held > float64(cfg.BytesMax) || held < float64(cfg.BytesMax)-1000 {
		t.Fatalf("full at %v bytes of %d", held, cfg.BytesMax)
	}
	// Everything released, also what lies in the newest file: it goes on.
	l.Release(number)
	for range 100 {
		number++
		ticket, err := l.Append(number, make([]byte, 900))
		for errors.Is(err, wal.ErrFull) {
			ticket, err = l.Append(number, make([]byte, 900))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := ticket.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.Release(number)
	}
	l.mustStopAndClose(t)
	refuses(wal.ErrClosed, number+1, 1)
}

func TestBufferFramesMax(t *testing.T) {
	cfg := smallConfig()
	cfg.BufferFramesMax = 3
	l := mustCreate(t, cfg, crashfs.New(), nodeID(1))
	for number := range uint64(3) {
		if _, err := l.Append(number + 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Append(4); !errors.Is(err, wal.ErrBusy) {
		t.Fatalf("fourth frame: %v", err)
	}
	l.start()
	l.mustStopAndClose(t)
}

// TestFailStop lets each write and each fsync of a life fail in turn. Whoever
// was not told before must be told of the failure, nothing is acknowledged
// after it, and no fsync is tried again.
func TestFailStop(t *testing.T) {
	for _, fault := range []struct {
		name string
		arm  func(*crashfs.FS, int)
	}{
		{"sync", (*crashfs.FS).FailSync},
		{"write", (*crashfs.FS).FailWrite},
	} {
		for n := 1; n <= 12; n++ {
			t.Run(fmt.Sprintf("%s %d", fault.name, n), func(t *testing.T) {
				fs := crashfs.New()
				l := mustCreate(t, smallConfig(), fs, nodeID(1))
				fault.arm(fs, n)
				l.start()
				var failed error
				for number := uint64(1); failed == nil && number < 200; number += 2 {
					ticket, err := l.Append(number, make([]byte, 500))
					if err != nil {
						t.Fatal(err)
					}
					// A second one gathers behind the first.
					second, err := l.Append(number+1, make([]byte, 400))
					failed = ticket.Wait(context.Background())
					if err == nil {
						err = second.Wait(context.Background())
					}
					if failed != nil && err == nil {
						t.Fatal("acknowledged after a failure")
					}
					failed = errors.Join(failed, err)
				}
				if !errors.Is(failed, wal.ErrFailed) || !errors.Is(failed, crashfs.ErrInjected) {
					t.Fatalf("waiters got %v", failed)
				}
				<-l.ended // by itself
				if !errors.Is(l.err, wal.ErrFailed) || !errors.Is(l.err, crashfs.ErrInjected) {
					t.Fatalf("Run returned %v", l.err)
				}
				before := fs.Operations()
				if _, err := l.Append(1<<60, nil); !errors.Is(err, wal.ErrFailed) {
					t.Fatalf("append after the failure: %v", err)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if after := fs.Operations(); after != before {
					t.Fatalf("%d operations on the disk after the failure", after-before)
				}
				if n := l.metric(t, "wadi_wal_failures_total"); n != 1 {
					t.Fatalf("%v failures counted", n)
				}
				l.cancel()
			})
		}
	}
}

// TestFailureToRetireEndsTheLog takes a released file away before the log
// does: who meddles in the directory must be noticed.
func TestFailureToRetireEndsTheLog(t *testing.T) {
	fs := crashfs.New()
	l := mustStart(t, smallConfig(), fs, nodeID(1))
	for number := range uint64(6) {
		l.mustAppendAndWait(t, number+1, make([]byte, 500))
	}
	if err := fs.Remove(filepath.Join(smallConfig().Dir, wal.FileName(nodeID(1), 1))); err != nil {
		t.Fatal(err)
	}
	l.Release(6)
	<-l.ended
	if !errors.Is(l.err, wal.ErrFailed) {
		t.Fatalf("Run returned %v", l.err)
	}
	if _, err := l.Append(7); !errors.Is(err, wal.ErrFailed) {
		t.Fatalf("append: %v", err)
	}
	if err := errors.Join(l.Remove(), l.Close()); err != nil {
		t.Fatal(err)
	}
	l.cancel()
}

// TestFramesBehindAFailingSync appends while the fsync that fails is under
// way: who waits in the next group is told as well.
func TestFramesBehindAFailingSync(t *testing.T) {
	fs := crashfs.New()
	l := mustCreate(t, smallConfig(), fs, nodeID(1))
	first, err := l.Append(1)
	if err != nil {
		t.Fatal(err)
	}
	var second wal.Ticket
	fs.OnSync(func() {
		if second, err = l.Append(2); err != nil {
			t.Error(err)
		}
	})
	fs.FailSync(1)
	if err := l.Run(t.Context()); !errors.Is(err, wal.ErrFailed) {
		t.Fatalf("Run: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel() // nothing is left to wait for
	for _, ticket := range []wal.Ticket{first, second} {
		if err := ticket.Wait(ended); !errors.Is(err, wal.ErrFailed) {
			t.Fatalf("wait: %v", err)
		}
	}
}

// TestFramesGatherWhileSyncing appends while an fsync is under way: all of it
// goes into the next one, without any wait for more.
func TestFramesGatherWhileSyncing(t *testing.T) {
	fs := crashfs.New()
	l := mustCreate(t, smallConfig(), fs, nodeID(1))
	if _, err := l.Append(1); err != nil {
		t.Fatal(err)
	}
	last := make(chan wal.Ticket, 1)
	syncs := 0
	fs.OnSync(func() {
		if syncs++; syncs > 1 {
			return
		}
		var ticket wal.Ticket
		for number := range uint64(20) {
			var err error
			if ticket, err = l.Append(number + 2); err != nil {
				t.Error(err)
			}
		}
		last <- ticket
	})
	l.start()
	if err := l.Wait(t.Context(), <-last); err != nil {
		t.Fatal(err)
	}
	if n := l.metric(t, "wadi_wal_syncs_total"); n != 2 {
		t.Fatalf("%v fsyncs, want 2", n)
	}
	l.mustStopAndClose(t)
}

func TestWaitEndsWithItsContext(t *testing.T) {
	l := mustCreate(t, smallConfig(), crashfs.New(), nodeID(1))
	ticket, err := l.Append(1, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ticket.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("wait: %v", err)
	}
	// Nobody writes the frame any more.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ticket.Wait(t.Context()); !errors.Is(err, wal.ErrClosed) {
		t.Fatalf("wait after Close: %v", err)
	}
}

// TestRunDrains ends Run while frames wait: they are written, the file is
// closed, and a later start sees that it is.
func TestRunDrains(t *testing.T) {
	fs := crashfs.New()
	l := mustCreate(t, smallConfig(), fs, nodeID(1))
	ticket, err := l.Append(1, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := ticket.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := fs.ReadFile(filepath.Join(smallConfig().Dir, wal.FileName(nodeID(1), 1)))
	if err != nil {
		t.Fatal(err)
	}
	frames := wal.PlacedFrames(b, nodeID(1), 1)
	if n := len(frames); n != 2 || !frames[1].Closing || frames[1].Synced != frames[1].From || frames[1].Number != 1 {
		t.Fatalf("frames %+v", frames)
	}
}

func TestRemoveOnlyWhenEmpty(t *testing.T) {
	fs := crashfs.New()
	l := mustStart(t, smallConfig(), fs, nodeID(1))
	for number := range uint64(20) {
		l.mustAppendAndWait(t, number+1, make([]byte, 500))
	}
	if l.Empty() || !errors.Is(l.Remove(), wal.ErrNotEmpty) {
		t.Fatal("empty with 20 frames")
	}
	l.Release(19)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if l.Empty() || !errors.Is(l.Remove(), wal.ErrNotEmpty) {
		t.Fatal("empty with one frame")
	}
	l.Release(20)
	if !l.Empty() {
		t.Fatal("not empty")
	}
	if err := errors.Join(l.Remove(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if names, _ := fs.ReadDir(smallConfig().Dir); len(names) != 0 {
		t.Fatalf("files %v", names)
	}
}

func TestNodeIDMustBeNew(t *testing.T) {
	fs := crashfs.New()
	mustCreate(t, smallConfig(), fs, nodeID(1)).mustStopAndClose(t)
	if _, err := create(smallConfig(), fs, nodeID(1)); err == nil {
		t.Fatal("a node id was used twice")
	}
	// The refusal gave the lock back, and unfinished files go.
	fs.WriteFile(filepath.Join(smallConfig().Dir, wal.FileName(nodeID(2), 7)+".tmp"), []byte("half"))
	mustCreate(t, smallConfig(), fs, nodeID(3))
	if names, _ := fs.ReadDir(smallConfig().Dir); len(names) != 2 {
		t.Fatalf("files %v", names)
	}
}

// TestOnRealFiles runs two lives in a directory of the machine.
func TestOnRealFiles(t *testing.T) {
	cfg := smallConfig()
	cfg.Dir = filepath.Join(t.TempDir(), "new", "wal")
	cfg.BufferBytesMax, cfg.FileBytesMax, cfg.BytesMax = 2<<20, 4<<20, 16<<20
	first := uuid.New()
	l := mustStart(t, cfg, wal.OS{}, first)
	if _, err := create(cfg, wal.OS{}, uuid.New()); !errors.Is(err, wal.ErrLocked) {
		t.Fatalf("second log in the directory: %v", err)
	}
	sizes := []int{0, 1, 100, 70_000, 300_000, 1 << 20, 2<<20 - 32, 5, 1 << 20, 1 << 20}
	for i, size := range sizes {
		payload := payloadOf(first, uint64(i+1), size)
		l.mustAppendAndWait(t, uint64(i+1), payload[:size/2], payload[size/2:])
	}
	l.Release(3)
	l.mustStopAndClose(t)

	l = mustStart(t, cfg, wal.OS{}, uuid.New())
	leftovers, err := l.Leftovers()
	if err != nil || len(leftovers) != 1 || leftovers[0].Node != first {
		t.Fatalf("leftovers %v, %v", leftovers, err)
	}
	lo := leftovers[0]
	if lo.FrameCount != int64(len(sizes)) || len(lo.Holes) != 0 {
		t.Fatalf("%d frames, holes %v", lo.FrameCount, lo.Holes)
	}
	next := uint64(4)
	for f, err := range lo.Frames(3) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Number != next || !bytes.Equal(f.Payload, payloadOf(first, next, sizes[next-1])) {
			t.Fatalf("frame %d with %d bytes, want frame %d", f.Number, len(f.Payload), next)
		}
		next++
	}
	if int(next) != len(sizes)+1 {
		t.Fatalf("replayed up to %d", next-1)
	}
	if err := lo.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Remove(), l.Close()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "LOCK" {
		t.Fatalf("directory holds %v, %v", entries, err)
	}
}

// TestManyWriters has callers append under a lock of theirs, wait at the same
// time and release as they go; the race detector watches.
func TestManyWriters(t *testing.T) {
	fs := crashfs.New()
	l := mustStart(t, smallConfig(), fs, nodeID(1))
	var (
		mu     sync.Mutex
		number uint64
		wg     sync.WaitGroup
	)
	for range 16 {
		wg.Go(func() {
			for range 100 {
				mu.Lock()
				ticket, err := l.Append(number+1, []byte("payload"))
				if err == nil {
					number++
				}
				mine := number
				mu.Unlock()
				if errors.Is(err, wal.ErrBusy) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if err := ticket.Wait(context.Background()); err != nil {
					t.Error(err)
					return
				}
				if mine > 50 {
					l.Release(mine - 50)
				}
			}
		})
	}
	wg.Wait()
	l.mustStopAndClose(t)
	r := &remains{fs: fs, node: nodeID(1), frames: map[uint64][]byte{}}
	for n := uint64(1); n <= number; n++ {
		r.frames[n] = []byte("payload")
	}
	_, lo := r.found(t)
	numbers, err := r.numbers(lo, number-50)
	if err != nil || !slices.Equal(numbers, upTo(number)[number-50:]) {
		t.Fatalf("replayed %v, %v", numbers, err)
	}
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	logger := slog.New(slog.DiscardHandler)
	fs := crashfs.New()
	if _, err := wal.Create(smallConfig(), nodeID(1), fs, logger, registry); err != nil {
		t.Fatal(err)
	}
	if _, err := wal.Create(smallConfig(), nodeID(2), crashfs.New(), logger, registry); err == nil {
		t.Fatal("two logs in one registry")
	}
}
