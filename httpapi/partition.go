package httpapi

import (
	"math"
	"net/http"
	"strconv"

	"github.com/wadilog/wadi/catalog"
)

// offsets serves the bounds of a partition, and the offset at a time.
func (s *Server) offsets(x *exchange) error {
	name, err := x.topicParam()
	if err != nil {
		return err
	}
	partition, err := x.partitionParam()
	if err != nil {
		return err
	}
	q := parseQuery(x.r)
	const noTime = -1
	ms := q.integer("timestamp", noTime, 0, math.MaxInt64)
	if err := q.done(); err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	// The bounds are those of the topic that has the name now.
	t, err := s.confirmedTopic(ctx, name)
	if err == nil {
		err = checkPartition(t, partition)
	}
	if err != nil {
		return err
	}
	tp := catalog.TopicPartition{Topic: t.ID, Partition: partition}
	bounds, err := s.fetcher.Bounds(ctx, tp)
	if err != nil {
		return err
	}
	text := strconv.AppendInt([]byte(`{"start":`), int64(bounds.Start), 10)
	text = append(text, `,"end":`...)
	text = strconv.AppendInt(text, int64(bounds.End), 10)
	if ms != noTime {
		offset, at, ok, err := s.fetcher.OffsetAtTime(ctx, tp, ms)
		if err != nil {
			return err
		}
		if ok {
			text = append(text, `,"offset":`...)
			text = strconv.AppendInt(text, int64(offset), 10)
			text = append(text, `,"timestamp":`...)
			text = strconv.AppendInt(text, at, 10)
		} else {
			text = append(text, `,"offset":null,"timestamp":null`...)
		}
	}
	x.answer(http.StatusOK, append(text, "}\n"...))
	return nil
}

// trim serves DELETE of a partition's first records.
func (s *Server) trim(x *exchange) error {
	name, err := x.topicParam()
	if err != nil {
		return err
	}
	partition, err := x.partitionParam()
	if err != nil {
		return err
	}
	q := parseQuery(x.r)
	const notGiven = -1
	before := q.integer("before", notGiven, 0, math.MaxInt64)
	if err := q.done(); err != nil {
		return err
	}
	if before == notGiven {
		return parameterf("before", "is needed: the first offset that stays")
	}
	ctx, cancel := x.working()
	defer cancel()
	t, err := s.confirmedTopic(ctx, name) // no trim of a topic that had the name before
	if err == nil {
		err = checkPartition(t, partition)
	}
	if err != nil {
		return err
	}
	result, err := s.topics.Propose(ctx, catalog.Trim{
		Partition: catalog.TopicPartition{Topic: t.ID, Partition: partition},
		Before:    catalog.Offset(before),
	})
	if err != nil {
		return err
	}
	if result.Err != nil {
		return result.Err
	}
	text := strconv.AppendInt([]byte(`{"log_start_offset":`), int64(result.LogStart), 10)
	x.answer(http.StatusOK, append(text, "}\n"...))
	return nil
}
