package main

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/semaphore"

	"github.com/wadilog/wadi/client"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// settleGrace is how long requests under way may take to be answered after
// the producer was told to stop.
const settleGrace = 5 * time.Second

// producerSettings say what a producer produces to, and how.
type producerSettings struct {
	topic       string
	partitions  int32
	acks        client.Acks
	codec       recordbatch.Codec
	id          producerID    // of acks=all
	bufferBytes int64         // of batches that wait or are under way
	connections int           // requests in flight at most
	acked       []int64       // by partition: records that an earlier run has had acknowledged; nil for none
	ledger      *ackLog       // may be nil
	timeout     time.Duration // without any progress
}

// producer sends batches, those of one partition one after the other, so that
// their order holds, and repeats them until their outcome is known.
type producer struct {
	client   *client.Client
	settings producerSettings
	retry    *client.Retrier
	stopping context.Context // ended by the caller or by the first failure
	stop     context.CancelCauseFunc
	sending  context.Context // ends settleGrace later
	abandon  context.CancelFunc
	buffer   *semaphore.Weighted
	slots    chan struct{}
	senders  sync.WaitGroup
	batches  sync.Pool // of *lineBatch

	mu      sync.Mutex // guards all below, and every partitionQueue
	queues  map[int32]*partitionQueue
	failure error
	latency *hdrhistogram.Histogram // µs from the first attempt to the answer
	records int64                   // acknowledged
	bytes   int64                   // of their keys and values
}

// partitionQueue holds what is still to be sent to one partition. While it is
// active, one goroutine owns its sequence and its first batch.
type partitionQueue struct {
	partition int32
	pending   []*lineBatch
	active    bool
	sequence  int32 // of the next record
	skip      int64 // records to come that are acknowledged already
	acked     int64 // records
	unknown   int64 // records whose outcome nobody knows
}

// newProducer returns a producer that works until ctx ends. Close it.
func newLineProducer(ctx context.Context, c *client.Client, settings producerSettings, waiting func(error)) *producer {
	p := &producer{
		client: c, settings: settings,
		retry:   client.NewRetrier(settings.timeout, waiting),
		buffer:  semaphore.NewWeighted(settings.bufferBytes),
		slots:   make(chan struct{}, settings.connections),
		queues:  map[int32]*partitionQueue{},
		latency: hdrhistogram.New(1, int64(time.Hour/time.Microsecond), 3),
	}
	p.batches.New = func() any { return new(lineBatch) }
	p.stopping, p.stop = context.WithCancelCause(ctx)
	p.sending, p.abandon = context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(p.stopping, func() { time.AfterFunc(settleGrace, p.abandon) })
	return p
}

// fresh returns an empty batch.
func (p *producer) fresh() *lineBatch {
	batch := p.batches.Get().(*lineBatch)
	*batch = lineBatch{data: batch.data[:0], spans: batch.spans[:0]}
	return batch
}

// send takes a batch over, waiting while too much is under way. Its error is
// why the producer stopped.
func (p *producer) send(batch *lineBatch) error {
	if err := p.buffer.Acquire(p.stopping, p.weight(batch)); err != nil {
		p.park(batch)
		return context.Cause(p.stopping)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queue(batch.partition)
	if q.skip > 0 {
		defer p.release(batch)
		if int64(batch.len()) > q.skip {
			err := fmt.Errorf("partition %d: the acknowledged records end within a batch: this is not the input of the ack log", q.partition)
			p.failLocked(err)
			return err
		}
		q.skip -= int64(batch.len())
		return nil
	}
	q.pending = append(q.pending, batch)
	if !q.active {
		q.active = true
		p.senders.Go(func() { p.drain(q) })
	}
	return nil
}

// park keeps a batch that will not be sent, for the report.
func (p *producer) park(batch *lineBatch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queue(batch.partition)
	q.pending = append(q.pending, batch)
}

func (p *producer) weight(batch *lineBatch) int64 {
	return min(int64(batch.size), p.settings.bufferBytes)
}

func (p *producer) release(batch *lineBatch) {
	p.buffer.Release(p.weight(batch))
	p.batches.Put(batch)
}

// queue returns the queue of a partition. The caller holds mu.
func (p *producer) queue(partition int32) *partitionQueue {
	q := p.queues[partition]
	if q == nil {
		q = &partitionQueue{partition: partition}
		if p.settings.acked != nil {
			q.acked = p.settings.acked[partition]
			q.skip = q.acked
			q.sequence = advanceSequence(0, q.acked)
		}
		p.queues[partition] = q
	}
	return q
}

// advanceSequence is the sequence after n more records: it counts from 0 again
// after the largest int32, as in Kafka's DefaultRecordBatch.
func advanceSequence(sequence int32, n int64) int32 {
	return int32((int64(sequence) + n) & math.MaxInt32)
}

// drain sends what q holds until it is empty or the producer stops.
func (p *producer) drain(q *partitionQueue) {
	for {
		p.mu.Lock()
		if len(q.pending) == 0 || p.stopping.Err() != nil {
			q.active = false
			p.mu.Unlock()
			return
		}
		batch := q.pending[0]
		p.mu.Unlock()

		select {
		case p.slots <- struct{}{}:
		case <-p.stopping.Done():
			continue
		}
		a, took, unknown, err := p.deliver(q, batch)
		<-p.slots
		if err == nil && p.settings.ledger != nil {
			err = p.settings.ledger.append(a, batch.firstLine)
		}

		p.mu.Lock()
		switch {
		case took > 0: // acknowledged, if perhaps not in the ledger
			q.pending = q.pending[1:]
			q.sequence = advanceSequence(q.sequence, int64(batch.len()))
			q.acked += int64(batch.len())
			p.records += int64(batch.len())
			p.bytes += int64(len(batch.data))
			// An hour is more than any request takes.
			_ = p.latency.RecordValue(took.Microseconds())
			p.release(batch)
		case unknown:
			q.unknown = int64(batch.len())
		}
		if err != nil {
			p.failLocked(fmt.Errorf("partition %d: %w", q.partition, err))
		}
		p.mu.Unlock()
	}
}

// deliver sends one batch until its outcome is known. took is above 0 if it
// was acknowledged; else unknown tells whether it may be in the log.
func (p *producer) deliver(q *partitionQueue, batch *lineBatch) (a client.Appended, took time.Duration, unknown bool, err error) {
	id, again := recordbatch.NoProducer, client.HadNoEffect
	if p.settings.acks == client.AcksAll {
		id, again = recordbatch.Producer{ID: p.settings.id.ID, Epoch: p.settings.id.Epoch, BaseSequence: q.sequence}, client.IsRetryable
	}
	body, err := recordbatch.Append(nil, batch.records(nil, time.Now().UnixMilli()), p.settings.codec, id)
	if err != nil {
		return client.Appended{}, 0, false, fmt.Errorf("build batch: %w", err)
	}
	began := time.Now()
	err = p.retry.Do(p.stopping, again, func() error {
		var err error
		a, err = p.client.AppendEncoded(p.sending, p.settings.topic, q.partition, client.FormatRecordBatch, body,
			client.AppendOptions{Acks: p.settings.acks})
		if err == nil && a.Count != batch.len() {
			err = fmt.Errorf("answer about %d records for %d", a.Count, batch.len())
		}
		if err != nil && client.IsOutcomeUnknown(err) {
			unknown = true
		}
		return err
	})
	if err != nil {
		return client.Appended{}, 0, unknown, err
	}
	return a, max(time.Since(began), 1), false, nil
}

// failLocked stops the producer. The caller holds mu.
func (p *producer) failLocked(err error) {
	if p.failure == nil {
		p.failure = err
	}
	p.stop(err)
}

// close waits for what is under way and returns what became of everything.
// After a failure or when the context ended that is what was acknowledged
// until then.
func (p *producer) close() delivery {
	p.senders.Wait()
	cause := context.Cause(p.stopping)
	p.stop(nil)
	p.abandon()
	p.mu.Lock()
	defer p.mu.Unlock()
	d := delivery{
		records: p.records, bytes: p.bytes, latency: p.latency, retries: p.retry.Retries(), err: p.failure,
		acked: map[int32]int64{}, unknown: map[int32]int64{}, firstOpen: math.MaxInt64,
	}
	if d.err == nil && cause != nil {
		d.err = cause
	}
	for partition, q := range p.queues {
		if q.acked > 0 {
			d.acked[partition] = q.acked
		}
		if q.unknown > 0 {
			d.unknown[partition] = q.unknown
		}
		if len(q.pending) > 0 {
			d.firstOpen = min(d.firstOpen, q.pending[0].firstLine)
		}
		if q.skip > 0 && d.err == nil {
			d.err = fmt.Errorf("partition %d: the ack log holds %d records more than the input", partition, q.skip)
		}
	}
	if p.settings.acked != nil {
		for partition, n := range p.settings.acked {
			if n > 0 && p.queues[int32(partition)] == nil && d.err == nil {
				d.err = fmt.Errorf("partition %d: the ack log holds %d records more than the input", partition, n)
			}
		}
	}
	return d
}

// delivery is what became of the batches.
type delivery struct {
	records   int64 // acknowledged in this run
	bytes     int64 // of their keys and values
	acked     map[int32]int64
	unknown   map[int32]int64
	firstOpen int64 // first line that is not acknowledged, of those that reached the producer
	retries   int64
	latency   *hdrhistogram.Histogram // µs
	err       error
}
