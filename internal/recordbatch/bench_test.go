package recordbatch

import (
	"math/rand/v2"
	"testing"
)

// benchBatch is about 1 MiB of records of 1 KiB.
func benchBatch(b *testing.B, codec Codec) []byte {
	batch := mustAppend(b, likeRecords(1000, 1024), codec)
	b.ReportAllocs()
	b.SetBytes(1000 * 1024)
	return batch
}

func forCodecs(b *testing.B, run func(*testing.B, Codec)) {
	for _, codec := range allCodecs {
		b.Run(codec.String(), func(b *testing.B) { run(b, codec) })
	}
}

func BenchmarkValidate(b *testing.B) {
	forCodecs(b, func(b *testing.B, codec Codec) {
		batch := benchBatch(b, codec)
		for b.Loop() {
			if _, err := Validate(batch, testLimits); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkValidateOneRecord(b *testing.B) {
	batch := mustAppend(b, likeRecords(1, 1024), None)
	b.ReportAllocs()
	b.SetBytes(1024)
	for b.Loop() {
		if _, err := Validate(batch, testLimits); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	forCodecs(b, func(b *testing.B, codec Codec) {
		batch := benchBatch(b, codec)
		for b.Loop() {
			if _, err := Decode(batch, testLimits.DecompressedBytesMax); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRecords(b *testing.B) {
	forCodecs(b, func(b *testing.B, codec Codec) {
		batch := benchBatch(b, codec)
		for b.Loop() {
			for _, err := range Records(batch, testLimits.DecompressedBytesMax) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func BenchmarkRecordsWithHeaders(b *testing.B) {
	records := likeRecords(1000, 100)
	for i := range records {
		records[i].Headers = []RecordHeader{{"traceparent", []byte("00-ab-cd-01")}, {"content-type", []byte("json")}}
	}
	batch := mustAppend(b, records, None)
	b.ReportAllocs()
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		for _, err := range Records(batch, 0) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	forCodecs(b, func(b *testing.B, codec Codec) {
		records := likeRecords(1000, 1024)
		b.ReportAllocs()
		b.SetBytes(1000 * 1024)
		var dst []byte
		for b.Loop() {
			var err error
			if dst, err = Append(dst[:0], records, codec, NoProducer); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(dst))/float64(EncodedSizeMax(records)), "ratio")
	})
}

// As a server does that keeps each batch until it is stored.
func BenchmarkAppendToNil(b *testing.B) {
	forCodecs(b, func(b *testing.B, codec Codec) {
		records := likeRecords(1000, 1024)
		for i := range records {
			// Half of it does not compress.
			random := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)})
			_, _ = random.Read(records[i].Value[:512])
		}
		b.ReportAllocs()
		b.SetBytes(1000 * 1024)
		for b.Loop() {
			if _, err := Append(nil, records, codec, NoProducer); err != nil {
				b.Fatal(err)
			}
		}
	})
}
