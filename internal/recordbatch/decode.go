package recordbatch

import "iter"

// headerChunk is how many record headers Decode allocates at once, at least.
const headerChunk = 64

// Decode returns the records of the batch that b begins with, with their
// absolute offsets and times. They point into b, or into one buffer of their
// own if b is compressed. decompressedMax bounds that buffer in bytes; beyond
// it the error is an *InvalidError of a *TooLargeError. The records themselves
// take about 90 bytes each besides; Records goes without.
//
// It checks what Validate checks of the records, but not the CRC, limits,
// attributes or MaxTimestamp.
func Decode(b []byte, decompressedMax int) ([]Record, error) {
	records, err := decode(b, decompressedMax)
	if err != nil {
		return nil, &InvalidError{Err: err}
	}
	return records, nil
}

func decode(b []byte, decompressedMax int) ([]Record, error) {
	h, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	encoded := b[HeaderLen:h.Size()]
	if h.Codec() != None {
		if encoded, err = decompress(h.Codec(), encoded, decompressedMax); err != nil {
			return nil, err
		}
	}
	r, err := newRecordReader(h, encoded)
	if err != nil {
		return nil, err
	}
	records := make([]Record, h.RecordCount)
	var (
		raw    rawRecord
		chunk  []RecordHeader // appended to while there is room
		before []RecordHeader // of the record before
	)
	for i := 0; ; i++ {
		ok, err := r.next(&raw)
		if err != nil {
			return nil, err
		}
		if !ok {
			return records, nil
		}
		rec := &records[i]
		rec.Offset = h.BaseOffset + Offset(i)
		rec.Timestamp = raw.timestamp
		rec.Key, rec.Value = raw.key, raw.value
		if n := raw.headerCount; n > 0 {
			if n > cap(chunk)-len(chunk) {
				chunk = make([]RecordHeader, 0, max(n, headerChunk))
			}
			start := len(chunk)
			chunk = raw.appendHeaders(chunk, before)
			rec.Headers = chunk[start:len(chunk):len(chunk)]
			before = rec.Headers
		}
	}
}

// Records walks the records of the batch that b begins with, as Decode returns
// them, and allocates next to nothing. A record, its headers and its bytes are
// valid until the loop's next step. On an error it yields that, as Decode
// returns it, and ends; the records before it were yielded.
func Records(b []byte, decompressedMax int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := walk(b, decompressedMax, yield); err != nil {
			yield(Record{}, &InvalidError{Err: err})
		}
	}
}

// walk returns nil also where yield ended it.
func walk(b []byte, decompressedMax int, yield func(Record, error) bool) error {
	h, err := parseHeader(b)
	if err != nil {
		return err
	}
	encoded := b[HeaderLen:h.Size()]
	if h.Codec() != None {
		ws := getWorkspace()
		defer ws.put()
		if encoded, err = ws.decompress(h.Codec(), encoded, decompressedMax); err != nil {
			return err
		}
	}
	r, err := newRecordReader(h, encoded)
	if err != nil {
		return err
	}
	var (
		raw     rawRecord
		headers []RecordHeader
	)
	for offset := h.BaseOffset; ; offset++ {
		ok, err := r.next(&raw)
		if err != nil || !ok {
			return err
		}
		rec := Record{Offset: offset, Timestamp: raw.timestamp, Key: raw.key, Value: raw.value}
		if raw.headerCount > 0 {
			// Writing the headers over those before is safe: each key is
			// compared before it is overwritten.
			headers = raw.appendHeaders(headers[:0], headers)
			rec.Headers = headers[:len(headers):len(headers)]
		}
		if !yield(rec, nil) {
			return nil
		}
	}
}

// decompress returns the uncompressed records in a buffer that is the caller's.
func decompress(codec Codec, src []byte, limit int) ([]byte, error) {
	ws := getWorkspace()
	defer ws.put()
	return ws.decompressOwned(codec, src, limit)
}
