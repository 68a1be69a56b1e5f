package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// indexVersion begins an index.
const indexVersion = 1

// The least bytes that an entry of each kind takes. A count of entries that do
// not fit into what is left is refused before memory is taken for them.
const (
	indexTopicLenMin = 16 + 1 + 1
	indexBatchLenMin = 6
	indexRunLenMin   = 7 + 4 + 4 + 1 + indexBatchLenMin
)

// appendIndex encodes x after dst. The runs must be as Encode or DecodeIndex
// leaves them. Whatever follows from other fields is not written, or written as
// a difference to them, so that there is little to contradict itself.
func appendIndex(dst []byte, x *Index) []byte {
	dst = append(dst, indexVersion)
	dst = append(dst, x.ID[:]...)
	dst = append(dst, x.Origin.Node[:]...)
	dst = binary.AppendUvarint(dst, x.Origin.After)
	dst = binary.AppendUvarint(dst, x.Origin.Upto)

	dst = binary.AppendUvarint(dst, uint64(countTopics(x.Runs)))
	for i := range x.Runs {
		if r := &x.Runs[i]; beginsTopic(x.Runs, i) {
			dst = append(dst, r.Topic[:]...)
			dst = binary.AppendUvarint(dst, uint64(len(r.TopicName)))
			dst = append(dst, r.TopicName...)
		}
	}

	dst = binary.AppendUvarint(dst, uint64(len(x.Runs)))
	topic := -1
	for i := range x.Runs {
		if beginsTopic(x.Runs, i) {
			topic++
		}
		dst = appendIndexRun(dst, topic, &x.Runs[i], x.Compacted)
	}
	return dst
}

func appendIndexRun(dst []byte, topic int, r *IndexRun, compacted bool) []byte {
	dst = binary.AppendUvarint(dst, uint64(topic))
	dst = binary.AppendUvarint(dst, uint64(r.Partition))
	dst = binary.AppendUvarint(dst, uint64(r.Pos))
	dst = binary.AppendUvarint(dst, uint64(r.Len))
	dst = binary.AppendUvarint(dst, uint64(r.Records))
	if compacted {
		dst = binary.AppendUvarint(dst, uint64(r.Base))
	}
	dst = binary.AppendVarint(dst, r.MaxTimestamp)
	dst = binary.AppendUvarint(dst, distance(r.MinTimestamp, r.MaxTimestamp))
	dst = binary.BigEndian.AppendUint32(dst, r.CRC)
	for i := range r.Blocks {
		dst = binary.BigEndian.AppendUint32(dst, r.Blocks[i].CRC)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Batches)))
	for i := range r.Batches {
		b := &r.Batches[i]
		dst = binary.AppendUvarint(dst, uint64(b.Len))
		dst = binary.AppendUvarint(dst, uint64(b.Records))
		dst = binary.AppendUvarint(dst, distance(b.MaxTimestamp, r.MaxTimestamp))
		dst = binary.AppendVarint(dst, b.ProducerID)
		dst = binary.AppendVarint(dst, int64(b.ProducerEpoch))
		dst = binary.AppendVarint(dst, int64(b.BaseSequence))
	}
	return dst
}

// indexLen is the length in bytes of what appendIndex appends.
func indexLen(x *Index) int {
	n := 1 + len(x.ID) + len(x.Origin.Node) + uvarintLen(x.Origin.After) + uvarintLen(x.Origin.Upto)
	n += uvarintLen(uint64(countTopics(x.Runs))) + uvarintLen(uint64(len(x.Runs)))
	topic := -1
	for i := range x.Runs {
		r := &x.Runs[i]
		if beginsTopic(x.Runs, i) {
			topic++
			n += len(r.Topic) + uvarintLen(uint64(len(r.TopicName))) + len(r.TopicName)
		}
		n += uvarintLen(uint64(topic)) + uvarintLen(uint64(r.Partition)) + uvarintLen(uint64(r.Pos)) +
			uvarintLen(uint64(r.Len)) + uvarintLen(uint64(r.Records)) +
			varintLen(r.MaxTimestamp) + uvarintLen(distance(r.MinTimestamp, r.MaxTimestamp)) +
			4 + 4*len(r.Blocks) + uvarintLen(uint64(len(r.Batches)))
		if x.Compacted {
			n += uvarintLen(uint64(r.Base))
		}
		for j := range r.Batches {
			b := &r.Batches[j]
			n += uvarintLen(uint64(b.Len)) + uvarintLen(uint64(b.Records)) +
				uvarintLen(distance(b.MaxTimestamp, r.MaxTimestamp)) + varintLen(b.ProducerID) +
				varintLen(int64(b.ProducerEpoch)) + varintLen(int64(b.BaseSequence))
		}
	}
	return n
}

// beginsTopic tells whether runs[i] is the first of its topic.
func beginsTopic(runs []IndexRun, i int) bool { return i == 0 || runs[i].Topic != runs[i-1].Topic }

func countTopics(runs []IndexRun) int {
	n := 0
	for i := range runs {
		if beginsTopic(runs, i) {
			n++
		}
	}
	return n
}

// distance is to - from for from <= to; the difference of two int64 fits into a uint64.
func distance(from, to int64) uint64 { return uint64(to) - uint64(from) }

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func varintLen(v int64) int { return uvarintLen(uint64(v)<<1 ^ uint64(v>>63)) }

// DecodeIndex reads a segment's bytes from IndexPos to its end, and checks
// them against crc (Sealed.IndexCRC). It accepts what Encode writes and nothing
// else, and takes no more memory than in proportion to the tail. Every error is
// a CorruptError.
func DecodeIndex(tail []byte, crc uint32) (*Index, error) {
	if len(tail) < FooterLen {
		return nil, corruptf(0, "index and footer of %d bytes", len(tail))
	}
	index, foot := tail[:len(tail)-FooterLen], tail[len(tail)-FooterLen:]
	indexCRC := crc32.Checksum(index, Castagnoli)
	if got := CombineCRC(indexCRC, crc32.Checksum(foot, Castagnoli), FooterLen); got != crc {
		return nil, corruptf(0, "index and footer have CRC32C %08x, not %08x", got, crc)
	}
	footer, err := DecodeFooter(foot)
	if err != nil {
		return nil, err
	}
	if footer.IndexLen != int64(len(index)) {
		return nil, corruptf(footer.IndexPos, "index of %d bytes, footer says %d", len(index), footer.IndexLen)
	}
	if footer.IndexCRC != indexCRC {
		return nil, corruptf(footer.IndexPos, "index has CRC32C %08x, footer says %08x", indexCRC, footer.IndexCRC)
	}
	d := indexDecoder{rest: index}
	x := d.index(int64(footer.IndexPos), footer.Compacted)
	if d.err != nil {
		return nil, &CorruptError{Pos: footer.IndexPos + Pos(len(index)-len(d.rest)), Err: d.err}
	}
	return x, nil
}

// indexDecoder reads an index from front to back. After the first error it
// reads zeros, so that callers may check err once per entry.
type indexDecoder struct {
	rest []byte
	err  error
}

func (d *indexDecoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *indexDecoder) index(indexPos int64, compacted bool) *Index {
	if version := d.bytes(1); version[0] != indexVersion {
		d.fail("index version %d: %w", version[0], ErrVersion)
		return nil
	}
	x := &Index{
		ID:        ulid.ULID(d.bytes(len(ulid.ULID{}))),
		Compacted: compacted,
		Origin: Origin{
			Node:  uuid.UUID(d.bytes(len(uuid.UUID{}))),
			After: d.uvarint(math.MaxUint64),
			Upto:  d.uvarint(math.MaxUint64),
		},
	}
	if x.Origin.Upto < x.Origin.After {
		d.fail("origin ends at %d, before %d", x.Origin.Upto, x.Origin.After)
	}
	if compacted && x.Origin != (Origin{}) {
		d.fail("compacted segment with the origin of a flush")
	}
	topics := d.topics()
	x.Runs = make([]IndexRun, d.count(indexRunLenMin))
	topic := -1
	var pos int64
	for i := range x.Runs {
		if d.err != nil {
			return nil
		}
		r := &x.Runs[i]
		named := int(d.uvarint(uint64(len(topics) - 1)))
		r.Partition = int32(d.uvarint(math.MaxInt32))
		switch {
		case named == topic+1:
			topic++
		case named != topic:
			d.fail("run of topic %d after one of topic %d", named, topic)
			return nil
		case r.Partition <= x.Runs[i-1].Partition:
			d.fail("partition %d after %d", r.Partition, x.Runs[i-1].Partition)
			return nil
		}
		r.Topic, r.TopicName = topics[topic].id, topics[topic].name
		d.run(r, pos, indexPos, compacted)
		pos += r.Len
	}
	switch {
	case d.err != nil:
	case topic != len(topics)-1:
		d.fail("%d topics, runs for %d", len(topics), topic+1)
	case pos != indexPos:
		d.fail("runs end at byte %d, index begins at %d", pos, indexPos)
	case len(d.rest) != 0:
		d.fail("%d bytes after the index", len(d.rest))
	}
	return x
}

type indexTopic struct {
	id   uuid.UUID
	name string
}

// topics reads the table of topics; it has at least one.
func (d *indexDecoder) topics() []indexTopic {
	topics := make([]indexTopic, d.count(indexTopicLenMin))
	for i := range topics {
		t := &topics[i]
		t.id = uuid.UUID(d.bytes(len(uuid.UUID{})))
		t.name = string(d.bytes(int(d.uvarint(TopicNameLenMax))))
		if t.name == "" {
			d.fail("topic %s without a name", t.id)
		}
		if i > 0 && bytes.Compare(topics[i-1].id[:], t.id[:]) >= 0 {
			d.fail("topic %s after %s", t.id, topics[i-1].id)
		}
		if d.err != nil {
			break
		}
	}
	return topics
}

// run reads the rest of a run that must begin at byte pos and end at byte end
// at the latest.
func (d *indexDecoder) run(r *IndexRun, pos, end int64, compacted bool) {
	r.Pos = Pos(d.uvarint(math.MaxInt64))
	if int64(r.Pos) != pos {
		d.fail("run at byte %d, not at %d", r.Pos, pos)
		return
	}
	r.Len = int64(d.uvarint(uint64(end - pos)))
	r.Records = int64(d.uvarint(math.MaxInt64))
	if compacted {
		r.Base = recordbatch.Offset(d.uvarint(uint64(math.MaxInt64 - r.Records)))
	}
	r.MaxTimestamp = d.varint(math.MinInt64, math.MaxInt64)
	spread := d.uvarint(distance(math.MinInt64, r.MaxTimestamp))
	r.MinTimestamp = int64(uint64(r.MaxTimestamp) - spread)
	r.CRC = binary.BigEndian.Uint32(d.bytes(4))
	if d.err == nil && r.Len < recordbatch.HeaderLen {
		d.fail("run of %d bytes", r.Len)
	}
	if d.err != nil {
		return
	}
	blocks := blockCount(r.Len)
	if blocks > int64(len(d.rest)/4) {
		d.fail("%d blocks in %d bytes", blocks, len(d.rest))
		return
	}
	r.Blocks = make([]Block, blocks)
	for i := range r.Blocks {
		r.Blocks[i].CRC = binary.BigEndian.Uint32(d.bytes(4))
	}
	if crc := r.combineBlockCRCs(); crc != r.CRC {
		d.fail("run has CRC32C %08x, its blocks %08x", r.CRC, crc)
		return
	}
	d.batches(r, spread)
	if d.err == nil {
		r.describeBlocks()
	}
}

// batches reads the batches of a run, which must add up to what the run says.
func (d *indexDecoder) batches(r *IndexRun, spread uint64) {
	r.Batches = make([]IndexBatch, d.count(indexBatchLenMin))
	bytesLeft, recordsLeft, nearest := r.Len, r.Records, uint64(math.MaxUint64)
	for i := range r.Batches {
		b := &r.Batches[i]
		b.Len = int32(d.uvarint(math.MaxInt32))
		b.Records = int32(d.uvarint(math.MaxInt32))
		earlier := d.uvarint(spread)
		b.MaxTimestamp = int64(uint64(r.MaxTimestamp) - earlier)
		b.ProducerID = d.varint(math.MinInt64, math.MaxInt64)
		b.ProducerEpoch = int16(d.varint(math.MinInt16, math.MaxInt16))
		b.BaseSequence = int32(d.varint(math.MinInt32, math.MaxInt32))
		bytesLeft -= int64(b.Len)
		recordsLeft -= int64(b.Records)
		nearest = min(nearest, earlier)
		if d.err == nil && (b.Len < recordbatch.HeaderLen || b.Records < 1 || bytesLeft < 0 || recordsLeft < 0) {
			d.fail("batch of %d bytes and %d records", b.Len, b.Records)
		}
		if d.err != nil {
			return
		}
	}
	if d.err == nil && (bytesLeft != 0 || recordsLeft != 0 || nearest != 0) {
		d.fail("batches do not add up to their run")
	}
}

// bytes returns the next n bytes, or as many zeros after an error.
func (d *indexDecoder) bytes(n int) []byte {
	if d.err == nil && n > len(d.rest) {
		d.err = errors.New("index ends early")
	}
	if d.err != nil {
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// count reads the number of entries that follow, which is not 0, each of at
// least entryLenMin bytes.
func (d *indexDecoder) count(entryLenMin int) int {
	n := d.uvarint(math.MaxInt32)
	if d.err == nil && (n == 0 || n > uint64(len(d.rest)/entryLenMin)) {
		d.fail("%d entries in %d bytes", n, len(d.rest))
	}
	if d.err != nil {
		return 0
	}
	return int(n)
}

// uvarint reads a number of at most limit, in its shortest encoding.
func (d *indexDecoder) uvarint(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.rest)
	switch {
	case n <= 0 || n != uvarintLen(v):
		d.fail("malformed number")
		return 0
	case v > limit:
		d.fail("number %d is over %d", v, limit)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// varint reads a zigzag number within [least, most].
func (d *indexDecoder) varint(least, most int64) int64 {
	u := d.uvarint(math.MaxUint64)
	v := int64(u>>1) ^ -int64(u&1)
	if v < least || v > most {
		d.fail("number %d is not within %d and %d", v, least, most)
		return 0
	}
	return v
}
