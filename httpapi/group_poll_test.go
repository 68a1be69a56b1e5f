package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// polled is the answer to a poll.
func polled(epoch int, partitions ...string) string {
	return fmt.Sprintf(`{"epoch":%d,"partitions":[%s]}`, epoch, strings.Join(partitions, ","))
}

func TestPoll(t *testing.T) {
	a := newTestAPI(t, nil)
	a.fill() // t: partition 0 has [0, 2), 1 has [1, 3), 2 is empty
	a.want(201, a.join("m"))
	p0 := manyText(0, 2, 2, 0, recordAt(0, "a"), recordAt(1, "b"))
	p1 := manyText(1, 3, 3, 1, recordAt(1, "d"), recordAt(2, "e"))
	p2 := manyText(2, 0, 0, 0)
	from := func(offset int) string { return fmt.Sprintf(`{"topic":"t","partition":0,"offset":%d}`, offset) }
	for _, c := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"from the beginning", `{"epoch":1}`, 200, polled(1, p0, p1, p2)},
		{"again, as nothing was committed", `{"epoch":1,"start":"earliest"}`, 200, polled(1, p0, p1, p2)},
		{"from positions", `{"epoch":1,"positions":[` + from(1) + `]}`, 200, polled(1, manyText(0, 2, 2, 0, recordAt(1, "b")), p1, p2)},
		{"trimmed", `{"epoch":1,"positions":[{"topic":"t","partition":1,"offset":0},` + from(1) + `]}`, 207,
			polled(1, manyText(0, 2, 2, 0, recordAt(1, "b")), manyProblem("t", 1, trimmedText), p2)},
		{"above the end", `{"epoch":1,"positions":[` + from(9) + `]}`, 207, polled(1, manyProblem("t", 0, aboveText), p1, p2)},
		{"with a commit", `{"epoch":1,"commit":[` + from(1) + `]}`, 200, polled(1, manyText(0, 2, 2, 0, recordAt(1, "b")), p1, p2)},
		{"from what was committed", `{"epoch":1}`, 200, polled(1, manyText(0, 2, 2, 0, recordAt(1, "b")), p1, p2)},
		{"positions go before it", `{"epoch":1,"positions":[` + from(2) + `]}`, 200, polled(1, manyText(0, 2, 2, 0), p1, p2)},
		{"commit below the start", `{"epoch":1,"commit":[{"topic":"t","partition":1,"offset":0}]}`, 207,
			polled(1, manyText(0, 2, 2, 0, recordAt(1, "b")), manyProblem("t", 1, trimmedText), p2)},
		{"nothing of a refused commit", `{"epoch":1,"commit":[{"topic":"t","partition":1,"offset":2},` + from(3) + `]}`, 416,
			`{"type":"/problems/offset-above-end","title":"The offset is above the end","status":416,"detail":"offset 3 of partition 0 of topic t is above the end, 2","code":"offset_above_end","retryable":true,"no_side_effects":true,"topic":"t","partition":0,"offset":3,"end":2}`},
		{"every position is bad", `{"epoch":1,"positions":[` + from(9) + `,{"topic":"t","partition":1,"offset":0},{"topic":"t","partition":2,"offset":1}]}`, 207,
			polled(1, manyProblem("t", 0, aboveText), manyProblem("t", 1, trimmedText), manyProblem("t", 2, strings.NewReplacer("offset 9", "offset 1", "[0, 2]", "[0, 0]", `"offset":9`, `"offset":1`, `"high_watermark":2`, `"high_watermark":0`).Replace(aboveText)))},
	} {
		t.Run(c.name, func(t *testing.T) { a.exact(c.status, c.want, a.poll("m", c.body)) })
	}
	if n := a.server.fetched.inside.Load(); n != 0 {
		t.Errorf("%d bytes of the memory for answers were not given back", n)
	}
}

// The end at which a member begins is that of its first poll, also for whoever
// has the partition next: nothing that comes after it is passed over.
func TestPollFromTheEnd(t *testing.T) {
	a := newTestAPI(t, nil)
	a.fill() // t: partition 0 has [0, 2), 1 has [1, 3), 2 is empty
	a.want(201, a.join("m"))
	a.want(204, a.do("PUT", "/v1/groups/g/offsets", `{"member_id":"m","epoch":1,"offsets":[{"topic":"t","partition":1,"offset":2}]}`, "Content-Type", typeJSON))
	p1 := manyText(1, 3, 3, 1, recordAt(2, "e"))
	latest := `{"epoch":1,"start":"latest"}`
	a.exact(200, polled(1, manyText(0, 2, 2, 0), p1, manyText(2, 0, 0, 0)), a.poll("m", latest))
	a.want(200, a.do("POST", "/v1/topics/t/partitions/2/records", `{"records":[{"value":"f","timestamp":1}]}`, "Content-Type", typeJSON))
	p2 := manyText(2, 1, 1, 0, recordAt(0, "f"))
	a.exact(200, polled(1, manyText(0, 2, 2, 0), p1, p2), a.poll("m", latest))
	a.want(200, a.join("m"))
	a.exact(200, polled(2, manyText(0, 2, 2, 0), p1, p2), a.poll("m", `{"epoch":2,"start":"latest"}`))
}

// Two members share the partitions: who holds one lets go, in the request that
// commits what it did with it, and only then the other reads it.
func TestPollThroughARebalance(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("2")
	for p := range 2 {
		for i := range 2 {
			a.want(200, a.do("POST", fmt.Sprintf("/v1/topics/t/partitions/%d/records", p), fmt.Sprintf(`{"records":[{"value":"%c","timestamp":%d}]}`, 'a'+2*p+i, i+1), "Content-Type", typeJSON))
		}
	}
	a.want(201, a.join("a"))
	a.exact(200, polled(1, manyText(0, 2, 2, 0, recordAt(0, "a"), recordAt(1, "b")), manyText(1, 2, 2, 0, recordAt(0, "c"), recordAt(1, "d"))), a.poll("a", `{"epoch":1}`))
	a.want(201, a.join("b"))
	a.exact(200, polled(2), a.poll("b", `{"epoch":2}`))

	// A commit under the epoch that it has acknowledged is carried out, and told.
	moved := rebalanced(1, 2, 1, partitionsOf("0"), partitionsOf("1"))
	a.exact(409, moved, a.poll("a", `{"epoch":1}`))
	a.exact(409, effects(moved, true), a.poll("a", `{"epoch":1,"commit":[{"topic":"t","partition":1,"offset":1}]}`))
	// Of what it let go it cannot name a position any more.
	a.exact(409, effects(rebalanced(1, 2, 2, partitionsOf("0"), "[]"), false), a.poll("a", `{"epoch":2,"positions":[{"topic":"t","partition":1,"offset":2}]}`))
	a.exact(409, rebalanced(1, 3, 2, partitionsOf("1"), "[]"), a.poll("b", `{"epoch":2}`))
	a.exact(200, polled(3, manyText(1, 2, 2, 0, recordAt(1, "d"))), a.poll("b", `{"epoch":3}`))
	a.exact(200, polled(2, manyText(0, 2, 2, 0)), a.poll("a", `{"epoch":2,"positions":[{"topic":"t","partition":0,"offset":2}]}`))

	// Commit, acknowledge and read are one request.
	a.want(201, a.join("c")) // there is nothing for it
	a.want(204, a.do("DELETE", "/v1/groups/g/members/a", ""))
	a.exact(409, rebalanced(1, 5, 4, partitionsOf("0"), "[]"), a.poll("c", `{"epoch":4}`))
	a.exact(200, polled(5, manyText(0, 2, 2, 0, recordAt(0, "a"), recordAt(1, "b"))), a.poll("c", `{"epoch":5}`))
	a.want(201, a.do("PUT", "/v1/topics/new", `{"partitions":1}`))
	a.want(200, a.post("/v1/groups/g/members", `{"topics":["new"],"member_id":"b"}`))
	// What b had goes to c once b has let go.
	a.exact(200, polled(5, manyText(0, 2, 2, 0, recordAt(0, "a"), recordAt(1, "b"))), a.poll("c", `{"epoch":5}`))
	a.exact(409, rebalanced(1, 7, 6, `[{"topic":"new","partitions":[0]}]`, partitionsOf("1")), a.poll("b", `{"epoch":6}`))
	a.want(200, a.poll("b", `{"epoch":7}`))
	a.exact(409, rebalanced(1, 8, 5, partitionsOf("0,1"), "[]"), a.poll("c", `{"epoch":5}`))
	a.exact(200, polled(8, manyText(0, 2, 2, 0), manyText(1, 2, 2, 0, recordAt(1, "d"))), a.poll("c", `{"epoch":8,"commit":[{"topic":"t","partition":0,"offset":2}]}`))
	a.exact(410, fenced("g", "b", 3), a.poll("b", `{"epoch":3,"commit":[{"topic":"t","partition":1,"offset":2}]}`))
}

// A topic of the same name is another topic: what the members know of the old one
// does not count for it.
func TestPollOfATopicThatIsMadeAnew(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	produce := func(value string) {
		a.want(200, a.do("POST", partitionRecords, `{"records":[{"value":"`+value+`","timestamp":1}]}`, "Content-Type", typeJSON))
	}
	produce("old")
	a.want(201, a.join("m"))
	a.want(200, a.poll("m", `{"epoch":1,"commit":[{"topic":"t","partition":0,"offset":1}]}`))
	a.want(204, a.do("DELETE", "/v1/topics/t", ""))
	// The old epoch is why the topic is not there.
	a.exact(409, rebalanced(1, 2, 1, "[]", "[]"), a.poll("m", `{"epoch":1,"commit":[{"topic":"t","partition":0,"offset":1}],"positions":[{"topic":"t","partition":0,"offset":1}]}`))
	a.topic("1")
	produce("new")
	// Its own position would be past the first record; it cannot have one yet.
	a.exact(200, polled(3, manyText(0, 1, 1, 0, recordAt(0, "new"))), a.poll("m", `{"epoch":3,"positions":[{"topic":"t","partition":0,"offset":1}]}`))
	a.exact(200, polled(3, manyText(0, 1, 1, 0)), a.poll("m", `{"epoch":3,"positions":[{"topic":"t","partition":0,"offset":1}]}`))
}

// Between finding the beginning and reading: a trim is nobody's mistake, and what
// is not the member's any more does not go out.
func TestPollAmidChanges(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.FetchParallel = 1 })
	a.fill()
	a.want(201, a.join("m"))
	during := func(do func()) {
		a.node.mu.Lock()
		defer a.node.mu.Unlock()
		a.node.fetches = 0
		a.node.failFetch = func(n int) error {
			if n == 1 {
				do()
			}
			return nil
		}
	}
	during(func() { a.want(200, a.do("DELETE", "/v1/topics/t/partitions/1/records?before=2", "")) })
	a.exact(200, polled(1, manyText(0, 2, 2, 0, recordAt(0, "a"), recordAt(1, "b")), manyText(1, 3, 3, 2, recordAt(2, "e")), manyText(2, 0, 0, 0)), a.poll("m", `{"epoch":1}`))
	during(func() { a.want(201, a.join("n")) })
	a.exact(409, rebalanced(1, 2, 1, partitionsOf("0,1"), partitionsOf("2")), a.poll("m", `{"epoch":1}`))
	during(func() { a.want(200, a.join("m")) })
	a.exact(410, effects(fenced("g", "m", 2), false), a.poll("m", `{"epoch":2}`))
	a.want(204, a.do("DELETE", "/v1/groups/g/members/n", ""))
	during(func() { a.want(204, a.do("DELETE", "/v1/groups/g/members/m", "")) })
	a.exact(410, effects(fenced("g", "m", 5), true), a.poll("m", `{"epoch":5,"commit":[{"topic":"t","partition":0,"offset":1}]}`))
}

// The catalog may have news that the node's replica does not have yet.
func TestPollAsksTheLeader(t *testing.T) {
	a := newTestAPI(t, nil)
	a.fill()
	a.want(201, a.join("m"))
	a.node.failKeeps(func(n int) error {
		catalog.Apply(a.node.state, catalog.JoinGroup{Group: "g", Member: "n", Topics: []string{"t"}, SessionTimeoutMs: 30_000})
		return nil
	})
	a.exact(409, rebalanced(1, 2, 1, partitionsOf("0,1"), partitionsOf("2")), a.poll("m", `{"epoch":1}`))
}

// A commit through another node of which this one has not heard is no hindrance. One
// whose client has gone takes nothing back; nor does one that others overtake all the
// time.
func TestCommitsOfAMemberAreInOrder(t *testing.T) {
	a := newTestAPI(t, nil)
	a.fill()
	a.want(201, a.join("m"))
	topic, _ := a.node.View().TopicByName("t")
	partition := catalog.TopicPartition{Topic: topic.ID}
	committed := func() catalog.Offset {
		c, _ := a.node.View().CommittedOffset("g", partition)
		return c.Offset
	}
	elsewhere := catalog.CommitOffsets{Group: "g", Member: "m", Epoch: 1, Offsets: []catalog.GroupOffset{{Partition: partition, Offset: 2}}}
	overtaken := 0
	overtake := func(times int) {
		left := times
		a.node.refuse(func(e catalog.Edit) error {
			if _, ok := e.(catalog.CommitOffsets); ok && left > 0 {
				left--
				if r := catalog.Apply(a.node.state, elsewhere); r.Err != nil {
					t.Error(r.Err)
				}
				elsewhere.After++
				overtaken++
			}
			return nil
		})
	}
	const commit = `{"epoch":1,"commit":[{"topic":"t","partition":0,"offset":1}],"max_wait_ms":0}`
	overtake(1)
	a.want(200, a.poll("m", commit))
	elsewhere.After++
	if at := committed(); at != 1 || overtaken != 1 {
		t.Errorf("committed is %d after %d others", at, overtaken)
	}

	overtake(1000)
	p := a.wantProblem(503, "not_committed", a.poll("m", commit))
	if at := committed(); at != 2 || p["no_side_effects"] != true || overtaken != 1+commitAttempts {
		t.Errorf("committed is %d after %d others: %v", at, overtaken, p)
	}

	gone, leave := context.WithCancel(t.Context())
	leave()
	overtaken = 0
	overtake(1000)
	x := &exchange{s: a.server, r: httptest.NewRequestWithContext(gone, "POST", "/", nil)}
	mine := elsewhere
	mine.Offsets = []catalog.GroupOffset{{Partition: partition, Offset: 1}}
	if err := x.proposeOffsets(t.Context(), mine); !errors.Is(err, catalog.ErrCommitOvertaken) || overtaken != 1 || committed() != 2 {
		t.Errorf("%v after %d others, committed is %d", err, overtaken, committed())
	}
}

func TestPollNeedsRoom(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.PollPartitionsMax = 3 })
	a.fill()
	a.want(201, a.join("m"))
	limit := a.server.cfg.FetchedBytesMax
	if !a.server.fetched.enter(limit) {
		t.Fatal("no room")
	}
	p := a.wantProblem(503, "overloaded", a.poll("m", `{"epoch":1}`))
	if p["reason"] != "fetched bytes" {
		t.Errorf("%v", p)
	}
	p = a.wantProblem(503, "overloaded", a.put("/v1/groups/g/offsets", `{"offsets":[]}`))
	if p["reason"] != "fetched bytes" {
		t.Errorf("%v", p)
	}
	a.server.fetched.leave(limit)
	a.want(200, a.poll("m", `{"epoch":1}`))
	a.want(200, a.do("PATCH", "/v1/topics/t", `{"partitions":4}`))
	a.exact(413, effects(`{"type":"/problems/too-many-partitions","title":"The member has too many partitions","status":413,"detail":"the member has 4 partitions, and one poll reads at most 3; the group needs more members","code":"too_many_partitions","retryable":false,"no_side_effects":true,"limit":3,"partitions":4}`, false),
		a.poll("m", `{"epoch":2}`))
}

// Reads go on while a node drains; a poll is none, as it commits.
func TestPollIsNoRead(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	a.want(201, a.join("m"))
	a.server.Refuse()
	for _, got := range []answer{a.poll("m", `{"epoch":1}`), a.heartbeat("m", 1), a.join("n"), a.do("DELETE", "/v1/groups/g/members/m", "")} {
		if p := a.wantProblem(503, "overloaded", got); p["reason"] != "draining" {
			t.Errorf("%v", p)
		}
	}
	a.want(200, a.do("GET", "/v1/groups/g", ""))
}

// postText is a request with a body of JSON.
func (a *pipeAPI) postText(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", path, typeJSON, len(body), body)
}

func (a *pipeAPI) morePartitions() {
	a.t.Helper()
	if res, text, _ := a.ask(strings.Replace(a.postText("/v1/topics/t", `{"partitions":2}`), "POST", "PATCH", 1)); res.StatusCode != 200 {
		a.t.Fatalf("%d %s", res.StatusCode, text)
	}
}

const pollPath = "/v1/groups/g/members/m:poll"

func (a *pipeAPI) joinIn(member, session string) {
	a.t.Helper()
	body := `{"topics":["t"],"member_id":"` + member + `","session_timeout_ms":` + session + `}`
	if res, text, _ := a.ask(a.postText("/v1/groups/g/members", body)); res.StatusCode/100 != 2 {
		a.t.Fatalf("%d %s", res.StatusCode, text)
	}
}

func TestPollWaits(t *testing.T) {
	body := `{"epoch":1,"max_wait_ms":20000}`
	for name, c := range map[string]struct {
		do     func(a *pipeAPI)
		after  time.Duration
		status int
		want   string
	}{
		"nothing comes":      {func(*pipeAPI) {}, 20 * time.Second, 200, `"records":[],"next_offset":0,"high_watermark":0,"log_start_offset":0}`},
		"something does":     {func(a *pipeAPI) { a.produce("a") }, time.Second, 200, `"records":[` + recordJSON(0, "a") + `]`},
		"it gets another":    {func(a *pipeAPI) { a.morePartitions() }, time.Second, 409, `"epoch":2,"assignment":` + partitionsOf("0,1") + `,"revoked":[]`},
		"it joins again":     {func(a *pipeAPI) { a.joinIn("m", "30000") }, time.Second, 410, `"member_fenced"`},
		"it is removed":      {func(a *pipeAPI) { a.mustAsk("DELETE", "/v1/groups/g/members/m", 204) }, time.Second, 410, `"member_fenced"`},
		"the topic goes":     {func(a *pipeAPI) { a.mustAsk("DELETE", "/v1/topics/t", 204) }, time.Second, 409, `"epoch":2,"assignment":[],"revoked":[]`},
		"the node goes":      {func(a *pipeAPI) { close(a.node.ending) }, time.Second, 200, `"records":[]`},
		"something is there": {nil, 0, 200, `"records":[` + recordJSON(0, "a") + `]`},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(a *pipeAPI) {
				a.createTopic()
				a.joinIn("m", "30000")
				if c.do == nil {
					a.produce("a")
				} else {
					go func() {
						time.Sleep(time.Second)
						synctest.Wait()
						c.do(a)
					}()
				}
				res, text, elapsed := a.ask(a.postText(pollPath, body))
				if res.StatusCode != c.status || elapsed != c.after || !strings.Contains(text, c.want) {
					t.Errorf("%d after %s: %s", res.StatusCode, elapsed, text)
				}
			})
		})
	}
}

// A member without partitions waits for some.
func TestPollWithoutPartitions(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(a *pipeAPI)
		after  time.Duration
		status int
		want   string
	}{
		"none come":        {func(*pipeAPI) {}, 20 * time.Second, 200, polled(2) + "\n"},
		"the node goes":    {func(a *pipeAPI) { close(a.node.ending) }, time.Second, 200, polled(2) + "\n"},
		"the other leaves": {func(a *pipeAPI) { a.mustAsk("DELETE", "/v1/groups/g/members/a", 204) }, time.Second, 409, partitionsOf("0")},
		"the topic gets one": {func(a *pipeAPI) {
			a.ask(strings.Replace(a.postText("/v1/topics/t", `{"partitions":2}`), "POST", "PATCH", 1))
		}, time.Second, 409, partitionsOf("1")},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(a *pipeAPI) {
				a.createTopic()
				a.joinIn("a", "30000")
				a.joinIn("m", "30000")
				go func() {
					time.Sleep(time.Second)
					synctest.Wait()
					c.do(a)
				}()
				res, text, elapsed := a.ask(a.postText(pollPath, `{"epoch":2,"max_wait_ms":20000}`))
				if res.StatusCode != c.status || elapsed != c.after || !strings.Contains(text, c.want) {
					t.Errorf("%d after %s: %s", res.StatusCode, elapsed, text)
				}
			})
		})
	}
}

// A poll that waits renews the lease; one whose client has left does not.
func TestPollKeepsTheLease(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.joinIn("m", "9000")
		a.ask(a.postText(pollPath, `{"epoch":1,"max_wait_ms":20000}`))
		// At the beginning, every 3 s, and before the answer goes out.
		if got := a.node.kept(); got != 1+6+1 {
			t.Errorf("%d heartbeats", got)
		}
		conn := a.dial()
		if _, err := io.WriteString(conn, a.postText(pollPath, `{"epoch":1,"max_wait_ms":30000}`)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := a.node.kept()
		time.Sleep(30 * time.Second)
		if got := a.node.kept(); got != before || a.server.open.inside.Load() != 0 {
			t.Errorf("%d heartbeats after the client left, %d open requests", got-before, a.server.open.inside.Load())
		}
	})
}

// While the leader cannot be reached a poll that waits tries more often; what it
// read it keeps back unless the lease is proven then.
func TestPollThroughALostLeader(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.joinIn("m", "12000")
		lost := func(n int) error {
			if n > 1 {
				return catalog.ErrNotConfirmed
			}
			return nil
		}
		a.node.failKeeps(lost)
		go func() {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			a.produce("a")
		}()
		res, text, elapsed := a.ask(a.postText(pollPath, `{"epoch":1,"max_wait_ms":30000}`))
		if res.StatusCode != http.StatusServiceUnavailable || elapsed != 10*time.Second || !strings.Contains(text, `"not_confirmed"`) {
			t.Errorf("%d after %s: %s", res.StatusCode, elapsed, text)
		}
		// At the beginning, after 4 s, and from then on each second; and at the end.
		if got := a.node.kept(); got != 1+7+1 {
			t.Errorf("%d heartbeats", got)
		}
		a.node.failKeeps(func(n int) error {
			if n == 2 {
				return catalog.ErrMemberFenced
			}
			return nil
		})
		res, text, elapsed = a.ask(a.postText(pollPath, `{"epoch":1,"max_wait_ms":30000,"positions":[{"topic":"t","partition":0,"offset":1}]}`))
		if res.StatusCode != http.StatusConflict || elapsed != 4*time.Second {
			t.Errorf("%d after %s: %s", res.StatusCode, elapsed, text)
		}
	})
}

// A fetch that hangs ends when the assignment changes, too.
func TestPollHangs(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.produce("a")
		a.joinIn("m", "30000")
		a.node.hang = func(ctx context.Context) { <-ctx.Done() }
		go func() {
			time.Sleep(time.Second)
			a.joinIn("m", "30000")
		}()
		if res, text, elapsed := a.ask(a.postText(pollPath, `{"epoch":1}`)); res.StatusCode != http.StatusGone || elapsed != time.Second {
			t.Errorf("%d after %s: %s", res.StatusCode, elapsed, text)
		}
	})
}

// What was read after a wait is kept back if the leader knows of another epoch by
// then, also if the node has not heard of it before.
func TestPollKeepsRecordsBack(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.joinIn("m", "30000")
		a.node.failKeeps(func(n int) error {
			if n == 2 {
				catalog.Apply(a.node.state, catalog.JoinGroup{Group: "g", Member: "m", Topics: []string{"t"}, SessionTimeoutMs: 30_000})
			}
			return nil
		})
		go func() {
			time.Sleep(5 * time.Second)
			synctest.Wait()
			a.produce("a")
		}()
		if res, text, elapsed := a.ask(a.postText(pollPath, `{"epoch":1,"max_wait_ms":20000}`)); res.StatusCode != http.StatusGone || elapsed != 5*time.Second {
			t.Errorf("%d after %s: %s", res.StatusCode, elapsed, text)
		}
		// One that did not wait does not ask twice.
		a.node.failKeeps(nil)
		a.ask(a.postText(pollPath, `{"epoch":2}`))
		if got := a.node.kept(); got != 1 {
			t.Errorf("%d heartbeats", got)
		}
	})
}
