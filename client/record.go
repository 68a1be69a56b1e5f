package client

import (
	"fmt"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// Header is a header of a record. A nil Value is null.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record.
type Record struct {
	Key     []byte // nil is no key
	Value   []byte // nil is null, a tombstone
	Headers []Header

	// Timestamp has a resolution of 1 ms. Of a record to write the zero Time
	// stands for the time at which it is handed over.
	Timestamp time.Time

	// Topic of a record that was read; of a record to write, in place of
	// the producer's.
	Topic string
	// Partition of a record that was read; of a record to write it counts with
	// ManualPartitioner only.
	Partition int32
	// Offset of a record that was read.
	Offset int64
}

// Compression is how the records of a batch are compressed.
type Compression uint8

// The ways to compress. Zero stands for LZ4.
const (
	DefaultCompression Compression = iota
	NoCompression
	Gzip
	Snappy
	LZ4
	Zstd
)

// ParseCompression reads none, gzip, snappy, lz4 or zstd.
func ParseCompression(name string) (Compression, error) {
	codec, err := recordbatch.ParseCodec(name)
	if err != nil {
		return 0, invalidArgument("compression %q is not one of none, gzip, snappy, lz4 and zstd", name)
	}
	return Compression(codec) + NoCompression, nil
}

func (c Compression) String() string { return c.codec().String() }

func (c Compression) codec() recordbatch.Codec {
	if c == DefaultCompression {
		return recordbatch.LZ4
	}
	return recordbatch.Codec(c - NoCompression)
}

func (c Compression) check() error {
	if c > Zstd {
		return fmt.Errorf("compression %d is not one there is", c)
	}
	return nil
}

// Acks is when records count as written.
type Acks uint8

const (
	// AcksAll: the records are in the store and have their offsets.
	AcksAll Acks = iota
	// AcksOne: the records are on the disk of one node, and have no offsets yet.
	AcksOne
)

func (a Acks) String() string {
	if a == AcksOne {
		return "1"
	}
	return "all"
}

// toBatch returns a record as it is encoded.
func (r *Record) toBatch(now time.Time) recordbatch.Record {
	at := r.Timestamp
	if at.IsZero() {
		at = now
	}
	return recordbatch.Record{Timestamp: at.UnixMilli(), Key: r.Key, Value: r.Value, Headers: toBatchHeaders(r.Headers)}
}

func toBatchHeaders(headers []Header) []recordbatch.RecordHeader {
	if len(headers) == 0 {
		return nil
	}
	encoded := make([]recordbatch.RecordHeader, len(headers))
	for i, h := range headers {
		encoded[i] = recordbatch.RecordHeader(h)
	}
	return encoded
}

// fromBatch returns a record as it was stored.
func fromBatch(topic string, partition int32, r recordbatch.Record) Record {
	record := Record{
		Topic: topic, Partition: partition, Offset: int64(r.Offset),
		Timestamp: time.UnixMilli(r.Timestamp), Key: r.Key, Value: r.Value,
	}
	if len(r.Headers) > 0 {
		record.Headers = make([]Header, len(r.Headers))
		for i, h := range r.Headers {
			record.Headers[i] = Header(h)
		}
	}
	return record
}
