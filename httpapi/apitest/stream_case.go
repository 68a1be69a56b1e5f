package apitest

// streamCases are streams that must not begin.
func streamCases() []Case {
	get := func(name, query string, status int, code, detail string, headers ...string) Case {
		return Case{Name: "stream/" + name, Method: "GET", Path: "/v1/topics/$T/partitions/0/records" + query, Header: headers, Status: status, Code: code, Detail: detail}
	}
	const (
		events = "Accept: text/event-stream"
		lines  = "Accept: application/x-ndjson"
	)
	at := func(path string, c Case) Case {
		c.Path = path
		return c
	}
	return []Case{
		get("lines below the start", "?offset=0&follow=true", 410, "offset_below_start", ""),
		get("events below the start", "?offset=0", 410, "offset_below_start", "", events),
		get("lines above the end", "?offset=5&follow=true", 416, "offset_above_end", ""),
		get("events above the end", "?offset=5", 416, "offset_above_end", "", events),
		get("events without offset", "", 400, "invalid_parameter", "offset", events),
		get("lines without offset", "?follow=true", 400, "invalid_parameter", "offset"),
		get("bad flag", "?offset=1&follow=1", 400, "invalid_parameter", "follow"),
		get("JSON", "?offset=1&follow=true", 406, "not_acceptable", "application/x-ndjson", "Accept: application/json"),
		get("record batches", "?offset=1&follow=true", 406, "not_acceptable", "text/event-stream", "Accept: application/vnd.kafka.recordbatch.v2"),
		get("events that do not follow", "?offset=1&follow=false", 406, "not_acceptable", "", events),
		get("bare values as events", "?offset=1&values_only=true", 400, "invalid_parameter", "values_only", events),
		get("bare values as lines or events", "?offset=1&values_only=true&follow=true", 400, "invalid_parameter", "values_only", events),
		get("events with a wait", "?offset=1&max_wait_ms=1000", 400, "invalid_parameter", "max_wait_ms", events),
		get("lines with a wait", "?offset=1&follow=true&max_wait_ms=1000", 400, "invalid_parameter", "max_wait_ms", lines),
		get("lines with min bytes", "?offset=1&follow=true&min_bytes=1", 400, "invalid_parameter", "min_bytes", lines),
		get("lines with an end", "?offset=1&follow=true&until=2", 400, "invalid_parameter", "until", lines),
		get("events with an end", "?offset=1&until=2", 400, "invalid_parameter", "until", events),
		get("no bytes", "?offset=1&follow=true&max_bytes=0", 400, "invalid_parameter", "max_bytes", lines),
		get("no records", "?offset=1&follow=true&max_records=0", 400, "invalid_parameter", "max_records", lines),
		get("unknown parameter", "?offset=1&follow=true&ping=1", 400, "invalid_parameter", "ping", lines),
		get("last id that is no offset", "?offset=1", 400, "invalid_header", "Last-Event-ID", events, "Last-Event-ID: abc"),
		get("last id below 0", "?offset=1", 400, "invalid_header", "Last-Event-ID", events, "Last-Event-ID: -1"),
		get("last id overflow", "?offset=1", 400, "invalid_header", "Last-Event-ID", events, "Last-Event-ID: 9223372036854775808"),
		get("last id empty", "?offset=1", 400, "invalid_header", "Last-Event-ID", events, "Last-Event-ID:"),
		get("two last ids", "?offset=1", 400, "invalid_header", "Last-Event-ID", events, "Last-Event-ID: 1", "Last-Event-ID: 2"),
		get("last id of lines", "?offset=1&follow=true", 400, "invalid_header", "Last-Event-ID", lines, "Last-Event-ID: 1"),
		get("last id of no stream", "?offset=1", 400, "invalid_header", "Last-Event-ID", "Last-Event-ID: 1"),
		get("last id below the start", "?offset=1", 410, "offset_below_start", "", events, "Last-Event-ID: 0"),
		get("last id above the end", "?offset=1", 416, "offset_above_end", "", events, "Last-Event-ID: 5"),
		get("last id and a bad offset", "?offset=first", 400, "invalid_parameter", "offset", events, "Last-Event-ID: 1"),
		at("/v1/topics/$T/partitions/2/records?offset=0&follow=true", get("unknown partition", "", 404, "partition_not_found", "")),
		at("/v1/topics/unknown/partitions/0/records?offset=0", get("unknown topic", "", 404, "topic_not_found", "", events)),
	}
}
