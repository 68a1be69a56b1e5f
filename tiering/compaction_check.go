package tiering

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// tally is what must be the same of a run of records before and after they are
// compacted.
type tally struct {
	partition  int32
	base, next catalog.Offset // where the records begin and end
	batches    int64
	bytes      int64
	crc        uint32 // CRC32C of all batches without their base offsets
}

// baseOffsetLen is the length in bytes of a batch's base offset, which it begins with.
const baseOffsetLen = 8

// add takes a batch that begins at the offset base.
func (t *tally) add(data []byte, h recordbatch.Header, base catalog.Offset) error {
	switch {
	case h.RecordCount < 1:
		return fmt.Errorf("batch of %d records", h.RecordCount)
	case base != t.next:
		return fmt.Errorf("batch at offset %d, not at %d", base, t.next)
	}
	t.next += catalog.Offset(h.RecordCount)
	t.batches++
	t.bytes += int64(len(data))
	t.crc = crc32.Update(t.crc, segment.Castagnoli, data[baseOffsetLen:])
	return nil
}

// conservationError is a compacted segment that does not hold what was read.
type conservationError struct{ reason string }

func (e *conservationError) Error() string { return "compacted records differ: " + e.reason }

// compare reads a segment back from the store, and compares its records with what
// was read to make it.
func (j *compaction) compare(ctx context.Context, o *catalog.NewObject, want []tally) error {
	if mutant.On(mutant.SkipConservation) {
		return nil
	}
	got, err := j.tallySegment(ctx, o)
	if damage := (*segment.CorruptError)(nil); errors.As(err, &damage) {
		return &conservationError{err.Error()}
	}
	if errors.Is(err, errSourceGone) {
		return &conservationError{segment.Key(o.ID) + " is not in the store"}
	}
	if err != nil {
		return fmt.Errorf("read %s back: %w", segment.Key(o.ID), err)
	}
	if len(got) != len(want) {
		return &conservationError{fmt.Sprintf("%d partitions, not %d", len(got), len(want))}
	}
	for i := range got {
		if got[i] != want[i] {
			return &conservationError{fmt.Sprintf("partition %d has %+v, not %+v", want[i].partition, got[i], want[i])}
		}
	}
	return nil
}

// tallySegment reads a compacted segment as the store has it. Damage is a
// *segment.CorruptError.
func (j *compaction) tallySegment(ctx context.Context, o *catalog.NewObject) ([]tally, error) {
	index, err := j.index(ctx, *o)
	if err != nil {
		return nil, err
	}
	tallies := make([]tally, len(index.Runs))
	var reads []stretch
	var owners []int // by read: the run that it is of
	for i := range index.Runs {
		run := &index.Runs[i]
		if run.Topic != j.topic.ID || !index.Compacted {
			return nil, &segment.CorruptError{Key: segment.Key(o.ID), Pos: run.Pos, Err: fmt.Errorf("run of topic %s", run.Topic)}
		}
		tallies[i] = tally{partition: run.Partition, base: run.Base, next: run.Base}
		for _, read := range j.blockReads(o.ID, run, 0, len(run.Blocks)-1) {
			reads, owners = append(reads, read), append(owners, i)
		}
	}
	var rest []byte
	err = j.loadAll(ctx, reads, func(i int, data []byte) error {
		t, run := &tallies[owners[i]], &index.Runs[owners[i]]
		last := i+1 == len(reads) || owners[i+1] != owners[i]
		if len(rest) > 0 {
			data = append(rest, data...)
			rest = nil
		}
		pos := 0
		for pos < len(data) {
			h, err := recordbatch.ParseHeader(data[pos:])
			if errors.Is(err, recordbatch.ErrTruncated) && !last {
				break
			}
			if err == nil && crc32.Checksum(data[pos+coveredPos:pos+h.Size()], segment.Castagnoli) != h.CRC {
				err = errors.New("batch has another CRC32C than it says")
			}
			if err == nil {
				err = t.add(data[pos:pos+h.Size()], h, h.BaseOffset)
			}
			if err != nil {
				return &segment.CorruptError{Key: segment.Key(o.ID), Pos: run.Pos + segment.Pos(t.bytes), Err: fmt.Errorf("%v", err)}
			}
			pos += h.Size()
		}
		rest = append([]byte(nil), data[pos:]...)
		return nil
	})
	return tallies, err
}
