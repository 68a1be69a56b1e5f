package s3store

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/wadilog/wadi/internal/objstore"
)

var _ objstore.Presigner = (*Store)(nil)

// Presign implements objstore.Presigner with Signature Version 4 in the query.
// The URL has the host of the store's endpoint, which is signed with it, and
// lets its holder do what the node's own key may do with this GET.
func (s *Store) Presign(ctx context.Context, key string, validity time.Duration) (objstore.Presigned, error) {
	r := request{op: objstore.OpPresign, key: key}
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return objstore.Presigned{}, err
	}
	// Temporary credentials take their URLs with them. The SDK renews them ahead
	// of their end and keeps them meanwhile, so this is no request for each URL.
	credentials, err := s.client.Options().Credentials.Retrieve(ctx)
	if err != nil {
		return objstore.Presigned{}, r.failure(objstore.NotCommitted, time.Time{}, asText(err))
	}
	now := time.Now()
	expires := now.Add(validity)
	if credentials.CanExpire && credentials.Expires.Before(expires) {
		expires = credentials.Expires
	}
	if validity < time.Second || !expires.After(now) {
		return objstore.Presigned{}, r.refused(errors.New("there is no time left for a URL to be valid"))
	}
	signed, err := s.presigner.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: s.path(key)}, s3.WithPresignExpires(validity))
	if err != nil {
		return objstore.Presigned{}, r.failed(ctx, err)
	}
	return objstore.Presigned{URL: signed.URL, Expires: expires}, nil
}
