package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/objstore/storetest"
)

func TestInstrumentedConformance(t *testing.T) {
	features := storetest.Features{InstantList: true, UploadsByPrefix: true}
	storetest.Run(t, features, func(t *testing.T) objstore.Bucket {
		b, err := objstore.Instrument(memstore.New(), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

func TestInstrumentCounts(t *testing.T) {
	registry := prometheus.NewRegistry()
	faulty := faultstore.New(memstore.New(), faultstore.Rule{Op: objstore.OpDelete, Fault: faultstore.Throttle()})
	b, err := objstore.Instrument(faulty, registry)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, _ = b.Put(ctx, "key", []byte("12345"))
	_, _ = b.PutIfAbsent(ctx, "key", []byte("not counted"))
	_, _ = b.PutStream(ctx, "stream", strings.NewReader("1234567"))
	_, _ = b.Get(ctx, "key")
	_, _ = b.Get(ctx, "missing")
	_, _ = b.Get(ended, "key")
	_, _ = b.GetRange(ctx, "key", 1, 2)
	_, _ = b.GetRange(ctx, "key", 4, 2)
	_, _ = b.List(ctx, "", "", 0)
	_, _ = b.Delete(ctx, "key")
	_, _ = b.ListUploads(ctx, "")
	_ = b.AbortUpload(ctx, objstore.Upload{Key: "key", ID: "x"})
	want := `
# HELP wadi_store_bytes_total Bytes of bodies read from and written to the object store.
# TYPE wadi_store_bytes_total counter
wadi_store_bytes_total{op="abort-upload"} 0
wadi_store_bytes_total{op="get"} 5
wadi_store_bytes_total{op="get-range"} 2
wadi_store_bytes_total{op="list"} 0
wadi_store_bytes_total{op="list-uploads"} 0
wadi_store_bytes_total{op="put"} 5
wadi_store_bytes_total{op="put-stream"} 7
# HELP wadi_store_requests_total Finished requests to the object store, by operation and result.
# TYPE wadi_store_requests_total counter
wadi_store_requests_total{op="abort-upload",result="ok"} 1
wadi_store_requests_total{op="delete",result="throttled"} 1
wadi_store_requests_total{op="get",result="cancelled"} 1
wadi_store_requests_total{op="get",result="not_found"} 1
wadi_store_requests_total{op="get",result="ok"} 1
wadi_store_requests_total{op="get-range",result="invalid_range"} 1
wadi_store_requests_total{op="get-range",result="ok"} 1
wadi_store_requests_total{op="list",result="ok"} 1
wadi_store_requests_total{op="list-uploads",result="ok"} 1
wadi_store_requests_total{op="put",result="ok"} 1
wadi_store_requests_total{op="put-if-absent",result="exists"} 1
wadi_store_requests_total{op="put-stream",result="ok"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "wadi_store_requests_total", "wadi_store_bytes_total"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"wadi_store_request_seconds", "wadi_store_requests_in_flight"} {
		if n, err := testutil.GatherAndCount(registry, name); err != nil || n != 9 {
			t.Fatalf("%s has %d series (%v), want one for each operation", name, n, err)
		}
	}
}

func TestInstrumentKeepsChecksumProbe(t *testing.T) {
	b, err := objstore.Instrument(credulous{memstore.New()}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	var refused *objstore.ProbeError
	if err := objstore.Probe(t.Context(), b); !errors.As(err, &refused) {
		t.Fatalf("got %v", err)
	}
}

func TestOutcomeOf(t *testing.T) {
	inner := errors.New("inner")
	for _, test := range []struct {
		err  error
		want objstore.Outcome
	}{
		{nil, objstore.Committed},
		{inner, objstore.Unknown},
		{&objstore.Error{Outcome: objstore.NotCommitted, Err: inner}, objstore.NotCommitted},
		{&objstore.Error{Outcome: objstore.Unknown, Err: inner}, objstore.Unknown},
		{&objstore.Error{Err: inner}, objstore.Unknown},
		{fmt.Errorf("wrapped: %w", &objstore.Error{Outcome: objstore.NotCommitted, Err: inner}), objstore.NotCommitted},
	} {
		if got := objstore.OutcomeOf(test.err); got != test.want {
			t.Errorf("outcome of %v is %v, want %v", test.err, got, test.want)
		}
	}
}
