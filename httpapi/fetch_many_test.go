package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// fetchMany posts a fetch of topic t; parts are the members of its partitions
// besides topic.
func (a *testAPI) fetchMany(options string, parts ...string) answer {
	a.t.Helper()
	var all []string
	for _, p := range parts {
		if !strings.Contains(p, `"topic"`) {
			p = `"topic":"t",` + p
		}
		all = append(all, "{"+p+"}")
	}
	return a.do("POST", fetchPath, `{`+options+`"partitions":[`+strings.Join(all, ",")+`]}`, "Content-Type", typeJSON)
}

// manyText is the answer about one partition.
func manyText(partition, next, high, start int, records ...string) string {
	return fmt.Sprintf(`{"topic":"t","partition":%d,"records":[%s],"next_offset":%d,"high_watermark":%d,"log_start_offset":%d}`,
		partition, strings.Join(records, ","), next, high, start)
}

func manyProblem(topic string, partition int, problem string) string {
	return fmt.Sprintf(`{"topic":%q,"partition":%d,"problem":%s}`, topic, partition, problem)
}

func (a *testAPI) fill() {
	a.t.Helper()
	a.topic("3")
	for p, values := range map[int]string{0: "ab", 1: "cde"} {
		for i, v := range values {
			a.want(200, a.do("POST", fmt.Sprintf("/v1/topics/t/partitions/%d/records", p),
				fmt.Sprintf(`{"records":[{"value":"%c","timestamp":%d}]}`, v, i+1), "Content-Type", typeJSON))
		}
	}
	a.want(200, a.do("DELETE", "/v1/topics/t/partitions/1/records?before=1", ""))
}

func recordAt(offset int, value string) string {
	return fmt.Sprintf(`{"offset":%d,"timestamp":%d,"key":null,"value":%q,"headers":[]}`, offset, offset+1, value)
}

const (
	trimmedText = `{"type":"/problems/offset-below-start","title":"The records at this offset are gone","status":410,"detail":"offset 0 is outside of [1, 3]","code":"offset_below_start","retryable":false,"no_side_effects":true,"offset":0,"log_start_offset":1,"high_watermark":3}`
	aboveText   = `{"type":"/problems/offset-above-end","title":"The offset is above the end","status":416,"detail":"offset 9 is outside of [0, 2]","code":"offset_above_end","retryable":true,"no_side_effects":true,"offset":9,"log_start_offset":0,"high_watermark":2}`
	noTopicText = `{"type":"/problems/topic-not-found","title":"There is no such topic","status":404,"detail":"topic none does not exist","code":"topic_not_found","retryable":false,"no_side_effects":true,"topic":"none"}`
	noPartText  = `{"type":"/problems/partition-not-found","title":"There is no such partition","status":404,"detail":"topic t has partitions 0 to 2, not 3","code":"partition_not_found","retryable":false,"no_side_effects":true,"topic":"t","partitions":3}`
)

func TestFetchMany(t *testing.T) {
	a := newTestAPI(t, nil)
	a.fill()
	none := `"topic":"none","partition":0,"offset":0`
	for name, c := range map[string]struct {
		parts  []string
		status int
		want   []string // of the partitions
	}{
		"each kind of offset": {[]string{`"partition":0,"offset":1`, `"partition":1,"offset":"earliest"`, `"partition":2,"offset":"latest"`}, 200,
			[]string{manyText(0, 2, 2, 0, recordAt(1, "b")), manyText(1, 3, 3, 1, recordAt(1, "d"), recordAt(2, "e")), manyText(2, 0, 0, 0)}},
		"times": {[]string{`"partition":1,"offset":"timestamp:3"`, `"partition":0,"offset":"timestamp:9"`}, 200,
			[]string{manyText(1, 3, 3, 1, recordAt(2, "e")), manyText(0, 2, 2, 0)}},
		"latest":         {[]string{`"partition":0,"offset":"latest"`}, 200, []string{manyText(0, 2, 2, 0)}},
		"at the end":     {[]string{`"partition":0,"offset":2`}, 200, []string{manyText(0, 2, 2, 0)}},
		"one is trimmed": {[]string{`"partition":1,"offset":0`, `"partition":0,"offset":1`}, 207, []string{manyProblem("t", 1, trimmedText), manyText(0, 2, 2, 0, recordAt(1, "b"))}},
		"some are bad": {[]string{none, `"partition":0,"offset":1`, `"partition":3,"offset":0`}, 207,
			[]string{manyProblem("none", 0, noTopicText), manyText(0, 2, 2, 0, recordAt(1, "b")), manyProblem("t", 3, noPartText)}},
	} {
		t.Run(name, func(t *testing.T) {
			got := a.fetchMany("", c.parts...)
			a.want(c.status, got)
			if want := `{"partitions":[` + strings.Join(c.want, ",") + "]}\n"; string(got.body) != want {
				t.Errorf("got  %s\nwant %s", got.body, want)
			}
			if got.header.Get("Content-Type") != typeJSON || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", got.header)
			}
		})
	}
	for name, c := range map[string]struct {
		parts  []string
		status int
		first  string
		failed []string
	}{
		"trimmed": {[]string{`"partition":1,"offset":0`}, 410, trimmedText, []string{manyProblem("t", 1, trimmedText)}},
		"above":   {[]string{`"partition":0,"offset":9`}, 416, aboveText, []string{manyProblem("t", 0, aboveText)}},
		"all bad": {[]string{none, `"partition":1,"offset":0`, `"partition":3,"offset":0`}, 404, noTopicText,
			[]string{manyProblem("none", 0, noTopicText), manyProblem("t", 1, trimmedText), manyProblem("t", 3, noPartText)}},
	} {
		t.Run(name, func(t *testing.T) {
			got := a.fetchMany("", c.parts...)
			a.want(c.status, got)
			if want := strings.TrimSuffix(c.first, "}") + `,"failed":[` + strings.Join(c.failed, ",") + "]}\n"; string(got.body) != want {
				t.Errorf("got  %s\nwant %s", got.body, want)
			}
			if got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("headers %v", got.header)
			}
		})
	}
	if n := a.server.fetched.inside.Load(); n != 0 {
		t.Errorf("%d bytes of the memory for answers were not given back", n)
	}
}

// One question to the catalog serves all partitions of a request.
func TestFetchManyAsksOnce(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("100")
	var parts []string
	for p := range 100 {
		parts = append(parts, fmt.Sprintf(`"partition":%d,"offset":"earliest"`, p))
	}
	a.node.confirms = 0
	a.want(200, a.fetchMany("", parts...))
	if a.node.confirms != 1 {
		t.Errorf("%d questions", a.node.confirms)
	}
	a.node.unconfirm = catalog.ErrNotConfirmed
	a.wantProblem(503, "not_confirmed", a.fetchMany("", parts...))
}

type manyAnswer struct {
	Partitions []struct {
		Partition     int
		Records       []struct{ Offset int }
		NextOffset    int `json:"next_offset"`
		HighWatermark int `json:"high_watermark"`
		LogStart      int `json:"log_start_offset"`
	}
}

func (a *testAPI) fetchManyOK(options string, parts ...string) manyAnswer {
	a.t.Helper()
	var m manyAnswer
	if err := json.Unmarshal(a.want(200, a.fetchMany(options, parts...)).body, &m); err != nil {
		a.t.Fatal(err)
	}
	return m
}

// batchSize is the size of the batches of produceBatches.
func (a *testAPI) produceBatches(partition, batches int) (size int) {
	a.t.Helper()
	for range batches {
		b, err := recordbatch.Append(nil, []recordbatch.Record{{Value: make([]byte, 1000)}}, recordbatch.None, recordbatch.NoProducer)
		if err != nil {
			a.t.Fatal(err)
		}
		size = len(b)
		a.want(200, a.do("POST", fmt.Sprintf("/v1/topics/t/partitions/%d/records", partition), string(b), "Content-Type", typeBatch))
	}
	return size
}

// A partition with much gets no more than its share as long as the others have
// enough, and what they leave otherwise.
func TestFetchManyShares(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("4")
	size := 0
	for p, n := range []int{20, 20, 20, 1} {
		size = a.produceBatches(p, n)
	}
	parts := []string{`"partition":0,"offset":0`, `"partition":1,"offset":0`, `"partition":2,"offset":0`, `"partition":3,"offset":0`}
	for name, c := range map[string]struct {
		max   int // batches
		parts []string
		want  string // records of each, in any order
		total int
	}{
		"equal shares":           {12, parts[:3], "[4 4 4]", 12},
		"what one leaves":        {8, parts, "", 8},
		"all there is":           {100, parts, "[20 20 20 1]", 61},
		"a limit of its own":     {30, []string{parts[0] + fmt.Sprintf(`,"max_bytes":%d`, 3*size), parts[1]}, "[3 20]", 23},
		"one alone":              {7, parts[:1], "[7]", 7},
		"not even one for each":  {3, parts, "", 3},
		"not even one":           {0, parts, "", 1},
		"fewer bytes than parts": {-1, parts, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			most := c.max*size + 1
			if c.max < 0 {
				most = 1
			}
			for range 20 { // chance has its part in it
				m := a.fetchManyOK(fmt.Sprintf(`"min_bytes":0,"max_bytes":%d,`, most), c.parts...)
				total := 0
				var counts []int
				for i, p := range m.Partitions {
					counts = append(counts, len(p.Records))
					total += len(p.Records)
					if p.NextOffset != len(p.Records) || p.Partition != i || p.HighWatermark == 0 {
						t.Fatalf("%+v", p)
					}
				}
				if got := fmt.Sprint(counts); total != c.total || c.want != "" && got != c.want {
					t.Fatalf("%s records, want %s, %d in all", got, c.want, c.total)
				}
				if c.max == 8 && (counts[3] != 1 || min(counts[0], counts[1], counts[2]) < 2) {
					t.Fatalf("%v records", counts)
				}
			}
		})
	}
}

// However large the batches are, each partition is read to its end.
func TestFetchManyStarvesNobody(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("8")
	next := make([]int, 8)
	for p := range next {
		a.produceBatches(p, 3)
	}
	for requests := 0; ; requests++ {
		var parts []string
		for p, offset := range next {
			parts = append(parts, fmt.Sprintf(`"partition":%d,"offset":%d`, p, offset))
		}
		done := true
		for p, got := range a.fetchManyOK(`"max_bytes":1,`, parts...).Partitions {
			next[p] = got.NextOffset
			done = done && got.NextOffset == 3
		}
		if done {
			if requests < 20 {
				t.Errorf("24 records in %d requests", requests)
			}
			return
		}
		if requests > 2000 {
			t.Fatalf("still at %v", next)
		}
	}
}

func TestFetchManyWaits(t *testing.T) {
	body := `{"min_bytes":1,"max_wait_ms":20000,"partitions":[{"topic":"t","partition":0,"offset":0},{"topic":"other","partition":0,"offset":"latest"}]}`
	for name, c := range map[string]struct {
		do    func(a *pipeAPI)
		after time.Duration
		want  string
	}{
		"nothing comes":  {func(*pipeAPI) {}, 20 * time.Second, `"records":[],"next_offset":0,"high_watermark":0,"log_start_offset":0},{"topic":"other","partition":0,"records":[]`},
		"something does": {func(a *pipeAPI) { a.produce("a") }, time.Second, `"records":[` + recordJSON(0, "a") + `]`},
		"one goes":       {func(a *pipeAPI) { a.mustAsk("DELETE", "/v1/topics/other", 204) }, time.Second, `"partition":0,"problem":{"type":"/problems/topic-not-found"`},
		"the node goes":  {func(a *pipeAPI) { close(a.node.ending) }, time.Second, `"records":[]`},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(a *pipeAPI) {
				a.createTopic()
				a.mustAsk("PUT", "/v1/topics/other", 201)
				go func() {
					time.Sleep(time.Second)
					synctest.Wait()
					c.do(a)
				}()
				res, text, elapsed := a.ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
					fetchPath, typeJSON, len(body), body))
				if elapsed != c.after || !strings.Contains(text, c.want) {
					t.Errorf("%d after %s: %s", res.StatusCode, elapsed, text)
				}
			})
		})
	}
}

// A trim between finding the beginning and reading from it is not the client's
// mistake; a topic that was made anew is read from its own beginning.
func TestFetchManyAmidChanges(t *testing.T) {
	a := newTestAPI(t, nil)
	a.fill()
	a.node.failFetch = func(n int) error {
		if n == 1 {
			topic, _ := a.node.View().TopicByName("t")
			_, _ = a.node.Propose(t.Context(), catalog.Trim{Partition: catalog.TopicPartition{Topic: topic.ID, Partition: 1}, Before: 2})
		}
		return nil
	}
	got := a.want(200, a.fetchMany("", `"partition":1,"offset":"earliest"`))
	if want := `{"partitions":[` + manyText(1, 3, 3, 2, recordAt(2, "e")) + "]}\n"; string(got.body) != want {
		t.Errorf("%s", got.body)
	}
	a.node.failFetch = func(n int) error {
		if n == 3 {
			a.want(204, a.do("DELETE", "/v1/topics/t", ""))
			a.topic("1")
			a.want(200, a.do("POST", partitionRecords, `{"records":[{"value":"n","timestamp":1}]}`, "Content-Type", typeJSON))
		}
		return nil
	}
	got = a.want(200, a.fetchMany("", `"partition":0,"offset":"earliest"`))
	if want := `{"partitions":[` + manyText(0, 1, 1, 0, recordAt(0, "n")) + "]}\n"; string(got.body) != want {
		t.Errorf("%s", got.body)
	}
}

// A trim while an answer is filled up does not put its first records below the log
// start that it states.
func TestFetchManyFillsUpAmidATrim(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("2")
	size := a.produceBatches(0, 20)
	fetches := 0
	a.node.failFetch = func(int) error {
		if fetches++; fetches == 3 { // after the shares of both
			topic, _ := a.node.View().TopicByName("t")
			_, err := a.node.Propose(t.Context(), catalog.Trim{Partition: catalog.TopicPartition{Topic: topic.ID}, Before: 3})
			return err
		}
		return nil
	}
	m := a.fetchManyOK(fmt.Sprintf(`"min_bytes":0,"max_bytes":%d,`, 10*size), `"partition":0,"offset":0`, `"partition":1,"offset":0`)
	if p := m.Partitions[0]; fetches != 3 || len(p.Records) != 10 || p.Records[0].Offset < p.LogStart {
		t.Errorf("%d fetches, %+v", fetches, p)
	}
	a.wantProblem(410, "offset_below_start", a.fetchMany("", `"partition":0,"offset":0`))
}

func TestFetchManyNeedsRoom(t *testing.T) {
	a := newTestAPI(t, nil)
	a.fill()
	if !a.server.fetched.enter(a.server.cfg.FetchedBytesMax) {
		t.Fatal("no room")
	}
	p := a.wantProblem(http.StatusServiceUnavailable, "overloaded", a.fetchMany("", `"partition":0,"offset":0`))
	if p["reason"] != "fetched bytes" {
		t.Errorf("%v", p)
	}
	a.server.fetched.leave(a.server.cfg.FetchedBytesMax)
	a.want(200, a.fetchMany("", `"partition":0,"offset":0`))
	// One partition that fails is told among the others.
	a.node.failFetch = func(n int) error {
		if n%2 == 0 {
			return errBroken
		}
		return nil
	}
	a.node.fetches = 0
	got := a.want(207, a.fetchMany("", `"partition":0,"offset":0`, `"partition":1,"offset":1`))
	if strings.Count(string(got.body), `"code":"internal"`) != 1 || strings.Count(string(got.body), `"records":[{`) != 1 {
		t.Errorf("%s", got.body)
	}
	// It is no request that changes anything: a node that drains still answers.
	a.node.failFetch = nil
	a.server.Refuse()
	a.want(200, a.fetchMany("", `"partition":0,"offset":0`))
}
