package objstore

import (
	"context"
	"time"
)

// Presigner is a store that can let somebody without a key of its own read an
// object for a while. Of the drivers, s3 is one.
type Presigner interface {
	// Presign returns a URL whose GET, with or without a Range, reads the object.
	// It is good for validity, or for less if what signs it expires before. It
	// sends no request, and does not tell whether the object exists.
	Presign(ctx context.Context, key string, validity time.Duration) (Presigned, error)
}

// Presigned is a URL that needs no credentials.
type Presigned struct {
	URL     string
	Expires time.Time // by this process's clock
}

// PresignerOf finds what presigns for a bucket, also below what wraps it: to
// presign is no request, so there is nothing to count.
func PresignerOf(b any) (Presigner, bool) {
	for {
		if p, ok := b.(Presigner); ok {
			return p, true
		}
		wrapper, ok := b.(interface{ Unwrap() Bucket })
		if !ok {
			return nil, false
		}
		b = wrapper.Unwrap()
	}
}
