package s3store

import (
	"context"
	"errors"
	"fmt"

	"github.com/wadilog/wadi/internal/objstore"
)

// ProbeChecksum sends a body under key that changes on the way, and tells
// whether the store noticed. It implements objstore.ChecksumProber.
func (s *Store) ProbeChecksum(ctx context.Context, key string) error {
	_, err := s.Put(context.WithValue(ctx, damage{}, true), key, []byte("this body arrives with one bit changed"))
	switch {
	case errors.Is(err, objstore.ErrChecksum):
		return nil
	case err == nil:
		_, err = s.Delete(ctx, key)
		return errors.Join(fmt.Errorf("%w: a body that was changed on the way is stored although its %s was sent", objstore.ErrUnsupported, s.cfg.Checksum), err)
	default:
		return err
	}
}
