package localstack

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// conditional is a request with headers of idempotence or concurrency, and what
// it must be answered with, whichever node is asked and whoever was killed.
type conditional struct {
	name    string
	path    string
	body    string
	headers []string // alternating names and values
	status  int
	answer  string // the body holds it
}

// ask sends a request with headers and returns what came back.
func (c *apiClient) ask(ctx context.Context, method, path, body string, headers ...string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.http.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// mustAnswer sends a request until the node is able to tell.
func (c *apiClient) mustAnswer(ctx context.Context, t *testing.T, status int, want, method, path, body string, headers ...string) string {
	t.Helper()
	var text string
	if err := eventually(ctx, func() error {
		got, answer, err := c.ask(ctx, method, path, body, headers...)
		text = answer
		if err != nil || got >= 500 {
			return fmt.Errorf("%s %s: %d %s %w", method, path, got, answer, err)
		}
		if got != status || !strings.Contains(answer, want) {
			t.Errorf("%s %s %v: got %d %s, want %d %s", method, path, headers, got, answer, status, want)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return text
}

// TestConditionsOutliveTheirNode: duplicates, gaps, fences and repeats of a key
// are told apart by every node, after the one that took the first was killed, and
// by that one when it is back.
func TestConditionsOutliveTheirNode(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	o := onMinIO(t, sharedMinIO(t), "--wal=off")
	first := startNode(ctx, t, o)
	o.LogFile, o.DataDir = "", ""
	second := startNode(ctx, t, o)
	a, b := newAPIClient(t, first.URL), newAPIClient(t, second.URL)

	a.mustAnswer(ctx, t, 201, "", "PUT", "/v1/topics/t", `{"partitions":2}`)
	const (
		records = "/v1/topics/t/partitions/0/records"
		other   = "/v1/topics/t/partitions/1/records"
	)
	producer := func(id, epoch, seq int) []string {
		return []string{"Producer-Id", fmt.Sprint(id), "Producer-Epoch", fmt.Sprint(epoch), "Producer-Seq", fmt.Sprint(seq)}
	}
	a.mustAnswer(ctx, t, 200, `{"producer_id":1,"epoch":0}`, "POST", "/v1/producers", "")
	a.mustAnswer(ctx, t, 200, `{"producer_id":2,"epoch":0}`, "POST", "/v1/producers", "")
	for seq := range 7 {
		a.mustAnswer(ctx, t, 200, fmt.Sprintf(`"base_offset":%d,`, seq), "POST", records, "x", producer(1, 0, seq)...)
	}
	a.mustAnswer(ctx, t, 200, `"base_offset":0,`, "POST", other, "x", producer(2, 0, 0)...)
	a.mustAnswer(ctx, t, 200, `{"producer_id":2,"epoch":1}`, "POST", "/v1/producers", `{"producer_id":2}`, "Content-Type", mediaJSON)
	keyed := `{"records":[{"value":"a","timestamp":7},{"value":"b","partition":1,"timestamp":8},{"value":"c","partition":0,"timestamp":7}]}`
	landed := a.mustAnswer(ctx, t, 200, `"results"`, "POST", "/v1/topics/t/records", keyed, "Content-Type", mediaJSON, "Idempotency-Key", "k")
	landed = strings.ReplaceAll(strings.TrimSpace(landed), "}", `,"duplicate":true}`)
	landed = strings.TrimSuffix(landed, `,"duplicate":true}`) + "}"
	a.mustAnswer(ctx, t, 200, `{"token":"one"}`, "PUT", "/v1/topics/t/partitions/0/fence", `{"token":"one"}`)
	a.mustAnswer(ctx, t, 200, `{"token":"two"}`, "PUT", "/v1/topics/t/partitions/0/fence", `{"token":"two","expected":"one"}`)

	wants := []conditional{
		{"repeat of the fifth last", records, "x", producer(1, 0, 2), 200, `"base_offset":2,"count":1`},
		{"repeat of the last", records, "x", producer(1, 0, 6), 200, `"duplicate":true`},
		{"repeat of the sixth last", records, "x", producer(1, 0, 1), 409, `"expected_seq":7`},
		{"gap", records, "x", producer(1, 0, 8), 409, `"expected_seq":7`},
		{"epoch that was fenced", other, "x", producer(2, 0, 1), 403, `"producer_fenced"`},
		{"epoch that was fenced elsewhere", records, "x", producer(2, 0, 0), 403, `"producer_fenced"`},
		{"producer that is unknown", records, "x", producer(99, 0, 0), 403, `"unknown_producer_id"`},
		{"repeat of a key", "/v1/topics/t/records", keyed, []string{"Content-Type", mediaJSON, "Idempotency-Key", "k"}, 200, landed},
		{"key of another request", "/v1/topics/t/records", keyed + " ", []string{"Content-Type", mediaJSON, "Idempotency-Key", "k"}, 422, `"idempotency_key_reused"`},
		{"token that was replaced", records, "x", []string{"Fencing-Token", "one"}, 412, `"token":"two"`},
		{"token where there is none", other, "x", []string{"Fencing-Token", "one"}, 412, `"token":null`},
		{"offset that is taken", records, "x", []string{"Fencing-Token", "two", "Expected-Offset", "0"}, 412, `"offset_mismatch"`},
	}
	check := func(who string, c *apiClient) {
		for _, w := range wants {
			t.Run(who+"/"+strings.ReplaceAll(w.name, " ", "-"), func(t *testing.T) {
				c.mustAnswer(ctx, t, w.status, w.answer, "POST", w.path, w.body, w.headers...)
			})
		}
	}
	check("first", a)
	check("second", b)
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	check("second-alone", b)
	if err := first.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	check("first-anew", newAPIClient(t, first.URL))
	// What is next in each case still is.
	b.mustAnswer(ctx, t, 200, `"count":1`, "POST", records, "x", producer(1, 0, 7)...)
	b.mustAnswer(ctx, t, 200, `"count":1`, "POST", other, "x", producer(2, 1, 0)...)
	b.mustAnswer(ctx, t, 200, `"count":1`, "POST", records, "x", "Fencing-Token", "two")
}

// TestKeysAcrossAKill sends requests with keys, two at a time for each key, to
// two nodes of which one is killed meanwhile, and repeats them until they are
// answered. Each request is in the log once, where all of its answers say.
func TestKeysAcrossAKill(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	o := onMinIO(t, sharedMinIO(t), "--wal=off")
	first := startNode(ctx, t, o)
	o.LogFile, o.DataDir = "", ""
	second := startNode(ctx, t, o)
	a, b := newAPIClient(t, first.URL), newAPIClient(t, second.URL)
	const partitions, keys, killAfter = 3, 400, 100
	a.mustAnswer(ctx, t, 201, "", "PUT", "/v1/topics/t", fmt.Sprintf(`{"partitions":%d}`, partitions))

	type place struct {
		Partition int32 `json:"partition"`
		Base      int64 `json:"base_offset"`
	}
	var (
		mu      sync.Mutex
		told    = map[string]place{}
		repeats int
	)
	deliver := func(key string, through ...*apiClient) error {
		for try := 0; ; try++ {
			status, text, err := through[try%len(through)].ask(ctx, "POST", "/v1/topics/t/records", key, "Content-Type", mediaRaw, "Idempotency-Key", key)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil || status >= 500 {
				if err := pause(ctx, retryPause); err != nil {
					return err
				}
				continue
			}
			var answer struct {
				Results []place `json:"results"`
			}
			if err := json.Unmarshal([]byte(text), &answer); err != nil || status != 200 || len(answer.Results) != 1 {
				return fmt.Errorf("key %s: %d %s", key, status, text)
			}
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(text, `"duplicate":true`) {
				repeats++
			}
			if before, ok := told[key]; ok && before != answer.Results[0] {
				return fmt.Errorf("key %s landed at %+v and at %+v", key, before, answer.Results[0])
			}
			told[key] = answer.Results[0]
			return nil
		}
	}
	var senders sync.WaitGroup
	next := make(chan string)
	for range 8 {
		senders.Go(func() {
			for key := range next {
				var both sync.WaitGroup
				for _, order := range [][]*apiClient{{a, b}, {b, a}} {
					both.Go(func() {
						if err := deliver(key, order...); err != nil {
							t.Error(err)
						}
					})
				}
				both.Wait()
			}
		})
	}
	for i := range keys {
		next <- fmt.Sprintf("key-%d", i)
		if i == killAfter {
			if err := first.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	close(next)
	senders.Wait()
	if t.Failed() {
		return
	}
	log, err := readLog(ctx, b, "t", partitions)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for p, values := range log {
		for offset, key := range values {
			found++
			if want := (place{int32(p), int64(offset)}); told[key] != want {
				t.Errorf("key %s was told %+v and is at %+v", key, told[key], want)
			}
		}
	}
	if found != keys || len(told) != keys || repeats < keys {
		t.Errorf("%d records of %d keys, %d were told, %d as repeats", found, keys, len(told), repeats)
	}
	t.Logf("%d keys, %d answers as repeats", keys, repeats)
}
