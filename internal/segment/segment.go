// Package segment is the format of a segment: one immutable object that holds
// the batches of many partitions, grouped by partition, then an index, then a
// footer of fixed size. It does no I/O.
package segment

import (
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// Pos counts bytes from the start of an object.
type Pos int64

// BlockLen is the length in bytes of the blocks into which a run is cut for
// checking; the last block of a run may be shorter.
const BlockLen = 1 << 20

// Castagnoli is the table of every CRC32C in Wadi.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is one record batch on its way into a segment.
type Batch struct {
	Data   []byte
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
	Upto  uint64 // its last number
}

// Sealed is an encoded segment.
type Sealed struct {
	ID       ulid.ULID
	Body     []byte
	IndexPos Pos
	IndexCRC uint32 // CRC32C of Body[IndexPos:], index and footer
	Runs     []Run  // sorted by topic and partition, positions filled in
}

// Encode seals runs into a segment. Runs of the same partition must have been
// joined; batches keep their order.
func Encode(id ulid.ULID, origin Origin, runs []Run) (*Sealed, error) { panic("stub") }

// Index is the decoded tail of a segment.
type Index struct {
	ID     ulid.ULID
	Origin Origin
	Runs   []IndexRun
}

// IndexRun describes one run.
type IndexRun struct {
	Topic        uuid.UUID
	TopicName    string
	Partition    int32
	Pos          Pos
	Len          int64
	Records      int64
	MinTimestamp int64 // ms
	MaxTimestamp int64 // ms
	CRC          uint32
	Blocks       []Block
	Batches      []IndexBatch
}

// Block is one stretch of at most BlockLen bytes of a run, with what a reader
// needs to begin there.
type Block struct {
	CRC           uint32
	FirstBatch    int64 // bytes from the start of the run to the first batch that begins in the block; -1 if none does
	RecordsBefore int64 // records of the run before that batch
	MaxTimestamp  int64 // ms; of the batches that begin in the block
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

// FooterLen is the length in bytes of the footer.
const FooterLen = 32

// Footer is the fixed end of a segment.
type Footer struct {
	IndexPos Pos
	IndexLen int64 // bytes, without the footer
	IndexCRC uint32
}

// DecodeFooter reads the last FooterLen bytes of a segment.
func DecodeFooter(b []byte) (Footer, error) { panic("stub") }

// DecodeIndex reads a segment's bytes from IndexPos to its end, and checks
// them against crc (Sealed.IndexCRC).
func DecodeIndex(tail []byte, crc uint32) (*Index, error) { panic("stub") }

// CombineCRC returns the CRC32C of a followed by b, given those of a and b and
// the length of b in bytes.
func CombineCRC(a, b uint32, lenB int64) uint32 { panic("stub") }

// Key is the key of a segment: segments/<2 hex>/<ULID>.seg, where the two hex
// digits are the ULID's last byte, which is random and so spreads the load over
// a store's key partitions.
func Key(id ulid.ULID) string { panic("stub") }

// ParseKey is the inverse of Key.
func ParseKey(key string) (ulid.ULID, error) { panic("stub") }

// CorruptError is bytes that are not what was written.
type CorruptError struct {
	Key string // of the object, if known
	Pos Pos
	Err error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt segment %s at byte %d: %v", e.Key, e.Pos, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }
