package recordbatch

import (
	"fmt"
	"math"
	"slices"
)

// Producer is the idempotent producer of a batch.
type Producer struct {
	ID           int64
	Epoch        int16
	BaseSequence int32
}

// NoProducer marks a batch that no idempotent producer sent.
var NoProducer = Producer{ID: -1, Epoch: -1, BaseSequence: -1}

// noLeaderEpoch is the partition leader epoch that producers send.
const noLeaderEpoch = -1

// batchBytesMax is what the length field of a header can hold, in bytes.
const batchBytesMax = math.MaxInt32

// Append builds one batch of records and appends it to dst. Offsets of the
// records are ignored; the base offset is 0. The producer fields are those of
// producer (NoProducer for none). Where compression does not make the batch
// smaller it is stored uncompressed.
//
// dst grows by what the batch takes and little more, since batches are kept for
// longer than they are built. An error leaves dst as it was: ErrCount
// for no records, ErrCodec, or a *TooLargeError where a batch of that size
// cannot be expressed.
func Append(dst []byte, records []Record, codec Codec, producer Producer) ([]byte, error) {
	if len(records) == 0 {
		return dst, fmt.Errorf("%w: 0", ErrCount)
	}
	if codec > Zstd {
		return dst, fmt.Errorf("%w %d", ErrCodec, codec)
	}
	size := EncodedSizeMax(records)
	if size > batchBytesMax {
		return dst, &TooLargeError{What: "batch", Bytes: int64(size), Limit: batchBytesMax}
	}
	start := len(dst)
	if codec == None {
		dst = slices.Grow(dst, size)
		dst = append(dst, make([]byte, HeaderLen)...)
		dst = appendRecords(dst, records)
	} else {
		dst, codec = appendCompressed(dst, records, codec, size)
	}
	batch := dst[start:]
	latest := records[0].Timestamp
	for i := range records {
		latest = max(latest, records[i].Timestamp)
	}
	Header{
		Length:               int32(len(batch) - lengthOverhead),
		PartitionLeaderEpoch: noLeaderEpoch,
		Magic:                magic,
		Attributes:           int16(codec),
		LastOffsetDelta:      int32(len(records) - 1),
		BaseTimestamp:        records[0].Timestamp,
		MaxTimestamp:         latest,
		ProducerID:           producer.ID,
		ProducerEpoch:        producer.Epoch,
		BaseSequence:         producer.BaseSequence,
		RecordCount:          int32(len(records)),
	}.put(batch)
	renewCRC(batch)
	return dst, nil
}

// appendCompressed appends room for a header and the records compressed by codec,
// or uncompressed if that is not longer, and returns the codec that it was.
func appendCompressed(dst []byte, records []Record, codec Codec, size int) ([]byte, Codec) {
	ws := getWorkspace()
	defer ws.put()
	body := appendRecords(ws.buffer(size), records)
	if packed := ws.pack(body, codec); len(packed) < len(body) {
		body = packed
	} else {
		codec = None
	}
	dst = slices.Grow(dst, HeaderLen+len(body))
	dst = append(dst, make([]byte, HeaderLen)...)
	return append(dst, body...), codec
}

// appendRecords appends the encoding of records. Their timestamps are stored as
// differences from the first, which may wrap around and wrap back when read.
func appendRecords(dst []byte, records []Record) []byte {
	base := records[0].Timestamp
	for i := range records {
		rec := &records[i]
		delta := rec.Timestamp - base
		length := 1 + varlongLen(delta) + varintLen(i) + rec.dataLen()
		dst = appendVarint(dst, length)
		dst = append(dst, 0) // attributes
		dst = appendVarlong(dst, delta)
		dst = appendVarint(dst, i)
		dst = appendBytes(dst, rec.Key)
		dst = appendBytes(dst, rec.Value)
		dst = appendVarint(dst, len(rec.Headers))
		for j := range rec.Headers {
			h := &rec.Headers[j]
			dst = appendVarint(dst, len(h.Key))
			dst = append(dst, h.Key...)
			dst = appendBytes(dst, h.Value)
		}
	}
	return dst
}

// dataLen is the length in bytes of the encoding of key, value and headers.
func (r *Record) dataLen() int {
	n := bytesLen(r.Key) + bytesLen(r.Value) + varintLen(len(r.Headers))
	for i := range r.Headers {
		h := &r.Headers[i]
		n += varintLen(len(h.Key)) + len(h.Key) + bytesLen(h.Value)
	}
	return n
}

// EncodedSizeMax is an upper bound in bytes of the batch that Append builds of
// records, whatever the codec and whatever their timestamps. It is over the
// size of the uncompressed batch by less than 20 bytes a record.
func EncodedSizeMax(records []Record) int {
	n := HeaderLen
	for i := range records {
		// Length, attributes, timestamp delta, offset delta.
		n += varintLenMax + 1 + varlongLenMax + varintLenMax + records[i].dataLen()
	}
	return n
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1 // -1
	}
	return varintLen(len(b)) + len(b)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return appendVarint(dst, -1)
	}
	dst = appendVarint(dst, len(b))
	return append(dst, b...)
}
