package filestore_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/filestore"
	"github.com/wadilog/wadi/internal/objstore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func features() storetest.Features {
	return storetest.Features{InstantList: true, UploadsByPrefix: true}
}

func open(t *testing.T, dir string) *filestore.Store {
	t.Helper()
	s, err := filestore.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, features(), func(t *testing.T) objstore.Bucket { return open(t, t.TempDir()) })
}

// TestConformanceOfTwo gives each request to one or the other of two stores in
// one folder, which know nothing of each other, as two processes.
func TestConformanceOfTwo(t *testing.T) {
	storetest.Run(t, features(), func(t *testing.T) objstore.Bucket {
		dir := t.TempDir()
		return &pair{stores: [2]*filestore.Store{open(t, dir), open(t, dir)}}
	})
}

type pair struct {
	stores [2]*filestore.Store
	turn   atomic.Int64
}

func (p *pair) next() *filestore.Store { return p.stores[p.turn.Add(1)%2] }

func (p *pair) Get(ctx context.Context, key string) (objstore.Object, error) {
	return p.next().Get(ctx, key)
}

func (p *pair) GetRange(ctx context.Context, key string, pos, length int64) (objstore.Object, error) {
	return p.next().GetRange(ctx, key, pos, length)
}

func (p *pair) Put(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	return p.next().Put(ctx, key, body)
}

func (p *pair) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	return p.next().PutIfAbsent(ctx, key, body)
}

func (p *pair) PutStream(ctx context.Context, key string, body io.Reader) (objstore.Receipt, error) {
	return p.next().PutStream(ctx, key, body)
}

func (p *pair) List(ctx context.Context, prefix, startAfter string, limit int) (objstore.Page, error) {
	return p.next().List(ctx, prefix, startAfter, limit)
}

func (p *pair) Delete(ctx context.Context, key string) (objstore.Receipt, error) {
	return p.next().Delete(ctx, key)
}

func (p *pair) ListUploads(ctx context.Context, prefix string) ([]objstore.Upload, error) {
	return p.next().ListUploads(ctx, prefix)
}

func (p *pair) AbortUpload(ctx context.Context, upload objstore.Upload) error {
	return p.next().AbortUpload(ctx, upload)
}
