package recordbatch

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"pgregory.net/rapid"
)

// compressedBatch is a batch whose records are these compressed bytes.
func compressedBatch(codec Codec, compressed []byte) []byte {
	b := rawBatch(1, compressed)
	b[attributesPos+1] = byte(codec)
	renewCRC(b)
	return b
}

// zstdBlocks is a frame with a window of 1 MiB, no size and no checksum.
func zstdBlocks(blocks ...[]byte) []byte {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3}
	for i, block := range blocks {
		block = slices.Clone(block)
		if i == len(blocks)-1 {
			block[0] |= 1
		}
		frame = append(frame, block...)
	}
	return frame
}

// zstdRun is a block of 128 KiB that repeats one byte.
func zstdRun() []byte { return []byte{byte(zstdRLE << 1), 0, 16, 'x'} }

// lz4Blocks is a frame of blocks of 64 KiB at most.
func lz4Blocks(blocks ...[]byte) []byte {
	frame := binary.LittleEndian.AppendUint32(nil, lz4Magic)
	descriptor := []byte{lz4FlagVersion | lz4FlagIndependent, lz4BlockSizeCode}
	frame = append(frame, descriptor...)
	frame = append(frame, byte(xxh32(descriptor)>>8))
	for _, block := range blocks {
		frame = binary.LittleEndian.AppendUint32(frame, uint32(len(block)))
		frame = append(frame, block...)
	}
	return append(frame, 0, 0, 0, 0)
}

func xerialBlocks(blocks ...[]byte) []byte {
	out := []byte(xerialHeader)
	for _, block := range blocks {
		out = binary.BigEndian.AppendUint32(out, uint32(len(block)))
		out = append(out, block...)
	}
	return out
}

type bomb struct {
	name       string
	codec      Codec
	compressed []byte
}

// bombs decompress to 24 MiB or more, or say so, and are small.
func bombs() []bomb {
	zeros := make([]byte, 24<<20)
	gz := func(size uint32) []byte {
		var out bytes.Buffer
		w := stdgzip.NewWriter(&out)
		writeAll(w, zeros)
		b := out.Bytes()
		binary.LittleEndian.PutUint32(b[len(b)-4:], size) // a lie, or not
		return b
	}
	manyMembers := foreigners[1].compress(zeros[:1<<20])
	zstdWriter := func(options ...zstd.EOption) []byte { return foreignZstd(options...)(zeros) }
	windowed := zstdBlocks(zstdRun())
	windowed[5] = 18 << 3 // 2^28 bytes
	widest := zstdBlocks(zstdRun())
	widest[5] = 0xff
	sized := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0} // single segment, 2^63
	return []bomb{
		{"gzip", Gzip, gz(24 << 20)},
		{"gzip that says 0", Gzip, gz(0)},
		{"gzip that says 4 GiB", Gzip, gz(math.MaxUint32)},
		{"gzip of members", Gzip, bytes.Repeat(manyMembers, 24)},
		{"snappy plain", Snappy, s2.EncodeSnappy(nil, zeros)},
		{"snappy as Java", Snappy, appendSnappy(nil, zeros)},
		{"snappy of blocks", Snappy, xerialBlocks(slices.Repeat([][]byte{s2.EncodeSnappy(nil, zeros[:1<<20])}, 24)...)},
		{"lz4", LZ4, foreignLZ4()(zeros)},
		{"lz4 of small blocks", LZ4, new(workspace).appendLZ4(nil, zeros)},
		{"zstd", Zstd, zstdWriter()},
		{"zstd in one piece", Zstd, foreigners[len(foreigners)-1].compress(zeros)},
		{"zstd of runs", Zstd, zstdBlocks(slices.Repeat([][]byte{zstdRun()}, 512)...)},
		{"zstd window", Zstd, windowed},
		{"zstd widest window", Zstd, widest},
		{"zstd size", Zstd, sized},
	}
}

// The constant part of what decompression may hold: decoders, and the block
// that a zstd decoder is ahead.
const overheadMax = 1 << 20

func TestBombs(t *testing.T) {
	const limit = 8 << 20
	limits := Limits{RecordBytesMax: 1 << 20, BatchBytesMax: 64 << 20, DecompressedBytesMax: limit}
	refused := func(t *testing.T, err error) {
		t.Helper()
		var tooLarge *TooLargeError
		if !errors.As(err, &tooLarge) || tooLarge.What != "decompressed batch" || tooLarge.Limit != limit || tooLarge.Bytes <= limit {
			t.Fatalf("error %v", err)
		}
		invalid(t, err, ErrTooLarge)
	}
	for _, bomb := range bombs() {
		t.Run(bomb.name, func(t *testing.T) {
			b := compressedBatch(bomb.codec, bomb.compressed)
			_, err := Validate(b, limits)
			refused(t, err)
			_, err = Decode(b, limit)
			refused(t, err)
			_, err = collect(b, limit)
			refused(t, err)

			// All that was allocated at once, by a workspace that has nothing yet.
			var held, most int
			ws := new(workspace)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err = ws.decompressInto(bomb.codec, bomb.compressed, limit, func(n int) []byte {
				held = n // the one before was let go of
				most = max(most, held)
				return ws.buffer(n)
			})
			runtime.ReadMemStats(&after)
			refused(t, &InvalidError{Err: err})
			if most > limit+overheadMax {
				t.Errorf("a buffer of %d bytes", most)
			}
			// Garbage counts here, so a smaller first try does too.
			if total := after.TotalAlloc - before.TotalAlloc; total > 2*limit+overheadMax {
				t.Errorf("%d bytes allocated", total)
			}
		})
	}
}

// A decoder that outgrew its buffer would hold two.
func TestDecompressStaysInItsBuffer(t *testing.T) {
	for _, f := range foreigners[1:] {
		for _, size := range []int{1, 1000, zstdBlockMax - 1, zstdBlockMax, zstdBlockMax + 1, 3<<20 + 7} {
			plain := bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), size/36+1)[:size]
			compressed := f.compress(plain)
			for _, limit := range []int{size, size + 1, 8 << 20} {
				if f.codec == Zstd {
					limit = max(limit, 8<<20) // windows
				}
				var buf []byte
				out, err := new(workspace).decompressInto(f.codec, compressed, limit, func(n int) []byte {
					if n > limit+zstdBlockMax+zstdOverrun {
						t.Errorf("%s: %d bytes for %d", f.name, n, size)
					}
					buf = make([]byte, 0, n)
					return buf
				})
				if err != nil {
					t.Fatalf("%s of %d, limit %d: %v", f.name, size, limit, err)
				}
				if !bytes.Equal(out, plain) {
					t.Fatalf("%s of %d: %d bytes came out", f.name, size, len(out))
				}
				if &buf[:1][0] != &out[0] {
					t.Errorf("%s of %d: moved to a larger buffer", f.name, size)
				}
			}
			if f.codec == Zstd {
				continue
			}
			_, err := new(workspace).decompress(f.codec, compressed, size-1)
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s of %d, limit one less: %v", f.name, size, err)
			}
		}
	}
}

// A run after compressed blocks is what may go over the end of the buffer.
func TestZstdOverrunByOneBlock(t *testing.T) {
	const limit = 1 << 20
	for before := range 12 {
		blocks := slices.Repeat([][]byte{zstdRun()}, before)
		frame := zstdBlocks(append(blocks, zstdRun())...)
		var buf []byte
		out, err := new(workspace).decompressInto(Zstd, frame, limit, func(n int) []byte {
			buf = make([]byte, 0, n)
			return buf
		})
		if want := (before + 1) * zstdBlockMax; want <= limit {
			if err != nil || len(out) != want || &out[0] != &buf[:1][0] {
				t.Fatalf("%d blocks: %d bytes, %v", before+1, len(out), err)
			}
		} else if !errors.Is(err, ErrTooLarge) {
			t.Fatalf("%d blocks: %v", before+1, err)
		}
	}
}

func TestDecompressRefuses(t *testing.T) {
	plain := bytes.Repeat([]byte("some records "), 20000)
	flipped := func(b []byte, pos int) []byte {
		b = slices.Clone(b)
		b[(pos+len(b))%len(b)] ^= 1
		return b
	}
	resum := func(frame []byte) []byte {
		frame[6] = byte(xxh32(frame[4:6]) >> 8)
		return frame
	}
	descriptor := func(flags, bd byte) []byte {
		frame := lz4Blocks()
		frame[4], frame[5] = flags, bd
		return resum(frame)
	}
	const flags = lz4FlagVersion | lz4FlagIndependent
	checked := foreignLZ4(lz4.BlockChecksumOption(true))(plain)
	sized := foreignLZ4(lz4.SizeOption(uint64(len(plain))), lz4.ChecksumOption(false))(plain)
	wrongSize := slices.Clone(sized)
	wrongSize[6]++
	wrongSize[14] = byte(xxh32(wrongSize[4:14]) >> 8)
	var legacy bytes.Buffer
	lw := lz4.NewWriter(&legacy)
	if err := lw.Apply(lz4.LegacyOption(true)); err != nil {
		t.Fatal(err)
	}
	writeAll(lw, plain)
	plainZstd := foreignZstd()(plain)
	zstdDict := slices.Concat([]byte{0x28, 0xb5, 0x2f, 0xfd, 1, 10 << 3, 7}, []byte{byte(zstdRLE<<1) | 1, 0, 16, 'x'})
	// A copy from 4 back, and one from 0 back, which for s2 repeats the former.
	copyZero := []byte{12, 3 << 2, 'a', 'b', 'c', 'd', 1, 4, 1, 0}
	if out, err := s2.Decode(nil, copyZero); err != nil || string(out) != "abcdabcdabcd" {
		t.Fatalf("not a block of s2: %q, %v", out, err)
	}
	for _, c := range []bomb{
		{"gzip empty", Gzip, nil},
		{"gzip short", Gzip, []byte{0x1f, 0x8b, 8}},
		{"gzip cut", Gzip, foreigners[1].compress(plain)[:100]},
		{"gzip without its end", Gzip, foreigners[1].compress(plain)[:len(foreigners[1].compress(plain))-8]},
		{"gzip checksum", Gzip, flipped(foreigners[1].compress(plain), -8)},
		{"gzip length", Gzip, flipped(foreigners[1].compress(plain), -4)},
		{"gzip and garbage", Gzip, append(foreigners[1].compress(plain), "garbage."...)},
		{"snappy empty", Snappy, nil},
		{"snappy length over what it holds", Snappy, []byte{0xff, 0xff, 0xff, 0x03, 0, 'a'}},
		{"snappy length without end", Snappy, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
		{"snappy cut", Snappy, s2.EncodeSnappy(nil, plain)[:5000]},
		{"snappy of s2", Snappy, copyZero},
		{"snappy header cut", Snappy, []byte(xerialHeader[:15])},
		{"snappy block cut", Snappy, appendSnappy(nil, plain)[:1000]},
		{"snappy length cut", Snappy, append(appendSnappy(nil, plain), 0, 0, 0)},
		{"snappy block length negative", Snappy, append([]byte(xerialHeader), 0xff, 0xff, 0xff, 0xff, 0)},
		{"snappy empty block", Snappy, xerialBlocks([]byte{})},
		{"lz4 empty", LZ4, nil},
		{"lz4 magic", LZ4, flipped(lz4Blocks(), 0)},
		{"lz4 legacy", LZ4, legacy.Bytes()},
		{"lz4 version", LZ4, descriptor(lz4FlagIndependent|2<<6, lz4BlockSizeCode)},
		{"lz4 reserved flag", LZ4, descriptor(flags|lz4FlagReserved, lz4BlockSizeCode)},
		{"lz4 reserved bits", LZ4, descriptor(flags, lz4BlockSizeCode|1)},
		{"lz4 reserved bit", LZ4, descriptor(flags, lz4BlockSizeCode|0x80)},
		{"lz4 block size code", LZ4, descriptor(flags, 3<<4)},
		{"lz4 dependent blocks", LZ4, descriptor(lz4FlagVersion, lz4BlockSizeCode)},
		{"lz4 dictionary", LZ4, descriptor(flags|lz4FlagDictionary, lz4BlockSizeCode)},
		{"lz4 descriptor checksum", LZ4, flipped(lz4Blocks(), 6)},
		{"lz4 size cut", LZ4, descriptor(flags|lz4FlagContentSize, lz4BlockSizeCode)},
		{"lz4 size wrong", LZ4, wrongSize},
		{"lz4 without end", LZ4, lz4Blocks()[:7]},
		{"lz4 end cut", LZ4, lz4Blocks()[:9]},
		{"lz4 block cut", LZ4, sized[:len(sized)-10]},
		{"lz4 block larger than said", LZ4, lz4Blocks(make([]byte, 64<<10+1))},
		{"lz4 output larger than said", LZ4, lz4Blocks(slices.Concat([]byte{0x1f, 'a', 1, 0}, bytes.Repeat([]byte{255}, 300), []byte{0, 0x50}, []byte("12345")))},
		{"lz4 empty stored block", LZ4, slices.Concat(lz4Blocks()[:7], []byte{0, 0, 0, 0x80}, []byte{0, 0, 0, 0})},
		{"lz4 block ends with a match", LZ4, lz4Blocks([]byte{0x10, 'a', 1, 0})},
		{"lz4 literals beyond", LZ4, lz4Blocks([]byte{0x50, 'a'})},
		{"lz4 length without end", LZ4, lz4Blocks([]byte{0xf0, 255, 255})},
		{"lz4 match before the start", LZ4, lz4Blocks([]byte{0x10, 'a', 9, 0, 0x50, '1', '2', '3', '4', '5'})},
		{"lz4 block checksum", LZ4, flipped(checked, 20)},
		{"lz4 content checksum", LZ4, flipped(checked, -1)},
		{"lz4 content checksum cut", LZ4, checked[:len(checked)-1]},
		{"lz4 two frames", LZ4, append(slices.Clone(sized), sized...)},
		{"lz4 trailing byte", LZ4, append(slices.Clone(sized), 0)},
		{"zstd empty", Zstd, nil},
		{"zstd magic", Zstd, flipped(plainZstd, 0)},
		{"zstd cut in the header", Zstd, plainZstd[:5]},
		{"zstd cut in a block header", Zstd, plainZstd[:8]},
		{"zstd cut in a block", Zstd, plainZstd[:20]},
		{"zstd without its checksum", Zstd, plainZstd[:len(plainZstd)-4]},
		{"zstd checksum", Zstd, flipped(plainZstd, -1)},
		{"zstd two frames", Zstd, append(slices.Clone(plainZstd), plainZstd...)},
		{"zstd trailing byte", Zstd, append(slices.Clone(plainZstd), 0)},
		{"zstd skippable frame", Zstd, slices.Concat([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, plainZstd)},
		{"zstd dictionary", Zstd, zstdDict},
		{"zstd block type", Zstd, zstdBlocks([]byte{3 << 1, 0, 0})},
		{"zstd block over its maximum", Zstd, zstdBlocks([]byte{byte(zstdRLE<<1) | 8, 0, 16, 'x'})},
		{"zstd bad block", Zstd, zstdBlocks([]byte{byte(zstdCompressed<<1) | 3<<3, 0, 0, 1, 2, 3})},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := new(workspace).decompress(c.codec, c.compressed, 8<<20)
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v", err)
			}
			_, err = Validate(compressedBatch(c.codec, c.compressed), testLimits)
			invalid(t, err, ErrMalformed)
		})
	}
}

// Nothing is allocated for a length or count that the bytes there cannot hold.
func TestLengthsAreNotBelieved(t *testing.T) {
	gz := foreigners[1].compress([]byte("some records"))
	binary.LittleEndian.PutUint32(gz[len(gz)-4:], 64<<20)
	for _, c := range []bomb{
		{"gzip", Gzip, gz},
		{"snappy", Snappy, []byte{0x80, 0x80, 0x80, 0x20, 0, 'a'}}, // 64 MiB
		{"snappy as Java", Snappy, xerialBlocks([]byte{0x80, 0x80, 0x80, 0x20, 0, 'a'})},
		{"zstd", Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 4, 1, 0, 0}}, // 64 MiB, an empty block
	} {
		most := 0
		_, err := new(workspace).decompressInto(c.codec, c.compressed, 128<<20, func(n int) []byte {
			most = max(most, n)
			return make([]byte, 0, n)
		})
		if !errors.Is(err, ErrMalformed) || most > overheadMax {
			t.Errorf("%s: a buffer of %d bytes, %v", c.name, most, err)
		}
	}
	b := mustAppend(t, likeRecords(3, 50), None)
	binary.BigEndian.PutUint32(b[recordCountPos:], math.MaxInt32>>8)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Decode(b, 1<<20)
	runtime.ReadMemStats(&after)
	invalid(t, err, ErrCount)
	if total := after.TotalAlloc - before.TotalAlloc; total > overheadMax {
		t.Errorf("%d bytes allocated for a count", total)
	}
}

func TestZstdLimitBelowItsSmallestWindow(t *testing.T) {
	frame := zstdBlocks([]byte{byte(zstdRLE<<1) | 500<<3&0xff, 500 >> 5, 0, 'x'})
	frame[5] = 0 // window of 1 KiB
	for _, limit := range []int{0, 1, 499} {
		if _, err := new(workspace).decompress(Zstd, frame, limit); !errors.Is(err, ErrTooLarge) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	if out, err := new(workspace).decompress(Zstd, frame, 500); err != nil || len(out) != 500 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

// What failed or succeeded before must not show in what a workspace does next.
func TestWorkspaceHasNoMemory(t *testing.T) {
	ws := new(workspace)
	plain := bytes.Repeat([]byte("some records "), 20000)
	for range 3 {
		for _, f := range foreigners[1:] {
			compressed := f.compress(plain)
			out, err := ws.decompress(f.codec, compressed, 8<<20)
			if err != nil || !bytes.Equal(out, plain) {
				t.Fatalf("%s: %v", f.name, err)
			}
			for _, cut := range []int{len(compressed) / 2, len(compressed) - 1, 7} {
				if _, err := ws.decompress(f.codec, compressed[:cut], 8<<20); err == nil {
					t.Fatalf("%s: cut at %d went through", f.name, cut)
				}
			}
			if _, err := ws.decompress(f.codec, compressed, 4000); !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%s: %v", f.name, err)
			}
		}
		for _, codec := range allCodecs[1:] {
			out, err := ws.decompress(codec, ws.compress(nil, plain, codec), 8<<20)
			if err != nil || !bytes.Equal(out, plain) {
				t.Fatalf("%v: %v", codec, err)
			}
		}
	}
}

// Records that Decode returned belong to the caller for good.
func TestDecodedRecordsAreTheCallers(t *testing.T) {
	for _, codec := range allCodecs {
		for _, size := range []int{50, 2000} { // of the shared buffer, and of one of their own
			records := likeRecords(300, size)
			for i := range records {
				records[i].Headers = []RecordHeader{{"trace", []byte{byte(i)}}, {"n", nil}}[:i%3]
			}
			got, err := Decode(mustAppend(t, records, codec), 8<<20)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				other := likeRecords(200, size)
				for i := range other {
					other[i].Value = bytes.Repeat([]byte{'!'}, size)
				}
				if _, err := Decode(mustAppend(t, other, codec), 8<<20); err != nil {
					t.Fatal(err)
				}
				if _, err := Validate(mustAppend(t, other, codec), testLimits); err != nil {
					t.Fatal(err)
				}
			}
			if d := diff(got, records, 0); d != "" {
				t.Fatalf("%v: %s", codec, d)
			}
			// Nor does appending to one reach into the next.
			for _, rec := range got {
				_ = append(rec.Key, "overwritten"...)
				_ = append(rec.Value, "overwritten"...)
				_ = append(rec.Headers, RecordHeader{Key: "overwritten"})
			}
			if d := diff(got, records, 0); d != "" {
				t.Fatalf("%v: %s", codec, d)
			}
		}
	}
}

func TestLZ4LengthOfBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := bytes.Repeat(rapid.SliceOfN(rapid.ByteRange(0, 3), 1, 2000).Draw(t, "plain"), rapid.IntRange(1, 20).Draw(t, "times"))
		block := make([]byte, lz4.CompressBlockBound(len(plain)))
		n, err := lz4.CompressBlock(plain, block, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return // would be stored
		}
		if got, ok := lz4Len(block[:n]); !ok || got != len(plain) {
			t.Fatalf("length %d, %v, want %d", got, ok, len(plain))
		}
	})
}

// The values are those that xxhsum -H32 prints, and of the XXH32 test suite.
func TestXXH32(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint32
	}{
		{"", 0x02cc5d05},
		{"a", 0x550d7456},
		{"abc", 0x32d153ff},
		{"Nobody inspects the spammish repetition", 0xe2293b2f},
	} {
		if got := xxh32([]byte(c.in)); got != c.want {
			t.Errorf("xxh32(%q) = %08x, want %08x", c.in, got, c.want)
		}
	}
}

// Every length around the lanes of XXH32, against a frame that the library made.
func TestXXH32AgainstFrames(t *testing.T) {
	for n := 1; n < 200; n++ {
		plain := bytes.Repeat([]byte{'a', 'b', 'c'}, n)[:n]
		frame := foreignLZ4()(plain)
		if got, want := xxh32(plain), binary.LittleEndian.Uint32(frame[len(frame)-4:]); got != want {
			t.Fatalf("%d bytes: %08x, want %08x", n, got, want)
		}
	}
}

func TestLZ4FramesAreReadByTheLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 13, lz4BlockSize - 1, lz4BlockSize, lz4BlockSize + 1, 3*lz4BlockSize + 5}).Draw(t, "length")
		seed := rapid.SliceOfN(rapid.Byte(), 1, 5000).Draw(t, "seed")
		plain := bytes.Repeat(seed, n/len(seed)+1)[:n]
		frame := new(workspace).appendLZ4(nil, plain)
		got, err := io.ReadAll(lz4.NewReader(bytes.NewReader(frame)))
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d of %d bytes, %v", len(got), n, err)
		}
	})
}
