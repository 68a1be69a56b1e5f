package s3store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/s3store"
)

const testDate = "Tue, 03 Feb 2026 04:05:06 GMT"

// fake opens a driver on a server that answers as a test wants.
func fake(t *testing.T, answer http.HandlerFunc) *s3store.Store {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", testDate)
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	cfg := s3store.DefaultConfig()
	cfg.Bucket, cfg.Prefix, cfg.Endpoint, cfg.AccessKey, cfg.SecretKey = "bucket", "pre/fix", server.URL, "key", "secret12"
	return open(t, cfg)
}

func s3Error(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if code != "" {
		_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>in words</Message></Error>`, code)
	}
}

// TestWriteErrors is what the answers of a store say about a write. Each is
// asked once: the driver repeats nothing.
func TestWriteErrors(t *testing.T) {
	const unknown, not = objstore.Unknown, objstore.NotCommitted
	for _, test := range []struct {
		op      string
		status  int
		code    string
		kind    error
		outcome objstore.Outcome
	}{
		{objstore.OpPutIfAbsent, 412, "PreconditionFailed", objstore.ErrExists, not},
		{objstore.OpPutIfAbsent, 412, "", objstore.ErrExists, not},
		{objstore.OpPutIfAbsent, 409, "ConditionalRequestConflict", objstore.ErrConflict, not},
		{objstore.OpPutIfAbsent, 409, "OperationAborted", objstore.ErrConflict, not},
		{objstore.OpPutIfAbsent, 409, "", objstore.ErrConflict, not},
		{objstore.OpPutIfAbsent, 501, "NotImplemented", objstore.ErrUnsupported, not},
		{objstore.OpPutIfAbsent, 400, "NotImplemented", objstore.ErrUnsupported, not},
		{objstore.OpPut, 412, "PreconditionFailed", objstore.ErrRefused, not},
		{objstore.OpPut, 400, "BadDigest", objstore.ErrChecksum, not},
		{objstore.OpPut, 400, "XAmzContentChecksumMismatch", objstore.ErrChecksum, not},
		{objstore.OpPut, 400, "XAmzContentSHA256Mismatch", objstore.ErrChecksum, not},
		{objstore.OpPut, 400, "InvalidRequest", objstore.ErrRefused, not},
		{objstore.OpPut, 400, "RequestTimeout", objstore.ErrUnavailable, unknown},
		{objstore.OpPut, 400, "IncompleteBody", objstore.ErrUnavailable, unknown},
		{objstore.OpPut, 403, "AccessDenied", objstore.ErrRefused, not},
		{objstore.OpPut, 403, "RequestTimeTooSkewed", objstore.ErrUnavailable, not},
		{objstore.OpPut, 404, "NoSuchBucket", objstore.ErrRefused, not},
		{objstore.OpPut, 404, "", objstore.ErrRefused, not},
		{objstore.OpPut, 301, "PermanentRedirect", objstore.ErrRefused, not},
		{objstore.OpPut, 307, "TemporaryRedirect", objstore.ErrRefused, not},
		{objstore.OpPut, 408, "", objstore.ErrUnavailable, unknown},
		{objstore.OpPut, 413, "", objstore.ErrRefused, not},
		{objstore.OpPut, 429, "TooManyRequests", objstore.ErrThrottled, unknown},
		{objstore.OpPut, 500, "InternalError", objstore.ErrUnavailable, unknown},
		{objstore.OpPut, 500, "", objstore.ErrUnavailable, unknown},
		{objstore.OpPut, 502, "", objstore.ErrUnavailable, unknown},
		{objstore.OpPut, 503, "SlowDown", objstore.ErrThrottled, unknown},
		{objstore.OpPut, 503, "SlowDownWrite", objstore.ErrThrottled, unknown},
		{objstore.OpPut, 503, "", objstore.ErrThrottled, unknown},
		{objstore.OpPut, 504, "", objstore.ErrUnavailable, unknown},
		{objstore.OpPut, 507, "XMinioStorageFull", objstore.ErrUnavailable, unknown},
		{objstore.OpDelete, 500, "InternalError", objstore.ErrUnavailable, unknown},
		{objstore.OpDelete, 403, "AccessDenied", objstore.ErrRefused, not},
		{objstore.OpAbortUpload, 503, "SlowDown", objstore.ErrThrottled, unknown},
	} {
		t.Run(fmt.Sprintf("%s/%d/%s", test.op, test.status, test.code), func(t *testing.T) {
			var requests atomic.Int64
			s := fake(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				s3Error(w, test.status, test.code)
			})
			var err error
			switch test.op {
			case objstore.OpPut:
				_, err = s.Put(t.Context(), "key", []byte("body"))
			case objstore.OpPutIfAbsent:
				_, err = s.PutIfAbsent(t.Context(), "key", []byte("body"))
			case objstore.OpDelete:
				_, err = s.Delete(t.Context(), "key")
			case objstore.OpAbortUpload:
				err = s.AbortUpload(t.Context(), objstore.Upload{Key: "key", ID: "id"})
			}
			if !errors.Is(err, test.kind) || objstore.OutcomeOf(err) != test.outcome {
				t.Fatalf("got %v (%v), want %v (%v)", err, objstore.OutcomeOf(err), test.kind, test.outcome)
			}
			if !strings.Contains(err.Error(), fmt.Sprintf("status %d", test.status)) || !strings.Contains(err.Error(), test.code) {
				t.Fatalf("the error does not tell status and code: %v", err)
			}
			if got := objstore.DateOf(err).Format(http.TimeFormat); got != testDate {
				t.Fatalf("date %s", got)
			}
			if requests.Load() != 1 {
				t.Fatalf("%d requests", requests.Load())
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	for _, test := range []struct {
		status int
		code   string
		kind   error
	}{
		{404, "NoSuchKey", objstore.ErrNotFound},
		{404, "NoSuchBucket", objstore.ErrRefused},
		{404, "", objstore.ErrRefused}, // not the word of a store
		{416, "InvalidRange", objstore.ErrInvalidRange},
		{403, "AccessDenied", objstore.ErrRefused},
		{500, "InternalError", objstore.ErrUnavailable},
		{503, "SlowDownRead", objstore.ErrThrottled},
	} {
		s := fake(t, func(w http.ResponseWriter, _ *http.Request) { s3Error(w, test.status, test.code) })
		_, getErr := s.Get(t.Context(), "key")
		_, rangeErr := s.GetRange(t.Context(), "key", 0, 1)
		_, listErr := s.List(t.Context(), "", "", 0)
		_, uploadsErr := s.ListUploads(t.Context(), "")
		for _, err := range []error{getErr, rangeErr, listErr, uploadsErr} {
			if !errors.Is(err, test.kind) || objstore.OutcomeOf(err) != objstore.NotCommitted {
				t.Errorf("%d %s: got %v (%v), want %v", test.status, test.code, err, objstore.OutcomeOf(err), test.kind)
			}
		}
	}
}

// TestPutRequest looks at what goes over the wire.
func TestPutRequest(t *testing.T) {
	var got http.Header
	var path, query, body string
	s := fake(t, func(_ http.ResponseWriter, r *http.Request) {
		read, _ := io.ReadAll(r.Body)
		got, path, query, body = r.Header.Clone(), r.URL.Path, r.URL.RawQuery, string(read)
		got.Set("Content-Length", fmt.Sprint(r.ContentLength))
	})
	large := strings.Repeat("x", 3<<20) // above the SDK's threshold for Expect
	receipt, err := s.PutIfAbsent(t.Context(), "a/key=1", []byte(large))
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Date.Format(http.TimeFormat) != testDate {
		t.Fatalf("date %v", receipt.Date)
	}
	if path != "/bucket/pre/fix/a/key=1" || body != large {
		t.Fatalf("%d bytes at %s?%s", len(body), path, query)
	}
	for name, want := range map[string]string{
		"If-None-Match":                "*",
		"X-Amz-Content-Sha256":         "UNSIGNED-PAYLOAD",
		"Content-Length":               fmt.Sprint(len(large)),
		"Expect":                       "",
		"X-Amz-Trailer":                "",
		"Content-Encoding":             "",
		"Accept-Encoding":              "identity",
		"X-Amz-Sdk-Checksum-Algorithm": "",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
	if _, err := s.Put(t.Context(), "key", []byte("123456789")); err != nil {
		t.Fatal(err)
	}
	// The check value of CRC-32/ISCSI, e3069283.
	if got.Get("If-None-Match") != "" || got.Get("X-Amz-Checksum-Crc32c") != "4waSgw==" {
		t.Fatalf("headers of a plain put: %v", got)
	}
}

func TestBodyEndsEarly(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", "bytes 0-99/500")
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", "500")
		}
		_, _ = w.Write(make([]byte, 40))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	_, getErr := s.Get(t.Context(), "key")
	_, rangeErr := s.GetRange(t.Context(), "key", 0, 100)
	for _, err := range []error{getErr, rangeErr} {
		if !errors.Is(err, objstore.ErrUnavailable) || objstore.DateOf(err).IsZero() {
			t.Fatalf("got %v", err)
		}
	}
}

func TestWrongRanges(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		header string
		length int
		want   error
	}{
		{"range ignored", 200, "", 500, objstore.ErrUnsupported},
		{"no header", 206, "", 100, objstore.ErrUnsupported},
		{"no total", 206, "bytes 10-109/*", 100, objstore.ErrUnsupported},
		{"other start", 206, "bytes 9-108/500", 100, objstore.ErrUnavailable},
		{"other start, same end", 206, "bytes 9-109/500", 100, objstore.ErrUnavailable},
		{"too long", 206, "bytes 10-110/500", 101, objstore.ErrUnavailable},
		{"too short", 206, "bytes 10-108/500", 99, objstore.ErrUnavailable},
		{"object ends before", 206, "bytes 10-59/60", 50, objstore.ErrInvalidRange},
		{"length differs", 206, "bytes 10-109/500", 99, objstore.ErrUnavailable},
		{"beyond its total", 206, "bytes 10-109/100", 100, objstore.ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
				if test.header != "" {
					w.Header().Set("Content-Range", test.header)
				}
				w.Header().Set("Content-Length", fmt.Sprint(test.length))
				w.WriteHeader(test.status)
				_, _ = w.Write(make([]byte, test.length))
			})
			_, err := s.GetRange(t.Context(), "key", 10, 100)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestBodyTooLarge(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "9000000000000") })
	if _, err := s.Get(t.Context(), "key"); !errors.Is(err, objstore.ErrRefused) {
		t.Fatalf("got %v", err)
	}
}

// TestBodyOfUnknownLength comes in chunks, which have an end of their own.
func TestBodyOfUnknownLength(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("in "))
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write([]byte("chunks"))
	})
	o, err := s.Get(t.Context(), "key")
	if err != nil || string(o.Body) != "in chunks" || o.Size != 9 {
		t.Fatalf("%q of %d (%v)", o.Body, o.Size, err)
	}
}

func TestListRequest(t *testing.T) {
	var query string
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		_, _ = io.WriteString(w, `<ListBucketResult><IsTruncated>true</IsTruncated>
			<Contents><Key>pre/fix/j/2</Key><Size>5</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>
			<Contents><Key>pre/fix/j/3</Key><Size>0</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents></ListBucketResult>`)
	})
	page, err := s.List(t.Context(), "j/", "j/1", 2)
	if err != nil {
		t.Fatal(err)
	}
	want := "list-type=2&max-keys=2&prefix=pre%2Ffix%2Fj%2F&start-after=pre%2Ffix%2Fj%2F1"
	if query != want {
		t.Fatalf("query %s, want %s", query, want)
	}
	if len(page.Objects) != 2 || page.Objects[0].Key != "j/2" || page.Objects[0].Size != 5 || !page.More || page.Date.IsZero() {
		t.Fatalf("page %+v", page)
	}
}

// TestListOfUnsoundStore: a listing that is not in order, or does not begin where
// it should, would make a replica believe that slots are missing.
func TestListOfUnsoundStore(t *testing.T) {
	for _, keys := range [][]string{
		{"pre/fix/j/1"}, {"pre/fix/j/3", "pre/fix/j/2"}, {"pre/fix/j/2", "pre/fix/j/2"}, {"pre/fix/x/1"}, {"other/j/2"},
	} {
		s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<ListBucketResult><IsTruncated>false</IsTruncated>")
			for _, key := range keys {
				_, _ = fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>5</Size></Contents>", key)
			}
			_, _ = io.WriteString(w, "</ListBucketResult>")
		})
		if _, err := s.List(t.Context(), "j/", "j/1", 0); !errors.Is(err, objstore.ErrUnsupported) {
			t.Errorf("%q: got %v", keys, err)
		}
	}
}

// TestGarbageAnswers: an answer that is no XML is no success.
func TestGarbageAnswers(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>please log in") })
	if page, err := s.List(t.Context(), "", "", 0); err == nil {
		t.Fatalf("listing %+v", page)
	}
	if _, err := s.PutStream(t.Context(), "key", bytes.NewReader(make([]byte, 9<<20))); err == nil {
		t.Fatal("a stream succeeded")
	}
}

// TestLostAnswers: the connection breaks, or the context ends, before an answer.
func TestLostAnswers(t *testing.T) {
	arrived := make(chan struct{}, 1)
	hang := make(chan struct{})
	defer close(hang)
	s := fake(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if strings.HasSuffix(r.URL.Path, "hang") {
			arrived <- struct{}{}
			<-hang
		}
		panic(http.ErrAbortHandler)
	})
	_, err := s.PutIfAbsent(t.Context(), "broken", []byte("body"))
	if !errors.Is(err, objstore.ErrUnavailable) || objstore.OutcomeOf(err) != objstore.Unknown {
		t.Fatalf("got %v (%v)", err, objstore.OutcomeOf(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err = s.PutIfAbsent(ctx, "hang", []byte("body"))
	if !errors.Is(err, context.Canceled) || objstore.OutcomeOf(err) != objstore.Unknown {
		t.Fatalf("got %v (%v)", err, objstore.OutcomeOf(err))
	}
}

// TestStreamOutcomes: until the last request of an upload nothing can be there;
// if that one gets no answer, nobody knows.
func TestStreamOutcomes(t *testing.T) {
	for _, test := range []struct {
		name    string
		fails   func(*http.Request) bool
		status  int
		outcome objstore.Outcome
	}{
		{"begin", func(r *http.Request) bool { return r.URL.Query().Has("uploads") }, 500, objstore.NotCommitted},
		{"part", func(r *http.Request) bool { return r.URL.Query().Get("partNumber") == "2" }, 500, objstore.NotCommitted},
		{"complete", func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") }, 500, objstore.Unknown},
		{"complete, error in a 200", func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") }, 200, objstore.Unknown},
		{"complete of an aborted upload", func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") }, 404, objstore.NotCommitted},
	} {
		t.Run(test.name, func(t *testing.T) {
			aborted := false
			s := fake(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				switch {
				case test.fails(r):
					code := "InternalError"
					if test.status == 404 {
						code = "NoSuchUpload"
					}
					s3Error(w, test.status, code)
				case r.URL.Query().Has("uploads"):
					_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>")
				case r.Method == http.MethodDelete:
					aborted = r.URL.Query().Get("uploadId") == "id"
					w.WriteHeader(http.StatusNoContent)
				default:
					w.Header().Set("ETag", `"etag"`)
				}
			})
			_, err := s.PutStream(t.Context(), "key", bytes.NewReader(make([]byte, 17<<20)))
			if err == nil || objstore.OutcomeOf(err) != test.outcome {
				t.Fatalf("got %v (%v), want %v", err, objstore.OutcomeOf(err), test.outcome)
			}
			if want := test.name != "begin"; aborted != want {
				t.Fatalf("aborted: %v, want %v", aborted, want)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*s3store.Config){
		"bucket":       func(c *s3store.Config) { c.Bucket = "" },
		"bucket/slash": func(c *s3store.Config) { c.Bucket = "a/b" },
		"prefix":       func(c *s3store.Config) { c.Prefix = "/a" },
		"endpoint":     func(c *s3store.Config) { c.Endpoint = "ftp://x" },
		"one key":      func(c *s3store.Config) { c.AccessKey = "x" },
		"checksum":     func(c *s3store.Config) { c.Checksum = "" },
		"small part":   func(c *s3store.Config) { c.PartBytes = 1 << 20 },
		"large part":   func(c *s3store.Config) { c.PartBytes = 1 << 30 },
		"conns":        func(c *s3store.Config) { c.ConnsMax = 0 },
		"dial":         func(c *s3store.Config) { c.DialTimeout = 0 },
		"header":       func(c *s3store.Config) { c.HeaderTimeout = -time.Second },
	} {
		cfg := s3store.DefaultConfig()
		cfg.Bucket = "bucket"
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if err := cfg.Validate(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
