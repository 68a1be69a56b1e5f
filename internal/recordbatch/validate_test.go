package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// rawBatch is a batch of count records as they are given, encoded, with all
// else in order: every record's time is 0.
func rawBatch(count int, encoded []byte) []byte {
	b := make([]byte, HeaderLen+len(encoded))
	copy(b[HeaderLen:], encoded)
	Header{
		Length:               int32(len(b) - lengthOverhead),
		PartitionLeaderEpoch: -1,
		Magic:                magic,
		LastOffsetDelta:      int32(count - 1),
		ProducerID:           -1,
		ProducerEpoch:        -1,
		BaseSequence:         -1,
		RecordCount:          int32(count),
	}.put(b)
	renewCRC(b)
	return b
}

// rawRecordBytes puts the length before a record's body.
func rawRecordBytes(body ...byte) []byte {
	return append(appendVarint(nil, len(body)), body...)
}

// invalid fails the test if err is not an InvalidError of want.
func invalid(t *testing.T, err, want error) {
	t.Helper()
	var invalid *InvalidError
	if !errors.As(err, &invalid) || !errors.Is(err, want) {
		t.Fatalf("error %v (%T), want an InvalidError of %v", err, err, want)
	}
}

func TestValidateRefusesHeaders(t *testing.T) {
	put16 := func(pos int, v int16) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint16(b[pos:], uint16(v)); return b }
	}
	put32 := func(pos int, v int32) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint32(b[pos:], uint32(v)); return b }
	}
	put64 := func(pos int, v int64) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint64(b[pos:], uint64(v)); return b }
	}
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		want   error
	}{
		{"empty", func(b []byte) []byte { return nil }, ErrTruncated},
		{"only up to the magic", func(b []byte) []byte { return b[:17] }, ErrTruncated},
		{"header cut", func(b []byte) []byte { return b[:60] }, ErrTruncated},
		{"records cut", func(b []byte) []byte { return b[:len(b)-1] }, ErrTruncated},
		{"trailing byte", func(b []byte) []byte { return append(b, 0) }, ErrMalformed},
		{"length 0", put32(lengthPos, 0), ErrMalformed},
		{"length less than a header", put32(lengthPos, 48), ErrMalformed},
		{"length negative", put32(lengthPos, -1), ErrMalformed},
		{"length lowest", put32(lengthPos, math.MinInt32), ErrMalformed},
		{"length highest", put32(lengthPos, math.MaxInt32), ErrTruncated},
		{"magic 0", func(b []byte) []byte { b[16] = 0; return b }, ErrMagic},
		{"magic 1, short", func(b []byte) []byte { b[16] = 1; return b[:30] }, ErrMagic},
		{"magic 3", func(b []byte) []byte { b[16] = 3; return b }, ErrMagic},
		{"codec 5", put16(attributesPos, 5), ErrCodec},
		{"codec 7", put16(attributesPos, 7), ErrCodec},
		{"transactional", put16(attributesPos, attrTransactional), ErrControl},
		{"control", put16(attributesPos, attrControl), ErrControl},
		{"control and transactional", put16(attributesPos, attrControl|attrTransactional), ErrControl},
		{"log append time", put16(attributesPos, attrLogAppendTime), ErrMalformed},
		{"delete horizon", put16(attributesPos, 1<<6), ErrMalformed},
		{"unknown attribute", put16(attributesPos, 1<<7), ErrMalformed},
		{"highest attribute", put16(attributesPos, math.MinInt16), ErrMalformed},
		{"no records", put32(recordCountPos, 0), ErrCount},
		{"negative count", put32(recordCountPos, -1), ErrCount},
		{"lowest count", put32(recordCountPos, math.MinInt32), ErrCount},
		{"count too low", func(b []byte) []byte { put32(lastOffsetDeltaPos, 1)(b); return put32(recordCountPos, 2)(b) }, ErrCount},
		{"count too high", func(b []byte) []byte { put32(lastOffsetDeltaPos, 3)(b); return put32(recordCountPos, 4)(b) }, ErrCount},
		{"count beyond the bytes", func(b []byte) []byte {
			put32(lastOffsetDeltaPos, math.MaxInt32-1)(b)
			return put32(recordCountPos, math.MaxInt32)(b)
		}, ErrCount},
		{"last offset delta too low", put32(lastOffsetDeltaPos, 1), ErrOffsetDeltas},
		{"last offset delta too high", put32(lastOffsetDeltaPos, 3), ErrOffsetDeltas},
		{"last offset delta negative", put32(lastOffsetDeltaPos, -1), ErrOffsetDeltas},
		{"max timestamp of the last", put64(maxTimestampPos, 1700000000002), ErrTimestamps},
		{"max timestamp too high", put64(maxTimestampPos, 1700000000011), ErrTimestamps},
		{"max timestamp none", put64(maxTimestampPos, -1), ErrTimestamps},
		{"producer id below -1", put64(producerIDPos, -2), ErrMalformed},
		{"producer id without epoch", func(b []byte) []byte { put64(producerIDPos, 0)(b); return put32(baseSequencePos, 0)(b) }, ErrMalformed},
		{"producer id without sequence", func(b []byte) []byte { put64(producerIDPos, 0)(b); return put16(producerEpochPos, 0)(b) }, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			records := likeRecords(3, 50)
			records[1].Timestamp = 1700000000010
			b := mustAppend(t, records, None)
			if _, err := Validate(b, testLimits); err != nil {
				t.Fatal(err)
			}
			b = c.change(b)
			if len(b) >= HeaderLen {
				renewCRC(b)
			}
			h, err := Validate(b, testLimits)
			invalid(t, err, c.want)
			if h != (Header{}) {
				t.Errorf("a header with the error: %+v", h)
			}
		})
	}
}

func TestValidateTakesHeaders(t *testing.T) {
	b := mustAppend(t, likeRecords(3, 50), None)
	PatchBaseOffset(b, -77)
	binary.BigEndian.PutUint32(b[leaderEpochPos:], 12)
	h, err := Validate(b, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	if h.BaseOffset != -77 || h.PartitionLeaderEpoch != 12 {
		t.Fatalf("header %+v", h)
	}
}

func TestValidateRefusesEveryFlippedBit(t *testing.T) {
	for _, codec := range allCodecs {
		b := mustAppend(t, likeRecords(2, 80), codec)
		// What lies before the magic is not in the CRC.
		for pos := magicPos; pos < len(b); pos++ {
			for bit := range 8 {
				b[pos] ^= 1 << bit
				if _, err := Validate(b, testLimits); err == nil {
					t.Fatalf("%v: byte %d, bit %d", codec, pos, bit)
				}
				if err := CheckCRC(b); err == nil {
					t.Fatalf("%v: CheckCRC: byte %d, bit %d", codec, pos, bit)
				}
				b[pos] ^= 1 << bit
			}
		}
	}
}

// Bodies of records begin with attributes, timestamp delta and offset delta.
func TestValidateRefusesRecords(t *testing.T) {
	good := rawRecordBytes(0, 0, 0, 1, 1, 0) // null key, null value
	if _, err := Validate(rawBatch(1, good), testLimits); err != nil {
		t.Fatal(err)
	}
	huge := []byte{0xfe, 0xff, 0xff, 0xff, 0x0f}       // varint MaxInt32
	tooLong := []byte{0x8c, 0x80, 0x80, 0x80, 0x80, 0} // varint 6 in 6 bytes
	for _, c := range []struct {
		name    string
		encoded []byte
		want    error
	}{
		{"attributes", rawRecordBytes(1, 0, 0, 1, 1, 0), ErrMalformed},
		{"offset delta 1 first", rawRecordBytes(0, 0, 2, 1, 1, 0), ErrOffsetDeltas},
		{"offset delta negative", rawRecordBytes(0, 0, 1, 1, 1, 0), ErrOffsetDeltas},
		{"offset delta missing", rawRecordBytes(0, 0, 0x80, 0x80, 0x80, 0x80), ErrMalformed},
		{"timestamp without end", rawRecordBytes(0, 0x80, 0x80, 0x80, 0x80, 0x80), ErrMalformed},
		{"timestamp in 11 bytes", rawRecordBytes(slices.Concat([]byte{0}, bytes.Repeat([]byte{0x80}, 10), []byte{0, 0, 1, 1, 0})...), ErrMalformed},
		{"length 0", append([]byte{0}, good...), ErrMalformed},
		{"length negative", append([]byte{1}, good...), ErrMalformed},
		{"length beyond", append(appendVarint(nil, len(good)), good[1:]...), ErrMalformed},
		{"length huge", append(slices.Clone(huge), good...), ErrMalformed},
		{"length over int32", append([]byte{0x80, 0x80, 0x80, 0x80, 0x10}, good...), ErrMalformed},
		{"length in 6 bytes", append(slices.Clone(tooLong), good[1:]...), ErrMalformed},
		{"length without end", []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}, ErrMalformed},
		{"length one short", append(appendVarint(nil, 5), good[1:]...), ErrMalformed},
		{"key length -2", rawRecordBytes(0, 0, 0, 3, 1, 0), ErrMalformed},
		{"key beyond", rawRecordBytes(0, 0, 0, 8, 1, 0), ErrMalformed},
		{"key huge", rawRecordBytes(slices.Concat([]byte{0, 0, 0}, huge, []byte{1, 0})...), ErrMalformed},
		{"value length -2", rawRecordBytes(0, 0, 0, 1, 3, 0), ErrMalformed},
		{"value beyond", rawRecordBytes(0, 0, 0, 1, 8, 0), ErrMalformed},
		{"value missing", rawRecordBytes(0, 0, 0, 10, 1, 2, 3, 4, 5), ErrMalformed},
		{"headers missing", rawRecordBytes(0, 0, 0, 1, 6, 1, 2, 3), ErrMalformed},
		{"header count negative", rawRecordBytes(0, 0, 0, 1, 1, 1), ErrMalformed},
		{"header count beyond", rawRecordBytes(0, 0, 0, 1, 1, 4, 0, 0), ErrMalformed},
		{"header count huge", rawRecordBytes(slices.Concat([]byte{0, 0, 0, 1, 1}, huge)...), ErrMalformed},
		{"header key null", rawRecordBytes(0, 0, 0, 1, 1, 2, 1, 0), ErrMalformed},
		{"header key beyond", rawRecordBytes(0, 0, 0, 1, 1, 2, 4, 0), ErrMalformed},
		{"header value -2", rawRecordBytes(0, 0, 0, 1, 1, 2, 0, 3), ErrMalformed},
		{"header value beyond", rawRecordBytes(0, 0, 0, 1, 1, 2, 0, 2), ErrMalformed},
		{"bytes after headers", rawRecordBytes(0, 0, 0, 1, 1, 0, 0), ErrMalformed},
		{"bytes after records", append(slices.Clone(good), 0), ErrCount},
		{"one record more", append(slices.Clone(good), rawRecordBytes(0, 0, 2, 1, 1, 0)...), ErrCount},
		{"nothing", nil, ErrCount},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, f := range foreigners {
				if f.codec != None && len(c.encoded) == 0 {
					continue
				}
				b := rawBatch(1, f.compress(c.encoded))
				b[attributesPos+1] = byte(f.codec)
				renewCRC(b)
				_, err := Validate(b, testLimits)
				invalid(t, err, c.want)
				_, err = Decode(b, testLimits.DecompressedBytesMax)
				invalid(t, err, c.want)
				_, err = collect(b, testLimits.DecompressedBytesMax)
				invalid(t, err, c.want)
			}
		})
	}
}

func TestValidateRefusesOffsetDeltas(t *testing.T) {
	for _, deltas := range [][]byte{{0, 0}, {0, 4}, {2, 0}, {0, 2, 2}, {0, 4, 2}} {
		var encoded []byte
		for _, d := range deltas {
			encoded = append(encoded, rawRecordBytes(0, 0, d, 1, 1, 0)...)
		}
		_, err := Validate(rawBatch(len(deltas), encoded), testLimits)
		invalid(t, err, ErrOffsetDeltas)
	}
}

func TestValidateTakesLongVarints(t *testing.T) {
	// A key length of 1 in three bytes, and a header count of 0 in five.
	encoded := rawRecordBytes(0, 0, 0, 0x82, 0x80, 0, 'k', 1, 0x80, 0x80, 0x80, 0x80, 0)
	b := rawBatch(1, encoded)
	if _, err := Validate(b, testLimits); err != nil {
		t.Fatal(err)
	}
	records, err := Decode(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(records, []Record{{Key: []byte("k")}}, 0); d != "" {
		t.Fatal(d)
	}
}

func TestValidateLimits(t *testing.T) {
	records := []Record{
		{Value: []byte("v")},
		{Key: make([]byte, 100), Value: make([]byte, 800), Headers: []RecordHeader{{strings.Repeat("h", 60), make([]byte, 40)}}},
	}
	for _, codec := range allCodecs {
		b := mustAppend(t, records, codec)
		size := len(mustAppend(t, records, None)) - HeaderLen
		exact := Limits{RecordBytesMax: 1000, BatchBytesMax: len(b), DecompressedBytesMax: size}
		if codec == Zstd {
			// Its window is never less.
			exact.DecompressedBytesMax = max(size, 1024)
		}
		if _, err := Validate(b, exact); err != nil {
			t.Fatalf("%v at the limits: %v", codec, err)
		}
		for _, c := range []struct {
			what   string
			limits Limits
		}{
			{"record", Limits{999, exact.BatchBytesMax, exact.DecompressedBytesMax}},
			{"batch", Limits{1000, len(b) - 1, exact.DecompressedBytesMax}},
			{"decompressed batch", Limits{1000, len(b), size - 1}},
			{"decompressed batch", Limits{1000, len(b), 0}},
			{"decompressed batch", Limits{1000, len(b), -1}},
		} {
			if codec == None && c.what == "decompressed batch" {
				continue
			}
			_, err := Validate(b, c.limits)
			invalid(t, err, ErrTooLarge)
			var tooLarge *TooLargeError
			if !errors.As(err, &tooLarge) || tooLarge.What != c.what || tooLarge.Bytes <= tooLarge.Limit {
				t.Errorf("%v: %v, want %s", codec, err, c.what)
			}
		}
	}
}

func TestValidateDoesNotAllocate(t *testing.T) {
	b := mustAppend(t, likeRecords(500, 100), None)
	allocs := testing.AllocsPerRun(20, func() {
		if _, err := Validate(b, testLimits); err != nil {
			t.Fatal(err)
		}
		for _, err := range Records(b, 0) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
