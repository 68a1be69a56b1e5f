package httpapi

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
)

func TestClosedRange(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	for range 10 {
		a.want(200, a.do("POST", partitionRecords, `{"records":[{"value":"a","timestamp":1},{"value":"b","timestamp":1}]}`, "Content-Type", typeJSON))
	}
	const path = partitionRecords + "?offset=3&until=6"
	record := func(offset int, value string) string {
		return fmt.Sprintf(`{"offset":%d,"timestamp":1,"key":null,"value":%q,"headers":[]}`, offset, value)
	}
	body := `{"records":[` + record(3, "b") + `,` + record(4, "a") + `,` + record(5, "b") + `],"next_offset":6}`
	got := a.do("GET", path, "")
	a.wantJSON(200, body, got)
	tag := got.header.Get("ETag")
	checkCached := func(got answer) {
		t.Helper()
		if h := got.header; h.Get("ETag") != tag || tag == "" || h.Get("Cache-Control") != "public, max-age=3600, immutable" || h.Get("Vary") != "Accept, Accept-Encoding" {
			t.Fatalf("headers %v", h)
		}
	}
	checkCached(got)
	// More records, and the answer is the same to the byte.
	a.want(200, a.do("POST", partitionRecords, "x"))
	again := a.want(200, a.do("GET", path, ""))
	if !bytes.Equal(again.body, got.body) {
		t.Fatalf("answer %s, before %s", again.body, got.body)
	}
	for _, match := range []string{tag, strings.TrimPrefix(tag, "W/"), `"other", ` + tag, "*"} {
		got := a.want(304, a.do("GET", path, "", "If-None-Match", match))
		checkCached(got)
		if len(got.body) > 0 {
			t.Errorf("304 with a body")
		}
	}
	for _, other := range []struct{ path, accept, match string }{
		{path, "", `"other"`},
		{path, typeNDJSON, tag},
		{path, typeBatch, tag},
		{partitionRecords + "?offset=3&until=7", "", tag},
		{partitionRecords + "?offset=2&until=6", "", tag},
		{path + "&max_records=2", "", tag},
		{path, "", strings.Replace(tag, "-6", "-7", 1)},
	} {
		got := a.want(200, a.do("GET", other.path, "", "Accept", other.accept, "If-None-Match", other.match))
		if got.header.Get("ETag") == tag && other.match == tag {
			t.Errorf("%+v has the same tag", other)
		}
		if got.header.Get("Wadi-High-Watermark") != "" {
			t.Errorf("%+v: bounds in a closed range", other)
		}
	}
	lines := a.want(200, a.do("GET", path, "", "Accept", typeNDJSON))
	if lines.header.Get("Wadi-Next-Offset") != "6" || bytes.Count(lines.body, []byte("\n")) != 3 {
		t.Errorf("lines %v %s", lines.header, lines.body)
	}

	// What is not all there, or is nothing, must not be kept.
	for _, path := range []string{partitionRecords + "?offset=20&until=22", partitionRecords + "?offset=3&until=3", partitionRecords + "?offset=21&until=22"} {
		got := a.want(200, a.do("GET", path, ""))
		if h := got.header; h.Get("ETag") != "" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, h)
		}
	}
	// A trim is stronger than a tag, and so is a new topic of the same name.
	a.want(200, a.do("DELETE", partitionRecords+"?before=4", ""))
	a.wantProblem(410, "offset_below_start", a.do("GET", path, "", "If-None-Match", tag))
	a.want(204, a.do("DELETE", "/v1/topics/t", ""))
	a.topic("1")
	a.wantProblem(416, "offset_above_end", a.do("GET", path, "", "If-None-Match", tag))
	for range 4 {
		a.want(200, a.do("POST", partitionRecords, `{"records":[{"value":"c","timestamp":1},{"value":"d","timestamp":1}]}`, "Content-Type", typeJSON))
	}
	a.want(200, a.do("GET", path, "", "If-None-Match", tag))
}

func TestAccept(t *testing.T) {
	for accept, want := range map[string]string{
		"":                     typeJSON,
		"*/*":                  typeJSON,
		"application/*":        typeJSON,
		"application/x-ndjson": typeNDJSON,
		"Application/X-NDJSON": typeNDJSON,
		"text/html, */*;q=0.1": typeJSON,
		"application/json;q=0.5, application/x-ndjson": typeNDJSON,
		"application/*, application/json;q=0.1":        typeNDJSON,
		"*/*, application/json;q=0":                    typeNDJSON,
		typeBatch + ", application/json;q=0.9":         typeBatch,
		"text/event-stream, application/x-ndjson":      typeNDJSON,
		"text/html":                         "",
		"text/event-stream":                 typeEvents,
		"application/json;q=0":              "",
		"application/json;q=1.1":            "",
		"application/json;q=NaN":            "",
		"json":                              "",
		"application/x-ndjson;q=0, */*;q=0": "",
	} {
		r := httpRequest(t)
		r.Header.Set("Accept", accept)
		got, err := acceptable(r, fetchable)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("Accept: %s gives %s, %v", accept, got, err)
		}
	}
}

func TestEntityTags(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "[]",
		"*":                  "any",
		`"a"`:                "[a]",
		` "a" , W/"b",,"c" `: "[a b c]",
		`"a,b", "c"`:         "[a,b c]",
		`""`:                 "[]",
		`a`:                  "bad",
		`"a`:                 "bad",
		`"a" b`:              "bad",
		`"a""b"`:             "bad",
		`*, "a"`:             "bad",
	} {
		tags, err := parseEntityTags([]string{text})
		got := fmt.Sprint(tags.tags)
		switch {
		case err != nil:
			got = "bad"
		case tags.any:
			got = "any"
		}
		if got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

// Corruption shows as a status where it can, and never as a shorter answer.
func TestUndecodableBatch(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	for range 2 {
		a.want(200, a.do("POST", partitionRecords, strings.Repeat("x", 100_000)))
	}
	tp := a.tp()
	spoil := func(i int) {
		b := a.node.stored[tp][i].data
		for j := recordbatch.HeaderLen; j < recordbatch.HeaderLen+10; j++ {
			b[j] = 0xff
		}
	}
	spoil(1)
	for _, media := range []string{typeJSON, typeNDJSON} {
		r, err := http.NewRequest("GET", a.url+partitionRecords+"?offset=0", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", media)
		res, err := a.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil {
			t.Errorf("%s: an answer of %d bytes that looks whole", media, len(text))
		}
	}
	spoil(0)
	a.wantProblem(500, "corrupt_data", a.do("GET", partitionRecords+"?offset=0", ""))
}

func (a *testAPI) tp() catalog.TopicPartition {
	topic, ok := a.node.View().TopicByName("t")
	if !ok {
		a.t.Fatal("no topic")
	}
	return catalog.TopicPartition{Topic: topic.ID}
}

// Following next_offset reads every record once, however the answers are cut.
func TestFetchesJoin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := newTestAPI(t, nil)
		a.topic("1")
		total := 0
		for _, n := range rapid.SliceOfN(rapid.IntRange(1, 12), 1, 8).Draw(rt, "batches") {
			var records []string
			for range n {
				records = append(records, fmt.Sprintf(`{"value":"%d"}`, total))
				total++
			}
			a.want(200, a.do("POST", partitionRecords, `{"records":[`+strings.Join(records, ",")+`]}`, "Content-Type", typeJSON))
		}
		var got strings.Builder
		for offset := 0; offset < total; {
			path := fmt.Sprintf("%s?offset=%d&values_only=true&max_bytes=%d", partitionRecords, offset, rapid.IntRange(1, 300).Draw(rt, "bytes"))
			limit := total
			if rapid.Bool().Draw(rt, "count") {
				n := rapid.IntRange(1, 15).Draw(rt, "records")
				path += fmt.Sprintf("&max_records=%d", n)
				limit = offset + n
			}
			if rapid.Bool().Draw(rt, "closed") {
				until := rapid.IntRange(offset+1, total+3).Draw(rt, "until")
				path += fmt.Sprintf("&until=%d", until)
				limit = min(limit, until)
			}
			answer := a.want(200, a.do("GET", path, "", "Accept", typeNDJSON))
			got.Write(answer.body)
			var next int
			if _, err := fmt.Sscan(answer.header.Get("Wadi-Next-Offset"), &next); err != nil || next <= offset || next > limit || next-offset != bytes.Count(answer.body, []byte("\n")) {
				rt.Fatalf("%s: next offset %d, %v: %s", path, next, err, answer.body)
			}
			offset = next
		}
		if got.String() != numbered(total) {
			rt.Fatalf("read %q", got.String())
		}
	})
}

// Batches that decompress to any size within the limit are served, one after
// the other if the budget has no room for two.
func TestDecompressionWithinItsBudget(t *testing.T) {
	a := newTestAPI(t, func(c *Config) {
		c.DecompressedBytesMax = 20 << 20
		c.DecodingBytesMax = 20 << 20
	})
	a.topic("1")
	value := bytes.Repeat([]byte("x"), 1<<20)
	next := 0
	for _, n := range []int{1, 3, 18} {
		b, err := recordbatch.Append(nil, slices.Repeat([]recordbatch.Record{{Value: value}}, n), recordbatch.Gzip, recordbatch.NoProducer)
		if err != nil {
			t.Fatal(err)
		}
		a.want(200, a.send("POST", partitionRecords, bytes.NewReader(b), "Content-Type", typeBatch))
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				path := fmt.Sprintf("%s?offset=%d&values_only=true", partitionRecords, next)
				got := a.do("GET", path, "", "Accept", typeNDJSON)
				if want := append(slices.Clone(value), '\n'); got.status != 200 || !bytes.Equal(got.body, bytes.Repeat(want, n)) {
					t.Errorf("%d records: status %d, %d bytes", n, got.status, len(got.body))
				}
			})
		}
		wait.Wait()
		next += n
	}
	if !a.server.decoding.TryAcquire(20 << 20) {
		t.Error("the budget was not given back")
	}
	// What may not be decompressed is not served in part.
	a.server.decoding.Release(20 << 20)
	a.server.cfg.DecompressedBytesMax = 10 << 20
	a.wantProblem(500, "corrupt_data", a.do("GET", partitionRecords+"?offset=4", ""))
}

// A fetch that gets no share of the budget in its time says so.
func TestDecompressionBudgetIsTaken(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		b, err := recordbatch.Append(nil, []recordbatch.Record{{Value: bytes.Repeat([]byte("x"), 10_000)}}, recordbatch.Gzip, recordbatch.NoProducer)
		if err != nil {
			t.Fatal(err)
		}
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", partitionRecords, typeBatch, len(b))
		if res, text, _ := a.ask(head + string(b)); res.StatusCode != 200 {
			t.Fatalf("%d %s", res.StatusCode, text)
		}
		if !a.server.decoding.TryAcquire(a.server.cfg.DecodingBytesMax) {
			t.Fatal("the budget is not whole")
		}
		res, text, elapsed := a.ask("GET " + partitionRecords + "?offset=0 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || elapsed > a.server.cfg.RequestTimeout {
			t.Errorf("%d after %s: %s", res.StatusCode, elapsed, text)
		}
	})
}
