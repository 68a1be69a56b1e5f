package apitest

import (
	"fmt"
	"strings"
)

func fetchManyCases() []Case {
	post := func(name, body string, status int, code, detail string, headers ...string) Case {
		if len(headers) == 0 {
			headers = []string{asJSON}
		}
		return Case{Name: "fetch many/" + name, Path: "/v1/fetch", Header: headers, Body: text(body), Status: status, Code: code, Detail: detail}
	}
	bad := func(name, body, detail string) Case { return post(name, body, 400, "invalid_json", detail) }
	of := func(parts ...string) string { return `{"partitions":[` + strings.Join(parts, ",") + `]}` }
	const one = `{"topic":"t","partition":0,"offset":0}`
	var many []string
	for p := range 1001 {
		many = append(many, fmt.Sprintf(`{"topic":"t","partition":%d,"offset":0}`, p))
	}
	all := func(c Case) Case {
		c.Members = []string{"failed"}
		return c
	}
	tooLarge := Case{Name: "fetch many/body", Path: "/v1/fetch", Header: []string{asJSON}, Body: fill(512<<10 + 1), Status: 413, Code: "body_too_large", Members: []string{"limit"}}
	inChunks := tooLarge
	inChunks.Name, inChunks.Chunked = "fetch many/body in chunks", true
	return []Case{
		bad("empty body", "", "empty"),
		bad("no object", "[]", "object"),
		bad("nothing", "{}", "partitions"),
		bad("no partitions", of(), "partitions"),
		bad("partitions no array", `{"partitions":{}}`, "array"),
		bad("partition no object", of("0"), "partitions[0]"),
		bad("without topic", of(`{"partition":0,"offset":0}`), "topic"),
		bad("without partition", of(`{"topic":"t","offset":0}`), "partition"),
		bad("without offset", of(`{"topic":"t","partition":0}`), "offset"),
		bad("topic no string", of(`{"topic":1,"partition":0,"offset":0}`), "partitions[0].topic"),
		post("topic name", of(`{"topic":"..","partition":0,"offset":0}`), 400, "invalid_topic_name", ".."),
		bad("negative partition", of(`{"topic":"t","partition":-1,"offset":0}`), "partitions[0].partition"),
		bad("partition overflow", of(`{"topic":"t","partition":2147483648,"offset":0}`), "partitions[0].partition"),
		bad("partition text", of(`{"topic":"t","partition":"0","offset":0}`), "partitions[0].partition"),
		bad("negative offset", of(`{"topic":"t","partition":0,"offset":-1}`), "partitions[0].offset"),
		bad("offset overflow", of(`{"topic":"t","partition":0,"offset":9223372036854775808}`), "partitions[0].offset"),
		bad("fraction of an offset", of(`{"topic":"t","partition":0,"offset":1.5}`), "partitions[0].offset"),
		bad("offset in quotes", of(`{"topic":"t","partition":0,"offset":"1"}`), "partitions[0].offset"),
		bad("offset text", of(`{"topic":"t","partition":0,"offset":"first"}`), "partitions[0].offset"),
		bad("offset null", of(`{"topic":"t","partition":0,"offset":null}`), "partitions[0].offset"),
		bad("bad time", of(`{"topic":"t","partition":0,"offset":"timestamp:now"}`), "partitions[0].offset"),
		bad("negative time", of(`{"topic":"t","partition":0,"offset":"timestamp:-1"}`), "partitions[0].offset"),
		bad("no bytes of one", of(`{"topic":"t","partition":0,"offset":0,"max_bytes":0}`), "max_bytes"),
		bad("unknown member of one", of(`{"topic":"t","partition":0,"offset":0,"until":1}`), "until"),
		bad("twice the same", of(one, `{"topic":"u","partition":0,"offset":0}`, one), "partitions[2]"),
		bad("too many", of(many...), "1000"),
		bad("unknown member", `{"max_records":1,"partitions":[`+one+`]}`, "max_records"),
		bad("no bytes", `{"max_bytes":0,"partitions":[`+one+`]}`, "max_bytes"),
		bad("too many bytes", `{"max_bytes":67108865,"partitions":[`+one+`]}`, "max_bytes"),
		bad("min over max", `{"max_bytes":10,"min_bytes":11,"partitions":[`+one+`]}`, "min_bytes"),
		bad("long wait", `{"max_wait_ms":30001,"partitions":[`+one+`]}`, "max_wait_ms"),
		bad("negative wait", `{"max_wait_ms":-1,"partitions":[`+one+`]}`, "max_wait_ms"),
		bad("member twice", `{"max_bytes":1,"max_bytes":1,"partitions":[`+one+`]}`, ""),
		bad("more than one value", of(one)+"{}", ""),
		bad("cut off", `{"partitions":[`, ""),
		bad("not UTF-8", `{"partitions":[{"topic":"`+"\xff"+`","partition":0,"offset":0}]}`, ""),
		post("lines", of(one), 415, "unsupported_media_type", "", asLines),
		post("not acceptable", of(one), 406, "not_acceptable", "", asJSON, "Accept: application/x-ndjson"),
		{Name: "fetch many/parameter", Path: "/v1/fetch?offset=0", Header: []string{asJSON}, Body: text(of(one)), Status: 400, Code: "invalid_parameter", Detail: "offset"},
		all(post("unknown topic", of(`{"topic":"unknown","partition":0,"offset":0}`), 404, "topic_not_found", "unknown")),
		all(post("unknown topics", of(`{"topic":"unknown","partition":0,"offset":0}`, `{"topic":"unknown","partition":1,"offset":"latest"}`), 404, "topic_not_found", "unknown")),
		tooLarge,
		inChunks,
		{Name: "fetch many/slow body", Path: "/v1/fetch", Header: []string{asJSON}, Announced: 100, Body: text(`{"partitions":[`), Status: 408, Code: "slow_body"},
	}
}
