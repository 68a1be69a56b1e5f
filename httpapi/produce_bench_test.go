package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// takingNode takes records at once and forgets them, so that what is measured is
// the way of a request to the ingester and back.
type takingNode struct {
	*memoryNode
	view *catalog.State
}

func (n takingNode) View() *catalog.State                            { return n.view }
func (n takingNode) Recent(context.Context) (*catalog.State, error)  { return n.view, nil }
func (n takingNode) Confirm(context.Context) (*catalog.State, error) { return n.view, nil }
func (n takingNode) Reserve(int64) (Reservation, error)              { return freeReservation{}, nil }

func (n takingNode) ProduceRecords(_ context.Context, _ *catalog.Topic, records []ingest.Record, opts ingest.Options) ([]ingest.Result, error) {
	if opts.Placed != nil {
		opts.Placed()
	}
	return []ingest.Result{{Records: len(records)}}, nil
}

func (n takingNode) ProduceBatches(context.Context, *catalog.Topic, int32, []byte, ingest.Options) ([]ingest.Result, error) {
	return []ingest.Result{{Records: 1000}}, nil
}

type freeReservation struct{}

func (freeReservation) Grow(int64) error { return nil }
func (freeReservation) Release()         {}

// BenchmarkProduce is a produce request of 1 KiB records, without net/http and
// without what becomes of the records.
func BenchmarkProduce(b *testing.B) {
	node := takingNode{memoryNode: newMemoryNode()}
	node.view = node.memoryNode.View()
	catalog.Apply(node.view, catalog.CreateTopic{ID: catalog.TopicID{1}, Name: "bench", Partitions: 1, Config: catalog.DefaultTopicConfig()})
	s, err := NewServer(DefaultConfig(), node, node, node, node, discard(), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	const many = 1000
	value := bytes.Repeat([]byte("x"), 1024)
	records := make([]recordbatch.Record, many)
	json := []byte(`{"records":[`)
	for i := range records {
		records[i].Value = value
		if i > 0 {
			json = append(json, ',')
		}
		json = append(append(append(json, `{"value":"`...), value...), `"}`...)
	}
	json = append(json, "]}"...)
	batch, err := recordbatch.Append(nil, records, recordbatch.None, recordbatch.NoProducer)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name, media string
		body        []byte
		records     int
	}{
		{"single", "application/octet-stream", value, 1},
		{"json", mediaJSON, json, many},
		{"ndjson", mediaNDJSON, bytes.Repeat(append(bytes.Clone(value), '\n'), many), many},
		{"batch", mediaRecordBatch, batch, many},
	} {
		b.Run(c.name+"/records="+strconv.Itoa(c.records), func(b *testing.B) {
			b.SetBytes(int64(c.records * len(value)))
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodPost, "/v1/topics/bench/partitions/0/records", bytes.NewReader(c.body))
				r.Header.Set("Content-Type", c.media)
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
