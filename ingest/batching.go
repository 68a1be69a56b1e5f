package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/keyhash"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// ProduceRecords partitions records, builds batches for each partition and
// commits them as a whole. The results are sorted by partition.
func (g *Ingester) ProduceRecords(ctx context.Context, topic *catalog.Topic, records []Record, opts Options) ([]Result, error) {
	if len(records) == 0 {
		return nil, ErrNoRecords
	}
	if err := opts.validate(); err != nil {
		return nil, err
	}
	byPartition, err := g.partition(topic, records)
	if err != nil {
		return nil, err
	}
	appends := make([]unitAppend, 0, len(byPartition))
	for _, group := range byPartition {
		a, err := g.buildAppend(topic, group, opts)
		if err != nil {
			return nil, err
		}
		appends = append(appends, a)
	}
	return g.produce(ctx, topic, newUnit(appends), opts)
}

func (o Options) validate() error {
	switch {
	case o.Acks == AcksOne && (o.Producer.ID >= 0 || o.Expected != catalog.AnyOffset || o.needsKeys()):
		return ErrNeedsAcksAll
	case o.Producer.ID >= 0 && o.Key.Name != "":
		return ErrTwoKeys
	}
	return nil
}

// partitionRecords is the records of a request for one partition.
type partitionRecords struct {
	partition int32
	records   []recordbatch.Record
}

// partition sorts records by partition, keeping their order within each.
func (g *Ingester) partition(topic *catalog.Topic, records []Record) ([]partitionRecords, error) {
	// Records without a key stay together, so that a request of them is one
	// batch; requests take turns.
	keyless := int32(g.keyless.Add(1) % uint64(topic.Partitions))
	groups := map[int32]int{}
	var out []partitionRecords
	for i := range records {
		p := records[i].Partition
		switch {
		case p == AnyPartition && records[i].Key == nil:
			p = keyless
		case p == AnyPartition:
			p = keyhash.PartitionOf(records[i].Key, topic.Partitions)
		case p < 0 || p >= topic.Partitions:
			return nil, fmt.Errorf("record %d: %w: %d of topic %s", i, catalog.ErrPartitionNotFound, p, topic.Name)
		}
		at, ok := groups[p]
		if !ok {
			at = len(out)
			groups[p] = at
			out = append(out, partitionRecords{partition: p})
		}
		out[at].records = append(out[at].records, records[i].Record)
	}
	slices.SortFunc(out, func(a, b partitionRecords) int { return int(a.partition) - int(b.partition) })
	return out, nil
}

// buildAppend makes batches of about Config.BatchBytes of a partition's
// records; one single batch if a producer's sequence goes with it.
func (g *Ingester) buildAppend(topic *catalog.Topic, group partitionRecords, opts Options) (unitAppend, error) {
	codec := codecOf(topic.Config.CompressionType)
	appendTime := topic.Config.MessageTimestampType == catalog.LogAppendTime
	now := time.Now().UnixMilli()
	var batches []segment.Batch
	for rest := group.records; len(rest) > 0; {
		n, err := countForBatch(rest, g.batchBytes(opts), int(topic.Config.MaxMessageBytes))
		if err != nil {
			return unitAppend{}, err
		}
		data, err := recordbatch.Append(nil, rest[:n], codec, opts.Producer)
		if err != nil {
			return unitAppend{}, err
		}
		if appendTime {
			recordbatch.StampLogAppendTime(data, now)
		}
		h, err := recordbatch.ParseHeader(data)
		if err != nil {
			return unitAppend{}, err
		}
		batches = append(batches, segment.Batch{Data: data, Header: h})
		rest = rest[n:]
	}
	tp := catalog.TopicPartition{Topic: topic.ID, Partition: group.partition}
	a := newUnitAppend(tp, topic.Name, batches, opts.Expected)
	a.token = opts.Token
	return a, nil
}

func (g *Ingester) batchBytes(opts Options) int {
	if opts.Producer.ID >= 0 {
		return g.cfg.BatchBytesMax // one batch: its base sequence is the request's
	}
	return g.cfg.BatchBytes
}

// countForBatch returns how many of records make a batch of at most batchBytes,
// at least one.
func countForBatch(records []recordbatch.Record, batchBytes, recordBytesMax int) (int, error) {
	var sum int
	for i := range records {
		size := recordBytes(&records[i])
		if size > recordBytesMax {
			return 0, &recordbatch.TooLargeError{What: "record", Bytes: int64(size), Limit: int64(recordBytesMax)}
		}
		if sum += size; sum > batchBytes && i > 0 {
			return i, nil
		}
	}
	return len(records), nil
}

// recordBytes is the size of a record that max.message.bytes limits.
func recordBytes(r *recordbatch.Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

func codecOf(t catalog.CompressionType) recordbatch.Codec {
	switch t {
	case catalog.CompressNone:
		return recordbatch.None
	case catalog.CompressGzip:
		return recordbatch.Gzip
	case catalog.CompressSnappy:
		return recordbatch.Snappy
	case catalog.CompressZstd:
		return recordbatch.Zstd
	default:
		return recordbatch.LZ4
	}
}

// ProduceBatches validates the record batches that lie back to back in body
// and commits them as a whole. It keeps body, and writes to it. The producer
// is that of the batches; opts.Producer is not used.
func (g *Ingester) ProduceBatches(ctx context.Context, topic *catalog.Topic, partition int32, body []byte, opts Options) ([]Result, error) {
	if partition < 0 || partition >= topic.Partitions {
		return nil, fmt.Errorf("%w: %d of topic %s", catalog.ErrPartitionNotFound, partition, topic.Name)
	}
	batches, err := g.validateBatches(ctx, topic, body)
	if err != nil {
		return nil, err
	}
	if len(batches) == 0 {
		return nil, ErrNoRecords
	}
	tp := catalog.TopicPartition{Topic: topic.ID, Partition: partition}
	a := newUnitAppend(tp, topic.Name, batches, opts.Expected)
	a.token = opts.Token
	opts.Producer = recordbatch.NoProducer
	if a.idempotent() {
		opts.Producer.ID = batches[0].Header.ProducerID
	}
	if err := opts.validate(); err != nil {
		return nil, err
	}
	return g.produce(ctx, topic, newUnit([]unitAppend{a}), opts)
}

// validateBatches checks what a client built.
func (g *Ingester) validateBatches(ctx context.Context, topic *catalog.Topic, body []byte) ([]segment.Batch, error) {
	limits := recordbatch.Limits{
		RecordBytesMax:       int(topic.Config.MaxMessageBytes),
		BatchBytesMax:        g.cfg.BatchBytesMax,
		DecompressedBytesMax: g.cfg.DecompressedBytesMax,
	}
	now := time.Now().UnixMilli()
	var batches []segment.Batch
	pos := 0
	for data, err := range recordbatch.Batches(body) {
		if err != nil {
			return nil, err
		}
		if err := g.validate(ctx, data, limits); err != nil {
			return nil, atPos(err, pos)
		}
		recordbatch.PatchBaseOffset(data, 0)
		if topic.Config.MessageTimestampType == catalog.LogAppendTime {
			recordbatch.StampLogAppendTime(data, now)
		}
		h, err := recordbatch.ParseHeader(data)
		if err != nil {
			return nil, err
		}
		batches = append(batches, segment.Batch{Data: data, Header: h})
		pos += len(data)
	}
	return batches, nil
}

// validate checks one batch. Decompression needs memory beside the body, so
// only so many compressed batches are checked at a time.
func (g *Ingester) validate(ctx context.Context, data []byte, limits recordbatch.Limits) error {
	if h, err := recordbatch.ParseHeader(data); err == nil && h.Codec() != recordbatch.None {
		select {
		case g.validations <- struct{}{}:
			defer func() { <-g.validations }()
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNotCommitted, ctx.Err())
		}
	}
	_, err := recordbatch.Validate(data, limits)
	return err
}

// atPos moves the place that an InvalidError names from its batch to the body.
func atPos(err error, pos int) error {
	var invalid *recordbatch.InvalidError
	if errors.As(err, &invalid) {
		return &recordbatch.InvalidError{Pos: pos + invalid.Pos, Err: invalid.Err}
	}
	return err
}
