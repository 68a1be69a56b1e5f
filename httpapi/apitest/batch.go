package apitest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
)

// The fields of a RecordBatch v2, by their position in bytes
// (https://kafka.apache.org/documentation/#recordbatch). Built by hand, so that
// what checks the node is not what the node is made of.
const (
	posLength          = 8
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21
	posLastOffsetDelta = 23
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posRecordCount     = 57
	batchHeaderLen     = 61
)

const batchTimestamp = 1_700_000_000_000

// batch builds a batch with one record for each value.
func batch(values ...string) []byte {
	var records []byte
	for i, v := range values {
		records = append(records, record(i, []byte(v))...)
	}
	return wrap(records, len(values), 0)
}

func record(offsetDelta int, value []byte) []byte {
	body := []byte{0, 0}                                 // attributes, timestamp delta
	body = binary.AppendVarint(body, int64(offsetDelta)) // zigzag, as Kafka's
	body = binary.AppendVarint(body, -1)                 // no key
	body = binary.AppendVarint(body, int64(len(value)))  //
	body = append(body, value...)                        //
	body = binary.AppendVarint(body, 0)                  // no headers
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

func wrap(records []byte, count int, attributes uint16) []byte {
	b := make([]byte, batchHeaderLen, batchHeaderLen+len(records))
	b = append(b, records...)
	binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-posLength-4))
	b[posMagic] = 2
	binary.BigEndian.PutUint16(b[posAttributes:], attributes)
	binary.BigEndian.PutUint32(b[posLastOffsetDelta:], uint32(count-1))
	binary.BigEndian.PutUint64(b[posMaxTimestamp-8:], batchTimestamp)
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], batchTimestamp)
	for i := posProducerID; i < posRecordCount; i++ {
		b[i] = 0xff // no producer: id, epoch and sequence of -1
	}
	binary.BigEndian.PutUint32(b[posRecordCount:], uint32(count))
	return seal(b)
}

// seal renews the CRC.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[posCRC:], crc32.Checksum(b[posAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// change returns a good batch after change has made it a bad one with a good CRC.
func change(f func(b []byte)) []byte {
	b := batch("one", "two")
	f(b)
	return seal(b)
}

// gzipped builds a batch whose records are compressed.
func gzipped(count int, value []byte) []byte {
	const gzipAttribute = 1
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		panic(err)
	}
	for i := range count {
		if _, err := w.Write(record(i, value)); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return wrap(out.Bytes(), count, gzipAttribute)
}
