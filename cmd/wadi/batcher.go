package main

import (
	"sync"
	"time"

	"github.com/wadilog/wadi/client"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// recordOverhead is at least what the encoding of a record adds to its key and
// value, in bytes.
const recordOverhead = 24

// batchRecordsMax bounds the records of one batch; a node takes 100,000.
const batchRecordsMax = 50_000

// lineBatch holds records of one partition that travel together.
type lineBatch struct {
	partition int32
	firstLine int64 // number of the line of the first record, from 1
	begun     time.Time
	size      int // bytes of the encoded batch before compression, at most
	data      []byte
	spans     []recordSpan
}

// recordSpan is where a record's key and value lie in data, one after the other.
type recordSpan struct {
	key   int32 // bytes, or -1 for null
	value int32 // bytes
}

func (b *lineBatch) len() int { return len(b.spans) }

// records appends the batch's records to dst, all with the time ms.
func (b *lineBatch) records(dst []recordbatch.Record, ms int64) []recordbatch.Record {
	pos := 0
	for _, span := range b.spans {
		record := recordbatch.Record{Timestamp: ms}
		if span.key >= 0 {
			record.Key = b.data[pos : pos+int(span.key) : pos+int(span.key)]
			pos += int(span.key)
		}
		record.Value = b.data[pos : pos+int(span.value) : pos+int(span.value)]
		pos += int(span.value)
		dst = append(dst, record)
	}
	return dst
}

// batcher sorts records into batches. What it cuts depends on nothing but the
// records and its settings: a second run over the same lines cuts the same
// batches, which is what makes resuming exact; but for one that lingers. It is for
// one goroutine.
type batcher struct {
	mu         sync.Mutex // against the one that ends batches which have lingered
	failed     error      // guarded by mu; of that one's
	partitions int32
	batchBytes int   // a batch is cut before it grows beyond
	openBytes  int   // the fullest batch is cut when all open ones hold more
	forced     int32 // partition for all records, or -1
	keyless    int32 // partition of records without a key, until its batch is cut
	open       map[int32]*lineBatch
	openSize   int // bytes of all open batches
	emit       func(*lineBatch) error
	fresh      func() *lineBatch // an empty batch, perhaps a used one
}

// add puts a record into the open batch of its partition.
func (b *batcher) add(key, value []byte, line int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed != nil {
		return b.failed
	}
	size := len(key) + len(value) + recordOverhead
	partition := b.partitionOf(key)
	open := b.open[partition]
	for open != nil && (open.size+size > b.batchBytes || open.len() == batchRecordsMax) {
		if err := b.cut(open); err != nil {
			return err
		}
		partition = b.partitionOf(key) // without a key, now the next one
		open = b.open[partition]
	}
	if open == nil {
		open = b.fresh()
		open.partition, open.firstLine, open.size = partition, line, recordbatch.HeaderLen
		open.begun = time.Now()
		b.open[partition] = open
		b.openSize += open.size
	}
	span := recordSpan{key: -1, value: int32(len(value))}
	if key != nil {
		span.key = int32(len(key))
		open.data = append(open.data, key...)
	}
	open.data = append(open.data, value...)
	open.spans = append(open.spans, span)
	open.size += size
	b.openSize += size
	for b.openSize > b.openBytes {
		if err := b.cut(b.fullest()); err != nil {
			return err
		}
	}
	return nil
}

func (b *batcher) partitionOf(key []byte) int32 {
	switch {
	case b.forced >= 0:
		return b.forced
	case key != nil:
		return client.PartitionOf(key, b.partitions)
	default:
		return b.keyless
	}
}

// flush cuts all open batches, in the order of their partitions.
func (b *batcher) flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed != nil {
		return b.failed
	}
	return b.cutBefore(time.Time{})
}

// cutBefore cuts the open batches that were begun before a time, the zero time for
// all, in the order of their partitions. It wants mu held.
func (b *batcher) cutBefore(before time.Time) error {
	for p := int32(0); p < b.partitions && len(b.open) > 0; p++ {
		if open := b.open[p]; open != nil && (before.IsZero() || open.begun.Before(before)) {
			if err := b.cut(open); err != nil {
				return err
			}
		}
	}
	return nil
}

// lingerFor makes batches end that are older than a pause, until the function that
// it returns is called. fail is called if that fails: whoever adds may be waiting for
// a line that does not come.
func (b *batcher) lingerFor(pause time.Duration, fail func()) (end func()) {
	ended := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		tick := time.NewTicker(pause/2 + 1)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ended:
				return
			}
			b.mu.Lock()
			b.failed = b.cutBefore(time.Now().Add(-pause / 2))
			failed := b.failed != nil
			b.mu.Unlock()
			if failed {
				fail()
				return
			}
		}
	})
	return func() {
		close(ended)
		waiting.Wait()
	}
}

// cut wants mu held.
func (b *batcher) cut(batch *lineBatch) error {
	delete(b.open, batch.partition)
	b.openSize -= batch.size
	if batch.partition == b.keyless {
		b.keyless = (b.keyless + 1) % b.partitions
	}
	return b.emit(batch)
}

// fullest is the largest open batch; of equal ones that of the lowest partition.
func (b *batcher) fullest() *lineBatch {
	var fullest *lineBatch
	for _, batch := range b.open {
		if fullest == nil || batch.size > fullest.size || batch.size == fullest.size && batch.partition < fullest.partition {
			fullest = batch
		}
	}
	return fullest
}
