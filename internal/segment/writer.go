package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// Writer writes a compacted segment to a stream as its batches come. It holds no
// batch, only what the index will say: about 40 bytes for each.
//
// After the first error every call fails, and what was written is no segment.
type Writer struct {
	dst   io.Writer
	index Index
	pos   Pos
	next  recordbatch.Offset // of the run's next batch
	block int64              // bytes of the run in its last block, which is not full
	err   error
}

// Written is a segment that a Writer has finished.
type Written struct {
	Size     int64 // bytes
	IndexPos Pos
	IndexCRC uint32 // CRC32C of index and footer
	Index    *Index
}

// NewWriter returns a Writer of the segment id.
func NewWriter(dst io.Writer, id ulid.ULID) *Writer {
	return &Writer{dst: dst, index: Index{ID: id, Compacted: true}}
}

// Pos is where the next byte goes.
func (w *Writer) Pos() Pos { return w.pos }

// BeginRun begins the run of a partition, whose first batch has the offset base.
// Runs come in the order of topic UUID (as bytes), then partition.
func (w *Writer) BeginRun(topic uuid.UUID, name string, partition int32, base recordbatch.Offset) error {
	if err := w.endRun(); err != nil {
		return err
	}
	if n := len(w.index.Runs); n > 0 {
		last := &w.index.Runs[n-1]
		if comparePartitions(last.Topic, last.Partition, topic, partition) >= 0 || last.Topic == topic && last.TopicName != name {
			return w.fail(fmt.Errorf("run of topic %s (%s), partition %d, after topic %s (%s), partition %d", topic, name, partition, last.Topic, last.TopicName, last.Partition))
		}
	}
	if partition < 0 || base < 0 || name == "" || len(name) > TopicNameLenMax {
		return w.fail(fmt.Errorf("run of topic %s of name %q, partition %d, from offset %d", topic, name, partition, base))
	}
	w.index.Runs = append(w.index.Runs, IndexRun{
		Topic: topic, TopicName: name, Partition: partition, Pos: w.pos, Base: base,
		MinTimestamp: math.MaxInt64, MaxTimestamp: math.MinInt64,
	})
	w.next, w.block = base, 0
	return nil
}

// Append writes a batch, whose header was parsed from data and says its base
// offset. Its own CRC32C must have been checked; the index's are of the bytes
// written, and if these changed since then, BeginRun or Close fails.
func (w *Writer) Append(data []byte, h recordbatch.Header) error {
	b := Batch{Data: data, Header: h}
	switch {
	case w.err != nil:
		return w.err
	case len(w.index.Runs) == 0:
		return w.fail(errors.New("batch without a run"))
	case h.BaseOffset != w.next:
		return w.fail(fmt.Errorf("batch at offset %d, not at %d", h.BaseOffset, w.next))
	case w.next > math.MaxInt64-recordbatch.Offset(h.RecordCount):
		return w.fail(fmt.Errorf("%d records at offset %d", h.RecordCount, w.next))
	}
	if err := b.check(); err != nil {
		return w.fail(err)
	}
	if _, err := w.dst.Write(data); err != nil {
		return w.fail(err)
	}
	w.index.Runs[len(w.index.Runs)-1].add(&b)
	w.hash(data)
	w.pos += Pos(len(data))
	w.next += recordbatch.Offset(h.RecordCount)
	return nil
}

// hash adds bytes to the blocks of the run.
func (w *Writer) hash(data []byte) {
	r := &w.index.Runs[len(w.index.Runs)-1]
	for len(data) > 0 {
		if w.block == 0 {
			r.Blocks = append(r.Blocks, Block{})
		}
		n := min(int64(len(data)), BlockLen-w.block)
		last := &r.Blocks[len(r.Blocks)-1]
		last.CRC = crc32.Update(last.CRC, Castagnoli, data[:n])
		data = data[n:]
		w.block = (w.block + n) % BlockLen
	}
}

func (w *Writer) endRun() error {
	if w.err != nil || len(w.index.Runs) == 0 {
		return w.err
	}
	r := &w.index.Runs[len(w.index.Runs)-1]
	if len(r.Batches) == 0 {
		return w.fail(fmt.Errorf("topic %s, partition %d: run without batches", r.Topic, r.Partition))
	}
	if crc := r.combineBlockCRCs(); crc != r.CRC {
		return w.fail(fmt.Errorf("topic %s, partition %d: run has CRC32C %08x, its batches %08x", r.Topic, r.Partition, crc, r.CRC))
	}
	r.describeBlocks()
	return nil
}

// Close writes index and footer. It does not close the stream.
func (w *Writer) Close() (Written, error) {
	if err := w.endRun(); err != nil {
		return Written{}, err
	}
	if len(w.index.Runs) == 0 {
		return Written{}, w.fail(errors.New("no runs"))
	}
	tail := appendIndex(make([]byte, 0, indexLen(&w.index)+FooterLen), &w.index)
	tail = appendFooter(tail, Footer{
		Compacted: true,
		IndexPos:  w.pos,
		IndexLen:  int64(len(tail)),
		IndexCRC:  crc32.Checksum(tail, Castagnoli),
	})
	if _, err := w.dst.Write(tail); err != nil {
		return Written{}, w.fail(err)
	}
	written := Written{
		Size:     int64(w.pos) + int64(len(tail)),
		IndexPos: w.pos,
		IndexCRC: crc32.Checksum(tail, Castagnoli),
		Index:    &w.index,
	}
	w.err = errors.New("segment is closed")
	return written, nil
}

func (w *Writer) fail(err error) error {
	w.err = fmt.Errorf("write segment %s: %w", w.index.ID, err)
	return w.err
}
