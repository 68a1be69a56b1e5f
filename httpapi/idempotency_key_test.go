package httpapi

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/recordbatch"
)

const topicRecords = "/v1/topics/t/records"

// A repeat is answered with the first result and status, wherever its records
// would go now, and lands nowhere.
func TestIdempotencyKey(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("3")
	two := `{"records":[{"value":"a","timestamp":1},{"value":"b","timestamp":2,"partition":2}]}`
	send := func(path, key, body string, headers ...string) answer {
		return a.do("POST", path, body, append([]string{"Content-Type", typeJSON, "Idempotency-Key", key}, headers...)...)
	}
	first := a.want(200, send(topicRecords, "k", two))
	again := strings.ReplaceAll(string(first.body), "}]", `,"duplicate":true}]`)
	again = strings.ReplaceAll(again, "},{", `,"duplicate":true},{`)
	if strings.Count(string(first.body), "base_offset") != 2 || strings.Contains(string(first.body), "duplicate") {
		t.Fatalf("first answer %s", first.body)
	}
	for range 3 { // a round robin would choose another partition each time
		if got := a.want(200, send(topicRecords, "k", two)); string(got.body) != again {
			t.Fatalf("repeat answered %s, want %s", got.body, again)
		}
	}
	a.wantProblem(422, "idempotency_key_reused", send(topicRecords, "k", two+" "))
	a.wantProblem(422, "idempotency_key_reused", send("/v1/topics/t/partitions/0/records", "k", `{"records":[{"value":"a"}]}`))
	a.wantProblem(422, "idempotency_key_reused", a.do("POST", topicRecords, two, "Idempotency-Key", "k"))
	one := `{"records":[{"value":"a","partition":1,"timestamp":1}]}`
	a.want(200, send(topicRecords, "k2", one))
	a.wantProblem(422, "idempotency_key_reused", send("/v1/topics/t/partitions/1/records", "k2", one))
	ends := 0.0
	for p := range 3 {
		ends += decode(t, a.do("GET", fmt.Sprintf("/v1/topics/t/partitions/%d/offsets", p), "").body)["end"].(float64)
	}
	if ends != 3 {
		t.Errorf("%v records", ends)
	}
	// The same key in another topic is another key.
	a.want(201, a.do("PUT", "/v1/topics/other", `{"partitions":1}`))
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":0,"count":1,"timestamp":1}]}`,
		send("/v1/topics/other/records", "k", `{"records":[{"value":"a","timestamp":1}]}`))
	// And in one that was created anew.
	a.want(204, a.do("DELETE", "/v1/topics/other", ""))
	a.want(201, a.do("PUT", "/v1/topics/other", `{"partitions":1}`))
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":0,"count":1,"timestamp":2}]}`,
		send("/v1/topics/other/records", "k", `{"records":[{"value":"b","timestamp":2}]}`))
}

// What a raw record's key and headers say is part of the request.
func TestIdempotencyKeyOfRawRecord(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	send := func(query string, headers ...string) answer {
		return a.do("POST", topicRecords+query, "x", append([]string{"Idempotency-Key", "k 1"}, headers...)...)
	}
	a.want(200, send("?key=a", "Record-Header-B", "1"))
	a.want(200, send("?key=a", "Record-Header-B", "1", "Content-Type", "text/plain")) // which is not stored
	for _, other := range []answer{
		send("?key=b", "Record-Header-B", "1"), send("", "Record-Header-B", "1"), send("?key="), send("?key=a"),
		send("?key=a", "Record-Header-C", "1"), send("?key=a", "Record-Header-B", "2"), send("?key=a", "Record-Header-B", "1", "Record-Header-C", "1"),
	} {
		a.wantProblem(422, "idempotency_key_reused", other)
	}
	a.wantJSON(200, `{"start":0,"end":1}`, a.do("GET", "/v1/topics/t/partitions/0/offsets", ""))
}

// A repeat is told as one, whatever its conditions say by now; a request that
// was refused is not remembered.
func TestIdempotencyKeyWithConditions(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	send := func(expected string) answer {
		return a.do("POST", partitionRecords, "x", "Idempotency-Key", "k", "Expected-Offset", expected)
	}
	a.wantProblem(412, "offset_mismatch", send("1"))
	a.want(200, send("0"))
	if got := decode(t, a.want(200, send("0")).body)["results"].([]any)[0].(map[string]any); got["base_offset"] != 0.0 || got["duplicate"] != true {
		t.Errorf("repeat answered %v", got)
	}
	a.want(200, send("1"))
}

func TestIdempotencyKeyOfBatches(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	send := func(p recordbatch.Producer) answer {
		b, err := recordbatch.Append(nil, []recordbatch.Record{{Timestamp: 5, Value: []byte("x")}}, recordbatch.None, p)
		if err != nil {
			t.Fatal(err)
		}
		return a.do("POST", partitionRecords, string(b), "Content-Type", typeBatch, "Idempotency-Key", "k")
	}
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":0,"count":1,"timestamp":5}]}`, send(recordbatch.NoProducer))
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":0,"count":1,"timestamp":5,"duplicate":true}]}`, send(recordbatch.NoProducer))
}

// Requests with one key at the same time: one lands, and all are told where.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("4")
	var senders sync.WaitGroup
	answers := make([]string, 20)
	for i := range answers {
		senders.Go(func() {
			got := a.do("POST", topicRecords, "x", "Idempotency-Key", "k")
			answers[i] = strings.ReplaceAll(string(got.body), `,"duplicate":true`, "")
		})
	}
	senders.Wait()
	for _, got := range answers {
		if got != answers[0] || !strings.HasPrefix(got, `{"results":[{"partition":`) {
			t.Errorf("answers %s and %s", answers[0], got)
		}
	}
}

// A key outlives an unknown outcome: the retry tells.
func TestIdempotencyKeyAfterUnknownOutcome(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	a.node.before = func(context.Context, int64, ingest.Options) error { return ingest.ErrOutcomeUnknown }
	p := a.wantProblem(504, "outcome_unknown", a.do("POST", topicRecords, "x", "Idempotency-Key", "k"))
	if p["retryable"] != true || !strings.Contains(p["detail"].(string), "Idempotency-Key") {
		t.Errorf("problem %v", p)
	}
	a.node.before = nil
	a.want(200, a.do("POST", topicRecords, "x", "Idempotency-Key", "k"))
}

// Below its feature level nothing of a request with a key or token is done, and
// what others send goes on.
func TestFeatureLevelTooLow(t *testing.T) {
	a := newTestAPI(t, nil)
	a.node.state = catalog.NewState([16]byte{2})
	catalog.Apply(a.node.state, catalog.RegisterNode{Node: a.node.node})
	a.topic("1")
	for _, header := range []string{"Idempotency-Key", "Fencing-Token"} {
		p := a.wantProblem(409, "feature_level_too_low", a.do("POST", partitionRecords, "x", header, "a"))
		if p["needed"] != 2.0 || p["level"] != 1.0 {
			t.Errorf("%s: problem %v", header, p)
		}
	}
	a.want(200, a.do("POST", partitionRecords, "x"))
}

func TestFence(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("2")
	const fence = "/v1/topics/t/partitions/0/fence"
	put := func(body string) answer { return a.do("PUT", fence, body, "Content-Type", typeJSON) }
	append := func(body, token string) answer { return a.do("POST", partitionRecords, body, "Fencing-Token", token) }

	a.wantJSON(200, `{"token":null}`, a.do("GET", fence, ""))
	if p := a.wantProblem(412, "fencing_token_mismatch", append("x", "a")); p["token"] != nil {
		t.Errorf("problem %v", p)
	}
	a.wantJSON(200, `{"token":"a"}`, put(`{"token":"a","expected":null}`))
	a.wantJSON(200, `{"token":"a"}`, put(`{"token":"a","expected":null}`)) // a retry
	a.wantJSON(200, `{"token":"a"}`, a.do("GET", fence, ""))
	a.want(200, append("1", "a"))
	a.want(200, a.do("POST", partitionRecords, "without a token it is not asked"))

	a.wantProblem(412, "fencing_token_mismatch", put(`{"token":"b","expected":null}`))
	a.wantProblem(412, "fencing_token_mismatch", put(`{"token":"b","expected":"x"}`))
	a.wantJSON(200, `{"token":"b"}`, put(`{"token":"b","expected":"a"}`))
	if got := append("2", "a"); string(got.body) != `{"type":"/problems/fencing-token-mismatch","title":"The partition has another fencing token","status":412,"detail":"fencing token does not match: the partition has \"b\"","code":"fencing_token_mismatch","retryable":false,"no_side_effects":true,"token":"b"}`+"\n" {
		t.Errorf("answer %s", got.body)
	}
	// With an offset: the token first, then the offset.
	both := func(token, offset string) answer {
		return a.do("POST", partitionRecords, "3", "Fencing-Token", token, "Expected-Offset", offset)
	}
	a.wantProblem(412, "fencing_token_mismatch", both("a", "0"))
	if p := a.wantProblem(412, "offset_mismatch", both("b", "0")); p["end_offset"] != 2.0 {
		t.Errorf("problem %v", p)
	}
	a.want(200, both("b", "2"))
	// The other partition has none, and the topic resource asks for none.
	a.wantJSON(200, `{"token":null}`, a.do("GET", "/v1/topics/t/partitions/1/fence", ""))
	a.want(200, a.do("POST", topicRecords, `{"records":[{"value":"a","partition":0}]}`, "Content-Type", typeJSON))
	a.wantJSON(200, `{"token":null}`, put(`{"token":null}`))
	a.wantProblem(412, "fencing_token_mismatch", append("x", "b"))
	a.wantJSON(200, `{"start":0,"end":4}`, a.do("GET", "/v1/topics/t/partitions/0/offsets", ""))
	// A topic that is created anew has none.
	put(`{"token":"c"}`)
	a.want(204, a.do("DELETE", "/v1/topics/t", ""))
	a.topic("2")
	a.wantJSON(200, `{"token":null}`, a.do("GET", fence, ""))
}

// Lines are committed in chunks; the token is asked for each.
func TestFenceWithLines(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	a.want(200, a.do("PUT", "/v1/topics/t/partitions/0/fence", `{"token":"a"}`))
	got := a.want(200, a.do("POST", partitionRecords, "1\n2\n", "Content-Type", typeNDJSON, "Fencing-Token", "a"))
	if !strings.Contains(string(got.body), `{"done":true,"records":2}`) {
		t.Errorf("answer %s", got.body)
	}
	a.wantProblem(412, "fencing_token_mismatch", a.do("POST", partitionRecords, "3\n", "Content-Type", typeNDJSON, "Fencing-Token", "b"))
}

// The next epoch fences a predecessor in all partitions.
func TestNextEpoch(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("2")
	a.wantJSON(200, `{"producer_id":1,"epoch":0}`, a.do("POST", "/v1/producers", ""))
	send := func(partition, epoch, seq string) answer {
		return a.do("POST", "/v1/topics/t/partitions/"+partition+"/records", "x", "Producer-Id", "1", "Producer-Epoch", epoch, "Producer-Seq", seq)
	}
	next := func(body string) answer { return a.do("POST", "/v1/producers", body, "Content-Type", typeJSON) }
	a.want(200, send("0", "0", "0"))
	a.wantJSON(200, `{"producer_id":1,"epoch":1}`, next(`{"producer_id":1}`))
	a.wantProblem(403, "producer_fenced", send("0", "0", "1"))
	a.wantProblem(403, "producer_fenced", send("1", "0", "0")) // where it has sent nothing yet
	a.wantProblem(409, "out_of_order_sequence", send("0", "1", "1"))
	a.want(200, send("0", "1", "0"))
	a.want(200, send("1", "1", "0"))
	a.wantJSON(200, `{"producer_id":2,"epoch":0}`, next(`{}`))
	a.wantProblem(403, "unknown_producer_id", next(`{"producer_id":3}`))
}

// The sequence after 2^31-1 is 0, as Kafka counts.
func TestSequenceWraps(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	id := a.node.apply(catalog.AllocateProducerID{}).Producer
	topic, _ := a.node.state.TopicByName("t")
	for i, records := range []int32{1<<31 - 2} { // what no test can send
		result := a.node.apply(catalog.CommitSegment{
			Node: a.node.node, After: a.node.number, Upto: a.node.number + 1,
			Object: catalog.NewObject{ID: [16]byte{byte(i + 1)}, Kind: catalog.SegmentObject, Size: 100},
			Units: []catalog.Unit{{Appends: []catalog.Append{{
				Partition: catalog.TopicPartition{Topic: topic.ID}, Len: 1, Records: records, Expected: catalog.AnyOffset,
				Producer: recordbatch.Producer{ID: id},
			}}}},
		})
		if result.Err != nil || result.Units[0].Err != nil {
			t.Fatal(result)
		}
		a.node.number++
	}
	send := func(seq, records string) answer {
		return a.do("POST", partitionRecords, records, "Content-Type", typeJSON, "Producer-Id", fmt.Sprint(id), "Producer-Epoch", "0", "Producer-Seq", seq)
	}
	three := `{"records":[{"value":"a","timestamp":1},{"value":"b","timestamp":1},{"value":"c","timestamp":1}]}`
	p := a.wantProblem(409, "out_of_order_sequence", send("0", three))
	if p["expected_seq"] != float64(1<<31-2) {
		t.Errorf("problem %v", p)
	}
	// 2^31-2, 2^31-1 and 0.
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":2147483646,"count":3,"timestamp":1}]}`, send("2147483646", three))
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":2147483646,"count":3,"timestamp":1,"duplicate":true}]}`, send("2147483646", three))
	gap := send("0", three)
	a.wantProblem(409, "out_of_order_sequence", gap)
	if got := gap.header.Get("Producer-Expected-Seq"); got != "1" {
		t.Errorf("expected sequence %s", got)
	}
	a.wantJSON(200, `{"results":[{"partition":0,"base_offset":2147483649,"count":3,"timestamp":1}]}`, send("1", three))
}
