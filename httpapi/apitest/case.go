package apitest

// Case is a bad request with the answer that it must get.
type Case struct {
	Name   string
	Method string // POST if empty
	// Path of the request as it goes over the wire. $T is a topic with two
	// partitions; partition 0 has the offsets 1 to 3, so that 0 is below its
	// start and 4 is its end. $S is a topic with max.message.bytes of 1000.
	// $G is a group with one member, m, of epoch $E, which has all of $T. They stand
	// for the same in a body of JSON.
	Path   string
	Header []string // lines, as in "Accept: text/html"
	// Body is sent with its length; with Chunked in chunks, without it.
	Body    func() []byte
	Chunked bool
	// Announced, if not 0, is the Content-Length of which only Body is sent.
	Announced int64
	// Framing, if not empty, is sent in place of the body's framing headers.
	Framing []string

	Status int
	Code   string
	// Detail must be in the problem's detail.
	Detail string
	// Members must be in the problem, whatever their values.
	Members []string
	// Answered are headers that must be in the answer, as in "Allow: GET".
	Answered []string
}

func text(s string) func() []byte { return func() []byte { return []byte(s) } }

func fill(n int) func() []byte {
	return func() []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'x'
		}
		return b
	}
}

const (
	asJSON  = "Content-Type: application/json"
	asLines = "Content-Type: application/x-ndjson"
	asBatch = "Content-Type: application/vnd.kafka.recordbatch.v2"
)

// Cases returns all cases.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{
		topicCases(), jsonCases(), recordCases(), lineCases(), batchCases(), rawCases(),
		conditionCases(), fenceCases(), fetchCases(), streamCases(), fetchManyCases(), groupCases(), routeCases(), bodyCases(), encodingCases(),
	} {
		all = append(all, group...)
	}
	return all
}

func topicCases() []Case {
	put := func(name, path, body string, status int, code, detail string) Case {
		return Case{Name: "topic/" + name, Method: "PUT", Path: path, Header: []string{asJSON}, Body: text(body), Status: status, Code: code, Detail: detail}
	}
	long := string(fill(250)())
	return []Case{
		put("name of 250", "/v1/topics/"+long, "{}", 400, "invalid_topic_name", "249"),
		put("name ..", "/v1/topics/..", "{}", 400, "invalid_topic_name", ".."),
		put("name .. escaped", "/v1/topics/%2e%2E", "{}", 400, "invalid_topic_name", ".."),
		put("name .", "/v1/topics/.", "{}", 400, "invalid_topic_name", ""),
		put("name with NUL", "/v1/topics/a%00b", "{}", 400, "invalid_topic_name", ""),
		put("name with slash", "/v1/topics/a%2Fb", "{}", 400, "invalid_topic_name", ""),
		put("name with space", "/v1/topics/a%20b", "{}", 400, "invalid_topic_name", ""),
		put("name not ASCII", "/v1/topics/%C3%A9", "{}", 400, "invalid_topic_name", ""),
		put("name not UTF-8", "/v1/topics/%ff", "{}", 400, "invalid_topic_name", ""),
		put("name with percent", "/v1/topics/a%25b", "{}", 400, "invalid_topic_name", ""),
		put("no partitions", "/v1/topics/new", `{"partitions":0}`, 400, "invalid_partitions", ""),
		put("negative partitions", "/v1/topics/new", `{"partitions":-1}`, 400, "invalid_partitions", ""),
		put("too many partitions", "/v1/topics/new", `{"partitions":10001}`, 400, "invalid_partitions", "10000"),
		put("partitions overflow", "/v1/topics/new", `{"partitions":9223372036854775808}`, 400, "invalid_json", "partitions"),
		put("partitions as text", "/v1/topics/new", `{"partitions":"8"}`, 400, "invalid_json", "partitions must be an integer"),
		put("partitions as float", "/v1/topics/new", `{"partitions":8.0}`, 400, "invalid_json", "partitions must be an integer"),
		put("partitions null", "/v1/topics/new", `{"partitions":null}`, 400, "invalid_json", "partitions"),
		put("unknown member", "/v1/topics/new", `{"partition":1}`, 400, "invalid_json", "partition is not known"),
		put("member twice", "/v1/topics/new", `{"partitions":1,"partitions":1}`, 400, "invalid_json", "duplicate"),
		put("array", "/v1/topics/new", `[]`, 400, "invalid_json", "must be an object"),
		put("cut off", "/v1/topics/new", `{"partitions":1`, 400, "invalid_json", ""),
		put("goes on", "/v1/topics/new", `{"partitions":1}{}`, 400, "invalid_json", "goes on"),
		put("unknown setting", "/v1/topics/new", `{"config":{"retention":1}}`, 400, "invalid_config", "retention"),
		put("setting as object", "/v1/topics/new", `{"config":{"retention.ms":{}}}`, 400, "invalid_json", "config.retention.ms"),
		put("setting as float", "/v1/topics/new", `{"config":{"retention.ms":1.5}}`, 400, "invalid_json", "config.retention.ms"),
		put("setting out of range", "/v1/topics/new", `{"config":{"max.message.bytes":0}}`, 400, "invalid_config", ""),
		put("setting overflow", "/v1/topics/new", `{"config":{"retention.ms":"99999999999999999999"}}`, 400, "invalid_config", ""),
		put("unknown compression", "/v1/topics/new", `{"config":{"compression.type":"rar"}}`, 400, "invalid_config", "rar"),
		put("other partitions", "/v1/topics/$T", `{"partitions":3}`, 409, "topic_exists", ""),
		{Name: "topic/form", Method: "PUT", Path: "/v1/topics/new", Header: []string{"Content-Type: application/x-www-form-urlencoded"}, Body: text("a=b"), Status: 400, Code: "invalid_json"},
		{Name: "topic/settings of 65 KiB", Method: "PUT", Path: "/v1/topics/new", Header: []string{asJSON}, Body: fill(65 << 10), Status: 413, Code: "body_too_large", Members: []string{"limit"}},
		{Name: "topic/settings of 65 KiB in chunks", Method: "PUT", Path: "/v1/topics/new", Header: []string{asJSON}, Body: fill(65 << 10), Chunked: true, Status: 413, Code: "body_too_large", Members: []string{"limit"}},
		{Name: "topic/fewer partitions", Method: "PATCH", Path: "/v1/topics/$T", Body: text(`{"partitions":1}`), Status: 409, Code: "partitions_shrink"},
		{Name: "topic/patch unknown", Method: "PATCH", Path: "/v1/topics/unknown", Body: text(`{}`), Status: 404, Code: "topic_not_found"},
		{Name: "topic/get unknown", Method: "GET", Path: "/v1/topics/unknown", Status: 404, Code: "topic_not_found"},
		{Name: "topic/delete unknown", Method: "DELETE", Path: "/v1/topics/unknown", Status: 404, Code: "topic_not_found"},
		{Name: "topic/page size 0", Method: "GET", Path: "/v1/topics?page_size=0", Status: 400, Code: "invalid_parameter", Detail: "page_size"},
		{Name: "topic/page size 1001", Method: "GET", Path: "/v1/topics?page_size=1001", Status: 400, Code: "invalid_parameter", Members: []string{"limit"}},
		{Name: "topic/bad page token", Method: "GET", Path: "/v1/topics?page_token=%21", Status: 400, Code: "invalid_parameter", Detail: "page_token"},
		{Name: "topic/bad prefix", Method: "GET", Path: "/v1/topics?prefix=%2F", Status: 400, Code: "invalid_parameter", Detail: "prefix"},
		{Name: "topic/body with GET", Method: "GET", Path: "/v1/topics/$T", Body: text("x"), Status: 400, Code: "invalid_body"},
	}
}

func jsonCases() []Case {
	post := func(name, body, detail string) Case {
		return Case{Name: "json/" + name, Path: "/v1/topics/$T/records", Header: []string{asJSON}, Body: text(body), Status: 400, Code: "invalid_json", Detail: detail}
	}
	return []Case{
		post("empty", ``, "empty"),
		post("white space", ` `, "empty"),
		post("no JSON", `records`, ""),
		post("null", `null`, "must be an object"),
		post("text", `"records"`, "must be an object"),
		post("no records", `{}`, "records"),
		post("unknown member", `{"record":[]}`, "record is not known"),
		post("records null", `{"records":null}`, "records must be an array"),
		post("records object", `{"records":{}}`, "records must be an array"),
		post("records twice", `{"records":[{"value":"a"}],"records":[{"value":"b"}]}`, "duplicate"),
		post("cut off in array", `{"records":[`, ""),
		post("cut off in record", `{"records":[{"value":"a"`, ""),
		post("cut off in text", `{"records":[{"value":"a`, ""),
		post("comma too many", `{"records":[{"value":"a"},]}`, ""),
		post("comma missing", `{"records":[{"value":"a"}{"value":"b"}]}`, ""),
		post("goes on", `{"records":[{"value":"a"}]}x`, ""),
		post("second document", `{"records":[{"value":"a"}]} {"records":[]}`, "goes on"),
		post("member twice in record", `{"records":[{"value":"a","value":"b"}]}`, "duplicate"),
		post("member twice in value_json", `{"records":[{"value_json":{"a":1,"a":2}}]}`, "duplicate"),
		post("invalid UTF-8", "{\"records\":[{\"value\":\"\xff\"}]}", "UTF-8"),
		post("lone surrogate", `{"records":[{"value":"\ud800"}]}`, ""),
		post("bad escape", `{"records":[{"value":"\x"}]}`, ""),
		post("line break in text", "{\"records\":[{\"value\":\"a\nb\"}]}", ""),
		post("bad number", `{"records":[{"value":"a","timestamp":01}]}`, ""),
		post("bad value_json", `{"records":[{"value_json":{a:1}}]}`, ""),
		post("nested too deep", `{"records":[{"value_json":`+string(repeat("[", 20000))+`}]}`, ""),
		{Name: "json/empty list", Path: "/v1/topics/$T/records", Header: []string{asJSON}, Body: text(`{"records":[]}`), Status: 400, Code: "no_records"},
	}
}

func repeat(s string, n int) []byte {
	var b []byte
	for range n {
		b = append(b, s...)
	}
	return b
}

func recordCases() []Case {
	post := func(name, record, detail string) Case {
		return Case{Name: "record/" + name, Path: "/v1/topics/$T/records", Header: []string{asJSON}, Body: text(`{"records":[{"value":"good"},` + record + `]}`), Status: 400, Code: "invalid_record", Detail: detail}
	}
	at := func(path string, c Case) Case {
		c.Path = path
		return c
	}
	coded := func(status int, code string, c Case) Case {
		c.Status, c.Code = status, code
		return c
	}
	return []Case{
		post("no object", `"text"`, "records[1] must be an object"),
		post("null", `null`, "records[1] must be an object"),
		post("without value", `{"key":"k"}`, "records[1] must have one of"),
		post("two values", `{"value":"a","value_json":1}`, "records[1].value_json"),
		post("value and value_base64", `{"value_base64":"YQ==","value":null}`, "records[1].value"),
		post("two keys", `{"key":"a","key_base64":"YQ==","value":""}`, "records[1].key_base64"),
		post("unknown member", `{"value":"a","Key":"k"}`, "records[1].Key is not known"),
		post("value as number", `{"value":1}`, "records[1].value must be a string"),
		post("value as object", `{"value":{}}`, "records[1].value must be a string"),
		post("key as number", `{"key":1,"value":"a"}`, "records[1].key must be a string"),
		post("bad base64", `{"value_base64":"a"}`, "records[1].value_base64 is not valid base64"),
		post("base64 for URLs", `{"value_base64":"__8="}`, "records[1].value_base64"),
		post("base64 without padding", `{"value_base64":"YQ"}`, "records[1].value_base64"),
		post("base64 with line break", `{"value_base64":"YWFh\nYWFh"}`, "records[1].value_base64"),
		post("base64 with spare bits", `{"value_base64":"YR=="}`, "records[1].value_base64"),
		post("base64 null", `{"value_base64":null}`, "records[1].value_base64 must be a string"),
		post("bad base64 key", `{"key_base64":"*","value":"a"}`, "records[1].key_base64"),
		post("negative timestamp", `{"value":"a","timestamp":-1}`, "records[1].timestamp"),
		post("timestamp overflow", `{"value":"a","timestamp":9223372036854775808}`, "records[1].timestamp"),
		post("timestamp float", `{"value":"a","timestamp":1.0}`, "records[1].timestamp must be an integer"),
		post("timestamp exponent", `{"value":"a","timestamp":1e3}`, "records[1].timestamp must be an integer"),
		post("timestamp text", `{"value":"a","timestamp":"1"}`, "records[1].timestamp must be an integer"),
		post("timestamp null", `{"value":"a","timestamp":null}`, "records[1].timestamp"),
		post("negative partition", `{"value":"a","partition":-1}`, "records[1].partition"),
		post("partition overflow", `{"value":"a","partition":2147483648}`, "records[1].partition"),
		coded(404, "partition_not_found", post("unknown partition", `{"value":"a","partition":2}`, "records[1].partition")),
		at("/v1/topics/$T/partitions/1/records", post("another partition", `{"value":"a","partition":0}`, "records[1].partition")),
		post("headers object", `{"value":"a","headers":{}}`, "records[1].headers must be an array"),
		post("header text", `{"value":"a","headers":["a"]}`, "records[1].headers[0] must be an array"),
		post("header without value", `{"value":"a","headers":[["a"]]}`, "records[1].headers[0]"),
		post("header with too much", `{"value":"a","headers":[["a","b","c"]]}`, "records[1].headers[0][2]"),
		post("header name number", `{"value":"a","headers":[[1,"b"]]}`, "records[1].headers[0][0] must be a string"),
		post("header name with NUL", `{"value":"a","headers":[["a\u0000","b"]]}`, "records[1].headers[0][0]"),
		post("header value number", `{"value":"a","headers":[["a",1]]}`, "records[1].headers[0][1] must be a string"),
		post("header bad base64", `{"value":"a","headers":[["a",{"base64":"*"}]]}`, "records[1].headers[0][1].base64"),
		post("header empty object", `{"value":"a","headers":[["a",{}]]}`, "records[1].headers[0][1]"),
		post("header unknown member", `{"value":"a","headers":[["a",{"text":"b"}]]}`, "records[1].headers[0][1].text"),
		coded(413, "record_too_large", post("101 headers", `{"value":"a","headers":[`+string(repeat(`["a","b"],`, 100))+`["a","b"]]}`, "100")),
		at("/v1/topics/$S/records", coded(413, "record_too_large", post("over max.message.bytes", `{"key":"k","value":"`+string(fill(1000)())+`"}`, "1000"))),
		{Name: "record/too many", Path: "/v1/topics/$T/records", Header: []string{asJSON}, Body: func() []byte {
			return append(append([]byte(`{"records":[`), repeat(`{"value":""},`, 100_000)...), `{"value":""}]}`...)
		}, Status: 413, Code: "too_many_records", Members: []string{"limit"}},
		{Name: "record/unknown topic", Path: "/v1/topics/unknown/records", Header: []string{asJSON}, Body: text(`{"records":[{"value":"a"}]}`), Status: 404, Code: "topic_not_found"},
	}
}

func lineCases() []Case {
	post := func(name, query, body string, status int, code, detail string) Case {
		return Case{Name: "ndjson/" + name, Path: "/v1/topics/$S/records" + query, Header: []string{asLines}, Body: text(body), Status: status, Code: code, Detail: detail}
	}
	chunked := func(c Case) Case {
		c.Name += " in chunks"
		c.Chunked = true
		return c
	}
	return []Case{
		post("empty", "", "", 400, "no_records", ""),
		chunked(post("empty", "", "", 400, "no_records", "")),
		post("line over max.message.bytes", "", "a\n"+string(fill(1001)())+"\n", 413, "record_too_large", "1000"),
		chunked(post("endless line", "", string(fill(1<<20)()), 413, "record_too_large", "1000")),
		post("key field in no JSON", "?key_field=k", "{}\nplain\n", 400, "invalid_record", "line 2"),
		post("key field in array", "?key_field=k", "[]\n", 400, "invalid_record", "line 1 is not a JSON object"),
		post("key field in empty line", "?key_field=k", "{}\n\n{}\n", 400, "invalid_record", "line 2"),
		post("key field twice", "?key_field=k", `{"k":1,"k":2}`, 400, "invalid_record", "line 1 has the key field twice"),
		post("key field cut off", "?key_field=k", `{"k":1`, 400, "invalid_record", "line 1"),
		post("key field goes on", "?key_field=k", `{"k":1}{}`, 400, "invalid_record", "line 1 goes on"),
		post("key field invalid UTF-8", "?key_field=k", "{\"k\":\"\xff\"}", 400, "invalid_record", "line 1"),
		post("key makes it too large", "?key_field=k", `{"k":"`+string(fill(900)())+`"}`, 413, "record_too_large", "1000"),
		post("key", "?key=k", "{}", 400, "invalid_parameter", "key"),
		post("bad acks", "?acks=0", "{}", 400, "invalid_parameter", "acks"),
	}
}

func batchCases() []Case {
	post := func(name string, body func() []byte, status int, code string) Case {
		return Case{Name: "batch/" + name, Path: "/v1/topics/$T/partitions/1/records", Header: []string{asBatch}, Body: body, Status: status, Code: code}
	}
	changed := func(f func(b []byte)) func() []byte { return func() []byte { return change(f) } }
	at := func(path string, c Case) Case {
		c.Path = path
		return c
	}
	return []Case{
		post("empty", text(""), 400, "no_records"),
		post("no batch", text("hello"), 400, "batch_truncated"),
		post("cut off header", func() []byte { return batch("one")[:60] }, 400, "batch_truncated"),
		post("cut off records", func() []byte { return batch("one")[:65] }, 400, "batch_truncated"),
		post("bytes after it", func() []byte { return append(batch("one"), 0) }, 400, "batch_truncated"),
		post("second one cut off", func() []byte { return append(batch("one"), batch("two")[:70]...)[:130] }, 400, "batch_truncated"),
		post("bad CRC", func() []byte { b := batch("one"); b[posCRC]++; return b }, 400, "batch_crc"),
		post("flipped bit", func() []byte { b := batch("one"); b[len(b)-2] ^= 1; return b }, 400, "batch_crc"),
		post("magic 1", changed(func(b []byte) { b[posMagic] = 1 }), 400, "batch_magic"),
		post("magic 3", changed(func(b []byte) { b[posMagic] = 3 }), 400, "batch_magic"),
		post("one record less than stated", changed(func(b []byte) { b[posRecordCount+3] = 3; b[posLastOffsetDelta+3] = 2 }), 400, "batch_count"),
		post("one record more than stated", changed(func(b []byte) { b[posRecordCount+3] = 1; b[posLastOffsetDelta+3] = 0 }), 400, "batch_count"),
		post("negative count", changed(func(b []byte) { b[posRecordCount] = 0xff }), 400, "batch_count"),
		post("huge count", changed(func(b []byte) { b[posRecordCount] = 0x7f; b[posLastOffsetDelta] = 0x7f }), 400, "batch_count"),
		post("last offset delta", changed(func(b []byte) { b[posLastOffsetDelta+3] = 5 }), 400, "batch_offset_deltas"),
		post("offset delta", func() []byte { return wrap(record(3, []byte("one")), 1, 0) }, 400, "batch_offset_deltas"),
		post("max timestamp", changed(func(b []byte) { b[posMaxTimestamp+7]++ }), 400, "batch_timestamps"),
		post("unknown codec", changed(func(b []byte) { b[posAttributes+1] = 5 }), 400, "batch_codec"),
		post("control batch", changed(func(b []byte) { b[posAttributes+1] = 0x20 }), 400, "batch_control"),
		post("transactional batch", changed(func(b []byte) { b[posAttributes+1] = 0x10 }), 400, "batch_control"),
		post("records that are no gzip", changed(func(b []byte) { b[posAttributes+1] = 1 }), 400, "batch_malformed"),
		post("record with a bad length", func() []byte { return wrap([]byte{0x7e, 0, 0, 0, 1, 0, 0, 0}, 1, 0) }, 400, "batch_malformed"),
		post("decompression bomb", func() []byte { return gzipped(2000, make([]byte, 128<<10)) }, 413, "batch_too_large"),
		at("/v1/topics/$S/partitions/0/records", post("record over max.message.bytes", func() []byte { return gzipped(1, make([]byte, 1001)) }, 413, "record_too_large")),
		at("/v1/topics/$T/records", post("to a topic", func() []byte { return batch("one") }, 415, "unsupported_media_type")),
		at("/v1/topics/$T/partitions/1/records?acks=1", post("producer id with acks=1", changed(func(b []byte) { clear(b[posProducerID:posRecordCount]) }), 400, "needs_acks_all")),
		post("unknown producer id", changed(func(b []byte) { clear(b[posProducerID:posRecordCount]); b[posProducerID] = 0x7f }), 403, "unknown_producer_id"),
		at("/v1/topics/$T/partitions/1/records?key=k", post("key", func() []byte { return batch("one") }, 400, "invalid_parameter")),
		{Name: "batch/producer headers", Path: "/v1/topics/$T/partitions/1/records", Header: []string{asBatch, "Producer-Id: 1", "Producer-Epoch: 0", "Producer-Seq: 0"}, Body: func() []byte { return batch("one") }, Status: 400, Code: "invalid_header"},
	}
}

func rawCases() []Case {
	return []Case{
		{Name: "raw/over max.message.bytes", Path: "/v1/topics/$S/records", Body: fill(1001), Status: 413, Code: "record_too_large", Members: []string{"limit"}},
		{Name: "raw/over max.message.bytes in chunks", Path: "/v1/topics/$S/records", Body: fill(1001), Chunked: true, Status: 413, Code: "record_too_large", Members: []string{"limit"}},
		{Name: "raw/over max.message.bytes with its key", Path: "/v1/topics/$S/records?key=k", Body: fill(1000), Status: 413, Code: "record_too_large", Members: []string{"limit"}},
		{Name: "raw/over max.message.bytes with its headers", Path: "/v1/topics/$S/records", Header: []string{"Record-Header-A: b"}, Body: fill(1000), Status: 413, Code: "record_too_large"},
		{Name: "raw/header without a name", Path: "/v1/topics/$T/records", Header: []string{"Record-Header-: b"}, Body: text("a"), Status: 400, Code: "invalid_header"},
		{Name: "raw/two keys", Path: "/v1/topics/$T/records?key=a&key=b", Body: text("a"), Status: 400, Code: "invalid_parameter", Detail: "key"},
		{Name: "raw/unknown parameter", Path: "/v1/topics/$T/records?ack=1", Body: text("a"), Status: 400, Code: "invalid_parameter", Detail: "ack"},
		{Name: "raw/bad query", Path: "/v1/topics/$T/records?key=%zz", Body: text("a"), Status: 400, Code: "invalid_parameter"},
		{Name: "raw/bad acks", Path: "/v1/topics/$T/records?acks=ALL", Body: text("a"), Status: 400, Code: "invalid_parameter", Detail: "acks"},
		{Name: "raw/unknown partition", Path: "/v1/topics/$T/partitions/2/records", Body: text("a"), Status: 404, Code: "partition_not_found", Members: []string{"partitions"}},
		{Name: "raw/negative partition", Path: "/v1/topics/$T/partitions/-1/records", Body: text("a"), Status: 400, Code: "invalid_parameter", Detail: "partition"},
		{Name: "raw/partition overflow", Path: "/v1/topics/$T/partitions/2147483648/records", Body: text("a"), Status: 400, Code: "invalid_parameter", Detail: "partition"},
		{Name: "raw/partition with zeros", Path: "/v1/topics/$T/partitions/00/records", Body: text("a"), Status: 400, Code: "invalid_parameter", Detail: "partition"},
		{Name: "raw/partition text", Path: "/v1/topics/$T/partitions/x/records", Body: text("a"), Status: 400, Code: "invalid_parameter", Detail: "partition"},
		{Name: "raw/unknown topic", Path: "/v1/topics/unknown/records", Body: text("a"), Status: 404, Code: "topic_not_found"},
		{Name: "raw/topic ..", Path: "/v1/topics/%2e%2e/records", Body: text("a"), Status: 400, Code: "invalid_topic_name"},
		{Name: "raw/bad media type", Path: "/v1/topics/$T/records", Header: []string{"Content-Type: text/"}, Body: text("a"), Status: 415, Code: "unsupported_media_type"},
		{Name: "raw/JSON in Latin-1", Path: "/v1/topics/$T/records", Header: []string{"Content-Type: application/json; charset=latin1"}, Body: text("{}"), Status: 415, Code: "unsupported_media_type"},
		{Name: "raw/two media types", Path: "/v1/topics/$T/records", Header: []string{asJSON, asLines}, Body: text("{}"), Status: 400, Code: "invalid_header"},
	}
}

func conditionCases() []Case {
	post := func(name, path string, status int, code string, headers ...string) Case {
		return Case{Name: "condition/" + name, Path: path, Header: headers, Body: text("a"), Status: status, Code: code}
	}
	const (
		topic     = "/v1/topics/$T/records"
		partition = "/v1/topics/$T/partitions/0/records"
	)
	mismatch := post("other offset", partition, 412, "offset_mismatch", "Expected-Offset: 3")
	mismatch.Members = []string{"end_offset"}
	noToken := post("fencing token where there is none", partition, 412, "fencing_token_mismatch", "Fencing-Token: a")
	noToken.Members = []string{"token"}
	noTokenLines := post("fencing token where there is none, lines", partition, 412, "fencing_token_mismatch", "Fencing-Token: a", asLines)
	long := string(fill(129)())
	return []Case{
		post("idempotency key empty", topic, 400, "invalid_header", "Idempotency-Key:"),
		post("idempotency key of 129", topic, 400, "invalid_header", "Idempotency-Key: "+long),
		post("idempotency key not ASCII", topic, 400, "invalid_header", "Idempotency-Key: \u00e9"),
		post("idempotency key with a tab", topic, 400, "invalid_header", "Idempotency-Key: a\tb"),
		post("idempotency key twice", topic, 400, "invalid_header", "Idempotency-Key: a", "Idempotency-Key: a"),
		post("idempotency key with acks=1", topic+"?acks=1", 400, "needs_acks_all", "Idempotency-Key: a"),
		post("idempotency key with lines", topic, 400, "invalid_header", "Idempotency-Key: a", asLines),
		post("idempotency key and producer", partition, 400, "invalid_header", "Idempotency-Key: a", "Producer-Id: 1", "Producer-Epoch: 0", "Producer-Seq: 0"),
		post("idempotency key and unknown topic", "/v1/topics/unknown/records", 404, "topic_not_found", "Idempotency-Key: a"),
		post("idempotency key and bad records", topic, 400, "invalid_json", "Idempotency-Key: a", asJSON),
		post("fencing token empty", partition, 400, "invalid_header", "Fencing-Token:"),
		post("fencing token of 129", partition, 400, "invalid_header", "Fencing-Token: "+long),
		post("fencing token with a space", partition, 400, "invalid_header", "Fencing-Token: a b"),
		post("fencing token twice", partition, 400, "invalid_header", "Fencing-Token: a", "Fencing-Token: a"),
		post("fencing token with a topic", topic, 400, "needs_partition", "Fencing-Token: a"),
		post("fencing token with acks=1", partition+"?acks=1", 400, "needs_acks_all", "Fencing-Token: a"),
		noToken,
		noTokenLines,
		post("producer with a topic", topic, 400, "needs_partition", "Producer-Id: 1", "Producer-Epoch: 0", "Producer-Seq: 0"),
		post("offset with a topic", topic, 400, "needs_partition", "Expected-Offset: 0"),
		post("producer with acks=1", partition+"?acks=1", 400, "needs_acks_all", "Producer-Id: 1", "Producer-Epoch: 0", "Producer-Seq: 0"),
		post("offset with acks=1", partition+"?acks=1", 400, "needs_acks_all", "Expected-Offset: 0"),
		post("producer without sequence", partition, 400, "invalid_header", "Producer-Id: 1", "Producer-Epoch: 0"),
		post("producer id only", partition, 400, "invalid_header", "Producer-Id: 1"),
		post("negative producer id", partition, 400, "invalid_header", "Producer-Id: -1", "Producer-Epoch: 0", "Producer-Seq: 0"),
		post("epoch overflow", partition, 400, "invalid_header", "Producer-Id: 1", "Producer-Epoch: 32768", "Producer-Seq: 0"),
		post("sequence overflow", partition, 400, "invalid_header", "Producer-Id: 1", "Producer-Epoch: 0", "Producer-Seq: 2147483648"),
		post("sequence text", partition, 400, "invalid_header", "Producer-Id: 1", "Producer-Epoch: 0", "Producer-Seq: one"),
		post("producer id twice", partition, 400, "invalid_header", "Producer-Id: 1", "Producer-Id: 1", "Producer-Epoch: 0", "Producer-Seq: 0"),
		post("producer id unknown", partition, 403, "unknown_producer_id", "Producer-Id: 9223372036854775807", "Producer-Epoch: 0", "Producer-Seq: 0"),
		post("negative offset", partition, 400, "invalid_header", "Expected-Offset: -1"),
		post("offset overflow", partition, 400, "invalid_header", "Expected-Offset: 9223372036854775808"),
		post("offset empty", partition, 400, "invalid_header", "Expected-Offset:"),
		mismatch,
		{Name: "condition/producer with a body", Path: "/v1/producers", Header: []string{asJSON}, Body: text(`{"id":1}`), Status: 400, Code: "invalid_json"},
		{Name: "condition/next epoch of a negative id", Path: "/v1/producers", Header: []string{asJSON}, Body: text(`{"producer_id":-1}`), Status: 400, Code: "invalid_json", Detail: "producer_id"},
		{Name: "condition/next epoch of text", Path: "/v1/producers", Header: []string{asJSON}, Body: text(`{"producer_id":"1"}`), Status: 400, Code: "invalid_json", Detail: "producer_id"},
		{Name: "condition/next epoch of an unknown id", Path: "/v1/producers", Header: []string{asJSON}, Body: text(`{"producer_id":9223372036854775807}`), Status: 403, Code: "unknown_producer_id"},
	}
}

func fenceCases() []Case {
	const path = "/v1/topics/$T/partitions/0/fence"
	put := func(name, body string, status int, code, detail string) Case {
		return Case{Name: "fence/" + name, Method: "PUT", Path: path, Header: []string{asJSON}, Body: text(body), Status: status, Code: code, Detail: detail}
	}
	long := string(fill(129)())
	mismatch := put("other than expected", `{"token":"a","expected":"b"}`, 412, "fencing_token_mismatch", "none")
	mismatch.Members = []string{"token"}
	return []Case{
		put("empty", ``, 400, "invalid_json", "empty"),
		put("without a token", `{}`, 400, "invalid_json", "token is needed"),
		put("expected alone", `{"expected":"a"}`, 400, "invalid_json", "token is needed"),
		put("empty token", `{"token":""}`, 400, "invalid_json", "token must be 1 to 128"),
		put("token of 129", `{"token":"`+long+`"}`, 400, "invalid_json", "token must be 1 to 128"),
		put("token with a space", `{"token":"a b"}`, 400, "invalid_json", "token"),
		put("token not ASCII", `{"token":"é"}`, 400, "invalid_json", "token"),
		put("token as a number", `{"token":1}`, 400, "invalid_json", "token must be a string"),
		put("empty expected", `{"token":"a","expected":""}`, 400, "invalid_json", "expected must be 1 to 128"),
		put("unknown member", `{"token":"a","epoch":1}`, 400, "invalid_json", "epoch is not known"),
		put("goes on", `{"token":"a"}{}`, 400, "invalid_json", "goes on"),
		mismatch,
		{Name: "fence/text", Method: "PUT", Path: path, Header: []string{"Content-Type: text/plain"}, Body: text("a"), Status: 415, Code: "unsupported_media_type"},
		{Name: "fence/parameter", Method: "PUT", Path: path + "?token=a", Header: []string{asJSON}, Body: text(`{"token":"a"}`), Status: 400, Code: "invalid_parameter"},
		{Name: "fence/unknown topic", Method: "PUT", Path: "/v1/topics/unknown/partitions/0/fence", Body: text(`{"token":"a"}`), Status: 404, Code: "topic_not_found"},
		{Name: "fence/unknown partition", Method: "PUT", Path: "/v1/topics/$T/partitions/2/fence", Body: text(`{"token":"a"}`), Status: 404, Code: "partition_not_found"},
		{Name: "fence/partition text", Method: "PUT", Path: "/v1/topics/$T/partitions/x/fence", Body: text(`{"token":"a"}`), Status: 400, Code: "invalid_parameter"},
		{Name: "fence/get unknown topic", Method: "GET", Path: "/v1/topics/unknown/partitions/0/fence", Status: 404, Code: "topic_not_found"},
		{Name: "fence/get unknown partition", Method: "GET", Path: "/v1/topics/$T/partitions/2/fence", Status: 404, Code: "partition_not_found"},
		{Name: "fence/get with a body", Method: "GET", Path: path, Body: text("x"), Status: 400, Code: "invalid_body"},
		{Name: "fence/delete", Method: "DELETE", Path: path, Status: 405, Code: "method_not_allowed", Answered: []string{"Allow: GET, PUT, HEAD"}},
	}
}

func fetchCases() []Case {
	get := func(name, query string, status int, code, detail string, headers ...string) Case {
		return Case{Name: "fetch/" + name, Method: "GET", Path: "/v1/topics/$T/partitions/0/records" + query, Header: headers, Status: status, Code: code, Detail: detail}
	}
	bounds := func(c Case) Case {
		c.Members = []string{"log_start_offset", "high_watermark", "offset"}
		return c
	}
	at := func(path string, c Case) Case {
		c.Path = path
		return c
	}
	return []Case{
		bounds(get("below the start", "?offset=0", 410, "offset_below_start", "")),
		bounds(get("above the end", "?offset=5", 416, "offset_above_end", "")),
		bounds(get("range below the start", "?offset=0&until=2", 410, "offset_below_start", "")),
		get("no offset", "", 400, "invalid_parameter", "offset"),
		get("negative offset", "?offset=-1", 400, "invalid_parameter", "offset"),
		get("offset overflow", "?offset=9223372036854775808", 400, "invalid_parameter", "offset"),
		get("offset text", "?offset=first", 400, "invalid_parameter", "offset"),
		get("offset empty", "?offset=", 400, "invalid_parameter", "offset"),
		get("offset with sign", "?offset=%2B1", 400, "invalid_parameter", "offset"),
		get("bad time", "?offset=timestamp:now", 400, "invalid_parameter", "offset"),
		get("negative time", "?offset=timestamp:-1", 400, "invalid_parameter", "offset"),
		get("two offsets", "?offset=1&offset=2", 400, "invalid_parameter", "offset"),
		get("until below offset", "?offset=3&until=2", 400, "invalid_parameter", "until"),
		get("until with earliest", "?offset=earliest&until=2", 400, "invalid_parameter", "until"),
		get("negative until", "?offset=1&until=-1", 400, "invalid_parameter", "until"),
		get("no records", "?offset=1&max_records=0", 400, "invalid_parameter", "max_records"),
		get("too many records", "?offset=1&max_records=1000001", 400, "invalid_parameter", "max_records"),
		get("no bytes", "?offset=1&max_bytes=0", 400, "invalid_parameter", "max_bytes"),
		get("too many bytes", "?offset=1&max_bytes=67108865", 400, "invalid_parameter", "max_bytes"),
		get("min over max", "?offset=1&max_bytes=10&min_bytes=11", 400, "invalid_parameter", "min_bytes"),
		get("long wait", "?offset=1&max_wait_ms=30001", 400, "invalid_parameter", "max_wait_ms"),
		get("negative wait", "?offset=1&max_wait_ms=-1", 400, "invalid_parameter", "max_wait_ms"),
		get("unknown parameter", "?offset=1&max_byte=1", 400, "invalid_parameter", "max_byte"),
		get("bad flag", "?offset=1&values_only=yes", 400, "invalid_parameter", "values_only", "Accept: application/x-ndjson"),
		get("values only in JSON", "?offset=1&values_only=true", 400, "invalid_parameter", "values_only"),
		get("not acceptable", "?offset=1", 406, "not_acceptable", "", "Accept: text/html"),
		get("refused by quality", "?offset=1", 406, "not_acceptable", "", "Accept: application/json;q=0, application/x-ndjson;q=0.0"),
		get("bad Accept", "?offset=1", 406, "not_acceptable", "", "Accept: json"),
		get("bad quality", "?offset=1", 406, "not_acceptable", "", "Accept: application/json;q=2"),
		get("bad ETag", "?offset=1&until=2", 400, "invalid_header", "If-None-Match", "If-None-Match: abc"),
		get("ETag not closed", "?offset=1&until=2", 400, "invalid_header", "If-None-Match", `If-None-Match: "abc`),
		get("two ETags without comma", "?offset=1&until=2", 400, "invalid_header", "If-None-Match", `If-None-Match: "a" "b"`),
		at("/v1/topics/$T/partitions/2/records?offset=0", get("unknown partition", "", 404, "partition_not_found", "")),
		at("/v1/topics/unknown/partitions/0/records?offset=0", get("unknown topic", "", 404, "topic_not_found", "")),
		at("/v1/topics/$T/partitions/2/offsets", get("offsets of unknown partition", "", 404, "partition_not_found", "")),
		at("/v1/topics/$T/partitions/0/offsets?timestamp=-1", get("offsets at negative time", "", 400, "invalid_parameter", "timestamp")),
		at("/v1/topics/$T/partitions/0/offsets?time=1", get("offsets with unknown parameter", "", 400, "invalid_parameter", "time")),
		at("/v1/topics/$T/partitions/2/manifest", get("manifest of unknown partition", "", 404, "partition_not_found", "")),
		at("/v1/topics/unknown/partitions/0/manifest", get("manifest of unknown topic", "", 404, "topic_not_found", "")),
		at("/v1/topics/a%20b/partitions/0/manifest", get("manifest of bad topic", "", 400, "invalid_topic_name", "")),
		at("/v1/topics/$T/partitions/x/manifest", get("manifest of no partition", "", 400, "invalid_parameter", "partition")),
		bounds(at("/v1/topics/$T/partitions/0/manifest?from=0", get("manifest below the start", "", 410, "offset_below_start", ""))),
		bounds(at("/v1/topics/$T/partitions/0/manifest?from=5", get("manifest above the end", "", 416, "offset_above_end", ""))),
		at("/v1/topics/$T/partitions/0/manifest?from=-1", get("manifest from a negative offset", "", 400, "invalid_parameter", "from")),
		at("/v1/topics/$T/partitions/0/manifest?from=earliest", get("manifest from a word", "", 400, "invalid_parameter", "from")),
		at("/v1/topics/$T/partitions/0/manifest?from=9223372036854775808", get("manifest from beyond all", "", 400, "invalid_parameter", "from")),
		at("/v1/topics/$T/partitions/0/manifest?from=2&from=3", get("manifest from two", "", 400, "invalid_parameter", "from")),
		at("/v1/topics/$T/partitions/0/manifest?from=3&to=2", get("manifest to below from", "", 400, "invalid_parameter", "to")),
		at("/v1/topics/$T/partitions/0/manifest?to=-1", get("manifest to a negative offset", "", 400, "invalid_parameter", "to")),
		at("/v1/topics/$T/partitions/0/manifest?to=", get("manifest to nothing", "", 400, "invalid_parameter", "to")),
		at("/v1/topics/$T/partitions/0/manifest?max_ranges=0", get("manifest of no ranges", "", 400, "invalid_parameter", "max_ranges")),
		at("/v1/topics/$T/partitions/0/manifest?max_ranges=10001", get("manifest of too many ranges", "", 400, "invalid_parameter", "max_ranges")),
		at("/v1/topics/$T/partitions/0/manifest?offset=1", get("manifest with unknown parameter", "", 400, "invalid_parameter", "offset")),
		{Name: "trim/without before", Method: "DELETE", Path: "/v1/topics/$T/partitions/0/records", Status: 400, Code: "invalid_parameter", Detail: "before"},
		{Name: "trim/negative", Method: "DELETE", Path: "/v1/topics/$T/partitions/0/records?before=-1", Status: 400, Code: "invalid_parameter", Detail: "before"},
		{Name: "trim/overflow", Method: "DELETE", Path: "/v1/topics/$T/partitions/0/records?before=9223372036854775808", Status: 400, Code: "invalid_parameter", Detail: "before"},
		{Name: "trim/latest", Method: "DELETE", Path: "/v1/topics/$T/partitions/0/records?before=latest", Status: 400, Code: "invalid_parameter", Detail: "before"},
		{Name: "trim/unknown partition", Method: "DELETE", Path: "/v1/topics/$T/partitions/2/records?before=1", Status: 404, Code: "partition_not_found"},
		{Name: "trim/unknown topic", Method: "DELETE", Path: "/v1/topics/unknown/partitions/0/records?before=1", Status: 404, Code: "topic_not_found"},
	}
}

func routeCases() []Case {
	none := func(method, path string) Case {
		return Case{Name: "route/" + method + " " + path, Method: method, Path: path, Status: 404, Code: "not_found"}
	}
	wrong := func(method, path, allow string) Case {
		return Case{Name: "route/" + method + " " + path, Method: method, Path: path, Status: 405, Code: "method_not_allowed", Answered: []string{"Allow: " + allow}}
	}
	return []Case{
		none("GET", "/"),
		none("GET", "/v1"),
		none("GET", "/v2/topics"),
		none("GET", "/v1/topics/"),
		none("GET", "/v1/topics/$T/"),
		none("GET", "/v1/topics/a/b"),
		none("POST", "/v1/fetch/"),
		wrong("GET", "/v1/fetch", "POST"),
		none("GET", "//v1/topics"),
		wrong("GET", "/v1/topics/$T/records", "POST"),
		wrong("POST", "/v1/topics", "GET, HEAD"),
		wrong("POST", "/v1/topics/$T", "GET, PUT, PATCH, DELETE, HEAD"),
		wrong("PUT", "/v1/topics/$T/partitions/0/records", "GET, POST, DELETE, HEAD"),
		wrong("DELETE", "/v1/topics/$T/partitions/0/offsets", "GET, HEAD"),
		wrong("POST", "/v1/topics/$T/partitions/0/manifest", "GET, HEAD"),
		wrong("GET", "/v1/producers", "POST"),
		wrong("POST", "/healthz", "GET, HEAD"),
		wrong("BREW", "/v1/topics", "GET, HEAD"),
		wrong("OPTIONS", "/v1/topics", "GET, HEAD"),
	}
}

func bodyCases() []Case {
	const over = 16<<20 + 1
	const partition = "/v1/topics/$T/partitions/1/records"
	return []Case{
		{Name: "body/JSON announced over 16 MiB", Path: "/v1/topics/$T/records", Header: []string{asJSON}, Announced: over, Body: text(`{"records":[`), Status: 413, Code: "body_too_large", Members: []string{"limit"}},
		{Name: "body/JSON over 16 MiB", Path: "/v1/topics/$T/records", Header: []string{asJSON}, Body: fill(over), Status: 413, Code: "body_too_large", Members: []string{"limit"}},
		{Name: "body/JSON over 16 MiB in chunks", Path: "/v1/topics/$T/records", Header: []string{asJSON}, Body: fill(over), Chunked: true, Status: 413, Code: "body_too_large", Members: []string{"limit"}},
		{Name: "body/JSON over 16 MiB that waits for its turn", Path: "/v1/topics/$T/records", Header: []string{asJSON, "Expect: 100-continue"}, Announced: over, Body: text(""), Status: 413, Code: "body_too_large"},
		{Name: "body/batches announced over 16 MiB", Path: partition, Header: []string{asBatch}, Announced: over, Body: text(""), Status: 413, Code: "body_too_large", Members: []string{"limit"}},
		{Name: "body/batches over 16 MiB in chunks", Path: partition, Header: []string{asBatch}, Body: fill(over), Chunked: true, Status: 413, Code: "body_too_large", Members: []string{"limit"}},
		{Name: "body/announced over 63 bits", Path: partition, Framing: []string{"Content-Length: 9223372036854775807"}, Status: 413, Code: "record_too_large"},
		{Name: "body/slow JSON", Path: "/v1/topics/$T/records", Header: []string{asJSON}, Announced: 100, Body: text(`{"records":[`), Status: 408, Code: "slow_body"},
		{Name: "body/slow batch", Path: partition, Header: []string{asBatch}, Announced: 100, Body: text(""), Status: 408, Code: "slow_body"},
		{Name: "body/slow raw record", Path: partition, Announced: 2, Body: text("a"), Status: 408, Code: "slow_body"},
		{Name: "body/slow lines", Path: partition, Header: []string{asLines}, Announced: 100, Body: text("a\nb"), Status: 408, Code: "slow_body"},
		{Name: "body/slow settings", Method: "PUT", Path: "/v1/topics/new", Header: []string{asJSON}, Announced: 100, Body: text(`{`), Status: 408, Code: "slow_body"},
		{Name: "body/slow with GET", Method: "GET", Path: "/v1/topics/$T", Announced: 100, Body: text(``), Status: 408, Code: "slow_body"},
		{Name: "body/bad chunk", Path: partition, Framing: []string{"Transfer-Encoding: chunked", "", "zz"}, Status: 400, Code: "invalid_body"},
		{Name: "body/bad chunk of lines", Path: partition, Header: []string{asLines}, Framing: []string{"Transfer-Encoding: chunked", "", "3", "a\nb", "zz"}, Status: 400, Code: "invalid_body"},
	}
}
