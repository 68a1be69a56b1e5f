package segment

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// What was sealed is what an independent reading of body and index finds.
func TestEncodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		runs := drawRuns(t)
		want := make(map[string][][]byte)
		for _, run := range runs {
			for _, b := range run.Batches {
				want[runName(run)] = append(want[runName(run)], bytes.Clone(b.Data))
			}
		}
		sealed, err := Encode(testID, testOrigin, runs)
		if err != nil {
			t.Fatal(err)
		}
		checkSealed(t, sealed)
		if len(sealed.Runs) != len(want) {
			t.Fatalf("%d runs sealed of %d", len(sealed.Runs), len(want))
		}
		for _, run := range sealed.Runs {
			for j, b := range run.Batches {
				if !bytes.Equal(b.Data, want[runName(run)][j]) {
					t.Fatalf("batch %d of %s changed", j, runName(run))
				}
			}
		}
	})
}

func TestEncodeLargeRun(t *testing.T) {
	sealed := mustEncode(t, largeRuns())
	checkSealed(t, sealed)
	x, err := DecodeIndex(sealed.Body[sealed.IndexPos:], sealed.IndexCRC)
	if err != nil {
		t.Fatal(err)
	}
	const last = 700_061 + 2_300_061
	wantBlocks := []Block{
		{FirstBatch: 0, RecordsBefore: 0, MaxTimestamp: 1_700_000_000_000 + 19 - 1},
		{FirstBatch: -1, RecordsBefore: 30, MaxTimestamp: math.MinInt64},
		{FirstBatch: last, RecordsBefore: 30, MaxTimestamp: 1_700_000_000_000 + 39 - 3},
		{FirstBatch: -1, RecordsBefore: 100, MaxTimestamp: math.MinInt64},
	}
	got := x.Runs[0].Blocks
	if len(got) != len(wantBlocks) {
		t.Fatalf("%d blocks, want %d", len(got), len(wantBlocks))
	}
	for i, want := range wantBlocks {
		want.CRC = got[i].CRC // checked against the bytes above
		if got[i] != want {
			t.Errorf("block %d is %+v, want %+v", i, got[i], want)
		}
	}
}

// Batches that end at the end of a block, just before and just after it, and that
// lie in two blocks with the longer part in either.
func TestEncodeAtTheBoundsOfBlocks(t *testing.T) {
	const header = 61
	for _, lens := range [][]int{
		{BlockLen, 100},
		{BlockLen - 1, 100, BlockLen - 99, 100},
		{BlockLen + 1, 2*BlockLen - 1, 100},
		{100, 2 * BlockLen, 3 * BlockLen},
		{BlockLen - 100, 300_000, BlockLen - 300_000, 900_000},
	} {
		run := Run{Topic: topicA, TopicName: "weather"}
		for i, n := range lens {
			run.Batches = append(run.Batches, plainBatch(1, 5, n-header, uint64(i)))
			if got := len(run.Batches[i].Data); got != n {
				t.Fatalf("batch of %d bytes, not %d", got, n)
			}
		}
		checkSealed(t, mustEncode(t, []Run{run}))
	}
}

// checkSealed compares every statement of a sealed segment and of its index
// with the bytes they are about.
func checkSealed(t interface{ Fatalf(string, ...any) }, s *Sealed) {
	if cap(s.Body) != len(s.Body) {
		t.Fatalf("body of %d bytes has room for %d", len(s.Body), cap(s.Body))
	}
	tail := s.Body[s.IndexPos:]
	if got := crc32.Checksum(tail, Castagnoli); got != s.IndexCRC {
		t.Fatalf("tail has CRC %08x, sealed says %08x", got, s.IndexCRC)
	}
	if got := crc32.Checksum(s.Body, Castagnoli); got != s.CRC {
		t.Fatalf("body has CRC %08x, sealed says %08x", got, s.CRC)
	}
	footer, err := DecodeFooter(tail[len(tail)-FooterLen:])
	if err != nil {
		t.Fatalf("footer: %v", err)
	}
	if footer.IndexPos != s.IndexPos || footer.IndexLen != int64(len(tail)-FooterLen) {
		t.Fatalf("footer is %+v, index %d bytes at %d", footer, len(tail)-FooterLen, s.IndexPos)
	}
	x, err := DecodeIndex(tail, s.IndexCRC)
	if err != nil {
		t.Fatalf("index: %v", err)
	}
	if x.ID != s.ID || x.Origin != testOrigin || len(x.Runs) != len(s.Runs) {
		t.Fatalf("index of %s, %+v with %d runs", x.ID, x.Origin, len(x.Runs))
	}
	var pos Pos
	for i, run := range s.Runs {
		if i > 0 && comparePartitions(s.Runs[i-1].Topic, s.Runs[i-1].Partition, run.Topic, run.Partition) >= 0 {
			t.Fatalf("%s is not after %s", runName(run), runName(s.Runs[i-1]))
		}
		r, ok := x.Find(run.Topic, run.Partition)
		if !ok || r != &x.Runs[i] {
			t.Fatalf("%s not found", runName(run))
		}
		checkRun(t, s, run, r, pos)
		pos += Pos(r.Len)
	}
	if pos != s.IndexPos {
		t.Fatalf("runs end at %d, index begins at %d", pos, s.IndexPos)
	}
}

func checkRun(t interface{ Fatalf(string, ...any) }, s *Sealed, run Run, r *IndexRun, pos Pos) {
	if r.TopicName != run.TopicName || r.Pos != pos || len(r.Batches) != len(run.Batches) {
		t.Fatalf("%s: index says %q at %d, %d batches", runName(run), r.TopicName, r.Pos, len(r.Batches))
	}
	var records int64
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	for j, b := range run.Batches {
		h := b.Header
		want := IndexBatch{int32(len(b.Data)), h.RecordCount, h.MaxTimestamp, h.ProducerID, h.ProducerEpoch, h.BaseSequence}
		if r.Batches[j] != want {
			t.Fatalf("%s: batch %d is %+v in the index, want %+v", runName(run), j, r.Batches[j], want)
		}
		stored := s.Body[b.Pos : b.Pos+Pos(len(b.Data))]
		if b.Pos != pos || &stored[0] != &b.Data[0] || b.CRC != crc32.Checksum(stored, Castagnoli) {
			t.Fatalf("%s: batch %d at %d with CRC %08x", runName(run), j, b.Pos, b.CRC)
		}
		pos += Pos(len(b.Data))
		records += int64(h.RecordCount)
		most = max(most, h.MaxTimestamp)
		least = min(least, h.MaxTimestamp)
		if !h.LogAppendTime() {
			least = min(least, h.BaseTimestamp)
		}
	}
	stored := s.Body[r.Pos:pos]
	if r.Len != int64(len(stored)) || r.Records != records || r.MinTimestamp != least || r.MaxTimestamp != most {
		t.Fatalf("%s: index says %+v", runName(run), *r)
	}
	if r.CRC != crc32.Checksum(stored, Castagnoli) {
		t.Fatalf("%s: CRC %08x is not that of the bytes", runName(run), r.CRC)
	}
	for i := range r.Blocks {
		blockPos, n := r.BlockRange(i)
		if r.Blocks[i].CRC != crc32.Checksum(s.Body[blockPos:blockPos+Pos(n)], Castagnoli) {
			t.Fatalf("%s: CRC of block %d is not that of its bytes", runName(run), i)
		}
	}
}

func runName(r Run) string { return fmt.Sprintf("%s/%d", r.Topic, r.Partition) }

func TestEncodeIsDeterministic(t *testing.T) {
	once, again := smallRuns(), smallRuns()
	again[0], again[2] = again[2], again[0]
	a, b := mustEncode(t, once), mustEncode(t, again)
	if !bytes.Equal(a.Body, b.Body) || a.IndexCRC != b.IndexCRC {
		t.Fatal("the same runs in another order gave other bytes")
	}
	if c := mustEncode(t, b.Runs); !bytes.Equal(a.Body, c.Body) || &c.Body[0] == &a.Body[0] {
		t.Fatal("sealing the sealed runs again gave other bytes")
	}
}

func TestEncodeKeepsNothingOfTheInput(t *testing.T) {
	runs := smallRuns()
	input := runs[1].Batches[0].Data
	sealed := mustEncode(t, runs)
	body := bytes.Clone(sealed.Body)
	clear(input)
	if !bytes.Equal(body, sealed.Body) || bytes.Equal(sealed.Runs[1].Batches[0].Data, input) {
		t.Fatal("the segment changed with what it was made from")
	}
}

func TestEncodeRefuses(t *testing.T) {
	one := func(change func(*Run)) []Run {
		runs := smallRuns()[:1]
		change(&runs[0])
		return runs
	}
	for name, runs := range map[string][]Run{
		"no runs":            nil,
		"no batches":         one(func(r *Run) { r.Batches = nil }),
		"no name":            one(func(r *Run) { r.TopicName = "" }),
		"long name":          one(func(r *Run) { r.TopicName = string(make([]byte, TopicNameLenMax+1)) }),
		"negative partition": one(func(r *Run) { r.Partition = -1 }),
		"partition twice":    append(smallRuns(), smallRuns()[1]),
		"topic of two names": append(one(func(r *Run) { r.TopicName = "other" }), smallRuns()[1:]...),
		"no bytes":           one(func(r *Run) { r.Batches[0].Data = nil }),
		"short bytes":        one(func(r *Run) { r.Batches[0].Data = r.Batches[0].Data[:70] }),
		"header of no bytes": one(func(r *Run) { r.Batches[0] = Batch{Data: make([]byte, 12), Header: recordbatch.Header{RecordCount: 1}} }),
		"another's header":   one(func(r *Run) { r.Batches[0].Header = plainBatch(1, 0, 10, 77).Header }),
		"other count":        one(func(r *Run) { r.Batches[0].Header.RecordCount++ }),
		"no records":         one(func(r *Run) { r.Batches[0] = plainBatch(0, 0, 10, 1) }),
	} {
		if _, err := Encode(testID, testOrigin, runs); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	if _, err := Encode(testID, Origin{After: 2, Upto: 1}, smallRuns()); err == nil {
		t.Error("origin that ends before it begins: sealed")
	}
}

// A segment holds the CRCs of the batches that were checked, so damage since then
// is found: by the store, that is given the CRC of the whole, and by a reader.
func TestEncodeOfChangedBytes(t *testing.T) {
	for name, c := range map[string]struct {
		runs      []Run
		topic     uuid.UUID
		partition int32
		batch     int
		pos       int // of the byte in the batch
	}{
		"short run":       {smallRuns(), topicB, 3, 1, 100},
		"several blocks":  {largeRuns(), topicA, 0, 1, 1_000_000},
		"its first bytes": {largeRuns(), topicA, 0, 1, 61},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range c.runs {
				if c.runs[i].Topic == c.topic && c.runs[i].Partition == c.partition {
					c.runs[i].Batches[c.batch].Data[c.pos] ^= 1
				}
			}
			sealed := mustEncode(t, c.runs)
			if sealed.CRC == crc32.Checksum(sealed.Body, Castagnoli) {
				t.Error("the CRC of the whole covers up for a changed byte")
			}
			x, err := DecodeIndex(sealed.Body[sealed.IndexPos:], sealed.IndexCRC)
			if err != nil {
				t.Fatal(err)
			}
			r, _ := x.Find(c.topic, c.partition)
			if r.CRC == crc32.Checksum(sealed.Body[r.Pos:r.Pos+Pos(r.Len)], Castagnoli) {
				t.Error("the CRC of the run covers up for a changed byte")
			}
			wrong := 0
			for i := range r.Blocks {
				pos, n := r.BlockRange(i)
				if r.Blocks[i].CRC != crc32.Checksum(sealed.Body[pos:pos+Pos(n)], Castagnoli) {
					wrong++
				}
			}
			if wrong == 0 {
				t.Error("the CRCs of the blocks cover up for a changed byte")
			}
		})
	}
}

func TestCorruptErrorUnwraps(t *testing.T) {
	err := error(&CorruptError{Key: "k", Pos: 3, Err: ErrVersion})
	if !errors.Is(err, ErrVersion) || err.Error() != "corrupt segment k at byte 3: unknown kind or version" {
		t.Fatal(err)
	}
}

// BenchmarkEncode seals segments of 8 MiB: of many small batches, of few that are a
// little longer than a block, and of one partition.
func BenchmarkEncode(b *testing.B) {
	for _, c := range []struct {
		name                        string
		partitions, batches, length int
	}{
		{"small batches", 8, 64, 16 << 10},
		{"batches over a block", 4, 2, 1<<20 + 60_000},
		{"one partition", 1, 8, 1<<20 + 60_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			var runs []Run
			size := int64(0)
			for p := range int32(c.partitions) {
				run := Run{Topic: topicA, TopicName: "weather", Partition: p}
				for i := range c.batches {
					batch := plainBatch(16, 1_700_000_000_000, c.length, uint64(i))
					size += int64(len(batch.Data))
					run.Batches = append(run.Batches, batch)
				}
				runs = append(runs, run)
			}
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				mustEncode(b, runs)
			}
		})
	}
}
