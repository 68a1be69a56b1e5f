package httpapi

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/reader"
)

// stream is a fetch that goes on: lines with follow=true, or server-sent events.
// It is a loop of rounds, each of which waits for records as a long poll does,
// and sends them. It belongs to the handler's goroutine.
//
// Whatever is wrong in the first round becomes the status of the answer. After
// that the stream ends with an error event, or with a problem as its last line;
// bare values, which might be just that line, are broken off instead.
//
// A round may hold batches and decompressed records only within budgets that all
// streams share. It gives them back before it sends what was encoded last, which
// is up to Config.StreamBufferBytes. So a reader that is slow at the tail keeps
// nobody waiting; one that is slow amid large batches does, and is given up when
// it takes nothing for Config.StreamWriteTimeout.
type stream struct {
	*fetchRequest
	client context.Context // ends when the client is gone

	next   catalog.Offset // records before it were sent
	left   int64          // records that may still be sent
	bounds reader.Fetched // the newest bounds that are known; no batches
	opened bool           // the status is out
	sent   time.Time      // when something was sent last
	share  int64          // of Server.streaming
}

var (
	// errStreamDone ends a stream that has sent max_records.
	errStreamDone = errors.New("the stream is complete")
	// errDraining ends a stream whose node is about to go.
	errDraining = errors.New("draining")
)

// follow serves a fetch as a stream.
func (f *fetchRequest) follow() error {
	if !f.s.streams.enter(1) {
		return kindOverloaded.newf("too many streams").with("reason", "streams").with("limit", f.s.streams.limit)
	}
	defer f.s.streams.leave(1)
	st := &stream{fetchRequest: f, client: f.r.Context(), left: int64(f.q.MaxRecords)}
	if st.left == 0 {
		st.left = 1<<63 - 1
	}
	f.q.MaxRecords = 0
	err := st.first()
	for err == nil {
		err = st.round(st.s.cfg.StreamPing - st.s.cfg.StreamPing/3)
		if err != nil && st.passing(err) {
			err = st.rideOut(err)
		}
	}
	return st.end(err)
}

// first finds the beginning, and sends what is there.
func (st *stream) first() error {
	ctx, cancel := context.WithTimeout(st.client, st.s.cfg.RequestTimeout)
	defer cancel()
	defer st.giveBack()
	st.q.Reserve = func(n int64) error { return st.reserve(ctx, n) }
	var got reader.Fetched
	err := st.s.withTopic(ctx, st.topic, func(t *catalog.Topic) error {
		st.topic = t
		st.q.Partition.Topic = t.ID
		var err error
		got, err = st.read(ctx)
		return err
	})
	switch {
	case err != nil:
		return err
	case got.Ending:
		return errDraining
	}
	st.next = st.q.Offset
	st.open(got)
	if st.r.Method == http.MethodHead {
		return errStreamDone
	}
	if len(got.Batches) == 0 && !st.events() {
		st.bounds = got
		return st.flush(nil) // the header, so that the client sees that it has begun
	}
	return st.pass(got)
}

// open sends the header.
func (st *stream) open(got reader.Fetched) {
	h := st.w.Header()
	h.Set("Content-Type", st.media)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would keep records back until it has some pages full
	h.Set("Wadi-Next-Offset", itoa(int64(st.next)))
	h.Set("Wadi-High-Watermark", itoa(int64(got.HighWatermark)))
	h.Set("Wadi-Log-Start-Offset", itoa(int64(got.LogStart)))
	st.w.stream(st.s.cfg.StreamWriteTimeout)
	st.w.WriteHeader(http.StatusOK)
	st.opened = true
}

// round waits for records and sends them, or else a ping.
func (st *stream) round(wait time.Duration) error {
	ctx, cancel := st.bounded()
	defer cancel()
	defer st.giveBack()
	st.q.Offset, st.q.Known = st.next, true
	st.q.MinBytes, st.q.MaxWait = 1, wait
	st.q.Reserve = func(n int64) error { return st.reserve(ctx, n) }
	got, err := st.s.fetcher.Fetch(ctx, st.q)
	if err != nil {
		return err
	}
	return st.pass(got)
}

// bounded limits what may keep a stream from its next ping.
func (st *stream) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(st.client, st.s.cfg.StreamPing-st.s.cfg.StreamPing/15)
}

// pass sends what was fetched.
func (st *stream) pass(got reader.Fetched) error {
	batches := got.Batches
	got.Batches = nil
	st.bounds = got
	var err error
	switch {
	case len(batches) > 0:
		err = st.write(batches)
	case !got.Ending:
		err = st.ping()
	}
	if err == nil && got.Ending {
		err = errDraining
	}
	return err
}

// passing tells that an error may go away by itself, and that nobody is better
// served by another node meanwhile.
func (st *stream) passing(err error) bool {
	if err == errDraining || st.client.Err() != nil || st.s.health.Ready() != nil {
		return false
	}
	p := toProblem(err, st.s.cfg.RetryAfter)
	return p.status == http.StatusServiceUnavailable && p.retryable
}

// rideOut goes on trying for as long as a request may take. It returns nil as
// soon as a round went well, and the last error otherwise.
func (st *stream) rideOut(err error) error {
	giveUp := time.Now().Add(st.s.cfg.RequestTimeout)
	for time.Now().Before(giveUp) {
		if time.Since(st.sent) > st.s.cfg.StreamPing/3 {
			if err := st.ping(); err != nil {
				return err
			}
		}
		select {
		case <-time.After(st.s.cfg.RetryAfter):
		case <-st.client.Done():
			return st.client.Err()
		}
		if err = st.round(0); err == nil || !st.passing(err) {
			return err
		}
	}
	return err
}

// reserve makes n bytes the stream's share of the memory for all streams, and
// waits for it. Nothing is held while it waits.
func (st *stream) reserve(ctx context.Context, n int64) error {
	st.giveBack()
	n = min(n, st.s.cfg.StreamedBytesMax)
	if err := st.s.streaming.Acquire(ctx, n); err != nil {
		return err
	}
	st.share = n
	return nil
}

func (st *stream) giveBack() {
	st.s.streaming.Release(st.share)
	st.share = 0
}

// end says how the stream ended, if there is somebody to tell.
func (st *stream) end(err error) error {
	if err == errDraining {
		err = kindNotReady.newf("draining")
	}
	switch {
	case err == errStreamDone:
		return nil
	case !st.opened:
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		st.s.metrics.slowReaders.Inc()
		return err
	case st.client.Err() != nil:
		return nil // this is how most streams end
	case st.valuesOnly:
		return err
	}
	p := toProblem(err, st.s.cfg.RetryAfter)
	st.report(p)
	p.with("next_offset", int64(st.next))
	if err := st.flush(st.appendEnd(nil, p)); err != nil {
		return err
	}
	return nil
}
