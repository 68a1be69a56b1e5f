package objstore

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Instrument counts the requests to a bucket: they are the bill. It registers
//
//	wadi_store_requests_total{op,result}   finished requests
//	wadi_store_request_seconds{op}         how long they took
//	wadi_store_bytes_total{op}             bytes of bodies that were read or written
//	wadi_store_requests_in_flight{op}      requests under way
//
// A stream counts as one request here; on S3, each of its parts costs one more.
func Instrument(b Bucket, registerer prometheus.Registerer) (Bucket, error) {
	i := &instrumented{
		inner: b,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wadi_store_requests_total",
			Help: "Finished requests to the object store, by operation and result.",
		}, []string{"op", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "wadi_store_request_seconds",
			Help:    "Duration of requests to the object store.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16), // 1 ms to 33 s
		}, []string{"op"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wadi_store_bytes_total",
			Help: "Bytes of bodies read from and written to the object store.",
		}, []string{"op"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "wadi_store_requests_in_flight",
			Help: "Requests to the object store that are under way.",
		}, []string{"op"}),
	}
	for _, collector := range []prometheus.Collector{i.requests, i.seconds, i.bytes, i.inFlight} {
		if err := registerer.Register(collector); err != nil {
			return nil, err
		}
	}
	if prober, ok := b.(ChecksumProber); ok {
		return &instrumentedProber{instrumented: i, ChecksumProber: prober}, nil
	}
	return i, nil
}

type instrumented struct {
	inner    Bucket
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	inFlight *prometheus.GaugeVec
}

// instrumentedProber keeps the inner bucket's ability to probe checksums.
type instrumentedProber struct {
	*instrumented
	ChecksumProber
}

// Unwrap returns what is counted.
func (i *instrumented) Unwrap() Bucket { return i.inner }

// begin starts the clock of a request; the function it returns stops it.
func (i *instrumented) begin(op string) func(bytes int, err error) {
	began := time.Now()
	i.inFlight.WithLabelValues(op).Inc()
	return func(bytes int, err error) {
		i.inFlight.WithLabelValues(op).Dec()
		i.seconds.WithLabelValues(op).Observe(time.Since(began).Seconds())
		i.requests.WithLabelValues(op, resultOf(err)).Inc()
		if err == nil {
			i.bytes.WithLabelValues(op).Add(float64(bytes))
		}
	}
}

// resultOf is the label of an outcome: one word per condition that a caller or
// an operator tells apart.
func resultOf(err error) string {
	if err == nil {
		return "ok"
	}
	for _, result := range []struct {
		kind error
		name string
	}{
		{context.Canceled, "cancelled"},
		{context.DeadlineExceeded, "timeout"},
		{ErrNotFound, "not_found"},
		{ErrExists, "exists"},
		{ErrConflict, "conflict"},
		{ErrInvalidRange, "invalid_range"},
		{ErrThrottled, "throttled"},
		{ErrChecksum, "checksum"},
		{ErrUnavailable, "unavailable"},
		{ErrRefused, "refused"},
		{ErrUnsupported, "unsupported"},
	} {
		if errors.Is(err, result.kind) {
			return result.name
		}
	}
	return "other"
}

// Get implements Bucket.
func (i *instrumented) Get(ctx context.Context, key string) (Object, error) {
	end := i.begin(OpGet)
	o, err := i.inner.Get(ctx, key)
	end(len(o.Body), err)
	return o, err
}

// GetRange implements Bucket.
func (i *instrumented) GetRange(ctx context.Context, key string, pos, length int64) (Object, error) {
	end := i.begin(OpGetRange)
	o, err := i.inner.GetRange(ctx, key, pos, length)
	end(len(o.Body), err)
	return o, err
}

// Put implements Bucket.
func (i *instrumented) Put(ctx context.Context, key string, body []byte) (Receipt, error) {
	end := i.begin(OpPut)
	r, err := i.inner.Put(ctx, key, body)
	end(len(body), err)
	return r, err
}

// PutWithCRC implements CRCPutter.
func (i *instrumented) PutWithCRC(ctx context.Context, key string, body []byte, crc uint32) (Receipt, error) {
	end := i.begin(OpPut)
	r, err := PutWithCRC(ctx, i.inner, key, body, crc)
	end(len(body), err)
	return r, err
}

// PutIfAbsent implements Bucket.
func (i *instrumented) PutIfAbsent(ctx context.Context, key string, body []byte) (Receipt, error) {
	end := i.begin(OpPutIfAbsent)
	r, err := i.inner.PutIfAbsent(ctx, key, body)
	end(len(body), err)
	return r, err
}

// PutStream implements Bucket.
func (i *instrumented) PutStream(ctx context.Context, key string, body io.Reader) (Receipt, error) {
	end := i.begin(OpPutStream)
	counted := &countingReader{inner: body}
	r, err := i.inner.PutStream(ctx, key, counted)
	end(counted.bytes, err)
	return r, err
}

type countingReader struct {
	inner io.Reader
	bytes int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.inner.Read(p)
	c.bytes += n
	return n, err
}

// List implements Bucket.
func (i *instrumented) List(ctx context.Context, prefix, startAfter string, limit int) (Page, error) {
	end := i.begin(OpList)
	page, err := i.inner.List(ctx, prefix, startAfter, limit)
	end(0, err)
	return page, err
}

// Delete implements Bucket.
func (i *instrumented) Delete(ctx context.Context, key string) (Receipt, error) {
	end := i.begin(OpDelete)
	r, err := i.inner.Delete(ctx, key)
	end(0, err)
	return r, err
}

// ListUploads implements Bucket.
func (i *instrumented) ListUploads(ctx context.Context, prefix string) ([]Upload, error) {
	end := i.begin(OpListUploads)
	uploads, err := i.inner.ListUploads(ctx, prefix)
	end(0, err)
	return uploads, err
}

// AbortUpload implements Bucket.
func (i *instrumented) AbortUpload(ctx context.Context, upload Upload) error {
	end := i.begin(OpAbortUpload)
	err := i.inner.AbortUpload(ctx, upload)
	end(0, err)
	return err
}
