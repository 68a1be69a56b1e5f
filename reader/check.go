package reader

import (
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// coveredPos is where the bytes of a batch begin that its own CRC32C covers.
const coveredPos = 21

// damaged is a *segment.CorruptError that hides what it was found by, since
// the errors of recordbatch stand for mistakes of a producer.
func damaged(key string, pos segment.Pos, err error) error {
	if found := (*segment.CorruptError)(nil); errors.As(err, &found) {
		pos, err = max(pos, found.Pos), found.Err
	}
	return &segment.CorruptError{Key: key, Pos: pos, Err: fmt.Errorf("%v", err)}
}

// checkSize tells whether a read returned as many bytes as there should be.
func checkSize(got []byte, want int64) error {
	if int64(len(got)) != want {
		return fmt.Errorf("%d bytes, not %d", len(got), want)
	}
	return nil
}

func checkCRC(got, want uint32) error {
	if got != want {
		return fmt.Errorf("CRC32C is %08x, not %08x", got, want)
	}
	return nil
}

// checkBatches checks each of the batches that lie back to back in data against
// its own CRC32C, and returns that of all of data. Each byte is hashed once:
// what a batch's own CRC leaves out is its first few bytes.
func checkBatches(data []byte) (crc uint32, err error) {
	for pos := 0; pos < len(data); {
		h, err := recordbatch.ParseHeader(data[pos:])
		if err != nil {
			return 0, fmt.Errorf("batch at %d: %w", pos, err)
		}
		batch := data[pos : pos+h.Size()]
		own := crc32.Checksum(batch[coveredPos:], segment.Castagnoli)
		if err := checkCRC(own, h.CRC); err != nil {
			return 0, fmt.Errorf("batch at %d: %w", pos, err)
		}
		crc = crc32.Update(crc, segment.Castagnoli, batch[:coveredPos])
		crc = segment.CombineCRC(crc, own, int64(len(batch)-coveredPos))
		pos += len(batch)
	}
	return crc, nil
}

// checkRun checks a run of whole batches against its CRC32C and theirs.
func checkRun(data []byte, want uint32) error {
	crc, err := checkBatches(data)
	if err != nil {
		return err
	}
	return checkCRC(crc, want)
}

// checkObject checks a whole segment: its index against the catalog's CRC32C,
// each run against the index, each batch against its own.
func checkObject(body []byte, indexPos segment.Pos, indexCRC uint32) (segment.Pos, error) {
	if indexPos < 0 || int64(indexPos) > int64(len(body)) {
		return indexPos, fmt.Errorf("index begins at %d of %d bytes", indexPos, len(body))
	}
	index, err := segment.DecodeIndex(body[indexPos:], indexCRC)
	if err != nil {
		return indexPos, err
	}
	for i := range index.Runs {
		run := &index.Runs[i]
		if run.Pos < 0 || run.Len < 0 || int64(run.Pos) > int64(indexPos)-run.Len {
			return indexPos, fmt.Errorf("run of %d bytes at %d lies outside of the segment", run.Len, run.Pos)
		}
		if err := checkRun(body[run.Pos:int64(run.Pos)+run.Len], run.CRC); err != nil {
			return run.Pos, err
		}
	}
	return 0, nil
}
