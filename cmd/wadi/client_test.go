package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestVerdicts is the table of what a failed request means: may it succeed
// later, is nothing of it stored for sure, is its outcome unknown.
func TestVerdicts(t *testing.T) {
	yes, no := true, false
	for name, c := range map[string]struct {
		err                         error
		temporary, noEffect, unsure bool
	}{
		"never connected":         {&transportError{sent: false, err: io.EOF}, true, true, false},
		"connection lost":         {&transportError{sent: true, err: io.EOF}, true, false, true},
		"400":                     {&problemError{Status: 400}, false, false, false},
		"403":                     {&problemError{Status: 403, Retryable: &no}, false, false, false},
		"408":                     {&problemError{Status: 408}, true, false, true},
		"409":                     {&problemError{Status: 409}, false, false, false},
		"429":                     {&problemError{Status: 429}, true, false, false},
		"429 without effect":      {&problemError{Status: 429, NoSideEffects: true}, true, true, false},
		"500":                     {&problemError{Status: 500}, true, false, true},
		"500 for good":            {&problemError{Status: 500, Retryable: &no}, false, false, true},
		"501":                     {&problemError{Status: 501}, false, false, true},
		"502":                     {&problemError{Status: 502}, true, false, true},
		"503 of a proxy":          {&problemError{Status: 503}, true, false, true},
		"503 without effect":      {&problemError{Status: 503, Retryable: &yes, NoSideEffects: true}, true, true, false},
		"504":                     {&problemError{Status: 504, Retryable: &no}, true, false, true},
		"redirect that goes on":   {&problemError{Status: 307}, false, false, true},
		"wrong answer":            {errors.New("answer with 2 results"), false, false, true},
		"wrapped":                 {fmt.Errorf("x: %w", &problemError{Status: 503, NoSideEffects: true}), true, true, false},
		"whatever says try again": {&problemError{Status: 404, Retryable: &yes}, true, false, false},
	} {
		if got := isTemporary(c.err); got != c.temporary {
			t.Errorf("%s: temporary %v", name, got)
		}
		if got := hadNoEffect(c.err); got != c.noEffect {
			t.Errorf("%s: no effect %v", name, got)
		}
		if got := isUnknown(c.err); got != c.unsure {
			t.Errorf("%s: unknown %v", name, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %s", value, got)
		}
	}
}

func TestRetrierWaitsAsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		tries := 0
		r := newRetrier(time.Minute, nil)
		err := r.do(t.Context(), isTemporary, func() error {
			if tries++; tries < 4 {
				return &problemError{Status: 503, RetryAfter: 7 * time.Second}
			}
			return nil
		})
		if took := time.Since(began); err != nil || took != 21*time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// TestRetrierCountsFromTheLastSuccess: those that share it keep each other
// going, and it gives up once none of them gets on.
func TestRetrierCountsFromTheLastSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRetrier(10*time.Second, nil)
		began := time.Now()
		done := make(chan error)
		go func() {
			done <- r.do(t.Context(), isTemporary, func() error { return &problemError{Status: 503} })
		}()
		for range 5 {
			time.Sleep(8 * time.Second)
			r.progressed()
		}
		err := <-done
		if gaveUp := (*gaveUpError)(nil); !errors.As(err, &gaveUp) || gaveUp.after != 10*time.Second {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != 50*time.Second {
			t.Errorf("gave up after %s", took)
		}
	})
}

func TestRetrierEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := newRetrier(time.Hour, nil).do(ctx, isTemporary, func() error {
			return &problemError{Status: 503, RetryAfter: time.Minute}
		})
		if took := time.Since(began); err == nil || took != time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestClientAnswers(t *testing.T) {
	handler := map[string]http.HandlerFunc{
		"/large": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 101)) },
		"/stream": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 60))
			w.(http.Flusher).Flush()
			_, _ = w.Write(make([]byte, 60))
		},
		"/exact": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100)) },
		"/text":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "over\nthere", http.StatusBadGateway) },
		"/html": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(502)
		},
		"/problem": func(w http.ResponseWriter, _ *http.Request) { reject(w, 412, "offset_mismatch", `,"end_offset":7`) },
		"/pre/v1/topics/a%20b": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 200, map[string]any{"name": "a b", "partitions": 1})
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := handler[r.URL.EscapedPath()]; h != nil {
			h(w, r)
			return
		}
		http.Error(w, "no "+r.URL.EscapedPath(), 404)
	}))
	defer server.Close()
	env := &environment{}
	for path, want := range map[string]string{
		"large": "over the limit of 100", "stream": "over the limit of 100", "exact": "", "text": "over; there (502)",
		"html": "Bad Gateway (502)", "problem": "refused by the test (412 offset_mismatch)", "none": "no /none (404)",
	} {
		c, err := newClient(env, server.URL, 1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.do(t.Context(), request{method: "GET", path: []string{path}, answerMax: 100})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", path, err)
		}
		c.close()
	}
	c, err := newClient(env, strings.TrimPrefix(server.URL, "http://")+"/pre/", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if info, err := c.topic(t.Context(), "a b"); err != nil || info.Name != "a b" {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestConnectionRefusedIsNotSent rests on what the operating system and
// net/http really say.
func TestConnectionRefusedIsNotSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := newClient(&environment{}, address, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	_, err = c.do(t.Context(), request{method: "POST", path: []string{"x"}, body: []byte("x")})
	if !hadNoEffect(err) || isUnknown(err) || !isTemporary(err) {
		t.Errorf("%v: no effect %v, unknown %v", err, hadNoEffect(err), isUnknown(err))
	}
}
