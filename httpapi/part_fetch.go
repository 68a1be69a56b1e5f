package httpapi

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/reader"
)

// A fetch of many partitions has one limit of bytes for all of them. First each
// gets an equal share of it, in which no batch may be larger than the share. What
// is left goes to those that have more, in the order of the request from a place
// that chance picks: so a partition whose batches are larger than a share is read
// sooner or later, by any client and through any node, although no node remembers
// whose turn it is. Only if all of that has brought nothing, one batch is returned
// whatever its size.
//
// What is the matter with one partition does not keep the records of the others
// back. The status says how it went: 200 if every partition was read, 207 if some
// were, and that of the first problem if none was.

// manyFetch is a fetch of many partitions.
type manyFetch struct {
	*exchange
	parts    []*partFetch // in the order of the request
	maxBytes int
	minBytes int
	maxWait  time.Duration

	memory answerMemory
}

// answerMemory is what one request has of the memory for answers.
type answerMemory struct {
	gate *gate

	mu   sync.Mutex
	held int64 // guarded by mu; bytes of the gate
}

// errNoRoom is under the problem of a request for which there is no memory.
var errNoRoom = errors.New("no room for the answer")

// hold takes n more bytes, or gives some back.
func (m *answerMemory) hold(n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > 0 && !m.gate.enter(n) {
		return fetchedBytesFull(m.gate.limit).because(errNoRoom)
	}
	if n < 0 {
		m.gate.leave(-n)
	}
	m.held += n
	return nil
}

// release gives all of it back, when nobody holds any more.
func (m *answerMemory) release() { m.gate.leave(m.held) }

// newManyFetch makes one without parts; its memory is released after use.
func newManyFetch(x *exchange) *manyFetch {
	return &manyFetch{exchange: x, memory: answerMemory{gate: x.s.fetched}}
}

// partFetch is what a manyFetch wants of one partition, and what it got. It
// belongs to one goroutine at a time.
type partFetch struct {
	fetchStart
	namedPartition
	maxBytes int // 0: as many as there are for all

	topic   *catalog.Topic
	at      catalog.PartitionOffset // where it begins
	pinned  bool                    // to topic, whatever has its name now
	got     fetchAnswer
	problem *problem // why it cannot be read
}

// readable are the parts that nothing is the matter with so far.
func (m *manyFetch) readable() []*partFetch {
	var parts []*partFetch
	for _, p := range m.parts {
		if p.problem == nil {
			parts = append(parts, p)
		}
	}
	return parts
}

// parallel is for questions about several parts.
func (m *manyFetch) parallel(ctx context.Context) (*errgroup.Group, context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(m.s.cfg.FetchParallel)
	return group, ctx
}

func (m *manyFetch) atTime(ctx context.Context, p *partFetch) error {
	offset, _, ok, err := m.s.fetcher.OffsetAtTime(ctx, p.at.Partition, p.timestamp)
	if err != nil {
		return err
	}
	if !ok {
		bounds, err := m.s.fetcher.Bounds(ctx, p.at.Partition)
		if err != nil {
			return err
		}
		offset = bounds.End
	}
	p.at.Offset = offset
	return nil
}

// settle makes an error the part's own, unless it concerns the whole request.
func (m *manyFetch) settle(p *partFetch, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNoRoom) {
		return err
	}
	p.fail(m.s, err)
	return nil
}

func (p *partFetch) fail(s *Server, err error) { p.problem = toProblem(err, s.cfg.RetryAfter) }

// await waits until there is enough. With a partition that cannot be read there
// is something to say at once. Without any it waits all the time, or until the
// node drains.
func (m *manyFetch) await(ctx context.Context) error {
	parts := m.readable()
	if len(parts) < len(m.parts) {
		m.maxWait = 0
	}
	if len(parts) == 0 && len(m.parts) > 0 {
		return nil
	}
	positions := make([]catalog.PartitionOffset, len(parts))
	for i, p := range parts {
		positions[i] = p.at
	}
	return m.s.fetcher.Await(ctx, positions, int64(m.minBytes), m.maxWait)
}

// shares fetches an equal share of each part.
func (m *manyFetch) shares(ctx context.Context) error {
	parts := m.readable()
	group, ctx := m.parallel(ctx)
	for _, p := range parts {
		group.Go(func() error { return m.settle(p, m.fetch(ctx, p, m.share(parts), true)) })
	}
	return group.Wait()
}

func (m *manyFetch) share(parts []*partFetch) int { return max(1, m.maxBytes/len(parts)) }

// restShare is the part of max_bytes that is not worth looking for more: few
// batches would fit in, and many partitions might be tried in vain.
const restShare = 16

// rest fills the answer up.
func (m *manyFetch) rest(ctx context.Context) error {
	parts := m.readable()
	if len(parts) == 0 {
		return nil
	}
	first := rand.IntN(len(parts))
	for i := range parts {
		got := 0
		for _, p := range parts {
			got += int(p.got.bytes)
		}
		left := m.maxBytes - got
		if got > 0 && left <= m.maxBytes/restShare {
			return nil
		}
		p := parts[(first+i)%len(parts)]
		if p.problem != nil || p.got.next >= p.got.HighWatermark {
			continue
		}
		if err := m.settle(p, m.fetch(ctx, p, left, got > 0)); err != nil {
			return err
		}
	}
	return nil
}

// fetch adds up to n bytes to what there is of a part.
func (m *manyFetch) fetch(ctx context.Context, p *partFetch, n int, within bool) error {
	if p.maxBytes > 0 {
		n = min(n, p.maxBytes-int(p.got.bytes))
	}
	if n < 1 {
		return nil
	}
	begun := len(p.got.Batches) > 0
	if !begun {
		p.got.from, p.got.next = p.at.Offset, p.at.Offset
	}
	reserved := int64(0)
	reserve := func(n int64) error {
		err := m.memory.hold(n - reserved)
		if err == nil {
			reserved = n
		}
		return err
	}
	q := reader.Query{Until: reader.NoUntil, MaxBytes: n, Within: within, Known: true, Reserve: reserve}
	var got reader.Fetched
	err := m.s.withTopic(ctx, p.topic, func(t *catalog.Topic) error {
		if t.ID != p.topic.ID {
			if begun || p.pinned {
				return catalog.ErrTopicNotFound
			}
			q.Known = false
			if err := m.move(ctx, p, t); err != nil {
				return err
			}
		}
		var err error
		q.Partition, q.Offset = p.at.Partition, p.got.next
		got, err = m.s.fetcher.Fetch(ctx, q)
		var moved *reader.OutOfRangeError
		if errors.As(err, &moved) && moved.Below() && p.start != startOffset && !begun {
			// As for one partition: the client did not name the offset.
			p.got.from, p.got.next, q.Offset = moved.Bounds.Start, moved.Bounds.Start, moved.Bounds.Start
			got, err = m.s.fetcher.Fetch(ctx, q)
		}
		return err
	})
	size := int64(0)
	for _, b := range got.Batches {
		size += int64(len(b))
	}
	if held := reserve(size); held != nil {
		return held
	}
	if err != nil {
		if begun {
			return nil // what was read is whole; the next request meets the error
		}
		return err
	}
	if begun {
		// Records before it may be among those that were read when it was lower.
		got.LogStart = p.got.LogStart
	}
	got.Batches = append(p.got.Batches, got.Batches...)
	p.got.Fetched = got
	p.got.next = got.NextOffset
	p.got.bytes += size
	return nil
}

// move begins anew with the topic that has the name now.
func (m *manyFetch) move(ctx context.Context, p *partFetch, t *catalog.Topic) error {
	p.topic = t
	p.at = catalog.PartitionOffset{Partition: catalog.TopicPartition{Topic: t.ID, Partition: p.partition}, Offset: p.offset}
	if p.start == startTimestamp {
		if err := m.atTime(ctx, p); err != nil {
			return err
		}
	} else if p.start != startOffset {
		bounds, err := m.s.fetcher.Bounds(ctx, p.at.Partition)
		if err != nil {
			return err
		}
		p.at.Offset = bounds.End
		if p.start == startEarliest {
			p.at.Offset = bounds.Start
		}
	}
	p.got.from, p.got.next = p.at.Offset, p.at.Offset
	return nil
}

// appendParts writes the member partitions of the answer, and reports what is the
// matter with single ones.
func (m *manyFetch) appendParts(ctx context.Context, t *recordText) error {
	h := m.w.Header()
	h.Set("Content-Type", mediaJSON)
	h.Set("Cache-Control", "no-store")
	t.buf = append(t.buf, `"partitions":[`...)
	for i, p := range m.parts {
		if i > 0 {
			t.buf = append(t.buf, ',')
		}
		t.buf = p.appendName(append(t.buf, '{'))
		if p.problem != nil {
			m.report(p.problem)
			t.buf = append(t.buf, `,"problem":`...)
			t.buf = append(p.problem.appendJSON(t.buf), '}')
			continue
		}
		t.buf = append(t.buf, `,"records":[`...)
		err := t.records(ctx, p.got, func(buf []byte, r *recordbatch.Record, first bool) []byte {
			if !first {
				buf = append(buf, ',')
			}
			return appendRecord(buf, r)
		})
		if err != nil {
			return err
		}
		t.buf = append(p.got.appendTail(append(t.buf, ']'), false), '}')
		if err := t.flushIfFull(); err != nil {
			return err
		}
	}
	t.buf = append(t.buf, ']')
	return nil
}

// appendName appends the members that name the partition.
func (p namedPartition) appendName(dst []byte) []byte {
	dst = append(dst, `"topic":`...)
	dst = appendJSONString(dst, p.name)
	dst = append(dst, `,"partition":`...)
	return strconv.AppendInt(dst, int64(p.partition), 10)
}
