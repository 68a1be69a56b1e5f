package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/wadilog/wadi/internal/objstore"
)

// streamBytes is more than two parts of a multipart upload, and not a whole number.
const streamBytes = 17<<20 + 5

func (suite) streams(t *testing.T, b objstore.Bucket) {
	for _, size := range []int{0, 1, 100_000, 8 << 20, 8<<20 + 1, 16 << 20, streamBytes} {
		body := noise(size)
		if _, err := b.PutStream(t.Context(), "streams/one", bytes.NewReader(body)); err != nil {
			t.Fatalf("stream of %d bytes: %v", size, err)
		}
		wantBody(t, b, "streams/one", body)
	}
	// Readers that give little at a time, or data together with EOF.
	body := noise(70_001)
	for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
		if _, err := b.PutStream(t.Context(), "streams/two", wrap(bytes.NewReader(body))); err != nil {
			t.Fatal(err)
		}
		wantBody(t, b, "streams/two", body)
	}
	wantNoUploads(t, b, "streams/one")
}

func (suite) streamReplaces(t *testing.T, b objstore.Bucket) {
	mustPut(t, b, "streamed", noise(3000))
	for _, size := range []int{streamBytes, 10} {
		if _, err := b.PutStream(t.Context(), "streamed", bytes.NewReader(noise(size))); err != nil {
			t.Fatal(err)
		}
		wantBody(t, b, "streamed", noise(size))
	}
}

// streamReaderFails: the reader's error comes back, and what was there stays.
func (suite) streamReaderFails(t *testing.T, b objstore.Bucket) {
	broken := errors.New("reader broke")
	mustPut(t, b, "kept", []byte("before"))
	// The last two are what readers of cut files return, and no end of a stream.
	for _, broken := range []error{broken, io.ErrUnexpectedEOF, fmt.Errorf("wrapped: %w", io.EOF)} {
		for _, size := range []int{0, 10, streamBytes} {
			for _, key := range []string{"kept", "new"} {
				body := io.MultiReader(bytes.NewReader(noise(size)), iotest.ErrReader(broken))
				_, err := b.PutStream(t.Context(), key, body)
				wantErr(t, err, objstore.OpPutStream, broken)
				wantNoUploads(t, b, key)
			}
			wantBody(t, b, "kept", []byte("before"))
			wantMissing(t, b, "new")
		}
	}
}

// streamContextEnds: a stream whose context ends leaves no object and no upload.
func (suite) streamContextEnds(t *testing.T, b objstore.Bucket) {
	ctx, cancel := context.WithCancel(t.Context())
	body := io.MultiReader(bytes.NewReader(noise(streamBytes)), &action{do: cancel}, bytes.NewReader(noise(streamBytes)))
	_, err := b.PutStream(ctx, "cancelled", body)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the cancellation", err)
	}
	wantMissing(t, b, "cancelled")
	wantNoUploads(t, b, "cancelled")
}

// uploadAborted looks at an upload while it is under way and aborts it.
func (s suite) uploadAborted(t *testing.T, b objstore.Bucket) {
	ctx := t.Context()
	mustPut(t, b, "dir/kept", []byte("before"))
	var seen []objstore.Upload
	var seenErr error
	look := &action{do: func() {
		if seen, seenErr = b.ListUploads(ctx, "dir/kept"); seenErr != nil {
			return
		}
		for _, u := range seen {
			seenErr = errors.Join(seenErr, b.AbortUpload(ctx, u))
		}
	}}
	body := io.MultiReader(bytes.NewReader(noise(streamBytes)), look, bytes.NewReader(noise(streamBytes)))
	_, err := b.PutStream(ctx, "dir/kept", body)
	if seenErr != nil {
		t.Fatal(seenErr)
	}
	if len(seen) != 1 || seen[0].Key != "dir/kept" || seen[0].ID == "" || seen[0].Begun.IsZero() {
		t.Fatalf("uploads under way: %+v, want one of dir/kept", seen)
	}
	if err == nil {
		t.Fatal("the stream of an aborted upload succeeded")
	}
	wantBody(t, b, "dir/kept", []byte("before"))
	wantNoUploads(t, b, "dir/kept")
	if err := b.AbortUpload(ctx, seen[0]); err != nil {
		t.Fatalf("abort of an aborted upload: %v", err)
	}
	if s.features.UploadsByPrefix {
		s.uploadsByPrefix(t, b)
	}
}

func (suite) uploadsByPrefix(t *testing.T, b objstore.Bucket) {
	look := &action{do: func() {
		for prefix, want := range map[string]int{"": 1, "d": 1, "dir/": 1, "dir/up": 1, "dir/upx": 0, "e": 0, "dirx": 0} {
			uploads, err := b.ListUploads(t.Context(), prefix)
			if err != nil || len(uploads) != want {
				t.Errorf("uploads below %q: %v (%v), want %d", prefix, uploads, err, want)
			}
		}
		page, err := b.List(t.Context(), "dir/", "", 0)
		if err != nil || len(page.Objects) != 1 {
			t.Errorf("a LIST during an upload shows %q (%v)", keysOf(page), err)
		}
	}}
	body := io.MultiReader(bytes.NewReader(noise(streamBytes)), look)
	if _, err := b.PutStream(t.Context(), "dir/up", body); err != nil {
		t.Fatal(err)
	}
	wantNoUploads(t, b, "")
}

func wantNoUploads(t *testing.T, b objstore.Bucket, prefix string) {
	t.Helper()
	uploads, err := b.ListUploads(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	if len(uploads) > 0 {
		t.Fatalf("uploads are left: %+v", uploads)
	}
}

// action is an empty reader that does something when it is read.
type action struct{ do func() }

func (a *action) Read([]byte) (int, error) {
	if a.do != nil {
		a.do()
		a.do = nil
	}
	return 0, io.EOF
}
