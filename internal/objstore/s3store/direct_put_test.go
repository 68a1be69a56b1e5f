package s3store

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// PUTs go without the SDK where that makes no difference: for keys that stand in a
// URL as they are, in a bucket whose requests get a CRC32C and a plain signature.
func TestWhichPutsAreDirect(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		key    string
		direct bool
	}{
		{"segment", func(*Config) {}, "segments/0f/01JDB2N6Q0W4D1BT8XJ3CR5H7K.seg", true},
		{"prefix", func(c *Config) { c.Prefix = "a/b-c_d.e" }, "catalog/000/journal/00000000000000000001", true},
		{"prefix to be escaped", func(c *Config) { c.Prefix = "a=b" }, "key", false},
		{"SHA-256", func(c *Config) { c.Checksum = ChecksumSHA256 }, "key", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got *http.Request
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r
				_, _ = io.Copy(io.Discard, r.Body)
			}))
			defer server.Close()
			cfg := DefaultConfig()
			cfg.Bucket, cfg.Endpoint, cfg.AccessKey, cfg.SecretKey = "bucket", server.URL, "access/key", "secret"
			cfg.Region = "eu-south-9"
			c.change(&cfg)
			s, err := New(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.PutIfAbsent(t.Context(), c.key, []byte("body")); err != nil {
				t.Fatal(err)
			}
			if direct := got.Header.Get("User-Agent") == "wadi"; direct != c.direct {
				t.Errorf("direct is %t, headers %v", direct, got.Header)
			}
			if want := "/bucket/" + s.prefix + c.key; got.URL.Path != want || got.ContentLength != 4 || got.Header.Get("If-None-Match") != "*" {
				t.Errorf("%s of %d bytes, headers %v; want %s", got.URL.Path, got.ContentLength, got.Header, want)
			}
			if scope := "Credential=access/key/" + got.Header.Get("X-Amz-Date")[:8] + "/eu-south-9/s3/aws4_request"; !strings.Contains(got.Header.Get("Authorization"), scope) {
				t.Errorf("signed with %q, want %s", got.Header.Get("Authorization"), scope)
			}
		})
	}
}

// On AWS the bucket is in the name of the host. Nothing is sent to find that out.
func TestAddressOnAWS(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Bucket, cfg.AccessKey, cfg.SecretKey, cfg.Region = "bucket", "access", "secret", "eu-south-1"
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if want := "https://bucket.s3.eu-south-1.amazonaws.com/"; s.direct == nil || s.direct.base != want {
		t.Errorf("PUTs go to %+v, want %s", s.direct, want)
	}
	cfg.Bucket = "bucket--use1-az4--x-s3"
	if s, err = New(t.Context(), cfg); err != nil || s.direct != nil {
		t.Errorf("a directory bucket: %v, direct %+v", err, s.direct)
	}
}

// BenchmarkPutHere is the cost of a PUT to this process, with that of a server which
// only reads the body.
func BenchmarkPutHere(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"x"`)
	}))
	defer server.Close()
	cfg := DefaultConfig()
	cfg.Bucket, cfg.Endpoint, cfg.AccessKey, cfg.SecretKey = "bucket", server.URL, "access", "secret"
	s, err := New(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for _, n := range []int{2 << 10, 64 << 10, 8 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", n), func(b *testing.B) {
			body := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Put(context.Background(), "segments/00/x.seg", body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
