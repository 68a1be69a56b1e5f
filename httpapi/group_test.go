package httpapi

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wadilog/wadi/catalog"
)

var committedAt = regexp.MustCompile(`"timestamp":1[0-9]{12}`)

// exact checks status and body to the byte, but for times.
func (a *testAPI) exact(status int, want string, got answer) {
	a.t.Helper()
	body := string(committedAt.ReplaceAll(got.body, []byte(`"timestamp":0`)))
	if want != "" {
		want += "\n"
	}
	if got.status != status || body != want {
		a.t.Fatalf("%d %s\nwant %d %s", got.status, body, status, want)
	}
	if cache := got.header.Get("Cache-Control"); cache != "no-store" {
		a.t.Errorf("Cache-Control %q", cache)
	}
}

func (a *testAPI) post(path, body string) answer {
	a.t.Helper()
	return a.do("POST", path, body, "Content-Type", typeJSON)
}

func (a *testAPI) put(path, body string) answer {
	a.t.Helper()
	return a.do("PUT", path, body, "Content-Type", typeJSON)
}

// join joins group g with subscriptions to t.
func (a *testAPI) join(member string) answer {
	a.t.Helper()
	return a.post("/v1/groups/g/members", `{"topics":["t"],"member_id":"`+member+`"}`)
}

func (a *testAPI) poll(member, body string) answer {
	a.t.Helper()
	return a.post("/v1/groups/g/members/"+member+":poll", body)
}

func (a *testAPI) heartbeat(member string, epoch int) answer {
	a.t.Helper()
	return a.post("/v1/groups/g/members/"+member+":heartbeat", fmt.Sprintf(`{"epoch":%d}`, epoch))
}

// joined is the answer to a join.
func joined(member string, epoch int, assignment string) string {
	return fmt.Sprintf(`{"member_id":%q,"epoch":%d,"strategy":"cooperative-sticky","session_timeout_ms":30000,"assignment":%s}`, member, epoch, assignment)
}

func rebalanced(member, newest, named int, assignment, revoked string) string {
	detail := fmt.Sprintf("the member's newest epoch is %d, not %d", newest, named)
	if newest == named {
		detail = "the request names a partition that the member does not hold"
	}
	return fmt.Sprintf(`{"type":"/problems/rebalance-in-progress","title":"The member's partitions have changed","status":409,"detail":%q,"code":"rebalance_in_progress","retryable":true,"no_side_effects":true,"epoch":%d,"assignment":%s,"revoked":%s}`,
		detail, newest, assignment, revoked)
}

func fenced(group, member string, epoch int) string {
	return fmt.Sprintf(`{"type":"/problems/member-fenced","title":"The member is not in the group any more","status":410,"detail":"member %s is not in group %s any more under epoch %d; join again","code":"member_fenced","retryable":false,"no_side_effects":true,"group":%q,"member_id":%q}`,
		member, group, epoch, group, member)
}

// effects is a problem after something was carried out.
func effects(problem string, committed bool) string {
	problem = strings.Replace(problem, `"no_side_effects":true`, `"no_side_effects":false`, 1)
	if committed {
		problem = strings.TrimSuffix(problem, "}") + `,"committed":true}`
	}
	return problem
}

func partitionsOf(list string) string {
	if list == "" {
		return `[]`
	}
	return `[{"topic":"t","partitions":[` + list + `]}]`
}

func TestJoin(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("4")
	a.want(201, a.do("PUT", "/v1/topics/a", `{"partitions":2}`))
	a.exact(201, joined("m", 1, partitionsOf("0,1,2,3")), a.join("m"))
	// It takes its own place: its partitions stay, who had them is fenced.
	a.exact(200, joined("m", 2, partitionsOf("0,1,2,3")), a.join("m"))
	a.exact(410, fenced("g", "m", 1), a.heartbeat("m", 1))
	// Another one gets nothing before the first has let go.
	a.exact(201, joined("n", 3, "[]"), a.join("n"))

	// All members of the body, and by topic name.
	a.exact(201, `{"member_id":"x","epoch":4,"strategy":"range","session_timeout_ms":3000,"assignment":[{"topic":"a","partitions":[0,1]},{"topic":"t","partitions":[0,1,2,3]}]}`,
		a.post("/v1/groups/other/members", `{"topics":["t","a"],"member_id":"x","client_id":"job/7","strategy":"range","session_timeout_ms":3000}`))
	// The strategy of a group with members may be left to it, and not be another.
	a.want(201, a.post("/v1/groups/other/members", `{"topics":["a"],"strategy":"range"}`))
	a.want(201, a.post("/v1/groups/other/members", `{"topics":["a"]}`))
	a.exact(409, `{"type":"/problems/group-strategy-mismatch","title":"The group has another strategy","status":409,"detail":"the group has the strategy range, not cooperative-sticky","code":"group_strategy_mismatch","retryable":false,"no_side_effects":true,"strategy":"range"}`,
		a.post("/v1/groups/other/members", `{"topics":["a"],"strategy":"cooperative-sticky"}`))

	// Without an id it gets one.
	got := decode(t, a.want(201, a.post("/v1/groups/third/members", `{"topics":["a"]}`)).body)
	if id, _ := got["member_id"].(string); len(id) != 36 {
		t.Errorf("member id %q", got["member_id"])
	}
	a.exact(404, `{"type":"/problems/topic-not-found","title":"There is no such topic","status":404,"detail":"topic none does not exist","code":"topic_not_found","retryable":false,"no_side_effects":true,"topic":"none"}`,
		a.post("/v1/groups/g/members", `{"topics":["none"]}`))
}

// Of many that join under one id one stays. Who was overtaken before the answer
// is told that the join had effects.
func TestJoinOvertaken(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	deadline := time.Now().Add(30 * time.Second)
	for overtaken := 0; overtaken == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no join was overtaken")
		}
		answers := make([]answer, 32)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() { answers[i] = a.join("m") })
		}
		all.Wait()
		for _, got := range answers {
			switch {
			case got.status == 410:
				overtaken++
				if body := string(got.body); !strings.Contains(body, `"code":"member_fenced","retryable":false,"no_side_effects":false`) {
					t.Errorf("%s", body)
				}
			case got.status != 200 && got.status != 201:
				t.Errorf("%d %s", got.status, got.body)
			}
		}
	}
}

func TestJoinCreatesTopics(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.AutoCreateTopics, c.DefaultPartitions = true, 3 })
	a.exact(201, joined("m", 1, partitionsOf("0,1,2")), a.join("m"))
}

// What the catalog has no room for, and cannot do at its level.
func TestJoinIsRefused(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	for name, c := range map[string]struct {
		err        error
		status     int
		want       string
		retryAfter string
	}{
		"full": {catalog.ErrGroupFull, 429, `{"type":"/problems/group-full","title":"The group has as many members or topics as it may","status":429,"detail":"a group has at most 500 topics to which its members subscribe","code":"group_full","retryable":true,"no_side_effects":true,"limit":500}`, "10"},
		"catalog full": {catalog.ErrCatalogFull, 503,
			`{"type":"/problems/catalog-full","title":"The catalog is at its limit","status":503,"detail":"` + catalog.ErrCatalogFull.Error() + `","code":"catalog_full","retryable":true,"no_side_effects":true}`, "1"},
		"level": {&catalog.FeatureLevelError{Needed: 3, Level: 2}, 409,
			`{"type":"/problems/feature-level-too-low","title":"The catalog's feature level is too low","status":409,"detail":"` + (&catalog.FeatureLevelError{Needed: 3, Level: 2}).Error() + `","code":"feature_level_too_low","retryable":false,"no_side_effects":true,"needed":3,"level":2}`, ""},
		"unknown": {catalog.ErrUnknownOutcome, 504,
			`{"type":"/problems/outcome-unknown","title":"Whether the request took effect is unknown","status":504,"detail":"the outcome is not known; to repeat the request is safe, but for records without a producer id or an Idempotency-Key","code":"outcome_unknown","retryable":true,"no_side_effects":false}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a.node.refuse(func(e catalog.Edit) error {
				if _, join := e.(catalog.JoinGroup); join {
					return c.err
				}
				return nil
			})
			got := a.join("m")
			a.exact(c.status, c.want, got)
			if after := got.header.Get("Retry-After"); after != c.retryAfter {
				t.Errorf("Retry-After %q", after)
			}
		})
	}
}

func TestHeartbeatAndLeave(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("4")
	a.want(201, a.join("a"))
	a.exact(200, `{"epoch":1,"assignment":`+partitionsOf("0,1,2,3")+`}`, a.heartbeat("a", 1))
	a.exact(201, joined("b", 2, "[]"), a.join("b"))
	// The older epoch is told of the new one; naming that gives up what it lost.
	a.exact(409, rebalanced(1, 2, 1, partitionsOf("0,1"), partitionsOf("2,3")), a.heartbeat("a", 1))
	a.exact(200, `{"epoch":2,"assignment":[]}`, a.heartbeat("b", 2))
	a.exact(200, `{"epoch":2,"assignment":`+partitionsOf("0,1")+`}`, a.heartbeat("a", 2))
	a.exact(409, rebalanced(1, 3, 2, partitionsOf("2,3"), "[]"), a.heartbeat("b", 2))
	a.exact(200, `{"epoch":3,"assignment":`+partitionsOf("2,3")+`}`, a.heartbeat("b", 3))

	a.exact(410, strings.Replace(fenced("g", "b", 0), "member b is not in group g any more under epoch 0; join again", "group g has no such member b", 1),
		a.do("DELETE", "/v1/groups/g/members/b?epoch=1", ""))
	a.exact(204, "", a.do("DELETE", "/v1/groups/g/members/b?epoch=3", ""))
	a.exact(410, fenced("g", "b", 3), a.heartbeat("b", 3))
	a.exact(409, rebalanced(1, 4, 2, partitionsOf("0,1,2,3"), "[]"), a.heartbeat("a", 2))
	// An operator removes whoever it is.
	a.exact(204, "", a.do("DELETE", "/v1/groups/g/members/a", ""))
	a.wantProblem(410, "member_fenced", a.do("DELETE", "/v1/groups/g/members/a", ""))
	a.wantProblem(404, "group_not_found", a.do("GET", "/v1/groups/g", ""))
}

// A heartbeat that cannot be noted is no heartbeat.
func TestHeartbeatNeedsTheLeader(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	a.want(201, a.join("a"))
	a.node.failKeeps(func(int) error { return catalog.ErrNotConfirmed })
	for _, got := range []answer{a.heartbeat("a", 1), a.poll("a", `{"epoch":1}`)} {
		a.wantProblem(503, "not_confirmed", got)
		if got.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
		}
	}
	// Whoever is fenced at the leader is told what is so by a current view.
	a.node.failKeeps(func(int) error { return catalog.ErrMemberFenced })
	a.want(204, a.do("DELETE", "/v1/groups/g/members/a", ""))
	a.exact(410, fenced("g", "a", 1), a.heartbeat("a", 1))
	a.node.mu.Lock()
	a.node.unconfirm = catalog.ErrNotConfirmed
	a.node.mu.Unlock()
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/v1/groups", ""},
		{"GET", "/v1/groups/g", ""},
		{"DELETE", "/v1/groups/g", ""},
		{"GET", "/v1/groups/g/offsets", ""},
		{"PUT", "/v1/groups/g/offsets", `{"offsets":[{"topic":"none","partition":0,"offset":0}]}`},
		{"POST", "/v1/groups/g/members", `{"topics":["t"]}`},
		{"DELETE", "/v1/groups/g/members/a", ""},
		{"POST", "/v1/groups/g/members/a:heartbeat", `{"epoch":1}`},
		{"POST", "/v1/groups/g/members/a:poll", `{"epoch":1}`},
	} {
		headers := []string{}
		if r.body != "" {
			headers = []string{"Content-Type", typeJSON}
		}
		a.wantProblem(503, "not_confirmed", a.do(r.method, r.path, r.body, headers...))
	}
}

func TestGroupOffsets(t *testing.T) {
	a := newTestAPI(t, nil)
	a.fill() // t: partition 0 has [0, 2), 1 has [1, 3), 2 is empty
	a.want(201, a.do("PUT", "/v1/topics/a", `{"partitions":1}`))
	const path = "/v1/groups/g/offsets"
	notFound := `{"type":"/problems/group-not-found","title":"There is no such group","status":404,"detail":"group g does not exist","code":"group_not_found","retryable":false,"no_side_effects":true,"group":"g"}`
	a.exact(404, notFound, a.do("GET", path, ""))
	a.exact(204, "", a.put(path, `{"offsets":[{"topic":"t","partition":1,"offset":0,"metadata":"é"},{"topic":"t","partition":0,"offset":2},{"topic":"a","partition":0,"offset":0}]}`))
	inA := `{"topic":"a","partition":0,"offset":0,"metadata":"","timestamp":0}`
	inT := `{"topic":"t","partition":0,"offset":2,"metadata":"","timestamp":0},{"topic":"t","partition":1,"offset":0,"metadata":"é","timestamp":0}`
	a.exact(200, `{"offsets":[`+inA+`,`+inT+`]}`, a.do("GET", path, ""))
	a.exact(200, `{"offsets":[`+inT+`]}`, a.do("GET", path+"?topic=t", ""))
	a.exact(200, `{"offsets":[]}`, a.do("GET", path+"?topic=none", ""))

	// All of it or nothing.
	a.exact(416, `{"type":"/problems/offset-above-end","title":"The offset is above the end","status":416,"detail":"offset 3 of partition 0 of topic t is above the end, 2","code":"offset_above_end","retryable":true,"no_side_effects":true,"topic":"t","partition":0,"offset":3,"end":2}`,
		a.put(path, `{"offsets":[{"topic":"t","partition":1,"offset":1},{"topic":"t","partition":0,"offset":3}]}`))
	a.exact(404, noTopicText, a.put(path, `{"offsets":[{"topic":"t","partition":1,"offset":1},{"topic":"none","partition":0,"offset":3}]}`))
	a.exact(404, noPartText, a.put(path, `{"offsets":[{"topic":"t","partition":3,"offset":1}]}`))
	a.exact(200, `{"offsets":[`+inA+`,`+inT+`]}`, a.do("GET", path, ""))

	// A member commits in what it holds; nobody else does, while there is one.
	a.exact(201, joined("m", 1, partitionsOf("0,1,2")), a.join("m"))
	one := `"offsets":[{"topic":"t","partition":1,"offset":1}]`
	a.exact(409, `{"type":"/problems/group-not-empty","title":"The group has members","status":409,"detail":"group g has members: 1","code":"group_not_empty","retryable":false,"no_side_effects":true,"members":1}`,
		a.put(path, `{`+one+`}`))
	a.exact(204, "", a.put(path, `{"member_id":"m","epoch":1,`+one+`}`))
	a.exact(409, rebalanced(1, 1, 1, partitionsOf("0,1,2"), "[]"), a.put(path, `{"member_id":"m","epoch":1,"offsets":[{"topic":"a","partition":0,"offset":0}]}`))
	a.exact(410, fenced("g", "n", 1), a.put(path, `{"member_id":"n","epoch":1,`+one+`}`))
	a.want(201, a.join("n"))
	// What it is to let go it may still commit, under the old epoch and the new one.
	two := `"offsets":[{"topic":"t","partition":2,"offset":0}]`
	a.exact(204, "", a.put(path, `{"member_id":"m","epoch":1,`+two+`}`))
	a.exact(204, "", a.put(path, `{"member_id":"m","epoch":2,`+two+`}`))
	a.exact(409, rebalanced(1, 2, 3, partitionsOf("0,1"), partitionsOf("2")), a.put(path, `{"member_id":"m","epoch":3,`+two+`}`))
	a.want(200, a.heartbeat("m", 2))
	a.exact(409, rebalanced(1, 2, 1, partitionsOf("0,1"), "[]"), a.put(path, `{"member_id":"m","epoch":1,`+one+`}`))
	a.exact(409, rebalanced(1, 2, 2, partitionsOf("0,1"), "[]"), a.put(path, `{"member_id":"m","epoch":2,`+two+`}`))

	// null forgets, and a group without anything is gone.
	a.want(204, a.do("DELETE", "/v1/groups/g/members/m", ""))
	a.want(204, a.do("DELETE", "/v1/groups/g/members/n", ""))
	a.exact(204, "", a.put(path, `{"offsets":[{"topic":"t","partition":0,"offset":null},{"topic":"t","partition":1,"offset":null},{"topic":"t","partition":2,"offset":null}]}`))
	a.exact(200, `{"offsets":[`+inA+`]}`, a.do("GET", path, ""))
	// Offsets go with their topic.
	a.want(204, a.do("DELETE", "/v1/topics/a", ""))
	a.exact(404, notFound, a.do("GET", path, ""))
}

func TestDescribeGroup(t *testing.T) {
	a := newTestAPI(t, nil)
	a.fill()
	a.want(201, a.do("PUT", "/v1/topics/a", `{"partitions":1}`))
	a.want(200, a.do("POST", "/v1/topics/a/records", "x"))
	a.want(204, a.put("/v1/groups/g/offsets", `{"offsets":[{"topic":"t","partition":0,"offset":1},{"topic":"a","partition":0,"offset":1}]}`))
	partition := func(topic string, p int, owner, committed string, start, end, lag int) string {
		return fmt.Sprintf(`{"topic":%q,"partition":%d,"member_id":%s,"committed":%s,"log_start_offset":%d,"end_offset":%d,"lag":%d}`, topic, p, owner, committed, start, end, lag)
	}
	inA := partition("a", 0, "null", "1", 0, 1, 0)
	a.exact(200, `{"group":"g","state":"empty","strategy":null,"epoch":0,"members":[],"partitions":[`+inA+`,`+partition("t", 0, "null", "1", 0, 2, 1)+`],"lag":1}`,
		a.do("GET", "/v1/groups/g", ""))
	a.want(201, a.post("/v1/groups/g/members", `{"topics":["t"],"member_id":"m","client_id":"job/7","session_timeout_ms":5000}`))
	a.exact(200, `{"group":"g","state":"stable","strategy":"cooperative-sticky","epoch":1,"members":[`+
		`{"member_id":"m","client_id":"job/7","topics":["t"],"epoch":1,"session_timeout_ms":5000,"assignment":`+partitionsOf("0,1,2")+`,"revoked":[]}],"partitions":[`+
		inA+`,`+partition("t", 0, `"m"`, "1", 0, 2, 1)+`,`+partition("t", 1, `"m"`, "null", 1, 3, 2)+`,`+partition("t", 2, `"m"`, "null", 0, 0, 0)+`],"lag":3}`,
		a.do("GET", "/v1/groups/g", ""))
	a.want(201, a.join("n"))
	a.exact(200, `{"group":"g","state":"rebalancing","strategy":"cooperative-sticky","epoch":2,"members":[`+
		`{"member_id":"m","client_id":"job/7","topics":["t"],"epoch":2,"session_timeout_ms":5000,"assignment":`+partitionsOf("0,1")+`,"revoked":`+partitionsOf("2")+`},`+
		`{"member_id":"n","client_id":null,"topics":["t"],"epoch":2,"session_timeout_ms":30000,"assignment":[],"revoked":[]}],"partitions":[`+
		inA+`,`+partition("t", 0, `"m"`, "1", 0, 2, 1)+`,`+partition("t", 1, `"m"`, "null", 1, 3, 2)+`,`+partition("t", 2, `"m"`, "null", 0, 0, 0)+`],"lag":3}`,
		a.do("GET", "/v1/groups/g", ""))
	a.want(200, a.heartbeat("m", 2))
	got := decode(t, a.want(200, a.do("GET", "/v1/groups/g", "")).body)
	if got["state"] != "rebalancing" { // n has not acknowledged it yet
		t.Errorf("state %v", got["state"])
	}
	a.want(200, a.heartbeat("n", 3))
	got = decode(t, a.want(200, a.do("GET", "/v1/groups/g", "")).body)
	if got["state"] != "stable" || got["partitions"].([]any)[3].(map[string]any)["member_id"] != "n" {
		t.Errorf("%v", got)
	}

	a.exact(409, `{"type":"/problems/group-not-empty","title":"The group has members","status":409,"detail":"group g has members: 2","code":"group_not_empty","retryable":false,"no_side_effects":true,"members":2}`,
		a.do("DELETE", "/v1/groups/g", ""))
	a.want(204, a.do("DELETE", "/v1/groups/g/members/m", ""))
	a.want(204, a.do("DELETE", "/v1/groups/g/members/n", ""))
	a.exact(204, "", a.do("DELETE", "/v1/groups/g", ""))
	a.wantProblem(404, "group_not_found", a.do("DELETE", "/v1/groups/g", ""))
}

// A description that is longer than a buffer is whole.
func TestDescribeManyPartitions(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("3000")
	a.want(201, a.join("m"))
	got := decode(t, a.want(200, a.do("GET", "/v1/groups/g", "")).body)
	if n := len(got["partitions"].([]any)); n != 3000 {
		t.Errorf("%d partitions", n)
	}
	var offsets []string
	for p := range 3000 {
		offsets = append(offsets, fmt.Sprintf(`{"topic":"t","partition":%d,"offset":0,"metadata":"%d"}`, p, p))
	}
	a.want(204, a.put("/v1/groups/g/offsets", `{"member_id":"m","epoch":1,"offsets":[`+strings.Join(offsets, ",")+`]}`))
	for i, o := range decode(t, a.want(200, a.do("GET", "/v1/groups/g/offsets", "")).body)["offsets"].([]any) {
		if o := o.(map[string]any); o["partition"] != float64(i) || o["metadata"] != fmt.Sprint(i) {
			t.Fatalf("%d: %v", i, o)
		}
	}
}

func TestListGroups(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	a.exact(200, `{"groups":[],"next_page_token":""}`, a.do("GET", "/v1/groups", ""))
	for _, g := range []string{"b-2", "a", "b-1", "c"} {
		a.want(201, a.post("/v1/groups/"+g+"/members", `{"topics":["t"],"member_id":"m","strategy":"range"}`))
	}
	a.want(201, a.post("/v1/groups/b-2/members", `{"topics":["t"],"member_id":"n"}`))
	a.want(204, a.put("/v1/groups/b-3/offsets", `{"offsets":[{"topic":"t","partition":0,"offset":0}]}`))
	stable := func(name string) string {
		return `{"group":"` + name + `","state":"stable","strategy":"range","members":1}`
	}
	b2, b3 := `{"group":"b-2","state":"stable","strategy":"range","members":2}`, `{"group":"b-3","state":"empty","strategy":null,"members":0}`
	listed := decode(t, a.want(200, a.do("GET", "/v1/groups?page_size=2", "")).body)
	token := listed["next_page_token"].(string)
	if token == "" {
		t.Fatal("no second page")
	}
	a.exact(200, `{"groups":[`+stable("a")+`,`+stable("b-1")+`],"next_page_token":"`+token+`"}`, a.do("GET", "/v1/groups?page_size=2", ""))
	a.exact(200, `{"groups":[`+b2+`,`+b3+`,`+stable("c")+`],"next_page_token":""}`, a.do("GET", "/v1/groups?page_size=3&page_token="+token, ""))
	a.exact(200, `{"groups":[`+stable("b-1")+`,`+b2+`,`+b3+`],"next_page_token":""}`, a.do("GET", "/v1/groups?prefix=b-", ""))
}
