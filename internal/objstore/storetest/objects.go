package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/internal/objstore"
)

func (suite) putAndGet(t *testing.T, b objstore.Bucket) {
	for _, size := range []int{0, 1, 511, 4096, 65537, 1<<20 + 1, 9<<20 + 3} {
		key := fmt.Sprintf("sizes/%d", size)
		body := noise(size)
		mustPut(t, b, key, body)
		wantBody(t, b, key, body)
	}
}

func (suite) putReplaces(t *testing.T, b objstore.Bucket) {
	for _, body := range []string{"first", "a longer second", "3", ""} {
		mustPut(t, b, "replaced", []byte(body))
		wantBody(t, b, "replaced", []byte(body))
	}
}

func (suite) bodiesAreCopied(t *testing.T, b objstore.Bucket) {
	body := []byte("as it was put")
	mustPut(t, b, "put", body)
	if _, err := b.PutIfAbsent(t.Context(), "absent", body); err != nil {
		t.Fatal(err)
	}
	clear(body)
	for _, key := range []string{"put", "absent"} {
		got, err := b.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		clear(got.Body)
		wantBody(t, b, key, []byte("as it was put"))
	}
}

func (suite) getMissing(t *testing.T, b objstore.Bucket) {
	wantMissing(t, b, "missing")
	wantMissing(t, b, "missing/below/folders")
	_, err := b.GetRange(t.Context(), "missing", 0, 1)
	wantErr(t, err, objstore.OpGetRange, objstore.ErrNotFound)
	mustPut(t, b, "folder/object", nil)
	wantMissing(t, b, "folder")
	wantMissing(t, b, "folder/obj")
}

func (suite) ranges(t *testing.T, b objstore.Bucket) {
	body := noise(1<<20 + 7)
	size := int64(len(body))
	mustPut(t, b, "ranged", body)
	mustPut(t, b, "empty", nil)
	for _, r := range []struct{ pos, length int64 }{
		{0, 1}, {0, size}, {size - 1, 1}, {1, size - 1}, {4095, 8193}, {size - 100, 100},
	} {
		got, err := b.GetRange(t.Context(), "ranged", r.pos, r.length)
		if err != nil {
			t.Fatalf("range %+v: %v", r, err)
		}
		if !bytes.Equal(got.Body, body[r.pos:r.pos+r.length]) {
			t.Fatalf("range %+v: %d bytes that differ", r, len(got.Body))
		}
		if got.Size != size {
			t.Fatalf("range %+v: size %d of the whole object, want %d", r, got.Size, size)
		}
	}
	for _, r := range []struct {
		key         string
		pos, length int64
	}{
		{"ranged", 0, 0}, {"ranged", -1, 2}, {"ranged", 5, -1}, {"ranged", size, 1}, {"ranged", size - 1, 2},
		{"ranged", 0, size + 1}, {"ranged", size + 100, 1}, {"ranged", 1<<63 - 1, 1}, {"ranged", 1, 1<<63 - 1},
		{"empty", 0, 1},
	} {
		_, err := b.GetRange(t.Context(), r.key, r.pos, r.length)
		wantErr(t, err, objstore.OpGetRange, objstore.ErrInvalidRange)
	}
}

func (suite) delete(t *testing.T, b objstore.Bucket) {
	mustDelete(t, b, "never-there")
	mustDelete(t, b, "never/there/below")
	mustPut(t, b, "folder/deleted", []byte("x"))
	mustPut(t, b, "folder/kept", []byte("y"))
	mustDelete(t, b, "folder/deleted")
	wantMissing(t, b, "folder/deleted")
	mustDelete(t, b, "folder/deleted")
	mustDelete(t, b, "folder") // not an object
	wantBody(t, b, "folder/kept", []byte("y"))
	mustDelete(t, b, "folder/kept")
	mustPut(t, b, "folder/kept", []byte("again"))
	wantBody(t, b, "folder/kept", []byte("again"))
}

// dates checks that every answer carries the store's clock in whole seconds,
// errors too.
func (suite) dates(t *testing.T, b objstore.Bucket) {
	ctx := t.Context()
	check := func(what string, date time.Time) {
		t.Helper()
		if date.IsZero() || date.Nanosecond() != 0 || date.Location() != time.UTC {
			t.Fatalf("%s: date %v is not a UTC time in whole seconds", what, date)
		}
	}
	put, err := b.Put(ctx, "dated", []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	check("put", put.Date)
	absent, err := b.PutIfAbsent(ctx, "dated-too", nil)
	if err != nil {
		t.Fatal(err)
	}
	check("put-if-absent", absent.Date)
	got, err := b.Get(ctx, "dated")
	if err != nil {
		t.Fatal(err)
	}
	check("get", got.Date)
	got, err = b.GetRange(ctx, "dated", 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	check("get-range", got.Date)
	page, err := b.List(ctx, "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	check("list", page.Date)
	for _, o := range page.Objects {
		if o.Modified.IsZero() {
			t.Fatalf("listing has no time for %s", o.Key)
		}
	}
	stream, err := b.PutStream(ctx, "dated", strings.NewReader("stream"))
	if err != nil {
		t.Fatal(err)
	}
	check("put-stream", stream.Date)
	_, err = b.PutIfAbsent(ctx, "dated", nil)
	wantErr(t, err, objstore.OpPutIfAbsent, objstore.ErrExists)
	check("error of put-if-absent", objstore.DateOf(err))
	_, err = b.Get(ctx, "missing")
	check("error of get", objstore.DateOf(err))
	_, err = b.GetRange(ctx, "dated", 3, 400)
	check("error of get-range", objstore.DateOf(err))
	gone, err := b.Delete(ctx, "dated")
	if err != nil {
		t.Fatal(err)
	}
	check("delete", gone.Date)
}

func (suite) contextEnded(t *testing.T, b objstore.Bucket) {
	mustPut(t, b, "there", []byte("body"))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancelExpired := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancelExpired()
	for _, ctx := range []context.Context{cancelled, expired} {
		for _, request := range []struct {
			op  string
			run func() error
		}{
			{objstore.OpGet, func() error { _, err := b.Get(ctx, "there"); return err }},
			{objstore.OpGetRange, func() error { _, err := b.GetRange(ctx, "there", 0, 1); return err }},
			{objstore.OpPut, func() error { _, err := b.Put(ctx, "new", nil); return err }},
			{objstore.OpPutIfAbsent, func() error { _, err := b.PutIfAbsent(ctx, "new", nil); return err }},
			{objstore.OpPutStream, func() error { _, err := b.PutStream(ctx, "new", strings.NewReader("x")); return err }},
			{objstore.OpList, func() error { _, err := b.List(ctx, "", "", 0); return err }},
			{objstore.OpDelete, func() error { _, err := b.Delete(ctx, "there"); return err }},
			{objstore.OpListUploads, func() error { _, err := b.ListUploads(ctx, "there"); return err }},
			{objstore.OpAbortUpload, func() error { return b.AbortUpload(ctx, objstore.Upload{Key: "there", ID: "1"}) }},
		} {
			err := request.run()
			wantErr(t, err, request.op, ctx.Err())
		}
	}
	wantBody(t, b, "there", []byte("body"))
	wantMissing(t, b, "new")
}

func (suite) concurrentPuts(t *testing.T, b objstore.Bucket) {
	group, ctx := errgroup.WithContext(t.Context())
	for writer := range 8 {
		group.Go(func() error {
			for i := range 20 {
				key := fmt.Sprintf("many/%d/%d", writer%3, writer*100+i)
				body := noise(1000*writer + i)
				if _, err := b.Put(ctx, key, body); err != nil {
					return err
				}
				got, err := b.Get(ctx, key)
				if err != nil {
					return err
				}
				if !bytes.Equal(got.Body, body) {
					return fmt.Errorf("%s: %w", key, io.ErrUnexpectedEOF)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	keys, err := listAll(t.Context(), b, "many/", "", 0)
	if err != nil || len(keys) != 160 {
		t.Fatalf("listing has %d keys (%v), want 160", len(keys), err)
	}
}
