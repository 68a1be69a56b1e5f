package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// decompressedMax bounds a batch that a node serves.
const decompressedMax = 64 << 20

// fetched is what a fetch gave: records from the asked offset on.
type fetched struct {
	records []Record
	next    int64
}

// fetch asks for records from an offset on. Text asks for JSON, and else batches
// as they are stored are asked for. The records of an answer of 200 are checked:
// they are of this run, and go on from the asked offset without a gap. What is
// wrong with them is the error.
func (c *client) fetch(ctx context.Context, t topic, partition int32, offset int64, maxBytes int, wait time.Duration, text bool) (fetched, answer, error) {
	path := fmt.Sprintf("%s/records?offset=%d&max_bytes=%d&max_wait_ms=%d", t.path(partition), offset, maxBytes, wait.Milliseconds())
	media := mediaBatch
	if text {
		media = mediaJSON
	}
	a := c.within(ctx, requestTimeout+wait, http.MethodGet, path, nil, "Accept", media)
	if a.status != http.StatusOK {
		return fetched{}, a, nil
	}
	var f fetched
	var err error
	if text {
		f, err = t.decodeText(a)
	} else {
		f, err = t.decodeBatches(a, offset)
	}
	if err != nil {
		return f, a, err
	}
	for i, r := range f.records {
		if r.Offset != offset+int64(i) {
			return f, a, fmt.Errorf("%w: offset %d where %d is due", errNotDense, r.Offset, offset+int64(i))
		}
	}
	if f.next != offset+int64(len(f.records)) {
		return f, a, fmt.Errorf("%w: %d records from %d on, and the next is said to be %d", errNotDense, len(f.records), offset, f.next)
	}
	return f, a, nil
}

// topic is what a run writes to.
type topic struct {
	run        string
	name       string
	partitions int
}

func (t topic) path(partition int32) string {
	return fmt.Sprintf("/v1/topics/%s/partitions/%d", t.name, partition)
}

func (t topic) record(offset, timestamp int64, value []byte) (Record, error) {
	id, err := parseValue(t.run, value)
	if err != nil {
		return Record{}, fmt.Errorf("offset %d: %w: %.200q", offset, err, value)
	}
	return Record{Offset: offset, ID: id, Digest: digestOf(timestamp, value)}, nil
}

func (t topic) decodeText(a answer) (fetched, error) {
	var body struct {
		Records []struct {
			Offset    int64  `json:"offset"`
			Timestamp int64  `json:"timestamp"`
			Value     string `json:"value"`
		} `json:"records"`
		NextOffset int64 `json:"next_offset"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil {
		return fetched{}, fmt.Errorf("decode records: %w", err)
	}
	f := fetched{next: body.NextOffset, records: make([]Record, 0, len(body.Records))}
	for _, r := range body.Records {
		record, err := t.record(r.Offset, r.Timestamp, []byte(r.Value))
		if err != nil {
			return f, err
		}
		f.records = append(f.records, record)
	}
	return f, nil
}

// decodeBatches leaves out what lies before from: a batch may begin there.
func (t topic) decodeBatches(a answer, from int64) (fetched, error) {
	var f fetched
	var err error
	if f.next, err = strconv.ParseInt(a.header.Get("Wadi-Next-Offset"), 10, 64); err != nil {
		return f, fmt.Errorf("next offset: %w", err)
	}
	for batch, err := range recordbatch.Batches(a.body) {
		if err == nil {
			err = recordbatch.CheckCRC(batch)
		}
		if err != nil {
			return f, err
		}
		for r, err := range recordbatch.Records(batch, decompressedMax) {
			if err != nil {
				return f, err
			}
			if int64(r.Offset) < from {
				continue
			}
			record, err := t.record(int64(r.Offset), r.Timestamp, r.Value)
			if err != nil {
				return f, err
			}
			f.records = append(f.records, record)
		}
	}
	return f, nil
}

// offsets asks for the bounds of a partition.
func (c *client) offsets(ctx context.Context, t topic, partition int32) (start, end int64, a answer) {
	a = c.within(ctx, requestTimeout, http.MethodGet, t.path(partition)+"/offsets", nil)
	if a.status != http.StatusOK {
		return 0, 0, a
	}
	var bounds struct {
		Start *int64 `json:"start"`
		End   *int64 `json:"end"`
	}
	if err := json.Unmarshal(a.body, &bounds); err != nil || bounds.Start == nil || bounds.End == nil {
		return 0, 0, answer{err: fmt.Errorf("offsets: %s", a)}
	}
	return *bounds.Start, *bounds.End, a
}
