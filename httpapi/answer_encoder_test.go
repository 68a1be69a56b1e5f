package httpapi

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/wadilog/wadi/internal/recordbatch"
)

func TestAcceptedCoding(t *testing.T) {
	for accept, want := range map[string]wantedCoding{
		"":                                     {},
		"identity":                             {},
		"gzip":                                 {codingGzip, false},
		"GZip":                                 {codingGzip, false},
		"x-gzip":                               {codingGzip, false},
		"zstd":                                 {codingZstd, false},
		"gzip, zstd":                           {codingZstd, false},
		"gzip, deflate, br, zstd":              {codingZstd, false},
		"gzip;q=1, zstd;q=0.5":                 {codingGzip, false},
		"gzip; q=0.5 , zstd;Q=0.6":             {codingZstd, false},
		"br":                                   {},
		"br, *":                                {codingGzip, false},
		"*":                                    {codingGzip, false},
		"*;q=0":                                {},
		"zstd, *;q=0":                          {codingZstd, true},
		"*, gzip;q=0":                          {},
		"gzip;q=0":                             {},
		"gzip;q=0, zstd;q=0":                   {},
		"gzip;q=0.000, zstd;q=0.001":           {codingZstd, false},
		"gzip, identity":                       {codingGzip, false},
		"gzip;q=0.5, identity":                 {},
		"gzip;q=0.5, identity;q=0.5":           {codingGzip, false},
		"gzip;q=0.5, identity;q=0":             {codingGzip, true},
		"identity;q=0":                         {},
		"identity;q=0, *":                      {codingGzip, true},
		"gzip;q=2":                             {},
		"gzip;q=-1":                            {},
		"gzip;q=x, zstd;q=NaN":                 {},
		"gzip;q=":                              {},
		"gzip;level=9":                         {},
		", ,gzip,,":                            {codingGzip, false},
		"gzip;q=0, gzip;q=1":                   {codingGzip, false},
		"zstd;q=0.5, *;q=0.8":                  {codingGzip, false},
		"gzip zstd":                            {},
		strings.Repeat("br,", 10_000) + "gzip": {codingGzip, false},
	} {
		r := &http.Request{Header: http.Header{}}
		if accept != "" {
			r.Header.Set("Accept-Encoding", accept)
		}
		if got := acceptedCoding(r); got != want {
			t.Errorf("%.80q gives %+v, want %+v", accept, got, want)
		}
	}
	r := &http.Request{Header: http.Header{"Accept-Encoding": {"gzip;q=0.5", "zstd"}}}
	if got := acceptedCoding(r); got.coding != codingZstd {
		t.Errorf("two headers give %+v", got)
	}
}

// plain decodes an answer as its header says.
func (g answer) plain(t *testing.T) []byte {
	t.Helper()
	var text []byte
	var err error
	switch c := g.header.Get("Content-Encoding"); c {
	case "":
		return g.body
	case "gzip":
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(g.body)); err == nil {
			text, err = io.ReadAll(r)
		}
	case "zstd":
		d, newErr := zstd.NewReader(nil)
		if newErr != nil {
			t.Fatal(newErr)
		}
		defer d.Close()
		text, err = d.DecodeAll(g.body, nil)
	default:
		t.Fatalf("Content-Encoding %q", c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestEncodedAnswers: the same answer comes out whatever coding it is in, and the
// headers are right.
func TestEncodedAnswers(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	for i := range 40 {
		a.want(201, a.do("PUT", fmt.Sprintf("/v1/topics/topic-%d", i), ""))
	}
	for range 10 {
		a.want(200, a.do("POST", partitionRecords, string(someText(50_000))))
	}
	var unknown []string
	for i := range 30 {
		unknown = append(unknown, fmt.Sprintf(`{"topic":"unknown","partition":%d,"offset":0}`, i))
	}
	nowhere := `{"partitions":[` + strings.Join(unknown, ",") + `]}`
	const (
		never = iota // encoded
		whole        // with a length
		bits         // in parts, without a length if it is not short by then
	)
	for _, c := range []struct {
		name, method, path, body, accept string
		status, how                      int
		vary                             string
	}{
		{"topics", "GET", "/v1/topics", "", "", 200, whole, "Accept-Encoding"},
		{"a topic", "GET", "/v1/topics/t", "", "", 200, never, "Accept-Encoding"},
		{"few records", "GET", partitionRecords + "?offset=0&max_records=1&max_bytes=1", "", "", 200, bits, "Accept, Accept-Encoding"},
		{"no records", "GET", partitionRecords + "?offset=10", "", "", 200, never, "Accept, Accept-Encoding"},
		{"JSON", "GET", partitionRecords + "?offset=0", "", typeJSON, 200, bits, "Accept, Accept-Encoding"},
		{"lines", "GET", partitionRecords + "?offset=0", "", typeNDJSON, 200, bits, "Accept, Accept-Encoding"},
		{"values", "GET", partitionRecords + "?offset=0&values_only=true", "", typeNDJSON, 200, bits, "Accept, Accept-Encoding"},
		{"a closed range", "GET", partitionRecords + "?offset=0&until=5", "", typeJSON, 200, bits, "Accept, Accept-Encoding"},
		{"batches", "GET", partitionRecords + "?offset=0", "", typeBatch, 200, never, "Accept"},
		{"many", "POST", fetchPath, `{"partitions":[{"topic":"t","partition":0,"offset":0}]}`, "", 200, bits, "Accept, Accept-Encoding"},
		{"a long problem", "POST", fetchPath, nowhere, "", 404, whole, "Accept, Accept-Encoding"},
		{"a short problem", "GET", "/v1/topics/unknown", "", "", 404, never, "Accept-Encoding"},
		{"metrics", "GET", "/metrics", "", "", 200, bits, "Accept, Accept-Encoding"},
		{"acks of lines", "POST", partitionRecords, strings.Repeat("a\n", 10_000), typeNDJSON, 200, never, ""},
	} {
		media := typeJSON
		if c.accept == typeNDJSON && c.method == "POST" {
			media = typeNDJSON
		}
		send := func(method, accept string) answer {
			t.Helper()
			return a.want(c.status, a.do(method, c.path, c.body, "Content-Type", media, "Accept", c.accept, "Accept-Encoding", accept))
		}
		plain := send(c.method, "identity")
		for _, accept := range []string{"gzip", "zstd"} {
			got := send(c.method, accept)
			h := got.header
			if want := map[bool]string{true: accept}[c.how != never]; h.Get("Content-Encoding") != want {
				t.Errorf("%s, %s: Content-Encoding %q", c.name, accept, h.Get("Content-Encoding"))
			}
			if h.Get("Vary") != c.vary || plain.header.Get("Vary") != c.vary || len(h.Values("Vary")) > 1 {
				t.Errorf("%s, %s: Vary %q, and %q without", c.name, accept, h.Values("Vary"), plain.header.Values("Vary"))
			}
			if length := h.Get("Content-Length"); length != "" && length != strconv.Itoa(len(got.body)) || length == "" && c.how == whole || length != "" && c.how == bits && len(got.body) > 2048 {
				t.Errorf("%s, %s: Content-Length %q of %d bytes", c.name, accept, length, len(got.body))
			}
			if h.Get("Content-Type") != plain.header.Get("Content-Type") {
				t.Errorf("%s, %s: Content-Type %q", c.name, accept, h.Get("Content-Type"))
			}
			text := got.plain(t)
			if c.name != "metrics" && c.name != "acks of lines" && !bytes.Equal(text, plain.body) {
				t.Errorf("%s, %s: %d bytes came out, %d without", c.name, accept, len(text), len(plain.body))
			}
			if c.how != never && len(got.body) > len(text)/2 {
				t.Errorf("%s, %s: %d bytes for %d", c.name, accept, len(got.body), len(text))
			}
			if c.method != "GET" {
				continue
			}
			head := send("HEAD", accept)
			if length := head.header.Get("Content-Length"); len(head.body) > 0 || length != "" && length != h.Get("Content-Length") {
				t.Errorf("%s, %s: HEAD has %v, GET %v", c.name, accept, head.header, h)
			}
			for _, name := range []string{"Content-Encoding", "Content-Type", "Vary", "ETag", "Cache-Control"} {
				if head.header.Get(name) != h.Get(name) {
					t.Errorf("%s, %s: HEAD has %s: %q, GET %q", c.name, accept, name, head.header.Get(name), h.Get(name))
				}
			}
		}
	}
	// Whoever refuses anything else gets short ones encoded, too.
	got := a.want(200, a.do("GET", "/v1/topics/t", "", "Accept-Encoding", "gzip, identity;q=0"))
	if got.header.Get("Content-Encoding") != "gzip" || decode(t, got.plain(t))["name"] != "t" {
		t.Errorf("%v %q", got.header, got.body)
	}
	a.wantNothingHeld()
}

// TestStreamsAreNotEncoded: each part of them goes out at once.
func TestStreamsAreNotEncoded(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	a.want(200, a.do("POST", partitionRecords, string(someText(50_000))))
	for accept, query := range map[string]string{typeEvents: "", typeNDJSON: "&follow=true"} {
		got := a.want(200, a.do("GET", partitionRecords+"?offset=0&max_records=1"+query, "", "Accept", accept, "Accept-Encoding", "gzip, zstd"))
		if got.header.Get("Content-Encoding") != "" || got.header.Get("Vary") != "Accept" || !bytes.Contains(got.body, []byte("record ")) {
			t.Errorf("%s: %v", accept, got.header)
		}
	}
}

// TestTagsOfEncodedAnswers: who has a closed range in one coding need not fetch it in
// another.
func TestTagsOfEncodedAnswers(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	a.want(200, a.do("POST", partitionRecords, string(someText(50_000))))
	path := partitionRecords + "?offset=0&until=1"
	codings := []string{"identity", "gzip", "zstd"}
	for _, first := range codings {
		tag := a.want(200, a.do("GET", path, "", "Accept-Encoding", first)).header.Get("ETag")
		if !strings.HasPrefix(tag, `W/"`) {
			t.Fatalf("%s: ETag %s, which stands for other codings as well", first, tag)
		}
		for _, second := range codings {
			for _, match := range []string{tag, strings.TrimPrefix(tag, "W/"), "*"} {
				got := a.want(304, a.do("GET", path, "", "Accept-Encoding", second, "If-None-Match", match))
				h := got.header
				if h.Get("ETag") != tag || h.Get("Vary") != "Accept, Accept-Encoding" || h.Get("Content-Encoding") != "" || len(got.body) > 0 {
					t.Errorf("%s, then %s: %v", first, second, h)
				}
			}
		}
	}
	a.wantNothingHeld()
}

// TestBrokenAnswersDoNotEnd: what breaks off in the middle does so in its coding, too.
func TestBrokenAnswersDoNotEnd(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	noise := make([]byte, 200_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	for range 3 {
		a.want(200, a.do("POST", partitionRecords, string(noise)))
	}
	b := a.node.stored[a.tp()][2].data
	for j := recordbatch.HeaderLen; j < recordbatch.HeaderLen+10; j++ {
		b[j] = 0xff
	}
	for _, accept := range []string{"identity", "gzip", "zstd"} {
		q, err := http.NewRequest("GET", a.url+partitionRecords+"?offset=0&max_bytes=10000000", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Accept-Encoding", accept)
		res, err := a.client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		got := answer{res.StatusCode, res.Header, nil}
		got.body, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err == nil || len(got.body) < len(noise) {
			t.Errorf("%s: %d bytes and %v", accept, len(got.body), err)
		}
		var end error
		switch accept {
		case "gzip":
			r, err := gzip.NewReader(bytes.NewReader(got.body))
			if err != nil {
				t.Fatal(err)
			}
			_, end = io.Copy(io.Discard, r)
		case "zstd":
			d, err := zstd.NewReader(bytes.NewReader(got.body))
			if err != nil {
				t.Fatal(err)
			}
			_, end = io.Copy(io.Discard, d)
			d.Close()
		default:
			continue
		}
		if end == nil {
			t.Errorf("%s: what came is a whole stream", accept)
		}
	}
	a.wantNothingHeld()
}

// TestEncodersAreBounded: beyond that answers go out as they are.
func TestEncodersAreBounded(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.EncodersMax = 2 })
	a.topic("1")
	a.want(200, a.do("POST", partitionRecords, string(someText(50_000))))
	for inside, want := range []string{"gzip", "gzip", ""} {
		a.server.encoders.enter(int64(inside))
		got := a.want(200, a.do("GET", partitionRecords+"?offset=0", "", "Accept-Encoding", "gzip"))
		if got.header.Get("Content-Encoding") != want || got.header.Get("Vary") != "Accept, Accept-Encoding" {
			t.Errorf("with %d encoders in use: %v", inside, got.header)
		}
		decode(t, got.plain(t))
		a.server.encoders.leave(int64(inside))
	}
	a.wantNothingHeld()
}

// TestEncodersTakeWhatIsSaid holds EncoderBytes to what they take.
func TestEncodersTakeWhatIsSaid(t *testing.T) {
	noise := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	text := bytes.Repeat(someText(100_000), 40)
	for c := range encoders {
		for name, plain := range map[string][]byte{"noise": noise, "text": text} {
			e := encoding{wanted: wantedCoding{coding: c}, gate: newGate(1)}
			before := heap()
			e.gate.enter(1)
			e.open(c, io.Discard)
			_, err := e.encoder.Write(plain)
			took := heap() - before
			e.close()
			t.Logf("%s, %s: %d KiB", c, name, took>>10)
			if err != nil || took > EncoderBytes {
				t.Errorf("%s, %s: %d bytes, %v", c, name, took, err)
			}
		}
	}
}
