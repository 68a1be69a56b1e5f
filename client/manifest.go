package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// Manifest lists where the records of a partition lie in the bucket.
type Manifest struct {
	TopicID string          `json:"topic_id"`
	Ranges  []ManifestRange `json:"ranges"` // side by side, in the order of offsets
	// NextOffset is where the next manifest begins.
	NextOffset int64 `json:"next_offset"`
	// HighWatermark is the partition's end, LogStartOffset its start.
	HighWatermark  int64 `json:"high_watermark"`
	LogStartOffset int64 `json:"log_start_offset"`
}

// ManifestRange is whole record batches that lie side by side in an object.
// Their base offsets are not set: the first begins at BaseOffset, each further
// one where the one before ends.
type ManifestRange struct {
	BaseOffset int64 `json:"base_offset"`
	Count      int64 `json:"count"` // records
	Bytes      int64 `json:"bytes"`

	// Key of the object below the prefix of the store's URL. It is "" if the
	// object also holds records of other topics; then these are to be fetched from
	// a node, and the fields below are not set.
	Key        string          `json:"key"`
	Position   int64           `json:"position"` // of the bytes in the object
	CRC32C     uint32          `json:"crc32c"`   // of the bytes
	BlockBytes int64           `json:"block_bytes"`
	Blocks     []ManifestBlock `json:"blocks"` // of BlockBytes each, the last maybe shorter; nil for a short range

	// URL reads the whole object without credentials; "" if there is none.
	URL        string `json:"url"`
	URLExpires int64  `json:"url_expires"` // ms since 1970, by the node's clock
}

// ManifestBlock is a part of a ManifestRange that can be checked by itself.
type ManifestBlock struct {
	CRC32C uint32 `json:"crc32c"`
	// FirstBatch is how many bytes after the start of the range the first batch
	// lies that begins in the block, and BaseOffset its base offset. They are nil
	// if none does.
	FirstBatch *int64 `json:"first_batch"`
	BaseOffset *int64 `json:"base_offset"`
}

// end is the offset after the last record.
func (r *ManifestRange) end() int64 { return r.BaseOffset + r.Count }

// Manifest returns where the records of a partition from one offset up to
// another lie, in up to so many ranges. The first may begin before from, and the
// last end after to. A to beyond the end is the end.
func (c *Client) Manifest(ctx context.Context, topic string, partition int32, from, to int64, ranges int) (*Manifest, error) {
	return c.manifest(ctx, topic, partition, from, to, ranges, IsRetryable)
}

func (c *Client) manifest(ctx context.Context, topic string, partition int32, from, to int64, ranges int, again func(error) bool) (*Manifest, error) {
	if err := checkTopic(topic); err != nil {
		return nil, err
	}
	r := request{
		method: http.MethodGet, path: partitionPath(topic, partition, "manifest"), key: partitionKey(topic, partition),
		query: url.Values{
			"from":       {strconv.FormatInt(from, 10)},
			"to":         {strconv.FormatInt(to, 10)},
			"max_ranges": {strconv.Itoa(ranges)},
		},
		answerMax: manifestBytesMax,
	}
	var m Manifest
	if _, err := c.callJSON(ctx, r, again, nil, &m); err != nil {
		return nil, err
	}
	return &m, m.check(from, to)
}

// manifestBytesMax bounds the answer to a request for a manifest.
const manifestBytesMax = 64 << 20

// check tells whether the ranges are what was asked for, so that whoever goes by
// them leaves out no record and reads none twice.
func (m *Manifest) check(from, to int64) error {
	next := from
	for i := range m.Ranges {
		r := &m.Ranges[i]
		if r.Count < 1 || r.Bytes < 1 || r.Position < 0 || r.end() <= next || r.BaseOffset > next || i > 0 && r.BaseOffset != next {
			return fmt.Errorf("manifest of records from %d on has the range of %d bytes, %d records from %d on", next, r.Bytes, r.Count, r.BaseOffset)
		}
		if n := int64(len(r.Blocks)); n > 0 && (r.BlockBytes < 1 || (r.Bytes-1)/r.BlockBytes+1 != n) {
			return fmt.Errorf("manifest has a range of %d bytes in %d blocks of %d", r.Bytes, n, r.BlockBytes)
		}
		for j, b := range r.Blocks {
			if at := b.FirstBatch; at != nil && (*at < int64(j)*r.BlockBytes || *at >= min(int64(j+1)*r.BlockBytes, r.Bytes)) {
				return fmt.Errorf("manifest has a batch at %d in block %d of %d bytes", *at, j, r.BlockBytes)
			}
		}
		next = r.end()
	}
	if m.NextOffset != min(next, max(from, to)) {
		return fmt.Errorf("manifest of records up to %d goes on at %d", next, m.NextOffset)
	}
	return nil
}
