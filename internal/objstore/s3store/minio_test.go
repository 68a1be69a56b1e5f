package s3store_test

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/s3store"
	"github.com/wadilog/wadi/internal/objstore/storetest"
)

func TestConformanceOnMinIO(t *testing.T) {
	storetest.Run(t, storetest.Features{}, func(t *testing.T) objstore.Bucket { return open(t, minioConfig()) })
}

func TestSHA256OnMinIO(t *testing.T) {
	cfg := minioConfig()
	cfg.Checksum = s3store.ChecksumSHA256
	s := open(t, cfg)
	body := bytes.Repeat([]byte("0123456789"), 2_000_000)
	for _, size := range []int{0, 1, 100_000, len(body)} {
		if _, err := s.PutStream(t.Context(), "streamed", bytes.NewReader(body[:size])); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), "put", body[:size]); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"streamed", "put"} {
			if o, err := s.Get(t.Context(), key); err != nil || !bytes.Equal(o.Body, body[:size]) {
				t.Fatalf("%s of %d bytes: %d bytes (%v)", key, size, len(o.Body), err)
			}
		}
	}
	if _, err := s.PutIfAbsent(t.Context(), "put", nil); !errors.Is(err, objstore.ErrExists) {
		t.Fatal(err)
	}
}

// TestPresignedURL: it reads one object, whole or in part, without credentials.
func TestPresignedURL(t *testing.T) {
	s := open(t, minioConfig())
	if _, err := s.Put(t.Context(), "a/key", []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	signed, err := s.Presign(t.Context(), "a/key", 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if left := signed.Expires.Sub(began); left < 15*time.Minute || left > 16*time.Minute {
		t.Errorf("expires in %s", left)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, c := range []struct {
		url, header string
		status      int
		body        string
	}{
		{signed.URL, "", 200, "0123456789"},
		{signed.URL, "bytes=2-4", 206, "234"},
		{strings.Replace(signed.URL, "/key?", "/kez?", 1), "", 403, ""},
		{strings.Replace(signed.URL, "Expires=900", "Expires=901", 1), "", 403, ""},
		{strings.Split(signed.URL, "?")[0], "", 403, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.header != "" {
			r.Header.Set("Range", c.header)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != c.status || c.body != "" && string(body) != c.body {
			t.Errorf("%s %s: %d %q %v", c.url, c.header, res.StatusCode, body, err)
		}
	}
	for _, c := range []struct {
		key      string
		validity time.Duration
	}{{"", time.Minute}, {"a/key", 0}} {
		if _, err := s.Presign(t.Context(), c.key, c.validity); err == nil {
			t.Errorf("%q for %s was signed", c.key, c.validity)
		}
	}
}

// corrupting changes a byte of the body of every PUT that is large enough.
type corrupting struct {
	inner http.RoundTripper
	from  int64 // bytes
}

func (c corrupting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPut || r.ContentLength < c.from {
		return c.inner.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	body[len(body)/3] ^= 0x40
	changed := r.Clone(r.Context())
	changed.Body = io.NopCloser(bytes.NewReader(body))
	return c.inner.RoundTrip(changed)
}

// TestCorruptPutIsRefused is promise P10 on the way to the store: of a body that
// changes on the way, nothing is stored.
func TestCorruptPutIsRefused(t *testing.T) {
	for _, checksum := range []s3store.Checksum{s3store.ChecksumCRC32C, s3store.ChecksumSHA256} {
		t.Run(string(checksum), func(t *testing.T) {
			cfg := minioConfig()
			cfg.Checksum = checksum
			cfg.WrapTransport = func(inner http.RoundTripper) http.RoundTripper { return corrupting{inner, 1000} }
			s := open(t, cfg)
			body := bytes.Repeat([]byte("0123456789"), 2_000_000) // three parts of a stream
			for _, put := range []struct {
				op  string
				run func() error
			}{
				{objstore.OpPut, func() error { _, err := s.Put(t.Context(), "key", body); return err }},
				{objstore.OpPut, func() error { _, err := s.PutWithCRC(t.Context(), "key", body, crcOf(body)); return err }},
				{objstore.OpPutIfAbsent, func() error { _, err := s.PutIfAbsent(t.Context(), "key", body); return err }},
				{objstore.OpPutStream, func() error { _, err := s.PutStream(t.Context(), "key", bytes.NewReader(body)); return err }},
				{objstore.OpPutStream, func() error { _, err := s.PutStream(t.Context(), "key", bytes.NewReader(body[:2000])); return err }},
			} {
				err := put.run()
				if !errors.Is(err, objstore.ErrChecksum) || objstore.OutcomeOf(err) != objstore.NotCommitted {
					t.Fatalf("%s: got %v (%v), want the checksum refused", put.op, err, objstore.OutcomeOf(err))
				}
				if _, err := s.Get(t.Context(), "key"); !errors.Is(err, objstore.ErrNotFound) {
					t.Fatalf("%s: after a refused put: %v", put.op, err)
				}
			}
		})
	}
}

// A body that is not what its CRC says was damaged before it came to the driver.
func TestPutWithAnotherCRCIsRefused(t *testing.T) {
	s := open(t, minioConfig())
	body := bytes.Repeat([]byte("0123456789"), 1000)
	_, err := s.PutWithCRC(t.Context(), "key", body, crcOf(body[1:]))
	if !errors.Is(err, objstore.ErrChecksum) || objstore.OutcomeOf(err) != objstore.NotCommitted {
		t.Errorf("got %v (%v), want the checksum refused", err, objstore.OutcomeOf(err))
	}
	if _, err := s.PutWithCRC(t.Context(), "key", body, crcOf(body)); err != nil {
		t.Error(err)
	}
	if o, err := s.Get(t.Context(), "key"); err != nil || !bytes.Equal(o.Body, body) {
		t.Errorf("got %d bytes, %v", len(o.Body), err)
	}
}

func crcOf(body []byte) uint32 { return crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) }

// TestCorruptPartIsRefused lets the small requests of a multipart upload pass and
// spoils the last part only.
func TestCorruptLastPartIsRefused(t *testing.T) {
	cfg := minioConfig()
	parts := 0
	cfg.WrapTransport = func(inner http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Has("partNumber") {
				parts++
				if parts == 3 {
					return corrupting{inner, 0}.RoundTrip(r)
				}
			}
			return inner.RoundTrip(r)
		})
	}
	s := open(t, cfg)
	_, err := s.PutStream(t.Context(), "key", bytes.NewReader(make([]byte, 20<<20)))
	if !errors.Is(err, objstore.ErrChecksum) || parts != 3 {
		t.Fatalf("got %v after %d parts", err, parts)
	}
	if uploads, err := s.ListUploads(t.Context(), "key"); err != nil || len(uploads) > 0 {
		t.Fatalf("uploads left: %v (%v)", uploads, err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestProbeChecksumOnMinIO(t *testing.T) {
	for _, checksum := range []s3store.Checksum{s3store.ChecksumCRC32C, s3store.ChecksumSHA256} {
		cfg := minioConfig()
		cfg.Checksum = checksum
		s := open(t, cfg)
		if err := s.ProbeChecksum(t.Context(), "probe/checksum"); err != nil {
			t.Fatalf("%s: %v", checksum, err)
		}
		if _, err := s.Get(t.Context(), "probe/checksum"); !errors.Is(err, objstore.ErrNotFound) {
			t.Fatalf("the probe left its object: %v", err)
		}
	}
}

func TestRefusalsOfMinIO(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*s3store.Config)
		want   string
	}{
		{"no such bucket", func(c *s3store.Config) { c.Bucket = "no-such-bucket" }, "NoSuchBucket"},
		{"wrong key", func(c *s3store.Config) { c.AccessKey = "somebody" }, "InvalidAccessKeyId"},
		{"wrong secret", func(c *s3store.Config) { c.SecretKey = "wrongwrong" }, "SignatureDoesNotMatch"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := minioConfig()
			test.change(&cfg)
			s := open(t, cfg)
			_, putErr := s.Put(t.Context(), "key", nil)
			_, getErr := s.Get(t.Context(), "key")
			_, listErr := s.List(t.Context(), "", "", 0)
			for _, err := range []error{putErr, getErr, listErr} {
				if !errors.Is(err, objstore.ErrRefused) || objstore.OutcomeOf(err) != objstore.NotCommitted || !bytes.Contains([]byte(err.Error()), []byte(test.want)) {
					t.Fatalf("got %v, want a refusal with %s", err, test.want)
				}
			}
		})
	}
}

// TestServerAway: no connection, and connections that are never answered.
func TestServerAway(t *testing.T) {
	cfg := minioConfig()
	cfg.Endpoint = "http://127.0.0.1:1"
	s := open(t, cfg)
	_, err := s.Put(t.Context(), "key", nil)
	if !errors.Is(err, objstore.ErrUnavailable) || objstore.OutcomeOf(err) != objstore.Unknown {
		t.Fatalf("got %v (%v)", err, objstore.OutcomeOf(err))
	}
	_, err = s.Get(t.Context(), "key")
	if !errors.Is(err, objstore.ErrUnavailable) || objstore.OutcomeOf(err) != objstore.NotCommitted {
		t.Fatalf("got %v (%v)", err, objstore.OutcomeOf(err))
	}

	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Resume(); err != nil {
			t.Fatal(err)
		}
	}()
	cfg = minioConfig()
	cfg.HeaderTimeout = 50 * time.Millisecond
	s = open(t, cfg)
	_, err = s.Put(t.Context(), "key", nil)
	if !errors.Is(err, objstore.ErrUnavailable) || objstore.OutcomeOf(err) != objstore.Unknown {
		t.Fatalf("got %v (%v)", err, objstore.OutcomeOf(err))
	}
}

func TestProbeOnMinIO(t *testing.T) {
	s := open(t, minioConfig())
	if err := objstore.Probe(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if page, err := s.List(t.Context(), "", "", 0); err != nil || len(page.Objects) > 0 {
		t.Fatalf("the probe left %v (%v)", page.Objects, err)
	}
}
