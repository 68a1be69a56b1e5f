package recordbatch

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// foreign is how some other client than ours compresses.
type foreign struct {
	name     string
	codec    Codec
	compress func([]byte) []byte
}

func writeAll(w io.WriteCloser, p []byte) {
	if _, err := w.Write(p); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
}

func foreignLZ4(options ...lz4.Option) func([]byte) []byte {
	return func(p []byte) []byte {
		var out bytes.Buffer
		w := lz4.NewWriter(&out)
		if err := w.Apply(append(options, lz4.ConcurrencyOption(1))...); err != nil {
			panic(err)
		}
		writeAll(w, p)
		return out.Bytes()
	}
}

func foreignZstd(options ...zstd.EOption) func([]byte) []byte {
	w, err := zstd.NewWriter(nil, append(options, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))...)
	if err != nil {
		panic(err)
	}
	return func(p []byte) []byte {
		var out bytes.Buffer
		w.Reset(&out)
		// A flush in between makes several blocks and hides the size.
		if _, err := w.Write(p[:len(p)/2]); err != nil {
			panic(err)
		}
		if err := w.Flush(); err != nil {
			panic(err)
		}
		writeAll(w, p[len(p)/2:])
		return out.Bytes()
	}
}

// foreignZstdAll knows the size, and makes a frame that is one segment.
func foreignZstdAll() func([]byte) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(true))
	if err != nil {
		panic(err)
	}
	return func(p []byte) []byte { return w.EncodeAll(p, nil) }
}

var foreigners = []foreign{
	{"none", None, func(p []byte) []byte { return p }},
	{"gzip", Gzip, func(p []byte) []byte {
		var out bytes.Buffer
		writeAll(stdgzip.NewWriter(&out), p)
		return out.Bytes()
	}},
	{"gzip in two members", Gzip, func(p []byte) []byte {
		var out bytes.Buffer
		writeAll(stdgzip.NewWriter(&out), p[:len(p)-1])
		writeAll(stdgzip.NewWriter(&out), p[len(p)-1:])
		return out.Bytes()
	}},
	{"snappy as Java", Snappy, func(p []byte) []byte { return xerial.Encode(nil, p) }},
	{"snappy plain", Snappy, func(p []byte) []byte { return s2.EncodeSnappy(nil, p) }},
	{"lz4", LZ4, foreignLZ4()},
	{"lz4 of 64 KiB", LZ4, foreignLZ4(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false))},
	{"lz4 with checksums", LZ4, foreignLZ4(lz4.BlockSizeOption(lz4.Block256Kb), lz4.BlockChecksumOption(true))},
	{"lz4 HC", LZ4, foreignLZ4(lz4.CompressionLevelOption(lz4.Level1), lz4.BlockSizeOption(lz4.Block1Mb))},
	{"lz4 with size", LZ4, func(p []byte) []byte { return foreignLZ4(lz4.SizeOption(uint64(len(p))))(p) }},
	{"zstd stream", Zstd, foreignZstd()},
	{"zstd best", Zstd, foreignZstd(zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(1<<20))},
	{"zstd in one piece", Zstd, foreignZstdAll()},
}

// kmsgRecords encodes records by kmsg.
func kmsgRecords(records []Record) []byte {
	var out []byte
	for i, rec := range records {
		r := kmsg.NewRecord()
		r.TimestampDelta64 = rec.Timestamp - records[0].Timestamp
		r.OffsetDelta = int32(i)
		r.Key, r.Value = rec.Key, rec.Value
		for _, h := range rec.Headers {
			r.Headers = append(r.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
		}
		// Encode once without a length to know the length.
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		out = r.AppendTo(out)
	}
	return out
}

// kmsgBatch encodes a batch by kmsg, compressed by someone else.
func kmsgBatch(records []Record, f foreign) []byte {
	latest := records[0].Timestamp
	for _, rec := range records {
		latest = max(latest, rec.Timestamp)
	}
	rb := kmsg.NewRecordBatch()
	rb.PartitionLeaderEpoch = -1
	rb.Magic = 2
	rb.Attributes = int16(f.codec)
	rb.LastOffsetDelta = int32(len(records) - 1)
	rb.FirstTimestamp = records[0].Timestamp
	rb.MaxTimestamp = latest
	rb.ProducerID, rb.ProducerEpoch, rb.FirstSequence = -1, -1, -1
	rb.NumRecords = int32(len(records))
	rb.Records = f.compress(kmsgRecords(records))
	rb.Length = int32(49 + len(rb.Records))
	b := rb.AppendTo(nil)
	rb.CRC = int32(crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return rb.AppendTo(nil)
}

func TestReadWhatOthersWrite(t *testing.T) {
	for _, f := range foreigners {
		t.Run(f.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				records := drawRecords(t)
				b := kmsgBatch(records, f)
				if _, err := Validate(b, testLimits); err != nil {
					t.Fatal(err)
				}
				got, err := Decode(b, testLimits.DecompressedBytesMax)
				if err != nil {
					t.Fatal(err)
				}
				if d := diff(got, records, 0); d != "" {
					t.Fatal(d)
				}
				if f.codec == None {
					if ours := mustAppend(t, records, None); !bytes.Equal(ours, b) {
						t.Fatalf("ours  %x\ntheirs %x", ours, b)
					}
				}
			})
			// And one that is larger than all the blocks and windows.
			records := likeRecords(5000, 1024)
			b := kmsgBatch(records, f)
			if _, err := Validate(b, testLimits); err != nil {
				t.Fatal(err)
			}
			got, err := Decode(b, testLimits.DecompressedBytesMax)
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(got, records, 0); d != "" {
				t.Fatal(d)
			}
		})
	}
}

func foreignDecompress(codec Codec, p []byte) ([]byte, error) {
	switch codec {
	case Gzip:
		r, err := stdgzip.NewReader(bytes.NewReader(p))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case Snappy:
		return xerial.Decode(p)
	case LZ4:
		return io.ReadAll(lz4.NewReader(bytes.NewReader(p)))
	case Zstd:
		r, err := zstd.NewReader(bytes.NewReader(p))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	return p, nil
}

// readByKmsg decodes a batch by kmsg alone.
func readByKmsg(b []byte) ([]Record, error) {
	var rb kmsg.RecordBatch
	if err := rb.ReadFrom(b); err != nil {
		return nil, err
	}
	if crc := crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)); uint32(rb.CRC) != crc {
		return nil, fmt.Errorf("CRC %x, want %x", uint32(rb.CRC), crc)
	}
	p, err := foreignDecompress(Codec(rb.Attributes&7), rb.Records)
	if err != nil {
		return nil, err
	}
	var records []Record
	for i := range rb.NumRecords {
		length, n := binary.Varint(p)
		var r kmsg.Record
		if err := r.ReadFrom(p[:int(length)+n]); err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		p = p[int(length)+n:]
		rec := Record{
			Offset:    Offset(rb.FirstOffset + int64(r.OffsetDelta)),
			Timestamp: rb.FirstTimestamp + r.TimestampDelta64,
			Key:       r.Key,
			Value:     r.Value,
		}
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, RecordHeader{h.Key, h.Value})
		}
		records = append(records, rec)
	}
	if len(p) > 0 || int(rb.LastOffsetDelta) != len(records)-1 {
		return nil, fmt.Errorf("%d bytes left, last offset delta %d", len(p), rb.LastOffsetDelta)
	}
	return records, nil
}

func TestOthersReadWhatWeWrite(t *testing.T) {
	check := func(t tester, records []Record, codec Codec) {
		t.Helper()
		got, err := readByKmsg(mustAppend(t, records, codec))
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(got, records, 0); d != "" {
			t.Fatal(d)
		}
	}
	for _, codec := range allCodecs {
		t.Run(codec.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				check(t, drawRecords(t), codec)
			})
			large := likeRecords(3000, 1024)
			check(t, large, codec)
			if b := mustAppend(t, large, codec); codec != None && len(b) > 3000*1024/2 {
				t.Errorf("%d bytes: not compressed", len(b))
			}
		})
	}
}
