package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wadilog/wadi/client"
)

func TestTopics(t *testing.T) {
	c, name := dial(t, 2)
	ctx := t.Context()
	topic, err := c.GetTopic(ctx, name)
	if err != nil || topic.Name != name || topic.Partitions != 2 || topic.Config["retention.ms"] != "-1" {
		t.Fatalf("%+v, %v", topic, err)
	}
	if again, created, err := c.CreateTopic(ctx, name, client.TopicSettings{Partitions: 2}); err != nil || created || again.ID != topic.ID {
		t.Errorf("%+v, %v, %v", again, created, err)
	}
	if _, _, err := c.CreateTopic(ctx, name, client.TopicSettings{Partitions: 3}); !errors.Is(err, client.ErrTopicExists) || !client.HadNoEffect(err) {
		t.Errorf("%v", err)
	}
	settings := client.TopicConfig{"retention.ms": "1000", "compression.type": "zstd"}
	altered, err := c.AlterTopic(ctx, name, client.TopicSettings{Partitions: 3, Config: settings})
	if err != nil || altered.Partitions != 3 || altered.Config["retention.ms"] != "1000" || altered.Config["compression.type"] != "zstd" {
		t.Errorf("%+v, %v", altered, err)
	}
	altered, err = c.AlterTopic(ctx, name, client.TopicSettings{Reset: []string{"retention.ms"}})
	if err != nil || altered.Config["retention.ms"] != "-1" || altered.Config["compression.type"] != "zstd" {
		t.Errorf("%+v, %v", altered, err)
	}
	if _, err := c.AlterTopic(ctx, name, client.TopicSettings{Partitions: 1}); !errors.Is(err, client.ErrPartitionsShrink) {
		t.Errorf("%v", err)
	}
	var names []string
	for topic, err := range c.Topics(ctx, name) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, topic.Name)
	}
	if !slices.Equal(names, []string{name}) {
		t.Errorf("topics %v", names)
	}
	if err := c.DeleteTopic(ctx, name); err != nil {
		t.Error(err)
	}
	var refused *client.Error
	if _, err := c.GetTopic(ctx, name); !errors.As(err, &refused) || !errors.Is(err, client.ErrTopicNotFound) ||
		refused.Status != 404 || refused.Retryable || !refused.NoSideEffects || refused.RequestID == "" {
		t.Errorf("%+v", err)
	}
	if _, err := c.OpenTopic(ctx, name); !errors.Is(err, client.ErrTopicNotFound) {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", ".", ".."} {
		if _, err := c.GetTopic(ctx, bad); !errors.Is(err, client.ErrInvalidArgument) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAppendConditions(t *testing.T) {
	c, topic := dial(t, 1)
	ctx := t.Context()
	at := time.UnixMilli(1_700_000_000_000)
	records := []client.Record{
		{Key: []byte("k"), Value: []byte("v"), Headers: []client.Header{{"a", []byte("1")}, {"b", nil}}, Timestamp: at},
		{Value: nil, Timestamp: at.Add(-time.Second)},
	}
	a, err := c.Append(ctx, topic, 0, records, client.AppendOptions{ExpectedOffset: new(int64)})
	if err != nil || a.BaseOffset != 0 || a.Count != 2 || !a.Timestamp.Equal(at) || a.Duplicate {
		t.Fatalf("%+v, %v", a, err)
	}
	var refused *client.Error
	_, err = c.Append(ctx, topic, 0, records, client.AppendOptions{ExpectedOffset: new(int64(1))})
	if !errors.Is(err, client.ErrOffsetMismatch) || !errors.As(err, &refused) || refused.EndOffset != 2 || refused.ExpectedSequence != client.NoValue {
		t.Errorf("%v", err)
	}

	if err := c.SetFencingToken(ctx, topic, 0, "writer-1"); err != nil {
		t.Fatal(err)
	}
	if _, err = c.Append(ctx, topic, 0, records, client.AppendOptions{FencingToken: "writer-1"}); err != nil {
		t.Error(err)
	}
	if err := c.ReplaceFencingToken(ctx, topic, 0, "writer-0", "writer-2"); !errors.Is(err, client.ErrFencingTokenMismatch) {
		t.Errorf("%v", err)
	}
	if err := c.ReplaceFencingToken(ctx, topic, 0, "writer-1", "writer-2"); err != nil {
		t.Error(err)
	}
	_, err = c.Append(ctx, topic, 0, records, client.AppendOptions{FencingToken: "writer-1"})
	if !errors.Is(err, client.ErrFencingTokenMismatch) || !errors.As(err, &refused) || refused.Token != "writer-2" {
		t.Errorf("%v", err)
	}
	if token, err := c.FencingToken(ctx, topic, 0); err != nil || token != "writer-2" {
		t.Errorf("%q, %v", token, err)
	}
	if err := c.SetFencingToken(ctx, topic, 0, ""); err != nil {
		t.Error(err)
	}
	if token, err := c.FencingToken(ctx, topic, 0); err != nil || token != "" {
		t.Errorf("%q, %v", token, err)
	}

	opts := client.AppendOptions{IdempotencyKey: client.NewIdempotencyKey()}
	first, err := c.Append(ctx, topic, 0, records, opts)
	if err != nil || first.Duplicate {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := c.Append(ctx, topic, 0, records, opts)
	if err != nil || !again.Duplicate || again.BaseOffset != first.BaseOffset {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := c.Append(ctx, topic, 0, records[:1], opts); !errors.Is(err, client.ErrIdempotencyKeyReused) {
		t.Errorf("%v", err)
	}

	id, epoch, err := c.NewProducerID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s := client.Sequence{ProducerID: id, Epoch: epoch}
	if _, err := c.Append(ctx, topic, 0, records, client.AppendOptions{Sequence: &s}); err != nil {
		t.Error(err)
	}
	gap := s.Next(5)
	_, err = c.Append(ctx, topic, 0, records, client.AppendOptions{Sequence: &gap})
	if !errors.Is(err, client.ErrOutOfOrderSequence) || !errors.As(err, &refused) || refused.ExpectedSequence != 2 {
		t.Errorf("%v", err)
	}
	if same, higher, err := c.RaiseEpoch(ctx, id); err != nil || same != id || higher <= epoch {
		t.Errorf("%d, %d, %v", same, higher, err)
	}
	next := s.Next(2)
	if _, err := c.Append(ctx, topic, 0, records, client.AppendOptions{Sequence: &next}); !errors.Is(err, client.ErrProducerFenced) {
		t.Errorf("%v", err)
	}
	if s := (client.Sequence{First: 1<<31 - 1}).Next(2); s.First != 1 {
		t.Errorf("sequence %d after the last", s.First)
	}

	for _, opts := range []client.AppendOptions{
		{Acks: client.AcksOne, FencingToken: "x"}, {Acks: client.AcksOne, Sequence: &s}, {IdempotencyKey: "x", Sequence: &s}, {Acks: 7}, {Compression: 7},
	} {
		if _, err := c.Append(ctx, topic, 0, records, opts); !errors.Is(err, client.ErrInvalidArgument) || !client.HadNoEffect(err) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
	if _, err := c.Append(ctx, topic, 0, nil, client.AppendOptions{}); !errors.Is(err, client.ErrInvalidArgument) {
		t.Errorf("%v", err)
	}

	f, err := c.Fetch(ctx, client.Fetch{Topic: topic})
	if err != nil || f.Len() < 2 {
		t.Fatalf("%v", err)
	}
	got := slices.Collect(f.Records())
	if r := got[0]; string(r.Key) != "k" || string(r.Value) != "v" || !r.Timestamp.Equal(at) || r.Topic != topic || r.Offset != 0 ||
		len(r.Headers) != 2 || string(r.Headers[0].Value) != "1" || r.Headers[1].Value != nil {
		t.Errorf("%+v", r)
	}
	if r := got[1]; r.Key != nil || r.Value != nil || r.Offset != 1 {
		t.Errorf("%+v", r)
	}
	o, found, err := c.OffsetsAt(ctx, topic, 0, at)
	if err != nil || o.Start != 0 || o.End != f.NextOffset || found == nil || found.Offset != 0 {
		t.Errorf("%+v, %+v, %v", o, found, err)
	}
	if _, found, err := c.OffsetsAt(ctx, topic, 0, at.Add(time.Hour)); err != nil || found != nil {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestAppendEncoded(t *testing.T) {
	c, topic := dial(t, 1)
	ctx := t.Context()
	count := 0
	for format, body := range map[client.Format]string{
		client.FormatJSON:   `{"records":[{"value":"a"},{"value":"b"}]}`,
		client.FormatNDJSON: strings.Repeat("line\n", 25_000),
		client.FormatRaw:    "raw",
	} {
		a, err := c.AppendEncoded(ctx, topic, 0, format, []byte(body), client.AppendOptions{})
		if want := map[client.Format]int{client.FormatJSON: 2, client.FormatNDJSON: 25_000, client.FormatRaw: 1}[format]; err != nil ||
			a.Count != want || a.BaseOffset != int64(count) {
			t.Errorf("format %d: %+v, %v", format, a, err)
		}
		count += a.Count
	}
	if _, err := c.AppendEncoded(ctx, topic, 0, client.FormatJSON, []byte("{"), client.AppendOptions{}); !errors.Is(err, client.ErrInvalidJSON) {
		t.Errorf("%v", err)
	}
	for _, format := range []client.Format{client.FormatRecordBatch, client.FormatJSON, client.FormatNDJSON} {
		got, err := c.FetchEncoded(ctx, client.Fetch{Topic: topic, Offset: int64(count) - 1}, format)
		if err != nil || got.NextOffset != int64(count) || len(got.Body) == 0 {
			t.Errorf("format %d: next %d, %v", format, got.NextOffset, err)
		}
	}
	id, epoch, err := c.NewProducerID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for attempt := range 2 {
		a, err := c.AppendEncoded(ctx, topic, 0, client.FormatRaw, []byte("x"), client.AppendOptions{Sequence: &client.Sequence{ProducerID: id, Epoch: epoch}})
		if err != nil || a.Duplicate != (attempt == 1) {
			t.Errorf("attempt %d: %+v, %v", attempt, a, err)
		}
	}
}

// produce writes n records, numbered in each partition, and returns how many
// each partition has.
func produce(t *testing.T, c *client.Client, topic string, from, n int) {
	t.Helper()
	p, err := c.NewProducer(client.ProducerConfig{Topic: topic, Compression: client.Zstd, BatchBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := p.Produce(t.Context(), client.Record{Key: strconv.AppendInt(nil, int64(i%50), 10), Value: strconv.AppendInt(nil, int64(from+i), 10)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestReader(t *testing.T) {
	c, topic := dial(t, 3)
	ctx := t.Context()
	produce(t, c, topic, 0, 3000)

	read := func(cfg client.ReaderConfig) map[string]bool {
		t.Helper()
		cfg.Topic = topic
		r, err := c.NewReader(cfg)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]bool{}
		next := map[int32]int64{}
		for record, err := range r.Records(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if at, ok := next[record.Partition]; ok && at != record.Offset {
				t.Fatalf("partition %d: offset %d after %d", record.Partition, record.Offset, at)
			}
			next[record.Partition] = record.Offset + 1
			all[string(record.Value)] = true
		}
		for p, at := range next {
			if offset, ok := r.Offset(p); !ok || offset != at {
				t.Errorf("partition %d is said to be read up to %d, not %d", p, offset, at)
			}
		}
		return all
	}
	if all := read(client.ReaderConfig{To: client.Latest()}); len(all) != 3000 {
		t.Errorf("%d records", len(all))
	}
	if all := read(client.ReaderConfig{To: client.Latest(), FetchBytes: 1, Requests: 1}); len(all) != 3000 {
		t.Errorf("%d records of small answers", len(all))
	}
	if all := read(client.ReaderConfig{Partitions: []int32{1}, From: client.AtOffset(5), To: client.AtOffset(17)}); len(all) != 12 {
		t.Errorf("%d records between 5 and 17", len(all))
	}
	if all := read(client.ReaderConfig{To: client.Latest(), FetchBytes: 5000, ClosedRanges: true}); len(all) != 3000 {
		t.Errorf("%d records in closed ranges", len(all))
	}
	if all := read(client.ReaderConfig{Partitions: []int32{1}, From: client.AtOffset(5), To: client.AtOffset(17), ClosedRanges: true}); len(all) != 12 {
		t.Errorf("%d records of the closed range from 5 to 17", len(all))
	}
	if _, err := c.NewReader(client.ReaderConfig{Topic: topic, ClosedRanges: true}); err == nil {
		t.Error("closed ranges without an end")
	}
	if all := read(client.ReaderConfig{From: client.Latest(), To: client.Latest()}); len(all) != 0 {
		t.Errorf("%d records after the end", len(all))
	}
	if all := read(client.ReaderConfig{From: client.AtTime(time.Now().Add(time.Hour)), To: client.Latest()}); len(all) != 0 {
		t.Errorf("%d records in the future", len(all))
	}
	if all := read(client.ReaderConfig{From: client.AtTime(time.UnixMilli(0)), To: client.Latest()}); len(all) != 3000 {
		t.Errorf("%d records since 1970", len(all))
	}
}

// TestReaderGoesOn: a loop that was left is taken up by the next, and waits for
// what comes.
func TestReaderGoesOn(t *testing.T) {
	c, topic := dial(t, 2)
	produce(t, c, topic, 0, 500)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := c.NewReader(client.ReaderConfig{Topic: topic, FetchBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for loops := 0; len(seen) < 500; loops++ {
		if loops > 500 {
			t.Fatal("the loops do not go on")
		}
		n := 0
		for record, err := range r.Records(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			seen[string(record.Value)]++
			if n++; n == 37 || len(seen) == 500 {
				break
			}
		}
	}
	produce(t, c, topic, 500, 500)
	for f, err := range r.Fetches(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		for record := range f.Records() {
			seen[string(record.Value)]++
		}
		if len(seen) == 1000 {
			break
		}
	}
	for value, n := range seen {
		if n != 1 {
			t.Errorf("record %s came %d times", value, n)
		}
	}
	cancel()
	for _, err := range r.Records(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
}

func TestReaderOutOfRange(t *testing.T) {
	c, topic := dial(t, 1)
	produce(t, c, topic, 0, 100)
	if start, err := c.Trim(t.Context(), topic, 0, 40); err != nil || start != 40 {
		t.Fatalf("%d, %v", start, err)
	}
	for from, want := range map[int64]client.Code{10: client.ErrOffsetBelowStart, 101: client.ErrOffsetAboveEnd} {
		r, err := c.NewReader(client.ReaderConfig{Topic: topic, From: client.AtOffset(from)})
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for _, err := range r.Records(t.Context()) {
			count++
			var refused *client.Error
			if !errors.Is(err, want) || !errors.As(err, &refused) || refused.LogStartOffset != 40 || refused.HighWatermark != 100 {
				t.Errorf("from %d: %v", from, err)
			}
		}
		if count != 1 {
			t.Errorf("from %d: %d steps", from, count)
		}
	}
	for _, cfg := range []client.ReaderConfig{
		{}, {Topic: topic, FetchBytes: -1}, {Topic: topic, Wait: time.Hour}, {Topic: topic, Requests: -1},
		{Topic: topic, From: client.AtOffset(-1)}, {Topic: topic, Partitions: []int32{0, 1, 0}},
	} {
		if _, err := c.NewReader(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
	r, err := c.NewReader(client.ReaderConfig{Topic: topic, Partitions: []int32{9}})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range r.Records(t.Context()) {
		if !errors.Is(err, client.ErrPartitionNotFound) {
			t.Errorf("%v", err)
		}
	}
}

// badNetwork loses requests and answers on their way to a real node, delays
// them, and lets some arrive after they were given up.
type badNetwork struct {
	next http.RoundTripper
	late sync.WaitGroup

	mu     sync.Mutex
	rand   *rand.Rand
	counts map[string]int
}

func (n *badNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/records") {
		return n.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	n.mu.Lock()
	kind := []string{"", "", "", "before", "after", "late", "503", "504"}[n.rand.IntN(8)]
	delay := time.Duration(n.rand.IntN(30)) * time.Millisecond
	n.counts[kind]++
	n.mu.Unlock()
	lost := &http.Response{StatusCode: 504, Header: http.Header{"Content-Type": {"text/html"}}, Body: http.NoBody, Request: r}
	switch kind {
	case "before":
		return nil, io.ErrUnexpectedEOF
	case "503":
		text := `{"code":"overloaded","retryable":true,"no_side_effects":true}`
		return &http.Response{StatusCode: 503, Body: io.NopCloser(strings.NewReader(text)), Request: r,
			Header: http.Header{"Content-Type": {"application/problem+json"}, "Retry-After": {"0"}}}, nil
	case "late":
		n.late.Go(func() {
			time.Sleep(5 * delay)
			again := r.Clone(context.WithoutCancel(r.Context()))
			again.Body = io.NopCloser(bytes.NewReader(body))
			if res, err := n.next.RoundTrip(again); err == nil {
				_ = res.Body.Close()
			}
		})
		return nil, io.ErrUnexpectedEOF
	}
	res, err := n.next.RoundTrip(r)
	time.Sleep(delay)
	if err == nil && (kind == "after" || kind == "504") {
		_ = res.Body.Close()
		if kind == "504" {
			return lost, nil
		}
		return nil, io.ErrUnexpectedEOF
	}
	return res, err
}

// TestProducerOverABadNetwork: what a real node took and did not get to say, it
// says when it is asked again.
func TestProducerOverABadNetwork(t *testing.T) {
	for _, inFlight := range []int{1, 5} {
		t.Run(strconv.Itoa(inFlight), func(t *testing.T) {
			plain, topic := dial(t, 3)
			transport := client.Transport(16)
			network := &badNetwork{next: transport, rand: rand.New(rand.NewPCG(1, uint64(inFlight))), counts: map[string]int{}}
			defer transport.CloseIdleConnections()
			c, err := client.New(client.Config{Servers: []string{nodeURL()}, HTTPClient: &http.Client{Transport: network}})
			if err != nil {
				t.Fatal(err)
			}
			p, err := c.NewProducer(client.ProducerConfig{Topic: topic, InFlight: inFlight, BatchBytes: 2 << 10})
			if err != nil {
				t.Fatal(err)
			}
			const records = 4000
			var deliveries []client.Delivery
			for i := range records {
				d, err := p.Produce(t.Context(), client.Record{Key: fmt.Appendf(nil, "k%d", i%11), Value: strconv.AppendInt(nil, int64(i), 10)})
				if err != nil {
					t.Fatal(err)
				}
				deliveries = append(deliveries, d)
			}
			if err := p.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			network.late.Wait()
			r, err := plain.NewReader(client.ReaderConfig{Topic: topic, To: client.Latest()})
			if err != nil {
				t.Fatal(err)
			}
			last := map[int32]int{}
			found := 0
			for record, err := range r.Records(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				i, err := strconv.Atoi(string(record.Value))
				if err != nil {
					t.Fatal(err)
				}
				if before, ok := last[record.Partition]; ok && before >= i {
					t.Fatalf("partition %d: record %d after %d", record.Partition, i, before)
				}
				last[record.Partition] = i
				if where, err := deliveries[i].Wait(t.Context()); err != nil || where.Partition != record.Partition || where.Offset != record.Offset {
					t.Fatalf("record %d is at offset %d of partition %d, told %+v, %v", i, record.Offset, record.Partition, where, err)
				}
				found++
			}
			if found != records {
				t.Errorf("%d records", found)
			}
			for _, kind := range []string{"before", "after", "late", "503", "504"} {
				if network.counts[kind] == 0 {
					t.Errorf("no %s among %v", kind, network.counts)
				}
			}
		})
	}
}
