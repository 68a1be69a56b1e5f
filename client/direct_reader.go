package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// manifestRanges is how many ranges are asked for at a time.
const manifestRanges = 200

// manifestPatience is how old a manifest must be for another one to be asked for
// when its URLs are refused: they may have expired, or compaction has moved the
// records.
const manifestPatience = time.Minute

// directFailuresMax is how many ranges in a row may fail to come from the bucket
// before a partition is read from nodes alone.
const directFailuresMax = 3

// handFetched takes records, or the error that ends reading. It tells whether
// there is somebody who wants more.
type handFetched func(*Fetched, error) bool

// readDirect reads a partition from next on from the bucket, and from a node
// where that cannot be. It returns where it has come to, and whether reading is
// to go on from there.
func (r *Reader) readDirect(ctx context.Context, one *readRange, next int64, hand handFetched) (int64, bool) {
	d := directRead{Reader: r, ctx: ctx, one: one, next: next, hand: hand}
	for d.next < one.to && d.failures < directFailuresMax {
		m, err := r.client.manifest(ctx, r.cfg.Topic, one.partition, d.next, one.to, manifestRanges, retryableFetch)
		if err != nil {
			if ctx.Err() == nil {
				hand(nil, r.failedAt(one, d.next, err))
			}
			return d.next, false
		}
		if len(m.Ranges) == 0 {
			break // to is beyond the end
		}
		if !m.hasURLs() {
			break // and no other page will have any
		}
		if !d.page(m) {
			return d.next, false
		}
	}
	return d.next, true
}

// directRead is the reading of one partition from the bucket.
type directRead struct {
	*Reader
	ctx  context.Context
	one  *readRange
	hand handFetched

	next     int64 // where it has come to
	failures int   // ranges in a row that did not come from the bucket
}

// page reads what a manifest lists, or less if another one is needed, and tells
// whether to go on.
func (d *directRead) page(m *Manifest) bool {
	asked := time.Now()
	var parts []*part
	for i := range m.Ranges {
		if r := &m.Ranges[i]; r.direct() {
			parts = append(parts, partsOf(r, d.next, d.one.to)...)
		}
	}
	loads := d.client.newDownloads(d.ctx, parts)
	defer loads.stop()
	for i := 0; i < len(m.Ranges) && d.next < d.one.to; i++ {
		r := &m.Ranges[i]
		end := r.end()
		if r.direct() {
			err := d.readRange(loads, r, m)
			if err == nil {
				d.failures = 0
				continue
			}
			if errors.Is(err, errNobodyWants) || d.ctx.Err() != nil {
				return false
			}
			if errors.Is(err, errURLRefused) && time.Since(asked) > manifestPatience {
				return true
			}
			loads.skip(r)
			d.failures++
			if d.cfg.Fallback != nil {
				d.cfg.Fallback(fmt.Errorf("topic %s partition %d at offset %d: %w", d.cfg.Topic, d.one.partition, d.next, err))
			}
			if d.failures == directFailuresMax {
				return true
			}
		} else {
			for i+1 < len(m.Ranges) && !m.Ranges[i+1].direct() {
				i++
				end = m.Ranges[i].end()
			}
		}
		var more bool
		if d.next, more = d.readNode(d.ctx, d.one, d.next, min(end, d.one.to), d.hand); !more {
			return false
		}
	}
	return true
}

// hasURLs tells whether ranges have URLs, as far as the manifest shows: one of
// shared objects alone says nothing.
func (m *Manifest) hasURLs() bool {
	named := false
	for i := range m.Ranges {
		if m.Ranges[i].URL != "" {
			return true
		}
		named = named || m.Ranges[i].Key != ""
	}
	return !named
}

// direct tells whether the range can be had from the bucket.
func (r *ManifestRange) direct() bool {
	return r.URL != "" && (len(r.Blocks) > 0 || r.Bytes <= unblockedBytesMax)
}

// errNobodyWants ends a loop that was left.
var errNobodyWants = errors.New("nobody wants more")

// readRange reads a range from the bucket up to its end, or that of what is
// wanted.
func (d *directRead) readRange(loads *downloads, r *ManifestRange, m *Manifest) error {
	end := min(r.end(), d.one.to)
	rest := batchCutter{base: -1}
	for d.next < end {
		if loads.used == len(loads.parts) || loads.parts[loads.used].of != r {
			return fmt.Errorf("the range of %d records from %d on ends at %d", r.Count, r.BaseOffset, d.next)
		}
		p, err := loads.next()
		if err != nil {
			return err
		}
		data := p.data
		p.data = nil
		if rest.base < 0 {
			rest.base, data = p.base, data[p.skip:]
		}
		batches, err := rest.cut(data)
		if err == nil && rest.base > r.end() {
			err = fmt.Errorf("the range of %d records from %d on has more", r.Count, r.BaseOffset)
		}
		if err != nil {
			return err
		}
		f := &Fetched{
			Topic: d.cfg.Topic, Partition: d.one.partition, NextOffset: d.next,
			HighWatermark: m.HighWatermark, LogStartOffset: m.LogStartOffset,
		}
		err = f.read(batches)
		f.cut(end)
		d.next = f.NextOffset
		if f.Len() > 0 {
			d.direct.Add(int64(f.Len()))
			if !d.hand(f, nil) {
				return errNobodyWants
			}
		}
		if err != nil {
			return err
		}
	}
	loads.skip(r)
	return nil
}

// Where in a batch its length and its record count are, and what the length
// does not count.
const (
	batchLengthPos   = 8
	batchUncounted   = 12
	batchLastDelta   = 23 // of the last record's offset from the base
	storedBatchMax   = 128 << 20
	batchLastDeltaTo = batchLastDelta + 4
)

// batchCutter cuts batches from bytes that come in parts, and sets their offsets.
type batchCutter struct {
	base int64  // of the next batch
	rest []byte // of a batch that is not whole yet
}

// cut returns the batches that are whole. It keeps and changes data.
func (c *batchCutter) cut(data []byte) ([]byte, error) {
	if len(c.rest) > 0 {
		data = append(c.rest, data...)
	}
	at := 0
	for len(data)-at >= recordbatch.HeaderLen {
		b := data[at:]
		size := int64(binary.BigEndian.Uint32(b[batchLengthPos:])) + batchUncounted
		if size < recordbatch.HeaderLen || size > storedBatchMax {
			return nil, fmt.Errorf("batch at offset %d has %d bytes", c.base, size)
		}
		if size > int64(len(b)) {
			break
		}
		last := int32(binary.BigEndian.Uint32(b[batchLastDelta:batchLastDeltaTo]))
		if last < 0 {
			return nil, fmt.Errorf("batch at offset %d ends %d before it", c.base, -last)
		}
		recordbatch.PatchBaseOffset(b[:size], recordbatch.Offset(c.base))
		c.base += int64(last) + 1
		at += int(size)
	}
	c.rest = append([]byte(nil), data[at:]...)
	return data[:at:at], nil
}
