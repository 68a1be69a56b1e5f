package tiering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// idle is a node without clients.
type idle struct{}

func (idle) Busy() bool { return false }

// compacted is a catalog over a store with real segments, and what was written.
type compacted struct {
	*collected
	rng *rand.Rand
	log map[catalog.TopicPartition][][]byte // batches as a reader gets them, from offset 0 on
}

func compacting(t *testing.T, test func(*testing.T, *compacted)) {
	collecting(t, func(t *testing.T, c *collected) {
		test(t, &compacted{collected: c, rng: rand.New(rand.NewPCG(1, 2)), log: map[catalog.TopicPartition][][]byte{}})
	})
}

// partitions makes a topic.
func (c *compacted) partitions(name string, n int32, change func(*catalog.TopicConfig)) []catalog.TopicPartition {
	c.t.Helper()
	cfg := catalog.DefaultTopicConfig()
	if change != nil {
		change(&cfg)
	}
	id := catalog.TopicID{0: byte(c.rng.Uint32()), 1: byte(c.rng.Uint32()), 2: byte(c.rng.Uint32()), 15: 1}
	c.propose(catalog.CreateTopic{ID: id, Name: name, Partitions: n, Config: cfg})
	var all []catalog.TopicPartition
	for i := range n {
		all = append(all, catalog.TopicPartition{Topic: id, Partition: i})
	}
	return all
}

// flush commits a segment with batches of records for each partition, of about
// valueLen bytes a batch.
func (c *compacted) flush(valueLen, batches int, partitions ...catalog.TopicPartition) catalog.ObjectID {
	c.t.Helper()
	var runs []segment.Run
	for _, tp := range partitions {
		run := segment.Run{Topic: tp.Topic, TopicName: "t", Partition: tp.Partition}
		for range batches {
			value := make([]byte, valueLen)
			for i := range value {
				value[i] = byte(c.rng.Uint32())
			}
			records := []recordbatch.Record{{Timestamp: c.rng.Int64N(1000), Value: value}, {Timestamp: c.rng.Int64N(1000)}}
			data, err := recordbatch.Append(nil, records, recordbatch.None, recordbatch.NoProducer)
			if err != nil {
				c.t.Fatal(err)
			}
			h, err := recordbatch.ParseHeader(data)
			if err != nil {
				c.t.Fatal(err)
			}
			run.Batches = append(run.Batches, segment.Batch{Data: data, Header: h})
		}
		runs = append(runs, run)
	}
	id := ulid.MustNew(uint64(c.catalog.View().Time()), ulid.DefaultEntropy())
	sealed, err := segment.Encode(id, segment.Origin{Upto: 1}, runs)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.mem.Put(c.ctx, segment.Key(id), sealed.Body); err != nil {
		c.t.Fatal(err)
	}
	e := catalog.CommitSegment{Node: c.node, After: c.number, Upto: c.number + 1, Object: catalog.NewObject{
		ID: id, Kind: catalog.SegmentObject, Size: int64(len(sealed.Body)), IndexPos: sealed.IndexPos, IndexCRC: sealed.IndexCRC,
	}}
	for _, run := range sealed.Runs {
		a := catalog.Append{
			Partition: catalog.TopicPartition{Topic: run.Topic, Partition: run.Partition}, Pos: run.Batches[0].Pos,
			MaxTimestamp: -1, Expected: catalog.AnyOffset, Producer: recordbatch.NoProducer,
		}
		for _, b := range run.Batches {
			a.Len += int64(len(b.Data))
			a.Records += b.Header.RecordCount
			a.MaxTimestamp = max(a.MaxTimestamp, b.Header.MaxTimestamp)
		}
		a.CRC = crc32.Checksum(sealed.Body[a.Pos:int64(a.Pos)+a.Len], segment.Castagnoli)
		e.Units = append(e.Units, catalog.Unit{Appends: []catalog.Append{a}})
	}
	r := c.propose(e)
	c.number++
	for i, run := range sealed.Runs {
		tp := e.Units[i].Appends[0].Partition
		base := r.Units[i].Appends[0].Base
		for _, b := range run.Batches {
			data := bytes.Clone(b.Data)
			recordbatch.PatchBaseOffset(data, base)
			base += catalog.Offset(b.Header.RecordCount)
			c.log[tp] = append(c.log[tp], data)
		}
	}
	return id
}

// read returns the batches of a partition as the store has them, with the base
// offsets that the catalog gives.
func (c *compacted) read(view *catalog.State, tp catalog.TopicPartition) (batches [][]byte, err error) {
	p := view.Partition(tp)
	for _, e := range p.Extents(p.LogStart(), 1<<30) {
		o, err := c.mem.GetRange(c.ctx, segment.Key(e.Object), int64(e.Pos), e.Len)
		if err != nil {
			return nil, err
		}
		if crc := crc32.Checksum(o.Body, segment.Castagnoli); e.Len <= catalog.ExtentCRCLenMax && crc != e.CRC {
			return nil, fmt.Errorf("extent at %d has CRC32C %08x, not %08x", e.Base, crc, e.CRC)
		}
		base := e.Base
		for data, err := range recordbatch.Batches(o.Body) {
			if err != nil {
				return nil, err
			}
			if err := recordbatch.CheckCRC(data); err != nil {
				return nil, err
			}
			h, _ := recordbatch.ParseHeader(data)
			recordbatch.PatchBaseOffset(data, base)
			base += catalog.Offset(h.RecordCount)
			batches = append(batches, data)
		}
		if base != e.End() {
			return nil, fmt.Errorf("extent at %d ends at %d, not %d", e.Base, base, e.End())
		}
	}
	return batches, nil
}

// check compares what the store holds with what was written, from the log start on.
func (c *compacted) check(partitions ...catalog.TopicPartition) {
	c.t.Helper()
	view := c.catalog.View()
	for _, tp := range partitions {
		got, err := c.read(view, tp)
		if err != nil {
			c.t.Fatalf("%s: %v", tp, err)
		}
		// Extents go as a whole, so that the first may begin below the log start.
		want := c.log[tp][len(c.log[tp])-min(len(got), len(c.log[tp])):]
		if len(got) > len(c.log[tp]) || !equalBatches(got, want) {
			c.t.Fatalf("%s: %d batches differ from the %d written", tp, len(got), len(c.log[tp]))
		}
		p := view.Partition(tp)
		end, start := catalog.Offset(0), p.End()
		for _, b := range c.log[tp] {
			h, _ := recordbatch.ParseHeader(b)
			end = h.BaseOffset + catalog.Offset(h.RecordCount)
		}
		if len(got) > 0 {
			h, _ := recordbatch.ParseHeader(got[0])
			start = h.BaseOffset
		}
		if p.End() != end || start > p.LogStart() {
			c.t.Fatalf("%s is [%d, %d), its extents from %d on, and it should end at %d", tp, p.LogStart(), p.End(), start, end)
		}
	}
}

func equalBatches(a, b [][]byte) bool {
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

func (c *compacted) compactor(change func(*CompactorConfig)) *Compactor {
	c.t.Helper()
	cfg := DefaultCompactorConfig()
	if change != nil {
		change(&cfg)
	}
	k, err := NewCompactor(cfg, c.catalog, c.store, idle{}, quiet, prometheus.NewRegistry())
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

// runs starts a Compactor; the test's end stops it.
func (c *compacted) runs(k *Compactor) {
	go func() {
		if err := k.Run(c.ctx); !errors.Is(err, context.Canceled) {
			c.t.Error(err)
		}
	}()
}

func TestCompact(t *testing.T) {
	compacting(t, func(t *testing.T, c *compacted) {
		a, b := c.partitions("a", 3, nil), c.partitions("b", 1, nil)
		for range 40 {
			c.flush(500, 2, a[0], a[2], b[0])
			time.Sleep(time.Second)
		}
		k := c.compactor(nil)
		c.runs(k)
		time.Sleep(2 * time.Hour)
		c.check(a[0], a[1], a[2], b[0])
		for _, tp := range []catalog.TopicPartition{a[0], a[2], b[0]} {
			if n := c.catalog.View().Partition(tp).ExtentCount(); n != 1 {
				t.Errorf("%s has %d extents", tp, n)
			}
		}
		if n := c.catalog.View().Counts(); n.Objects != 2 || n.Garbage != 40 {
			t.Errorf("%d objects, %d of garbage", n.Objects, n.Garbage)
		}
		if n := c.store.Count(objstore.OpGetRange); n > 2*40+2*4 {
			t.Errorf("%d GETs", n)
		}
		if n := testutil.ToFloat64(k.metrics.replaced); n != 120 {
			t.Errorf("%v extents were replaced", n)
		}
	})
}
