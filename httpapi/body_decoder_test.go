package httpapi

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// gzipped is by the standard library, which the server does not use.
func gzipped(plain []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(plain)
	_ = w.Close()
	return out.Bytes()
}

// zstandard is as a stream that does not know its length.
func zstandard(plain []byte, options ...zstd.EOption) []byte {
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, options...)
	if err != nil {
		panic(err)
	}
	for piece := range slices.Chunk(plain, 1000) {
		_, _ = w.Write(piece)
		_ = w.Flush()
	}
	_ = w.Close()
	return out.Bytes()
}

func zstandardWhole(plain []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(plain, nil)
}

// skippable is a frame without content.
var skippable = []byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}

// encodings are ways to encode what must come out.
var encodings = []struct {
	name, header string
	encode       func([]byte) []byte
}{
	{"identity", "identity", func(p []byte) []byte { return p }},
	{"gzip", "gzip", gzipped},
	{"x-gzip", "X-GZIP", gzipped},
	{"gzip of members", "gzip", func(p []byte) []byte {
		return slices.Concat(gzipped(p[:len(p)/2]), gzipped(nil), gzipped(p[len(p)/2:]))
	}},
	{"zstd", "zstd", func(p []byte) []byte { return zstandard(p) }},
	{"zstd with a small window", "zstd", func(p []byte) []byte { return zstandard(p, zstd.WithWindowSize(1<<10)) }},
	{"zstd with a middle window", "ZSTD", func(p []byte) []byte { return zstandard(p, zstd.WithWindowSize(1<<20)) }},
	{"zstd with the largest window", "zstd", func(p []byte) []byte {
		return zstandard(p, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	}},
	{"zstd in one piece", "zstd", zstandardWhole},
	{"zstd of frames", "zstd", func(p []byte) []byte {
		small, large := zstandard(p[:len(p)/2], zstd.WithWindowSize(1<<10)), zstandard(p[len(p)/2:], zstd.WithWindowSize(4<<20))
		return slices.Concat(skippable, zstandardWhole(nil), small, skippable, large, skippable)
	}},
}

// text returns n bytes that compress, but not to nothing.
func someText(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 0, n+20)
	for len(text) < n {
		text = fmt.Appendf(text, "record %d\n", r.IntN(100_000))
	}
	return text[:n]
}

// wantNothingHeld checks that what requests took was given back.
func (a *testAPI) wantNothingHeld() {
	a.t.Helper()
	a.node.mu.Lock()
	defer a.node.mu.Unlock()
	if a.node.reserved != 0 || a.server.decoders.inside.Load() != 0 || a.server.encoders.inside.Load() != 0 {
		a.t.Errorf("left: %d bytes of the budget, %d of decoders, %d encoders",
			a.node.reserved, a.server.decoders.inside.Load(), a.server.encoders.inside.Load())
	}
}

// TestEncodedBodies: whatever takes a body takes an encoded one, with the same result.
func TestEncodedBodies(t *testing.T) {
	records := []recordbatch.Record{{Timestamp: 1, Value: someText(9000)}}
	b, err := recordbatch.Append(nil, records, recordbatch.None, recordbatch.NoProducer)
	if err != nil {
		t.Fatal(err)
	}
	value := string(someText(50_000))
	for _, e := range encodings {
		t.Run(e.name, func(t *testing.T) {
			a := newTestAPI(t, nil)
			send := func(method, path, media string, body []byte) answer {
				t.Helper()
				return a.send(method, path, bytes.NewReader(e.encode(body)), "Content-Type", media, "Content-Encoding", e.header)
			}
			a.want(201, send("PUT", "/v1/topics/t", typeJSON, []byte(`{"partitions":1}`)))
			a.want(200, send("PATCH", "/v1/topics/t", typeJSON, []byte(`{"config":{"retention.ms":7}}`)))
			a.want(200, send("POST", partitionRecords, typeJSON, []byte(`{"records":[{"value":"json"}]}`)))
			a.want(200, send("POST", partitionRecords, "text/plain", []byte(value)))
			a.want(200, send("POST", partitionRecords, typeBatch, b))
			a.want(200, send("POST", partitionRecords, typeNDJSON, []byte("one\ntwo\nthree")))
			a.want(200, send("PUT", "/v1/topics/t/partitions/0/fence", typeJSON, []byte(`{"token":"x"}`)))
			a.want(200, send("POST", "/v1/producers", typeJSON, []byte(`{}`)))
			got := a.want(200, send("POST", fetchPath, typeJSON, []byte(`{"partitions":[{"topic":"t","partition":0,"offset":0}]}`)))
			part := decode(t, got.body)["partitions"].([]any)[0].(map[string]any)
			var values []string
			for _, r := range part["records"].([]any) {
				values = append(values, r.(map[string]any)["value"].(string))
			}
			if want := []string{"json", value, string(records[0].Value), "one", "two", "three"}; !slices.Equal(values, want) {
				t.Errorf("records %.200q", values)
			}
			a.wantNothingHeld()
		})
	}
}

// decodeWhole decodes a body with a limit.
func decodeWhole(c coding, src io.Reader, limit int64) ([]byte, error) {
	b := &body{src: src, conn: http.NewResponseController(httptest.NewRecorder()), grace: time.Hour, rate: 1, coding: c}
	held := int64(0)
	b.room = func(n int64) (func(), error) {
		held += n
		return func() { held -= n }, nil
	}
	text, err := b.readAll(-1, limit, func(int64) error { return nil }, bodyTooLarge(limit))
	b.closeDecoder()
	if held != 0 {
		panic("room was not given back")
	}
	return text, err
}

func problemCode(err error) string {
	if err == nil {
		return ""
	}
	return toProblem(err, 0).code
}

// TestDecoderTakesAllAndNothingElse: a body that is cut anywhere is refused, and so is
// one that goes on; how it comes does not matter.
func TestDecoderTakesAllAndNothingElse(t *testing.T) {
	plain := someText(3000)
	for _, e := range encodings[1:] {
		t.Run(e.name, func(t *testing.T) {
			c, _ := parseCoding(e.header)
			encoded := e.encode(plain)
			for name, src := range map[string]io.Reader{
				"at once":          bytes.NewReader(encoded),
				"byte by byte":     iotest.OneByteReader(bytes.NewReader(encoded)),
				"with its end":     iotest.DataErrReader(bytes.NewReader(encoded)),
				"in halves":        iotest.HalfReader(bytes.NewReader(encoded)),
				"to the last byte": io.LimitReader(bytes.NewReader(append(slices.Clone(encoded), "more"...)), int64(len(encoded))),
			} {
				if got, err := decodeWhole(c, src, int64(len(plain))); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
			}
			ends := map[int]bool{} // where members end, a shorter body is a whole one
			for cut := range len(encoded) {
				got, err := decodeWhole(c, bytes.NewReader(encoded[:cut]), int64(len(plain)))
				if err == nil {
					ends[cut] = true
					if bytes.Equal(got, plain) && !strings.Contains(e.name, "frames") {
						t.Errorf("cut at %d: all came out", cut)
					}
				} else if code := problemCode(err); code != "invalid_encoding" {
					t.Errorf("cut at %d: %v", cut, err)
				}
			}
			if most := strings.Count(e.name, "members")*2 + strings.Count(e.name, "frames")*5; len(ends) > most {
				t.Errorf("cut at %v it is taken", ends)
			}
			for _, more := range []string{"x", "garbage that is longer", "\x1f\x8b", "\x28\xb5\x2f\xfd", "\x00"} {
				if _, err := decodeWhole(c, bytes.NewReader(append(slices.Clone(encoded), more...)), 1<<20); problemCode(err) != "invalid_encoding" {
					t.Errorf("with %q after it: %v", more, err)
				}
			}
			if _, err := decodeWhole(c, bytes.NewReader(encoded), int64(len(plain))-1); problemCode(err) != "body_too_large" {
				t.Errorf("one byte over the limit: %v", err)
			}
		})
	}
}

// TestDecodersTakeWhatTheyAskFor, and not more.
func TestDecodersTakeWhatTheyAskFor(t *testing.T) {
	noise := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	text := bytes.Repeat(someText(100_000), 10)
	for _, e := range encodings[1:] {
		c, _ := parseCoding(e.header)
		if strings.Contains(e.name, "one piece") {
			continue // its window is all of it
		}
		for name, plain := range map[string][]byte{"noise": noise, "text": text} {
			encoded := e.encode(plain)
			asked := int64(0)
			d := newBodyDecoder(c, bytes.NewReader(encoded), -1, func(n int64) (func(), error) {
				asked = n
				return func() {}, nil
			})
			before := heap()
			const rest = 10_000 // so that it is still in use
			n, err := io.CopyN(io.Discard, d, int64(len(plain))-rest)
			took := heap() - before
			if err != nil {
				t.Fatalf("%s, %s: %d bytes, %v", e.name, name, n, err)
			}
			if n, err := io.Copy(io.Discard, d); err != nil || n != rest {
				t.Fatalf("%s, %s: %d bytes at the end, %v", e.name, name, n, err)
			}
			d.close()
			t.Logf("%s, %s: %d KiB were asked for, %d KiB taken", e.name, name, asked>>10, took>>10)
			if strings.Contains(e.name, "frames") {
				continue // several decoders in turns
			}
			if slack := int64(64 << 10); took > asked+slack { // what io.Copy takes, and tables that are made once
				t.Errorf("%s, %s: %d bytes taken, %d asked for", e.name, name, took, asked)
			}
		}
	}
}

// heap returns the bytes that are in use.
func heap() int64 {
	runtime.GC() // twice, so that nothing is left in pools
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// bombs decode to some GiB.
func bombs() map[string][]byte {
	run := []byte{2, 0, 16, 'x'} // 128 KiB of a byte
	frame := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3}, bytes.Repeat(run, 32<<10)...)
	member := gzipped(make([]byte, 16<<20))
	return map[string][]byte{
		"zstd": append(frame, 1, 0, 0),
		"gzip": bytes.Repeat(member, 256),
	}
}

// TestBombsCostLittle: what a body decodes to beyond its limit is not even made.
func TestBombsCostLittle(t *testing.T) {
	const limit = 1 << 20
	for name, bomb := range bombs() {
		src := &countingReader{r: bytes.NewReader(bomb)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decodeWhole(coding(name), src, limit)
		runtime.ReadMemStats(&after)
		if problemCode(err) != "body_too_large" {
			t.Errorf("%s: %v", name, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 8*limit {
			t.Errorf("%s: %d bytes taken", name, took)
		}
		// The decoder reads a little ahead.
		if src.n > 64<<10 {
			t.Errorf("%s: %d bytes of it were read", name, src.n)
		}
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// TestEncodedLines: acks come while the body does, and a body that turns out bad is
// told like any other, with what is in.
func TestEncodedLines(t *testing.T) {
	for name, writer := range map[string]func(io.Writer) flushWriter{
		"gzip": func(w io.Writer) flushWriter { return gzip.NewWriter(w) },
		"zstd": func(w io.Writer) flushWriter {
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newTestAPI(t, linesConfig)
			a.topic("1")
			r, w := io.Pipe()
			q, err := http.NewRequest("POST", a.url+partitionRecords, r)
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Content-Type", typeNDJSON)
			q.Header.Set("Content-Encoding", name)
			q.Header.Set("Accept-Encoding", "gzip, zstd")
			encoder := writer(w)
			sent := make(chan error, 1)
			go func() {
				_, _ = io.WriteString(encoder, numbered(4))
				sent <- encoder.Flush()
			}()
			res, err := a.client.Do(q)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != 200 || res.Header.Get("Content-Encoding") != "" {
				t.Fatalf("status %d, %v", res.StatusCode, res.Header)
			}
			acks := bufio.NewReader(res.Body)
			first, err := acks.ReadBytes('\n')
			if err != nil {
				t.Fatal(err)
			}
			if a.server.decoders.inside.Load() == 0 {
				t.Error("the decoder is not counted")
			}
			go func() {
				_, _ = io.WriteString(encoder, numbered(3))
				_ = encoder.Flush()
				_, _ = io.WriteString(w, "garbage")
				_ = w.Close()
			}()
			rest, err := io.ReadAll(acks)
			if err != nil {
				t.Fatal(err)
			}
			lines := parseAcks(t, append(first, rest...))
			last := lines[len(lines)-1]
			if last.Code != "invalid_encoding" || last.Status != 400 || last.NoSideEffects || last.Records != 6 {
				t.Errorf("answer %s%s", first, rest)
			}
			if lines[0].Count != 3 {
				t.Errorf("first ack %s", first)
			}
			a.wantNothingHeld()
			if end := decode(t, a.do("GET", "/v1/topics/t/partitions/0/offsets", "").body)["end"]; end != float64(last.Records) {
				t.Errorf("%v records are in, %d are told", end, last.Records)
			}
		})
	}
}

type flushWriter interface {
	io.Writer
	Flush() error
}

// TestDecodersAreBounded by a gate of their own, and those of records by the budget
// for records.
func TestDecodersAreBounded(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.DecodersBytesMax = 1 << 20 })
	a.topic("1")
	full := func(path, media string, body []byte) {
		t.Helper()
		got := a.send("POST", path, bytes.NewReader(gzipped(body)), "Content-Type", media, "Content-Encoding", "gzip")
		p := a.wantProblem(503, "overloaded", got)
		if p["reason"] != "body decoders" || p["limit"] != float64(1<<20) || got.header.Get("Retry-After") == "" {
			t.Errorf("answer %s", got.body)
		}
	}
	a.server.decoders.enter(1 << 20)
	full(partitionRecords, typeJSON, []byte(`{"records":[{"value":"a"}]}`))
	full(partitionRecords, typeNDJSON, []byte("a\n"))
	full(fetchPath, typeJSON, []byte(`{}`))
	a.want(200, a.do("POST", partitionRecords, "plain"))
	a.server.decoders.leave(1 << 20)

	a.node.budget = 200_000
	got := a.send("POST", partitionRecords, bytes.NewReader(zstandard([]byte("a\n"), zstd.WithWindowSize(1<<20))), "Content-Encoding", "zstd")
	if p := a.wantProblem(503, "overloaded", got); p["reason"] != "buffers full" {
		t.Errorf("answer %s", got.body)
	}
	a.node.peak = 0
	a.want(200, a.send("POST", partitionRecords, bytes.NewReader(gzipped([]byte("a"))), "Content-Encoding", "gzip"))
	if a.node.peak < gzipDecoderBytes {
		t.Errorf("at most %d bytes of the budget were taken", a.node.peak)
	}
	a.wantNothingHeld()
}

// TestRetriesMayBeEncoded: a repeat is the same request however it is encoded.
func TestRetriesMayBeEncoded(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	body := []byte(`{"records":[{"value":"once"}]}`)
	for i, e := range encodings {
		got := a.send("POST", partitionRecords, bytes.NewReader(e.encode(body)), "Content-Type", typeJSON,
			"Content-Encoding", e.header, "Idempotency-Key", "k")
		a.want(200, got)
		if again := strings.Contains(string(got.body), `"duplicate":true`); again != (i > 0) {
			t.Errorf("%s: %s", e.name, got.body)
		}
	}
	other := a.send("POST", partitionRecords, bytes.NewReader(gzipped([]byte(`{"records":[{"value":"other"}]}`))),
		"Content-Type", typeJSON, "Content-Encoding", "gzip", "Idempotency-Key", "k")
	a.wantProblem(422, "idempotency_key_reused", other)
}

// The deadline of a body is that of what comes over the wire.
func TestSlowEncodedBodies(t *testing.T) {
	encoded := gzipped(someText(4 << 20)) // of more than a MiB
	if len(encoded) < 600<<10 {
		t.Fatalf("it is but %d bytes", len(encoded))
	}
	for _, c := range []struct {
		perSecond int
		status    int
	}{{16 << 10, 400}, {8 << 10, 408}} { // the latter is well above 16 KiB/s when decoded
		inBubble(t, nil, func(a *pipeAPI) {
			a.createTopic()
			conn := a.dial()
			sent := make(chan struct{})
			defer func() {
				conn.Close()
				<-sent
			}()
			go func() {
				defer close(sent)
				_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
					partitionRecords, typeJSON, len(encoded))
				for piece := range slices.Chunk(encoded, c.perSecond) {
					if err != nil {
						break
					}
					_, err = conn.Write(piece)
					time.Sleep(time.Second) // of virtual time
				}
			}()
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(res.Body)
			if res.StatusCode != c.status {
				t.Errorf("%d bytes a second: %d %s", c.perSecond, res.StatusCode, text)
			}
		})
	}
}

// Encoded lines may be slow for ever, as long as lines come.
func TestSlowEncodedLines(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		conn := a.dial()
		sent := make(chan struct{})
		defer func() {
			conn.Close()
			<-sent
		}()
		go func() {
			defer close(sent)
			_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", partitionRecords, typeNDJSON)
			w := gzip.NewWriter(chunkWriter{conn})
			for range 100 {
				_, _ = io.WriteString(w, "a\n")
				_ = w.Flush()
				time.Sleep(9 * time.Second) // of virtual time
			}
			_, _ = io.WriteString(w, "b") // and then a line without an end
			_ = w.Flush()
		}()
		begin := time.Now()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		acks := parseAcks(t, text)
		last := acks[len(acks)-1]
		if last.Code != "slow_body" || last.Records != 100 {
			t.Errorf("last line %+v", last)
		}
		if elapsed := time.Since(begin); elapsed < 900*time.Second || elapsed > 920*time.Second {
			t.Errorf("it ended after %s", elapsed)
		}
		synctest.Wait()
		if a.node.reserved != 0 || a.server.decoders.inside.Load() != 0 {
			t.Error("not all was given back")
		}
	})
}

type chunkWriter struct{ w io.Writer }

func (c chunkWriter) Write(p []byte) (int, error) {
	if _, err := fmt.Fprintf(c.w, "%x\r\n%s\r\n", len(p), p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// FuzzBodyDecoder: what is taken is what others make of it, within the limit.
func FuzzBodyDecoder(f *testing.F) {
	for _, e := range encodings[1:] {
		c, _ := parseCoding(e.header)
		f.Add(c == codingZstd, e.encode([]byte("some text, some text")), uint16(100))
		f.Add(c == codingZstd, e.encode(nil), uint16(0))
	}
	f.Fuzz(func(t *testing.T, isZstd bool, encoded []byte, limit uint16) {
		c := codingGzip
		if isZstd {
			c = codingZstd
		}
		got, err := decodeWhole(c, bytes.NewReader(encoded), int64(limit))
		if err != nil {
			if code := problemCode(err); code != "invalid_encoding" && code != "body_too_large" {
				t.Fatalf("error %v", err)
			}
			return
		}
		if len(got) > int(limit) {
			t.Fatalf("%d bytes, the limit is %d", len(got), limit)
		}
		var want []byte
		if isZstd {
			d, newErr := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(1<<30))
			if newErr != nil {
				t.Fatal(newErr)
			}
			defer d.Close()
			want, err = d.DecodeAll(encoded, nil)
		} else {
			var r *gzip.Reader
			if r, err = gzip.NewReader(bytes.NewReader(encoded)); err == nil {
				want, err = io.ReadAll(r)
			}
		}
		if err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes; another decoder: %d bytes, %v", len(got), len(want), err)
		}
	})
}
