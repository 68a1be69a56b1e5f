package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
)

// ackLine is any line of the answer to an NDJSON body.
type ackLine struct {
	First   int64 `json:"first_record"`
	Count   int64
	Results []struct {
		Partition  int32
		BaseOffset *int64 `json:"base_offset"`
		Count      int64
		Duplicate  bool
	}
	Done          bool
	Records       int64
	Code          string
	Status        int
	NoSideEffects bool `json:"no_side_effects"`
}

func parseAcks(t interface{ Fatalf(string, ...any) }, text []byte) []ackLine {
	var lines []ackLine
	for line := range bytes.Lines(text) {
		var l ackLine
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		lines = append(lines, l)
	}
	return lines
}

// linesConfig makes chunks of three lines that are never cut by time.
func linesConfig(c *Config) {
	c.ChunkRecordsMax = 3
	c.ChunkLinger = time.Hour
	c.ChunksInFlightMax = 2
}

// numbered is n lines that hold their numbers.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

func (a *testAPI) values(partition int) string {
	a.t.Helper()
	return string(a.want(200, a.do("GET", fmt.Sprintf("/v1/topics/t/partitions/%d/records?offset=earliest&values_only=true&max_bytes=67108864", partition), "", "Accept", typeNDJSON)).body)
}

func TestChunksInOrder(t *testing.T) {
	inBubble(t, linesConfig, func(a *pipeAPI) {
		a.createTopic()
		var (
			mu        sync.Mutex
			now, most int
			answered  bool // the first chunk is in
		)
		a.node.before = func(_ context.Context, first int64, opts ingest.Options) error {
			mu.Lock()
			now++
			most = max(most, now)
			if first > 0 && !answered {
				t.Errorf("chunk at %d is on its way beside the first", first)
			}
			mu.Unlock()
			opts.Placed()
			time.Sleep(time.Second) // of virtual time: whatever may come beside it comes now
			mu.Lock()
			answered = true
			now--
			mu.Unlock()
			return nil
		}
		res, text, _ := a.ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: 20\r\nConnection: close\r\n\r\n%s", partitionRecords, typeNDJSON, numbered(10)))
		acks := parseAcks(t, []byte(text))
		if res.StatusCode != 200 || len(acks) != 5 || !acks[4].Done || acks[4].Records != 10 {
			t.Fatalf("%d %s", res.StatusCode, text)
		}
		next := int64(0)
		for _, ack := range acks[:4] {
			if ack.First != next {
				t.Fatalf("acks out of order: %s", text)
			}
			next += ack.Count
		}
		if next != 10 || most != 2 {
			t.Errorf("%d records, %d chunks at a time", next, most)
		}
	})
}

// As many chunks as may be are on their way at once.
func TestChunksOverlap(t *testing.T) {
	a := newTestAPI(t, func(c *Config) {
		linesConfig(c)
		c.ChunksInFlightMax = 4
	})
	a.topic("1")
	var together sync.WaitGroup
	together.Add(4)
	a.node.before = func(_ context.Context, first int64, opts ingest.Options) error {
		opts.Placed()
		if first > 0 {
			together.Done()
			together.Wait() // hangs unless four chunks are on their way at once
		}
		return nil
	}
	got := a.want(200, a.do("POST", partitionRecords, numbered(15), "Content-Type", typeNDJSON))
	if acks := parseAcks(t, got.body); len(acks) != 6 || acks[5].Records != 15 {
		t.Fatalf("answer %s", got.body)
	}
}

// Without a word about its place a chunk is taken to have none before it is in.
func TestChunksWaitForTheirPlace(t *testing.T) {
	a := newTestAPI(t, linesConfig)
	a.topic("1")
	var mu sync.Mutex
	now := 0
	a.node.before = func(context.Context, int64, ingest.Options) error {
		mu.Lock()
		now++
		alone := now == 1
		mu.Unlock()
		defer func() {
			mu.Lock()
			now--
			mu.Unlock()
		}()
		if !alone {
			return fmt.Errorf("two chunks without a place at a time")
		}
		return nil
	}
	got := a.want(200, a.do("POST", partitionRecords, numbered(100), "Content-Type", typeNDJSON))
	if acks := parseAcks(t, got.body); !acks[len(acks)-1].Done {
		t.Fatalf("answer %s", got.body)
	}
	if got := a.values(0); got != numbered(100) {
		t.Fatalf("values %q", got)
	}
}

func TestFirstChunkDecidesTheStatus(t *testing.T) {
	a := newTestAPI(t, linesConfig)
	a.topic("1")
	a.node.before = func(context.Context, int64, ingest.Options) error {
		return &ingest.OverloadedError{Reason: "store away", RetryAfter: time.Second}
	}
	got := a.do("POST", partitionRecords, numbered(100), "Content-Type", typeNDJSON)
	if p := a.wantProblem(503, "overloaded", got); p["no_side_effects"] != true {
		t.Errorf("problem %s", got.body)
	}
	a.node.before = nil
	// A bad line in the first chunk: nothing is in.
	a.wantProblem(400, "invalid_record", a.do("POST", partitionRecords+"?key_field=k", "{}\n[]\n{}\n{}\n", "Content-Type", typeNDJSON))
	if got := a.values(0); got != "" {
		t.Fatalf("values %q", got)
	}
}

func TestLaterChunkEndsTheStream(t *testing.T) {
	a := newTestAPI(t, func(c *Config) {
		linesConfig(c)
		c.ChunksInFlightMax = 3
	})
	a.topic("1")
	for _, c := range []struct {
		name        string
		outcome     map[int64]error // by the chunk's first record
		code        string
		status      int
		in          int64
		failed      int64
		acks        int
		sideEffects bool
	}{
		{"second", map[int64]error{3: context.DeadlineExceeded}, "timeout", 503, 3, 3, 1, true},
		// Those on their way beside the one that failed are in, and said to be.
		{"second of four", map[int64]error{3: context.DeadlineExceeded, 6: nil, 9: nil}, "timeout", 503, 9, 3, 3, true},
		{"unknown outweighs", map[int64]error{3: context.DeadlineExceeded, 6: ingest.ErrOutcomeUnknown, 9: nil}, "outcome_unknown", 504, 6, 6, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var together sync.WaitGroup
			together.Add(len(c.outcome))
			a.node.mu.Lock()
			a.node.produced = 0
			a.node.mu.Unlock()
			a.node.before = func(_ context.Context, first int64, opts ingest.Options) error {
				if first == 0 {
					return nil
				}
				if len(c.outcome) > 1 {
					opts.Placed()
				}
				together.Done()
				together.Wait()
				return c.outcome[first]
			}
			got := a.want(200, a.do("POST", partitionRecords, numbered(30), "Content-Type", typeNDJSON))
			acks := parseAcks(t, got.body)
			last := acks[len(acks)-1]
			if len(acks) != c.acks+1 || last.Code != c.code || last.Status != c.status || last.Records != c.in || last.First != c.failed || last.NoSideEffects == c.sideEffects {
				t.Errorf("answer %s", got.body)
			}
			in := int64(0)
			for _, ack := range acks[:len(acks)-1] {
				in += ack.Count
			}
			if in != c.in {
				t.Errorf("%d records acknowledged, %d said to be in", in, c.in)
			}
		})
	}
	a.node.before = nil
}

func TestBadLineAfterTheFirstChunk(t *testing.T) {
	a := newTestAPI(t, linesConfig)
	a.topic("1")
	a.want(200, a.do("PATCH", "/v1/topics/t", `{"config":{"max.message.bytes":10}}`))
	got := a.want(200, a.do("POST", partitionRecords, numbered(7)+strings.Repeat("x", 11)+"\n"+numbered(7), "Content-Type", typeNDJSON))
	acks := parseAcks(t, got.body)
	last := acks[len(acks)-1]
	// The line is in the third chunk, which is refused as a whole.
	if len(acks) != 3 || last.Code != "record_too_large" || last.Status != 413 || last.Records != 6 || last.First != 6 || !strings.Contains(string(got.body), `"line":8`) {
		t.Fatalf("answer %s", got.body)
	}
	if got := a.values(0); got != numbered(6) {
		t.Fatalf("values %q", got)
	}
}

// Acks go out while the body still comes in.
func TestAcksDuringTheBody(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.ChunkLinger = time.Millisecond })
	a.topic("1")
	in, out := io.Pipe()
	r, err := http.NewRequest("POST", a.url+partitionRecords, in)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", typeNDJSON)
	go func() { _, _ = io.WriteString(out, "0\n") }()
	res, err := a.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	acks := bufio.NewReader(res.Body)
	for i := range 5 {
		line, err := acks.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		if ack := parseAcks(t, line)[0]; ack.First != int64(i) || ack.Count != 1 {
			t.Fatalf("ack %s", line)
		}
		if i < 4 {
			fmt.Fprintln(out, i+1)
		}
	}
	_ = out.Close()
	line, err := acks.ReadBytes('\n')
	if err != nil || string(line) != `{"done":true,"records":5}`+"\n" {
		t.Fatalf("last line %s, %v", line, err)
	}
}

// A body of any length goes through a small budget.
func TestLinesInBoundedMemory(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.ChunkBytesMax = 128 << 10 })
	a.topic("1")
	a.node.budget = 1 << 20
	line := strings.Repeat("x", 999) + "\n"
	body := strings.NewReader(strings.Repeat(line, 16_000))
	got := a.want(200, a.send("POST", partitionRecords, struct{ io.Reader }{body}, "Content-Type", typeNDJSON))
	acks := parseAcks(t, got.body)
	if last := acks[len(acks)-1]; !last.Done || last.Records != 16_000 {
		t.Fatalf("last line %+v", last)
	}
	if a.node.peak > a.node.budget || a.node.reserved != 0 {
		t.Errorf("at most %d bytes were reserved, %d are left", a.node.peak, a.node.reserved)
	}
}

// A stream that finds the budget taken by itself waits; by others, it ends.
func TestLinesWaitForTheirOwnBudget(t *testing.T) {
	a := newTestAPI(t, func(c *Config) {
		c.ChunkBytesMax = 64 << 10
		c.ChunkLinger = time.Hour
		c.ChunksInFlightMax = 8
	})
	a.topic("1")
	a.node.budget = readBlocks*blockLen + 400_000
	a.node.before = func(_ context.Context, _ int64, opts ingest.Options) error {
		opts.Placed()
		return nil
	}
	body := strings.Repeat(strings.Repeat("x", 99)+"\n", 20_000)
	got := a.want(200, a.do("POST", partitionRecords, body, "Content-Type", typeNDJSON))
	acks := parseAcks(t, got.body)
	if last := acks[len(acks)-1]; !last.Done || last.Records != 20_000 {
		t.Fatalf("last line %+v", last)
	}
	if a.node.reserved != 0 {
		t.Errorf("%d bytes are left", a.node.reserved)
	}
}

func TestConditionsOfAStream(t *testing.T) {
	a := newTestAPI(t, linesConfig)
	a.topic("1")
	id := fmt.Sprintf("%.0f", decode(t, a.want(200, a.do("POST", "/v1/producers", "")).body)["producer_id"])
	producer := []string{"Content-Type", typeNDJSON, "Producer-Id", id, "Producer-Epoch", "0", "Producer-Seq"}
	got := a.want(200, a.do("POST", partitionRecords, numbered(8), append(producer, "0", "Expected-Offset", "0")...))
	if acks := parseAcks(t, got.body); len(acks) != 4 || !acks[3].Done {
		t.Fatalf("answer %s", got.body)
	}
	// Sent again, the chunks are the same and so known.
	got = a.want(200, a.do("POST", partitionRecords, numbered(8), append(producer, "0")...))
	for i, ack := range parseAcks(t, got.body)[:3] {
		if !ack.Results[0].Duplicate || *ack.Results[0].BaseOffset != int64(3*i) {
			t.Fatalf("answer %s", got.body)
		}
	}
	a.want(200, a.do("POST", partitionRecords, numbered(3), append(producer, "8")...))
	a.wantProblem(412, "offset_mismatch", a.do("POST", partitionRecords, numbered(8), "Content-Type", typeNDJSON, "Expected-Offset", "8"))
	if got := a.values(0); got != numbered(8)+numbered(3) {
		t.Fatalf("values %q", got)
	}
	// The sequence wraps around to 0 after the largest.
	var bases []int32
	a.node.before = func(_ context.Context, _ int64, opts ingest.Options) error {
		bases = append(bases, opts.Producer.BaseSequence)
		return catalog.ErrUnknownProducer
	}
	l := &lineStream{produceRequest: &produceRequest{exchange: &exchange{s: a.server, r: httpRequest(t)}}}
	l.opts.Producer.BaseSequence = 1<<31 - 2
	l.opts.Expected = catalog.AnyOffset
	topic, _ := a.node.View().TopicByName("t")
	for _, first := range []int64{1, 2, 1<<31 + 1} {
		c := &lineChunk{first: first, placed: make(chan struct{}), done: make(chan struct{})}
		l.commit(c, topic)
	}
	if fmt.Sprint(bases) != "[2147483647 0 2147483647]" {
		t.Errorf("sequences %v", bases)
	}
}

func httpRequest(t *testing.T) *http.Request {
	r, err := http.NewRequest("POST", "http://localhost/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A client that goes away in the middle leaves whole chunks, and nothing that runs.
func TestClientLeavesDuringTheBody(t *testing.T) {
	a := newTestAPI(t, linesConfig)
	a.topic("1")
	in, out := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "POST", a.url+partitionRecords, in)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", typeNDJSON)
	go func() { _, _ = io.WriteString(out, numbered(4)) }()
	res, err := a.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(res.Body).ReadBytes('\n')
	if err != nil || parseAcks(t, line)[0].Count != 3 {
		t.Fatalf("ack %s, %v", line, err)
	}
	cancel()
	_ = out.CloseWithError(context.Canceled) // not the end of the body
	_ = res.Body.Close()
	if got := a.values(0); got != numbered(3) {
		t.Fatalf("values %q", got)
	}
}

// Whatever the lines, the chunks and the pieces in which the body comes: the
// records are the lines, in order.
func TestLinesBecomeRecords(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := newTestAPI(t, func(c *Config) {
			c.ChunkBytesMax = rapid.IntRange(1, 200).Draw(rt, "chunk bytes")
			c.ChunkRecordsMax = rapid.IntRange(1, 20).Draw(rt, "chunk records")
			c.ChunksInFlightMax = rapid.IntRange(1, 4).Draw(rt, "in flight")
			c.ChunkLinger = time.Duration(rapid.IntRange(1, 3).Draw(rt, "linger")) * time.Millisecond
		})
		a.topic("1")
		lines := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte().Filter(func(b byte) bool { return b != '\n' }), 0, 60), 1, 60).Draw(rt, "lines")
		body := append(bytes.Join(lines, []byte("\n")), '\n')
		sent := body
		if len(lines[len(lines)-1]) > 0 && rapid.Bool().Draw(rt, "no line end") {
			sent = body[:len(body)-1]
		}
		pieces := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "pieces"), 0))
		got := a.want(200, a.send("POST", partitionRecords, &piecemeal{rest: sent, rand: pieces}, "Content-Type", typeNDJSON))
		acks := parseAcks(rt, got.body)
		last := acks[len(acks)-1]
		if !last.Done || last.Records != int64(len(lines)) {
			rt.Fatalf("%d lines were answered %s", len(lines), got.body)
		}
		if got := a.values(0); got != string(body) {
			rt.Fatalf("values %q, want %q", got, body)
		}
	})
}

// piecemeal is a reader of random small pieces.
type piecemeal struct {
	rest []byte
	rand *rand.Rand
}

func (p *piecemeal) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 1+p.rand.IntN(40))], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
