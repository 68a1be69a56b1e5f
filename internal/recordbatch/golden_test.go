package recordbatch

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// goldenRecords are those of testdata/make_golden.py.
var goldenRecords = []Record{
	{Timestamp: 1700000000000, Key: []byte("LIS"), Value: []byte("first")},
	{Timestamp: 1700000000250, Value: []byte{}, Headers: []RecordHeader{
		{"trace", []byte{1, 2}}, {"none", nil}, {"", []byte{}},
	}},
	{Timestamp: 1699999999000, Key: []byte{}},
	{Timestamp: 1700000000001, Key: []byte("OPO"),
		Value:   []byte(strings.Repeat(`{"delay":12}`, 40) + "wadiwadi"),
		Headers: []RecordHeader{{"h", []byte("wadiwadi")}}},
}

var goldenProducer = Producer{ID: 4711, Epoch: 3, BaseSequence: 100}

var goldenCodecs = map[string]Codec{
	"none":             None,
	"gzip":             Gzip,
	"snappy-xerial":    Snappy,
	"snappy-plain":     Snappy,
	"lz4":              LZ4,
	"lz4-checksums":    LZ4,
	"zstd":             Zstd,
	"zstd-size":        Zstd,
	"zstd-long-window": Zstd,
}

func readGolden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden", name+".batch"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGolden(t *testing.T) {
	for name, codec := range goldenCodecs {
		t.Run(name, func(t *testing.T) {
			b := readGolden(t, name)
			h, err := Validate(b, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			want := Header{
				Length: int32(len(b) - 12), PartitionLeaderEpoch: -1, Magic: 2, CRC: h.CRC, Attributes: int16(codec),
				LastOffsetDelta: 3, BaseTimestamp: 1700000000000, MaxTimestamp: 1700000000250,
				ProducerID: 4711, ProducerEpoch: 3, BaseSequence: 100, RecordCount: 4,
			}
			if h != want {
				t.Fatalf("header %+v, want %+v", h, want)
			}
			records, err := Decode(b, testLimits.DecompressedBytesMax)
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(records, goldenRecords, 0); d != "" {
				t.Fatal(d)
			}
		})
	}
}

func TestGoldenUncompressedIsWhatAppendBuilds(t *testing.T) {
	got, err := Append(nil, goldenRecords, None, goldenProducer)
	if err != nil {
		t.Fatal(err)
	}
	if want := readGolden(t, "none"); !bytes.Equal(got, want) {
		t.Fatalf("got  %x\nwant %x", got, want)
	}
}

// byHand is one batch, byte by byte after Kafka's protocol guide.
const byHand = `
	00 00 00 00 00 00 00 00  base offset
	00 00 00 49              length: 73 bytes follow
	ff ff ff ff              partition leader epoch
	02                       magic
	c1 ee 9c 1a              CRC32C of what follows
	00 00                    attributes
	00 00 00 01              last offset delta
	00 00 01 8b cf e5 68 00  base timestamp 1700000000000
	00 00 01 8b cf e5 68 07  max timestamp
	ff ff ff ff ff ff ff ff  producer id
	ff ff                    producer epoch
	ff ff ff ff              base sequence
	00 00 00 02              records
	10                       length 8
	00 00 00                 attributes, timestamp delta 0, offset delta 0
	02 61                    key "a"
	02 62                    value "b"
	00                       no headers
	1c                       length 14
	00 0e 02                 attributes, timestamp delta 7, offset delta 1
	01                       null key
	00                       empty value
	04                       two headers
	04 68 69 04 79 6f        "hi": "yo"
	00 01                    "": null
`

func fromHand(t testing.TB, text string) []byte {
	t.Helper()
	var b []byte
	for line := range strings.Lines(text) {
		digits, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		x, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, x...)
	}
	return b
}

func TestBatchMadeByHand(t *testing.T) {
	b := fromHand(t, byHand)
	if _, err := Validate(b, testLimits); err != nil {
		t.Fatal(err)
	}
	want := []Record{
		{Timestamp: 1700000000000, Key: []byte("a"), Value: []byte("b")},
		{Timestamp: 1700000000007, Value: []byte{}, Headers: []RecordHeader{{"hi", []byte("yo")}, {"", nil}}},
	}
	records, err := Decode(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(records, want, 0); d != "" {
		t.Fatal(d)
	}
	if got := mustAppend(t, want, None); !bytes.Equal(got, b) {
		t.Fatalf("got  %x\nwant %x", got, b)
	}
}
