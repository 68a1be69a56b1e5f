package recordbatch

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestBatches(t *testing.T) {
	var all []byte
	var want [][]byte
	for i, codec := range allCodecs {
		b := mustAppend(t, likeRecords(i+1, 100), codec)
		want = append(want, b)
		all = append(all, b...)
	}
	for _, cut := range []struct {
		name  string
		bytes []byte
		want  error
	}{
		{"whole", nil, nil},
		{"trailing zeros", make([]byte, 12), ErrTruncated},
		{"trailing header", want[0][:HeaderLen], ErrTruncated},
		{"trailing magic", slices.Concat(want[0][:16], []byte{1}), ErrMagic},
		{"trailing length", slices.Concat(make([]byte, 16), []byte{2}, make([]byte, 44)), ErrMalformed},
	} {
		t.Run(cut.name, func(t *testing.T) {
			var got [][]byte
			var end error
			for b, err := range Batches(append(slices.Clone(all), cut.bytes...)) {
				if end != nil {
					t.Fatal("more after the error")
				}
				if end = err; err == nil {
					got = append(got, b)
				}
			}
			if !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("%d batches, want %d", len(got), len(want))
			}
			if !errors.Is(end, cut.want) {
				t.Errorf("error %v, want %v", end, cut.want)
			}
			var invalid *InvalidError
			if errors.As(end, &invalid) != (cut.want != nil) || invalid != nil && invalid.Pos != len(all) {
				t.Errorf("error %v, want it at %d", end, len(all))
			}
		})
	}
	for range Batches(all) {
		break // a loop may end early
	}
	for range Batches(nil) {
		t.Error("a batch in nothing")
	}
}

func TestParseHeaderReadsTheFirstBatch(t *testing.T) {
	first := mustAppend(t, likeRecords(2, 10), None)
	h, err := ParseHeader(append(slices.Clone(first), "more"...))
	if err != nil || h.Size() != len(first) || h.RecordCount != 2 {
		t.Fatal(h, err)
	}
	if err := CheckCRC(append(slices.Clone(first), "more"...)); err != nil {
		t.Fatal(err)
	}
}

func TestStampLogAppendTime(t *testing.T) {
	for _, codec := range allCodecs {
		records := likeRecords(4, 300)
		b := mustAppend(t, records, codec)
		StampLogAppendTime(b, 1234)
		PatchBaseOffset(b, 42)
		if err := CheckCRC(b); err != nil {
			t.Fatal(err)
		}
		h, err := ParseHeader(b)
		if err != nil || !h.LogAppendTime() || h.MaxTimestamp != 1234 || h.Codec() != codec && codec == None {
			t.Fatal(h, err)
		}
		for i := range records {
			records[i].Timestamp = 1234
		}
		got, err := Decode(b, testLimits.DecompressedBytesMax)
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(got, records, 42); d != "" {
			t.Fatal(d)
		}
	}
}
