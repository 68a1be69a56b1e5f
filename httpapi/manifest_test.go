package httpapi

import "testing"

func TestManifest(t *testing.T) {
	a := newTestAPI(t, nil)
	a.topic("1")
	for range 4 {
		a.want(200, a.do("POST", partitionRecords, `{"records":[{"value":"a","timestamp":1},{"value":"b","timestamp":1}]}`, "Content-Type", typeJSON))
	}
	id := decode(t, a.do("GET", "/v1/topics/t", "").body)["id"].(string)
	const path = "/v1/topics/t/partitions/0/manifest"
	const (
		named  = `,"key":"segments/0a/01ARZ3NDEKTSV4RRFFQ69G5F0A.seg"`
		tail   = `"high_watermark":8,"log_start_offset":0}`
		first  = `{"base_offset":0,"count":2,"bytes":77` + named + `,"position":0,"crc32c":0}`
		second = `{"base_offset":2,"count":2,"bytes":77` + named + `,"position":100,"crc32c":1,"block_bytes":1048576,` +
			`"blocks":[{"crc32c":2147483648,"first_batch":0,"base_offset":2},{"crc32c":0}],` +
			`"url":"http://store/bucket/key?X-Amz-Expires=900&X-Amz-Signature=ab","url_expires":1700000000000}`
		third  = `{"base_offset":4,"count":2,"bytes":77}`
		fourth = `{"base_offset":6,"count":2,"bytes":77` + named + `,"position":300,"crc32c":3}`
	)
	for _, c := range []struct{ query, ranges, next string }{
		{"", first + "," + second + "," + third + "," + fourth, "8"},
		{"?from=3", second + "," + third + "," + fourth, "8"},
		{"?to=3", first + "," + second, "3"},
		{"?from=2&to=4", second, "4"},
		{"?from=4&to=1000", third + "," + fourth, "8"},
		{"?max_ranges=1", first, "2"},
		{"?from=2&max_ranges=2", second + "," + third, "6"},
		{"?from=3&to=3", "", "3"},
		{"?from=8", "", "8"},
	} {
		got := a.do("GET", path+c.query, "")
		a.exact(200, `{"topic_id":"`+id+`","ranges":[`+c.ranges+`],"next_offset":`+c.next+`,`+tail, got)
		if cache := got.header.Get("Cache-Control"); cache != "no-store" {
			t.Errorf("%s: Cache-Control is %q", c.query, cache)
		}
	}
	// From the log start on, wherever that is.
	a.want(200, a.do("DELETE", partitionRecords+"?before=5", ""))
	a.exact(200, `{"topic_id":"`+id+`","ranges":[`+third+`,`+fourth+`],"next_offset":8,"high_watermark":8,"log_start_offset":5}`, a.do("GET", path, ""))
}
