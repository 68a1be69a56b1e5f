package recordbatch

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var testLimits = Limits{RecordBytesMax: 1 << 20, BatchBytesMax: 16 << 20, DecompressedBytesMax: 32 << 20}

var allCodecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// tester is what testing and rapid have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
}

// mustAppend builds a batch that no idempotent producer sent.
func mustAppend(t tester, records []Record, codec Codec) []byte {
	t.Helper()
	b, err := Append(nil, records, codec, NoProducer)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// likeRecords makes n records that resemble each other, at about size bytes.
func likeRecords(n, size int) []Record {
	records := make([]Record, n)
	for i := range records {
		value := bytes.Repeat(fmt.Appendf(nil, `{"flight":%d,"origin":"LIS","delay":%d},`, i, i*i%97), size/30+1)[:size]
		records[i] = Record{
			Timestamp: 1700000000000 + int64(i),
			Key:       fmt.Appendf(nil, "k%d", i%7),
			Value:     value,
		}
	}
	return records
}

// diff tells in what the records differ, with offsets from base on expected.
func diff(got, want []Record, base Offset) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		g, w := got[i], want[i]
		switch {
		case g.Offset != base+Offset(i):
			return fmt.Sprintf("record %d has offset %d", i, g.Offset)
		case g.Timestamp != w.Timestamp:
			return fmt.Sprintf("record %d has timestamp %d, want %d", i, g.Timestamp, w.Timestamp)
		case !sameBytes(g.Key, w.Key):
			return fmt.Sprintf("record %d has key %q, want %q", i, g.Key, w.Key)
		case !sameBytes(g.Value, w.Value):
			return fmt.Sprintf("record %d has value %.40q, want %.40q", i, g.Value, w.Value)
		case !slices.EqualFunc(g.Headers, w.Headers, sameHeader):
			return fmt.Sprintf("record %d has headers %q, want %q", i, g.Headers, w.Headers)
		}
	}
	return ""
}

func sameHeader(a, b RecordHeader) bool { return a.Key == b.Key && sameBytes(a.Value, b.Value) }

// sameBytes tells null from empty.
func sameBytes(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// collect copies what Records yields.
func collect(b []byte, decompressedMax int) ([]Record, error) {
	var records []Record
	for rec, err := range Records(b, decompressedMax) {
		if err != nil {
			return nil, err
		}
		rec.Key, rec.Value = bytes.Clone(rec.Key), bytes.Clone(rec.Value)
		rec.Headers = slices.Clone(rec.Headers)
		for i := range rec.Headers {
			rec.Headers[i].Value = bytes.Clone(rec.Headers[i].Value)
		}
		records = append(records, rec)
	}
	return records, nil
}

func drawBytes(t *rapid.T, label string) []byte {
	switch rapid.IntRange(0, 3).Draw(t, label+" kind") {
	case 0:
		return nil
	case 1:
		return []byte{}
	case 2:
		return bytes.Repeat([]byte("wadi"), rapid.IntRange(1, 5000).Draw(t, label+" repeats"))
	}
	return rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, label)
}

func drawRecords(t *rapid.T) []Record {
	clock := rapid.OneOf(rapid.Int64(), rapid.Int64Range(1700000000000, 1700000009999), rapid.Int64Range(-3, 3),
		rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64}))
	records := make([]Record, rapid.IntRange(1, 150).Draw(t, "count"))
	for i := range records {
		records[i] = Record{
			Offset:    Offset(rapid.Int64().Draw(t, "ignored offset")),
			Timestamp: clock.Draw(t, "timestamp"),
			Key:       drawBytes(t, "key"),
			Value:     drawBytes(t, "value"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			records[i].Headers = append(records[i].Headers, RecordHeader{
				Key:   rapid.OneOf(rapid.SampledFrom([]string{"", "trace", "\xff"}), rapid.String()).Draw(t, "header"),
				Value: drawBytes(t, "header value"),
			})
		}
	}
	return records
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(t)
		codec := rapid.SampledFrom(allCodecs).Draw(t, "codec")
		producer := NoProducer
		if rapid.Bool().Draw(t, "idempotent") {
			producer = Producer{
				ID:           rapid.Int64Min(0).Draw(t, "id"),
				Epoch:        rapid.Int16Min(0).Draw(t, "epoch"),
				BaseSequence: rapid.Int32Min(0).Draw(t, "sequence"),
			}
		}
		before := rapid.SliceOf(rapid.Byte()).Draw(t, "before")
		dst, err := Append(slices.Clone(before), records, codec, producer)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(dst, before) {
			t.Fatal("the bytes before the batch changed")
		}
		b := dst[len(before):]
		if most := EncodedSizeMax(records); len(b) > most || codec == None && len(b) < most-20*len(records) {
			t.Fatalf("EncodedSizeMax is %d for %d bytes", most, len(b))
		}
		h, err := Validate(b, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		if got := (Producer{h.ProducerID, h.ProducerEpoch, h.BaseSequence}); got != producer {
			t.Fatalf("producer %v, want %v", got, producer)
		}
		if h.Codec() != codec {
			if h.Codec() != None {
				t.Fatalf("codec %v, want %v or none", h.Codec(), codec)
			}
			if plain, _ := Append(nil, records, None, producer); !bytes.Equal(plain, b) {
				t.Fatal("stored uncompressed, and not as if so from the start")
			}
		}
		base := Offset(rapid.Int64Range(0, 1<<60).Draw(t, "base"))
		PatchBaseOffset(b, base)
		if err := CheckCRC(b); err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b, testLimits.DecompressedBytesMax)
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(got, records, base); d != "" {
			t.Fatal("Decode: ", d)
		}
		if got, err = collect(b, testLimits.DecompressedBytesMax); err != nil {
			t.Fatal(err)
		}
		if d := diff(got, records, base); d != "" {
			t.Fatal("Records: ", d)
		}
	})
}

func TestAppendRefuses(t *testing.T) {
	dst := []byte("before")
	for _, c := range []struct {
		records []Record
		codec   Codec
		want    error
	}{
		{nil, None, ErrCount},
		{[]Record{{}}, 5, ErrCodec},
	} {
		got, err := Append(dst, c.records, c.codec, NoProducer)
		if !errors.Is(err, c.want) || string(got) != "before" {
			t.Errorf("Append = %q, %v, want %v", got, err, c.want)
		}
	}
}

func TestAppendLargerThanTheFormat(t *testing.T) {
	value := make([]byte, 64<<20)
	records := slices.Repeat([]Record{{Value: value}}, 33)
	_, err := Append(nil, records, None, NoProducer)
	var tooLarge *TooLargeError
	if !errors.As(err, &tooLarge) || tooLarge.What != "batch" {
		t.Fatalf("error %v", err)
	}
}

func TestCodecNames(t *testing.T) {
	for _, c := range allCodecs {
		if got, err := ParseCodec(c.String()); err != nil || got != c {
			t.Errorf("ParseCodec(%q) = %v, %v", c.String(), got, err)
		}
	}
	for _, name := range []string{"", "producer", "ZSTD", "uncompressed"} {
		if _, err := ParseCodec(name); !errors.Is(err, ErrCodec) {
			t.Errorf("ParseCodec(%q): %v", name, err)
		}
	}
	if got := Codec(6).String(); got != "codec 6" {
		t.Errorf("Codec(6) = %q", got)
	}
}
