package client

import (
	"context"
	"sync"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// recordOverhead is at most what the encoding of a record adds to its key,
// value and headers, and headerOverhead what a header does, in bytes.
const (
	recordOverhead = 36
	headerOverhead = 10
)

// batchRecordsMax bounds the records of one batch; a node takes 100,000.
const batchRecordsMax = 50_000

// recordSize is at most what a record takes in a batch.
func recordSize(r *Record) int {
	n := len(r.Key) + len(r.Value) + recordOverhead
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value) + headerOverhead
	}
	return n
}

// batch is records of one partition that travel together. While it is open the
// Producer's lock guards it; sealed, it belongs to its lane.
type batch struct {
	*batchContent
	outcome *outcome
	born    time.Time // of its first record
	size    int64     // bytes of the encoded batch before compression, at most
	weight  int64     // of its records in the Producer's room
	count   int

	// Of the sending.
	sequence Sequence // if sequenced
	state    batchState
	oldest   bool   // all before it were acknowledged when it was sent last
	unknown  bool   // the outcome of an attempt is unknown
	err      error  // of the last attempt
	body     []byte // encoded with sequence; nil if not yet
	placed   Appended
}

type batchState uint8

const (
	batchUnsent batchState = iota // has no sequence
	batchSent                     // has a sequence, and was not acknowledged
	batchAcked
)

// batchContent holds copies of records. It is used again.
type batchContent struct {
	data    []byte
	spans   []recordSpan
	headers []recordbatch.RecordHeader // of all records; their values are copies
}

// recordSpan is where a record's key and value lie in data, one after the other.
type recordSpan struct {
	key       int32 // bytes, or -1 for null
	value     int32 // bytes, or -1 for null
	headers   int32
	timestamp int64 // ms
}

var (
	contentPool = sync.Pool{New: func() any { return new(batchContent) }}
	recordsPool = sync.Pool{New: func() any { return new([]recordbatch.Record) }}
)

func newBatch(topic string, partition int32, now time.Time) *batch {
	return &batch{
		batchContent: contentPool.Get().(*batchContent), born: now, size: recordbatch.HeaderLen,
		outcome: &outcome{topic: topic, partition: partition, done: make(chan struct{})},
	}
}

// add copies a record, and returns its place in the batch.
func (b *batch) add(r *Record, size int, now time.Time) int {
	span := recordSpan{key: -1, value: -1, headers: int32(len(r.Headers)), timestamp: now.UnixMilli()}
	if !r.Timestamp.IsZero() {
		span.timestamp = r.Timestamp.UnixMilli()
	}
	if r.Key != nil {
		span.key = int32(len(r.Key))
		b.data = append(b.data, r.Key...)
	}
	if r.Value != nil {
		span.value = int32(len(r.Value))
		b.data = append(b.data, r.Value...)
	}
	for _, h := range r.Headers {
		if h.Value != nil {
			h.Value = append([]byte{}, h.Value...)
		}
		b.headers = append(b.headers, recordbatch.RecordHeader(h))
	}
	b.spans = append(b.spans, span)
	b.size += int64(size)
	b.count++
	return b.count - 1
}

// encode builds the body.
func (b *batch) encode(codec recordbatch.Codec, producer recordbatch.Producer) error {
	scratch := recordsPool.Get().(*[]recordbatch.Record)
	records := (*scratch)[:0]
	pos, header := 0, 0
	take := func(n int32) []byte {
		if n < 0 {
			return nil
		}
		pos += int(n)
		return b.data[pos-int(n) : pos : pos]
	}
	for _, span := range b.spans {
		r := recordbatch.Record{Timestamp: span.timestamp, Key: take(span.key), Value: take(span.value)}
		r.Headers = b.headers[header : header+int(span.headers)]
		header += int(span.headers)
		records = append(records, r)
	}
	var err error
	b.body, err = recordbatch.Append(nil, records, codec, producer)
	clear(records)
	*scratch = records
	recordsPool.Put(scratch)
	return err
}

// release gives the records' memory back.
func (b *batch) release() {
	content := b.batchContent
	b.batchContent, b.body = nil, nil
	clear(content.headers)
	*content = batchContent{data: content.data[:0], spans: content.spans[:0], headers: content.headers[:0]}
	contentPool.Put(content)
}

// outcome is what becomes of a batch. It outlives the batch, for those who wait.
type outcome struct {
	topic     string
	partition int32
	done      chan struct{} // closed when the rest is set
	base      int64
	duplicate bool
	err       *DeliveryError
}

// Delivery is a record on its way.
type Delivery struct {
	outcome *outcome
	index   int
}

// Done is closed when it is known what became of the record, or that nobody
// will know.
func (d Delivery) Done() <-chan struct{} { return d.outcome.done }

// Partition is the record's partition.
func (d Delivery) Partition() int32 { return d.outcome.partition }

// Wait returns where the record is, or a *DeliveryError that says why it is not
// there, or that this is unknown. When ctx ends first, the record is still on
// its way.
func (d Delivery) Wait(ctx context.Context) (Delivered, error) {
	select {
	case <-d.outcome.done:
	case <-ctx.Done():
		return Delivered{}, context.Cause(ctx)
	}
	if err := d.outcome.err; err != nil {
		return Delivered{}, err
	}
	where := Delivered{Topic: d.outcome.topic, Partition: d.outcome.partition, Offset: noOffset, Duplicate: d.outcome.duplicate}
	if d.outcome.base >= 0 {
		where.Offset = d.outcome.base + int64(d.index)
	}
	return where, nil
}

// Delivered is where a record is.
type Delivered struct {
	Topic     string
	Partition int32
	Offset    int64 // -1 with AcksOne
	// Duplicate: an attempt before the one that was answered had written it.
	Duplicate bool
}
