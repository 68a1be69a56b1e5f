package recordbatch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"iter"
)

// Offset counts records from the start of a partition.
type Offset int64

// HeaderLen is the length in bytes of a batch without its records.
const HeaderLen = 61

// Where the fields of a header lie, in bytes from the start of the batch.
const (
	baseOffsetPos      = 0
	lengthPos          = 8
	leaderEpochPos     = 12
	magicPos           = 16
	crcPos             = 17
	attributesPos      = 21 // the CRC covers from here to the end
	lastOffsetDeltaPos = 23
	baseTimestampPos   = 27
	maxTimestampPos    = 35
	producerIDPos      = 43
	producerEpochPos   = 51
	baseSequencePos    = 53
	recordCountPos     = 57
)

// The bits of a batch's attributes. The lowest three are the codec.
const (
	attrCodecMask     = 7
	attrLogAppendTime = 1 << 3
	attrTransactional = 1 << 4
	attrControl       = 1 << 5
)

// lengthOverhead is what Header.Length leaves out: base offset and length.
const lengthOverhead = 12

const magic = 2

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

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
func (h Header) Size() int { return int(h.Length) + lengthOverhead }

// Codec is the compression of the records.
func (h Header) Codec() Codec { return Codec(h.Attributes & attrCodecMask) }

// LogAppendTime tells whether every record's time is MaxTimestamp.
func (h Header) LogAppendTime() bool { return h.Attributes&attrLogAppendTime != 0 }

// ParseHeader reads the header of the batch that b begins with. It checks that
// the magic is 2 and that b holds the whole batch, and nothing else. The error
// is an *InvalidError of ErrTruncated, ErrMagic or ErrMalformed.
func ParseHeader(b []byte) (Header, error) {
	h, err := parseHeader(b)
	if err != nil {
		return Header{}, &InvalidError{Err: err}
	}
	return h, nil
}

func parseHeader(b []byte) (Header, error) {
	h, err := decodeHeader(b)
	if err != nil {
		return Header{}, err
	}
	if int64(h.Length)+lengthOverhead > int64(len(b)) {
		return Header{}, fmt.Errorf("%w: %d of %d bytes", ErrTruncated, len(b), int64(h.Length)+lengthOverhead)
	}
	return h, nil
}

// DecodeHeader is ParseHeader without the records, of which b need not hold any.
func DecodeHeader(b []byte) (Header, error) {
	h, err := decodeHeader(b)
	if err != nil {
		return Header{}, &InvalidError{Err: err}
	}
	return h, nil
}

func decodeHeader(b []byte) (Header, error) {
	// Older formats have their magic at the same place and may be shorter.
	if len(b) > magicPos && b[magicPos] != magic {
		return Header{}, fmt.Errorf("%w but %d", ErrMagic, int8(b[magicPos]))
	}
	if len(b) < HeaderLen {
		return Header{}, fmt.Errorf("%w: %d bytes are less than a header", ErrTruncated, len(b))
	}
	h := Header{
		BaseOffset:           Offset(binary.BigEndian.Uint64(b[baseOffsetPos:])),
		Length:               int32(binary.BigEndian.Uint32(b[lengthPos:])),
		PartitionLeaderEpoch: int32(binary.BigEndian.Uint32(b[leaderEpochPos:])),
		Magic:                int8(b[magicPos]),
		CRC:                  binary.BigEndian.Uint32(b[crcPos:]),
		Attributes:           int16(binary.BigEndian.Uint16(b[attributesPos:])),
		LastOffsetDelta:      int32(binary.BigEndian.Uint32(b[lastOffsetDeltaPos:])),
		BaseTimestamp:        int64(binary.BigEndian.Uint64(b[baseTimestampPos:])),
		MaxTimestamp:         int64(binary.BigEndian.Uint64(b[maxTimestampPos:])),
		ProducerID:           int64(binary.BigEndian.Uint64(b[producerIDPos:])),
		ProducerEpoch:        int16(binary.BigEndian.Uint16(b[producerEpochPos:])),
		BaseSequence:         int32(binary.BigEndian.Uint32(b[baseSequencePos:])),
		RecordCount:          int32(binary.BigEndian.Uint32(b[recordCountPos:])),
	}
	if h.Length < HeaderLen-lengthOverhead {
		return Header{}, malformed("length %d is less than a header", h.Length)
	}
	return h, nil
}

// put writes every field but the CRC into b, which holds at least HeaderLen bytes.
func (h Header) put(b []byte) {
	binary.BigEndian.PutUint64(b[baseOffsetPos:], uint64(h.BaseOffset))
	binary.BigEndian.PutUint32(b[lengthPos:], uint32(h.Length))
	binary.BigEndian.PutUint32(b[leaderEpochPos:], uint32(h.PartitionLeaderEpoch))
	b[magicPos] = byte(h.Magic)
	binary.BigEndian.PutUint16(b[attributesPos:], uint16(h.Attributes))
	binary.BigEndian.PutUint32(b[lastOffsetDeltaPos:], uint32(h.LastOffsetDelta))
	binary.BigEndian.PutUint64(b[baseTimestampPos:], uint64(h.BaseTimestamp))
	binary.BigEndian.PutUint64(b[maxTimestampPos:], uint64(h.MaxTimestamp))
	binary.BigEndian.PutUint64(b[producerIDPos:], uint64(h.ProducerID))
	binary.BigEndian.PutUint16(b[producerEpochPos:], uint16(h.ProducerEpoch))
	binary.BigEndian.PutUint32(b[baseSequencePos:], uint32(h.BaseSequence))
	binary.BigEndian.PutUint32(b[recordCountPos:], uint32(h.RecordCount))
}

// Batches walks the batches that lie back to back in b by their headers,
// yielding the bytes of each, which ParseHeader reads. On a bad header or
// trailing bytes it yields an *InvalidError with the position, and ends.
func Batches(b []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for pos := 0; pos < len(b); {
			h, err := parseHeader(b[pos:])
			if err != nil {
				yield(nil, &InvalidError{Pos: pos, Err: err})
				return
			}
			end := pos + h.Size()
			if !yield(b[pos:end:end], nil) {
				return
			}
			pos = end
		}
	}
}

// CheckCRC compares the CRC of the batch that b begins with with its bytes. The
// error is an *InvalidError of ErrCRC, or that of ParseHeader.
func CheckCRC(b []byte) error {
	h, err := ParseHeader(b)
	if err != nil {
		return err
	}
	if err := checkCRC(h, b[:h.Size()]); err != nil {
		return &InvalidError{Err: err}
	}
	return nil
}

func checkCRC(h Header, batch []byte) error {
	if crc := crc32.Checksum(batch[attributesPos:], castagnoli); crc != h.CRC {
		return fmt.Errorf("%w: %08x, bytes have %08x", ErrCRC, h.CRC, crc)
	}
	return nil
}

// renewCRC writes the CRC that the bytes of the batch have.
func renewCRC(batch []byte) {
	binary.BigEndian.PutUint32(batch[crcPos:], crc32.Checksum(batch[attributesPos:], castagnoli))
}

// PatchBaseOffset writes the base offset into a batch; the CRC does not cover it.
func PatchBaseOffset(b []byte, base Offset) {
	binary.BigEndian.PutUint64(b[baseOffsetPos:], uint64(base))
}

// StampLogAppendTime marks a batch as stamped by the log at ms, and renews its
// CRC. b is one whole batch that Validate has accepted. The records keep the
// times they came with, and readers take MaxTimestamp instead, as in Kafka.
func StampLogAppendTime(b []byte, ms int64) {
	attributes := binary.BigEndian.Uint16(b[attributesPos:])
	binary.BigEndian.PutUint16(b[attributesPos:], attributes|attrLogAppendTime)
	binary.BigEndian.PutUint64(b[maxTimestampPos:], uint64(ms))
	renewCRC(b)
}
