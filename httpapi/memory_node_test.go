package httpapi

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/keyhash"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/reader"
)

// memoryNode is everything behind the API in the most naive way: the real
// state machine under a lock, batches in slices.
type memoryNode struct {
	mu      sync.Mutex
	state   *catalog.State
	number  uint64
	node    catalog.NodeID
	stored  map[catalog.TopicPartition][]storedBatch
	changed chan struct{} // closed and replaced at every commit
	keyless int

	budget   int64 // bytes; 0 is without limit
	reserved int64
	peak     int64

	before    func(ctx context.Context, first int64, opts ingest.Options) error // called for each ProduceRecords, if not nil
	produced  int64                                                             // records handed to ProduceRecords
	notReady  error
	confirms  int
	unconfirm error // what Confirm fails with

	refusal  func(catalog.Edit) error // called for each Propose, with mu held, if not nil
	keeps    int                      // calls of KeepMember
	failKeep func(n int) error        // called for the n-th, with mu held, if not nil

	ending    chan struct{}             // closed when waits end
	fetches   int                       // calls of Fetch
	failFetch func(n int) error         // called for the n-th Fetch, if not nil
	hang      func(ctx context.Context) // called in each Fetch, if not nil
}

type storedBatch struct {
	base  catalog.Offset
	count int32
	data  []byte
}

func newMemoryNode() *memoryNode {
	m := &memoryNode{
		state:   catalog.NewState([16]byte{1}),
		node:    uuid.New(),
		stored:  map[catalog.TopicPartition][]storedBatch{},
		changed: make(chan struct{}),
		ending:  make(chan struct{}),
	}
	catalog.Apply(m.state, catalog.RaiseLevel{Level: catalog.FeatureLevel})
	catalog.Apply(m.state, catalog.RegisterNode{Node: m.node})
	return m
}

func (m *memoryNode) Ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.notReady
}

func (m *memoryNode) View() *catalog.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Clone()
}

func (m *memoryNode) Recent(context.Context) (*catalog.State, error) { return m.View(), nil }

func (m *memoryNode) Confirm(context.Context) (*catalog.State, error) {
	m.mu.Lock()
	m.confirms++
	err := m.unconfirm
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return m.View(), nil
}

func (m *memoryNode) Propose(_ context.Context, e catalog.Edit) (catalog.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refusal != nil {
		if err := m.refusal(e); err != nil {
			return catalog.Result{}, err
		}
	}
	return m.apply(e), nil
}

// refuse makes edits fail for which refusal returns an error.
func (m *memoryNode) refuse(refusal func(catalog.Edit) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refusal = refusal
}

// failKeeps makes heartbeats fail, from the next on, which is the first.
func (m *memoryNode) failKeeps(fail func(n int) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failKeep, m.keeps = fail, 0
}

// kept returns how many heartbeats came.
func (m *memoryNode) kept() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keeps
}

// apply wants mu held.
func (m *memoryNode) apply(e catalog.Edit) catalog.Result {
	m.state.Advance(time.Now().UnixMilli())
	result := catalog.Apply(m.state, e)
	close(m.changed)
	m.changed = make(chan struct{})
	return result
}

// KeepMember counts heartbeats; leases do not end here by themselves.
func (m *memoryNode) KeepMember(_ context.Context, group, member string, epoch int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keeps++
	if m.failKeep != nil {
		if err := m.failKeep(m.keeps); err != nil {
			return err
		}
	}
	return catalog.Apply(m.state, catalog.KeepMember{Group: group, Member: member, Epoch: epoch}).Err
}

func (m *memoryNode) WaitMember(ctx context.Context, group, member string, epoch int64) error {
	for {
		m.mu.Lock()
		wait, g := m.changed, m.state.Group(group)
		m.mu.Unlock()
		if g == nil || g.Member(member) == nil || g.Member(member).Epoch != epoch {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type memoryReservation struct {
	m     *memoryNode
	bytes int64
}

func (m *memoryNode) Reserve(n int64) (Reservation, error) {
	r := &memoryReservation{m: m}
	return r, r.Grow(n)
}

func (r *memoryReservation) Grow(n int64) error {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.m.budget > 0 && r.m.reserved+n > r.m.budget {
		return &ingest.OverloadedError{Reason: "buffers full", RetryAfter: 1500 * time.Millisecond}
	}
	r.m.reserved += n
	r.bytes += n
	r.m.peak = max(r.m.peak, r.m.reserved)
	return nil
}

func (r *memoryReservation) Release() {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	r.m.reserved -= r.bytes
	r.bytes = 0
}

func (m *memoryNode) ProduceRecords(ctx context.Context, topic *catalog.Topic, records []ingest.Record, opts ingest.Options) ([]ingest.Result, error) {
	m.mu.Lock()
	first := m.produced
	m.produced += int64(len(records))
	before := m.before
	m.mu.Unlock()
	if before != nil {
		if err := before(ctx, first, opts); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keyless++
	by := map[int32][]recordbatch.Record{}
	for _, r := range records {
		p := r.Partition
		switch {
		case p == ingest.AnyPartition && r.Key == nil:
			p = int32(m.keyless) % topic.Partitions
		case p == ingest.AnyPartition:
			p = keyhash.PartitionOf(r.Key, topic.Partitions)
		case p >= topic.Partitions:
			return nil, fmt.Errorf("record: %w", catalog.ErrPartitionNotFound)
		}
		by[p] = append(by[p], r.Record)
	}
	batches := map[int32][][]byte{}
	for p, rs := range by {
		b, err := recordbatch.Append(nil, rs, recordbatch.None, opts.Producer)
		if err != nil {
			return nil, err
		}
		batches[p] = [][]byte{b}
	}
	return m.commit(topic, batches, opts)
}

func (m *memoryNode) ProduceBatches(_ context.Context, topic *catalog.Topic, partition int32, body []byte, opts ingest.Options) ([]ingest.Result, error) {
	limits := recordbatch.Limits{RecordBytesMax: int(topic.Config.MaxMessageBytes), BatchBytesMax: 16 << 20, DecompressedBytesMax: 64 << 20}
	var batches [][]byte
	opts.Producer = recordbatch.NoProducer
	pos := 0
	for b, err := range recordbatch.Batches(body) {
		if err != nil {
			return nil, err
		}
		h, err := recordbatch.Validate(b, limits)
		if err != nil {
			err.(*recordbatch.InvalidError).Pos += pos
			return nil, err
		}
		pos += len(b)
		opts.Producer = recordbatch.Producer{ID: h.ProducerID, Epoch: h.ProducerEpoch, BaseSequence: h.BaseSequence}
		batches = append(batches, slices.Clone(b))
	}
	if opts.Acks == ingest.AcksOne && opts.Producer.ID >= 0 {
		return nil, ingest.ErrNeedsAcksAll
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commit(topic, map[int32][][]byte{partition: batches}, opts)
}

// commit wants mu held.
func (m *memoryNode) commit(topic *catalog.Topic, batches map[int32][][]byte, opts ingest.Options) ([]ingest.Result, error) {
	var (
		unit    catalog.Unit
		results []ingest.Result
		pos     int64
	)
	if opts.Key.Name != "" {
		unit.Key = catalog.NewRequestKey(topic.ID, opts.Key.Name, opts.Key.Request)
	}
	partitions := make([]int32, 0, len(batches))
	for p := range batches {
		partitions = append(partitions, p)
	}
	slices.Sort(partitions)
	for _, p := range partitions {
		a := catalog.Append{
			Partition: catalog.TopicPartition{Topic: topic.ID, Partition: p},
			Pos:       catalog.Pos(pos),
			Expected:  opts.Expected,
			Token:     opts.Token,
			Producer:  opts.Producer,
		}
		for _, b := range batches[p] {
			h, err := recordbatch.ParseHeader(b)
			if err != nil {
				return nil, err
			}
			a.Len += int64(len(b))
			a.Records += h.RecordCount
			a.MaxTimestamp = max(a.MaxTimestamp, h.MaxTimestamp)
		}
		pos += a.Len
		unit.Appends = append(unit.Appends, a)
		results = append(results, ingest.Result{Partition: p, Records: int(a.Records), Timestamp: a.MaxTimestamp, BaseOffset: -1})
	}
	result := m.apply(catalog.CommitSegment{
		Node: m.node, After: m.number, Upto: m.number + 1,
		Object: catalog.NewObject{ID: ulid.Make(), Kind: catalog.SegmentObject, Size: pos + 100, IndexPos: catalog.Pos(pos)},
		Units:  []catalog.Unit{unit},
	})
	if result.Err != nil {
		return nil, result.Err
	}
	m.number++
	if err := result.Units[0].Err; err != nil {
		return nil, err
	}
	if result.Units[0].Replayed {
		results = results[:0]
		landed, _, _ := m.state.Request(unit.Key)
		for _, a := range landed {
			results = append(results, ingest.Result{Partition: a.Partition, BaseOffset: a.Base, Records: int(a.Records), Timestamp: a.MaxTimestamp, Duplicate: true})
		}
		return results, nil
	}
	for i, a := range result.Units[0].Appends {
		if opts.Acks == ingest.AcksAll {
			results[i].BaseOffset = a.Base
			results[i].Duplicate = a.Duplicate
		}
		if a.Duplicate {
			continue
		}
		base := a.Base
		tp := unit.Appends[i].Partition
		for _, b := range batches[results[i].Partition] {
			h, _ := recordbatch.ParseHeader(b)
			recordbatch.PatchBaseOffset(b, base)
			m.stored[tp] = append(m.stored[tp], storedBatch{base: base, count: h.RecordCount, data: b})
			base += catalog.Offset(h.RecordCount)
		}
	}
	if opts.Placed != nil {
		opts.Placed()
	}
	return results, nil
}

func (m *memoryNode) Fetch(ctx context.Context, q reader.Query) (reader.Fetched, error) {
	m.mu.Lock()
	m.fetches++
	fail, n, hang := m.failFetch, m.fetches, m.hang
	m.mu.Unlock()
	if fail != nil {
		if err := fail(n); err != nil {
			return reader.Fetched{}, err
		}
	}
	if hang != nil {
		if hang(ctx); ctx.Err() != nil {
			return reader.Fetched{}, ctx.Err()
		}
	}
	timeout := time.NewTimer(q.MaxWait)
	defer timeout.Stop()
	for {
		f, wait, err := m.tryFetch(q)
		if err != nil {
			return f, err
		}
		select {
		case <-m.ending:
			f.Ending = true
		default:
		}
		if q.Reserve != nil && len(f.Batches) > 0 {
			size := int64(0)
			for _, b := range f.Batches {
				size += int64(len(b))
			}
			if err := q.Reserve(size); err != nil {
				return reader.Fetched{}, err
			}
		}
		if wait == nil || q.MaxWait == 0 || f.Ending {
			return f, nil
		}
		select {
		case <-wait:
		case <-m.ending:
		case <-timeout.C:
			return f, nil
		case <-ctx.Done():
			return reader.Fetched{}, ctx.Err()
		}
	}
}

func (m *memoryNode) Await(ctx context.Context, positions []catalog.PartitionOffset, minBytes int64, maxWait time.Duration) error {
	timeout := time.NewTimer(maxWait)
	defer timeout.Stop()
	for {
		have, settled := int64(0), maxWait == 0
		m.mu.Lock()
		wait := m.changed
		for _, at := range positions {
			bounds, err := m.bounds(at.Partition)
			if err != nil || at.Offset < bounds.Start || at.Offset > bounds.End {
				settled = true
			}
			for _, b := range m.stored[at.Partition] {
				if b.base+catalog.Offset(b.count) > at.Offset {
					have += int64(len(b.data))
				}
			}
		}
		m.mu.Unlock()
		if settled || have >= minBytes {
			return nil
		}
		select {
		case <-wait:
		case <-m.ending:
			return nil
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryFetch also returns what to wait for, if there is too little.
func (m *memoryNode) tryFetch(q reader.Query) (reader.Fetched, chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	bounds, err := m.bounds(q.Partition)
	if err != nil {
		return reader.Fetched{}, nil, err
	}
	if q.Offset < bounds.Start || q.Offset > bounds.End {
		return reader.Fetched{}, nil, &reader.OutOfRangeError{Offset: q.Offset, Bounds: bounds}
	}
	f := reader.Fetched{NextOffset: q.Offset, HighWatermark: bounds.End, LogStart: bounds.Start}
	bytes := 0
	for _, b := range m.stored[q.Partition] {
		end := b.base + catalog.Offset(b.count)
		if end <= q.Offset {
			continue
		}
		if q.Until != reader.NoUntil && b.base >= q.Until {
			break
		}
		if (q.Within || len(f.Batches) > 0) && bytes+len(b.data) > q.MaxBytes {
			break
		}
		f.Batches = append(f.Batches, slices.Clone(b.data))
		bytes += len(b.data)
		f.NextOffset = end
		if q.Until != reader.NoUntil {
			f.NextOffset = min(end, q.Until)
		}
		if q.MaxRecords > 0 && int(end-q.Offset) >= q.MaxRecords {
			break
		}
	}
	if bytes < q.MinBytes {
		return f, m.changed, nil
	}
	return f, nil, nil
}

// bounds wants mu held.
func (m *memoryNode) bounds(tp catalog.TopicPartition) (reader.Bounds, error) {
	if _, ok := m.state.Topic(tp.Topic); !ok {
		return reader.Bounds{}, catalog.ErrTopicNotFound
	}
	p := m.state.Partition(tp)
	if p == nil {
		return reader.Bounds{}, catalog.ErrPartitionNotFound
	}
	return reader.Bounds{Start: p.LogStart(), End: p.End()}, nil
}

func (m *memoryNode) Bounds(_ context.Context, tp catalog.TopicPartition) (reader.Bounds, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bounds(tp)
}

// Manifest is of a range for each batch; every third is not for others to read,
// and of the others every second has a URL.
func (m *memoryNode) Manifest(_ context.Context, q reader.ManifestQuery) (reader.Manifest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	bounds, err := m.bounds(q.Partition)
	if err != nil {
		return reader.Manifest{}, err
	}
	from := q.From
	if from == reader.FromStart {
		from = bounds.Start
	}
	if from < bounds.Start || from > bounds.End {
		return reader.Manifest{}, &reader.OutOfRangeError{Offset: from, Bounds: bounds}
	}
	out := reader.Manifest{NextOffset: from, HighWatermark: bounds.End, LogStart: bounds.Start}
	end := min(q.To, bounds.End)
	for i, b := range m.stored[q.Partition] {
		next := b.base + catalog.Offset(b.count)
		if from >= end || next <= from || b.base >= end || len(out.Ranges) == q.RangesMax {
			continue
		}
		r := reader.Range{Base: b.base, Records: int64(b.count), Len: int64(len(b.data))}
		if i%3 < 2 {
			r.Stored = &reader.StoredRange{Key: "segments/0a/01ARZ3NDEKTSV4RRFFQ69G5F0A.seg", Pos: segment.Pos(100 * i), CRC: uint32(i)}
		}
		if i%3 == 1 {
			r.Stored.Blocks = []reader.StoredBlock{{CRC: 1 << 31, Base: b.base}, {FirstBatch: -1}}
			r.Stored.URL, r.Stored.Expires = "http://store/bucket/key?X-Amz-Expires=900&X-Amz-Signature=ab", time.UnixMilli(1700000000000)
		}
		out.Ranges = append(out.Ranges, r)
		out.NextOffset = min(next, end)
	}
	return out, nil
}

func (m *memoryNode) OffsetAtTime(_ context.Context, tp catalog.TopicPartition, ms int64) (catalog.Offset, int64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	bounds, err := m.bounds(tp)
	if err != nil {
		return 0, 0, false, err
	}
	for _, b := range m.stored[tp] {
		for r, err := range recordbatch.Records(b.data, 64<<20) {
			if err != nil {
				return 0, 0, false, err
			}
			if r.Offset >= bounds.Start && r.Timestamp >= ms {
				return r.Offset, r.Timestamp, true, nil
			}
		}
	}
	return 0, 0, false, nil
}
