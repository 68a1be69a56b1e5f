package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func decodeTail(body []byte, indexPos Pos) (*Index, error) {
	tail := body[indexPos:]
	return DecodeIndex(tail, crc32.Checksum(tail, Castagnoli))
}

// seal puts a footer that is right behind index bytes that may not be.
func seal(index []byte, indexPos Pos) []byte {
	return appendFooter(slices.Clip(index), Footer{
		IndexPos: indexPos,
		IndexLen: int64(len(index)),
		IndexCRC: crc32.Checksum(index, Castagnoli),
	})
}

func mustIndex(t testing.TB, runs []Run) (*Index, *Sealed) {
	t.Helper()
	sealed := mustEncode(t, runs)
	x, err := decodeTail(sealed.Body, sealed.IndexPos)
	if err != nil {
		t.Fatal(err)
	}
	return x, sealed
}

func TestIndexRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sealed, err := Encode(testID, testOrigin, drawRuns(t))
		if err != nil {
			t.Fatal(err)
		}
		x, err := decodeTail(sealed.Body, sealed.IndexPos)
		if err != nil {
			t.Fatal(err)
		}
		index := sealed.Body[sealed.IndexPos : len(sealed.Body)-FooterLen]
		if again := appendIndex(nil, x); !bytes.Equal(again, index) || indexLen(x) != len(index) {
			t.Fatalf("%d bytes decode and encode to %d others, expected %d", len(index), len(again), indexLen(x))
		}
	})
}

// A reader has the CRC from the catalog: no change of a byte of the tail passes.
func TestFlippedByteOfTheTailIsFound(t *testing.T) {
	sealed := mustEncode(t, smallRuns())
	tail := sealed.Body[sealed.IndexPos:]
	for i := range tail {
		for _, flip := range []byte{1, 0x80, 0xff} {
			changed := bytes.Clone(tail)
			changed[i] ^= flip
			_, err := DecodeIndex(changed, sealed.IndexCRC)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("byte %d of %d flipped by %x: %v", i, len(tail), flip, err)
			}
		}
	}
}

// Also without the catalog, from the footer alone.
func TestFlippedByteOfTheTailIsFoundByItsFooter(t *testing.T) {
	sealed := mustEncode(t, smallRuns())
	for i := int(sealed.IndexPos); i < len(sealed.Body); i++ {
		changed := bytes.Clone(sealed.Body)
		changed[i] ^= 0x10
		if _, err := decodeTail(changed, sealed.IndexPos); err == nil {
			t.Fatalf("byte %d flipped: decoded", i)
		}
	}
}

// The footer ends in a CRC of itself. Were that in the byte order in which CRC32C
// shifts, the CRC of any whole footer would be the same constant, and the
// catalog's CRC would not tell one footer from another.
func TestTailCRCDependsOnTheFooter(t *testing.T) {
	_, sealed := mustIndex(t, smallRuns())
	index := sealed.Body[sealed.IndexPos : len(sealed.Body)-FooterLen]
	tail := seal(index, sealed.IndexPos+1)
	if _, err := DecodeFooter(tail[len(index):]); err != nil {
		t.Fatal(err)
	}
	if crc32.Checksum(tail, Castagnoli) == sealed.IndexCRC {
		t.Fatal("another footer, the same CRC")
	}
}

func TestTruncatedTailIsFound(t *testing.T) {
	sealed := mustEncode(t, smallRuns())
	tail := sealed.Body[sealed.IndexPos:]
	for n := range tail {
		if _, err := DecodeIndex(tail[:n], sealed.IndexCRC); err == nil {
			t.Fatalf("the first %d of %d bytes: decoded", n, len(tail))
		}
		if _, err := decodeTail(tail, Pos(n+1)); err == nil {
			t.Fatalf("without the first %d bytes: decoded", n+1)
		}
		// Cut short, but with CRCs that are right.
		if n < len(tail)-FooterLen {
			if _, err := decodeTail(seal(tail[:n], sealed.IndexPos), 0); err == nil {
				t.Fatalf("the first %d bytes of the index, sealed: decoded", n)
			}
		}
	}
}

// Each change makes an index that contradicts itself; its CRCs are right.
func TestDecodeIndexRefuses(t *testing.T) {
	for name, change := range map[string]func(*Index){
		"run at another position":      func(x *Index) { x.Runs[1].Pos++ },
		"run shorter than batches":     func(x *Index) { x.Runs[0].Len-- },
		"run longer than batches":      func(x *Index) { x.Runs[2].Len++ },
		"batches shorter than run":     func(x *Index) { x.Runs[2].Batches[1].Len-- },
		"run up to the sky":            func(x *Index) { x.Runs[2].Len = math.MaxInt64 },
		"run of negative length":       func(x *Index) { x.Runs[2].Len = -1 },
		"run of no bytes":              func(x *Index) { x.Runs[2].Len = 0 },
		"gap between runs":             func(x *Index) { x.Runs[1].Pos++; x.Runs[2].Pos++ },
		"first run not at 0":           func(x *Index) { x.Runs[0].Pos = 1 },
		"position at the top":          func(x *Index) { x.Runs[2].Pos = math.MaxInt64 },
		"fewer records than batches":   func(x *Index) { x.Runs[0].Records-- },
		"more records than batches":    func(x *Index) { x.Runs[0].Records++ },
		"records negative":             func(x *Index) { x.Runs[0].Records = -1 },
		"max timestamp too late":       func(x *Index) { x.Runs[0].MaxTimestamp++ },
		"min timestamp over batch's":   func(x *Index) { x.Runs[0].MinTimestamp = x.Runs[0].MaxTimestamp },
		"min timestamp over max":       func(x *Index) { x.Runs[0].MinTimestamp = x.Runs[0].MaxTimestamp + 1 },
		"CRC of the run":               func(x *Index) { x.Runs[0].CRC++ },
		"CRC of the block":             func(x *Index) { x.Runs[0].Blocks[0].CRC++ },
		"block too many":               func(x *Index) { x.Runs[0].Blocks = append(x.Runs[0].Blocks, Block{}) },
		"block missing":                func(x *Index) { x.Runs[0].Blocks = nil },
		"no batches":                   func(x *Index) { x.Runs[0].Batches = nil },
		"batch of no bytes":            func(x *Index) { b := x.Runs[0].Batches; b[0].Len, b[1].Len = 0, b[0].Len+b[1].Len },
		"batch of negative length":     func(x *Index) { x.Runs[0].Batches[0].Len = -1 },
		"batch shorter than a head":    func(x *Index) { b := x.Runs[0].Batches; b[0].Len, b[1].Len = 60, b[0].Len+b[1].Len-60 },
		"batch of no records":          func(x *Index) { b := x.Runs[0].Batches; b[0].Records, b[1].Records = 0, b[0].Records+b[1].Records },
		"batch of negative records":    func(x *Index) { x.Runs[0].Batches[0].Records = -1 },
		"batch missing":                func(x *Index) { x.Runs[0].Batches = x.Runs[0].Batches[1:] },
		"partition twice":              func(x *Index) { x.Runs[2].Partition = x.Runs[1].Partition },
		"partitions out of order":      func(x *Index) { x.Runs[1].Partition = 7 },
		"partition negative":           func(x *Index) { x.Runs[0].Partition = -1 },
		"topics out of order":          func(x *Index) { x.Runs[0].Topic = topicB; x.Runs[1].Topic, x.Runs[2].Topic = topicA, topicA },
		"topic again, lower partition": func(x *Index) { x.Runs[1].Topic = topicA },
		"topic without name":           func(x *Index) { x.Runs[0].TopicName = "" },
		"topic of long name":           func(x *Index) { x.Runs[0].TopicName = string(make([]byte, 250)) },
		"run missing in front":         func(x *Index) { x.Runs = x.Runs[1:] },
		"run missing behind":           func(x *Index) { x.Runs = x.Runs[:2] },
		"no runs":                      func(x *Index) { x.Runs = nil },
		"origin backwards":             func(x *Index) { x.Origin.Upto = x.Origin.After - 1 },
	} {
		x, sealed := mustIndex(t, smallRuns())
		change(x)
		_, err := decodeTail(seal(appendIndex(nil, x), sealed.IndexPos), 0)
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The same with the bytes that appendIndex would never write.
func TestDecodeIndexRefusesBytes(t *testing.T) {
	x, sealed := mustIndex(t, smallRuns())
	good := appendIndex(nil, x)
	const topicsPos = 1 + 16 + 16 + 2 // after and upto take a byte each
	topicLen := func(name string) int { return 16 + 1 + len(name) }
	runsPos := topicsPos + 1 + topicLen("weather") + topicLen("flights")
	edit := func(pos, cut int, with ...byte) []byte {
		return slices.Replace(bytes.Clone(good), pos, pos+cut, with...)
	}
	huge := binary.AppendUvarint(nil, math.MaxInt32)
	for name, index := range map[string][]byte{
		"nothing":                   {},
		"newer version":             edit(0, 1, 2),
		"trailing byte":             append(bytes.Clone(good), 0),
		"long form of a number":     edit(33, 1, 41|0x80, 0),
		"number over 64 bits":       edit(33, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2),
		"endless number":            edit(33, len(good)-33, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"no topics":                 edit(topicsPos, 1, 0),
		"topics beyond the end":     edit(topicsPos, 1, huge...),
		"a topic too many":          edit(topicsPos, 1, 3),
		"a topic without runs":      append(append(edit(topicsPos, len(good)-topicsPos, 3), append(good[topicsPos+1:runsPos:runsPos], append(bytes.Repeat([]byte{0xff}, 16), 1, 'x')...)...), good[runsPos:]...),
		"no runs":                   edit(runsPos, 1, 0),
		"runs beyond the end":       edit(runsPos, 1, huge...),
		"a run too many":            edit(runsPos, 1, 4),
		"a run of another topic":    edit(runsPos+1, 1, 1),
		"a run of no topic":         edit(runsPos+1, 1, 2),
		"name beyond the end":       edit(topicsPos+1+16, 1, 249, 1),
		"epoch over 16 bits":        edit(len(good)-3, 1, binary.AppendVarint(nil, 1<<15)...),
		"epoch under 16 bits":       edit(len(good)-3, 1, binary.AppendVarint(nil, -1<<15-1)...),
		"sequence over 32 bits":     edit(len(good)-2, 2, binary.AppendVarint(nil, 1<<31)...),
		"the same topic twice":      slices.Replace(bytes.Clone(good), topicsPos+1+topicLen("weather"), topicsPos+1+topicLen("weather")+16, topicA[:]...),
		"topics in the wrong order": slices.Replace(bytes.Clone(good), topicsPos+1, topicsPos+1+16, bytes.Repeat([]byte{0xff}, 16)...),
	} {
		_, err := decodeTail(seal(index, sealed.IndexPos), 0)
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "newer version" != errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := decodeTail(seal(good, sealed.IndexPos), 0); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	for _, pos := range []Pos{0, sealed.IndexPos - 1, sealed.IndexPos + 1, math.MaxInt64 / 2} {
		if _, err := decodeTail(seal(good, pos), 0); err == nil {
			t.Errorf("index at %d: decoded", pos)
		}
	}
}

// A whole and consistent tail, but not the one that was committed.
func TestDecodeIndexRefusesAnotherTail(t *testing.T) {
	mine, other := mustEncode(t, smallRuns()), mustEncode(t, smallRuns()[1:])
	if _, err := DecodeIndex(other.Body[other.IndexPos:], mine.IndexCRC); err == nil {
		t.Fatal("decoded")
	}
}

func TestDecodeIndexRefusesAnotherLength(t *testing.T) {
	sealed := mustEncode(t, smallRuns())
	index := sealed.Body[sealed.IndexPos : len(sealed.Body)-FooterLen]
	for _, indexLen := range []int64{0, int64(len(index)) - 1, int64(len(index)) + 1} {
		tail := appendFooter(slices.Clip(index), Footer{IndexPos: sealed.IndexPos, IndexLen: indexLen, IndexCRC: crc32.Checksum(index, Castagnoli)})
		if _, err := decodeTail(tail, 0); err == nil {
			t.Errorf("index of %d bytes, footer says %d: decoded", len(index), indexLen)
		}
	}
}

func TestDecodeFooterRefuses(t *testing.T) {
	good := mustEncode(t, smallRuns()).Body
	good = good[len(good)-FooterLen:]
	for _, c := range []struct {
		name    string
		pos     int
		with    []byte
		version bool
	}{
		{"magic", 1, []byte("R"), false},
		{"kind", footerKindPos, []byte{3}, true},
		{"kind 0", footerKindPos, []byte{0}, true},
		{"version", footerVersionPos, []byte{2}, true},
		{"version 0", footerVersionPos, []byte{0}, true},
		{"position over 63 bits", footerIndexPosPos, []byte{0x80}, false},
		{"length over 63 bits", footerIndexLenPos, []byte{0x80}, false},
		{"end over 63 bits", footerIndexPosPos, []byte{0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xd0}, false},
	} {
		b := bytes.Clone(good)
		copy(b[c.pos:], c.with)
		binary.BigEndian.PutUint32(b[footerCRCPos:], crc32.Checksum(b[:footerCRCPos], Castagnoli))
		_, err := DecodeFooter(b)
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || errors.Is(err, ErrVersion) != c.version {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, b := range [][]byte{nil, good[1:], append(bytes.Clone(good), 0)} {
		if _, err := DecodeFooter(b); err == nil {
			t.Errorf("footer of %d bytes: decoded", len(b))
		}
	}
}

// A count takes no memory before it is known that its entries can be there.
func TestDecodeIndexTakesNoMemoryForEmptyPromises(t *testing.T) {
	x, sealed := mustIndex(t, smallRuns())
	good := appendIndex(nil, x)
	const topicsPos = 1 + 16 + 16 + 2
	runsPos := topicsPos + 1 + 2*(16+1+len("weather"))
	many := binary.AppendUvarint(nil, 1<<20)
	// The last run has one byte of batch count before 2 batches.
	lastRun := x.Runs[2]
	batchesPos := len(good) - len(appendIndexRun(nil, 1, &lastRun, false)) + len(appendIndexRun(nil, 1, &IndexRun{
		Partition: lastRun.Partition, Pos: lastRun.Pos, Len: lastRun.Len, Records: lastRun.Records,
		MinTimestamp: lastRun.MinTimestamp, MaxTimestamp: lastRun.MaxTimestamp, Blocks: lastRun.Blocks,
	}, false)) - 1
	huge := *x
	huge.Runs = slices.Clone(x.Runs[:1])
	huge.Runs[0].Len = 1 << 40
	for name, tail := range map[string][]byte{
		"topics":  seal(slices.Replace(bytes.Clone(good), topicsPos, topicsPos+1, many...), sealed.IndexPos),
		"runs":    seal(slices.Replace(bytes.Clone(good), runsPos, runsPos+1, many...), sealed.IndexPos),
		"batches": seal(slices.Replace(bytes.Clone(good), batchesPos, batchesPos+1, many...), sealed.IndexPos),
		"blocks":  seal(appendIndex(nil, &huge), 1<<40),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decodeTail(tail, 0)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; err == nil || took > 1<<20 {
			t.Errorf("%s: took %d bytes of memory, %v", name, took, err)
		}
	}
}

func TestFindMisses(t *testing.T) {
	x, _ := mustIndex(t, smallRuns())
	if r, ok := x.Find(topicB, 1); ok {
		t.Errorf("found %+v", r)
	}
	if r, ok := x.Find(testOrigin.Node, 0); ok {
		t.Errorf("found %+v", r)
	}
}

func TestBlocksFor(t *testing.T) {
	const at, length = 1000, 3*BlockLen + 5
	r := &IndexRun{Pos: at, Len: length}
	for _, c := range []struct {
		pos         Pos
		n           int64
		first, last int
		ok          bool
	}{
		{at, 1, 0, 0, true},
		{at, BlockLen, 0, 0, true},
		{at, BlockLen + 1, 0, 1, true},
		{at + BlockLen - 1, 1, 0, 0, true},
		{at + BlockLen - 1, 2, 0, 1, true},
		{at + BlockLen, BlockLen, 1, 1, true},
		{at, length, 0, 3, true},
		{at + length - 1, 1, 3, 3, true},
		{at + length - 1, 2, 0, 0, false},
		{at + length, 1, 0, 0, false},
		{at - 1, 5, 0, 0, false},
		{at, 0, 0, 0, false},
		{at, -1, 0, 0, false},
		{at + 1, math.MaxInt64, 0, 0, false},
		{math.MaxInt64, math.MaxInt64, 0, 0, false},
		{math.MinInt64, 1, 0, 0, false},
	} {
		first, last, err := r.BlocksFor(c.pos, c.n)
		if first != c.first || last != c.last || (err == nil) != c.ok {
			t.Errorf("%d bytes at %d: blocks %d to %d, %v", c.n, c.pos, first, last, err)
		}
	}
	if pos, n := r.BlockRange(3); pos != at+3*BlockLen || n != 5 {
		t.Errorf("last block has %d bytes at %d", n, pos)
	}
}

func FuzzDecodeFooter(f *testing.F) {
	sealed := mustEncode(f, smallRuns())
	f.Add(sealed.Body[len(sealed.Body)-FooterLen:], true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, fixCRC bool) {
		if fixCRC && len(b) == FooterLen {
			b = binary.BigEndian.AppendUint32(b[:footerCRCPos:footerCRCPos], crc32.Checksum(b[:footerCRCPos], Castagnoli))
		}
		footer, err := DecodeFooter(b)
		if err != nil {
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if again := appendFooter(nil, footer); !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %+v, which encodes to %x", b, footer, again)
		}
	})
}

// The footer and the CRCs are made right for whatever index the fuzzer finds,
// since it would not get past them otherwise.
func FuzzDecodeIndex(f *testing.F) {
	for _, runs := range [][]Run{smallRuns(), largeRuns(), smallRuns()[:1]} {
		sealed := mustEncode(f, runs)
		f.Add(sealed.Body[sealed.IndexPos:len(sealed.Body)-FooterLen], int64(sealed.IndexPos))
	}
	written, body := write(f, 300, sorted(f, smallRuns()))
	f.Add(body[written.IndexPos:len(body)-FooterLen], int64(written.IndexPos))
	f.Fuzz(func(t *testing.T, index []byte, indexPos int64) {
		if indexPos < 0 {
			return
		}
		for _, compacted := range []bool{false, true} {
			tail := appendFooter(slices.Clip(index), Footer{
				Compacted: compacted, IndexPos: Pos(indexPos), IndexLen: int64(len(index)), IndexCRC: crc32.Checksum(index, Castagnoli),
			})
			x, err := decodeTail(tail, 0)
			if err != nil {
				var corrupt *CorruptError
				if !errors.As(err, &corrupt) {
					t.Fatalf("%T: %v", err, err)
				}
				continue
			}
			if again := appendIndex(nil, x); !bytes.Equal(again, index) || indexLen(x) != len(index) {
				t.Fatalf("%x decodes to %+v, which encodes to %x", index, x, again)
			}
		}
	})
}

func BenchmarkDecodeIndex(b *testing.B) {
	run := Run{Topic: topicA, TopicName: "weather", Partition: 0}
	for i := range 1000 {
		run.Batches = append(run.Batches, plainBatch(16, 1_700_000_000_000, 1000, uint64(i)))
	}
	sealed := mustEncode(b, []Run{run})
	b.SetBytes(int64(len(sealed.Body)) - int64(sealed.IndexPos))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeIndex(sealed.Body[sealed.IndexPos:], sealed.IndexCRC); err != nil {
			b.Fatal(err)
		}
	}
}
