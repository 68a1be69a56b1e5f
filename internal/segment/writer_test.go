package segment

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// write writes runs, whose batches get offsets from base on, and returns the segment.
func write(t testing.TB, base recordbatch.Offset, runs []Run) (Written, []byte) {
	t.Helper()
	var body bytes.Buffer
	w := NewWriter(&body, testID)
	for i := range runs {
		r := &runs[i]
		if err := w.BeginRun(r.Topic, r.TopicName, r.Partition, base); err != nil {
			t.Fatal(err)
		}
		next := base
		for j := range r.Batches {
			b := &r.Batches[j]
			recordbatch.PatchBaseOffset(b.Data, next)
			b.Header.BaseOffset = next
			if b.Pos = w.Pos(); int(b.Pos) != body.Len() {
				t.Fatalf("position %d after %d bytes", b.Pos, body.Len())
			}
			if err := w.Append(b.Data, b.Header); err != nil {
				t.Fatal(err)
			}
			next += recordbatch.Offset(b.Header.RecordCount)
		}
	}
	written, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return written, body.Bytes()
}

// sorted returns runs in the order in which they lie in a segment.
func sorted(t testing.TB, runs []Run) []Run {
	t.Helper()
	return mustEncode(t, runs).Runs
}

func TestGoldenCompactedSegment(t *testing.T) {
	written, body := write(t, 70_000, sorted(t, smallRuns()))
	stored := golden(t, "compacted.seg", body)
	footer, err := DecodeFooter(stored[len(stored)-FooterLen:])
	if err != nil || !footer.Compacted || footer.IndexPos != written.IndexPos {
		t.Fatalf("footer %+v, %v", footer, err)
	}
	x, err := DecodeIndex(stored[footer.IndexPos:], written.IndexCRC)
	if err != nil || !x.Compacted || len(x.Runs) != 3 || x.Runs[2].Base != 70_000 || x.Origin != (Origin{}) {
		t.Fatalf("index %+v, %v", x, err)
	}
}

// TestWriterAgainstEncode: but for what makes a segment a compacted one, a Writer
// writes what Encode does.
func TestWriterAgainstEncode(t *testing.T) {
	for name, runs := range map[string]func() []Run{"small": smallRuns, "large": largeRuns} {
		written, body := write(t, 5, sorted(t, runs()))
		sealed := mustEncode(t, runs())
		got, err := DecodeIndex(body[written.IndexPos:], written.IndexCRC)
		if err != nil {
			t.Fatal(err)
		}
		want, err := DecodeIndex(sealed.Body[sealed.IndexPos:], sealed.IndexCRC)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(body)) != written.Size || written.IndexPos != sealed.IndexPos || len(got.Runs) != len(want.Runs) {
			t.Fatalf("%s: %+v of %d bytes", name, written, len(body))
		}
		for i := range got.Runs {
			g, w := &got.Runs[i], &want.Runs[i]
			if g.Topic != w.Topic || g.Partition != w.Partition || g.Pos != w.Pos || g.Len != w.Len || g.Records != w.Records ||
				g.MinTimestamp != w.MinTimestamp || g.MaxTimestamp != w.MaxTimestamp || len(g.Blocks) != len(w.Blocks) || len(g.Batches) != len(w.Batches) {
				t.Errorf("%s: run %+v, want %+v", name, g, w)
			}
			if crc := crc32.Checksum(body[g.Pos:int64(g.Pos)+g.Len], Castagnoli); g.CRC != crc || g.Base != 5 {
				t.Errorf("%s: run has CRC32C %08x and base %d, says %08x", name, crc, g.Base, g.CRC)
			}
			for b := range g.Blocks {
				pos, n := g.BlockRange(b)
				if crc := crc32.Checksum(body[pos:int64(pos)+n], Castagnoli); crc != g.Blocks[b].CRC || g.Blocks[b].RecordsBefore != w.Blocks[b].RecordsBefore {
					t.Errorf("%s: block %d is %+v, its CRC32C %08x", name, b, g.Blocks[b], crc)
				}
			}
		}
	}
}

func TestCompactedIndexRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		runs := drawRuns(rt)
		sealed, err := Encode(testID, testOrigin, runs)
		if err != nil {
			rt.Fatal(err)
		}
		base := recordbatch.Offset(rapid.Int64Range(0, 1<<62).Draw(rt, "base"))
		written, body := write(t, base, sealed.Runs)
		x, err := DecodeIndex(body[written.IndexPos:], written.IndexCRC)
		if err != nil {
			rt.Fatal(err)
		}
		index := body[written.IndexPos : len(body)-FooterLen]
		if again := appendIndex(nil, x); !bytes.Equal(again, index) || indexLen(x) != len(index) {
			rt.Fatalf("%d bytes decode and encode to %d others, expected %d", len(index), len(again), indexLen(x))
		}
	})
}

func TestWriterRefuses(t *testing.T) {
	good := plainBatch(3, 1000, 10, 1)
	changed := plainBatch(3, 1000, 10, 1)
	changed.Data[len(changed.Data)-1] ^= 1
	for name, steps := range map[string]func(w *Writer) error{
		"nothing":           func(*Writer) error { return nil },
		"batch without run": func(w *Writer) error { return w.Append(good.Data, good.Header) },
		"empty run": func(w *Writer) error {
			_ = w.BeginRun(topicA, "a", 0, 0)
			return w.BeginRun(topicA, "a", 1, 0)
		},
		"run twice": func(w *Writer) error {
			return errors.Join(w.BeginRun(topicA, "a", 1, 0), w.Append(good.Data, good.Header), w.BeginRun(topicA, "a", 1, 3))
		},
		"partitions out of order": func(w *Writer) error {
			return errors.Join(w.BeginRun(topicA, "a", 1, 0), w.Append(good.Data, good.Header), w.BeginRun(topicA, "a", 0, 0))
		},
		"two names": func(w *Writer) error {
			return errors.Join(w.BeginRun(topicA, "a", 1, 0), w.Append(good.Data, good.Header), w.BeginRun(topicA, "b", 2, 0))
		},
		"no name":         func(w *Writer) error { return w.BeginRun(topicA, "", 0, 0) },
		"negative offset": func(w *Writer) error { return w.BeginRun(uuid.UUID{}, "a", 0, -1) },
		"gap in offsets": func(w *Writer) error {
			return errors.Join(w.BeginRun(topicA, "a", 0, 7), w.Append(good.Data, good.Header))
		},
		"another header": func(w *Writer) error {
			h := good.Header
			h.RecordCount++
			return errors.Join(w.BeginRun(topicA, "a", 0, 0), w.Append(good.Data, h))
		},
		"changed bytes": func(w *Writer) error {
			return errors.Join(w.BeginRun(topicA, "a", 0, 0), w.Append(changed.Data, changed.Header))
		},
	} {
		w := NewWriter(io.Discard, testID)
		err := steps(w)
		if _, closeErr := w.Close(); err == nil && closeErr == nil {
			t.Errorf("%s: taken", name)
		}
	}
	failing := NewWriter(brokenWriter{}, testID)
	_ = failing.BeginRun(topicA, "a", 0, 0)
	if err := failing.Append(good.Data, good.Header); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a stream that fails: %v", err)
	}
	if _, err := failing.Close(); err == nil {
		t.Error("closed after an error")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
