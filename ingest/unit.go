package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// Where a unit stands. It can be withdrawn only while it is buffered: once its
// commit is under way nobody but the catalog decides.
const (
	unitBuffered int32 = iota
	unitCommitting
	unitWithdrawn
)

// unit is one produce request on its way into the log; it is committed or
// refused as a whole.
type unit struct {
	number  uint64       // per node id, ascending
	appends []unitAppend // one per partition, sorted by partition
	bytes   int64        // of all batches; what it holds of the budget
	walled  bool         // acks=1: it is in the write-ahead buffer
	key     catalog.RequestKey
	stage   atomic.Int32

	done    chan struct{} // closed when results and err are set
	results []Result
	err     error
}

// unitAppend is what a unit brings to one partition.
type unitAppend struct {
	partition catalog.TopicPartition
	topicName string
	batches   []segment.Batch
	records   int
	timestamp int64 // ms; the greatest of the batches
	expected  catalog.Offset
	token     string
}

func newUnit(appends []unitAppend) *unit {
	u := &unit{appends: appends, done: make(chan struct{})}
	for i := range appends {
		for j := range appends[i].batches {
			u.bytes += int64(len(appends[i].batches[j].Data))
		}
	}
	return u
}

// newUnitAppend describes batches whose headers were validated.
func newUnitAppend(tp catalog.TopicPartition, topicName string, batches []segment.Batch, expected catalog.Offset) unitAppend {
	a := unitAppend{partition: tp, topicName: topicName, batches: batches, expected: expected}
	for i := range batches {
		h := &batches[i].Header
		a.records += int(h.RecordCount)
		if i == 0 || h.MaxTimestamp > a.timestamp {
			a.timestamp = h.MaxTimestamp
		}
	}
	return a
}

// conditional tells that the unit could be refused for another reason than
// that its topic is gone; such a unit is judged by itself.
func (u *unit) conditional() bool {
	if len(u.appends) > 1 || u.key != (catalog.RequestKey{}) {
		return true
	}
	a := &u.appends[0]
	return a.token != "" || a.expected != catalog.AnyOffset || a.idempotent()
}

func (a *unitAppend) idempotent() bool {
	for i := range a.batches {
		if a.batches[i].Header.ProducerID >= 0 {
			return true
		}
	}
	return false
}

// catalogAppends bounds the appends that the unit adds to a commit.
func (u *unit) catalogAppends() int {
	n := 0
	for i := range u.appends {
		if u.appends[i].idempotent() {
			n += len(u.appends[i].batches)
		} else {
			n++
		}
	}
	return n
}

// withdraw takes the unit out of the log's way; false if it is too late.
func (u *unit) withdraw() bool {
	return !u.walled && u.stage.CompareAndSwap(unitBuffered, unitWithdrawn)
}

// beginCommit tells whether the unit takes part in its segment's commit.
func (u *unit) beginCommit() bool {
	return u.stage.CompareAndSwap(unitBuffered, unitCommitting)
}

func (u *unit) resolve(results []Result, err error) {
	u.results, u.err = results, err
	close(u.done)
}

// wait returns the unit's results. If ctx ends, or the node stops, before its
// commit is under way the unit is withdrawn.
func (u *unit) wait(ctx context.Context, stopped <-chan struct{}) ([]Result, error) {
	cause := errors.New("the node has stopped")
	select {
	case <-u.done:
		return u.results, u.err
	case <-stopped:
	case <-ctx.Done():
		cause = fmt.Errorf("the store did not take the records in time: %w", ctx.Err())
	}
	if u.withdraw() {
		return nil, fmt.Errorf("%w: %w", ErrNotCommitted, cause)
	}
	select {
	case <-u.done:
		return u.results, u.err
	default:
		return nil, fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause)
	}
}

// frame encodes the unit as the payload of a write-ahead frame, in parts that
// share the batches' memory: the number of appends, then for each the topic's
// UUID, the partition, the length of its batches and the batches.
func (u *unit) frame() [][]byte {
	var parts [][]byte
	head := binary.AppendUvarint(nil, uint64(len(u.appends)))
	for i := range u.appends {
		a := &u.appends[i]
		head = append(head, a.partition.Topic[:]...)
		head = binary.AppendUvarint(head, uint64(a.partition.Partition))
		var n int
		for j := range a.batches {
			n += len(a.batches[j].Data)
		}
		parts = append(parts, binary.AppendUvarint(head, uint64(n)))
		for j := range a.batches {
			parts = append(parts, a.batches[j].Data)
		}
		head = nil
	}
	return parts
}

var errFramePayload = errors.New("write-ahead frame holds no unit")

// decodeUnit is the inverse of frame. The frame's CRC vouches for the bytes.
func decodeUnit(b []byte) (*unit, error) {
	count, n := binary.Uvarint(b)
	if n <= 0 || count == 0 || count > uint64(len(b)) {
		return nil, errFramePayload
	}
	b = b[n:]
	appends := make([]unitAppend, 0, min(count, 64))
	for range count {
		var tp catalog.TopicPartition
		if len(b) < len(tp.Topic) {
			return nil, errFramePayload
		}
		b = b[copy(tp.Topic[:], b):]
		partition, n := binary.Uvarint(b)
		if n <= 0 || partition > 1<<31-1 {
			return nil, errFramePayload
		}
		tp.Partition = int32(partition)
		b = b[n:]
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return nil, errFramePayload
		}
		b = b[n:]
		batches, err := splitBatches(b[:length])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errFramePayload, err)
		}
		if len(batches) == 0 {
			return nil, errFramePayload
		}
		b = b[length:]
		appends = append(appends, newUnitAppend(tp, "", batches, catalog.AnyOffset))
	}
	if len(b) > 0 {
		return nil, errFramePayload
	}
	u := newUnit(appends)
	u.walled = true
	return u, nil
}

// splitBatches cuts batches that lie back to back by their headers.
func splitBatches(b []byte) ([]segment.Batch, error) {
	var batches []segment.Batch
	for data, err := range recordbatch.Batches(b) {
		if err != nil {
			return nil, err
		}
		h, err := recordbatch.ParseHeader(data)
		if err != nil {
			return nil, err
		}
		batches = append(batches, segment.Batch{Data: data, Header: h})
	}
	return batches, nil
}
