package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const fakeS3Key = "fake-key"

// fakeS3 is a store in memory behind as much of S3's API as a node uses. It
// knows no signatures, but who signs and when; its clock may be off.
type fakeS3 struct {
	url    string // of --store
	server *httptest.Server

	mu      sync.Mutex
	objects map[string][]byte // guarded by mu, like all below
	skew    time.Duration     // how far its clock is ahead
	away    bool              // every connection breaks off
	race    bool              // put-if-absent looks first and writes then
	skewed  int               // requests refused for their time
}

func newFakeS3(t *testing.T) *fakeS3 {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", fakeS3Key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "fake-secret")
	s := &fakeS3{objects: map[string][]byte{}}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	s.url = "s3://bucket/logs?region=us-east-1&endpoint=" + url.QueryEscape(s.server.URL)
	return s
}

func (s *fakeS3) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// skewMax is how far the time of a signature may be off, as S3 has it.
const skewMax = 15 * time.Minute

// raceTime is what a store that looks first and writes then takes in between.
const raceTime = 10 * time.Millisecond

func (s *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	away, now, race := s.away, time.Now().Add(s.skew), s.race
	s.mu.Unlock()
	if away {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	switch {
	case !strings.Contains(r.Header.Get("Authorization"), "Credential="+fakeS3Key+"/"):
		s.refuse(w, http.StatusForbidden, "InvalidAccessKeyId")
		return
	case err != nil || now.Sub(signed).Abs() > skewMax:
		s.set(func() { s.skewed++ })
		s.refuse(w, http.StatusForbidden, "RequestTimeTooSkewed")
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if bucket != "bucket" {
		s.refuse(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	if r.Method == http.MethodPut && race {
		s.mu.Lock()
		_, taken := s.objects[key]
		s.mu.Unlock()
		if !taken {
			time.Sleep(raceTime)
			r.Header.Del("If-None-Match")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	object, there := s.objects[key]
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
		s.list(w, r.URL.Query())
	case r.Method == http.MethodGet && !there:
		s.refuse(w, http.StatusNotFound, "NoSuchKey")
	case r.Method == http.MethodGet:
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(object)))
	case r.Method == http.MethodPut && r.Header.Get("If-None-Match") == "*" && there:
		s.refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
	case r.Method == http.MethodPut && !checksumMatches(r.Header, body):
		s.refuse(w, http.StatusBadRequest, "BadDigest")
	case r.Method == http.MethodPut:
		s.objects[key] = body
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		s.refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	}
}

func (s *fakeS3) refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>in words</Message></Error>", code)
}

func checksumMatches(h http.Header, body []byte) bool {
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return h.Get("X-Amz-Checksum-Crc32c") == base64.StdEncoding.EncodeToString(sum)
}

// list wants mu held.
func (s *fakeS3) list(w http.ResponseWriter, q url.Values) {
	type object struct {
		Key          string
		Size         int
		LastModified time.Time
	}
	var answer struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		Contents    []object
	}
	limit, err := strconv.Atoi(q.Get("max-keys"))
	if err != nil {
		limit = 1000
	}
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.HasPrefix(key, q.Get("prefix")) || key <= q.Get("start-after") {
			continue
		}
		if len(answer.Contents) == limit {
			answer.IsTruncated = true
			break
		}
		answer.Contents = append(answer.Contents, object{key, len(s.objects[key]), time.Now().Add(s.skew)})
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(answer)
}
