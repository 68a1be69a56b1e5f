package localstack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/internal/recordbatch"
)

const (
	mediaBatch = "application/vnd.kafka.recordbatch.v2"
	mediaJSON  = "application/json"
	mediaLines = "application/x-ndjson"
	mediaRaw   = "text/plain"

	// retryPause is how long a producer waits after it was refused.
	retryPause = 20 * time.Millisecond
	// loadDeadline bounds what a test waits for; far beyond what it takes.
	loadDeadline = 2 * time.Minute
)

// answer is what came back of a request.
type answer struct {
	status     int // 0: there was no whole answer
	retryAfter string
	code       string
	body       []byte
	outcome    outcome
	took       time.Duration
	err        error
}

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %s", a.status, bytes.TrimSpace(a.body))
}

// apiClient talks to one node.
type apiClient struct {
	url  string
	http *http.Client
}

func newAPIClient(t testing.TB, url string) *apiClient {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &apiClient{url: url, http: &http.Client{Transport: transport}}
}

// send sends one request and judges what it did by the answer.
func (c *apiClient) send(ctx context.Context, method, path, media string, body []byte) answer {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return answer{err: err, outcome: noEffect}
	}
	if media != "" {
		request.Header.Set("Content-Type", media)
	}
	if strings.Contains(path, "/records?") && method == http.MethodGet {
		request.Header.Set("Accept", mediaBatch)
	}
	begun := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return answer{err: err, outcome: noEffect, took: time.Since(begun)}
		}
		return answer{err: err, took: time.Since(begun)}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	a := answer{status: response.StatusCode, retryAfter: response.Header.Get("Retry-After"), body: text, err: err, took: time.Since(begun)}
	var problem struct {
		Code          string `json:"code"`
		NoSideEffects bool   `json:"no_side_effects"`
	}
	switch {
	case err != nil:
		a.status = 0
	case a.status < 300:
		a.outcome = acked
	case json.Unmarshal(text, &problem) == nil && problem.NoSideEffects:
		a.code, a.outcome = problem.Code, noEffect
	default:
		a.code = problem.Code
	}
	return a
}

// bases reads the offsets in the answers to produce requests, JSON or a line of
// JSON for each chunk. Those of acks=1 have none.
func (a answer) bases() map[int32]int64 {
	bases := map[int32]int64{}
	for line := range bytes.Lines(a.body) {
		var told struct {
			Results []struct {
				Partition  int32  `json:"partition"`
				BaseOffset *int64 `json:"base_offset"`
			} `json:"results"`
		}
		if json.Unmarshal(line, &told) != nil {
			continue
		}
		for _, r := range told.Results {
			if r.BaseOffset != nil {
				bases[r.Partition] = *r.BaseOffset
			}
		}
	}
	return bases
}

// pause waits for d, as a client does that was refused.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// eventually asks until done answers nil, or ctx ends.
func eventually(ctx context.Context, done func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := done()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
		}
	}
}

// load is producers that go on, whatever happens to the node, until they are
// told to finish.
type load struct {
	api        *apiClient
	name       string // begins the names of its producers
	topic      string
	partitions int
	ledger     *ledger
	kinds      map[kind]int       // producers of each kind
	recordSize int                // bytes of a value at least
	wide       bool               // requests for all partitions, of which some are checked
	extra      int                // acknowledged requests of each producer after finish
	watch      func(kind, answer) // of each answer, if not nil

	life      atomic.Int64
	finishing chan struct{}
	group     *errgroup.Group
}

// start makes the topic as soon as it can and sets the producers to work.
func (l *load) start(ctx context.Context) {
	l.finishing = make(chan struct{})
	var inner context.Context
	l.group, inner = errgroup.WithContext(ctx)
	l.group.Go(func() error {
		if err := l.createTopic(inner); err != nil {
			return err
		}
		for k, n := range l.kinds {
			for i := range n {
				l.group.Go(func() error { return l.produce(inner, k, i) })
			}
		}
		return nil
	})
}

// run starts the producers, and ends them with the test if it has not finished them.
func (l *load) run(ctx context.Context, t testing.TB) {
	ctx, cancel := context.WithCancel(ctx)
	l.start(ctx)
	t.Cleanup(func() {
		cancel()
		_ = l.group.Wait()
	})
}

// awaitAcks returns when that many more requests of a kind are acknowledged.
func (l *load) awaitAcks(ctx context.Context, k kind, more int) error {
	want := l.ledger.count(k, acked) + more
	return eventually(ctx, func() error {
		if got := l.ledger.count(k, acked); got < want {
			return fmt.Errorf("%d requests of kind %s are acknowledged, not yet %d", got, k, want)
		}
		return nil
	})
}

// finish lets every producer end after some more requests, and waits.
func (l *load) finish() error {
	close(l.finishing)
	return l.group.Wait()
}

func (l *load) createTopic(ctx context.Context) error {
	body := fmt.Appendf(nil, `{"partitions":%d}`, l.partitions)
	return eventually(ctx, func() error {
		a := l.api.send(ctx, http.MethodPut, "/v1/topics/"+l.topic, mediaJSON, body)
		if a.status != http.StatusOK && a.status != http.StatusCreated {
			return fmt.Errorf("create the topic: %s", a)
		}
		return nil
	})
}

// produce is one producer: one request at a time, until some after finish.
func (l *load) produce(ctx context.Context, k kind, i int) error {
	name := fmt.Sprintf("%s%s%d", l.name, k, i)
	var id producerID
	if k == idempotent {
		if err := l.newProducer(ctx, &id); err != nil {
			return err
		}
	}
	after := 0
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		select {
		case <-l.finishing:
			if after >= l.extra {
				return nil
			}
		default:
		}
		r := &sentRequest{producer: name, kind: k, life: l.life.Load()}
		path, media, body, err := l.build(r, i, n, &id)
		if err != nil {
			return err
		}
		l.ledger.begin(r)
		a, err := l.deliver(ctx, r, path, media, body)
		if err != nil {
			return fmt.Errorf("%s, request %d: %w", name, n, err)
		}
		if a.outcome == acked {
			select {
			case <-l.finishing:
				after++
			default:
			}
		} else if err := pause(ctx, retryPause); err != nil {
			return err
		}
	}
}

// deliver sends a request, an idempotent one until it is acknowledged.
func (l *load) deliver(ctx context.Context, r *sentRequest, path, media string, body []byte) (answer, error) {
	for {
		a := l.api.send(ctx, http.MethodPost, path, media, body)
		if l.watch != nil {
			l.watch(r.kind, a)
		}
		switch {
		case a.outcome == acked:
			bases := a.bases()
			if r.kind != plainOne && len(bases) != len(r.parts) {
				return a, fmt.Errorf("answer names %d partitions of %d: %s", len(bases), len(r.parts), a)
			}
			l.ledger.settle(r, acked, bases)
			return a, nil
		case a.status >= 400 && a.status < 500:
			return a, fmt.Errorf("refused for good: %s", a)
		case r.kind != idempotent:
			l.ledger.settle(r, a.outcome, nil)
			return a, nil
		}
		if err := pause(ctx, retryPause); err != nil {
			return a, err
		}
	}
}

// producerID is what POST /v1/producers gives, and the next sequence.
type producerID struct {
	ID       int64 `json:"producer_id"`
	Epoch    int16 `json:"epoch"`
	sequence int32
}

func (l *load) newProducer(ctx context.Context, id *producerID) error {
	return eventually(ctx, func() error {
		a := l.api.send(ctx, http.MethodPost, "/v1/producers", "", nil)
		if a.outcome != acked {
			return fmt.Errorf("get a producer id: %s", a)
		}
		return json.Unmarshal(a.body, id)
	})
}

// build makes request n of producer i. Plain producers take turns with the
// forms of body, and with one partition or two.
func (l *load) build(r *sentRequest, i, n int, id *producerID) (path, media string, body []byte, err error) {
	acks := "all"
	if r.kind == plainOne {
		acks = "1"
	}
	first := int32((i + n) % l.partitions)
	if r.kind == idempotent {
		first = int32(i % l.partitions)
	}
	record := 0
	part := func(partition int32, records int) []string {
		p := sentPart{partition: partition, base: -1}
		values := make([]string, records)
		for j := range values {
			name := fmt.Sprintf("%s-%d-%d", r.producer, n, record)
			record++
			p.ids = append(p.ids, name)
			values[j] = name
			if fill := l.recordSize - len(name); fill > 0 {
				values[j] += " " + noise(n+i<<20, fill)
			}
		}
		r.parts = append(r.parts, p)
		return values
	}
	onPartition := fmt.Sprintf("/v1/topics/%s/partitions/%d/records?acks=%s", l.topic, first, acks)
	switch {
	case r.kind == idempotent:
		var records []recordbatch.Record
		for _, value := range part(first, 1+n%4) {
			records = append(records, recordbatch.Record{Timestamp: time.Now().UnixMilli(), Value: []byte(value)})
		}
		body, err = recordbatch.Append(nil, records, recordbatch.LZ4, recordbatch.Producer{ID: id.ID, Epoch: id.Epoch, BaseSequence: id.sequence})
		id.sequence += int32(len(records))
		return onPartition, mediaBatch, body, err
	case n%3 == 1:
		return onPartition, mediaRaw, []byte(part(first, 1)[0]), nil
	case n%3 == 2 && l.recordSize < 1<<10: // a longer body would be more than one chunk
		return onPartition, mediaLines, []byte(strings.Join(part(first, 3), "\n") + "\n"), nil
	default:
		second := (first + 1) % int32(l.partitions)
		type record struct {
			Value     string `json:"value"`
			Partition int32  `json:"partition"`
		}
		var both struct {
			Records []record `json:"records"`
		}
		for _, partition := range []int32{first, second} {
			for _, value := range part(partition, 2) {
				both.Records = append(both.Records, record{value, partition})
			}
			if second == first {
				break
			}
		}
		body, err = json.Marshal(both)
		return fmt.Sprintf("/v1/topics/%s/records?acks=%s", l.topic, acks), mediaJSON, body, err
	}
}

// noise is text that does not compress to nothing.
func noise(seed, size int) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-"
	b := make([]byte, size)
	state := uint64(seed)*0x9e3779b97f4a7c15 + 1
	for i := range b {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		b[i] = letters[state>>58]
	}
	return string(b)
}

// readLog reads a topic from a node: the ids of the records by partition and
// offset. Offsets must be dense from 0, and each batch as its CRC says.
func readLog(ctx context.Context, api *apiClient, topic string, partitions int) ([][]string, error) {
	log := make([][]string, partitions)
	for p := range log {
		var err error
		if log[p], err = readPartition(ctx, api, fmt.Sprintf("/v1/topics/%s/partitions/%d/", topic, p)); err != nil {
			return nil, fmt.Errorf("read partition %d: %w", p, err)
		}
	}
	return log, nil
}

func readPartition(ctx context.Context, api *apiClient, path string) ([]string, error) {
	a := api.send(ctx, http.MethodGet, path+"offsets", "", nil)
	var bounds struct{ Start, End int64 }
	if a.status != http.StatusOK || json.Unmarshal(a.body, &bounds) != nil || bounds.Start != 0 {
		return nil, fmt.Errorf("offsets: %s", a)
	}
	ids := make([]string, 0, bounds.End)
	for int64(len(ids)) < bounds.End {
		from := len(ids)
		a := api.send(ctx, http.MethodGet, path+"records?max_bytes=8388608&offset="+strconv.Itoa(from), "", nil)
		if a.status != http.StatusOK {
			return nil, fmt.Errorf("fetch at %d: %s", from, a)
		}
		for batch, err := range recordbatch.Batches(a.body) {
			if err == nil {
				err = recordbatch.CheckCRC(batch)
			}
			if err != nil {
				return nil, fmt.Errorf("fetch at %d: %w", from, err)
			}
			for record, err := range recordbatch.Records(batch, 64<<20) {
				if err != nil {
					return nil, fmt.Errorf("fetch at %d: %w", from, err)
				}
				if int(record.Offset) < from {
					continue // a batch may begin before what was asked for
				}
				if int(record.Offset) != len(ids) {
					return nil, fmt.Errorf("offset %d where %d should be", record.Offset, len(ids))
				}
				id, _, _ := strings.Cut(string(record.Value), " ")
				ids = append(ids, id)
			}
		}
		if len(ids) == from {
			return nil, fmt.Errorf("nothing at %d, and the end is %d", from, bounds.End)
		}
	}
	if int64(len(ids)) != bounds.End {
		return nil, fmt.Errorf("%d records, and the end is %d", len(ids), bounds.End)
	}
	return ids, nil
}

// checkLog reads the log and compares it with the ledger.
func (l *load) checkLog(ctx context.Context, api *apiClient) error {
	log, err := readLog(ctx, api, l.topic, l.partitions)
	if err != nil {
		return err
	}
	return l.ledger.check(log)
}
