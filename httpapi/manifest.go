package httpapi

import (
	"math"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/reader"
)

// manifest serves where the bytes of a partition lie, so that others can read
// them from the bucket.
func (s *Server) manifest(x *exchange) error {
	name, err := x.topicParam()
	if err != nil {
		return err
	}
	partition, err := x.partitionParam()
	if err != nil {
		return err
	}
	q := parseQuery(x.r)
	from := q.integer("from", int64(reader.FromStart), 0, math.MaxInt64)
	to := q.integer("to", math.MaxInt64, 0, math.MaxInt64)
	ranges := q.integer("max_ranges", int64(s.cfg.ManifestRanges), 1, int64(s.cfg.ManifestRangesMax))
	if err := q.done(); err != nil {
		return err
	}
	if from > to {
		return parameterf("to", "must not be below from")
	}
	ctx, cancel := x.working()
	defer cancel()
	// The ranges are those of the topic that has the name now.
	t, err := s.confirmedTopic(ctx, name)
	if err == nil {
		err = checkPartition(t, partition)
	}
	if err != nil {
		return err
	}
	tp := catalog.TopicPartition{Topic: t.ID, Partition: partition}
	m, err := s.fetcher.Manifest(ctx, reader.ManifestQuery{
		Partition: tp, From: catalog.Offset(from), To: catalog.Offset(to), RangesMax: int(ranges),
	})
	if err != nil {
		return err
	}
	return x.writeManifest(t.ID, m)
}

func (x *exchange) writeManifest(topic uuid.UUID, m reader.Manifest) error {
	t := x.jsonText()
	defer t.release()
	t.buf = appendJSONString(append(t.buf, `{"topic_id":`...), topic.String())
	t.buf = append(t.buf, `,"ranges":[`...)
	for i := range m.Ranges {
		if i > 0 {
			t.buf = append(t.buf, ',')
		}
		t.buf = appendRange(t.buf, &m.Ranges[i])
		if err := t.flushIfFull(); err != nil {
			return err
		}
	}
	t.buf = strconv.AppendInt(append(t.buf, `],"next_offset":`...), int64(m.NextOffset), 10)
	t.buf = strconv.AppendInt(append(t.buf, `,"high_watermark":`...), int64(m.HighWatermark), 10)
	t.buf = strconv.AppendInt(append(t.buf, `,"log_start_offset":`...), int64(m.LogStart), 10)
	t.buf = append(t.buf, "}\n"...)
	return t.finish()
}

func appendRange(dst []byte, r *reader.Range) []byte {
	dst = strconv.AppendInt(append(dst, `{"base_offset":`...), int64(r.Base), 10)
	dst = strconv.AppendInt(append(dst, `,"count":`...), r.Records, 10)
	dst = strconv.AppendInt(append(dst, `,"bytes":`...), r.Len, 10)
	if at := r.Stored; at != nil {
		dst = appendJSONString(append(dst, `,"key":`...), at.Key)
		dst = strconv.AppendInt(append(dst, `,"position":`...), int64(at.Pos), 10)
		dst = strconv.AppendUint(append(dst, `,"crc32c":`...), uint64(at.CRC), 10)
		if at.Blocks != nil {
			dst = strconv.AppendInt(append(dst, `,"block_bytes":`...), segment.BlockLen, 10)
			dst = append(dst, `,"blocks":[`...)
			for i := range at.Blocks {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = appendBlock(dst, &at.Blocks[i])
			}
			dst = append(dst, ']')
		}
		if at.URL != "" {
			dst = appendJSONString(append(dst, `,"url":`...), strings.ToValidUTF8(at.URL, "\uFFFD"))
			dst = strconv.AppendInt(append(dst, `,"url_expires":`...), at.Expires.UnixMilli(), 10)
		}
	}
	return append(dst, '}')
}

func appendBlock(dst []byte, b *reader.StoredBlock) []byte {
	dst = strconv.AppendUint(append(dst, `{"crc32c":`...), uint64(b.CRC), 10)
	if b.FirstBatch >= 0 {
		dst = strconv.AppendInt(append(dst, `,"first_batch":`...), b.FirstBatch, 10)
		dst = strconv.AppendInt(append(dst, `,"base_offset":`...), int64(b.Base), 10)
	}
	return append(dst, '}')
}
