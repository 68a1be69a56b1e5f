package s3store

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
)

// Checksum is how the store learns that a body arrived as it was sent.
type Checksum string

const (
	// ChecksumCRC32C sends the CRC32C of the body in a header.
	ChecksumCRC32C Checksum = "crc32c"
	// ChecksumSHA256 signs the SHA-256 of the body, which costs far more.
	ChecksumSHA256 Checksum = "sha256"
)

// The bounds of a part of a multipart upload. S3 wants 5 MiB at least.
const (
	partBytesMin = 5 << 20
	partBytesMax = 64 << 20
	partsMax     = 10_000 // of one upload, by S3
)

// prefixBytesMax leaves room for the key within S3's 1024 bytes.
const prefixBytesMax = 1024 - objstore.KeyBytesMax - 1

// Config names a bucket and says how to talk to it.
type Config struct {
	Bucket string
	Prefix string // without slashes at its ends; may be empty

	// Endpoint is the base URL of a store other than AWS, as in
	// http://127.0.0.1:9000. Buckets are then in the path of a URL, else in its host.
	Endpoint string
	// Region may be empty: it then comes from the environment or the profile,
	// and is us-east-1 if there is an endpoint.
	Region string

	// AccessKey and SecretKey are used instead of the SDK's chain (environment,
	// profile, web identity, instance role) if both are set.
	AccessKey string
	SecretKey string

	Checksum Checksum
	// PartBytes is the size of the parts of a stream, 5 to 64 MiB. Two are held in
	// memory for each stream.
	PartBytes int
	// GetBytesMax is the largest body that is read into memory; a larger one is refused.
	GetBytesMax int64

	// ConnsMax bounds the connections to the store, and with them the requests
	// under way. Further ones wait until their context ends.
	ConnsMax int
	// DialTimeout bounds the setup of a TCP connection, TLSTimeout that of TLS.
	DialTimeout time.Duration
	TLSTimeout  time.Duration
	// HeaderTimeout bounds the wait for an answer once the request is sent. The
	// rest is bounded by the context of each request only.
	HeaderTimeout time.Duration
	// IdleTimeout is how long an unused connection is kept.
	IdleTimeout time.Duration

	// WrapTransport, if set, lets a test stand between driver and network.
	WrapTransport func(http.RoundTripper) http.RoundTripper
}

// DefaultConfig lacks only the bucket.
func DefaultConfig() Config {
	return Config{
		Checksum:      ChecksumCRC32C,
		PartBytes:     8 << 20,
		GetBytesMax:   1 << 30,
		ConnsMax:      256,
		DialTimeout:   5 * time.Second,
		TLSTimeout:    5 * time.Second,
		HeaderTimeout: 60 * time.Second,
		IdleTimeout:   60 * time.Second,
	}
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	if c.Bucket == "" || strings.ContainsAny(c.Bucket, "/?#@: ") {
		return fmt.Errorf("%q is not the name of a bucket", c.Bucket)
	}
	if c.Prefix != "" {
		if err := objstore.CheckKey(c.Prefix); err != nil {
			return fmt.Errorf("prefix: %w", err)
		}
		if len(c.Prefix) > prefixBytesMax {
			return fmt.Errorf("prefix has %d bytes, at most %d are allowed", len(c.Prefix), prefixBytesMax)
		}
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("endpoint %q is not an http or https URL", c.Endpoint)
		}
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return errors.New("access key and secret key come together")
	}
	if c.Checksum != ChecksumCRC32C && c.Checksum != ChecksumSHA256 {
		return fmt.Errorf("checksum %q is neither %s nor %s", c.Checksum, ChecksumCRC32C, ChecksumSHA256)
	}
	if c.PartBytes < partBytesMin || c.PartBytes > partBytesMax {
		return fmt.Errorf("parts of %d bytes are not within %d and %d", c.PartBytes, partBytesMin, partBytesMax)
	}
	for _, bound := range []struct {
		name  string
		value int64
	}{
		{"bytes of a GET", c.GetBytesMax}, {"connections", int64(c.ConnsMax)}, {"dial timeout", int64(c.DialTimeout)},
		{"TLS timeout", int64(c.TLSTimeout)}, {"header timeout", int64(c.HeaderTimeout)}, {"idle timeout", int64(c.IdleTimeout)},
	} {
		if bound.value <= 0 {
			return fmt.Errorf("the bound on %s must be above 0", bound.name)
		}
	}
	return nil
}
