package rebuild_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
	"go.uber.org/goleak"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/rebuild"
	"github.com/wadilog/wadi/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	quiet  = slog.New(slog.NewTextHandler(io.Discard, nil))
	rivers = uuid.MustParse("10000000-0000-4000-8000-000000000001")
	anew   = uuid.MustParse("20000000-0000-4000-8000-000000000002")
	nodeA  = uuid.MustParse("a0000000-0000-4000-8000-000000000000")
	nodeB  = uuid.MustParse("b0000000-0000-4000-8000-000000000000")
)

// lost is a store whose journal is lost.
type lost struct {
	t   *testing.T
	mem *memstore.Store
}

// newLost returns an empty store without a clock, so that the journal's time is
// that of the newest segment.
func newLost(t *testing.T) *lost {
	l := &lost{t: t, mem: memstore.New()}
	l.mem.SetClock(func() time.Time { return time.Time{} })
	return l
}

// batch holds records with the values given.
type batch struct {
	topic     catalog.TopicID // rivers if it is zero
	partition int32
	producer  recordbatch.Producer // none if its ID is 0
	timestamp int64                // ms; that of the segment if it is 0
	values    []string
}

func of(values ...string) batch { return batch{values: values} }

func sent(producer int64, epoch int16, sequence int32, values ...string) batch {
	return batch{values: values, producer: recordbatch.Producer{ID: producer, Epoch: epoch, BaseSequence: sequence}}
}

// put uploads a segment that was sealed at ms by a node, and returns its id.
func (l *lost) put(ms uint64, node uuid.UUID, after, upto uint64, batches ...batch) ulid.ULID {
	l.t.Helper()
	id := ulid.MustNew(ms, ulid.DefaultEntropy())
	var runs []segment.Run
	for _, b := range batches {
		if b.topic == uuid.Nil {
			b.topic = rivers
		}
		if b.producer.ID == 0 {
			b.producer = recordbatch.NoProducer
		}
		var records []recordbatch.Record
		for _, v := range b.values {
			records = append(records, recordbatch.Record{Timestamp: cmp.Or(b.timestamp, int64(ms)), Value: []byte(v)})
		}
		data, err := recordbatch.Append(nil, records, recordbatch.None, b.producer)
		if err != nil {
			l.t.Fatal(err)
		}
		h, err := recordbatch.ParseHeader(data)
		if err != nil {
			l.t.Fatal(err)
		}
		at := slices.IndexFunc(runs, func(r segment.Run) bool { return r.Topic == b.topic && r.Partition == b.partition })
		if at < 0 {
			at = len(runs)
			runs = append(runs, segment.Run{Topic: b.topic, TopicName: "rivers", Partition: b.partition})
		}
		runs[at].Batches = append(runs[at].Batches, segment.Batch{Data: data, Header: h})
	}
	sealed, err := segment.Encode(id, segment.Origin{Node: node, After: after, Upto: upto}, runs)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.mem.Put(l.t.Context(), segment.Key(id), sealed.Body); err != nil {
		l.t.Fatal(err)
	}
	return id
}

func (l *lost) run(write bool) (rebuild.Report, error) {
	l.t.Helper()
	b, err := rebuild.New(rebuild.DefaultConfig(), l.mem, "000")
	if err != nil {
		l.t.Fatal(err)
	}
	return b.Run(l.t.Context(), write)
}

// must rebuilds, checks that the store is whole then, and returns what there is.
func (l *lost) must() (rebuild.Report, *catalog.State) {
	l.t.Helper()
	report, err := l.run(true)
	if err != nil {
		l.t.Fatal(err)
	}
	v, err := verify.New(verify.DefaultConfig(), l.mem, "000", quiet, func(f verify.Finding) {
		if f.Class == verify.Damage {
			l.t.Errorf("what was rebuilt has a %s", f)
		}
	})
	if err != nil {
		l.t.Fatal(err)
	}
	if s, err := v.Run(l.t.Context()); err != nil || !s.Whole || s.Records != report.Records {
		l.t.Errorf("%+v %v, rebuilt %+v", s, err, report)
	}
	return report, l.state()
}

func (l *lost) journal() *journal.Journal {
	j, err := journal.New(journal.DefaultConfig(), l.mem, "000", quiet, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return j
}

func (l *lost) state() *catalog.State {
	l.t.Helper()
	j := l.journal()
	info, err := j.LatestSnapshot(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	state, err := catalog.VerifySnapshot(info, func(decode func([]byte) error) error { return j.ReadSnapshot(l.t.Context(), info, decode) })
	if err != nil {
		l.t.Fatal(err)
	}
	return state
}

// values are those of the records of a partition, in the order of their offsets.
func (l *lost) values(s *catalog.State, topic catalog.TopicID, partition int32) string {
	l.t.Helper()
	p := s.Partition(catalog.TopicPartition{Topic: topic, Partition: partition})
	if p == nil {
		return "none"
	}
	var values []string
	for x := range p.AllExtents() {
		o, err := l.mem.GetRange(l.t.Context(), segment.Key(x.Object), int64(x.Pos), x.Len)
		if err != nil {
			l.t.Fatal(err)
		}
		for data, err := range recordbatch.Batches(o.Body) {
			if err != nil {
				l.t.Fatal(err)
			}
			for r, err := range recordbatch.Records(bytes.Clone(data), 1<<20) {
				if err != nil {
					l.t.Fatal(err)
				}
				values = append(values, string(r.Value))
			}
		}
	}
	if len(values) != int(p.End()-p.LogStart()) {
		l.t.Errorf("%d records in [%d, %d)", len(values), p.LogStart(), p.End())
	}
	return strings.Join(values, " ")
}

func TestOrderOfOneNode(t *testing.T) {
	l := newLost(t)
	// All within one ms of journal time, so that ids say nothing of the order.
	for i := range uint64(20) {
		l.put(1000, nodeA, i*3, i*3+3, of(fmt.Sprint(i)))
	}
	report, s := l.must()
	if got := l.values(s, rivers, 0); got != "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19" {
		t.Errorf("the order is %s", got)
	}
	if n, ok := s.Node(nodeA); !ok || n.Last != 60 || !n.HasWAL {
		t.Errorf("the node is %+v", n)
	}
	if report.LeftOutCount != 0 || report.NumberGaps != 0 || report.OpenOrder != 0 || report.Segments != 20 {
		t.Errorf("%+v", report)
	}
}

// TestNeverCommitted: a node that starts over at a number had nothing committed
// beyond it.
func TestNeverCommitted(t *testing.T) {
	l := newLost(t)
	l.put(1000, nodeA, 0, 2, of("a"))
	refused := l.put(1001, nodeA, 2, 9, of("b", "c"))
	l.put(5000, nodeA, 2, 5, of("b"))
	l.put(5000, nodeA, 5, 6, of("d"))
	report, s := l.must()
	if got := l.values(s, rivers, 0); got != "a b d" {
		t.Errorf("the log holds %s", got)
	}
	if len(report.LeftOut) != 1 || report.LeftOut[0].Key != segment.Key(refused) {
		t.Errorf("%+v", report.LeftOut)
	}
	if s.Known(refused) {
		t.Error("what was left out is in the catalog")
	}
}

// TestOrderOfProducers: a producer that sends by two nodes keeps its order, and
// what it sent twice is there once.
func TestOrderOfProducers(t *testing.T) {
	l := newLost(t)
	l.put(1000, nodeA, 0, 1, sent(7, 0, 0, "a", "b"))
	l.put(1002, nodeA, 1, 3, sent(7, 0, 3, "d"), sent(7, 0, 4, "e"), of("x"))
	l.put(1005, nodeB, 0, 1, sent(7, 0, 2, "c"), sent(7, 0, 0, "a", "b")) // again, by another way
	l.put(1006, nodeB, 1, 2, sent(7, 1, 0, "f"), sent(7, 0, 5, "late"))
	report, s := l.must()
	if got := l.values(s, rivers, 0); got != "a b c d e x f" {
		t.Errorf("the order is %s", got)
	}
	if report.Duplicates != 1 || report.OutOfOrder != 1 || report.SequenceGaps != 0 || report.Contradictions != 0 {
		t.Errorf("%+v", report)
	}
	// The catalog goes on from there.
	commit := func(sequence int32, epoch int16) catalog.UnitResult {
		node, _ := s.Node(nodeA)
		r := catalog.Apply(s, catalog.CommitSegment{
			Node: nodeA, After: node.Last, Upto: node.Last + 1,
			Object: catalog.NewObject{ID: ulid.MustNew(uint64(s.Time()), ulid.DefaultEntropy()), Kind: catalog.SegmentObject, Size: 100},
			Units: []catalog.Unit{{Appends: []catalog.Append{{
				Partition: catalog.TopicPartition{Topic: rivers}, Len: 70, Records: 1, Expected: catalog.AnyOffset,
				Producer: recordbatch.Producer{ID: 7, Epoch: epoch, BaseSequence: sequence},
			}}}},
		})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r.Units[0]
	}
	if r := commit(0, 1); len(r.Appends) != 1 || !r.Appends[0].Duplicate || r.Appends[0].Base != 6 {
		t.Errorf("a batch sent again after the rebuild: %+v", r)
	}
	if r := commit(1, 1); r.Err != nil || r.Appends[0].Base != 7 {
		t.Errorf("the next batch: %+v", r)
	}
	if r := catalog.Apply(s, catalog.AllocateProducerID{}); r.Producer < 1<<20 {
		t.Errorf("the next producer id is %d", r.Producer)
	}
}

// TestRefusedBeforeItsTurn: a batch that came too early was refused, and landed
// when it was sent again. It is not lost, nor there twice, nor before its turn.
func TestRefusedBeforeItsTurn(t *testing.T) {
	l := newLost(t)
	l.put(1000, nodeA, 0, 1, sent(7, 0, 0, "a"))
	l.put(1001, nodeA, 1, 2, sent(7, 0, 2, "c")) // refused
	l.put(1002, nodeA, 2, 3, sent(7, 0, 1, "b"))
	l.put(1003, nodeA, 3, 4, sent(7, 0, 2, "c"))
	report, s := l.must()
	if got := l.values(s, rivers, 0); got != "a b c" || report.OutOfOrder+report.Duplicates != 1 {
		t.Errorf("the log holds %s: %+v", got, report)
	}
}

// TestGaps: what is missing is counted, and what is left is kept.
func TestGaps(t *testing.T) {
	l := newLost(t)
	l.put(1000, nodeA, 10, 11, sent(7, 0, 40, "a"))
	l.put(1001, nodeA, 15, 16, sent(7, 0, 43, "b"), sent(9, 3, 2_147_483_000, "c"))
	report, s := l.must()
	if got := l.values(s, rivers, 0); got != "a b c" || report.SequenceGaps != 3 || report.NumberGaps != 2 {
		t.Errorf("the log holds %s: %+v", got, report)
	}
	if text := strings.Join(report.Unknown, "\n"); !strings.Contains(text, "have 2 gaps") || !strings.Contains(text, "at 3 places") {
		t.Errorf("the report says:\n%s", text)
	}
}

// TestOpenOrder: where only the time of sealing tells, the report says so.
func TestOpenOrder(t *testing.T) {
	l := newLost(t)
	l.put(1000, nodeA, 0, 1, of("a"))
	l.put(2000, nodeB, 0, 1, of("b"), batch{partition: 3, values: []string{"z"}})
	l.put(3000, nodeA, 1, 2, of("c"))
	report, s := l.must()
	if got := l.values(s, rivers, 0); got != "a b c" || report.OpenOrder != 2 || report.OpenPartitions != 1 {
		t.Errorf("the log holds %s: %+v", got, report)
	}
	if got, _ := s.Topic(rivers); got.Partitions != 4 || l.values(s, rivers, 3) != "z" {
		t.Errorf("the topic is %+v", got)
	}
}

// TestDeletedTopic: of two topics of one name the older was deleted.
func TestDeletedTopic(t *testing.T) {
	l := newLost(t)
	gone := l.put(1000, nodeA, 0, 1, of("a"))
	l.put(2000, nodeA, 1, 2, batch{topic: anew, values: []string{"c"}})
	report, s := l.must()
	if len(report.Topics) != 1 || report.Topics[0].ID != anew.String() || l.values(s, anew, 0) != "c" || s.Known(gone) {
		t.Errorf("%+v", report)
	}
}

// TestDamagedSegmentIsLeftOut: and named.
func TestDamagedSegmentIsLeftOut(t *testing.T) {
	l := newLost(t)
	l.put(1000, nodeA, 0, 1, of("a"))
	id := l.put(1001, nodeA, 1, 2, of("b"))
	o, _ := l.mem.Get(t.Context(), segment.Key(id))
	o.Body[len(o.Body)-40] ^= 1
	l.mem.Replace(segment.Key(id), o.Body)
	report, err := l.run(true)
	if err != nil {
		t.Fatal(err)
	}
	if l.values(l.state(), rivers, 0) != "a" || len(report.LeftOut) != 1 || !strings.Contains(report.LeftOut[0].Reason, "damaged") {
		t.Errorf("%+v", report)
	}
}

// TestNeverOverACatalog: any object of a journal stops it, and nothing is written
// without being asked for.
func TestNeverOverACatalog(t *testing.T) {
	l := newLost(t)
	l.put(1000, nodeA, 0, 1, of("a"))
	if _, err := l.run(false); err != nil {
		t.Fatal(err)
	}
	if listed, err := l.journal().Inventory(t.Context()); err != nil || len(listed.Slots)+len(listed.Manifests)+len(listed.Parts) != 0 {
		t.Errorf("a dry run wrote %+v, %v", listed, err)
	}
	for _, key := range []string{
		"catalog/000/journal/00000000000000000007", "catalog/000/manifests/00000000000000000007",
		"catalog/000/snapshots/00000000000000000007/00112233445566778899aabbccddeeff-00000",
	} {
		l.mem.Replace(key, []byte("x"))
		before := l.mem.Keys()
		if _, err := l.run(true); !errors.Is(err, rebuild.ErrCatalogThere) || !slices.Equal(before, l.mem.Keys()) {
			t.Errorf("%s: %v", key, err)
		}
		l.mem.Replace(key, nil)
	}
	l.must()
	if _, err := l.run(true); !errors.Is(err, rebuild.ErrCatalogThere) {
		t.Errorf("a second time: %v", err)
	}
	if _, err := newLost(t).run(true); !errors.Is(err, rebuild.ErrNoSegments) {
		t.Errorf("an empty store: %v", err)
	}
}

// TestBeyondWhatWasBefore: slot and epoch are where no journal comes by counting,
// and what was sealed before and not committed is not committed later.
func TestBeyondWhatWasBefore(t *testing.T) {
	l := newLost(t)
	l.put(1000, nodeA, 0, 1, of("a"))
	_, s := l.must()
	info, err := l.journal().LatestSnapshot(t.Context())
	if err != nil || info.Slot < 1<<40 || info.Epoch < 1<<40 {
		t.Fatalf("%+v %v", info, err)
	}
	if s.OrphanFloor() != uint64(s.Time()) || s.Time() != 1000 {
		t.Errorf("orphan floor %d at %d", s.OrphanFloor(), s.Time())
	}
	// A node of before goes on at the slot that it would write next.
	late := journal.Entry{Slot: 500, Kind: journal.Edits, Epoch: 3, Nonce: journal.NewNonce(), Prev: journal.NewNonce()}
	if _, err := l.journal().Write(t.Context(), &late); err != nil {
		t.Fatal(err)
	}
	v, _ := verify.New(verify.DefaultConfig(), l.mem, "000", quiet, func(f verify.Finding) {
		if f.Class == verify.Damage {
			t.Errorf("litter of an old node is a %s", f)
		}
	})
	if s, err := v.Run(t.Context()); err != nil || !s.Whole || s.Leftovers != 1 || s.Slot != uint64(info.Slot) {
		t.Errorf("%+v %v", s, err)
	}
}

// TestBrokenOff ends a run before each of its writes: what is left is taken for a
// catalog, and once it is moved away the next run comes to its end.
func TestBrokenOff(t *testing.T) {
	for n := 1; ; n++ {
		l := newLost(t)
		l.put(1000, nodeA, 0, 1, of("a"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		store, writes := faultstore.New(l.mem), 0
		store.SetHook(func(op, _ string) {
			if op != objstore.OpPut && op != objstore.OpPutIfAbsent && op != objstore.OpPutStream {
				return
			}
			if writes++; writes == n {
				cancel()
			}
		})
		b, err := rebuild.New(rebuild.DefaultConfig(), store, "000")
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Run(ctx, true)
		if writes < n {
			if err != nil || n < 4 { // part, manifest, claim, slot 0
				t.Errorf("%d writes, %v", writes, err)
			}
			return
		}
		if err == nil {
			t.Fatalf("a run that ended before write %d has no error", n)
		}
		left := false
		for _, key := range l.mem.Keys() {
			if !strings.HasPrefix(key, "catalog/") {
				continue
			}
			if !left {
				left = true
				if _, err := l.run(true); !errors.Is(err, rebuild.ErrCatalogThere) {
					t.Errorf("after %d writes: %v", n-1, err)
				}
			}
			l.mem.Replace(key, nil)
		}
		if n > 2 && !left { // the manifest and what follows are for ever
			t.Errorf("after %d writes nothing is left", n-1)
		}
		l.must()
	}
}
