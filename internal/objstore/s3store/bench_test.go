package s3store_test

import (
	"fmt"
	"testing"

	"github.com/wadilog/wadi/internal/objstore/s3store"
)

func benchStore(b *testing.B, checksum s3store.Checksum) *s3store.Store {
	b.Helper()
	cfg := minioConfig()
	cfg.Checksum = checksum
	s, err := s3store.New(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// BenchmarkPut is one PUT at a time of the size of a segment.
func BenchmarkPut(b *testing.B) {
	for _, checksum := range []s3store.Checksum{s3store.ChecksumCRC32C, s3store.ChecksumSHA256} {
		b.Run(string(checksum), func(b *testing.B) {
			s := benchStore(b, checksum)
			body := make([]byte, 8<<20)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.Put(b.Context(), fmt.Sprintf("bench/%d", i%16), body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGet reads whole segments.
func BenchmarkGet(b *testing.B) {
	s := benchStore(b, s3store.ChecksumCRC32C)
	body := make([]byte, 8<<20)
	if _, err := s.Put(b.Context(), "bench", body); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(b.Context(), "bench"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPutIfAbsent is a small journal slot.
func BenchmarkPutIfAbsent(b *testing.B) {
	s := benchStore(b, s3store.ChecksumCRC32C)
	body := make([]byte, 2048)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.PutIfAbsent(b.Context(), fmt.Sprintf("bench/%020d", i), body); err != nil {
			b.Fatal(err)
		}
	}
}
