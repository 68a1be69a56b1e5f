package httpapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/reader"
)

// startKind is how a fetch says where it begins.
type startKind uint8

const (
	startOffset startKind = iota
	startEarliest
	startLatest
	startTimestamp
)

// fetchStart is where a fetch begins.
type fetchStart struct {
	start     startKind
	offset    catalog.Offset // of startOffset
	timestamp int64          // ms, of startTimestamp
}

// parseStart reads a number, earliest, latest or timestamp:MS. Its error goes on
// from the name of what was read.
func parseStart(text string) (fetchStart, error) {
	ms, isTime := strings.CutPrefix(text, "timestamp:")
	switch {
	case text == "earliest":
		return fetchStart{start: startEarliest}, nil
	case text == "latest":
		return fetchStart{start: startLatest}, nil
	case isTime:
		n, ok := parseDecimal(ms)
		if !ok || n < 0 {
			return fetchStart{}, errors.New("must name a time in milliseconds, as in timestamp:1700000000000")
		}
		return fetchStart{start: startTimestamp, timestamp: n}, nil
	}
	n, ok := parseDecimal(text)
	if !ok || n < 0 {
		return fetchStart{}, errors.New("must be a number that is not negative, earliest, latest or timestamp:MS")
	}
	return fetchStart{offset: catalog.Offset(n)}, nil
}

// fetchRequest is a fetch with all its parameters.
type fetchRequest struct {
	*exchange
	fetchStart
	name       string
	media      string
	follows    bool // the answer goes on with what comes
	valuesOnly bool
	matches    entityTags
	q          reader.Query

	topic *catalog.Topic
	held  int64 // bytes of the gate for answers that this one has
}

// fetch serves GET of a partition's records.
func (s *Server) fetch(x *exchange) error {
	f := &fetchRequest{exchange: x}
	x.w.Header().Set("Vary", "Accept")
	if err := f.parse(); err != nil {
		return err
	}
	// A client that goes away ends a long poll.
	ctx, cancel := context.WithTimeout(x.r.Context(), s.cfg.RequestTimeout+f.q.MaxWait)
	defer cancel()
	var err error
	if f.topic, err = s.topicPartition(ctx, f.name, f.q.Partition.Partition); err != nil {
		return err
	}
	f.q.Partition.Topic = f.topic.ID
	if done, err := f.notModified(ctx); done || err != nil {
		return err
	}
	if f.follows {
		return f.follow()
	}
	defer func() { s.fetched.leave(f.held) }()
	f.q.Reserve = f.hold
	var got reader.Fetched
	err = s.withTopic(ctx, f.topic, func(t *catalog.Topic) error {
		f.topic = t
		f.q.Partition.Topic = t.ID
		var err error
		got, err = f.read(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return f.respond(ctx, got)
}

func (f *fetchRequest) parse() error {
	var err error
	if f.name, err = f.topicParam(); err != nil {
		return err
	}
	if f.q.Partition.Partition, err = f.partitionParam(); err != nil {
		return err
	}
	if f.matches, err = parseEntityTags(f.r.Header.Values("If-None-Match")); err != nil {
		return err
	}
	cfg := f.s.cfg
	q := parseQuery(f.r)
	if err := f.parseMedia(q); err != nil {
		return err
	}
	if err := f.parseStart(q); err != nil {
		return err
	}
	f.q.Until = catalog.Offset(q.integer("until", int64(reader.NoUntil), 0, math.MaxInt64))
	f.q.MaxRecords = int(q.integer("max_records", 0, 1, int64(cfg.FetchRecordsMax)))
	f.q.MaxBytes = int(q.integer("max_bytes", int64(cfg.FetchBytes), 1, int64(cfg.FetchBytesMax)))
	f.q.MaxBytes = min(f.q.MaxBytes, int(cfg.FetchedBytesMax/answerShare))
	if !f.follows {
		f.q.MaxWait = q.milliseconds("max_wait_ms", cfg.FetchWaitMax)
		f.q.MinBytes = int(q.integer("min_bytes", 1, 0, int64(cfg.FetchBytesMax)))
	}
	f.valuesOnly = q.flag("values_only")
	for _, name := range []string{"max_wait_ms", "min_bytes"} {
		if q.given(name) {
			q.fail(parameterf(name, "has no meaning for a stream"))
		}
	}
	if err := q.done(); err != nil {
		return err
	}
	switch {
	case f.valuesOnly && f.media != mediaNDJSON:
		return parameterf("values_only", "needs Accept: %s", mediaNDJSON)
	case f.closed() && f.follows:
		return parameterf("until", "has no meaning for a stream")
	case f.q.MinBytes > f.q.MaxBytes:
		return parameterf("min_bytes", "must not be over max_bytes")
	case f.closed() && f.start != startOffset:
		return parameterf("until", "needs a numeric offset")
	case f.closed() && f.q.Until < f.q.Offset:
		return parameterf("until", "must not be below offset")
	}
	return nil
}

// parseMedia finds out what the answer is written in, and whether it goes on.
// Events always do.
func (f *fetchRequest) parseMedia(q *query) error {
	refused := q.given("follow")
	f.follows = q.flag("follow")
	refused = refused && !f.follows
	offered := fetchable
	switch {
	case f.follows:
		offered = followable
	case refused:
		offered = fetchable[:len(fetchable)-1]
	}
	var err error
	if f.media, err = acceptable(f.r, offered); err != nil {
		return err
	}
	f.follows = f.follows || f.media == mediaEventStream
	return nil
}

// lastEventID is the header with which a reader of events that lost its
// connection says where it was. It stands in for the offset in the URL, which a
// browser cannot change.
const lastEventID = "Last-Event-ID"

func (f *fetchRequest) parseStart(q *query) error {
	text, ok := q.take("offset")
	last, seen, err := integerHeader(f.r.Header, lastEventID, math.MaxInt64)
	switch {
	case err != nil:
		return err
	case seen && f.media != mediaEventStream:
		return headerf(lastEventID, "needs Accept: %s", mediaEventStream)
	case !ok && !seen:
		q.fail(parameterf("offset", "is needed: a number, earliest, latest or timestamp:MS"))
		return nil
	}
	if ok {
		start, err := parseStart(text)
		if err != nil {
			q.fail(parameterf("offset", "%v", err))
		}
		f.fetchStart = start
	}
	if seen {
		f.fetchStart = fetchStart{offset: catalog.Offset(last)}
	}
	f.q.Offset = f.offset
	return nil
}

// answerShare is how many answers of the greatest size may be written at once,
// so that a client that takes its answer slowly does not keep out all others.
const answerShare = 8

// closed tells whether the request asks for a closed range.
func (f *fetchRequest) closed() bool { return f.q.Until != reader.NoUntil }

// read finds out where to begin and fetches.
func (f *fetchRequest) read(ctx context.Context) (reader.Fetched, error) {
	if err := f.locate(ctx); err != nil {
		return reader.Fetched{}, err
	}
	got, err := f.s.fetcher.Fetch(ctx, f.q)
	var moved *reader.OutOfRangeError
	if errors.As(err, &moved) && moved.Below() && f.start != startOffset {
		// A trim came between finding the start and reading from it. The
		// client did not name an offset, so it is not out of range.
		f.q.Offset = moved.Bounds.Start
		got, err = f.s.fetcher.Fetch(ctx, f.q)
	}
	return got, err
}

// locate turns earliest, latest and a time into an offset.
func (f *fetchRequest) locate(ctx context.Context) error {
	if f.start == startOffset {
		return nil
	}
	if f.start == startTimestamp {
		offset, _, ok, err := f.s.fetcher.OffsetAtTime(ctx, f.q.Partition, f.timestamp)
		if err != nil {
			return err
		}
		if ok {
			f.q.Offset = offset
			return nil
		}
	}
	bounds, err := f.s.fetcher.Bounds(ctx, f.q.Partition)
	if err != nil {
		return err
	}
	f.q.Offset = bounds.End // also for a time after the last record
	if f.start == startEarliest {
		f.q.Offset = bounds.Start
	}
	return nil
}

// answer is what goes out of what was fetched.
type fetchAnswer struct {
	reader.Fetched
	from, next catalog.Offset // the records to send
	bytes      int64          // of the batches
}

// hold makes n bytes the answer's share of the memory for all answers. The
// reader asks for the most that it may return before it loads anything; what it
// did return is known later.
func (f *fetchRequest) hold(n int64) error {
	if n > f.held && !f.s.fetched.enter(n-f.held) {
		return fetchedBytesFull(f.s.fetched.limit)
	}
	if n < f.held {
		f.s.fetched.leave(f.held - n)
	}
	f.held = n
	return nil
}

func fetchedBytesFull(limit int64) *problem {
	return kindOverloaded.newf("answers of too many bytes are being written").
		with("reason", "fetched bytes").with("limit", limit)
}

func (f *fetchRequest) respond(ctx context.Context, got reader.Fetched) error {
	a := fetchAnswer{Fetched: got, from: f.q.Offset, next: got.NextOffset}
	for _, b := range got.Batches {
		a.bytes += int64(len(b))
	}
	if f.media != mediaRecordBatch {
		if f.q.MaxRecords > 0 {
			// Offsets are dense, so counting records is counting offsets.
			a.next = min(a.next, a.from+catalog.Offset(f.q.MaxRecords))
		}
	}
	if err := f.hold(a.bytes); err != nil {
		return err
	}
	h := f.w.Header()
	h.Set("Content-Type", f.media)
	immutable := f.immutable(a)
	if immutable {
		tag := f.entityTag(a.next)
		h.Set("ETag", tag)
		h.Set("Cache-Control", cacheForever)
		if f.matches.any {
			f.w.WriteHeader(http.StatusNotModified)
			return nil
		}
	} else {
		h.Set("Cache-Control", "no-store")
	}
	if f.media != mediaJSON {
		h.Set("Wadi-Next-Offset", itoa(int64(a.next)))
		if !immutable {
			h.Set("Wadi-High-Watermark", itoa(int64(a.HighWatermark)))
			h.Set("Wadi-Log-Start-Offset", itoa(int64(a.LogStart)))
		}
	}
	switch f.media {
	case mediaRecordBatch:
		return f.writeBatches(a)
	case mediaNDJSON:
		return f.writeLines(ctx, a)
	default:
		return f.writeJSON(ctx, a, immutable)
	}
}

func (f *fetchRequest) writeBatches(a fetchAnswer) error {
	f.w.Header().Set("Content-Length", itoa(a.bytes))
	f.w.WriteHeader(http.StatusOK)
	for _, b := range a.Batches {
		if err := f.send(b); err != nil {
			return err
		}
	}
	return nil
}

// sendBytesMax is how much is written at once: the time that a client has for
// it is WriteTimeout.
const sendBytesMax = 256 << 10

func (x *exchange) send(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), sendBytesMax)
		if _, err := x.w.Write(b[:n]); err != nil {
			return clientGone(err)
		}
		b = b[n:]
	}
	return nil
}

// clientGone is an answer that could not be written: its reader has left, or
// takes nothing.
func clientGone(err error) error {
	return kindClientWentOff.newf("the answer could not be written").because(err)
}

func (f *fetchRequest) writeLines(ctx context.Context, a fetchAnswer) error {
	return f.writeRecords(ctx, a, func(buf []byte, r *recordbatch.Record, _ bool) []byte {
		if f.valuesOnly {
			buf = append(buf, r.Value...)
		} else {
			buf = appendRecord(buf, r)
		}
		return append(buf, '\n')
	}, nil, nil)
}

func (f *fetchRequest) writeJSON(ctx context.Context, a fetchAnswer, immutable bool) error {
	tail := append(a.appendTail([]byte("]"), immutable), "}\n"...)
	return f.writeRecords(ctx, a, func(buf []byte, r *recordbatch.Record, first bool) []byte {
		if !first {
			buf = append(buf, ',')
		}
		return appendRecord(buf, r)
	}, []byte(`{"records":[`), tail)
}

// appendTail appends what follows the records of an answer in JSON.
func (a *fetchAnswer) appendTail(dst []byte, immutable bool) []byte {
	dst = append(dst, `,"next_offset":`...)
	dst = strconv.AppendInt(dst, int64(a.next), 10)
	if immutable {
		return dst
	}
	dst = append(dst, `,"high_watermark":`...)
	dst = strconv.AppendInt(dst, int64(a.HighWatermark), 10)
	dst = append(dst, `,"log_start_offset":`...)
	return strconv.AppendInt(dst, int64(a.LogStart), 10)
}
