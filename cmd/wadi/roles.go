package main

import (
	"context"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/httpapi"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/reader"
)

// Topics, offsets and producer ids are the catalog's, which every node has; what
// is left out without a role is records in, or records out.

// noProducer stands in on a node without the ingest role.
type noProducer struct{}

func (noProducer) Reserve(int64) (httpapi.Reservation, error) { return nil, ingest.ErrNotIngest }

func (noProducer) ProduceRecords(context.Context, *catalog.Topic, []ingest.Record, ingest.Options) ([]ingest.Result, error) {
	return nil, ingest.ErrNotIngest
}

func (noProducer) ProduceBatches(context.Context, *catalog.Topic, int32, []byte, ingest.Options) ([]ingest.Result, error) {
	return nil, ingest.ErrNotIngest
}

// noFetcher stands in on a node without the reader role. A partition's bounds
// need no record to be read.
type noFetcher struct{ catalog *catalog.Catalog }

func (noFetcher) Fetch(context.Context, reader.Query) (reader.Fetched, error) {
	return reader.Fetched{}, reader.ErrNotReader
}

func (noFetcher) OffsetAtTime(context.Context, catalog.TopicPartition, int64) (catalog.Offset, int64, bool, error) {
	return 0, 0, false, reader.ErrNotReader
}

func (noFetcher) Manifest(context.Context, reader.ManifestQuery) (reader.Manifest, error) {
	return reader.Manifest{}, reader.ErrNotReader
}

func (noFetcher) Await(context.Context, []catalog.PartitionOffset, int64, time.Duration) error {
	return reader.ErrNotReader
}

func (f noFetcher) Bounds(ctx context.Context, tp catalog.TopicPartition) (reader.Bounds, error) {
	view, err := f.catalog.Confirm(ctx)
	if err != nil {
		return reader.Bounds{}, err
	}
	p := view.Partition(tp)
	if p == nil {
		return reader.Bounds{}, fmt.Errorf("%w: %d", catalog.ErrPartitionNotFound, tp.Partition)
	}
	return reader.Bounds{Start: p.LogStart(), End: p.End()}, nil
}

// noCache stands in for the reader's, on a node without that role.
type noCache struct{}

func (noCache) Warm(catalog.ObjectID, []byte) {}

// nodeTraffic tells compaction when to make room.
type nodeTraffic struct{ ingester *ingest.Ingester } // nil without that role

// busyShare is the part of the buffers for records on their way in beyond which
// a node is busy.
const busyShare = 0.25

func (t nodeTraffic) Busy() bool { return t.ingester != nil && t.ingester.BufferShare() > busyShare }
