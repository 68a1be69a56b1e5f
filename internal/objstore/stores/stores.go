// Package stores opens an object store by its URL.
package stores

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/objstore/s3store"
)

// Open opens the store that rawURL names.
func Open(ctx context.Context, rawURL string, _ *slog.Logger, _ prometheus.Registerer) (objstore.Bucket, func() error, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, nil, err
	}
	switch u.Scheme {
	case "mem":
		return memstore.New(), func() error { return nil }, nil
	case "s3":
		cfg := s3store.DefaultConfig()
		cfg.Bucket = u.Host
		cfg.Prefix = strings.Trim(u.Path, "/")
		cfg.Endpoint = u.Query().Get("endpoint")
		cfg.Region = u.Query().Get("region")
		s, err := s3store.New(ctx, cfg)
		return s, func() error { return nil }, err
	default:
		return nil, nil, fmt.Errorf("unknown scheme %q", u.Scheme)
	}
}
