package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// encodeBufferLen is the size in bytes of the buffers that records are encoded
// into. One record may take more; such a buffer is not kept.
const encodeBufferLen = 64 << 10

var encodeBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, encodeBufferLen)
	return &b
}}

// recordText is an answer that is gathered in a buffer, and sent as soon as
// there is enough of it. What is wrong before that still becomes a status of
// its own; later it breaks the answer off.
type recordText struct {
	*exchange
	status int
	pooled *[]byte
	buf    []byte
}

func (x *exchange) recordText(status int) *recordText {
	pooled := encodeBuffers.Get().(*[]byte)
	return &recordText{exchange: x, status: status, pooled: pooled, buf: (*pooled)[:0]}
}

// release gives the buffer back.
func (t *recordText) release() {
	if cap(t.buf) <= 2*encodeBufferLen {
		*t.pooled = t.buf[:0]
		encodeBuffers.Put(t.pooled)
	}
}

// records adds the records from a.from to a.next.
func (t *recordText) records(ctx context.Context, a fetchAnswer, encode func(buf []byte, r *recordbatch.Record, first bool) []byte) error {
	next := a.from
	for _, b := range a.Batches {
		err := t.decode(ctx, b, func(r *recordbatch.Record) error {
			if r.Offset < next {
				return nil
			}
			if r.Offset >= a.next {
				return errEnough
			}
			t.buf = encode(t.buf, r, next == a.from)
			next = r.Offset + 1
			return t.flushIfFull()
		})
		if err = undecodable(err, next); err != nil && err != errEnough {
			return err
		}
	}
	if next != a.next {
		// Never shifted, never less than was said: this would be our own bug.
		return kindCorrupt.newf("the records from offset %d to %d are not in their batches", next, a.next)
	}
	t.s.metrics.records.WithLabelValues("fetch").Add(float64(a.next - a.from))
	return nil
}

// flushIfFull sends what was gathered, if that is enough.
func (t *recordText) flushIfFull() error {
	if len(t.buf) < encodeBufferLen/2 {
		return nil
	}
	return t.flush()
}

func (t *recordText) flush() error {
	if t.w.status == 0 {
		t.w.WriteHeader(t.status)
	}
	err := t.send(t.buf)
	t.buf = t.buf[:0]
	return err
}

// finish sends what is left. An answer that was short gets its length.
func (t *recordText) finish() error {
	if t.w.status != 0 {
		return t.flush()
	}
	if err := t.w.whole(t.status, t.buf); err != nil {
		return clientGone(err)
	}
	return nil
}

// undecodable is err, or if that is about a batch that is not what it should be,
// the problem that the client gets: a batch in the store is no mistake of its own.
func undecodable(err error, next catalog.Offset) error {
	if invalid := (*recordbatch.InvalidError)(nil); errors.As(err, &invalid) {
		return kindCorrupt.newf("the records from offset %d on cannot be decoded", next).because(err)
	}
	return err
}

// writeRecords sends head, the records from a.from to a.next, and tail.
func (f *fetchRequest) writeRecords(ctx context.Context, a fetchAnswer, encode func(buf []byte, r *recordbatch.Record, first bool) []byte, head, tail []byte) error {
	t := f.recordText(http.StatusOK)
	defer t.release()
	t.buf = append(t.buf, head...)
	if err := t.records(ctx, a, encode); err != nil {
		return err
	}
	t.buf = append(t.buf, tail...)
	return t.finish()
}

// errEnough ends the decoding of a batch.
var errEnough = errors.New("enough records")

// What a compressed batch may decompress to is found out by trying: from
// decodeBytesFirst on, or decodeRatioFirst times its size, in steps of
// decodeStep. A step that is too small fails before it has decompressed much.
const (
	decodeBytesFirst = 1 << 20
	decodeRatioFirst = 4
	decodeStep       = 8
)

// decode passes a batch's records to each, which must not keep them, until it
// returns an error. The node's budget for decompressed records is held
// meanwhile.
func (x *exchange) decode(ctx context.Context, b []byte, each func(*recordbatch.Record) error) error {
	h, err := recordbatch.ParseHeader(b)
	if err != nil {
		return err
	}
	limit := x.s.cfg.DecompressedBytesMax
	if h.Codec() == recordbatch.None {
		return walk(b, limit, each)
	}
	for step := max(decodeBytesFirst, decodeRatioFirst*len(b)); step < limit; step *= decodeStep {
		err := x.decodeWithin(ctx, b, step, each)
		if !errors.Is(err, recordbatch.ErrTooLarge) {
			return err
		}
	}
	return x.decodeWithin(ctx, b, limit, each)
}

func (x *exchange) decodeWithin(ctx context.Context, b []byte, limit int, each func(*recordbatch.Record) error) error {
	if err := x.s.decoding.Acquire(ctx, int64(limit)); err != nil {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return kindOverloaded.newf("too many records are being decompressed").with("reason", "decompressed bytes")
	}
	defer x.s.decoding.Release(int64(limit))
	return walk(b, limit, each)
}

func walk(b []byte, limit int, each func(*recordbatch.Record) error) error {
	for r, err := range recordbatch.Records(b, limit) {
		if err == nil {
			err = each(&r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
