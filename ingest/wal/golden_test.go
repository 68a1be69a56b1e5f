package wal_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wadilog/wadi/ingest/wal"
	"github.com/wadilog/wadi/ingest/wal/crashfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenSizes makes two files: the first closed and full, the second ended
// properly.
var goldenSizes = []int{5, 0, 700, 800, 300, 600}

// TestGolden holds the format still: files that were written once must be read
// for all time, and the same frames make the same bytes.
func TestGolden(t *testing.T) {
	written := leave(t, goldenSizes, true)
	r := &remains{fs: crashfs.New(), node: written.node, frames: written.frames}
	for seq := uint64(1); seq <= 2; seq++ {
		golden := filepath.Join("testdata", wal.FileName(r.node, seq))
		if *update {
			if err := os.WriteFile(golden, written.file(t, seq), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, written.file(t, seq)) {
			t.Errorf("%s: the writer no longer makes these bytes", golden)
		}
		r.fs.WriteFile(r.path(seq), b)
	}
	_, lo := r.found(t)
	numbers, err := r.numbers(lo, 0)
	if err != nil || !slices.Equal(numbers, upTo(uint64(len(goldenSizes)))) || len(lo.Holes) != 0 {
		t.Fatalf("replayed %v, %v; holes %v", numbers, err, lo.Holes)
	}
}

// FuzzLeftover gives the reader any bytes as a file: alone and as the older of
// two. It must not fail, every frame that it returns must be there bit for bit
// as a writer would have put it, and what it calls good must stay good when it
// is read again.
func FuzzLeftover(f *testing.F) {
	node := nodeID(1)
	var whole []byte
	for seq := uint64(1); seq <= 2; seq++ {
		b, err := os.ReadFile(filepath.Join("testdata", wal.FileName(node, seq)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
		f.Add(b, false)
		f.Add(b[:len(b)-40], false)
		f.Add(append(slices.Clone(b), 0, 0, 0), false)
		whole = append(whole, b...)
	}
	f.Add(whole, false)
	f.Add([]byte(nil), false)
	f.Fuzz(func(t *testing.T, b []byte, older bool) {
		for _, p := range wal.PlacedFrames(b, node, 1) {
			if again := wal.EncodeFrame(p, node, 1); !bytes.Equal(again, b[p.From:p.To]) {
				t.Fatalf("frame %d at %d is not what a writer puts there", p.Number, p.From)
			}
		}
		r := &remains{fs: crashfs.New(), node: node}
		r.fs.WriteFile(r.path(1), b)
		if older {
			r.fs.WriteFile(r.path(2), wal.EmptyFile(node, 2))
		}
		l := mustCreate(t, smallConfig(), r.fs, nodeID(2))
		leftovers, err := l.Leftovers()
		if err != nil {
			if wal.HasOtherVersion(b, node, 1) {
				return
			}
			t.Fatal(err)
		}
		lo := leftovers[0]
		count, last := int64(0), uint64(0)
		for frame, err := range lo.Frames(0) {
			if err != nil {
				t.Fatal(err)
			}
			if frame.Number <= last {
				t.Fatalf("frame %d after %d", frame.Number, last)
			}
			last = frame.Number
			count++
		}
		if count != lo.FrameCount || last != lo.LastNumber {
			t.Fatalf("%d frames up to %d, announced %d up to %d", count, last, lo.FrameCount, lo.LastNumber)
		}
		// A second start finds the same.
		if err := errors.Join(l.Remove(), l.Close()); err != nil {
			t.Fatal(err)
		}
		l = mustCreate(t, smallConfig(), r.fs, nodeID(3))
		again, err := l.Leftovers()
		if err != nil {
			t.Fatal(err)
		}
		if again[0].FrameCount != count || again[0].LastNumber != last || !slices.Equal(again[0].Holes, lo.Holes) {
			t.Fatalf("first start: %d frames, holes %v; second: %d, %v", count, lo.Holes, again[0].FrameCount, again[0].Holes)
		}
	})
}
