package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
	"pgregory.net/rapid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// TestCommitUnitsNameEveryRecord commits segments of random units, some of
// them withdrawn, conditional or idempotent, to a real catalog. Where the
// results say that a unit landed, the extents must hold its bytes.
func TestCommitUnitsNameEveryRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := catalog.NewState([16]byte{1})
		topic, node := uuid.New(), uuid.New()
		mustApply(t, state, catalog.CreateTopic{ID: topic, Name: "flights", Partitions: 3, Config: catalog.DefaultTopicConfig()})
		mustApply(t, state, catalog.RegisterNode{Node: node})
		producer := mustApply(t, state, catalog.AllocateProducerID{}).Producer
		sequence := map[int32]int32{}
		bodies := map[catalog.ObjectID][]byte{}
		number := uint64(0)

		for range rapid.IntRange(1, 4).Draw(t, "segments") {
			after := number
			var units []*unit
			for i := range rapid.IntRange(1, 12).Draw(t, "units") {
				u := drawUnit(t, topic, producer, sequence, fmt.Sprint(number, "-", i))
				number++
				u.number = number
				units = append(units, u)
			}
			sealed, err := seal(ulid.Make(), segment.Origin{Node: node, After: after, Upto: number}, units)
			if err != nil {
				t.Fatalf("seal: %v", err)
			}
			bodies[sealed.ID] = sealed.Body
			taking := make([]bool, len(units))
			for i, u := range units {
				// What a producer counts on cannot be withdrawn here: its next
				// batch was numbered already.
				taking[i] = u.appends[0].idempotent() || rapid.Bool().Draw(t, "taking")
			}
			commit := catalog.CommitSegment{Node: node, After: after, Upto: number, Object: catalog.NewObject{
				ID: sealed.ID, Kind: catalog.SegmentObject, Size: int64(len(sealed.Body)), IndexPos: sealed.IndexPos, IndexCRC: sealed.IndexCRC,
			}}
			var where []unitResults
			commit.Units, where = sealed.commitUnits(taking)
			result := mustApply(t, state, commit)
			if err := catalog.CheckAll(state); err != nil {
				t.Fatalf("invariant: %v", err)
			}
			for i, u := range units {
				if !taking[i] {
					continue
				}
				results, err := sealed.resultsOf(i, where[i], result.Units)
				var mismatch *catalog.OffsetError
				if errors.As(err, &mismatch) && u.appends[0].expected != catalog.AnyOffset {
					continue
				}
				if err != nil {
					t.Fatalf("unit %d: %v", i, err)
				}
				for j, r := range results {
					checkLanded(t, state, bodies, &u.appends[j], r)
				}
			}
		}
	})
}

func mustApply(t *rapid.T, s *catalog.State, e catalog.Edit) catalog.Result {
	r := catalog.Apply(s, e)
	if r.Err != nil {
		t.Fatalf("apply %T: %v", e, r.Err)
	}
	return r
}

func drawUnit(t *rapid.T, topic catalog.TopicID, producer int64, sequence map[int32]int32, name string) *unit {
	kind := rapid.SampledFrom([]string{"plain", "plain", "plain", "several partitions", "expected", "idempotent"}).Draw(t, "kind")
	partitions := []int32{rapid.Int32Range(0, 2).Draw(t, "partition")}
	if kind == "several partitions" {
		partitions = []int32{0, 1, 2}
	}
	var appends []unitAppend
	for _, p := range partitions {
		var batches []segment.Batch
		for b := range rapid.IntRange(1, 3).Draw(t, "batches") {
			of := recordbatch.NoProducer
			n := rapid.Int32Range(1, 3).Draw(t, "records")
			if kind == "idempotent" {
				of = recordbatch.Producer{ID: producer, BaseSequence: sequence[p]}
				sequence[p] += n
			}
			records := make([]recordbatch.Record, n)
			for i := range records {
				records[i].Value = fmt.Appendf(nil, "%s/%d/%d/%d", name, p, b, i)
			}
			data, err := recordbatch.Append(nil, records, recordbatch.None, of)
			if err != nil {
				t.Fatalf("build a batch: %v", err)
			}
			h, err := recordbatch.ParseHeader(data)
			if err != nil {
				t.Fatalf("parse a batch: %v", err)
			}
			batches = append(batches, segment.Batch{Data: data, Header: h})
		}
		expected := catalog.AnyOffset
		if kind == "expected" {
			expected = catalog.Offset(rapid.IntRange(0, 10).Draw(t, "expected"))
		}
		appends = append(appends, newUnitAppend(catalog.TopicPartition{Topic: topic, Partition: p}, "flights", batches, expected))
	}
	return newUnit(appends)
}

// checkLanded reads a unit's batches back through the extents.
func checkLanded(t *rapid.T, s *catalog.State, bodies map[catalog.ObjectID][]byte, a *unitAppend, r Result) {
	want := a.batches
	offset := r.BaseOffset
	for len(want) > 0 {
		xs := s.Partition(a.partition).Extents(offset, 1)
		if len(xs) == 0 {
			t.Fatalf("%s: nothing at offset %d", a.partition, offset)
		}
		x := xs[0]
		body := bodies[x.Object][x.Pos : int64(x.Pos)+x.Len]
		if crc32.Checksum(body, segment.Castagnoli) != x.CRC {
			t.Fatalf("%s: CRC32C of the extent at %d", a.partition, x.Base)
		}
		base := x.Base
		for batch, err := range recordbatch.Batches(body) {
			if err != nil {
				t.Fatal(err)
			}
			h, err := recordbatch.ParseHeader(batch)
			if err != nil {
				t.Fatal(err)
			}
			if base == offset && len(want) > 0 {
				if !bytes.Equal(batch, want[0].Data) {
					t.Fatalf("%s: other bytes at offset %d", a.partition, offset)
				}
				want = want[1:]
				offset += catalog.Offset(h.RecordCount)
			}
			base += catalog.Offset(h.RecordCount)
		}
	}
}
