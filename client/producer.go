package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Defaults and bounds of ProducerConfig.
const (
	defaultLinger          = 5 * time.Millisecond
	defaultBatchBytes      = 1 << 20
	defaultBufferBytes     = 64 << 20
	defaultInFlight        = 1
	defaultRequests        = 16
	defaultDeliveryTimeout = 2 * time.Minute

	batchBytesMin = 1 << 10
	batchBytesMax = 15 << 20 // with what surrounds it, a body of 16 MiB
	inFlightMax   = 5        // the log remembers as many batches of a producer on a partition
	requestsMax   = 1024
	// deliveryTimeoutMax is far below the 24 h after which the log forgets a
	// producer: what it does not know was never written by one of ours.
	deliveryTimeoutMax = 12 * time.Hour
)

// topicMaxAge is after how long a Producer looks again how many partitions a
// topic has.
const topicMaxAge = 5 * time.Minute

// ErrProducerClosed is what a Producer says that was closed.
var ErrProducerClosed = errors.New("producer is closed")

// ErrDeliveryTimeout is in the *DeliveryError of records that were not
// acknowledged in time.
var ErrDeliveryTimeout = errors.New("not delivered in time")

// DeliveryError says that records were not acknowledged.
type DeliveryError struct {
	Topic     string
	Partition int32
	Records   int // that failed together
	// Unknown: the records may be in the log, or may yet come into it. If
	// false they are not, and never will be.
	Unknown bool
	Err     error
}

func (e *DeliveryError) Error() string {
	fate := "not written"
	if e.Unknown {
		fate = "unknown whether written"
	}
	return fmt.Sprintf("topic %s partition %d: %d records %s: %v", e.Topic, e.Partition, e.Records, fate, e.Err)
}

func (e *DeliveryError) Unwrap() error { return e.Err }

// ProducerConfig says how a Producer works. Fields that are zero have the
// default that is named with them.
type ProducerConfig struct {
	// Topic of records that name none.
	Topic string
	// Partitioner chooses partitions; KeyPartitioner by default.
	Partitioner Partitioner
	// Linger is how long a batch waits for more records when its partition has
	// nothing under way; 5 ms by default, below 0 not at all.
	Linger time.Duration
	// BatchBytes is how large a batch grows, before compression; 1 MiB by
	// default, at most 15 MiB. One larger record is a batch of its own.
	BatchBytes int
	// BufferBytes bounds the records that are not acknowledged yet; 64 MiB by
	// default. Beyond it Produce waits. The encoded bodies of requests under way, at
	// most Requests times BatchBytes, come on top.
	BufferBytes int64
	// InFlight is how many batches of one partition travel at a time; 1 by
	// default, at most 5. More help where a round trip is long and a partition
	// has more to send than a batch in each; their order is kept.
	InFlight int
	// Requests is how many requests there are at a time; 16 by default.
	Requests int
	// Compression of batches; LZ4 by default.
	Compression Compression
	// DeliveryTimeout is after how long a record is given up; 2 min by default,
	// at most 12 h.
	DeliveryTimeout time.Duration
	// Acks with AcksOne answers when one node has the records on its disk. Then
	// there are no offsets, a partition has one batch under way, and nothing is
	// repeated whose outcome is unknown: such records fail with a DeliveryError
	// that is Unknown.
	Acks Acks
	// ProducerID, if not nil, is an id that an earlier process of this program got
	// and kept. That process is shut out from then on: its records are
	// refused. By default a Producer gets an id of its own.
	ProducerID *int64
}

// Validate tells what is wrong with a ProducerConfig.
func (cfg ProducerConfig) Validate() error {
	cfg = cfg.withDefaults()
	switch {
	case cfg.BatchBytes < batchBytesMin || cfg.BatchBytes > batchBytesMax:
		return errors.New("BatchBytes is not between 1 KiB and 15 MiB")
	case cfg.BufferBytes < 2*int64(cfg.BatchBytes):
		return errors.New("BufferBytes is less than twice BatchBytes")
	case cfg.InFlight < 1 || cfg.InFlight > inFlightMax:
		return errors.New("InFlight is not between 1 and 5")
	case cfg.Acks == AcksOne && cfg.InFlight != 1:
		return errors.New("AcksOne goes with an InFlight of 1 only")
	case cfg.Acks > AcksOne:
		return fmt.Errorf("value %d of Acks is not one there is", cfg.Acks)
	case cfg.Acks == AcksOne && cfg.ProducerID != nil:
		return errors.New("AcksOne goes without a ProducerID")
	case cfg.ProducerID != nil && *cfg.ProducerID < 0:
		return errors.New("ProducerID is below 0")
	case cfg.Requests < 1 || cfg.Requests > requestsMax:
		return errors.New("number of Requests is not between 1 and 1024")
	case cfg.DeliveryTimeout < 0 || cfg.DeliveryTimeout > deliveryTimeoutMax:
		return errors.New("DeliveryTimeout is not between 0 and 12 h")
	}
	return cfg.Compression.check()
}

func (cfg ProducerConfig) withDefaults() ProducerConfig {
	cfg.Linger = max(0, orDefault(cfg.Linger, defaultLinger))
	cfg.BatchBytes = orDefault(cfg.BatchBytes, defaultBatchBytes)
	cfg.BufferBytes = orDefault(cfg.BufferBytes, max(defaultBufferBytes, 4*int64(cfg.BatchBytes)))
	cfg.InFlight = orDefault(cfg.InFlight, defaultInFlight)
	cfg.Requests = orDefault(cfg.Requests, defaultRequests)
	cfg.DeliveryTimeout = orDefault(cfg.DeliveryTimeout, defaultDeliveryTimeout)
	return cfg
}

// Producer writes records: it gathers them into batches and sends those of
// each partition in order, each until it is acknowledged. With AcksAll every
// record is written once, also where answers are lost, nodes restart or
// requests come late. It is safe for concurrent use. Close it.
type Producer struct {
	client   *Client // that repeats nothing by itself
	cfg      ProducerConfig
	room     *semaphore.Weighted // BufferBytes
	slots    chan struct{}       // Requests
	stopping context.Context     // ends when records are not sent any more
	stop     context.CancelCauseFunc
	running  sync.WaitGroup // lanes, and look-ups of topics
	identity identity

	mu       sync.Mutex // guards all below, and what lanes name
	topics   map[string]*route
	closed   bool
	failure  error // the first since the last Flush
	onTheWay int   // batches that are sealed and not completed
	waiting  int   // that want room
}

// route is a topic as a Producer knows it. The Producer's lock guards it.
type route struct {
	lanes      []*lane   // by partition, also those that the topic has no more
	partitions int32     // that the topic has
	sticky     int32     // where records go that may go anywhere
	fresh      time.Time // until when partitions is taken for right
	looking    bool
}

// NewProducer returns a Producer. It sends nothing yet.
func (c *Client) NewProducer(cfg ProducerConfig) (*Producer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("producer config: %w", err)
	}
	cfg = cfg.withDefaults()
	p := &Producer{
		client: c.WithRetryTimeout(-1), cfg: cfg,
		room:   semaphore.NewWeighted(cfg.BufferBytes),
		slots:  make(chan struct{}, cfg.Requests),
		topics: map[string]*route{},
	}
	p.stopping, p.stop = context.WithCancelCause(context.Background())
	p.identity = identity{client: p.client, taken: cfg.ProducerID, busy: make(chan struct{}, 1), id: -1}
	return p, nil
}

// Produce hands a record over, of which nothing is kept, and returns at once,
// unless BufferBytes are full or the topic is a new one: then it waits, at most
// until ctx ends. An error means that the record was not taken. What becomes of it
// otherwise is told by the Delivery, and by Flush and Close.
func (p *Producer) Produce(ctx context.Context, r Record) (Delivery, error) {
	size := recordSize(&r)
	if size+batchSlack > batchBytesMax {
		return Delivery{}, invalidArgument("record of %d bytes is over the limit of %d", size, batchBytesMax-batchSlack)
	}
	if r.Topic == "" {
		r.Topic = p.cfg.Topic
	}
	weight := p.weight(size)
	for p.room.TryAcquire(weight) {
		// There is room, and mostly the topic is known: no more than one lock.
		d, known, err := p.put(&r, size)
		if known {
			return d, err
		}
		p.room.Release(weight)
		if err := p.await(ctx, func(ctx context.Context) error { return p.look(ctx, r.Topic) }); err != nil {
			return Delivery{}, err
		}
	}
	if err := p.acquire(ctx, weight); err != nil {
		return Delivery{}, err
	}
	for {
		d, known, err := p.put(&r, size)
		if known {
			return d, err
		}
		if err := p.await(ctx, func(ctx context.Context) error { return p.look(ctx, r.Topic) }); err != nil {
			p.room.Release(weight)
			return Delivery{}, err
		}
	}
}

// batchSlack is what a batch takes besides its records.
const batchSlack = 1 << 10

// weight is what a record takes of BufferBytes.
func (p *Producer) weight(size int) int64 { return min(int64(size), p.cfg.BufferBytes) }

// await calls something that ends when ctx does, or the Producer stops.
func (p *Producer) await(ctx context.Context, something func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.stopping, func() { cancel(context.Cause(p.stopping)) })()
	err := something(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// acquire waits for room.
func (p *Producer) acquire(ctx context.Context, n int64) error {
	p.mu.Lock()
	p.waiting++
	p.relieveLocked()
	p.mu.Unlock()
	err := p.await(ctx, func(ctx context.Context) error { return p.room.Acquire(ctx, n) })
	p.mu.Lock()
	p.waiting--
	p.mu.Unlock()
	return err
}

// relieveLocked sends what is open if somebody waits for room, and nothing else
// will make some.
func (p *Producer) relieveLocked() {
	if p.waiting == 0 || p.onTheWay > 0 {
		return
	}
	for _, route := range p.topics {
		for _, l := range route.lanes {
			p.sealLocked(route, l)
		}
	}
}

// put adds a record to the open batch of its partition, if its topic is known.
// On an error it gives the record's room back.
func (p *Producer) put(r *Record, size int) (d Delivery, known bool, err error) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	route := p.topics[r.Topic]
	var l *lane
	switch {
	case p.closed:
		err = ErrProducerClosed
	case p.stopping.Err() != nil:
		err = context.Cause(p.stopping)
	case r.Topic == "":
		err = invalidArgument("neither the record nor the producer names a topic")
	case route == nil:
		return Delivery{}, false, nil
	default:
		p.refreshLocked(r.Topic, route, now)
		l, err = p.laneLocked(route, r, size)
	}
	if err != nil {
		p.room.Release(p.weight(size))
		return Delivery{}, true, err
	}
	if l.open == nil {
		l.open = newBatch(r.Topic, l.partition, now)
		l.pending = append(l.pending, l.open.outcome)
	}
	index := l.open.add(r, size, now)
	l.open.weight += p.weight(size)
	d = Delivery{outcome: l.open.outcome, index: index}
	if l.open.size >= int64(p.cfg.BatchBytes) {
		p.sealLocked(route, l)
	} else if index == 0 {
		l.wakeLocked()
	}
	return d, true, nil
}

// laneLocked finds where a record goes, and closes the batch there if it has no
// place for it.
func (p *Producer) laneLocked(route *route, r *Record, size int) (*lane, error) {
	var partition int32
	if p.cfg.Partitioner == nil {
		partition = KeyPartitioner(r, route.partitions)
	} else {
		shown := *r // only what is shown to others goes to the heap
		partition = p.cfg.Partitioner(&shown, route.partitions)
	}
	anywhere := partition == AnyPartition
	if anywhere {
		partition = route.sticky
	}
	if partition < 0 || partition >= route.partitions {
		return nil, invalidArgument("topic %s has partitions 0 to %d, not %d", r.Topic, route.partitions-1, partition)
	}
	l := route.lanes[partition]
	if l.open != nil && (l.open.size+int64(size) > int64(p.cfg.BatchBytes) || l.open.count == batchRecordsMax) {
		p.sealLocked(route, l)
		if anywhere {
			l = route.lanes[route.sticky]
		}
	}
	return l, nil
}

// sealLocked closes the open batch of a partition, if there is one. Records
// that may go anywhere then go elsewhere.
func (p *Producer) sealLocked(route *route, l *lane) {
	if l.open == nil {
		return
	}
	l.sealed = append(l.sealed, l.open)
	l.open = nil
	p.onTheWay++
	if route.sticky == l.partition {
		route.sticky = (route.sticky + 1) % route.partitions
	}
	l.wakeLocked()
}

// refreshLocked looks a topic up in the background, if that was some time ago.
func (p *Producer) refreshLocked(topic string, r *route, now time.Time) {
	if r.looking || now.Before(r.fresh) {
		return
	}
	r.looking = true
	// Without an answer the old one is good enough for some time.
	p.running.Go(func() { _ = p.look(p.stopping, topic) })
}

// look asks how many partitions a topic has.
func (p *Producer) look(ctx context.Context, topic string) error {
	t, err := p.client.WithRetryTimeout(p.cfg.DeliveryTimeout).OpenTopic(ctx, topic)
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.topics[topic]
	now := time.Now()
	if r != nil {
		r.looking, r.fresh = false, now.Add(topicMaxAge)
	}
	if err != nil {
		return err
	}
	if r == nil {
		r = &route{sticky: rand.Int32N(t.Partitions), fresh: now.Add(topicMaxAge)}
		p.topics[topic] = r
	}
	r.partitions = t.Partitions
	r.sticky %= t.Partitions
	for n := int32(len(r.lanes)); n < t.Partitions; n++ {
		r.lanes = append(r.lanes, newLane(p, topic, n))
	}
	return nil
}

// lookAgain has a topic looked up before its time: it may have been created
// again with fewer partitions.
func (p *Producer) lookAgain(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.topics[topic].fresh = time.Time{}
}

// ProduceSync writes records and returns where each is. If some fail, the error
// joins what became of them, and where those are that are in the log is told
// nevertheless; the others have an Offset of -1.
func (p *Producer) ProduceSync(ctx context.Context, records ...Record) ([]Delivered, error) {
	deliveries := make([]Delivery, 0, len(records))
	var failed error
	for _, r := range records {
		d, err := p.Produce(ctx, r)
		if err != nil {
			failed = err
			break
		}
		deliveries = append(deliveries, d)
	}
	p.seal(deliveries)
	where := make([]Delivered, len(records))
	for i := range where {
		where[i] = Delivered{Topic: orDefault(records[i].Topic, p.cfg.Topic), Partition: AnyPartition, Offset: noOffset}
	}
	told := map[*outcome]bool{} // failures that were told: records of a batch share one
	for i, d := range deliveries {
		one, err := d.Wait(ctx)
		if err == nil {
			where[i] = one
		} else if !told[d.outcome] {
			told[d.outcome] = true
			failed = errors.Join(failed, err)
		}
	}
	return where, failed
}

// seal has the batches of deliveries go out without waiting for more.
func (p *Producer) seal(deliveries []Delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range deliveries {
		route := p.topics[d.outcome.topic]
		if route == nil || int(d.outcome.partition) >= len(route.lanes) {
			continue
		}
		if l := route.lanes[d.outcome.partition]; l.open != nil && l.open.outcome == d.outcome {
			p.sealLocked(route, l)
		}
	}
}

// Flush sends what was handed over so far, without waiting for more, and waits
// until it is known what became of it. The error is the first of a record since the
// last Flush, or that ctx ended first.
func (p *Producer) Flush(ctx context.Context) error {
	var pending []*outcome
	p.mu.Lock()
	for _, route := range p.topics {
		for _, l := range route.lanes {
			p.sealLocked(route, l)
			pending = append(pending, l.pending...)
		}
	}
	p.mu.Unlock()
	for _, one := range pending {
		select {
		case <-one.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.failure
	p.failure = nil
	return err
}

// Close takes no more records, and flushes. When ctx ends first, what is left
// is given up; its Deliveries say what is known of it. The error is that of
// Flush.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.Flush(ctx)
	p.stop(ErrProducerClosed)
	p.running.Wait()
	return err
}

// ID returns the producer id that records are sent under, or false as long as
// there is none.
func (p *Producer) ID() (int64, bool) { return p.identity.current() }

// completed sets what became of a batch.
func (p *Producer) completed(l *lane, b *batch, failed *DeliveryError) {
	o := b.outcome
	o.base, o.duplicate, o.err = b.placed.BaseOffset, b.placed.Duplicate, failed
	b.release()
	p.mu.Lock()
	if failed != nil && p.failure == nil {
		p.failure = failed
	}
	if i := slices.Index(l.pending, o); i >= 0 {
		l.pending = slices.Delete(l.pending, i, i+1)
	}
	p.onTheWay--
	p.relieveLocked()
	p.mu.Unlock()
	close(o.done)
	p.room.Release(b.weight)
}
