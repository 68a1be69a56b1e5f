package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// produceTimeout bounds one attempt to produce; longer than a node's own
// default, so that the node's verdict comes first.
const produceTimeout = 40 * time.Second

// producerID is what makes repeats of a batch harmless.
type producerID struct {
	ID    int64 `json:"producer_id"`
	Epoch int16 `json:"epoch"`
}

// newProducer asks for a producer id that nobody has.
func (c *client) newProducer(ctx context.Context) (producerID, error) {
	id := producerID{ID: -1}
	r := request{method: http.MethodPost, path: []string{"v1", "producers"}, timeout: controlTimeout}
	_, err := c.doJSON(ctx, r, nil, &id)
	if err == nil && id.ID < 0 {
		err = errors.New("answer names no producer id")
	}
	return id, err
}

// The values of acks.
const (
	acksAll = "all"
	acksOne = "1"
)

// noOffset is the base offset of records that have none yet.
const noOffset = -1

// ack is the node's answer about one batch.
type ack struct {
	Partition  int32
	BaseOffset int64 // noOffset with acks=1
	Count      int64
	Duplicate  bool // an earlier attempt had been stored
}

// produceBatch sends record batches for one partition, and checks that the
// answer speaks of all of their records.
func (c *client) produceBatch(ctx context.Context, topic string, partition int32, acks string, batch []byte, records int) (ack, error) {
	var answer struct {
		Duplicate bool `json:"duplicate"`
		Results   []struct {
			Partition  int32  `json:"partition"`
			BaseOffset *int64 `json:"base_offset"`
			Count      int64  `json:"count"`
			Duplicate  bool   `json:"duplicate"`
		} `json:"results"`
	}
	r := request{
		method: http.MethodPost, path: partitionPath(topic, partition, "records"), query: url.Values{"acks": {acks}},
		contentType: mediaRecordBatch, body: batch, timeout: produceTimeout,
	}
	res, err := c.doJSON(ctx, r, nil, &answer)
	if err != nil {
		return ack{}, err
	}
	status := http.StatusOK
	if acks == acksOne {
		status = http.StatusAccepted
	}
	if res.status != status {
		return ack{}, fmt.Errorf("answer %d to acks=%s, not %d", res.status, acks, status)
	}
	if len(answer.Results) != 1 {
		return ack{}, fmt.Errorf("answer with %d results for one partition", len(answer.Results))
	}
	result := answer.Results[0]
	if result.Partition != partition || result.Count != int64(records) {
		return ack{}, fmt.Errorf("answer about %d records of partition %d for %d records of partition %d",
			result.Count, result.Partition, records, partition)
	}
	a := ack{Partition: partition, BaseOffset: noOffset, Count: result.Count, Duplicate: answer.Duplicate || result.Duplicate}
	if acks == acksAll {
		if result.BaseOffset == nil || *result.BaseOffset < 0 {
			return ack{}, errors.New("answer to acks=all without a base offset")
		}
		a.BaseOffset = *result.BaseOffset
	}
	return a, nil
}

// fetched is the answer to a fetch of record batches.
type fetched struct {
	batches       []byte
	nextOffset    int64
	highWatermark int64
	logStart      int64
}

// fetchQuery asks for records of one partition.
type fetchQuery struct {
	topic     string
	partition int32
	offset    int64
	bytesMax  int64         // of batches; a single larger batch is returned nevertheless
	wait      time.Duration // for records to come
}

// fetchSlack is how much longer than its bytes_max an answer may be: one batch.
const fetchSlack = 64 << 20

// fetchTimeout bounds one fetch beyond the time it waits for records.
const fetchTimeout = 40 * time.Second

// fetchBatches fetches record batches.
func (c *client) fetchBatches(ctx context.Context, q fetchQuery) (fetched, error) {
	query := url.Values{
		"offset":    {strconv.FormatInt(q.offset, 10)},
		"max_bytes": {strconv.FormatInt(q.bytesMax, 10)},
	}
	if q.wait > 0 {
		query.Set("max_wait_ms", strconv.FormatInt(q.wait.Milliseconds(), 10))
		query.Set("min_bytes", "1")
	}
	res, err := c.do(ctx, request{
		method: http.MethodGet, path: partitionPath(q.topic, q.partition, "records"), query: query,
		accept: mediaRecordBatch, timeout: fetchTimeout + q.wait, answerMax: q.bytesMax + fetchSlack,
	})
	if err != nil {
		return fetched{}, err
	}
	f := fetched{batches: res.body}
	for name, p := range map[string]*int64{
		"Wadi-Next-Offset": &f.nextOffset, "Wadi-High-Watermark": &f.highWatermark, "Wadi-Log-Start-Offset": &f.logStart,
	} {
		if *p, err = strconv.ParseInt(res.header.Get(name), 10, 64); err != nil {
			return fetched{}, fmt.Errorf("answer with %s: %q", name, res.header.Get(name))
		}
	}
	return f, nil
}
