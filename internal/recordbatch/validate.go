package recordbatch

import (
	"fmt"
	"math"
)

// Limits bound what Validate accepts.
type Limits struct {
	// RecordBytesMax bounds key + value + headers of one record, uncompressed.
	RecordBytesMax int
	// BatchBytesMax bounds one batch as it is on the wire.
	BatchBytesMax int
	// DecompressedBytesMax bounds the records of one compressed batch,
	// uncompressed, and the window of zstd. Encoders use windows of up to 8 MiB
	// at their usual levels, so less than that refuses some batches that would
	// fit.
	DecompressedBytesMax int
}

// Validate checks one whole batch as a producer may send it: header, CRC,
// compression, each record's encoding, count, offset deltas, times, limits. It
// never holds more than limits.DecompressedBytesMax of uncompressed records.
// The error is an *InvalidError; where a limit is passed, of a *TooLargeError.
func Validate(b []byte, limits Limits) (Header, error) {
	h, err := validate(b, limits)
	if err != nil {
		return Header{}, &InvalidError{Err: err}
	}
	return h, nil
}

func validate(b []byte, limits Limits) (Header, error) {
	h, err := parseHeader(b)
	if err != nil {
		return Header{}, err
	}
	if h.Size() > limits.BatchBytesMax {
		return Header{}, &TooLargeError{What: "batch", Bytes: int64(h.Size()), Limit: int64(limits.BatchBytesMax)}
	}
	if h.Size() < len(b) {
		return Header{}, malformed("%d bytes after the batch", len(b)-h.Size())
	}
	if err := checkCRC(h, b); err != nil {
		return Header{}, err
	}
	if err := h.checkProduced(); err != nil {
		return Header{}, err
	}
	if h.Codec() == None {
		return h, validateRecords(h, b[HeaderLen:], limits)
	}
	ws := getWorkspace()
	defer ws.put()
	records, err := ws.decompress(h.Codec(), b[HeaderLen:], limits.DecompressedBytesMax)
	if err != nil {
		return Header{}, err
	}
	return h, validateRecords(h, records, limits)
}

// checkProduced checks the fields of a header that a producer sends.
func (h Header) checkProduced() error {
	if h.Attributes&(attrControl|attrTransactional) != 0 {
		return ErrControl
	}
	if h.Codec() > Zstd {
		return fmt.Errorf("%w %d", ErrCodec, h.Codec())
	}
	// Log append time is for the log to set.
	if others := h.Attributes &^ attrCodecMask; others != 0 {
		return malformed("attributes %#x", uint16(others))
	}
	if h.RecordCount < 1 {
		return fmt.Errorf("%w: %d", ErrCount, h.RecordCount)
	}
	if h.LastOffsetDelta != h.RecordCount-1 {
		return fmt.Errorf("%w: the last is %d, with %d records", ErrOffsetDeltas, h.LastOffsetDelta, h.RecordCount)
	}
	if h.ProducerID < -1 {
		return malformed("producer id %d", h.ProducerID)
	}
	if h.ProducerID >= 0 && (h.ProducerEpoch < 0 || h.BaseSequence < 0) {
		return malformed("producer epoch %d, base sequence %d", h.ProducerEpoch, h.BaseSequence)
	}
	return nil
}

func validateRecords(h Header, records []byte, limits Limits) error {
	r, err := newRecordReader(h, records)
	if err != nil {
		return err
	}
	var rec rawRecord
	latest := int64(math.MinInt64)
	for {
		ok, err := r.next(&rec)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if rec.dataBytes > limits.RecordBytesMax {
			return &TooLargeError{What: "record", Bytes: int64(rec.dataBytes), Limit: int64(limits.RecordBytesMax)}
		}
		latest = max(latest, rec.timestamp)
	}
	if latest != h.MaxTimestamp {
		return fmt.Errorf("%w: %d, not %d", ErrTimestamps, h.MaxTimestamp, latest)
	}
	return nil
}
