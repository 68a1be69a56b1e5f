// Package recordbatch reads and writes Kafka's RecordBatch v2 (magic 2), the
// unit in which Wadi stores records.
package recordbatch

import (
	"errors"
	"fmt"
	"iter"
)

// Offset counts records from the start of a partition.
type Offset int64

// HeaderLen is the length in bytes of a batch without its records.
const HeaderLen = 61

// Codec is the compression of a batch's records, as in the low three bits of
// its attributes.
type Codec uint8

// The codecs of Kafka's protocol.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// Header is the fixed part of a batch.
type Header struct {
	BaseOffset           Offset
	Length               int32 // bytes after this field, so the batch has Length+12
	PartitionLeaderEpoch int32
	Magic                int8
	CRC                  uint32 // CRC32C of the batch from byte 21 to its end
	Attributes           int16
	LastOffsetDelta      int32
	BaseTimestamp        int64 // ms
	MaxTimestamp         int64 // ms
	ProducerID           int64 // -1: none
	ProducerEpoch        int16
	BaseSequence         int32
	RecordCount          int32
}

// Size is the length in bytes of the whole batch.
func (h Header) Size() int { return int(h.Length) + 12 }

// Codec is the compression of the records.
func (h Header) Codec() Codec { return Codec(h.Attributes & 7) }

// LogAppendTime tells whether every record's time is MaxTimestamp.
func (h Header) LogAppendTime() bool { return h.Attributes&8 != 0 }

// RecordHeader is a header of a record. A nil Value is null.
type RecordHeader struct {
	Key   string
	Value []byte
}

// Record is one record. A nil Key or Value is null, an empty one is not.
type Record struct {
	Offset    Offset
	Timestamp int64 // ms
	Key       []byte
	Value     []byte
	Headers   []RecordHeader
}

// Limits bound what Validate accepts.
type Limits struct {
	RecordBytesMax       int // key + value + headers of one record, uncompressed
	BatchBytesMax        int // one batch as it is on the wire
	DecompressedBytesMax int // the records of one batch, uncompressed
}

// What is wrong with a batch; found with errors.Is in an InvalidError.
var (
	ErrTruncated    = errors.New("truncated")
	ErrMagic        = errors.New("magic is not 2")
	ErrCRC          = errors.New("CRC32C does not match")
	ErrCount        = errors.New("record count does not match the records")
	ErrOffsetDeltas = errors.New("offset deltas are not 0, 1, 2, …")
	ErrCodec        = errors.New("unknown compression")
	ErrControl      = errors.New("control and transactional batches are not accepted")
	ErrMalformed    = errors.New("malformed record")
	ErrTooLarge     = errors.New("over the limit") // a *TooLargeError says which
)

// InvalidError is a batch that cannot be accepted.
type InvalidError struct {
	Pos int // bytes from the start of the input to the offending batch
	Err error
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("record batch at byte %d: %v", e.Pos, e.Err)
}

func (e *InvalidError) Unwrap() error { return e.Err }

// TooLargeError is something over one of the Limits.
type TooLargeError struct {
	What  string // "record", "batch", "decompressed batch"
	Bytes int64  // at least this many
	Limit int64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s of %d bytes or more is over the limit of %d", e.What, e.Bytes, e.Limit)
}

// Is makes errors.Is(err, ErrTooLarge) true.
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// ParseHeader reads the header of the batch that b begins with. It checks that
// b holds the whole batch, and nothing else.
func ParseHeader(b []byte) (Header, error) { panic("stub") }

// Batches walks the batches that lie back to back in b by their headers,
// yielding each header and its bytes. On a bad header or trailing bytes it
// yields an InvalidError and ends.
func Batches(b []byte) iter.Seq2[[]byte, error] { panic("stub") }

// Validate checks one whole batch as a producer may send it: header, CRC,
// compression, each record's encoding, count, offset deltas, limits. It never
// holds more than limits.DecompressedBytesMax of uncompressed records.
func Validate(b []byte, limits Limits) (Header, error) { panic("stub") }

// CheckCRC compares the batch's CRC with its bytes.
func CheckCRC(b []byte) error { panic("stub") }

// PatchBaseOffset writes the base offset into a batch; the CRC does not cover it.
func PatchBaseOffset(b []byte, base Offset) { panic("stub") }

// StampLogAppendTime marks a batch as stamped by the log at ms, and renews its CRC.
func StampLogAppendTime(b []byte, ms int64) { panic("stub") }

// Append builds one batch of records and appends it to dst. Offsets of the
// records are ignored; the base offset is 0. The producer fields are those of
// producer (NoProducer for none). Where compression does not make the batch
// smaller it is stored uncompressed.
func Append(dst []byte, records []Record, codec Codec, producer Producer) ([]byte, error) {
	panic("stub")
}

// Producer is the idempotent producer of a batch.
type Producer struct {
	ID           int64
	Epoch        int16
	BaseSequence int32
}

// NoProducer marks a batch that no idempotent producer sent.
var NoProducer = Producer{ID: -1, Epoch: -1, BaseSequence: -1}

// Decode returns the records of one batch with their absolute offsets and
// times. They may point into b. decompressedMax bounds the memory; beyond it
// the error is a TooLargeError.
func Decode(b []byte, decompressedMax int) ([]Record, error) { panic("stub") }

// ParseCodec reads a value of the topic setting compression.type other than
// "producer".
func ParseCodec(name string) (Codec, error) { panic("stub") }

func (c Codec) String() string { panic("stub") }
