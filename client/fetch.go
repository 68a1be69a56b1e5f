package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// FetchBytesMax is the most that a node gives in one answer.
const FetchBytesMax = 64 << 20

// defaultFetchBytes is what one fetch asks for.
const defaultFetchBytes = 1 << 20

// fetchSlack is how much longer than its bytes an answer may be: one batch.
const fetchSlack = 64 << 20

// jsonGrowth is how much longer records can be as JSON than as they are stored.
const jsonGrowth = 16

// decompressedBytesMax bounds the records of one batch in memory.
const decompressedBytesMax = 256 << 20

// fetchWaitMax is the longest that a node waits for records.
const fetchWaitMax = 30 * time.Second

// Fetch says what to fetch.
type Fetch struct {
	Topic     string
	Partition int32
	Offset    int64
	// Bytes is how much to fetch at most, of batches as they are stored; 1 MiB
	// by default. One larger batch is fetched nevertheless.
	Bytes int64
	// Wait is how long the node waits for records if there are none; at most 30 s.
	Wait time.Duration
	// Until, if above 0, asks for a closed range that ends before it. If all of it is
	// there the answer never changes, and a proxy between client and nodes may have
	// kept it for up to an hour, in which the topic may have been trimmed or made anew.
	Until int64
}

// Fetched are records of one partition that lie side by side.
type Fetched struct {
	Topic     string
	Partition int32
	// NextOffset is where to go on.
	NextOffset int64
	// HighWatermark is a lower bound of the partition's end, LogStartOffset its
	// start; 0 in an answer that never changes, which cannot say it.
	HighWatermark  int64
	LogStartOffset int64

	records []recordbatch.Record
}

// Len is the number of records.
func (f *Fetched) Len() int { return len(f.records) }

// Records walks the records. Their bytes are the caller's.
func (f *Fetched) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for _, r := range f.records {
			if !yield(fromBatch(f.Topic, f.Partition, r)) {
				return
			}
		}
	}
}

// Fetch fetches records, checked against their checksums. If some that came are
// damaged, those before them are returned with the error.
func (c *Client) Fetch(ctx context.Context, q Fetch) (*Fetched, error) {
	return c.fetch(ctx, q, IsRetryable)
}

func (c *Client) fetch(ctx context.Context, q Fetch, again func(error) bool) (*Fetched, error) {
	r, err := q.request(FormatRecordBatch)
	if err != nil {
		return nil, err
	}
	res, err := c.call(ctx, r, again)
	if err != nil {
		return nil, err
	}
	f := &Fetched{Topic: q.Topic, Partition: q.Partition}
	var stated int64
	headers := map[string]*int64{"Wadi-Next-Offset": &stated}
	if q.Until > 0 && res.header.Get("Wadi-High-Watermark") == "" {
		f.HighWatermark = q.Until
	} else {
		headers["Wadi-High-Watermark"], headers["Wadi-Log-Start-Offset"] = &f.HighWatermark, &f.LogStartOffset
	}
	for name, p := range headers {
		if *p, err = strconv.ParseInt(res.header.Get(name), 10, 64); err != nil {
			return nil, fmt.Errorf("answer with %s: %q", name, res.header.Get(name))
		}
	}
	f.NextOffset = q.Offset
	err = f.read(res.body)
	if q.Until > 0 {
		f.cut(q.Until)
	}
	if err != nil {
		return f, err
	}
	if f.Len() == 0 && stated != q.Offset {
		return f, fmt.Errorf("answer without records goes on at %d", stated)
	}
	return f, nil
}

// read takes over the records of batches from NextOffset on. The first batch
// may begin before it; from there on none may be left out or come twice.
func (f *Fetched) read(batches []byte) error {
	from := f.NextOffset
	for batch, err := range recordbatch.Batches(batches) {
		if err != nil {
			return err
		}
		if err := recordbatch.CheckCRC(batch); err != nil {
			return err
		}
		records, err := recordbatch.Decode(batch, decompressedBytesMax)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			continue
		}
		base := int64(records[0].Offset)
		if f.NextOffset == from && base < from {
			records = records[min(from-base, int64(len(records))):]
			if len(records) == 0 {
				continue
			}
			base = from
		}
		if base != f.NextOffset {
			return fmt.Errorf("offset %d where %d should be", base, f.NextOffset)
		}
		if f.records == nil {
			f.records = records
		} else {
			f.records = append(f.records, records...)
		}
		f.NextOffset += int64(len(records))
	}
	return nil
}

// cut leaves out the records from offset to on.
func (f *Fetched) cut(to int64) {
	if over := f.NextOffset - to; over > 0 {
		f.records = f.records[:max(0, int64(len(f.records))-over)]
		f.NextOffset = to
	}
}

func (q Fetch) request(format Format) (request, error) {
	size := orDefault(q.Bytes, defaultFetchBytes)
	switch {
	case q.Offset < 0:
		return request{}, invalidArgument("offset %d is below 0", q.Offset)
	case size < 1 || size > FetchBytesMax:
		return request{}, invalidArgument("a fetch of %d bytes is not between 1 and %d", size, FetchBytesMax)
	case q.Until < 0 || q.Until > 0 && q.Until < q.Offset:
		return request{}, invalidArgument("a range that ends at %d does not begin at %d", q.Until, q.Offset)
	case q.Wait < 0 || q.Wait > fetchWaitMax:
		return request{}, invalidArgument("a wait of %s is not between 0 and %s", q.Wait, fetchWaitMax)
	}
	if err := checkTopic(q.Topic); err != nil {
		return request{}, err
	}
	query := url.Values{
		"offset":    {strconv.FormatInt(q.Offset, 10)},
		"max_bytes": {strconv.FormatInt(size, 10)},
	}
	if q.Wait > 0 {
		query.Set("max_wait_ms", strconv.FormatInt(q.Wait.Milliseconds(), 10))
		query.Set("min_bytes", "1")
	}
	if q.Until > 0 {
		query.Set("until", strconv.FormatInt(q.Until, 10))
	}
	r := request{
		method: http.MethodGet, path: partitionPath(q.Topic, q.Partition, "records"), key: partitionKey(q.Topic, q.Partition),
		query: query, accept: format.media(), wait: q.Wait, answerMax: size + fetchSlack,
	}
	if format != FormatRecordBatch {
		r.answerMax *= jsonGrowth
	}
	return r, nil
}

// Encoded is an answer to a fetch as it came.
type Encoded struct {
	Body       []byte
	NextOffset int64
}

// FetchEncoded fetches records in a format other than FormatRaw and hands on
// what came. It makes one attempt and repeats nothing. Record batches have their
// offsets and are not checked; the first may begin before the offset asked for.
func (c *Client) FetchEncoded(ctx context.Context, q Fetch, format Format) (Encoded, error) {
	if format >= FormatRaw {
		return Encoded{}, invalidArgument("format %d is not one of answers", format)
	}
	r, err := q.request(format)
	if err != nil {
		return Encoded{}, err
	}
	res, err := c.attempt(ctx, r)
	if err != nil {
		return Encoded{}, err
	}
	next, err := nextOffset(res)
	return Encoded{Body: res.body, NextOffset: next}, err
}

// nextOffset finds where an answer says to go on: in a header, or in the last
// members of a JSON object.
func nextOffset(res response) (int64, error) {
	if text := res.header.Get("Wadi-Next-Offset"); text != "" {
		return strconv.ParseInt(text, 10, 64)
	}
	const member = `"next_offset":`
	i := bytes.LastIndex(res.body, []byte(member))
	if i < 0 {
		return 0, errors.New("answer does not say where to go on")
	}
	text := res.body[i+len(member):]
	end := bytes.IndexAny(text, ",}")
	if end < 0 {
		return 0, fmt.Errorf("answer ends within %s", member)
	}
	return strconv.ParseInt(string(bytes.TrimSpace(text[:end])), 10, 64)
}
