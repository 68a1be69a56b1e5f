package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// encodeBufferLen is the size in bytes of the buffers that records are encoded
// into. One record may take more; such a buffer is not kept.
const encodeBufferLen = 64 << 10

var encodeBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, encodeBufferLen)
	return &b
}}

// writeRecords streams the records from a.from to a.next. What is wrong with
// the first batch still becomes a status of its own; later it breaks the answer off.
func (f *fetchRequest) writeRecords(ctx context.Context, a fetchAnswer, encode func(buf []byte, r *recordbatch.Record, first bool) []byte, head, tail []byte) error {
	pooled := encodeBuffers.Get().(*[]byte)
	defer func() {
		if cap(*pooled) <= 2*encodeBufferLen {
			encodeBuffers.Put(pooled)
		}
	}()
	buf := append((*pooled)[:0], head...)
	next := a.from
	for _, b := range a.Batches {
		err := f.decode(ctx, b, func(r *recordbatch.Record) error {
			if r.Offset < next {
				return nil
			}
			if r.Offset >= a.next {
				return errEnough
			}
			buf = encode(buf, r, next == a.from)
			next = r.Offset + 1
			if len(buf) < encodeBufferLen/2 {
				return nil
			}
			err := f.send(buf)
			buf = buf[:0]
			return err
		})
		var invalid *recordbatch.InvalidError
		switch {
		case errors.As(err, &invalid):
			return kindCorrupt.newf("the records from offset %d on cannot be decoded", next).because(err)
		case err != nil && err != errEnough:
			return err
		}
	}
	if next != a.next {
		// Never shifted, never less than was said: this would be our own bug.
		return kindCorrupt.newf("the records from offset %d to %d are not in their batches", next, a.next)
	}
	buf = append(buf, tail...)
	*pooled = buf[:0]
	f.s.metrics.records.WithLabelValues("fetch").Add(float64(a.next - a.from))
	if f.w.status == 0 {
		f.w.Header().Set("Content-Length", strconv.Itoa(len(buf)))
		f.w.WriteHeader(http.StatusOK)
	}
	return f.send(buf)
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
func (f *fetchRequest) decode(ctx context.Context, b []byte, each func(*recordbatch.Record) error) error {
	h, err := recordbatch.ParseHeader(b)
	if err != nil {
		return err
	}
	limit := f.s.cfg.DecompressedBytesMax
	if h.Codec() == recordbatch.None {
		return walk(b, limit, each)
	}
	for step := max(decodeBytesFirst, decodeRatioFirst*len(b)); step < limit; step *= decodeStep {
		err := f.decodeWithin(ctx, b, step, each)
		if !errors.Is(err, recordbatch.ErrTooLarge) {
			return err
		}
	}
	return f.decodeWithin(ctx, b, limit, each)
}

func (f *fetchRequest) decodeWithin(ctx context.Context, b []byte, limit int, each func(*recordbatch.Record) error) error {
	if err := f.s.decoding.Acquire(ctx, int64(limit)); err != nil {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return kindOverloaded.newf("too many records are being decompressed").with("reason", "decompressed bytes")
	}
	defer f.s.decoding.Release(int64(limit))
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
