package ingest

import (
	"errors"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// Acks is when a produce request is answered.
type Acks uint8

// AcksAll answers when the records have their offsets in the catalog; AcksOne
// when they are fsynced in this node's write-ahead buffer.
const (
	AcksAll Acks = iota
	AcksOne
)

// AnyPartition lets the key choose: murmur2 as Kafka's clients do; without a
// key all records of a request go to one partition, another for each request.
const AnyPartition int32 = -1

// Record is one record of a produce request. Its Offset is not used.
type Record struct {
	recordbatch.Record
	Partition int32 // or AnyPartition
}

// Options of a produce request.
type Options struct {
	Acks     Acks
	Producer recordbatch.Producer // of the one batch that Records becomes; ID -1 for none
	Expected catalog.Offset       // what the first record must get, or catalog.AnyOffset; needs a single partition
	Token    string               // fencing token that the partition must have, "" for any; needs a single partition
	Key      IdempotencyKey

	// Placed, if not nil, is called at most once, when the request has taken its
	// place in the order of this node's commits: records of a request that is
	// made after that come behind its records. It must not block.
	Placed func()
}

// IdempotencyKey makes a request idempotent: for RequestKeyExpiryMs another one
// of the same name in the same topic gets its results, and lands nowhere.
type IdempotencyKey struct {
	Name    string   // "" for none
	Request [16]byte // a hash of all that the request says, to find out another one under its name
}

// needsKeys tells whether the catalog must be at the feature level of keys and tokens.
func (o *Options) needsKeys() bool { return o.Token != "" || o.Key.Name != "" }

// Result is what became of the records of one request in one partition.
type Result struct {
	Partition  int32
	BaseOffset catalog.Offset // -1 with AcksOne
	Records    int
	Timestamp  int64 // ms: the log's, with message.timestamp.type=LogAppendTime, else the greatest of the records'
	Duplicate  bool  // all of them had been accepted before, and BaseOffset is from then
}

// Why a produce request failed, beside the errors of catalog (ErrTopicNotFound,
// ErrPartitionNotFound, ErrUnknownProducer, ErrProducerFenced, *SequenceError,
// *OffsetError, *FenceError, ErrKeyReused, ErrTooManyKeys, *FeatureLevelError,
// ErrCatalogFull) and *recordbatch.InvalidError. Errors that wrap
// ErrOutcomeUnknown may have been committed; all others were not.
var (
	ErrOutcomeUnknown = errors.New("the outcome of the commit is unknown")
	ErrNotCommitted   = errors.New("the records were not committed")
	ErrNeedsAcksAll   = errors.New("acks=1 cannot be combined with a producer id, an idempotency key, an expected offset or a fencing token")
	ErrTwoKeys        = errors.New("a producer id and an idempotency key cannot be combined")
	ErrNoWAL          = errors.New("this node has no write-ahead buffer and offers acks=all only")
	ErrNoRecords      = errors.New("no records")
	ErrNotIngest      = errors.New("this node does not take records")
)

// OverloadedError refuses a request for now; nothing of it was stored.
type OverloadedError struct {
	Reason     string // "starting", "buffers full", "draining", "stopped", "write-ahead buffer full", "write-ahead buffer failed"
	RetryAfter time.Duration
}

func (e *OverloadedError) Error() string {
	return fmt.Sprintf("%s, retry after %s", e.Reason, e.RetryAfter)
}
