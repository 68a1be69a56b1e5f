package storetest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/wadilog/wadi/internal/objstore"
)

func (suite) keysAllowed(t *testing.T, b objstore.Bucket) {
	long := strings.Repeat(strings.Repeat("k", objstore.SegmentBytesMax-1)+"/", 3) + strings.Repeat("z", objstore.KeyBytesMax-3*objstore.SegmentBytesMax)
	keys := []string{
		"A", "z", "0", "_", "-", "=", "a..b", "...", ".hidden", "trailing.", "-rf", "key=value", "2026-01-02T03.04.05Z",
		strings.Repeat("s", objstore.SegmentBytesMax), long,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-=/x",
	}
	for _, key := range keys {
		if _, err := b.PutIfAbsent(t.Context(), key, []byte(key)); err != nil {
			t.Fatalf("put-if-absent %q: %v", key, err)
		}
		wantBody(t, b, key, []byte(key))
	}
	slices.Sort(keys)
	got, err := listAll(t.Context(), b, "", "", 2)
	if err != nil || !slices.Equal(got, keys) {
		t.Fatalf("list (%v):\n got %q\nwant %q", err, got, keys)
	}
	for _, key := range keys {
		mustDelete(t, b, key)
		wantMissing(t, b, key)
	}
}

func (suite) keysRefused(t *testing.T, b objstore.Bucket) {
	ctx := t.Context()
	for _, key := range []string{
		"", "/", "/absolute", "trailing/", "a//b", ".", "..", "../up", "a/../b", "a/./b", "a/..", "nul\x00", "new\nline", "back\\slash",
		"space ", "perc%20ent", "plus+", "colon:", "ümlaut", "\xff", "question?", "hash#", "star*", "amp&", "less<", "quote\"", "tilde~",
		strings.Repeat("s", objstore.SegmentBytesMax+1), strings.Repeat("s/", objstore.KeyBytesMax/2) + "x",
	} {
		for _, request := range []struct {
			op  string
			run func() error
		}{
			{objstore.OpGet, func() error { _, err := b.Get(ctx, key); return err }},
			{objstore.OpGetRange, func() error { _, err := b.GetRange(ctx, key, 0, 1); return err }},
			{objstore.OpPut, func() error { _, err := b.Put(ctx, key, nil); return err }},
			{objstore.OpPutIfAbsent, func() error { _, err := b.PutIfAbsent(ctx, key, nil); return err }},
			{objstore.OpPutStream, func() error { _, err := b.PutStream(ctx, key, strings.NewReader("x")); return err }},
			{objstore.OpDelete, func() error { _, err := b.Delete(ctx, key); return err }},
			{objstore.OpAbortUpload, func() error { return b.AbortUpload(ctx, objstore.Upload{Key: key, ID: "x"}) }},
		} {
			if err := request.run(); !errors.Is(err, objstore.ErrRefused) {
				t.Fatalf("%s %q: got %v, want it refused", request.op, key, err)
			} else {
				wantErr(t, err, request.op, objstore.ErrRefused)
			}
		}
	}
	for _, prefix := range []string{"/", "a//", "../", "a/../b", "nul\x00", "sp ace"} {
		_, err := b.List(ctx, prefix, "", 0)
		wantErr(t, err, objstore.OpList, objstore.ErrRefused)
		_, err = b.ListUploads(ctx, prefix)
		wantErr(t, err, objstore.OpListUploads, objstore.ErrRefused)
	}
	page, err := b.List(ctx, "", "", 0)
	if err != nil || len(page.Objects) > 0 {
		t.Fatalf("refused keys left %v (%v)", page.Objects, err)
	}
}
