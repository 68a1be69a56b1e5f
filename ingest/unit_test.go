package ingest

import (
	"bytes"
	"testing"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// FuzzDecodeUnit: whatever is decoded encodes to the same bytes.
func FuzzDecodeUnit(f *testing.F) {
	data, err := recordbatch.Append(nil, []recordbatch.Record{{Value: []byte("v")}}, recordbatch.None, recordbatch.NoProducer)
	if err != nil {
		f.Fatal(err)
	}
	batches, err := splitBatches(append(bytes.Clone(data), data...))
	if err != nil {
		f.Fatal(err)
	}
	tp := catalog.TopicPartition{Topic: uuid.New(), Partition: 3}
	u := newUnit([]unitAppend{newUnitAppend(tp, "", batches, catalog.AnyOffset)})
	f.Add(bytes.Join(u.frame(), nil))
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := decodeUnit(b)
		if err != nil {
			return
		}
		again, err := decodeUnit(bytes.Join(u.frame(), nil))
		if err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
		if !bytes.Equal(bytes.Join(u.frame(), nil), bytes.Join(again.frame(), nil)) {
			t.Fatal("the encoding is not stable")
		}
	})
}
