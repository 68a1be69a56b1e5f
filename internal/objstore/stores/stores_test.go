package stores_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/stores"
)

func TestOpen(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_REGION", "eu-central-1")
	dir := t.TempDir()
	for _, rawURL := range []string{
		"mem://", "file://" + dir, "file://" + filepath.Join(dir, "new", "folders"), "s3://bucket", "s3://bucket/some/prefix/",
		"s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1&checksum=sha256",
	} {
		_, closeStore, err := stores.Open(t.Context(), rawURL, stores.DefaultOptions())
		if err != nil {
			t.Fatalf("%s: %v", rawURL, err)
		}
		if err := closeStore(); err != nil {
			t.Fatalf("%s: %v", rawURL, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for rawURL, want := range map[string]string{
		"":                                    "should begin with",
		"/var/lib/wadi":                       "should begin with",
		"gs://bucket":                         "should begin with",
		"http://127.0.0.1:9000":               "should begin with",
		"%zz":                                 "not a URL",
		"mem://name":                          "takes nothing",
		"file://./data":                       "absolute path",
		"file:data":                           "absolute path",
		"file://data":                         "absolute path",
		"file:///tmp/x?y=z":                   "no parameters",
		"s3://":                               "not the name of a bucket",
		"s3:///prefix":                        "not the name of a bucket",
		"s3://bucket/../x":                    "segment",
		"s3://bucket/a//b":                    "segment",
		"s3://bucket/sp%20ace":                "character",
		"s3://bucket?endpoint=127.0.0.1:9000": "not an http",
		"s3://bucket?endpoint=":               "one value",
		"s3://bucket?region=a&region=b":       "one value",
		"s3://bucket?regoin=us-east-1":        "unknown parameter",
		"s3://bucket?checksum=md5":            "neither",
		"s3://user:hunter2@bucket":            "credentials do not belong",
		"s3://bucket/x#y":                     "no #y",
		"s3://bucket/" + strings.Repeat("x", 300): "prefix",
	} {
		_, _, err := stores.Open(t.Context(), rawURL, stores.DefaultOptions())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", rawURL, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error tells the password: %v", rawURL, err)
		}
	}
}

// TestS3WantsRegionAndCredentials: what is missing is said at once.
func TestS3WantsRegionAndCredentials(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_, _, err := stores.Open(t.Context(), "s3://bucket", stores.DefaultOptions())
	if err == nil || !strings.Contains(err.Error(), "no region") {
		t.Fatalf("got %v", err)
	}
	_, _, err = stores.Open(t.Context(), "s3://bucket?endpoint=http://127.0.0.1:9000", stores.DefaultOptions())
	if err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Fatalf("got %v", err)
	}
}

func TestOpenCounts(t *testing.T) {
	registry := prometheus.NewRegistry()
	opts := stores.DefaultOptions()
	opts.Registerer = registry
	b, closeStore, err := stores.Open(t.Context(), "mem://", opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), "key", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), "missing"); err == nil {
		t.Fatal("found what is not there")
	}
	if err := closeStore(); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP wadi_store_requests_total Finished requests to the object store, by operation and result.
# TYPE wadi_store_requests_total counter
wadi_store_requests_total{op="get",result="not_found"} 1
wadi_store_requests_total{op="put",result="ok"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "wadi_store_requests_total"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := stores.Open(t.Context(), "mem://", opts); err == nil {
		t.Fatal("two stores count in one registry")
	}
	if err := objstore.Probe(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}
