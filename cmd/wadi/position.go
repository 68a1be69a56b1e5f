package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/wadilog/wadi/client"
)

// positionKind is how a place in a partition is named.
type positionKind uint8

const (
	positionEarliest positionKind = iota + 1
	positionEnd
	positionOffset
	positionTime
)

// position is a place in a partition as a user names it.
type position struct {
	kind   positionKind
	offset int64 // of positionOffset
	ms     int64 // of positionTime
}

// timeLayouts are what a time can look like; without a zone it is local time.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly}

// parsePosition reads earliest, latest, end, an offset, a time, or a negative
// duration that counts back from now.
func parsePosition(s string, now time.Time) (position, error) {
	switch s {
	case "earliest":
		return position{kind: positionEarliest}, nil
	case "latest", "end":
		return position{kind: positionEnd}, nil
	}
	if offset, err := strconv.ParseInt(s, 10, 64); err == nil {
		if offset < 0 {
			return position{}, fmt.Errorf("%q: offsets begin at 0; a time ago has a unit, as in -90m", s)
		}
		return position{kind: positionOffset, offset: offset}, nil
	}
	if strings.HasPrefix(s, "-") {
		if d, err := time.ParseDuration(s); err == nil {
			return timePosition(now.Add(d)), nil
		}
	}
	for _, layout := range timeLayouts {
		if at, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return timePosition(at), nil
		}
	}
	return position{}, fmt.Errorf("%q is neither earliest, latest or end, nor an offset, nor a time such as 2026-01-31T12:00:00Z or -90m", s)
}

// timePosition is a time; the API counts from 1970.
func timePosition(at time.Time) position {
	return position{kind: positionTime, ms: max(0, at.UnixMilli())}
}

// resolve finds the position's offset in a partition, and returns the
// partition's bounds with it. An offset stays as it is, be it out of bounds or
// not. A time is the first record at or after it, or the end.
func (p position) resolve(ctx context.Context, c *client.Client, topic string, partition int32) (offset int64, b client.Offsets, err error) {
	if p.kind == positionTime {
		b, at, err := c.OffsetsAt(ctx, topic, partition, time.UnixMilli(p.ms))
		if err != nil || at == nil {
			return b.End, b, err
		}
		return at.Offset, b, nil
	}
	b, err = c.Offsets(ctx, topic, partition)
	switch p.kind {
	case positionEarliest:
		return b.Start, b, err
	case positionEnd:
		return b.End, b, err
	}
	return p.offset, b, err
}
