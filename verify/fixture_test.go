package verify_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/reader"
	"github.com/wadilog/wadi/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// stored is a batch as a reader ought to return it.
type stored struct {
	base   catalog.Offset
	data   []byte
	object catalog.ObjectID
}

func (s *stored) end() catalog.Offset {
	return s.base + catalog.Offset(binary.BigEndian.Uint32(s.data[57:]))
}

// testLog is a store with a log in it, and what it holds.
type testLog struct {
	mem     *memstore.Store
	batches map[catalog.TopicPartition][]stored
	objects []catalog.NewObject
}

var (
	rivers = uuid.MustParse("10000000-0000-4000-8000-000000000001")
	lakes  = uuid.MustParse("20000000-0000-4000-8000-000000000002")
	node   = uuid.MustParse("30000000-0000-4000-8000-000000000003")
	names  = map[catalog.TopicID]string{rivers: "rivers", lakes: "lakes"}
)

func part(topic catalog.TopicID, n int32) catalog.TopicPartition {
	return catalog.TopicPartition{Topic: topic, Partition: n}
}

// writer commits segments as one node.
type writer struct {
	t       *testing.T
	log     *testLog
	catalog *catalog.Catalog
	stop    context.CancelFunc
	number  uint64
	random  *rand.Rand
}

// newJournal returns the journal of a store.
func newJournal(t testing.TB, bucket objstore.Bucket) *journal.Journal {
	j, err := journal.New(journal.DefaultConfig(), bucket, "000", quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// startCatalog runs a catalog until the test ends or stop is called; ended has
// its error then.
func startCatalog(t *testing.T, bucket objstore.Bucket, snapshotSlots int) (c *catalog.Catalog, stop context.CancelFunc, ended chan error) {
	cfg := catalog.DefaultConfig()
	cfg.SnapshotSlots, cfg.SnapshotSlotsMin = snapshotSlots, min(cfg.SnapshotSlotsMin, snapshotSlots)
	c, err := catalog.New(cfg, newJournal(t, bucket), nil, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return c, stop, ended
}

func startWriter(t *testing.T, l *testLog, snapshotSlots int) *writer {
	c, stop, _ := startCatalog(t, l.mem, snapshotSlots)
	<-c.Ready()
	return &writer{t: t, log: l, catalog: c, stop: stop, random: rand.New(rand.NewPCG(1, 2))}
}

func (w *writer) propose(e catalog.Edit) catalog.Result {
	w.t.Helper()
	r, err := w.catalog.Propose(w.t.Context(), e)
	if err == nil {
		err = r.Err
	}
	if err != nil {
		w.t.Fatalf("%T: %v", e, err)
	}
	return r
}

// testBatch is a batch to be committed.
type testBatch struct {
	partition catalog.TopicPartition
	valueLen  int
	records   int
	producer  recordbatch.Producer
	refused   bool // its bytes stay in the segment, dead
}

func plain(tp catalog.TopicPartition, records, valueLen int) testBatch {
	return testBatch{partition: tp, records: records, valueLen: valueLen, producer: recordbatch.NoProducer}
}

func (w *writer) encode(b testBatch) []byte {
	records := make([]recordbatch.Record, b.records)
	for i := range records {
		value := make([]byte, b.valueLen)
		for j := range value {
			value[j] = byte(w.random.Uint32())
		}
		records[i] = recordbatch.Record{Timestamp: time.Now().UnixMilli(), Value: value}
	}
	data, err := recordbatch.Append(nil, records, recordbatch.None, b.producer)
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

// commit uploads and commits a segment.
func (w *writer) commit(batches ...testBatch) catalog.ObjectID {
	w.t.Helper()
	id := ulid.MustNew(uint64(w.catalog.View().Time()), ulid.Monotonic(rand.NewChaCha8([32]byte{byte(w.number)}), 0))
	edit, sealed := w.seal(id, batches)
	if _, err := w.log.mem.Put(w.t.Context(), segment.Key(id), sealed.Body); err != nil {
		w.t.Fatal(err)
	}
	results := w.propose(edit).Units
	w.number = edit.Upto
	used := map[catalog.TopicPartition]int{}
	for i, b := range batches {
		data := batchOf(sealed, b.partition, used)
		if refused := results[i].Err != nil; refused != b.refused {
			w.t.Fatalf("batch %d: refused is %v: %v", i, refused, results[i].Err)
		}
		if !b.refused && !results[i].Appends[0].Duplicate {
			base := results[i].Appends[0].Base
			recordbatch.PatchBaseOffset(data, base)
			w.log.batches[b.partition] = append(w.log.batches[b.partition], stored{base: base, data: data, object: id})
		}
	}
	w.log.objects = append(w.log.objects, edit.Object)
	return id
}

// batchOf returns a copy of the next batch of a partition.
func batchOf(sealed *segment.Sealed, tp catalog.TopicPartition, used map[catalog.TopicPartition]int) []byte {
	for _, run := range sealed.Runs {
		if run.Topic == tp.Topic && run.Partition == tp.Partition {
			used[tp]++
			return bytes.Clone(run.Batches[used[tp]-1].Data)
		}
	}
	return nil
}

// seal builds a segment and the edit that commits it, a unit for each batch.
func (w *writer) seal(id catalog.ObjectID, batches []testBatch) (catalog.CommitSegment, *segment.Sealed) {
	w.t.Helper()
	var runs []segment.Run
	for _, b := range batches {
		at := slices.IndexFunc(runs, func(r segment.Run) bool { return r.Topic == b.partition.Topic && r.Partition == b.partition.Partition })
		if at < 0 {
			at = len(runs)
			runs = append(runs, segment.Run{Topic: b.partition.Topic, TopicName: names[b.partition.Topic], Partition: b.partition.Partition})
		}
		data := w.encode(b)
		h, err := recordbatch.ParseHeader(data)
		if err != nil {
			w.t.Fatal(err)
		}
		runs[at].Batches = append(runs[at].Batches, segment.Batch{Data: data, Header: h})
	}
	upto := w.number + uint64(len(batches))
	sealed, err := segment.Encode(id, segment.Origin{Node: node, After: w.number, Upto: upto}, runs)
	if err != nil {
		w.t.Fatal(err)
	}
	edit := catalog.CommitSegment{Node: node, After: w.number, Upto: upto, Object: catalog.NewObject{
		ID: id, Kind: catalog.SegmentObject, Size: int64(len(sealed.Body)), IndexPos: sealed.IndexPos, IndexCRC: sealed.IndexCRC,
	}}
	used := map[catalog.TopicPartition]int{}
	for _, b := range batches {
		run := slices.IndexFunc(sealed.Runs, func(r segment.Run) bool { return r.Topic == b.partition.Topic && r.Partition == b.partition.Partition })
		in := sealed.Runs[run].Batches[used[b.partition]]
		used[b.partition]++
		a := catalog.Append{
			Partition: b.partition, Pos: in.Pos, Len: int64(len(in.Data)), CRC: crc32.Checksum(in.Data, segment.Castagnoli),
			Records: in.Header.RecordCount, MaxTimestamp: in.Header.MaxTimestamp, Expected: catalog.AnyOffset, Producer: b.producer,
		}
		if b.refused {
			a.Expected = 1 << 40
		}
		edit.Units = append(edit.Units, catalog.Unit{Appends: []catalog.Append{a}})
	}
	return edit, sealed
}

// buildLog makes a log with two snapshots, entries after them, segments of
// several topics and blocks, dead bytes, a producer, garbage and an orphan.
func buildLog(t *testing.T) *testLog {
	l := &testLog{mem: memstore.New(), batches: map[catalog.TopicPartition][]stored{}}
	synctest.Test(t, func(t *testing.T) {
		w := startWriter(t, l, 8)
		w.propose(catalog.RegisterNode{Node: node})
		w.propose(catalog.CreateTopic{ID: rivers, Name: "rivers", Partitions: 2, Config: catalog.DefaultTopicConfig()})
		w.propose(catalog.CreateTopic{ID: lakes, Name: "lakes", Partitions: 1, Config: catalog.DefaultTopicConfig()})
		producer := recordbatch.Producer{ID: w.propose(catalog.AllocateProducerID{}).Producer}
		send := func(records int) testBatch {
			b := testBatch{partition: part(rivers, 1), records: records, valueLen: 50, producer: producer}
			producer.BaseSequence += int32(records)
			return b
		}
		w.commit(plain(part(lakes, 0), 4, 30)) // will be garbage
		w.propose(catalog.Trim{Partition: part(lakes, 0), Before: 4})
		l.batches[part(lakes, 0)] = nil
		for range 16 {
			w.commit(plain(part(rivers, 0), 3, 40), send(2), plain(part(lakes, 0), 1, 500), plain(part(rivers, 0), 1, 5))
			time.Sleep(3 * time.Second)
			synctest.Wait()
		}
		dead := plain(part(rivers, 0), 2, 100)
		dead.refused = true
		w.commit(plain(part(rivers, 0), 1, 10), dead, plain(part(rivers, 0), 2, 20), send(1))
		w.commit(plain(part(rivers, 1), 1, 700_000), plain(part(rivers, 1), 2, 900_000), plain(part(rivers, 1), 3, 100), plain(part(lakes, 0), 2, 10))
		w.commit(plain(part(lakes, 0), 2, 30), send(3))
		_, orphan := w.seal(ulid.MustNew(uint64(w.catalog.View().Time()), rand.NewChaCha8([32]byte{99})), []testBatch{plain(part(rivers, 0), 1, 10)})
		if _, err := l.mem.Put(t.Context(), segment.Key(orphan.ID), orphan.Body); err != nil {
			t.Fatal(err)
		}
		w.stop()
		synctest.Wait()
	})
	return l
}

// verifyStore runs a Verifier over a store.
func verifyStore(t *testing.T, bucket objstore.Bucket, change func(*verify.Config)) (verify.Summary, []verify.Finding, error) {
	t.Helper()
	cfg := verify.DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	var found []verify.Finding
	v, err := verify.New(cfg, bucket, "000", quiet, func(f verify.Finding) { found = append(found, f) })
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.Run(t.Context())
	return s, found, err
}

// damages are the findings of damage.
func damages(found []verify.Finding) []verify.Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f verify.Finding) bool { return f.Class != verify.Damage })
}

// served is what a node made of a store.
type served struct {
	startErr error // it did not become ready, and says why
	right    int   // batches that were served as they were committed
	failed   map[catalog.ObjectID]int
}

// errNotReady is that of a node that goes on trying.
var errNotReady = errors.New("not ready")

// serve starts a catalog and a reader over a store and fetches every batch on
// its own. A batch with other bytes than were committed fails the test.
func serve(t *testing.T, l *testLog, bucket objstore.Bucket, wholeObjects int64) served {
	t.Helper()
	c, stop, ended := startCatalog(t, bucket, 10_000)
	defer stop()
	got := served{failed: map[catalog.ObjectID]int{}}
	select {
	case <-c.Ready():
	case got.startErr = <-ended:
		return got
	case <-time.After(10 * time.Minute): // of virtual time
		got.startErr = errNotReady
		return got
	}
	cfg := reader.DefaultConfig()
	cfg.WholeObjectBytes = wholeObjects
	r, err := reader.New(cfg, c, bucket, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for tp, batches := range l.batches {
		for _, b := range batches {
			f, err := r.Fetch(t.Context(), reader.Query{Partition: tp, Offset: b.base, Until: reader.NoUntil, MaxBytes: 1})
			if err != nil {
				got.failed[b.object]++
				continue
			}
			if !bytes.Equal(bytes.Join(f.Batches, nil), b.data) {
				t.Errorf("%s at %d: %d bytes were served that were never committed there", tp, b.base, len(bytes.Join(f.Batches, nil)))
			}
			got.right++
		}
	}
	return got
}

// count is how many batches the log holds.
func (l *testLog) count() (n int) {
	for _, batches := range l.batches {
		n += len(batches)
	}
	return n
}

func (l *testLog) body(t *testing.T, key string) []byte {
	t.Helper()
	o, err := l.mem.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return o.Body
}

func describe(found []verify.Finding) string {
	var b bytes.Buffer
	for _, f := range found {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}
