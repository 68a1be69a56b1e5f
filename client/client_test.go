package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// answered is the error of an answer with a status, and a problem if text is one.
func answered(status int, text string) *Error {
	header := http.Header{"Content-Type": {mediaProblem}}
	if text == "" {
		header = http.Header{}
	}
	return parseProblem(status, header, []byte(text))
}

// TestVerdicts is the table of what a failed request means: may it succeed
// later, is nothing of it stored for sure, is its outcome unknown.
func TestVerdicts(t *testing.T) {
	const no, yes = `{"retryable":false}`, `{"retryable":true}`
	const noEffect = `{"retryable":true,"no_side_effects":true}`
	for name, c := range map[string]struct {
		err                         error
		retryable, noEffect, unsure bool
	}{
		"never connected":            {&ConnectionError{Sent: false, Err: io.EOF}, true, true, false},
		"connection lost":            {&ConnectionError{Sent: true, Err: io.EOF}, true, false, true},
		"400":                        {answered(400, ""), false, false, false},
		"403":                        {answered(403, no), false, false, false},
		"408":                        {answered(408, ""), true, false, true},
		"409":                        {answered(409, ""), false, false, false},
		"429":                        {answered(429, ""), true, false, false},
		"429 without effect":         {answered(429, noEffect), true, true, false},
		"500":                        {answered(500, ""), true, false, true},
		"500 for good":               {answered(500, no), false, false, true},
		"501":                        {answered(501, ""), false, false, true},
		"502":                        {answered(502, ""), true, false, true},
		"503 of a proxy":             {answered(503, ""), true, false, true},
		"503 without effect":         {answered(503, noEffect), true, true, false},
		"504":                        {answered(504, no), true, false, true},
		"redirect that goes on":      {answered(307, ""), false, false, true},
		"wrong answer":               {errors.New("answer with 2 results"), false, false, true},
		"wrapped":                    {fmt.Errorf("x: %w", answered(503, noEffect)), true, true, false},
		"whatever says try again":    {answered(404, yes), true, false, false},
		"wrong argument":             {invalidArgument("x"), false, true, false},
		"never sent":                 {&notSentError{answered(504, "")}, true, true, false},
		"refused after the unknown":  {markUnknown(answered(403, noEffect), true), true, false, true},
		"given up for good":          {&DeliveryError{Err: answered(504, "")}, true, true, false},
		"given up":                   {&DeliveryError{Unknown: true, Err: answered(503, noEffect)}, true, false, true},
		"given up, never sent after": {&DeliveryError{Unknown: true, Err: &notSentError{io.EOF}}, false, false, true},
	} {
		if got := IsRetryable(c.err); got != c.retryable {
			t.Errorf("%s: retryable %v", name, got)
		}
		if got := HadNoEffect(c.err); got != c.noEffect {
			t.Errorf("%s: no effect %v", name, got)
		}
		if got := IsOutcomeUnknown(c.err); got != c.unsure {
			t.Errorf("%s: unknown %v", name, got)
		}
	}
	if IsRetryable(nil) || HadNoEffect(nil) || IsOutcomeUnknown(nil) {
		t.Error("nothing is an error")
	}
}

// TestCodes holds the codes to the table of docs/HTTP.md.
func TestCodes(t *testing.T) {
	text, err := os.ReadFile("../docs/HTTP.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "<!-- errors:begin -->")
	table, _, _ = strings.Cut(table, "<!-- errors:end -->")
	source, err := os.ReadFile("code.go")
	if err != nil {
		t.Fatal(err)
	}
	codesOf := func(text, pattern string) (codes []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			codes = append(codes, m[1]+" "+m[2])
		}
		slices.Sort(codes)
		return codes
	}
	documented := codesOf(table, "(?m)^\\| (\\d+) \\| `(\\w+)`")
	var here []string
	for _, pair := range codesOf(string(source), `Code = "(\w+)"\s*// (\d+)`) {
		code, status, _ := strings.Cut(pair, " ")
		here = append(here, status+" "+code)
	}
	slices.Sort(here)
	for _, code := range documented {
		if !slices.Contains(here, code) {
			t.Errorf("code.go does not name %s", code)
		}
	}
	for _, code := range here {
		if !slices.Contains(documented, code) {
			t.Errorf("docs/HTTP.md has no %s", code)
		}
	}
	if len(here) < 50 {
		t.Errorf("%d codes", len(here))
	}
}

func TestErrorValues(t *testing.T) {
	e := answered(416, `{"title":"T","detail":"D","code":"offset_above_end","retryable":true,"no_side_effects":true,
		"offset":9,"log_start_offset":2,"high_watermark":7,"token":null,"end_offset":"x"}`)
	if e.Code != ErrOffsetAboveEnd || e.LogStartOffset != 2 || e.HighWatermark != 7 || e.EndOffset != NoValue || e.ExpectedSequence != NoValue ||
		e.Token != "" || string(e.Members["offset"]) != "9" || e.Error() != "D (416 offset_above_end)" {
		t.Errorf("%+v", e)
	}
	if !errors.Is(fmt.Errorf("x: %w", e), ErrOffsetAboveEnd) || errors.Is(e, ErrOffsetBelowStart) || errors.Is(answered(500, ""), Code("")) {
		t.Error("codes are mistaken")
	}
	if e := answered(412, `{"token":"me"}`); e.Token != "me" {
		t.Errorf("%+v", e)
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
		tries, waits := 0, 0
		r := NewRetrier(time.Minute, func(error) { waits++ })
		err := r.Do(t.Context(), IsRetryable, func() error {
			if tries++; tries < 4 {
				return &Error{Status: 503, Retryable: true, RetryAfter: 7 * time.Second}
			}
			return nil
		})
		if took := time.Since(began); err != nil || took != 21*time.Second || waits != 3 || r.Retries() != 3 {
			t.Errorf("%v after %s and %d waits", err, took, waits)
		}
	})
}

// TestRetrierCountsFromTheLastSuccess: those that share it keep each other
// going, and it gives up once none of them gets on.
func TestRetrierCountsFromTheLastSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRetrier(10*time.Second, nil)
		began := time.Now()
		done := make(chan error)
		go func() {
			done <- r.Do(t.Context(), IsRetryable, func() error { return &Error{Status: 503, Retryable: true} })
		}()
		for range 5 {
			time.Sleep(8 * time.Second)
			r.progressed()
		}
		err := <-done
		if gaveUp := (*GaveUpError)(nil); !errors.As(err, &gaveUp) || gaveUp.After != 10*time.Second {
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
		err := NewRetrier(time.Hour, nil).Do(ctx, IsRetryable, func() error {
			return &Error{Status: 503, Retryable: true, RetryAfter: time.Minute}
		})
		if took := time.Since(began); err == nil || took != time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// TestRetrierRemembersTheUnknown: a refusal says nothing of the attempt before it.
func TestRetrierRemembersTheUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		err := NewRetrier(time.Hour, nil).Do(t.Context(), IsRetryable, func() error {
			if tries++; tries == 1 {
				return &ConnectionError{Sent: true, Err: io.EOF}
			}
			return answered(403, `{"code":"producer_fenced","no_side_effects":true}`)
		})
		if !errors.Is(err, ErrProducerFenced) || HadNoEffect(err) || !IsOutcomeUnknown(err) {
			t.Errorf("%v", err)
		}
	})
}

func TestExchange(t *testing.T) {
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
		"/problem": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaProblem)
			w.WriteHeader(412)
			_, _ = io.WriteString(w, `{"detail":"refused","code":"offset_mismatch","end_offset":7}`)
		},
		"/pre/v1/topics/a%20b": func(w http.ResponseWriter, r *http.Request) {
			if agent := r.UserAgent(); agent != "test/1" {
				http.Error(w, agent, 400)
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"name": "a b", "partitions": 1})
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
	for path, want := range map[string]string{
		"large": "over the limit of 100", "stream": "over the limit of 100", "exact": "", "text": "over; there (502)",
		"html": "Bad Gateway (502)", "problem": "refused (412 offset_mismatch)", "none": "no /none (404)",
	} {
		c, err := New(Config{Servers: []string{server.URL}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.attempt(t.Context(), request{method: "GET", path: []string{path}, answerMax: 100})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", path, err)
		}
		c.Close()
	}
	c, err := New(Config{Servers: []string{strings.TrimPrefix(server.URL, "http://") + "/pre/"}, UserAgent: "test/1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if topic, err := c.GetTopic(t.Context(), "a b"); err != nil || topic.Name != "a b" {
		t.Errorf("%+v, %v", topic, err)
	}
	for _, servers := range [][]string{nil, {"ftp://x"}, {"http://"}, {"http://x?y=1"}, {"http://ok", "://"}} {
		if _, err := New(Config{Servers: servers}); err == nil {
			t.Errorf("servers %q are taken", servers)
		}
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
	c, err := New(Config{Servers: []string{address}, RetryTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Append(t.Context(), "t", 0, []Record{{}}, AppendOptions{})
	if !HadNoEffect(err) || IsOutcomeUnknown(err) || !IsRetryable(err) {
		t.Errorf("%v: no effect %v, unknown %v", err, HadNoEffect(err), IsOutcomeUnknown(err))
	}
}

// TestServers: who cannot be reached or does not want to serve is passed over for
// a while, and requests about one partition keep to one server.
func TestServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.create("t", 1)
		c := l.client(t, "http://a", "http://b", "http://c")
		ask := func(times int) map[string]int {
			t.Helper()
			l.hosts = nil
			for range times {
				if _, err := c.GetTopic(t.Context(), "t"); err != nil {
					t.Fatal(err)
				}
			}
			counts := map[string]int{}
			for _, host := range l.hosts {
				counts[host]++
			}
			return counts
		}
		if got := ask(30); got["a"] != 10 || got["b"] != 10 || got["c"] != 10 {
			t.Errorf("all are well: %v", got)
		}
		l.unreachable, l.unwilling = map[string]bool{"a": true}, map[string]bool{"b": true}
		if got := ask(30); got["a"] != 1 || got["b"] != 1 || got["c"] != 30 {
			t.Errorf("one is well: %v", got)
		}
		time.Sleep(restMax)
		if got := ask(30); got["a"] != 1 || got["b"] != 1 || got["c"] != 30 {
			t.Errorf("one is well after a while: %v", got)
		}
		l.unreachable, l.unwilling = nil, nil
		time.Sleep(restMax)
		if got := ask(30); got["a"] != 10 {
			t.Errorf("all are well again: %v", got)
		}
		l.hosts = nil
		for range 10 {
			if _, err := c.Append(t.Context(), "t", 0, []Record{{}}, AppendOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if one := slices.Compact(l.hosts); len(one) != 1 {
			t.Errorf("appends to one partition went to %v", one)
		}
		l.unreachable = map[string]bool{"a": true, "b": true, "c": true}
		if _, err := c.WithRetryTimeout(-1).GetTopic(t.Context(), "t"); !HadNoEffect(err) {
			t.Errorf("%v", err)
		}
	})
}

// TestAppendRepeats: only what the log recognises is repeated where the outcome
// is unknown.
func TestAppendRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.create("t", 1)
		c := l.client(t)
		id, epoch, err := c.NewProducerID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l.fault = planned([]fault{{kind: faultBusy}, {kind: faultLost}, {}, {kind: faultBusy}, {kind: faultLost}, {}})
		opts := AppendOptions{Sequence: &Sequence{ProducerID: id, Epoch: epoch}}
		if a, err := c.Append(t.Context(), "t", 0, []Record{{}}, opts); err != nil || !a.Duplicate || l.produced != 3 {
			t.Errorf("%+v, %v after %d requests", a, err, l.produced)
		}
		if _, err := c.Append(t.Context(), "t", 0, []Record{{}}, AppendOptions{}); !IsOutcomeUnknown(err) || l.produced != 5 {
			t.Errorf("%v after %d requests", err, l.produced)
		}
	})
}

func TestParseLines(t *testing.T) {
	for text, want := range map[string]int{
		"{\"first_record\":0,\"count\":2,\"results\":[{\"base_offset\":7,\"count\":2}]}\n{\"done\":true,\"records\":5}\n": 5,
		"{\"count\":2,\"results\":[{\"count\":2}]}\n{\"status\":503,\"code\":\"overloaded\",\"records\":2}\n":             -1,
		"{\"count\":2,\"results\":[{\"count\":2}]}\n":                                                                     -1,
		"": -1, "{": -1,
	} {
		a, err := parseLines(response{body: []byte(text)}, 0)
		if want < 0 && (err == nil || !IsOutcomeUnknown(err)) || want >= 0 && (err != nil || a.Count != want || a.BaseOffset != 7) {
			t.Errorf("%q: %+v, %v", text, a, err)
		}
	}
}

func TestNextOffset(t *testing.T) {
	for _, c := range []struct {
		header, body string
		want         int64 // -1: none
	}{
		{"17", "", 17},
		{"", `{"records":[{"value":"\"next_offset\":3"}],"next_offset":12,"high_watermark":20}`, 12},
		{"", `{"records":[],"next_offset":10}`, 10},
		{"", `{"records":[],"next_offset":10`, -1},
		{"", "", -1},
	} {
		header := http.Header{}
		if c.header != "" {
			header.Set("Wadi-Next-Offset", c.header)
		}
		if got, err := nextOffset(response{header: header, body: []byte(c.body)}); c.want < 0 && err == nil || c.want >= 0 && (err != nil || got != c.want) {
			t.Errorf("%q: %d, %v", c.body, got, err)
		}
	}
}

// TestFetchedChecks: records that are left out, come twice or are damaged are
// not passed on, those before them are.
func TestFetchedChecks(t *testing.T) {
	batch := func(base int64, n int) []byte {
		b, err := recordbatch.Append(nil, make([]recordbatch.Record, n), recordbatch.None, recordbatch.NoProducer)
		if err != nil {
			t.Fatal(err)
		}
		recordbatch.PatchBaseOffset(b, recordbatch.Offset(base))
		return b
	}
	damaged := batch(10, 2)
	damaged[len(damaged)-1] ^= 1
	for name, c := range map[string]struct {
		from int64
		body []byte
		next int64
		want string
	}{
		"begins before": {7, slices.Concat(batch(5, 5), batch(10, 2)), 12, ""},
		"gap":           {5, slices.Concat(batch(5, 5), batch(11, 2)), 10, "offset 11 where 10 should be"},
		"twice":         {5, slices.Concat(batch(5, 5), batch(9, 2)), 10, "offset 9 where 10 should be"},
		"too late":      {4, batch(5, 5), 4, "offset 5 where 4 should be"},
		"damaged":       {5, slices.Concat(batch(5, 5), damaged), 10, "CRC32C does not match"},
		"cut":           {5, slices.Concat(batch(5, 5), batch(10, 2)[:50]), 10, "truncated"},
		"wholly before": {8, slices.Concat(batch(5, 2), batch(7, 3)), 10, ""},
	} {
		f := &Fetched{NextOffset: c.from}
		err := f.read(c.body)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
		if f.NextOffset != c.next || f.Len() != int(c.next-c.from) {
			t.Errorf("%s: %d records up to %d", name, f.Len(), f.NextOffset)
		}
		offset := c.from
		for r := range f.Records() {
			if r.Offset != offset {
				t.Errorf("%s: offset %d at %d", name, r.Offset, offset)
			}
			offset++
		}
		f.cut(c.from + 1)
		if want := min(1, int(c.next-c.from)); f.Len() != want || f.NextOffset != c.from+int64(want) {
			t.Errorf("%s: %d records up to %d when cut", name, f.Len(), f.NextOffset)
		}
	}
}

func TestPartitionOf(t *testing.T) {
	// murmur2 as in Kafka's own test, UtilsTest#testMurmur2.
	for key, hash := range map[string]int32{"21": -973932308, "foobar": -790332482, "abc": 479470107} {
		for _, partitions := range []int32{1, 3, 12} {
			if got, want := PartitionOf([]byte(key), partitions), (hash&0x7fffffff)%partitions; got != want {
				t.Errorf("%q of %d: %d, not %d", key, partitions, got, want)
			}
		}
	}
}
