package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// lane sends the batches of one partition. While it is active one goroutine, run,
// owns what is not guarded by the Producer's lock.
//
// The window holds the batches that were sent and are not acknowledged, the
// oldest first. Each has the sequence that follows on the one before, and keeps it,
// with its bytes, until it is known what became of it: so the log recognises
// whatever comes again. When an attempt fails nothing new is sent until all that is
// under way was answered; then settle decides, beginning at the oldest.
//
// A sequence that was used by a batch which is given up must not be used by
// another: a late request could be taken for it. So after that the lane goes on
// with a higher epoch. From its first batch on the log refuses what comes
// late; until then what comes late finds no place, since it does not follow
// on what landed. The one exception is a batch of which it is unknown whether it
// landed: then those behind it that may have landed as well are given up with it.
type lane struct {
	producer  *Producer
	topic     string
	partition int32
	wake      chan struct{} // holds at most one: there is something to do

	// Guarded by the Producer's lock.
	active  bool
	open    *batch     // may be nil
	sealed  []*batch   // not in the window yet
	pending []*outcome // of all batches that are not completed

	// Owned by run.
	window   []*batch
	underWay int
	failing  bool // an attempt failed, and was not settled yet
	tries    int  // in a row that failed
	answers  chan laneAnswer
	next     Sequence // of the next batch; an id of -1: none yet
	refused  int64    // an id that the log does not know any more; -1: none
}

// laneAnswer is how an attempt ended.
type laneAnswer struct {
	batch  *batch
	placed Appended
	err    error
}

func newLane(p *Producer, topic string, partition int32) *lane {
	return &lane{
		producer: p, topic: topic, partition: partition, wake: make(chan struct{}, 1),
		answers: make(chan laneAnswer, p.cfg.InFlight), next: Sequence{ProducerID: -1}, refused: -1,
	}
}

// wakeLocked has run look at the lane. The caller holds the Producer's lock.
func (l *lane) wakeLocked() {
	if !l.active {
		l.active = true
		l.producer.running.Go(l.run)
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run works until nothing is left to do.
func (l *lane) run() {
	for {
		var linger <-chan time.Time
		for !l.failing && l.underWay < l.producer.cfg.InFlight && len(l.window) < l.producer.cfg.InFlight {
			b, wait := l.take()
			if b == nil {
				if wait > 0 {
					linger = time.After(wait)
				}
				break
			}
			l.window = append(l.window, b)
			l.send(b)
		}
		switch {
		case l.failing && l.underWay == 0:
			l.settle()
		case len(l.window) > 0 || linger != nil:
			select {
			case a := <-l.answers:
				l.answered(a)
			case <-l.wake:
			case <-linger:
			}
		case l.rest():
			return
		}
	}
}

// rest ends the lane's activity if nothing is left to do.
func (l *lane) rest() bool {
	l.producer.mu.Lock()
	defer l.producer.mu.Unlock()
	l.active = l.open != nil || len(l.sealed) > 0
	return !l.active
}

// take returns the next batch that is due, or how long the open one still
// waits. Batches that are too late to be sent are given up.
func (l *lane) take() (*batch, time.Duration) {
	p := l.producer
	for {
		p.mu.Lock()
		if l.open != nil && len(l.sealed) == 0 {
			if wait := p.cfg.Linger - time.Since(l.open.born); wait > 0 && p.stopping.Err() == nil {
				p.mu.Unlock()
				return nil, wait
			}
			p.sealLocked(p.topics[l.topic], l)
		}
		if len(l.sealed) == 0 {
			p.mu.Unlock()
			return nil, 0
		}
		b := l.sealed[0]
		l.sealed = l.sealed[1:]
		p.mu.Unlock()
		if p.stopping.Err() == nil && time.Since(b.born) < p.cfg.DeliveryTimeout {
			return b, 0
		}
		l.giveUp(b, l.whyNot(ErrDeliveryTimeout))
	}
}

// whyNot is why the Producer stopped, or else err.
func (l *lane) whyNot(err error) error {
	if l.producer.stopping.Err() != nil {
		return context.Cause(l.producer.stopping)
	}
	return err
}

// send begins an attempt at a batch of the window. With more than one under
// way it returns when the request is out, so that the next comes after it.
func (l *lane) send(b *batch) {
	p := l.producer
	deadline := b.born.Add(p.cfg.DeliveryTimeout)
	ctx, cancel := context.WithDeadline(p.stopping, deadline)
	l.underWay++
	b.oldest = l.window[0] == b
	r, err := l.prepare(ctx, b)
	if err == nil {
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err == nil && !time.Now().Before(deadline) {
		// What is not begun is known not to have happened.
		<-p.slots
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		l.answers <- laneAnswer{batch: b, err: &notSentError{err}}
		return
	}
	out := make(chan struct{})
	wrote := sync.OnceFunc(func() { close(out) })
	if p.cfg.InFlight > 1 {
		r.wrote = wrote
	}
	p.running.Go(func() {
		defer cancel()
		defer wrote()
		a := laneAnswer{batch: b}
		var res response
		if res, a.err = p.client.attempt(ctx, r); a.err == nil {
			a.placed, a.err = parseAppended(res, l.partition, b.count, p.cfg.Acks)
		}
		<-p.slots
		l.answers <- a
	})
	if p.cfg.InFlight > 1 {
		<-out
	}
}

// notSentError is why there was no attempt at all.
type notSentError struct{ err error }

func (e *notSentError) Error() string { return e.err.Error() }

func (e *notSentError) Unwrap() error { return e.err }

// prepare gives a batch its sequence and its bytes, if it has none yet.
func (l *lane) prepare(ctx context.Context, b *batch) (request, error) {
	p := l.producer
	opts := AppendOptions{Acks: p.cfg.Acks}
	if p.cfg.Acks == AcksAll {
		if b.state == batchUnsent {
			if l.next.ProducerID < 0 {
				id, epoch, err := p.identity.get(ctx, l.refused)
				if err != nil {
					return request{}, fmt.Errorf("get a producer id: %w", err)
				}
				l.next = Sequence{ProducerID: id, Epoch: epoch}
			}
			b.sequence, b.state = l.next, batchSent
			l.next = l.next.Next(b.count)
		}
		opts.Sequence = &b.sequence
	}
	if b.body == nil {
		if err := b.encode(p.cfg.Compression.codec(), opts.producer()); err != nil {
			return request{}, invalidArgument("%w", err)
		}
	}
	return appendRequest(l.topic, l.partition, FormatRecordBatch, b.body, opts)
}

// answered takes in how an attempt ended.
func (l *lane) answered(a laneAnswer) {
	l.underWay--
	b := a.batch
	if unsent := (*notSentError)(nil); errors.As(a.err, &unsent) && errors.Is(a.err, context.DeadlineExceeded) && b.err != nil {
		a.err = b.err // says more than that it took too long
	}
	if b.err = a.err; a.err != nil {
		b.unknown = b.unknown || IsOutcomeUnknown(a.err)
		l.failing = true
		return
	}
	b.state, b.placed = batchAcked, a.placed
	l.tries = 0
	l.complete()
}

// complete tells of batches that were acknowledged, in their order.
func (l *lane) complete() {
	for len(l.window) > 0 && l.window[0].state == batchAcked {
		b := l.window[0]
		l.window = slices.Delete(l.window, 0, 1)
		l.producer.completed(l, b, nil)
	}
}

// settle decides how to go on after a failure: what becomes of the oldest
// batch, and then sends again what is left. Nothing is under way.
func (l *lane) settle() {
	p := l.producer
	l.failing = false
	b := l.window[0]
	err := b.err
	idempotent := p.cfg.Acks == AcksAll
	switch {
	case p.stopping.Err() != nil:
		l.abandon(context.Cause(p.stopping))
	case idempotent && errors.Is(err, ErrProducerFenced):
		// Whoever raised the epoch of this id means to write in our place.
		p.stop(fmt.Errorf("another producer took over: %w", err))
		l.abandon(err)
	case time.Since(b.born) >= p.cfg.DeliveryTimeout:
		l.drop(fmt.Errorf("%w: %w", ErrDeliveryTimeout, err))
	case !idempotent:
		if !retryableWithoutEffect(err) {
			l.drop(err)
			break
		}
		l.pause(b, err)
	case errors.Is(err, ErrUnknownProducerID):
		// What came under an id that the log does not know did not land, and will
		// not: an id whose records landed is known for longer than a
		// DeliveryTimeout can be.
		l.refused = b.sequence.ProducerID
		l.begin(Sequence{ProducerID: -1})
		l.pause(b, err)
	case errors.Is(err, ErrOutOfOrderSequence) && !b.oldest:
		// It overtook the one before it, which has landed meanwhile.
	case errors.Is(err, ErrOutOfOrderSequence) && landedAfter(b, err):
		// The log is beyond it, and does not tell it as one of the last five: what
		// it knows of this producer is not what was sent.
		b.unknown = true
		l.drop(err)
	case errors.Is(err, ErrOutOfOrderSequence):
		// The log does not know what came before: the topic was created again.
		l.raise()
		l.pause(b, err)
	case IsRetryable(err):
		l.pause(b, err)
	default:
		l.drop(err)
	}
	l.complete()
	for _, b := range slices.Clone(l.window) {
		if b.state != batchAcked {
			l.send(b)
		}
	}
}

// landedAfter tells whether the log expects a later sequence than the batch has.
func landedAfter(b *batch, err error) bool {
	var answer *Error
	if !errors.As(err, &answer) || answer.ExpectedSequence == NoValue {
		return false
	}
	ahead := (answer.ExpectedSequence - int64(b.sequence.First)) & math.MaxInt32
	return ahead > 0 && ahead < 1<<30
}

// pause waits before the next attempt, at most until the batch is given up.
func (l *lane) pause(b *batch, err error) {
	wait := max(backoff(l.tries), retryAfterOf(err))
	l.tries++
	left := l.producer.cfg.DeliveryTimeout - time.Since(b.born)
	sleep(l.producer.stopping, min(wait, max(left, 0)))
}

// drop gives the oldest batch up, and those behind it that have to go with it.
func (l *lane) drop(err error) {
	b := l.window[0]
	l.window = slices.Delete(l.window, 0, 1)
	used, unknown := b.state == batchSent, b.unknown
	l.giveUp(b, err)
	if !used || l.producer.cfg.Acks == AcksOne {
		return
	}
	if unknown {
		// If it landed, so may those that followed it, and a new sequence would
		// store them twice.
		l.window = slices.DeleteFunc(l.window, func(behind *batch) bool {
			gone := behind.unknown && behind.state != batchAcked
			if gone {
				l.giveUp(behind, err)
			}
			return gone
		})
	}
	l.raise()
}

// abandon gives up all that is in the window.
func (l *lane) abandon(err error) {
	for _, b := range l.window {
		if b.state == batchAcked {
			l.producer.completed(l, b, nil)
		} else {
			l.giveUp(b, err)
		}
	}
	l.window = nil
}

// giveUp tells that a batch failed.
func (l *lane) giveUp(b *batch, err error) {
	if errors.Is(err, ErrTopicNotFound) || errors.Is(err, ErrPartitionNotFound) {
		l.producer.lookAgain(l.topic)
	}
	l.producer.completed(l, b, &DeliveryError{
		Topic: l.topic, Partition: l.partition, Records: b.count, Unknown: b.unknown, Err: err,
	})
}

// raise goes on with a higher epoch.
func (l *lane) raise() {
	next := Sequence{ProducerID: l.next.ProducerID, Epoch: l.next.Epoch + 1}
	if l.next.ProducerID < 0 || l.next.Epoch >= epochMax {
		l.refused = l.next.ProducerID
		next = Sequence{ProducerID: -1}
	}
	l.begin(next)
}

// epochMax is the highest epoch that is used; Kafka keeps the one above it for
// itself.
const epochMax = math.MaxInt16 - 1

// begin goes on with another sequence: what is in the window and did not land
// gets numbers of that one. It did not land under the old ones and never will.
func (l *lane) begin(next Sequence) {
	l.next = next
	for _, b := range l.window {
		if b.state == batchSent {
			b.state, b.body, b.unknown = batchUnsent, nil, false
		}
	}
}
