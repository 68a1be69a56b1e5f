package segment

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// BlockLen is the length in bytes of the blocks into which a run is cut for
// checking; the last block of a run may be shorter.
const BlockLen = 1 << 20

// TopicNameLenMax is the longest topic name in bytes that a segment can hold.
const TopicNameLenMax = 249

// Index is the decoded tail of a segment.
type Index struct {
	ID        ulid.ULID
	Compacted bool       // the batches have their base offsets, and Origin is zero
	Origin    Origin     // of a flush
	Runs      []IndexRun // sorted by topic (as bytes), then partition
}

// IndexRun describes one run.
type IndexRun struct {
	Topic        uuid.UUID
	TopicName    string // at the time of writing; only the UUID identifies the topic
	Partition    int32
	Pos          Pos
	Len          int64              // bytes; the sum of the batches'
	Records      int64              // the sum of the batches'
	Base         recordbatch.Offset // of the first batch, in a compacted segment; the others follow without a gap
	MinTimestamp int64              // ms; the least base timestamp of a batch, or max timestamp if that is less
	MaxTimestamp int64              // ms; the greatest of the batches'
	CRC          uint32
	Blocks       []Block // the run cut at multiples of BlockLen from its start
	Batches      []IndexBatch
}

// Block is one stretch of at most BlockLen bytes of a run, with what a reader
// needs to begin there.
type Block struct {
	CRC           uint32
	FirstBatch    int64 // bytes from the start of the run to the first batch that begins in the block; -1 if none does
	RecordsBefore int64 // records of the batches that begin before the block, so those before FirstBatch
	MaxTimestamp  int64 // ms; of the batches that begin in the block; the least int64 if none does
}

// IndexBatch describes one batch of a run.
type IndexBatch struct {
	Len           int32
	Records       int32
	MaxTimestamp  int64
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
}

// Find returns the run of a partition.
func (x *Index) Find(topic uuid.UUID, partition int32) (*IndexRun, bool) {
	i, ok := slices.BinarySearchFunc(x.Runs, partition, func(r IndexRun, partition int32) int {
		return comparePartitions(r.Topic, r.Partition, topic, partition)
	})
	if !ok {
		return nil, false
	}
	return &x.Runs[i], true
}

// BlocksFor returns the first and the last of the blocks (both included, as
// indexes of Blocks) that hold the n bytes at pos of the segment. It is an
// error if those bytes are none, or not all the run's.
func (r *IndexRun) BlocksFor(pos Pos, n int64) (first, last int, err error) {
	from := int64(pos - r.Pos)
	if pos < r.Pos || from >= r.Len || n <= 0 || n > r.Len-from {
		return 0, 0, fmt.Errorf("%d bytes at %d are not within the run of %d bytes at %d", n, pos, r.Len, r.Pos)
	}
	return int(from / BlockLen), int((from + n - 1) / BlockLen), nil
}

// BlockRange returns where in the segment block i of the run lies, and its
// length in bytes.
func (r *IndexRun) BlockRange(i int) (Pos, int64) {
	from := int64(i) * BlockLen
	return r.Pos + Pos(from), min(BlockLen, r.Len-from)
}

// blockCount is the number of blocks in a run of n > 0 bytes. It does not overflow.
func blockCount(n int64) int64 { return (n-1)/BlockLen + 1 }

// describeBlocks fills in all of r.Blocks but their CRCs, from r.Batches.
func (r *IndexRun) describeBlocks() {
	for i := range r.Blocks {
		r.Blocks[i].FirstBatch = -1
		r.Blocks[i].MaxTimestamp = math.MinInt64
	}
	var pos, records int64
	described := 0 // blocks whose RecordsBefore is known
	for i := range r.Batches {
		batch := &r.Batches[i]
		in := int(pos / BlockLen)
		for ; described <= in; described++ {
			r.Blocks[described].RecordsBefore = records
		}
		block := &r.Blocks[in]
		if block.FirstBatch < 0 {
			block.FirstBatch = pos
		}
		block.MaxTimestamp = max(block.MaxTimestamp, batch.MaxTimestamp)
		pos += int64(batch.Len)
		records += int64(batch.Records)
	}
	for ; described < len(r.Blocks); described++ {
		r.Blocks[described].RecordsBefore = records
	}
}

// combineBlockCRCs returns the CRC32C of the whole run, as its blocks have it.
func (r *IndexRun) combineBlockCRCs() uint32 {
	var crc uint32
	for i := range r.Blocks {
		_, n := r.BlockRange(i)
		crc = CombineCRC(crc, r.Blocks[i].CRC, n)
	}
	return crc
}

func comparePartitions(topicA uuid.UUID, a int32, topicB uuid.UUID, b int32) int {
	return cmp.Or(bytes.Compare(topicA[:], topicB[:]), cmp.Compare(a, b))
}
