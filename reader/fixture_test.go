package reader

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// rivers is the topic of most tests.
var rivers = catalog.TopicID{0: 0x70, 15: 1}

func part(n int32) catalog.TopicPartition {
	return catalog.TopicPartition{Topic: rivers, Partition: n}
}

// fakeReplica is a catalog whose recent view lags behind for as long as
// nobody confirms it.
type fakeReplica struct {
	mu       sync.Mutex
	state    *catalog.State // as committed; guarded by mu
	recent   *catalog.State // as this node knows it; guarded by mu
	changed  chan struct{}  // closed when recent changes; guarded by mu
	confirms int            // guarded by mu
	away     error          // what Confirm fails with; guarded by mu
}

func newFakeReplica() *fakeReplica {
	s := catalog.NewState([16]byte{1})
	return &fakeReplica{state: s, recent: s.Clone(), changed: make(chan struct{})}
}

// apply commits an edit, which the recent view does not show yet.
func (f *fakeReplica) apply(tb testing.TB, e catalog.Edit) catalog.Result {
	tb.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	r := catalog.Apply(f.state, e)
	if r.Err != nil {
		tb.Fatalf("%T was refused: %v", e, r.Err)
	}
	return r
}

// show brings the recent view up to date, as following the journal does.
func (f *fakeReplica) show() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.showLocked()
}

func (f *fakeReplica) showLocked() {
	f.recent = f.state.Clone()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeReplica) Recent(context.Context) (*catalog.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.recent, nil
}

func (f *fakeReplica) Confirm(context.Context) (*catalog.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.confirms++
	if f.away != nil {
		return nil, fmt.Errorf("%w: %w", catalog.ErrNotConfirmed, f.away)
	}
	f.showLocked()
	return f.recent, nil
}

func (f *fakeReplica) WaitBeyond(ctx context.Context, positions ...catalog.PartitionOffset) (*catalog.State, error) {
	for {
		f.mu.Lock()
		view, changed := f.recent, f.changed
		f.mu.Unlock()
		for _, at := range positions {
			if p := view.Partition(at.Partition); p == nil || p.End() > at.Offset || p.LogStart() > at.Offset {
				return view, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f *fakeReplica) confirmed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.confirms
}

// stored is a batch as a reader ought to return it.
type stored struct {
	base    catalog.Offset
	data    []byte
	records []recordbatch.Record
}

func (s *stored) end() catalog.Offset { return s.base + catalog.Offset(len(s.records)) }

// log is a bucket and a catalog, with a naive model of what they hold.
type log struct {
	tb      testing.TB
	mem     *memstore.Store
	store   *faultstore.Store
	replica *fakeReplica
	objects int
	model   map[catalog.TopicPartition][]stored
	start   map[catalog.TopicPartition]catalog.Offset
}

var node = catalog.NodeID{0: 0x40}

// newLog returns a log with a topic of 3 partitions.
func newLog(tb testing.TB) *log {
	mem := memstore.New()
	l := &log{
		tb:      tb,
		mem:     mem,
		store:   faultstore.New(mem),
		replica: newFakeReplica(),
		model:   map[catalog.TopicPartition][]stored{},
		start:   map[catalog.TopicPartition]catalog.Offset{},
	}
	l.replica.apply(tb, catalog.RegisterNode{Node: node})
	l.replica.apply(tb, catalog.CreateTopic{ID: rivers, Name: "rivers", Partitions: 3, Config: catalog.DefaultTopicConfig()})
	l.replica.show()
	return l
}

// reader returns a reader of the log with a config that edit has changed.
func (l *log) reader(edit func(*Config)) *Reader {
	l.tb.Helper()
	cfg := DefaultConfig()
	cfg.CacheBytes, cfg.RecentBytes = 8<<20, 4<<20
	cfg.Backoff = time.Microsecond
	if edit != nil {
		edit(&cfg)
	}
	r, err := New(cfg, l.replica, l.store, prometheus.NewRegistry())
	if err != nil {
		l.tb.Fatal(err)
	}
	if t, ok := l.tb.(*testing.T); ok {
		t.Cleanup(r.Close)
	}
	return r
}

// batchOf returns records of the timestamps given.
func batchOf(valueLen int, timestamps ...int64) []recordbatch.Record {
	records := make([]recordbatch.Record, len(timestamps))
	for i, ms := range timestamps {
		value := make([]byte, valueLen)
		for j := range min(valueLen, 64) {
			value[j] = byte(rand.Uint32())
		}
		records[i] = recordbatch.Record{Timestamp: ms, Value: value}
	}
	return records
}

// unit is batches of one partition that are committed as a whole.
type unit struct {
	partition catalog.TopicPartition
	batches   [][]recordbatch.Record
	codec     recordbatch.Codec
	rejected  bool  // its bytes stay in the segment, dead
	stamp     int64 // ms of log append time; 0 is none
}

// commit puts a segment of units and commits it. The recent view shows it.
func (l *log) commit(units ...unit) catalog.ObjectID {
	l.tb.Helper()
	id := l.commitUnseen(units...)
	l.replica.show()
	return id
}

// commitUnseen is commit by another node of which this one has not heard.
func (l *log) commitUnseen(units ...unit) catalog.ObjectID {
	l.tb.Helper()
	l.objects++
	id := objectID(l.objects)
	e, sealed, built := l.seal(id, units)
	if _, err := l.mem.Put(l.tb.Context(), segment.Key(id), sealed.Body); err != nil {
		l.tb.Fatal(err)
	}
	last, _ := l.replica.state.Node(node)
	e.After, e.Upto = last.Last, last.Last+1
	results := l.replica.apply(l.tb, e).Units
	for i, u := range units {
		if rejected := results[i].Err != nil; rejected != u.rejected {
			l.tb.Fatalf("unit %d: rejected is %v: %v", i, rejected, results[i].Err)
		}
		if u.rejected {
			continue
		}
		base := results[i].Appends[0].Base
		for j, data := range built[i] {
			s := stored{base: base, data: bytes.Clone(data), records: u.batches[j]}
			recordbatch.PatchBaseOffset(s.data, base)
			l.model[u.partition] = append(l.model[u.partition], s)
			base = s.end()
		}
	}
	return id
}

func objectID(n int) catalog.ObjectID {
	var id catalog.ObjectID
	if err := id.SetTime(uint64(n)); err != nil {
		panic(err)
	}
	id[15] = byte(n)
	return id
}

// seal builds the segment of units and the edit that commits it, and returns
// the bytes of each unit's batches.
func (l *log) seal(id catalog.ObjectID, units []unit) (catalog.CommitSegment, *segment.Sealed, [][][]byte) {
	l.tb.Helper()
	var runs []segment.Run
	built := make([][][]byte, len(units))
	for i, u := range units {
		at := slices.IndexFunc(runs, func(r segment.Run) bool { return r.Topic == u.partition.Topic && r.Partition == u.partition.Partition })
		if at < 0 {
			at = len(runs)
			runs = append(runs, segment.Run{Topic: u.partition.Topic, TopicName: "rivers", Partition: u.partition.Partition})
		}
		for _, records := range u.batches {
			data, err := recordbatch.Append(nil, records, u.codec, recordbatch.NoProducer)
			if err != nil {
				l.tb.Fatal(err)
			}
			if u.stamp != 0 {
				recordbatch.StampLogAppendTime(data, u.stamp)
			}
			h, err := recordbatch.ParseHeader(data)
			if err != nil {
				l.tb.Fatal(err)
			}
			built[i] = append(built[i], bytes.Clone(data))
			runs[at].Batches = append(runs[at].Batches, segment.Batch{Data: data, Header: h})
		}
	}
	sealed, err := segment.Encode(id, segment.Origin{Node: node, Upto: 1}, runs)
	if err != nil {
		l.tb.Fatal(err)
	}
	used := map[catalog.TopicPartition]int{} // batches of a run
	e := catalog.CommitSegment{Node: node, Object: catalog.NewObject{
		ID: id, Kind: catalog.SegmentObject, Size: int64(len(sealed.Body)), IndexPos: sealed.IndexPos, IndexCRC: sealed.IndexCRC,
	}}
	for i, u := range units {
		run := slices.IndexFunc(sealed.Runs, func(r segment.Run) bool { return r.Topic == u.partition.Topic && r.Partition == u.partition.Partition })
		batches := sealed.Runs[run].Batches[used[u.partition]:][:len(u.batches)]
		used[u.partition] += len(u.batches)
		a := catalog.Append{
			Partition: u.partition, Pos: batches[0].Pos, MaxTimestamp: batches[0].Header.MaxTimestamp,
			Expected: catalog.AnyOffset, Producer: recordbatch.NoProducer,
		}
		if u.rejected {
			a.Expected = 1 << 40
		}
		for j := range batches {
			a.Len += int64(len(batches[j].Data))
			a.Records += batches[j].Header.RecordCount
			a.MaxTimestamp = max(a.MaxTimestamp, batches[j].Header.MaxTimestamp)
		}
		a.CRC = crc32.Checksum(sealed.Body[a.Pos:int64(a.Pos)+a.Len], segment.Castagnoli)
		e.Units = append(e.Units, catalog.Unit{Appends: []catalog.Append{a}})
		for j := range built[i] {
			if !bytes.Equal(built[i][j], batches[j].Data) {
				l.tb.Fatal("the batches of the run are not in the order of its units")
			}
		}
	}
	return e, sealed, built
}

// age lets journal time go by.
func (l *log) age(d time.Duration) {
	l.replica.mu.Lock()
	defer l.replica.mu.Unlock()
	l.replica.state.Advance(l.replica.state.Time() + d.Milliseconds())
	l.replica.showLocked()
}

func (l *log) trim(tp catalog.TopicPartition, before catalog.Offset) {
	l.tb.Helper()
	l.trimUnseen(tp, before)
	l.replica.show()
}

func (l *log) trimUnseen(tp catalog.TopicPartition, before catalog.Offset) {
	l.tb.Helper()
	l.start[tp] = l.replica.apply(l.tb, catalog.Trim{Partition: tp, Before: before}).LogStart
}

func (l *log) end(tp catalog.TopicPartition) catalog.Offset {
	if m := l.model[tp]; len(m) > 0 {
		return m[len(m)-1].end()
	}
	return 0
}

// expect answers a query from the model, as the docs of Query have it.
func (l *log) expect(q Query) Fetched {
	f := Fetched{NextOffset: q.Offset, HighWatermark: l.end(q.Partition), LogStart: l.start[q.Partition]}
	end, size, records := f.HighWatermark, 0, 0
	if q.Until != NoUntil {
		end = min(end, q.Until)
	}
	for _, s := range l.model[q.Partition] {
		if s.end() <= q.Offset {
			continue
		}
		if q.Offset >= end || s.base >= end || len(f.Batches) > 0 && size+len(s.data) > q.MaxBytes || q.MaxRecords > 0 && records >= q.MaxRecords {
			break
		}
		f.Batches = append(f.Batches, s.data)
		size += len(s.data)
		records += int(s.end() - max(s.base, q.Offset))
		f.NextOffset = min(s.end(), end)
	}
	return f
}

// atTime finds the first record of at least ms in the model.
func (l *log) atTime(tp catalog.TopicPartition, ms int64) (catalog.Offset, int64, bool) {
	for _, s := range l.model[tp] {
		h, err := recordbatch.ParseHeader(s.data)
		if err != nil {
			l.tb.Fatal(err)
		}
		for i := range s.records {
			at, offset := s.records[i].Timestamp, s.base+catalog.Offset(i)
			if h.LogAppendTime() {
				at = h.MaxTimestamp
			}
			if at >= ms && offset >= l.start[tp] {
				return offset, at, true
			}
		}
	}
	return 0, 0, false
}

// differ tells how two answers differ; empty if they do not.
func differ(got, want Fetched) string {
	switch {
	case got.NextOffset != want.NextOffset || got.HighWatermark != want.HighWatermark || got.LogStart != want.LogStart:
		return fmt.Sprintf("next %d, high watermark %d, log start %d; expected %d, %d, %d",
			got.NextOffset, got.HighWatermark, got.LogStart, want.NextOffset, want.HighWatermark, want.LogStart)
	case len(got.Batches) != len(want.Batches):
		return fmt.Sprintf("%d batches, expected %d", len(got.Batches), len(want.Batches))
	}
	for i := range got.Batches {
		if !bytes.Equal(got.Batches[i], want.Batches[i]) {
			return fmt.Sprintf("batch %d differs", i)
		}
	}
	return ""
}

func query(tp catalog.TopicPartition, offset catalog.Offset) Query {
	return Query{Partition: tp, Offset: offset, Until: NoUntil, MaxBytes: 1 << 20}
}

// check fetches and compares with the model.
func (l *log) check(r *Reader, q Query) {
	l.tb.Helper()
	got, err := r.Fetch(l.tb.Context(), q)
	if err != nil {
		l.tb.Fatalf("fetch %+v: %v", q, err)
	}
	if diff := differ(got, l.expect(q)); diff != "" {
		l.tb.Fatalf("fetch %+v: %s", q, diff)
	}
}
