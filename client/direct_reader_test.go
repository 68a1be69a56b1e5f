package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// storedRange is a range of a historyLog with its bytes, base offsets not set.
type storedRange struct {
	ManifestRange
	object []byte // that holds it, among other bytes
	data   []byte
}

// historyLog is a node with one partition, and the bucket with its objects.
type historyLog struct {
	t      *testing.T
	ranges []storedRange
	values []string // by offset

	mu        sync.Mutex
	fetched   []string // offsets that the node was asked for; guarded by mu
	manifests int      // guarded by mu
	downloads int      // guarded by mu
	underWay  int      // guarded by mu
	most      int      // of underWay; guarded by mu
	noURLs    bool
	// fault answers the n-th download, if not nil.
	fault func(n int, r *http.Request, whole *http.Response) (*http.Response, error)
}

const historyBlock = 1 << 20

// add puts a range of batches with values of a length; without a key if shared.
func (h *historyLog) add(shared bool, batches, perBatch, valueLen int) {
	g := ManifestRange{BaseOffset: int64(len(h.values)), Count: int64(batches * perBatch)}
	var data []byte
	type start struct{ pos, base int64 }
	var starts []start
	for range batches {
		var records []recordbatch.Record
		starts = append(starts, start{int64(len(data)), int64(len(h.values))})
		for range perBatch {
			value := fmt.Sprintf("%d:%s", len(h.values), strings.Repeat(string(rune('a'+rand.IntN(26))), valueLen))
			h.values = append(h.values, value)
			records = append(records, recordbatch.Record{Timestamp: 1, Value: []byte(value)})
		}
		var err error
		if data, err = recordbatch.Append(data, records, recordbatch.None, recordbatch.NoProducer); err != nil {
			h.t.Fatal(err)
		}
	}
	g.Bytes = int64(len(data))
	object := slices.Concat(bytes.Repeat([]byte{7}, 1+rand.IntN(1000)), data)
	if !shared {
		g.Key, g.URL, g.URLExpires = fmt.Sprint("object-", len(h.ranges)), fmt.Sprint("http://bucket/", len(h.ranges)), 1
		g.Position = int64(len(object) - len(data))
		g.CRC32C = crc32.Checksum(data, castagnoli)
		object = append(object, 7, 7)
		for at := 0; len(data) > historyBlock && at < len(data); at += historyBlock {
			g.BlockBytes = historyBlock
			end := min(at+historyBlock, len(data))
			b := ManifestBlock{CRC32C: crc32.Checksum(data[at:end], castagnoli)}
			for _, s := range starts {
				if s.pos >= int64(at) && s.pos < int64(end) {
					b.FirstBatch, b.BaseOffset = &s.pos, &s.base
					break
				}
			}
			g.Blocks = append(g.Blocks, b)
		}
	}
	h.ranges = append(h.ranges, storedRange{g, object, data})
}

func (h *historyLog) client() *Client {
	c, err := New(Config{
		Servers: []string{"http://node"}, RetryTimeout: -1,
		HTTPClient: &http.Client{Transport: transportFunc(h.node)}, BucketHTTPClient: &http.Client{Transport: transportFunc(h.bucket)},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (h *historyLog) node(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	number := func(name string) int64 {
		n, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
		if err != nil {
			h.t.Error(err)
		}
		return n
	}
	end := int64(len(h.values))
	switch r.URL.Path {
	case "/v1/topics/t/partitions/0/offsets":
		return replyJSON(r, 200, map[string]any{"start": 0, "end": end}), nil
	case "/v1/topics/t/partitions/0/manifest":
		h.manifests++
		m := Manifest{NextOffset: number("from"), HighWatermark: end, Ranges: []ManifestRange{}}
		for _, g := range h.ranges {
			if to := min(number("to"), end); g.end() > m.NextOffset && g.BaseOffset < to && len(m.Ranges) < 3 { // less than asked for
				m.Ranges = append(m.Ranges, g.ManifestRange)
				m.NextOffset = min(g.end(), to)
				if h.noURLs {
					m.Ranges[len(m.Ranges)-1].URL = ""
				}
			}
		}
		return replyJSON(r, 200, m), nil
	case "/v1/topics/t/partitions/0/records":
		offset := number("offset")
		h.fetched = append(h.fetched, fmt.Sprint(offset))
		next, body := offset, ""
		for _, g := range h.ranges {
			if offset >= g.BaseOffset && offset < g.end() {
				c := batchCutter{base: g.BaseOffset}
				whole, err := c.cut(bytes.Clone(g.data))
				if err != nil {
					h.t.Error(err)
				}
				next, body = g.end(), string(whole)
			}
		}
		return reply(r, 200, mediaRecordBatch, body, "Wadi-Next-Offset", fmt.Sprint(next), "Wadi-High-Watermark", fmt.Sprint(end), "Wadi-Log-Start-Offset", "0"), nil
	}
	return nil, fmt.Errorf("unexpected %s", r.URL)
}

func (h *historyLog) bucket(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	h.downloads++
	n := h.downloads
	h.underWay++
	h.most = max(h.most, h.underWay)
	h.mu.Unlock()
	time.Sleep(10 * time.Millisecond) // of the bubble
	h.mu.Lock()
	defer h.mu.Unlock()
	h.underWay--
	if len(r.Header["Authorization"]) > 0 {
		h.t.Error("credentials went to the bucket")
	}
	i, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		return nil, err
	}
	var from, last int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &last); err != nil || last >= len(h.ranges[i].object) {
		h.t.Errorf("range %q of %d bytes: %v", r.Header.Get("Range"), len(h.ranges[i].object), err)
	}
	res := reply(r, http.StatusPartialContent, mediaRaw, string(h.ranges[i].object[from:last+1]))
	if h.fault != nil {
		return h.fault(n, r, res)
	}
	return res, nil
}

// read reads a range directly and compares it with what is there.
func (h *historyLog) read(cfg ReaderConfig, from, to int64) *Reader {
	h.t.Helper()
	cfg.Topic, cfg.Partitions, cfg.From, cfg.To, cfg.Direct = "t", []int32{0}, AtOffset(from), AtOffset(to), true
	reader, err := h.client().NewReader(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	next := from
	for record, err := range reader.Records(h.t.Context()) {
		if err != nil {
			h.t.Fatalf("[%d, %d): at %d: %v", from, to, next, err)
		}
		if record.Offset != next || string(record.Value) != h.values[next] {
			h.t.Fatalf("[%d, %d): record %d, expected %d", from, to, record.Offset, next)
		}
		next++
	}
	if next != max(from, to) {
		h.t.Fatalf("[%d, %d): ended at %d", from, to, next)
	}
	return reader
}

// history is a partition with short, long and shared ranges.
func history(t *testing.T) *historyLog {
	h := &historyLog{t: t}
	h.add(false, 1, 3, 10)
	h.add(true, 1, 2, 10)
	h.add(true, 2, 2, 10)
	h.add(false, 30, 2, 150_000) // 9 MB, in blocks and several parts
	h.add(false, 3, 4, 50)
	h.add(false, 2, 1, 3_000_000) // blocks in which no batch begins
	h.add(true, 1, 1, 10)
	return h
}

// TestDirectReadsTheSame: from anywhere to anywhere the records are those that
// are there, and come from the bucket where they can.
func TestDirectReadsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := history(t)
		end := int64(len(h.values))
		reader := h.read(ReaderConfig{}, 0, end)
		if got, want := strings.Join(h.fetched, " "), "3 5 "+fmt.Sprint(end-1); got != want {
			t.Errorf("the node was asked for %s, expected %s", got, want)
		}
		if got, want := reader.DirectRecords(), end-2-4-1; got != want {
			t.Errorf("%d records from the bucket, expected %d", got, want)
		}
		if h.most < 2 {
			t.Error("one download at a time")
		}
		for range 10 {
			from := rand.Int64N(end + 1)
			h.read(ReaderConfig{}, from, from+rand.Int64N(end+1-from))
		}
		for from := range int64(12) { // each end of the short ranges
			for to := from; to < 12; to++ {
				h.read(ReaderConfig{}, from, to)
			}
		}
	})
}

// TestDirectReadsLittleOfALongRange: blocks say where to begin and to end.
func TestDirectReadsLittleOfALongRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := history(t)
		var got int64
		h.fault = func(_ int, _ *http.Request, whole *http.Response) (*http.Response, error) {
			got += whole.ContentLength
			return whole, nil
		}
		h.read(ReaderConfig{}, 40, 42)
		if got == 0 || got > 4<<20 {
			t.Errorf("%d bytes for 2 records", got)
		}
	})
}

// TestDirectFallsBack: whatever the bucket answers, the records are right, and
// what failed comes from the node.
func TestDirectFallsBack(t *testing.T) {
	status := func(code int) func(int, *http.Request, *http.Response) (*http.Response, error) {
		return func(_ int, r *http.Request, _ *http.Response) (*http.Response, error) {
			return reply(r, code, mediaRaw, "no"), nil
		}
	}
	damage := func(r *http.Request, whole *http.Response, change func([]byte) []byte) (*http.Response, error) {
		body, err := io.ReadAll(whole.Body)
		if err != nil {
			return nil, err
		}
		return reply(r, http.StatusPartialContent, mediaRaw, string(change(body))), nil
	}
	for _, c := range []struct {
		name   string
		fault  func(n int, r *http.Request, whole *http.Response) (*http.Response, error)
		direct bool // some records come from the bucket nevertheless
	}{
		{"expired", status(403), false},
		{"deleted", status(404), false},
		{"whole object", status(200), false},
		{"broken", status(500), false},
		{"no bucket", func(int, *http.Request, *http.Response) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, false},
		{"cut", func(_ int, r *http.Request, whole *http.Response) (*http.Response, error) {
			return damage(r, whole, func(b []byte) []byte { return b[:len(b)-1] })
		}, false},
		{"flipped bit", func(_ int, r *http.Request, whole *http.Response) (*http.Response, error) {
			return damage(r, whole, func(b []byte) []byte { b[rand.IntN(len(b))] ^= 1 << rand.IntN(8); return b })
		}, false},
		{"now and then", func(n int, r *http.Request, whole *http.Response) (*http.Response, error) {
			if n%3 == 0 {
				return reply(r, 500, mediaRaw, ""), nil
			}
			return whole, nil
		}, true},
		{"in the middle", func(n int, r *http.Request, whole *http.Response) (*http.Response, error) {
			if n > 2 {
				return reply(r, 404, mediaRaw, ""), nil
			}
			return whole, nil
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := history(t)
				h.fault = c.fault
				var mu sync.Mutex
				var reasons []error
				reader := h.read(ReaderConfig{Fallback: func(err error) {
					mu.Lock()
					defer mu.Unlock()
					reasons = append(reasons, err)
				}}, 0, int64(len(h.values)))
				if got := reader.DirectRecords(); (got > 0) != c.direct {
					t.Errorf("%d records from the bucket", got)
				}
				if c.name != "now and then" && len(reasons) == 0 || len(reasons) > directFailuresMax {
					t.Errorf("reasons %v", reasons)
				}
			})
		})
	}
}

// TestDirectAsksAgain: URLs that expired are made anew.
func TestDirectAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := history(t)
		began := time.Now()
		h.fault = func(_ int, r *http.Request, whole *http.Response) (*http.Response, error) {
			if since := time.Since(began); since > 15*time.Minute && h.manifests == 1 {
				return reply(r, 403, mediaRaw, ""), nil
			}
			return whole, nil
		}
		cfg := ReaderConfig{Topic: "t", Partitions: []int32{0}, To: AtOffset(int64(len(h.values))), Direct: true, Fallback: func(err error) { t.Error(err) }}
		reader, err := h.client().NewReader(cfg)
		if err != nil {
			t.Fatal(err)
		}
		next := int64(0)
		for record, err := range reader.Records(t.Context()) {
			if err != nil || record.Offset != next {
				t.Fatal(record.Offset, next, err)
			}
			if next++; next == 20 {
				time.Sleep(16 * time.Minute) // a slow consumer
			}
		}
		if next != int64(len(h.values)) || h.manifests < 3 {
			t.Errorf("ended at %d after %d manifests", next, h.manifests)
		}
	})
}

// TestDirectWithoutURLs: a store that makes none is not asked about again.
func TestDirectWithoutURLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := history(t)
		h.noURLs = true
		h.read(ReaderConfig{}, 0, int64(len(h.values)))
		if h.manifests != 1 || h.downloads > 0 {
			t.Errorf("%d manifests, %d downloads", h.manifests, h.downloads)
		}
	})
}

// TestDirectEndsWithItsLoop: nothing is left under way.
func TestDirectEndsWithItsLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := history(t)
		reader, err := h.client().NewReader(ReaderConfig{Topic: "t", Partitions: []int32{0}, To: AtOffset(60), Direct: true})
		if err != nil {
			t.Fatal(err)
		}
		for record, err := range reader.Records(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if record.Offset == 10 {
				break
			}
		}
		if h.underWay > 0 {
			t.Errorf("%d downloads are under way", h.underWay)
		}
		next := int64(11)
		for record, err := range reader.Records(t.Context()) {
			if err != nil || record.Offset != next {
				t.Fatalf("record %d, expected %d: %v", record.Offset, next, err)
			}
			next++
		}
		if next != 60 {
			t.Errorf("ended at %d", next)
		}
	})
}

func TestManifestThatCannotBe(t *testing.T) {
	for name, text := range map[string]string{
		"gap":          `{"ranges":[{"base_offset":0,"count":2,"bytes":1},{"base_offset":3,"count":2,"bytes":1}],"next_offset":5}`,
		"overlap":      `{"ranges":[{"base_offset":0,"count":2,"bytes":1},{"base_offset":1,"count":2,"bytes":1}],"next_offset":3}`,
		"late":         `{"ranges":[{"base_offset":1,"count":2,"bytes":1}],"next_offset":3}`,
		"early":        `{"ranges":[{"base_offset":0,"count":0,"bytes":1}],"next_offset":0}`,
		"no bytes":     `{"ranges":[{"base_offset":0,"count":1,"bytes":0}],"next_offset":1}`,
		"next":         `{"ranges":[{"base_offset":0,"count":2,"bytes":1}],"next_offset":3}`,
		"nothing":      `{"ranges":[],"next_offset":3}`,
		"blocks":       `{"ranges":[{"base_offset":0,"count":2,"bytes":10,"block_bytes":4,"blocks":[{},{}]}],"next_offset":2}`,
		"block":        `{"ranges":[{"base_offset":0,"count":2,"bytes":8,"block_bytes":4,"blocks":[{"first_batch":0,"base_offset":0},{"first_batch":9,"base_offset":1}]}],"next_offset":2}`,
		"batch before": `{"ranges":[{"base_offset":0,"count":2,"bytes":8,"block_bytes":4,"blocks":[{"first_batch":-1,"base_offset":0},{}]}],"next_offset":2}`,
		"position":     `{"ranges":[{"base_offset":0,"count":2,"bytes":8,"position":-1}],"next_offset":2}`,
	} {
		var m Manifest
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		if err := m.check(0, 100); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
