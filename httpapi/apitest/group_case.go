package apitest

import (
	"fmt"
	"net/http"
	"strings"
)

func groupCases() []Case {
	all := joinCases()
	for _, more := range [][]Case{memberCases(), pollCases(), groupOffsetCases(), groupRouteCases()} {
		all = append(all, more...)
	}
	return all
}

func joinCases() []Case {
	post := func(name, body string, status int, code, detail string) Case {
		return Case{Name: "join/" + name, Path: "/v1/groups/new/members", Header: []string{asJSON}, Body: text(body), Status: status, Code: code, Detail: detail}
	}
	bad := func(name, body, detail string) Case { return post(name, body, 400, "invalid_json", detail) }
	at := func(path string, c Case) Case {
		c.Path = path
		return c
	}
	long := string(fill(250)())
	var many []string
	for i := range 501 {
		many = append(many, fmt.Sprintf(`"t%d"`, i))
	}
	mismatch := at("/v1/groups/$G/members", post("other strategy", `{"topics":["$T"],"strategy":"range"}`, 409, "group_strategy_mismatch", "cooperative-sticky"))
	mismatch.Members = []string{"strategy"}
	unknown := post("unknown topic", `{"topics":["$T","unknown"]}`, 404, "topic_not_found", "unknown")
	unknown.Members = []string{"topic"}
	tooMany := bad("501 topics", `{"topics":[`+strings.Join(many, ",")+`]}`, "500")
	tooMany.Members = []string{"limit"}
	return []Case{
		bad("empty body", ``, "empty"),
		bad("no object", `["a"]`, "must be an object"),
		bad("nothing", `{}`, "topics is needed"),
		bad("no topics", `{"topics":[]}`, "topics is needed"),
		bad("topics as text", `{"topics":"$T"}`, "topics must be an array"),
		bad("topic as a number", `{"topics":[1]}`, "topics[0] must be a string"),
		post("bad topic name", `{"topics":["a/b"]}`, 400, "invalid_topic_name", "a/b"),
		bad("topic twice", `{"topics":["$T","$T"]}`, "topics[1]"),
		tooMany,
		unknown,
		bad("topic instead of topics", `{"topic":"$T"}`, "topic is not known"),
		bad("goes on", `{"topics":["$T"]}{}`, "goes on"),
		bad("cut off", `{"topics":["$T"`, ""),
		bad("topics twice", `{"topics":["$T"],"topics":["$S"]}`, "duplicate"),
		post("member id of 250", `{"topics":["$T"],"member_id":"`+long+`"}`, 400, "invalid_member_id", "249"),
		post("member id empty", `{"topics":["$T"],"member_id":""}`, 400, "invalid_member_id", "empty"),
		post("member id with a slash", `{"topics":["$T"],"member_id":"a/b"}`, 400, "invalid_member_id", "a/b"),
		post("member id with a colon", `{"topics":["$T"],"member_id":"a:poll"}`, 400, "invalid_member_id", "a:poll"),
		bad("member id null", `{"topics":["$T"],"member_id":null}`, "member_id must be a string"),
		bad("client id with a space", `{"topics":["$T"],"client_id":"a b"}`, "client_id must be 1 to 128"),
		bad("client id empty", `{"topics":["$T"],"client_id":""}`, "client_id"),
		bad("unknown strategy", `{"topics":["$T"],"strategy":"any"}`, "strategy must be range or cooperative-sticky"),
		bad("strategy as a number", `{"topics":["$T"],"strategy":1}`, "strategy must be a string"),
		bad("session too short", `{"topics":["$T"],"session_timeout_ms":2999}`, "session_timeout_ms must be an integer from 3000"),
		bad("session too long", `{"topics":["$T"],"session_timeout_ms":1800001}`, "to 1800000"),
		bad("session as text", `{"topics":["$T"],"session_timeout_ms":"30000"}`, "session_timeout_ms must be an integer"),
		mismatch,
		at("/v1/groups/"+long+"/members", post("group name of 250", `{"topics":["$T"]}`, 400, "invalid_group_name", "249")),
		at("/v1/groups/../members", post("group name ..", `{"topics":["$T"]}`, 400, "invalid_group_name", "..")),
		at("/v1/groups/a%2Fb/members", post("group name with a slash", `{"topics":["$T"]}`, 400, "invalid_group_name", "a/b")),
		at("/v1/groups/new/members?topic=a", post("parameter", `{"topics":["$T"]}`, 400, "invalid_parameter", "topic")),
		{Name: "join/lines", Path: "/v1/groups/new/members", Header: []string{asLines}, Body: text(`{"topics":["$T"]}`), Status: 415, Code: "unsupported_media_type"},
		{Name: "join/body of 65 KiB", Path: "/v1/groups/new/members", Header: []string{asJSON}, Body: fill(65 << 10), Status: 413, Code: "body_too_large", Members: []string{"limit"}},
		{Name: "join/slow body", Path: "/v1/groups/new/members", Header: []string{asJSON}, Announced: 100, Body: text(`{`), Status: 408, Code: "slow_body"},
	}
}

func memberCases() []Case {
	post := func(name, path, body string, status int, code, detail string) Case {
		return Case{Name: "heartbeat/" + name, Path: path, Header: []string{asJSON}, Body: text(body), Status: status, Code: code, Detail: detail}
	}
	const path = "/v1/groups/$G/members/m:heartbeat"
	stale := post("newer epoch than there is", path, `{"epoch":9223372036854775807}`, 409, "rebalance_in_progress", "not 9223372036854775807")
	stale.Members = []string{"epoch", "assignment", "revoked"}
	fenced := post("older epoch than it joined with", path, `{"epoch":1}`, 410, "member_fenced", "join again")
	fenced.Members = []string{"group", "member_id"}
	remove := func(name, path string, status int, code, detail string) Case {
		return Case{Name: "leave/" + name, Method: http.MethodDelete, Path: path, Status: status, Code: code, Detail: detail}
	}
	return []Case{
		stale, fenced,
		post("empty body", path, ``, 400, "invalid_json", "empty"),
		post("no epoch", path, `{}`, 400, "invalid_json", "epoch is needed"),
		post("epoch 0", path, `{"epoch":0}`, 400, "invalid_json", "epoch must be an integer from 1"),
		post("epoch as text", path, `{"epoch":"1"}`, 400, "invalid_json", "epoch must be an integer"),
		post("epoch overflow", path, `{"epoch":9223372036854775808}`, 400, "invalid_json", "epoch"),
		post("unknown member", path, `{"epoch":$E,"commit":[]}`, 400, "invalid_json", "commit is not known"),
		post("unknown member id", "/v1/groups/$G/members/unknown:heartbeat", `{"epoch":$E}`, 410, "member_fenced", "unknown"),
		post("unknown group", "/v1/groups/unknown/members/m:heartbeat", `{"epoch":$E}`, 410, "member_fenced", "unknown"),
		post("bad member id", "/v1/groups/$G/members/a%20b:heartbeat", `{"epoch":$E}`, 400, "invalid_member_id", ""),
		post("bad group name", "/v1/groups/a%20b/members/m:heartbeat", `{"epoch":$E}`, 400, "invalid_group_name", ""),
		post("parameter", path+"?epoch=1", `{"epoch":$E}`, 400, "invalid_parameter", "epoch"),
		{Name: "heartbeat/text", Path: path, Header: []string{"Content-Type: text/plain"}, Body: text(`{"epoch":$E}`), Status: 415, Code: "unsupported_media_type"},
		remove("unknown member", "/v1/groups/$G/members/unknown", 410, "member_fenced", "unknown"),
		remove("unknown group", "/v1/groups/unknown/members/m", 410, "member_fenced", "unknown"),
		remove("old epoch", "/v1/groups/$G/members/m?epoch=1", 410, "member_fenced", ""),
		remove("epoch 0", "/v1/groups/$G/members/m?epoch=0", 400, "invalid_parameter", "epoch"),
		remove("epoch as text", "/v1/groups/$G/members/m?epoch=x", 400, "invalid_parameter", "epoch"),
		remove("unknown parameter", "/v1/groups/$G/members/m?force=true", 400, "invalid_parameter", "force"),
		remove("bad member id", "/v1/groups/$G/members/a%2Fb", 400, "invalid_member_id", ""),
		remove("bad group name", "/v1/groups/%C3%A9/members/m", 400, "invalid_group_name", ""),
	}
}

func pollCases() []Case {
	const path = "/v1/groups/$G/members/m:poll"
	post := func(name, body string, status int, code, detail string) Case {
		return Case{Name: "poll/" + name, Path: path, Header: []string{asJSON}, Body: text(body), Status: status, Code: code, Detail: detail}
	}
	bad := func(name, members, detail string) Case {
		return post(name, `{"epoch":$E,`+members+`}`, 400, "invalid_json", detail)
	}
	at := func(path string, c Case) Case {
		c.Path = path
		return c
	}
	with := func(c Case, members ...string) Case {
		c.Members = members
		return c
	}
	const one = `{"topic":"$T","partition":0,"offset":1}`
	return []Case{
		post("empty body", ``, 400, "invalid_json", "empty"),
		post("no epoch", `{}`, 400, "invalid_json", "epoch is needed"),
		post("negative epoch", `{"epoch":-1}`, 400, "invalid_json", "epoch"),
		bad("commit no array", `"commit":{}`, "commit must be an array"),
		bad("commit without topic", `"commit":[{"partition":0,"offset":1}]`, "commit[0] must have a member topic"),
		bad("commit without partition", `"commit":[{"topic":"$T","offset":1}]`, "must have a member partition"),
		bad("commit without offset", `"commit":[{"topic":"$T","partition":0}]`, "must have a member offset"),
		bad("commit null", `"commit":[{"topic":"$T","partition":0,"offset":null}]`, "commit[0].offset must be an integer"),
		bad("commit negative", `"commit":[{"topic":"$T","partition":0,"offset":-1}]`, "commit[0].offset"),
		bad("commit of a word", `"commit":[{"topic":"$T","partition":0,"offset":"latest"}]`, "commit[0].offset must be an integer"),
		bad("commit twice", `"commit":[`+one+`,`+one+`]`, "commit[1] names a partition that is named before"),
		bad("commit with long metadata", `"commit":[{"topic":"$T","partition":0,"offset":1,"metadata":"`+string(fill(1025)())+`"}]`, "metadata must be at most 1024 bytes"),
		bad("commit with metadata null", `"commit":[{"topic":"$T","partition":0,"offset":1,"metadata":null}]`, "metadata must be a string"),
		bad("commit with unknown member", `"commit":[{"topic":"$T","partition":0,"offset":1,"epoch":1}]`, "epoch is not known"),
		with(post("commit above the end", `{"epoch":$E,"commit":[`+one+`,{"topic":"$T","partition":1,"offset":7}]}`, 416, "offset_above_end", "offset 7"), "topic", "partition", "offset", "end"),
		post("commit of an unknown topic", `{"epoch":$E,"commit":[{"topic":"unknown","partition":0,"offset":1}]}`, 404, "topic_not_found", "unknown"),
		post("commit of an unknown partition", `{"epoch":$E,"commit":[{"topic":"$T","partition":2,"offset":1}]}`, 404, "partition_not_found", "not 2"),
		with(post("commit of what it does not hold", `{"epoch":$E,"commit":[`+one+`,{"topic":"$S","partition":0,"offset":0}]}`, 409, "rebalance_in_progress", "does not hold"), "epoch", "assignment", "revoked"),
		bad("position with metadata", `"positions":[{"topic":"$T","partition":0,"offset":1,"metadata":""}]`, "metadata is not known"),
		bad("position of a word", `"positions":[{"topic":"$T","partition":0,"offset":"earliest"}]`, "positions[0].offset must be an integer"),
		bad("position twice", `"positions":[`+one+`,`+one+`]`, "positions[1]"),
		post("position in a bad topic", `{"epoch":$E,"positions":[{"topic":"..","partition":0,"offset":1}]}`, 400, "invalid_topic_name", ".."),
		post("position in an unknown topic", `{"epoch":$E,"positions":[{"topic":"unknown","partition":0,"offset":1}]}`, 404, "topic_not_found", "unknown"),
		post("position in an unknown partition", `{"epoch":$E,"positions":[{"topic":"$T","partition":2,"offset":1}]}`, 404, "partition_not_found", "not 2"),
		with(post("position in what it does not hold", `{"epoch":$E,"positions":[{"topic":"$S","partition":0,"offset":0}]}`, 409, "rebalance_in_progress", "does not hold"), "epoch", "assignment", "revoked"),
		bad("start in the middle", `"start":"0"`, "start must be earliest or latest"),
		bad("start as a number", `"start":0`, "start must be a string"),
		bad("no bytes", `"max_bytes":0`, "max_bytes"),
		bad("too many bytes", `"max_bytes":67108865`, "max_bytes"),
		bad("min over max", `"max_bytes":10,"min_bytes":11`, "min_bytes"),
		bad("long wait", `"max_wait_ms":30001`, "max_wait_ms"),
		bad("unknown member", `"partitions":[]`, "partitions is not known"),
		bad("cut off", `"commit":[`, ""),
		with(post("newer epoch than there is", `{"epoch":9223372036854775807}`, 409, "rebalance_in_progress", ""), "epoch", "assignment", "revoked"),
		post("older epoch than it joined with", `{"epoch":1}`, 410, "member_fenced", "join again"),
		at("/v1/groups/$G/members/unknown:poll", post("unknown member id", `{"epoch":$E,"commit":[{"topic":"unknown","partition":0,"offset":1}]}`, 410, "member_fenced", "unknown")),
		at("/v1/groups/unknown/members/m:poll", post("unknown group", `{"epoch":$E}`, 410, "member_fenced", "unknown")),
		at("/v1/groups/$G/members/a%20b:poll", post("bad member id", `{"epoch":$E}`, 400, "invalid_member_id", "")),
		at(path+"?max_wait_ms=1", post("parameter", `{"epoch":$E}`, 400, "invalid_parameter", "max_wait_ms")),
		{Name: "poll/not acceptable", Path: path, Header: []string{asJSON, "Accept: application/x-ndjson"}, Body: text(`{"epoch":$E}`), Status: 406, Code: "not_acceptable"},
		{Name: "poll/lines", Path: path, Header: []string{asLines}, Body: text(`{"epoch":$E}`), Status: 415, Code: "unsupported_media_type"},
		{Name: "poll/body over 4 MiB", Path: path, Header: []string{asJSON}, Body: fill(4<<20 + 1), Chunked: true, Status: 413, Code: "body_too_large", Members: []string{"limit"}},
		{Name: "poll/slow body", Path: path, Header: []string{asJSON}, Announced: 100, Body: text(`{`), Status: 408, Code: "slow_body"},
	}
}

func groupOffsetCases() []Case {
	put := func(name, path, body string, status int, code, detail string) Case {
		return Case{Name: "group offsets/" + name, Method: http.MethodPut, Path: path, Header: []string{asJSON}, Body: text(body), Status: status, Code: code, Detail: detail}
	}
	const free, taken = "/v1/groups/new/offsets", "/v1/groups/$G/offsets"
	bad := func(name, body, detail string) Case { return put(name, free, body, 400, "invalid_json", detail) }
	with := func(c Case, members ...string) Case {
		c.Members = members
		return c
	}
	const one = `{"topic":"$T","partition":0,"offset":1}`
	get := func(name, path string, status int, code, detail string) Case {
		return Case{Name: "group offsets/" + name, Method: http.MethodGet, Path: path, Status: status, Code: code, Detail: detail}
	}
	return []Case{
		bad("empty body", ``, "empty"),
		bad("no offsets", `{}`, "offsets is needed"),
		bad("none", `{"offsets":[]}`, "offsets is needed"),
		bad("no array", `{"offsets":`+one+`}`, "offsets must be an array"),
		bad("twice", `{"offsets":[`+one+`,`+one+`]}`, "offsets[1]"),
		bad("negative", `{"offsets":[{"topic":"$T","partition":0,"offset":-1}]}`, "offsets[0].offset"),
		bad("member without epoch", `{"member_id":"m","offsets":[`+one+`]}`, "go together"),
		bad("epoch without member", `{"epoch":1,"offsets":[`+one+`]}`, "go together"),
		put("bad member id", free, `{"member_id":"..","epoch":1,"offsets":[`+one+`]}`, 400, "invalid_member_id", ".."),
		put("bad topic", free, `{"offsets":[{"topic":"","partition":0,"offset":1}]}`, 400, "invalid_topic_name", "empty"),
		put("unknown topic", free, `{"offsets":[{"topic":"unknown","partition":0,"offset":1}]}`, 404, "topic_not_found", "unknown"),
		put("unknown partition", free, `{"offsets":[{"topic":"$T","partition":2,"offset":1}]}`, 404, "partition_not_found", "not 2"),
		with(put("above the end", free, `{"offsets":[{"topic":"$T","partition":0,"offset":5}]}`, 416, "offset_above_end", "above the end, 4"), "topic", "partition", "offset", "end"),
		with(put("group with members", taken, `{"offsets":[`+one+`]}`, 409, "group_not_empty", "members"), "members"),
		put("member of no group", free, `{"member_id":"m","epoch":1,"offsets":[`+one+`]}`, 410, "member_fenced", "join again"),
		put("old epoch", taken, `{"member_id":"m","epoch":1,"offsets":[`+one+`]}`, 410, "member_fenced", "join again"),
		with(put("newer epoch", taken, `{"member_id":"m","epoch":9223372036854775807,"offsets":[`+one+`]}`, 409, "rebalance_in_progress", ""), "epoch", "assignment", "revoked"),
		put("parameter", free+"?topic=a", `{"offsets":[`+one+`]}`, 400, "invalid_parameter", "topic"),
		put("bad group name", "/v1/groups/a%20b/offsets", `{"offsets":[`+one+`]}`, 400, "invalid_group_name", ""),
		{Name: "group offsets/lines", Method: http.MethodPut, Path: free, Header: []string{asLines}, Body: text(`{"offsets":[` + one + `]}`), Status: 415, Code: "unsupported_media_type"},
		{Name: "group offsets/body over 4 MiB", Method: http.MethodPut, Path: free, Header: []string{asJSON}, Announced: 4<<20 + 1, Body: text(`{`), Status: 413, Code: "body_too_large", Members: []string{"limit"}},
		with(get("of an unknown group", "/v1/groups/unknown/offsets", 404, "group_not_found", "unknown"), "group"),
		get("of a bad name", "/v1/groups/a%20b/offsets", 400, "invalid_group_name", ""),
		get("of a bad topic", "/v1/groups/$G/offsets?topic=a%2Fb", 400, "invalid_topic_name", "a/b"),
		get("with an unknown parameter", "/v1/groups/$G/offsets?partition=0", 400, "invalid_parameter", "partition"),
	}
}

func groupRouteCases() []Case {
	of := func(name, method, path string, status int, code, detail string, answered ...string) Case {
		return Case{Name: "group/" + name, Method: method, Path: path, Status: status, Code: code, Detail: detail, Answered: answered}
	}
	notEmpty := of("delete with members", "DELETE", "/v1/groups/$G", 409, "group_not_empty", "members")
	notEmpty.Members = []string{"members"}
	return []Case{
		of("page size 0", "GET", "/v1/groups?page_size=0", 400, "invalid_parameter", "page_size"),
		of("bad page token", "GET", "/v1/groups?page_token=%21", 400, "invalid_parameter", "page_token"),
		of("bad prefix", "GET", "/v1/groups?prefix=%2F", 400, "invalid_parameter", "prefix"),
		of("unknown parameter", "GET", "/v1/groups?state=empty", 400, "invalid_parameter", "state"),
		of("describe unknown", "GET", "/v1/groups/unknown", 404, "group_not_found", "unknown"),
		of("describe with a parameter", "GET", "/v1/groups/$G?lag=true", 400, "invalid_parameter", "lag"),
		of("describe a bad name", "GET", "/v1/groups/a%20b", 400, "invalid_group_name", ""),
		of("delete unknown", "DELETE", "/v1/groups/unknown", 404, "group_not_found", "unknown"),
		of("delete with a parameter", "DELETE", "/v1/groups/$G?force=true", 400, "invalid_parameter", "force"),
		notEmpty,
		of("put", "PUT", "/v1/groups/$G", 405, "method_not_allowed", "", "Allow: GET, DELETE, HEAD"),
		of("post", "POST", "/v1/groups", 405, "method_not_allowed", "", "Allow: GET, HEAD"),
		of("list members", "GET", "/v1/groups/$G/members", 405, "method_not_allowed", "", "Allow: POST"),
		of("get a member", "GET", "/v1/groups/$G/members/m", 405, "method_not_allowed", "", "Allow: DELETE"),
		of("post offsets", "POST", "/v1/groups/$G/offsets", 405, "method_not_allowed", "", "Allow: GET, PUT, HEAD"),
		of("get a poll", "GET", "/v1/groups/$G/members/m:poll", 405, "method_not_allowed", "", "Allow: POST"),
		of("delete a poll", "DELETE", "/v1/groups/$G/members/m:poll", 405, "method_not_allowed", "", "Allow: POST"),
		of("delete a heartbeat", "DELETE", "/v1/groups/$G/members/m:heartbeat", 405, "method_not_allowed", "", "Allow: POST"),
		of("unknown action", "POST", "/v1/groups/$G/members/m:join", 404, "not_found", ""),
		of("below a member", "GET", "/v1/groups/$G/members/m/offsets", 404, "not_found", ""),
		{Name: "group/describe with a body", Method: "GET", Path: "/v1/groups/$G", Body: text("x"), Status: 400, Code: "invalid_body"},
	}
}
