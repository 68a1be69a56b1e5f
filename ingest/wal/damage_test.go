package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/wadilog/wadi/ingest/wal"
	"github.com/wadilog/wadi/ingest/wal/crashfs"
)

// remains is the files that a life left, before a test damages them.
type remains struct {
	fs     *crashfs.FS
	node   uuid.UUID
	frames map[uint64][]byte
}

// leave lets a node write frames, each in a group of its own, and end properly
// or not.
func leave(t tester, sizes []int, properly bool) *remains {
	t.Helper()
	fs := crashfs.New()
	r := &remains{fs: fs, node: nodeID(1), frames: make(map[uint64][]byte)}
	l := mustStart(t, smallConfig(), fs, r.node)
	for i, size := range sizes {
		number := uint64(i + 1)
		r.frames[number] = payloadOf(r.node, number, size)
		l.mustAppendAndWait(t, number, r.frames[number])
	}
	if properly {
		l.mustStopAndClose(t)
		return r
	}
	r.fs = fs.Crash(rand.New(rand.NewPCG(1, 1)))
	if err := l.stop(); !errors.Is(err, wal.ErrFailed) {
		t.Fatalf("Run after the power cut: %v", err)
	}
	return r
}

func (r *remains) path(seq uint64) string {
	return filepath.Join(smallConfig().Dir, wal.FileName(r.node, seq))
}

func (r *remains) file(t tester, seq uint64) []byte {
	t.Helper()
	b, err := r.fs.ReadFile(r.path(seq))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *remains) names(t tester) []string {
	t.Helper()
	names, err := r.fs.ReadDir(smallConfig().Dir)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// found starts a node on the remains and returns what it sees of the old one.
func (r *remains) found(t tester) (*life, *wal.Leftover) {
	t.Helper()
	l := mustCreate(t, smallConfig(), r.fs, nodeID(2))
	leftovers, err := l.Leftovers()
	if err != nil {
		t.Fatal(err)
	}
	if len(leftovers) != 1 {
		t.Fatalf("%d leftovers, want 1", len(leftovers))
	}
	return l, leftovers[0]
}

// numbers replays a leftover and compares the payloads.
func (r *remains) numbers(lo *wal.Leftover, after uint64) ([]uint64, error) {
	var numbers []uint64
	for f, err := range lo.Frames(after) {
		if err != nil {
			return numbers, err
		}
		if !bytes.Equal(f.Payload, r.frames[f.Number]) {
			return numbers, fmt.Errorf("frame %d has other bytes", f.Number)
		}
		numbers = append(numbers, f.Number)
	}
	return numbers, nil
}

func upTo(n uint64, but ...uint64) []uint64 {
	var numbers []uint64
	for i := uint64(1); i <= n; i++ {
		if !slices.Contains(but, i) {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// TestDamageIsNotATornTail flips a bit of what fsync had been seen to return
// for, in the newest file as well as in older ones: all other frames must be
// replayed, the damage reported and the file kept.
func TestDamageIsNotATornTail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(0, 300), 2, 30).Draw(t, "sizes")
		r := leave(t, sizes, rapid.Bool().Draw(t, "properly"))
		var files []string
		for _, name := range r.names(t) {
			if strings.HasSuffix(name, ".wal") {
				files = append(files, name)
			}
		}
		seq := uint64(1 + rapid.IntRange(0, len(files)-1).Draw(t, "file"))
		b := r.file(t, seq)
		frames := wal.PlacedFrames(b, r.node, seq)
		synced := int64(wal.FileHeaderSize)
		for _, f := range frames {
			synced = max(synced, f.Synced)
		}
		if synced == wal.FileHeaderSize {
			return // one group only: nothing in the file says that it was fsynced
		}
		bit := rapid.Int64Range(0, synced*8-1).Draw(t, "bit")
		b[bit/8] ^= 1 << (bit % 8)
		r.fs.WriteFile(r.path(seq), b)
		var lost []uint64
		for _, f := range frames {
			if f.From <= bit/8 && bit/8 < f.To {
				lost = append(lost, f.Number)
			}
		}

		for range 2 { // the second start stands for a crash before all was committed
			l, lo := r.found(t)
			if len(lo.Holes) != 1 || l.metric(t, "wadi_wal_damaged_files_total") != 1 {
				t.Fatalf("holes %v, want one", lo.Holes)
			}
			numbers, err := r.numbers(lo, 0)
			if want := upTo(uint64(len(sizes)), lost...); err != nil || !slices.Equal(numbers, want) {
				t.Fatalf("replayed %v, %v; want %v", numbers, err, want)
			}
			if err := l.Remove(); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		_, lo := r.found(t)
		if err := lo.Remove(); err != nil {
			t.Fatal(err)
		}
		want := []string{wal.FileName(r.node, seq) + ".damaged", wal.FileName(nodeID(2), 1)}
		if names := r.names(t); !slices.Equal(names, want) {
			t.Fatalf("files %v, want %v", names, want)
		}
		kept, err := r.fs.ReadFile(r.path(seq) + ".damaged")
		if err != nil || !bytes.Equal(kept, b) {
			t.Fatalf("the damaged file was changed, %v", err)
		}
	})
}

// TestTornTailIsCut leaves an unfinished write in the newest file, of every
// length: what was acknowledged before it stays, the rest goes, and nothing is
// called damage.
func TestTornTailIsCut(t *testing.T) {
	r := leave(t, []int{10, 20, 30}, false)
	whole := r.file(t, 1)
	frames := wal.PlacedFrames(whole, r.node, 1)
	if len(frames) != 3 {
		t.Fatalf("%d frames survived the power cut, want 3", len(frames))
	}
	third := frames[2]
	tails := map[string][]byte{}
	for cut := third.From + 1; cut < third.To; cut++ {
		tails[fmt.Sprintf("cut at %d", cut)] = whole[:cut]
	}
	flipped := slices.Clone(whole)
	flipped[third.From+5] ^= 1
	tails["bad frame"] = flipped
	tails["zeros"] = append(slices.Clone(whole[:third.From]), make([]byte, 5000)...)
	tails["zeros in a frame"] = append(slices.Clone(whole[:third.To-3]), make([]byte, 5000)...)
	// An old frame of the same file, where it was not written.
	tails["stale frame"] = append(slices.Clone(whole[:third.From]), whole[third.From-1:]...)
	for name, b := range tails {
		t.Run(name, func(t *testing.T) {
			r.fs = crashfs.New()
			r.fs.WriteFile(r.path(1), b)
			l, lo := r.found(t)
			if len(lo.Holes) != 0 || l.metric(t, "wadi_wal_torn_tails_total") != 1 || l.metric(t, "wadi_wal_damaged_files_total") != 0 {
				t.Fatalf("holes %v, torn tails %v", lo.Holes, l.metric(t, "wadi_wal_torn_tails_total"))
			}
			if numbers, err := r.numbers(lo, 0); err != nil || !slices.Equal(numbers, upTo(2)) {
				t.Fatalf("replayed %v, %v", numbers, err)
			}
			// Cut durably: it is so after a power cut too.
			for seed := range uint64(20) {
				after := &remains{fs: r.fs.Crash(rand.New(rand.NewPCG(seed, 1))), node: r.node}
				if got := after.file(t, 1); !bytes.Equal(got, whole[:third.From]) {
					t.Fatalf("file has %d bytes, want %d", len(got), third.From)
				}
			}
		})
	}
}

// TestDamageByHand goes through the ways in which whole files go wrong.
func TestDamageByHand(t *testing.T) {
	// Frames 1 to 12 of 500 bytes: three to a file, the last file with three.
	sizes := slices.Repeat([]int{500}, 12)
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, r *remains)
		want   []uint64
		kept   []uint64 // files that are kept as damaged
	}{
		{"older file cut in a frame", func(t *testing.T, r *remains) {
			r.fs.WriteFile(r.path(2), r.file(t, 2)[:wal.FileHeaderSize+2*532+100])
		}, upTo(12, 6), []uint64{2}},
		{"older file cut between frames", func(t *testing.T, r *remains) {
			r.fs.WriteFile(r.path(2), r.file(t, 2)[:wal.FileHeaderSize+532])
		}, upTo(12, 5, 6), []uint64{2}},
		{"older file without its closing frame", func(t *testing.T, r *remains) {
			r.fs.WriteFile(r.path(2), r.file(t, 2)[:wal.FileHeaderSize+3*532])
		}, upTo(12), []uint64{2}},
		{"older file empty", func(t *testing.T, r *remains) {
			r.fs.WriteFile(r.path(1), nil)
		}, upTo(12, 1, 2, 3), []uint64{1}},
		{"newest file empty", func(t *testing.T, r *remains) {
			r.fs.WriteFile(r.path(4), nil)
		}, upTo(9), []uint64{4}},
		{"header overwritten", func(t *testing.T, r *remains) {
			b := r.file(t, 3)
			clear(b[:64])
			r.fs.WriteFile(r.path(3), b)
		}, upTo(12), []uint64{3}},
		{"header of the newest file overwritten", func(t *testing.T, r *remains) {
			b := r.file(t, 4)
			clear(b[:64])
			r.fs.WriteFile(r.path(4), b)
		}, upTo(12), []uint64{4}},
		{"file missing", func(t *testing.T, r *remains) {
			if err := r.fs.Remove(r.path(2)); err != nil {
				t.Fatal(err)
			}
		}, upTo(12, 4, 5, 6), nil},
		{"file copied over another", func(t *testing.T, r *remains) {
			r.fs.WriteFile(r.path(2), r.file(t, 1))
		}, upTo(12, 4, 5, 6), []uint64{2}},
		{"frame copied over another", func(t *testing.T, r *remains) {
			b := r.file(t, 2)
			copy(b[wal.FileHeaderSize+532:], b[wal.FileHeaderSize:][:532])
			r.fs.WriteFile(r.path(2), b)
		}, upTo(12, 5), []uint64{2}},
		{"two places", func(t *testing.T, r *remains) {
			for _, seq := range []uint64{1, 3} {
				b := r.file(t, seq)
				b[wal.FileHeaderSize+532+2] ^= 1
				r.fs.WriteFile(r.path(seq), b)
			}
		}, upTo(12, 2, 8), []uint64{1, 3}},
		{"sector unreadable", func(t *testing.T, r *remains) {
			r.fs.Unreadable(r.path(2), wal.FileHeaderSize+532+40, wal.FileHeaderSize+532+41)
		}, upTo(12, 4, 5, 6), []uint64{2}}, // the whole file is in one sector
	} {
		t.Run(test.name, func(t *testing.T) {
			r := leave(t, sizes, false)
			test.damage(t, r)
			l, lo := r.found(t)
			if len(lo.Holes) == 0 {
				t.Fatal("no damage was reported")
			}
			t.Log(lo.Holes)
			numbers, err := r.numbers(lo, 0)
			if err != nil || !slices.Equal(numbers, test.want) {
				t.Fatalf("replayed %v, %v; want %v", numbers, err, test.want)
			}
			if lo.FrameCount != int64(len(numbers)) || lo.FirstNumber != numbers[0] || lo.LastNumber != numbers[len(numbers)-1] {
				t.Fatalf("announced %d frames from %d to %d", lo.FrameCount, lo.FirstNumber, lo.LastNumber)
			}
			tail, err := r.numbers(lo, 9)
			if i, _ := slices.BinarySearch(test.want, 10); err != nil || !slices.Equal(tail, test.want[i:]) {
				t.Fatalf("replayed after 9: %v, %v", tail, err)
			}
			if err := lo.Remove(); err != nil {
				t.Fatal(err)
			}
			var kept []string
			for _, seq := range test.kept {
				kept = append(kept, wal.FileName(r.node, seq)+".damaged")
			}
			if names := r.names(t); !slices.Equal(names, append(kept, wal.FileName(nodeID(2), 1))) {
				t.Fatalf("files %v", names)
			}
			if held := l.metric(t, "wadi_wal_bytes"); held != wal.FileHeaderSize {
				t.Fatalf("%v bytes counted for an empty buffer", held)
			}
		})
	}
}

// TestUnreadableIsNotTorn lets the disk refuse what lies beyond all synced
// positions. It may have been acknowledged, so it is damage, and the file must
// not be cut: the disk may give the bytes another time.
func TestUnreadableIsNotTorn(t *testing.T) {
	r := &remains{fs: crashfs.New(), node: nodeID(1), frames: make(map[uint64][]byte)}
	b := wal.EmptyFile(r.node, 1)
	for number := uint64(1); number <= 5; number++ {
		r.frames[number] = payloadOf(r.node, number, 20_000)
		b = append(b, wal.EncodeFrame(wal.Placed{From: int64(len(b)), Number: number, Synced: wal.FileHeaderSize, Payload: r.frames[number]}, r.node, 1)...)
	}
	r.fs.WriteFile(r.path(1), b)
	r.fs.Unreadable(r.path(1), 50_000, 50_100)
	_, lo := r.found(t)
	numbers, err := r.numbers(lo, 0)
	if err != nil || !slices.Equal(numbers, upTo(5, 3)) || len(lo.Holes) != 1 {
		t.Fatalf("replayed %v, %v; holes %v", numbers, err, lo.Holes)
	}
	if got := r.file(t, 1); !bytes.Equal(got, b) {
		t.Fatal("the file was changed")
	}
}

// TestNumbersThatDoNotAscend come from no writer of ours. Whatever made them,
// a replay must not go back.
func TestNumbersThatDoNotAscend(t *testing.T) {
	r := &remains{fs: crashfs.New(), node: nodeID(1), frames: make(map[uint64][]byte)}
	b := wal.EmptyFile(r.node, 1)
	for _, number := range []uint64{1, 3, 2, 3, 4, 5} {
		r.frames[number] = payloadOf(r.node, number, 50)
		b = append(b, wal.EncodeFrame(wal.Placed{From: int64(len(b)), Number: number, Synced: int64(len(b)), Payload: r.frames[number]}, r.node, 1)...)
	}
	r.fs.WriteFile(r.path(1), b)
	_, lo := r.found(t)
	numbers, err := r.numbers(lo, 0)
	if err != nil || !slices.Equal(numbers, upTo(5, 2)) || len(lo.Holes) != 1 {
		t.Fatalf("replayed %v, %v; holes %v", numbers, err, lo.Holes)
	}
}

// TestLeftoverKnowsWhatWasReleased shows how a caller sees that the oldest file is lost.
func TestLeftoverKnowsWhatWasReleased(t *testing.T) {
	r := leave(t, slices.Repeat([]int{500}, 12), true)
	if err := r.fs.Remove(r.path(1)); err != nil {
		t.Fatal(err)
	}
	if _, lo := r.found(t); lo.After != 3 || lo.FirstNumber != 4 || len(lo.Holes) != 0 {
		t.Fatalf("after %d, first %d, holes %v", lo.After, lo.FirstNumber, lo.Holes)
	}
}

// TestRotBetweenSurveyAndReplay damages a frame that had been found good: the
// replay must stop rather than leave it out, as the frames behind it would
// then be committed over it.
func TestRotBetweenSurveyAndReplay(t *testing.T) {
	r := leave(t, slices.Repeat([]int{100}, 5), false)
	_, lo := r.found(t)
	b := r.file(t, 1)
	b[wal.FileHeaderSize+132+50] ^= 1
	r.fs.WriteFile(r.path(1), b)
	if numbers, err := r.numbers(lo, 0); !errors.Is(err, wal.ErrUnreadable) || !slices.Equal(numbers, upTo(1)) {
		t.Fatalf("replayed %v, %v", numbers, err)
	}
	r.fs.WriteFile(r.path(1), b[:wal.FileHeaderSize+132])
	if numbers, err := r.numbers(lo, 0); !errors.Is(err, wal.ErrUnreadable) || !slices.Equal(numbers, upTo(1)) {
		t.Fatalf("replayed %v, %v", numbers, err)
	}
}

// TestSetAsideKeepsEarlierFiles sets the same copied file aside twice.
func TestSetAsideKeepsEarlierFiles(t *testing.T) {
	r := leave(t, []int{100, 100}, true)
	b := r.file(t, 1)
	for i := range 3 {
		r.fs.WriteFile(r.path(1), b[:len(b)-i])
		l, lo := r.found(t)
		if err := lo.SetAside("the catalog does not know the node id"); err != nil {
			t.Fatal(err)
		}
		if l.metric(t, "wadi_wal_unknown_files_total") != 1 {
			t.Fatal("not counted")
		}
		if err := errors.Join(l.Remove(), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	r.fs = r.fs.Crash(rand.New(rand.NewPCG(1, 1)))
	name := wal.FileName(r.node, 1)
	want := []string{name + ".unknown", name + ".unknown.2", name + ".unknown.3"}
	if names := r.names(t); !slices.Equal(names, want) {
		t.Fatalf("files %v", names)
	}
	l := mustCreate(t, smallConfig(), r.fs, nodeID(3))
	if leftovers, err := l.Leftovers(); err != nil || len(leftovers) != 0 {
		t.Fatalf("leftovers %v, %v", leftovers, err)
	}
}

// TestNewerFormatIsRefused keeps an older program from touching, or worse
// leaving out, what a newer one wrote.
func TestNewerFormatIsRefused(t *testing.T) {
	r := leave(t, []int{100}, true)
	b := r.file(t, 1)
	wal.SetVersion(b, 2)
	r.fs.WriteFile(r.path(1), b)
	l := mustCreate(t, smallConfig(), r.fs, nodeID(2))
	if _, err := l.Leftovers(); err == nil || !strings.Contains(err.Error(), "version") {
		t.Fatalf("Leftovers: %v", err)
	}
	if got := r.file(t, 1); !bytes.Equal(got, b) {
		t.Fatal("the file was changed")
	}
}
