package recordbatch

import (
	"fmt"
)

// RecordHeader is a header of a record. A nil Value is null.
type RecordHeader struct {
	Key   string // as the producer sent it, which need not be UTF-8
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

// recordLenMin is the length of the smallest record: its length, attributes,
// two deltas, two lengths and the count of headers, at a byte each. It bounds
// how many records some bytes can hold.
const recordLenMin = 7

// rawRecord is a parsed record that points into the bytes it was read from.
type rawRecord struct {
	timestamp   int64
	key, value  []byte // nil is null
	headers     []byte // encoded, and known to be well formed
	headerCount int
	dataBytes   int // of key, value and headers without their lengths
}

// recordReader reads the uncompressed records of one batch, in order.
type recordReader struct {
	rest          []byte
	count         int32 // of the batch
	read          int32 // of them read so far
	baseTimestamp int64
	maxTimestamp  int64
	logAppendTime bool
}

// newRecordReader fails if records cannot hold the count that the header names,
// so that callers may allocate for it.
func newRecordReader(h Header, records []byte) (recordReader, error) {
	if h.RecordCount < 0 || int(h.RecordCount) > len(records)/recordLenMin {
		return recordReader{}, fmt.Errorf("%w: %d records in %d bytes", ErrCount, h.RecordCount, len(records))
	}
	return recordReader{
		rest:          records,
		count:         h.RecordCount,
		baseTimestamp: h.BaseTimestamp,
		maxTimestamp:  h.MaxTimestamp,
		logAppendTime: h.LogAppendTime(),
	}, nil
}

// next reads the next record into rec and tells whether there was one. After
// the last it checks that no bytes are left.
func (r *recordReader) next(rec *rawRecord) (bool, error) {
	if r.read == r.count {
		if len(r.rest) > 0 {
			return false, fmt.Errorf("%w: %d bytes after the %d records", ErrCount, len(r.rest), r.count)
		}
		return false, nil
	}
	if len(r.rest) == 0 {
		return false, fmt.Errorf("%w: %d records of %d", ErrCount, r.read, r.count)
	}
	n, offsetDelta, flaw := rec.parse(r.rest)
	if flaw != "" {
		return false, malformed("record %d: %s", r.read, flaw)
	}
	if offsetDelta != int(r.read) {
		return false, fmt.Errorf("%w: record %d has %d", ErrOffsetDeltas, r.read, offsetDelta)
	}
	if r.logAppendTime {
		rec.timestamp = r.maxTimestamp
	} else {
		rec.timestamp += r.baseTimestamp // wraps around, as in Kafka
	}
	r.rest = r.rest[n:]
	r.read++
	return true, nil
}

// parse reads the record that p begins with. It sets timestamp to the delta,
// and returns the record's length in bytes, its offset delta, and what is wrong
// with it, if anything. It allocates nothing.
func (rec *rawRecord) parse(p []byte) (n, offsetDelta int, flaw string) {
	length, pos := readVarint(p, 0)
	if pos < 0 {
		return 0, 0, "bad length"
	}
	if length < 0 || length > len(p)-pos {
		return 0, 0, "length beyond the batch"
	}
	n = pos + length
	body := p[pos:n:n]
	if len(body) == 0 {
		return 0, 0, "empty"
	}
	if body[0] != 0 {
		return 0, 0, "unknown attributes"
	}
	rec.timestamp, pos = readVarlong(body, 1)
	offsetDelta, pos = readVarint(body, pos)
	if pos < 0 {
		return 0, 0, "bad timestamp or offset delta"
	}
	if rec.key, pos = readBytes(body, pos); pos < 0 {
		return 0, 0, "bad key length"
	}
	if rec.value, pos = readBytes(body, pos); pos < 0 {
		return 0, 0, "bad value length"
	}
	rec.dataBytes = len(rec.key) + len(rec.value)
	rec.headerCount, pos = readVarint(body, pos)
	if pos < 0 || rec.headerCount < 0 {
		return 0, 0, "bad count of headers"
	}
	rec.headers = body[pos:]
	for range rec.headerCount {
		var key, value []byte
		if key, pos = readBytes(body, pos); key == nil {
			return 0, 0, "bad header key length"
		}
		if value, pos = readBytes(body, pos); pos < 0 {
			return 0, 0, "bad header value length"
		}
		rec.dataBytes += len(key) + len(value)
	}
	if pos != len(body) {
		return 0, 0, "bytes after the last header"
	}
	return n, offsetDelta, ""
}

// appendHeaders appends the record's headers to dst. Keys that equal those of
// like, header by header, share their strings: most records of a batch have the
// same header keys.
func (rec *rawRecord) appendHeaders(dst, like []RecordHeader) []RecordHeader {
	pos := 0
	for i := range rec.headerCount {
		var h RecordHeader
		var key []byte
		key, pos = readBytes(rec.headers, pos)
		h.Value, pos = readBytes(rec.headers, pos)
		if i < len(like) && like[i].Key == string(key) {
			h.Key = like[i].Key
		} else {
			h.Key = string(key)
		}
		dst = append(dst, h)
	}
	return dst
}

// readBytes reads a length and as many bytes of p from pos on, and returns them
// with the position after them. Length -1 is nil, and 0 is not. On any fault it
// returns nil and -1.
func readBytes(p []byte, pos int) ([]byte, int) {
	n, pos := readVarint(p, pos)
	if pos < 0 || n > len(p)-pos || n < -1 {
		return nil, -1
	}
	if n == -1 {
		return nil, pos
	}
	end := pos + n
	return p[pos:end:end], end
}
