package httpapi

import (
	"math"
	"strings"

	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// recordOverhead is what a record takes up in memory beside its bytes, for the
// budget; a body of empty records would otherwise get by at a fraction of its cost.
const recordOverhead = 96

// headerOverhead is the same for a header of a record.
const headerOverhead = 40

// recordRules is what the records of one request must keep to.
type recordRules struct {
	recordBytesMax int // key, value and headers of one record
	recordsMax     int
	headersMax     int
	partition      int32 // of the resource, or ingest.AnyPartition
	partitions     int32 // of the topic
	now            int64 // ms; for records without a timestamp
	grow           func(int64) error
}

// growRecords is how many records memory is taken for at a time.
const growRecords = 256

// recordsDecoder reads {"records":[…]}.
type recordsDecoder struct {
	*cursor
	rules   recordRules
	arena   []byte // holds all keys, values and header values; never grows
	records []ingest.Record
}

// decodeRecords reads the JSON body of a produce request. The records do not
// point into text.
func decodeRecords(text []byte, rules recordRules) ([]ingest.Record, error) {
	// No text, compacted JSON or base64 is longer than the JSON it came from,
	// so the arena is never moved and the records' slices stay where they are.
	if err := rules.grow(int64(len(text))); err != nil {
		return nil, err
	}
	d := &recordsDecoder{cursor: newCursor(text), rules: rules, arena: make([]byte, 0, len(text))}
	seen := false
	err := d.object(func(name string) error {
		if name != "records" {
			return d.unknown(name)
		}
		seen = true
		return d.array(d.record)
	})
	if err == nil {
		err = d.end()
	}
	switch {
	case err != nil:
		return nil, err
	case !seen:
		return nil, kindInvalidJSON.newf("the body must have a member records")
	case len(d.records) == 0:
		return nil, kindNoRecords.newf("records is empty")
	}
	return d.records, nil
}

// keep ends a piece of the arena that began at begin.
func (d *recordsDecoder) keep(begin int) []byte {
	return d.arena[begin:len(d.arena):len(d.arena)]
}

func (d *recordsDecoder) record(i int) error {
	if i == d.rules.recordsMax {
		return kindTooManyRecords.newf("one request holds at most %d records", i).with("limit", int64(i))
	}
	if i%growRecords == 0 {
		if err := d.rules.grow(growRecords * recordOverhead); err != nil {
			return err
		}
	}
	d.shape = kindInvalidRecord
	defer func() { d.shape = kindInvalidJSON }()
	r := ingest.Record{Partition: d.rules.partition}
	r.Timestamp = d.rules.now
	var key, value string // the members that gave them
	err := d.object(func(name string) error {
		switch name {
		case "key", "key_base64":
			if key != "" {
				return d.wrong("and " + key + " exclude each other")
			}
			key = name
			var err error
			r.Key, err = d.text(name)
			return err
		case "value", "value_base64", "value_json":
			if value != "" {
				return d.wrong("and " + value + " exclude each other")
			}
			value = name
			var err error
			r.Value, err = d.text(name)
			return err
		case "headers":
			return d.headers(&r)
		case "timestamp":
			var err error
			r.Timestamp, err = d.integer(0, math.MaxInt64)
			return err
		case "partition":
			return d.partition(&r)
		}
		return d.unknown(name)
	})
	if err != nil {
		return err
	}
	if value == "" {
		return d.wrong("must have one of value, value_base64, value_json")
	}
	if size := recordSize(&r.Record); size > d.rules.recordBytesMax {
		return recordTooLarge(size, d.rules.recordBytesMax).with("record", int64(i))
	}
	d.records = append(d.records, r)
	return nil
}

// text reads a key or value; the member's name tells how it is written.
func (d *recordsDecoder) text(name string) ([]byte, error) {
	raw, err := d.value()
	if err != nil {
		return nil, err
	}
	begin := len(d.arena)
	switch {
	case name == "value_json":
		d.arena = appendCompact(d.arena, raw)
	case strings.HasSuffix(name, "_base64"):
		d.arena, err = d.base64(d.arena, raw)
	case raw.Kind() == 'n':
		return nil, nil
	default:
		d.arena, err = d.unquote(d.arena, raw)
	}
	return d.keep(begin), err
}

func (d *recordsDecoder) partition(r *ingest.Record) error {
	n, err := d.integer(0, math.MaxInt32)
	if err != nil {
		return err
	}
	switch {
	case d.rules.partition == ingest.AnyPartition:
		if int32(n) >= d.rules.partitions {
			return partitionOfRecord(place(d.dec.StackPointer()), int32(n))
		}
	case int32(n) != d.rules.partition:
		return d.wrong("is not the partition in the path")
	}
	r.Partition = int32(n)
	return nil
}

// unknownPartition is a record's wish for a partition that the view of the
// topic does not have; the view may be behind.
type unknownPartition struct {
	*problem
	partition int32
}

func partitionOfRecord(place string, partition int32) error {
	return &unknownPartition{
		problem:   kindPartNotFound.newf("%s: the topic does not have partition %d", place, partition),
		partition: partition,
	}
}

func (u *unknownPartition) Unwrap() error { return u.problem }

// headers reads [["name","value"],["name",{"base64":"…"}],["name",null]].
func (d *recordsDecoder) headers(r *ingest.Record) error {
	return d.array(func(i int) error {
		if i == d.rules.headersMax {
			return kindRecordTooLarge.newf("a record has at most %d headers", i).with("limit", int64(i))
		}
		if err := d.rules.grow(headerOverhead); err != nil {
			return err
		}
		var h recordbatch.RecordHeader
		parts := 0
		err := d.array(func(j int) error {
			parts = j + 1
			switch j {
			case 0:
				return d.headerName(&h)
			case 1:
				return d.headerValue(&h)
			}
			if _, err := d.value(); err != nil {
				return err
			}
			return d.wrong("is one too many: a header is a name and a value")
		})
		if err == nil && parts < 2 {
			err = d.wrong("must be a name and a value")
		}
		r.Headers = append(r.Headers, h)
		return err
	})
}

func (d *recordsDecoder) headerName(h *recordbatch.RecordHeader) error {
	raw, err := d.value()
	if err != nil {
		return err
	}
	name, err := d.unquote(nil, raw)
	if err != nil {
		return err
	}
	h.Key = string(name)
	if strings.IndexByte(h.Key, 0) >= 0 {
		return d.wrong("must not hold a NUL")
	}
	return nil
}

func (d *recordsDecoder) headerValue(h *recordbatch.RecordHeader) error {
	begin := len(d.arena)
	if d.dec.PeekKind() == '{' {
		seen := false
		err := d.object(func(name string) error {
			if name != "base64" {
				return d.unknown(name)
			}
			seen = true
			raw, err := d.value()
			if err == nil {
				d.arena, err = d.base64(d.arena, raw)
			}
			return err
		})
		if err == nil && !seen {
			err = d.wrong("must have a member base64")
		}
		h.Value = d.keep(begin)
		return err
	}
	raw, err := d.value()
	if err != nil || raw.Kind() == 'n' {
		return err
	}
	d.arena, err = d.unquote(d.arena, raw)
	h.Value = d.keep(begin)
	return err
}

// recordSize is what max.message.bytes bounds.
func recordSize(r *recordbatch.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

func recordTooLarge(size, limit int) *problem {
	return kindRecordTooLarge.newf("a record of %d bytes is over max.message.bytes of %d", size, limit).
		with("bytes", int64(size)).with("limit", int64(limit))
}
