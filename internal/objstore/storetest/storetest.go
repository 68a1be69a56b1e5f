// Package storetest is the contract of objstore.Bucket as a suite of tests. All
// drivers pass it, and so does real MinIO.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/wadilog/wadi/internal/objstore"
)

// Features are properties beyond the contract that some stores have.
type Features struct {
	// InstantList stores show in LIST what was there at one instant.
	InstantList bool
	// UploadsByPrefix stores list uploads below any prefix; MinIO does so below
	// a whole key only.
	UploadsByPrefix bool
}

// Run tests a driver. Each call of open returns an empty bucket, which open
// closes when its test ends.
func Run(t *testing.T, features Features, open func(t *testing.T) objstore.Bucket) {
	t.Helper()
	s := suite{features: features}
	for _, test := range []struct {
		name string
		run  func(*testing.T, objstore.Bucket)
	}{
		{"PutAndGet", s.putAndGet},
		{"PutReplaces", s.putReplaces},
		{"BodiesAreCopied", s.bodiesAreCopied},
		{"GetMissing", s.getMissing},
		{"Ranges", s.ranges},
		{"Delete", s.delete},
		{"Dates", s.dates},
		{"ContextEnded", s.contextEnded},
		{"ConcurrentPuts", s.concurrentPuts},
		{"PutIfAbsent", s.putIfAbsent},
		{"PutIfAbsentHasOneWinner", s.putIfAbsentHasOneWinner},
		{"PutIfAbsentAgainstDelete", s.putIfAbsentAgainstDelete},
		{"ListOrder", s.listOrder},
		{"ListPages", s.listPages},
		{"ListBeyondOnePage", s.listBeyondOnePage},
		{"ListShowsWhatWasDone", s.listShowsWhatWasDone},
		{"ListSeesNewestOfMovingWindow", s.listSeesNewestOfMovingWindow},
		{"ListShowsOneInstant", s.listShowsOneInstant},
		{"KeysAllowed", s.keysAllowed},
		{"KeysRefused", s.keysRefused},
		{"Streams", s.streams},
		{"StreamReplaces", s.streamReplaces},
		{"StreamReaderFails", s.streamReaderFails},
		{"StreamContextEnds", s.streamContextEnds},
		{"UploadAborted", s.uploadAborted},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

type suite struct{ features Features }

// wantErr fails unless err is an *objstore.Error of the operation that wraps
// want and says that nothing was written.
func wantErr(t *testing.T, err error, op string, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", op, err, want)
	}
	var e *objstore.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s: error %v is not an *objstore.Error", op, err)
	}
	if e.Op != op {
		t.Fatalf("error %v names operation %q, want %q", err, e.Op, op)
	}
	if got := objstore.OutcomeOf(err); got != objstore.NotCommitted {
		t.Fatalf("%s: outcome of %v is %v, want not committed", op, err, got)
	}
}

func mustPut(t *testing.T, b objstore.Bucket, key string, body []byte) {
	t.Helper()
	if _, err := b.Put(t.Context(), key, body); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func mustDelete(t *testing.T, b objstore.Bucket, key string) {
	t.Helper()
	if _, err := b.Delete(t.Context(), key); err != nil {
		t.Fatalf("delete %s: %v", key, err)
	}
}

func wantBody(t *testing.T, b objstore.Bucket, key string, want []byte) {
	t.Helper()
	got, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if !bytes.Equal(got.Body, want) {
		t.Fatalf("get %s: %d bytes that differ from the %d put", key, len(got.Body), len(want))
	}
	if got.Size != int64(len(want)) {
		t.Fatalf("get %s: size %d, want %d", key, got.Size, len(want))
	}
}

func wantMissing(t *testing.T, b objstore.Bucket, key string) {
	t.Helper()
	_, err := b.Get(t.Context(), key)
	wantErr(t, err, objstore.OpGet, objstore.ErrNotFound)
}

// listAll pages through a listing.
func listAll(ctx context.Context, b objstore.Bucket, prefix, startAfter string, limit int) ([]string, error) {
	var keys []string
	for {
		page, err := b.List(ctx, prefix, startAfter, limit)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			keys = append(keys, o.Key)
			startAfter = o.Key
		}
		if !page.More {
			return keys, nil
		}
		if len(page.Objects) == 0 {
			return nil, errors.New("a page says that there are more keys and has none")
		}
	}
}

// noise returns n bytes that do not repeat, others for each n. Callers must not
// change them.
func noise(n int) []byte {
	from := n % 1009
	return reservoir()[from : from+n : from+n]
}

var reservoir = sync.OnceValue(func() []byte {
	body := make([]byte, streamBytes+1009)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body)
	return body
})
