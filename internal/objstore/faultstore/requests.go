package faultstore

import (
	"bytes"
	"context"
	"io"

	"github.com/wadilog/wadi/internal/objstore"
)

type effect = func(context.Context) (answer, error)

// Get implements objstore.Bucket.
func (s *Store) Get(ctx context.Context, key string) (objstore.Object, error) {
	a, err := s.run(ctx, call{
		request: request{objstore.OpGet, key},
		do: func(ctx context.Context) (a answer, err error) {
			a.object, err = s.inner.Get(ctx, key)
			return a, err
		},
	})
	return a.object, err
}

// GetRange implements objstore.Bucket.
func (s *Store) GetRange(ctx context.Context, key string, pos, length int64) (objstore.Object, error) {
	a, err := s.run(ctx, call{
		request: request{objstore.OpGetRange, key},
		do: func(ctx context.Context) (a answer, err error) {
			a.object, err = s.inner.GetRange(ctx, key, pos, length)
			return a, err
		},
	})
	return a.object, err
}

// Put implements objstore.Bucket.
func (s *Store) Put(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	put := func(body []byte) effect {
		return func(ctx context.Context) (a answer, err error) {
			a.receipt, err = s.inner.Put(ctx, key, body)
			return a, err
		}
	}
	return s.write(ctx, request{objstore.OpPut, key}, put(body), func() (effect, error) {
		return put(bytes.Clone(body)), nil
	})
}

// PutIfAbsent implements objstore.Bucket.
func (s *Store) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	put := func(body []byte) effect {
		return func(ctx context.Context) (a answer, err error) {
			a.receipt, err = s.inner.PutIfAbsent(ctx, key, body)
			return a, err
		}
	}
	return s.write(ctx, request{objstore.OpPutIfAbsent, key}, put(body), func() (effect, error) {
		return put(bytes.Clone(body)), nil
	})
}

// PutStream implements objstore.Bucket. A stream that lands late is held in
// memory until then.
func (s *Store) PutStream(ctx context.Context, key string, body io.Reader) (objstore.Receipt, error) {
	put := func(body io.Reader) effect {
		return func(ctx context.Context) (a answer, err error) {
			a.receipt, err = s.inner.PutStream(ctx, key, body)
			return a, err
		}
	}
	return s.write(ctx, request{objstore.OpPutStream, key}, put(body), func() (effect, error) {
		kept, err := io.ReadAll(body)
		return put(bytes.NewReader(kept)), err
	})
}

// List implements objstore.Bucket.
func (s *Store) List(ctx context.Context, prefix, startAfter string, limit int) (objstore.Page, error) {
	a, err := s.run(ctx, call{
		request: request{objstore.OpList, prefix},
		do: func(ctx context.Context) (a answer, err error) {
			a.page, err = s.inner.List(ctx, prefix, startAfter, limit)
			return a, err
		},
	})
	return a.page, err
}

// Delete implements objstore.Bucket.
func (s *Store) Delete(ctx context.Context, key string) (objstore.Receipt, error) {
	remove := func(ctx context.Context) (a answer, err error) {
		a.receipt, err = s.inner.Delete(ctx, key)
		return a, err
	}
	return s.write(ctx, request{objstore.OpDelete, key}, remove, func() (effect, error) { return remove, nil })
}

// ListUploads implements objstore.Bucket.
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]objstore.Upload, error) {
	a, err := s.run(ctx, call{
		request: request{objstore.OpListUploads, prefix},
		do: func(ctx context.Context) (a answer, err error) {
			a.uploads, err = s.inner.ListUploads(ctx, prefix)
			return a, err
		},
	})
	return a.uploads, err
}

// AbortUpload implements objstore.Bucket.
func (s *Store) AbortUpload(ctx context.Context, upload objstore.Upload) error {
	abort := func(ctx context.Context) (answer, error) { return answer{}, s.inner.AbortUpload(ctx, upload) }
	_, err := s.write(ctx, request{objstore.OpAbortUpload, upload.Key}, abort, func() (effect, error) { return abort, nil })
	return err
}

func (s *Store) write(ctx context.Context, r request, do effect, keep func() (effect, error)) (objstore.Receipt, error) {
	a, err := s.run(ctx, call{request: r, write: true, do: do, keep: keep})
	return a.receipt, err
}
