package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// Pos counts bytes from the start of an object.
type Pos int64

// Batch is one record batch on its way into a segment.
type Batch struct {
	Data   []byte             // Encode makes it point into Sealed.Body
	Header recordbatch.Header // as parsed from Data
	CRC    uint32             // CRC32C of all of Data; filled in by Encode
	Pos    Pos                // where Data begins in the segment; filled in by Encode
}

// Run is the contiguous bytes of one partition within a segment.
type Run struct {
	Topic     uuid.UUID
	TopicName string
	Partition int32
	Batches   []Batch
}

// Origin says which ingest node's commit a segment was made for.
type Origin struct {
	Node  uuid.UUID
	After uint64 // the commit's number before
	Upto  uint64 // its last number; not less than After
}

// Sealed is an encoded segment.
type Sealed struct {
	ID       ulid.ULID
	Body     []byte
	IndexPos Pos
	IndexCRC uint32 // CRC32C of Body[IndexPos:], index and footer
	CRC      uint32 // CRC32C of all of Body, if its batches are what their producers sent
	Runs     []Run  // sorted by topic and partition, positions filled in
}

// Where in a batch its CRC and its record count lie, and where the bytes begin
// that the CRC covers, up to the batch's end.
const (
	batchCRCPos         = 17
	batchCoveredPos     = 21
	batchRecordCountPos = 57
)

// Encode seals runs into a segment. Runs of the same partition must have been
// joined; batches keep their order and their bytes, base offset and partition
// leader epoch included. Each byte is copied once, into a Body of exactly the
// length needed.
//
// Encode takes over runs: it sorts them in place, and fills in CRC and Pos of
// their batches and makes Data point into Body. What Data pointed to before is
// free for other use. To seal the same batches again, under another id, pass
// Sealed.Runs.
//
// The CRC in each header must have been checked against the batch's bytes
// before. The CRCs of batches, runs, blocks and of the whole are combined from it
// and not computed anew; so they hold what the producer sent, and if the bytes
// changed in memory since then, a store that is given Sealed.CRC will refuse
// them, and a reader will notice. But for a batch that was never checked, the
// segment would state a CRC that its bytes never had. (Of a batch that lies in
// two blocks its shorter part is hashed, since nothing else tells the CRC of one.)
//
// Errors are bugs of the caller: no runs, an empty or repeated one, or a header
// that is not that of its bytes.
func Encode(id ulid.ULID, origin Origin, runs []Run) (*Sealed, error) {
	if err := prepareRuns(origin, runs); err != nil {
		return nil, fmt.Errorf("encode segment %s: %w", id, err)
	}
	x := &Index{ID: id, Origin: origin, Runs: make([]IndexRun, len(runs))}
	var indexPos Pos
	batches := 0
	for i := range runs {
		x.Runs[i] = describeRun(&runs[i], indexPos)
		indexPos += Pos(x.Runs[i].Len)
		batches += len(runs[i].Batches)
	}
	tailLen := indexLen(x) + FooterLen
	if int64(indexPos) > math.MaxInt-int64(tailLen) {
		return nil, fmt.Errorf("encode segment %s: %d bytes", id, indexPos)
	}
	parts := make([][]byte, 0, batches+1)
	for i := range runs {
		x.Runs[i].checksumBlocks(runs[i].Batches)
		for j := range runs[i].Batches {
			parts = append(parts, runs[i].Batches[j].Data)
		}
	}
	tail := appendIndex(make([]byte, 0, tailLen), x)
	indexCRC := crc32.Checksum(tail, Castagnoli)
	tail = appendFooter(tail, Footer{
		IndexPos: indexPos,
		IndexLen: int64(len(tail)),
		IndexCRC: indexCRC,
	})
	footerCRC := crc32.Checksum(tail[len(tail)-FooterLen:], Castagnoli)
	body := bytes.Join(append(parts, tail), nil) // unlike make it does not zero what will be written
	for i := range runs {
		for j := range runs[i].Batches {
			b := &runs[i].Batches[j]
			end := b.Pos + Pos(len(b.Data))
			b.Data = body[b.Pos:end:end]
		}
	}
	s := &Sealed{
		ID:       id,
		Body:     body,
		IndexPos: indexPos,
		IndexCRC: CombineCRC(indexCRC, footerCRC, FooterLen),
		Runs:     runs,
	}
	for i := range x.Runs {
		s.CRC = CombineCRC(s.CRC, x.Runs[i].CRC, x.Runs[i].Len)
	}
	s.CRC = CombineCRC(s.CRC, s.IndexCRC, int64(len(body))-int64(indexPos))
	return s, nil
}

// prepareRuns sorts runs and checks that they can be encoded.
func prepareRuns(origin Origin, runs []Run) error {
	if len(runs) == 0 {
		return errors.New("no runs")
	}
	if origin.Upto < origin.After {
		return fmt.Errorf("origin ends at %d, before %d", origin.Upto, origin.After)
	}
	slices.SortFunc(runs, func(a, b Run) int {
		return comparePartitions(a.Topic, a.Partition, b.Topic, b.Partition)
	})
	for i := range runs {
		r := &runs[i]
		if r.Partition < 0 || len(r.TopicName) == 0 || len(r.TopicName) > TopicNameLenMax || len(r.Batches) == 0 {
			return fmt.Errorf("topic %s of name %q, partition %d, %d batches", r.Topic, r.TopicName, r.Partition, len(r.Batches))
		}
		if i > 0 && r.Topic == runs[i-1].Topic {
			if r.Partition == runs[i-1].Partition {
				return fmt.Errorf("two runs for topic %s, partition %d", r.Topic, r.Partition)
			}
			if r.TopicName != runs[i-1].TopicName {
				return fmt.Errorf("topic %s has two names, %q and %q", r.Topic, r.TopicName, runs[i-1].TopicName)
			}
		}
		for j := range r.Batches {
			if err := r.Batches[j].check(); err != nil {
				return fmt.Errorf("topic %s, partition %d, batch %d: %w", r.Topic, r.Partition, j, err)
			}
		}
	}
	return nil
}

// check compares the header with the fields of the bytes that a segment's own
// figures rest on; a header parsed before the batch was changed would show here.
func (b *Batch) check() error {
	h := &b.Header
	if len(b.Data) < recordbatch.HeaderLen || len(b.Data) > math.MaxInt32 || len(b.Data) != h.Size() {
		return fmt.Errorf("batch of %d bytes, header says %d", len(b.Data), h.Size())
	}
	if crc := binary.BigEndian.Uint32(b.Data[batchCRCPos:]); crc != h.CRC {
		return fmt.Errorf("batch says CRC32C %08x, header %08x", crc, h.CRC)
	}
	if n := binary.BigEndian.Uint32(b.Data[batchRecordCountPos:]); h.RecordCount < 1 || n != uint32(h.RecordCount) {
		return fmt.Errorf("batch says %d records, header %d", int32(n), h.RecordCount)
	}
	return nil
}

// describeRun fills in Pos and CRC of the run's batches, and returns the run's
// entry in the index, without the CRCs of its blocks.
func describeRun(run *Run, pos Pos) IndexRun {
	r := IndexRun{
		Topic:        run.Topic,
		TopicName:    run.TopicName,
		Partition:    run.Partition,
		Pos:          pos,
		MinTimestamp: math.MaxInt64,
		MaxTimestamp: math.MinInt64,
		Batches:      make([]IndexBatch, 0, len(run.Batches)),
	}
	for i := range run.Batches {
		run.Batches[i].Pos = pos + Pos(r.Len)
		r.add(&run.Batches[i])
	}
	r.Blocks = make([]Block, blockCount(r.Len))
	r.describeBlocks()
	return r
}

// add takes a batch into the run's figures, and fills in its CRC.
func (r *IndexRun) add(b *Batch) {
	b.CRC = CombineCRC(crc32.Checksum(b.Data[:batchCoveredPos], Castagnoli), b.Header.CRC, int64(len(b.Data)-batchCoveredPos))
	r.CRC = CombineCRC(r.CRC, b.CRC, int64(len(b.Data)))
	r.Len += int64(len(b.Data))
	r.Records += int64(b.Header.RecordCount)
	r.MaxTimestamp = max(r.MaxTimestamp, b.Header.MaxTimestamp)
	r.MinTimestamp = min(r.MinTimestamp, minTimestamp(&b.Header))
	r.Batches = append(r.Batches, IndexBatch{
		Len:           int32(len(b.Data)),
		Records:       b.Header.RecordCount,
		MaxTimestamp:  b.Header.MaxTimestamp,
		ProducerID:    b.Header.ProducerID,
		ProducerEpoch: b.Header.ProducerEpoch,
		BaseSequence:  b.Header.BaseSequence,
	})
}

// minTimestamp is the least time of a batch that its header tells of.
func minTimestamp(h *recordbatch.Header) int64 {
	if h.LogAppendTime() {
		return h.MaxTimestamp
	}
	return min(h.BaseTimestamp, h.MaxTimestamp)
}

// checksumBlocks fills in the CRCs of r's blocks, from those of its batches.
func (r *IndexRun) checksumBlocks(batches []Batch) {
	block, room := 0, int64(BlockLen)
	add := func(crc uint32, n int64) {
		r.Blocks[block].CRC = CombineCRC(r.Blocks[block].CRC, crc, n)
		room -= n
	}
	for i := range batches {
		rest, crc := batches[i].Data, batches[i].CRC
		for int64(len(rest)) > room {
			head, tail := rest[:room], rest[room:]
			headCRC, tailCRC := checksumParts(head, tail, crc)
			add(headCRC, int64(len(head)))
			block, room = block+1, BlockLen
			rest, crc = tail, tailCRC
		}
		add(crc, int64(len(rest)))
	}
}

// checksumParts returns the CRCs of two parts of which the whole has the CRC
// crc, and hashes the shorter one.
func checksumParts(head, tail []byte, crc uint32) (headCRC, tailCRC uint32) {
	if len(head) == 0 {
		return 0, crc
	}
	if len(head) <= len(tail) {
		headCRC = crc32.Checksum(head, Castagnoli)
		return headCRC, CombineCRC(headCRC, crc, int64(len(tail)))
	}
	tailCRC = crc32.Checksum(tail, Castagnoli)
	return cutCRC(crc, tailCRC, int64(len(tail))), tailCRC
}
