package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

var fuzzLimits = Limits{RecordBytesMax: 1 << 18, BatchBytesMax: 1 << 20, DecompressedBytesMax: 8 << 20}

// repair gives b what chance would not: a length, magic, and CRC that fit.
func repair(b []byte) []byte {
	if len(b) < HeaderLen {
		return b
	}
	b = bytes.Clone(b)
	binary.BigEndian.PutUint32(b[lengthPos:], uint32(len(b)-lengthOverhead))
	b[magicPos] = magic
	renewCRC(b)
	return b
}

// repairTimes gives b the MaxTimestamp that its records have, if they can be read.
func repairTimes(b []byte) []byte {
	records, err := Decode(b, fuzzLimits.DecompressedBytesMax)
	if err != nil || len(records) == 0 {
		return b
	}
	latest := records[0].Timestamp
	for _, rec := range records {
		latest = max(latest, rec.Timestamp)
	}
	b = bytes.Clone(b)
	binary.BigEndian.PutUint64(b[maxTimestampPos:], uint64(latest))
	renewCRC(b)
	return b
}

func FuzzValidate(f *testing.F) {
	for name := range goldenCodecs {
		f.Add(readGolden(f, name))
	}
	f.Add(fromHand(f, byHand))
	for _, codec := range allCodecs {
		f.Add(mustAppend(f, likeRecords(3, 60), codec))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkAnyBatch(t, b)
		fitting := repair(b)
		checkAnyBatch(t, fitting)
		checkAnyBatch(t, repairTimes(fitting))
	})
}

func checkAnyBatch(t *testing.T, b []byte) {
	original := bytes.Clone(b)
	checkErr := func(err error) {
		t.Helper()
		var invalid *InvalidError
		if err != nil && !errors.As(err, &invalid) {
			t.Fatalf("error of type %T: %v", err, err)
		}
	}
	total := 0
	for batch, err := range Batches(b) {
		checkErr(err)
		total += len(batch)
	}
	if total > len(b) {
		t.Fatalf("batches of %d bytes in %d", total, len(b))
	}
	_, err := ParseHeader(b)
	checkErr(err)
	checkErr(CheckCRC(b))
	h, invalid := Validate(b, fuzzLimits)
	checkErr(invalid)
	records, err := Decode(b, fuzzLimits.DecompressedBytesMax)
	checkErr(err)
	walked, walkErr := collect(b, fuzzLimits.DecompressedBytesMax)
	if (err == nil) != (walkErr == nil) || err != nil && err.Error() != walkErr.Error() {
		t.Fatalf("Decode: %v, Records: %v", err, walkErr)
	}
	if err == nil && len(records) > 0 {
		if d := diff(walked, records, records[0].Offset); d != "" {
			t.Fatal("Records and Decode differ: ", d)
		}
	}
	if !bytes.Equal(b, original) {
		t.Fatal("the input changed")
	}
	if invalid != nil {
		return
	}

	// What Validate accepts.
	if err != nil {
		t.Fatalf("Validate accepts it, Decode says %v", err)
	}
	if len(records) != int(h.RecordCount) || h.Size() != len(b) {
		t.Fatalf("%d records in %d bytes, header %+v", len(records), len(b), h)
	}
	if err := CheckCRC(b); err != nil {
		t.Fatal(err)
	}
	if theirs, err := readByKmsg(b); err != nil {
		t.Fatalf("kmsg: %v", err)
	} else if d := diff(theirs, records, h.BaseOffset); d != "" {
		t.Fatal("kmsg differs: ", d)
	}
	again, err := Append(nil, records, None, Producer{h.ProducerID, h.ProducerEpoch, h.BaseSequence})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Validate(again, Limits{1 << 30, 1 << 30, 1 << 30}); err != nil {
		t.Fatalf("encoded again: %v", err)
	}
	reread, err := Decode(again, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(reread, records, 0); d != "" {
		t.Fatal("encoded again: ", d)
	}
	// A base timestamp may be any, and varints longer than need be; without
	// either there is but one encoding.
	if h.Codec() == None && h.BaseTimestamp == records[0].Timestamp && len(again) == len(b) {
		copy(again[:magicPos], b[:magicPos])
		if !bytes.Equal(again, b) {
			t.Fatalf("encoded again %x, was %x", again, b)
		}
	}
}

// FuzzDecompress compares with the libraries' own stream readers: what is
// accepted here, they accept, with the same result.
func FuzzDecompress(f *testing.F) {
	plain := []byte("wadi wadi wadi, a river bed that is dry until it rains; wadi wadi wadi")
	for _, other := range foreigners[1:] {
		f.Add(uint8(other.codec), other.compress(plain))
	}
	for _, codec := range allCodecs[1:] {
		f.Add(uint8(codec), new(workspace).compress(nil, plain, codec))
	}
	f.Add(uint8(Zstd), zstdBlocks(zstdRun(), zstdRun()))
	f.Fuzz(func(t *testing.T, codec uint8, compressed []byte) {
		c := Codec(codec%4 + 1)
		for _, limit := range []int{0, 100, 1 << 20} {
			most := 0
			ws := getWorkspace()
			out, err := ws.decompressInto(c, compressed, limit, func(n int) []byte {
				most = max(most, n)
				return ws.buffer(n)
			})
			if most > limit+zstdBlockMax+zstdOverrun || len(out) > limit {
				t.Fatalf("%v: limit %d, buffer %d, length %d", c, limit, most, len(out))
			}
			switch {
			case errors.Is(err, ErrTooLarge), errors.Is(err, ErrMalformed):
			case err != nil:
				t.Fatalf("%v: %v", c, err)
			case len(out) > 0 && &out[0] != &ws.buf[:1][0]:
				t.Fatalf("%v: moved out of the buffer", c)
			default:
				theirs, err := foreignDecompress(c, compressed)
				if err != nil || !bytes.Equal(theirs, out) {
					t.Fatalf("%v: %q here, %q, %v there", c, out, theirs, err)
				}
			}
			ws.put()
		}
	})
}
