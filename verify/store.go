package verify

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/wadilog/wadi/internal/objstore"
)

// Store reads objects with timeouts and repeats, within a bound on the bytes
// that are held.
type Store struct {
	cfg    Config
	bucket objstore.Bucket
	room   *semaphore.Weighted // bytes
}

// NewStore returns a Store of a bucket; cfg must be valid.
func NewStore(cfg Config, bucket objstore.Bucket) *Store {
	return &Store{cfg: cfg, bucket: bucket, room: semaphore.NewWeighted(cfg.BytesInFlight)}
}

// hold waits for room for n bytes. The function it returns gives it back.
func (s *Store) hold(ctx context.Context, n int64) (func(), error) {
	n = min(n, s.cfg.BytesInFlight)
	if err := s.room.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { s.room.Release(n) }, nil
}

// Read returns n bytes of an object from pos on, n > 0.
func (s *Store) Read(ctx context.Context, key string, pos, n int64) ([]byte, error) {
	var body []byte
	err := s.try(ctx, n, func(ctx context.Context) error {
		got, err := s.bucket.GetRange(ctx, key, pos, n)
		body = got.Body
		return err
	})
	return body, err
}

// List returns a page of keys.
func (s *Store) List(ctx context.Context, prefix, after string) (objstore.Page, error) {
	var page objstore.Page
	err := s.try(ctx, 0, func(ctx context.Context) (err error) {
		page, err = s.bucket.List(ctx, prefix, after, objstore.ListPageMax)
		return err
	})
	return page, err
}

// try carries out a request for n bytes until it succeeds or is of no use.
func (s *Store) try(ctx context.Context, n int64, request func(context.Context) error) error {
	timeout := s.cfg.AttemptTimeout + time.Duration(float64(n)/float64(s.cfg.BytesPerSecondMin)*float64(time.Second))
	pause := s.cfg.Backoff
	for attempt := 1; ; attempt++ {
		err := once(ctx, timeout, request)
		if err == nil || ctx.Err() != nil || attempt == s.cfg.Attempts || lasting(err) {
			return err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)):
			pause *= 2
		case <-ctx.Done():
			return err
		}
	}
}

func once(ctx context.Context, timeout time.Duration, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return request(ctx)
}

// lasting tells whether a request would get the same answer again.
func lasting(err error) bool {
	for _, target := range []error{objstore.ErrNotFound, objstore.ErrInvalidRange, objstore.ErrRefused, objstore.ErrUnsupported} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
