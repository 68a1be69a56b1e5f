package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// bodyBytesMax is what a node takes as the body of one request, but for NDJSON.
const bodyBytesMax = 16 << 20

// noOffset is the offset of records that have none yet.
const noOffset = -1

// Sequence names a batch of an idempotent producer, so that it can be sent again.
type Sequence struct {
	ProducerID int64
	Epoch      int16
	First      int32 // of the batch's first record
}

// Next is the sequence after n more records. It counts from 0 again after the
// largest int32.
func (s Sequence) Next(n int) Sequence {
	s.First = int32((int64(s.First) + int64(n)) & 0x7fffffff)
	return s
}

// AppendOptions say under which conditions records are appended. The zero value
// is none: they go to the end.
type AppendOptions struct {
	// ExpectedOffset is the offset that the first record must get, else the
	// error is ErrOffsetMismatch with the EndOffset. Use new(int64(42)).
	ExpectedOffset *int64
	// FencingToken is what the partition must have, else the error is
	// ErrFencingTokenMismatch with its Token. "" asks for none.
	FencingToken string
	// IdempotencyKey names the request for 24 h: when it comes again, the answer
	// is that of the first time, and nothing is written. So it is repeated where
	// the outcome is unknown. A repeat by another call must have the same
	// records with the same timestamps and the same Compression.
	IdempotencyKey string
	// Sequence makes the records one batch of an idempotent producer, for
	// programs that keep account of sequences themselves; a Producer does it for all
	// others. It is repeated where the outcome is unknown.
	Sequence *Sequence
	// Acks with AcksOne goes with none of the above.
	Acks        Acks
	Compression Compression
}

// NewIdempotencyKey returns a key that nobody else has.
func NewIdempotencyKey() string { return rand.Text() }

// Appended is where records are.
type Appended struct {
	Partition  int32
	BaseOffset int64 // of the first record; -1 with AcksOne
	Count      int
	Timestamp  time.Time // the latest of the records; zero with AcksOne
	Duplicate  bool      // they had been written by an earlier attempt
}

// Append writes records to a partition, all of them or none, in one request of
// at most 16 MiB.
//
// What had no effect is repeated. Where the outcome of an attempt is unknown,
// it is repeated only with an IdempotencyKey or a Sequence; without, the error
// is one of which IsOutcomeUnknown is true.
func (c *Client) Append(ctx context.Context, topic string, partition int32, records []Record, opts AppendOptions) (Appended, error) {
	if err := opts.Compression.check(); err != nil {
		return Appended{}, invalidArgument("%w", err)
	}
	now := time.Now()
	encoded := make([]recordbatch.Record, len(records))
	for i := range records {
		encoded[i] = records[i].toBatch(now)
	}
	body, err := recordbatch.Append(nil, encoded, opts.Compression.codec(), opts.producer())
	if err != nil {
		return Appended{}, invalidArgument("%w", err)
	}
	r, err := appendRequest(topic, partition, FormatRecordBatch, body, opts)
	if err != nil {
		return Appended{}, err
	}
	res, err := c.call(ctx, r, opts.again())
	if err != nil {
		return Appended{}, err
	}
	return parseAppended(res, partition, len(records), opts.Acks)
}

func (o AppendOptions) producer() recordbatch.Producer {
	if o.Sequence == nil {
		return recordbatch.NoProducer
	}
	return recordbatch.Producer{ID: o.Sequence.ProducerID, Epoch: o.Sequence.Epoch, BaseSequence: o.Sequence.First}
}

// again tells of which errors a request with these options may be repeated.
func (o AppendOptions) again() func(error) bool {
	if o.IdempotencyKey != "" || o.Sequence != nil {
		return IsRetryable
	}
	return retryableWithoutEffect
}

// Format is how records look in a body.
type Format uint8

const (
	// FormatRecordBatch is one or more of Kafka's RecordBatch v2.
	FormatRecordBatch Format = iota
	// FormatJSON is {"records":[…]}.
	FormatJSON
	// FormatNDJSON is a line for each record: on the way in its value, on the
	// way out a JSON object.
	FormatNDJSON
	// FormatRaw is the value of one record.
	FormatRaw
)

func (f Format) media() string {
	return [...]string{mediaRecordBatch, mediaJSON, mediaNDJSON, mediaRaw}[f]
}

// AppendEncoded writes records that are encoded already. Of the options,
// Compression has no meaning, and Sequence is one of JSON, NDJSON and raw
// bodies: a record batch names its own. It makes one attempt and repeats
// nothing. NDJSON is not atomic: if a later part of it fails, the error is
// an *Error of which "records" in Members is how many are in.
func (c *Client) AppendEncoded(ctx context.Context, topic string, partition int32, format Format, body []byte, opts AppendOptions) (Appended, error) {
	if format > FormatRaw {
		return Appended{}, invalidArgument("format %d is not one there is", format)
	}
	r, err := appendRequest(topic, partition, format, body, opts)
	if err != nil {
		return Appended{}, err
	}
	if s := opts.Sequence; s != nil && format != FormatRecordBatch {
		r.header.Set("Producer-Id", strconv.FormatInt(s.ProducerID, 10))
		r.header.Set("Producer-Epoch", strconv.Itoa(int(s.Epoch)))
		r.header.Set("Producer-Seq", strconv.Itoa(int(s.First)))
	}
	res, err := c.attempt(ctx, r)
	if err != nil {
		return Appended{}, err
	}
	if format == FormatNDJSON {
		return parseLines(res, partition)
	}
	return parseAppended(res, partition, anyCount, opts.Acks)
}

func appendRequest(topic string, partition int32, format Format, body []byte, opts AppendOptions) (request, error) {
	conditional := opts.ExpectedOffset != nil || opts.FencingToken != "" || opts.IdempotencyKey != "" || opts.Sequence != nil
	switch {
	case opts.Acks > AcksOne:
		return request{}, invalidArgument("acks %d is not one there is", opts.Acks)
	case opts.Acks == AcksOne && conditional:
		return request{}, invalidArgument("conditions and sequences need AcksAll")
	case opts.IdempotencyKey != "" && opts.Sequence != nil:
		return request{}, invalidArgument("an idempotency key and a sequence exclude each other")
	case len(body) > bodyBytesMax && format != FormatNDJSON:
		return request{}, invalidArgument("body of %d bytes is over the limit of %d", len(body), bodyBytesMax)
	}
	if err := checkTopic(topic); err != nil {
		return request{}, err
	}
	r := request{
		method: http.MethodPost, path: partitionPath(topic, partition, "records"), key: partitionKey(topic, partition),
		query: url.Values{"acks": {opts.Acks.String()}}, header: http.Header{}, contentType: format.media(), body: body,
	}
	if opts.ExpectedOffset != nil {
		r.header.Set("Expected-Offset", strconv.FormatInt(*opts.ExpectedOffset, 10))
	}
	if opts.FencingToken != "" {
		r.header.Set("Fencing-Token", opts.FencingToken)
	}
	if opts.IdempotencyKey != "" {
		r.header.Set("Idempotency-Key", opts.IdempotencyKey)
	}
	return r, nil
}

// anyCount is the count of records that are not known.
const anyCount = -1

// appendResult is what an answer says about one partition.
type appendResult struct {
	Partition  int32  `json:"partition"`
	BaseOffset *int64 `json:"base_offset"`
	Count      int64  `json:"count"`
	Timestamp  int64  `json:"timestamp"`
	Duplicate  bool   `json:"duplicate"`
}

// parseAppended reads the answer to an append, and checks that it speaks of all
// records. Where it does not, nobody knows what became of them.
func parseAppended(res response, partition int32, records int, acks Acks) (Appended, error) {
	var answer struct {
		Results []appendResult `json:"results"`
	}
	if err := parseAnswer(res, &answer); err != nil {
		return Appended{}, err
	}
	status := http.StatusOK
	if acks == AcksOne {
		status = http.StatusAccepted
	}
	if res.status != status {
		return Appended{}, fmt.Errorf("answer %d to acks=%s, not %d", res.status, acks, status)
	}
	if len(answer.Results) != 1 {
		return Appended{}, fmt.Errorf("answer with %d results for one partition", len(answer.Results))
	}
	result := answer.Results[0]
	if result.Partition != partition || result.Count < 1 || records != anyCount && result.Count != int64(records) {
		return Appended{}, fmt.Errorf("answer about %d records of partition %d for %d records of partition %d",
			result.Count, result.Partition, records, partition)
	}
	a := Appended{Partition: partition, BaseOffset: noOffset, Count: int(result.Count), Duplicate: result.Duplicate}
	if acks == AcksAll {
		if result.BaseOffset == nil || *result.BaseOffset < 0 {
			return Appended{}, errors.New("answer to acks=all without a base offset")
		}
		a.BaseOffset, a.Timestamp = *result.BaseOffset, time.UnixMilli(result.Timestamp)
	}
	return a, nil
}

// parseLines reads the answer to NDJSON: a line for each chunk, and a last one
// that tells how it ended. The records need not lie side by side; BaseOffset is
// that of the first.
func parseLines(res response, partition int32) (Appended, error) {
	a := Appended{Partition: partition, BaseOffset: noOffset}
	for line := range bytes.Lines(bytes.TrimSpace(res.body)) {
		var answer struct {
			Done    bool           `json:"done"`
			Records int64          `json:"records"`
			Results []appendResult `json:"results"`
			Status  int            `json:"status"`
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return Appended{}, &ConnectionError{Sent: true, Err: fmt.Errorf("parse answer: %w", err)}
		}
		switch {
		case answer.Status != 0: // a chunk failed after others were in
			failed := newError(answer.Status)
			failed.read(line)
			failed.NoSideEffects = false
			return Appended{}, failed
		case answer.Done:
			a.Count = int(answer.Records)
			return a, nil
		case len(answer.Results) > 0 && a.BaseOffset == noOffset && answer.Results[0].BaseOffset != nil:
			first := answer.Results[0]
			a.BaseOffset, a.Timestamp = *first.BaseOffset, time.UnixMilli(first.Timestamp)
		}
	}
	return Appended{}, &ConnectionError{Sent: true, Err: errors.New("answer ends before the records do")}
}

// NewProducerID returns a producer id that nobody has, with its epoch, for
// programs that keep account of sequences themselves.
func (c *Client) NewProducerID(ctx context.Context) (id int64, epoch int16, err error) {
	return c.producerID(ctx, nil)
}

// RaiseEpoch returns an epoch of a producer id above all that it has used. Lower
// ones are refused from then on with ErrProducerFenced, in all partitions. After
// the highest epoch that there is, it is another id.
func (c *Client) RaiseEpoch(ctx context.Context, id int64) (newID int64, epoch int16, err error) {
	return c.producerID(ctx, map[string]any{"producer_id": id})
}

func (c *Client) producerID(ctx context.Context, in any) (int64, int16, error) {
	answer := struct {
		ID    int64 `json:"producer_id"`
		Epoch int16 `json:"epoch"`
	}{ID: -1}
	r := request{method: http.MethodPost, path: []string{"v1", "producers"}}
	// An id or an epoch that nobody heard of is no harm.
	_, err := c.callJSON(ctx, r, IsRetryable, in, &answer)
	if err == nil && answer.ID < 0 {
		err = errors.New("answer names no producer id")
	}
	return answer.ID, answer.Epoch, err
}
