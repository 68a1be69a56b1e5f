package httpapi

import (
	"fmt"
	"strconv"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// An event begins with its name and id. The id is the offset after its last
// record, so the head is put before the records when they are all there.
const (
	eventHead    = "event: batch\nid: "
	eventData    = "\ndata: "
	eventHeadMax = len(eventHead) + 20 + len(eventData) // 20 digits
)

// write sends the records of some batches, in parts of about StreamBufferBytes.
// Each part is an event.
func (st *stream) write(batches [][]byte) error {
	pooled := encodeBuffers.Get().(*[]byte)
	buf := st.beginPart((*pooled)[:0])
	defer func() {
		if cap(buf) <= 2*encodeBufferLen {
			*pooled = buf[:0]
			encodeBuffers.Put(pooled)
		}
	}()
	next := st.next // of the records in buf
	for i, b := range batches {
		ctx, cancel := st.bounded()
		err := st.decode(ctx, b, func(r *recordbatch.Record) error {
			if r.Offset < next {
				return nil
			}
			if int64(r.Offset-st.next) >= st.left {
				return errEnough
			}
			buf = st.appendPart(buf, r, next == st.next)
			next = r.Offset + 1
			if len(buf) < st.s.cfg.StreamBufferBytes {
				return nil
			}
			err := st.emit(buf, next)
			buf = st.beginPart(buf[:0])
			return err
		})
		cancel()
		if err == errEnough {
			break
		}
		if err = undecodable(err, next); err != nil {
			return err
		}
		batches[i] = nil
	}
	st.giveBack()
	if next > st.next {
		if err := st.emit(buf, next); err != nil {
			return err
		}
	}
	if st.left == 0 {
		return errStreamDone
	}
	return nil
}

func (st *stream) events() bool { return st.media == mediaEventStream }

// beginPart leaves room for the head of an event.
func (st *stream) beginPart(buf []byte) []byte {
	if !st.events() {
		return buf
	}
	var head [eventHeadMax]byte
	return append(append(buf, head[:]...), `{"records":[`...)
}

func (st *stream) appendPart(buf []byte, r *recordbatch.Record, first bool) []byte {
	switch {
	case st.valuesOnly:
		return append(append(buf, r.Value...), '\n')
	case !st.events():
		return append(appendRecord(buf, r), '\n')
	case !first:
		buf = append(buf, ',')
	}
	return appendRecord(buf, r)
}

// emit sends a part that ends before next.
func (st *stream) emit(buf []byte, next catalog.Offset) error {
	n := int64(next - st.next)
	st.next = next
	st.left -= n
	st.s.metrics.records.WithLabelValues("fetch").Add(float64(n))
	if !st.events() {
		return st.flush(buf)
	}
	buf = append(buf, `],`...)
	buf = append(st.appendBounds(buf), "}\n\n"...)
	var head [eventHeadMax]byte
	text := fmt.Appendf(head[:0], "%s%d%s", eventHead, next, eventData)
	from := eventHeadMax - len(text)
	copy(buf[from:], text)
	return st.flush(buf[from:])
}

// ping tells the reader, and whatever is in between, that the stream is alive.
// An event has the id of the next record: whoever comes back before the first
// record of a stream goes on from there. Lines have an empty one, which is no
// record; among bare values it would be one.
func (st *stream) ping() error {
	switch {
	case st.valuesOnly:
		return nil
	case !st.events():
		return st.flush([]byte("\n"))
	}
	text := fmt.Appendf(nil, "event: ping\nid: %d\ndata: {", st.next)
	return st.flush(append(st.appendBounds(text), "}\n\n"...))
}

func (st *stream) appendBounds(buf []byte) []byte {
	buf = append(buf, `"next_offset":`...)
	buf = strconv.AppendInt(buf, int64(st.next), 10)
	buf = append(buf, `,"high_watermark":`...)
	buf = strconv.AppendInt(buf, int64(st.bounds.HighWatermark), 10)
	buf = append(buf, `,"log_start_offset":`...)
	return strconv.AppendInt(buf, int64(st.bounds.LogStart), 10)
}

// appendEnd appends the last event, or line. A browser comes back by itself, not
// before the time that retry names.
func (st *stream) appendEnd(buf []byte, p *problem) []byte {
	if !st.events() {
		return append(p.appendJSON(buf), '\n')
	}
	buf = append(buf, "event: error\n"...)
	if p.retryAfter > 0 {
		buf = fmt.Appendf(buf, "retry: %d\n", p.retryAfter.Milliseconds())
	}
	buf = append(buf, "data: "...)
	return append(p.appendJSON(buf), "\n\n"...)
}

// flush sends text, and what was sent before and may still be in a buffer.
func (st *stream) flush(text []byte) error {
	if err := st.send(text); err != nil {
		return err
	}
	if err := st.conn.Flush(); err != nil {
		return clientGone(err)
	}
	st.sent = time.Now()
	return nil
}
