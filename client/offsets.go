package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Offsets are the records that a partition has: from Start, and before End.
type Offsets struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// TimedOffset is a record found by its time.
type TimedOffset struct {
	Offset    int64
	Timestamp time.Time
}

// Offsets returns the offsets of a partition as of now.
func (c *Client) Offsets(ctx context.Context, topic string, partition int32) (Offsets, error) {
	o, _, err := c.offsets(ctx, topic, partition, nil)
	return o, err
}

// OffsetsAt returns the offsets of a partition as of now, and the first record
// at or after a time, or nil if there is none.
func (c *Client) OffsetsAt(ctx context.Context, topic string, partition int32, at time.Time) (Offsets, *TimedOffset, error) {
	// The API counts from 1970.
	return c.offsets(ctx, topic, partition, url.Values{"timestamp": {strconv.FormatInt(max(0, at.UnixMilli()), 10)}})
}

func (c *Client) offsets(ctx context.Context, topic string, partition int32, query url.Values) (Offsets, *TimedOffset, error) {
	if err := checkTopic(topic); err != nil {
		return Offsets{}, nil, err
	}
	var b struct {
		Offsets
		Offset    *int64 `json:"offset"`
		Timestamp int64  `json:"timestamp"`
	}
	r := request{
		method: http.MethodGet, path: partitionPath(topic, partition, "offsets"), key: partitionKey(topic, partition), query: query,
	}
	if _, err := c.callJSON(ctx, r, IsRetryable, nil, &b); err != nil {
		return Offsets{}, nil, err
	}
	if b.Offset == nil || *b.Offset < 0 {
		return b.Offsets, nil, nil
	}
	return b.Offsets, &TimedOffset{*b.Offset, time.UnixMilli(b.Timestamp)}, nil
}

// Trim moves the log start of a partition to before, at most to its end, and
// returns where it is. The records before it are gone on all nodes within 5 s.
func (c *Client) Trim(ctx context.Context, topic string, partition int32, before int64) (start int64, err error) {
	if err := checkTopic(topic); err != nil {
		return 0, err
	}
	var answer struct {
		Start int64 `json:"log_start_offset"`
	}
	r := request{
		method: http.MethodDelete, path: partitionPath(topic, partition, "records"), key: partitionKey(topic, partition),
		query: url.Values{"before": {strconv.FormatInt(before, 10)}},
	}
	_, err = c.callJSON(ctx, r, IsRetryable, nil, &answer)
	return answer.Start, err
}

// Position is a place in a partition. The zero Position is none.
type Position struct {
	kind   positionKind
	offset int64
	at     time.Time
}

type positionKind uint8

const (
	positionNone positionKind = iota
	positionEarliest
	positionLatest
	positionOffset
	positionTime
)

// Earliest is the oldest record there is.
func Earliest() Position { return Position{kind: positionEarliest} }

// Latest is the end, after the newest record there is.
func Latest() Position { return Position{kind: positionLatest} }

// AtOffset is a record by its offset.
func AtOffset(offset int64) Position { return Position{kind: positionOffset, offset: offset} }

// AtTime is the first record at or after a time, or the end if there is none.
func AtTime(at time.Time) Position { return Position{kind: positionTime, at: at} }

// Resolve finds the offset of a position in a partition. An offset stays as it
// is, be there a record or not.
func (c *Client) Resolve(ctx context.Context, topic string, partition int32, p Position) (int64, error) {
	switch p.kind {
	case positionEarliest, positionLatest:
		o, err := c.Offsets(ctx, topic, partition)
		if p.kind == positionEarliest {
			return o.Start, err
		}
		return o.End, err
	case positionOffset:
		return p.offset, nil
	case positionTime:
		o, found, err := c.OffsetsAt(ctx, topic, partition, p.at)
		if err != nil || found == nil {
			return o.End, err
		}
		return found.Offset, nil
	}
	return 0, invalidArgument("no position")
}
