// Package stores opens a bucket from its URL.
package stores

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/filestore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/objstore/s3store"
)

// Options say what a URL does not.
type Options struct {
	// S3 holds the limits and timeouts of the S3 driver; its bucket, prefix,
	// endpoint, region and checksum come from the URL.
	S3 s3store.Config
	// Registerer gets the counts of requests; nil means that none are kept.
	Registerer prometheus.Registerer
	// Existing refuses a folder that is not a store yet, instead of making one.
	Existing bool
}

// DefaultOptions are those of the drivers.
func DefaultOptions() Options { return Options{S3: s3store.DefaultConfig()} }

// Open opens one of
//
//	s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1&checksum=sha256
//	file:///absolute/folder
//	mem://
//
// where prefix and all parameters may be left out. It does not probe the store.
// The caller calls close once no request is under way. Each mem:// is a new, empty
// store.
func Open(ctx context.Context, rawURL string, opts Options) (b objstore.Bucket, closeStore func() error, err error) {
	b, closeStore, err = open(ctx, rawURL, opts)
	if err != nil {
		return nil, nil, fmt.Errorf("open store %s: %w", redact(rawURL), err)
	}
	if opts.Registerer == nil {
		return b, closeStore, nil
	}
	counted, err := objstore.Instrument(b, opts.Registerer)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open store %s: %w", redact(rawURL), err), closeStore())
	}
	return counted, closeStore, nil
}

func open(ctx context.Context, rawURL string, opts Options) (objstore.Bucket, func() error, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, nil, errors.New("not a URL; it should begin with s3://, file:/// or mem://")
	}
	if u.User != nil {
		return nil, nil, errors.New("credentials do not belong into the URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	if u.Fragment != "" {
		return nil, nil, fmt.Errorf("a store has no #%s", u.Fragment)
	}
	switch u.Scheme {
	case "s3":
		return openS3(ctx, u, opts.S3)
	case "file":
		return openFile(u, opts.Existing)
	case "mem":
		if u.Host+u.Path+u.RawQuery != "" {
			return nil, nil, errors.New("mem:// takes nothing after it")
		}
		return memstore.New(), func() error { return nil }, nil
	default:
		return nil, nil, errors.New("it should begin with s3://, file:/// or mem://")
	}
}

func openS3(ctx context.Context, u *url.URL, cfg s3store.Config) (objstore.Bucket, func() error, error) {
	cfg.Bucket, cfg.Prefix = u.Host, strings.Trim(u.Path, "/")
	params, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, nil, fmt.Errorf("parameters: %w", err)
	}
	for name, values := range params {
		if len(values) != 1 || values[0] == "" {
			return nil, nil, fmt.Errorf("parameter %s takes one value", name)
		}
		switch name {
		case "endpoint":
			cfg.Endpoint = values[0]
		case "region":
			cfg.Region = values[0]
		case "checksum":
			cfg.Checksum = s3store.Checksum(values[0])
		default:
			return nil, nil, fmt.Errorf("unknown parameter %s; there are endpoint, region and checksum", name)
		}
	}
	s, err := s3store.New(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}

func openFile(u *url.URL, existing bool) (objstore.Bucket, func() error, error) {
	switch {
	case u.Host != "" || u.Opaque != "" || !filepath.IsAbs(u.Path):
		return nil, nil, errors.New("a folder is named by its absolute path after three slashes: file:///var/lib/wadi")
	case u.RawQuery != "":
		return nil, nil, errors.New("file:// takes no parameters")
	}
	if existing {
		if err := filestore.Exists(filepath.Clean(u.Path)); err != nil {
			return nil, nil, err
		}
	}
	s, err := filestore.New(filepath.Clean(u.Path))
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}

// redact keeps a password out of errors and logs.
func redact(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}
