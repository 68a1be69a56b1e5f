package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/recordbatch"
)

func fuzzRules() recordRules {
	return recordRules{
		recordBytesMax: 1000,
		recordsMax:     50,
		headersMax:     5,
		partition:      ingest.AnyPartition,
		partitions:     4,
		grow:           func(int64) error { return nil },
	}
}

// What is decoded, encoded as a fetch does it and made into a request again,
// is decoded to the same.
func FuzzDecodeRecords(f *testing.F) {
	for _, text := range []string{
		`{"records":[{"value":"a"}]}`,
		`{"records":[{"key":"k","value_json":{"a": [1,"\u00e9 \" x"]},"headers":[["a","b"],["c",null],["d",{"base64":"/w=="}]],"timestamp":7,"partition":3}]}`,
		`{"records":[{"key_base64":"/w==","value":null},{"key":null,"value_base64":""}]}`,
		`{"records":[{"value":"\ud83d\ude00\u0000"}]} `,
		`{"records":[]}`, `{}`, `[`, `{"records":[{"value":1}]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		records, err := decodeRecords(text, fuzzRules())
		if !bytes.Equal(before, text) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			var p *problem
			if !errors.As(err, &p) || p.status < 400 || p.status > 499 || p.detail == "" {
				t.Fatalf("error %v", err)
			}
			if !json.Valid(p.appendJSON(nil)) {
				t.Fatalf("problem %s", p.appendJSON(nil))
			}
			return
		}
		again := []byte(`{"records":[`)
		for i := range records {
			if i > 0 {
				again = append(again, ',')
			}
			encoded := appendRecord(nil, &records[i].Record)
			if !json.Valid(encoded) || !utf8.Valid(encoded) {
				t.Fatalf("encoded %s", encoded)
			}
			// A fetch has the offset, a request has not.
			again = append(append(again, '{'), encoded[len(`{"offset":0,`):]...)
		}
		twice, err := decodeRecords(append(again, "]}"...), fuzzRules())
		if err != nil || len(twice) != len(records) {
			t.Fatalf("%v: %s", err, again)
		}
		for i := range records {
			if !sameRecord(&records[i].Record, &twice[i].Record) {
				t.Fatalf("record %d was %+v and is %+v", i, records[i], twice[i])
			}
		}
	})
}

func sameRecord(a, b *recordbatch.Record) bool {
	same := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	if a.Timestamp != b.Timestamp || !same(a.Key, b.Key) || !same(a.Value, b.Value) || len(a.Headers) != len(b.Headers) {
		return false
	}
	for i := range a.Headers {
		if a.Headers[i].Key != b.Headers[i].Key || !same(a.Headers[i].Value, b.Headers[i].Value) {
			return false
		}
	}
	return true
}

// The key of a line is what encoding/json finds there.
func FuzzLineKey(f *testing.F) {
	for _, line := range []string{`{"k":"v"}`, `{"a":{"k":1},"k":[1, 2]}`, ` {"\u006b":null}`, `{"k":1,"k":2}`, `{}`, `[]`, `{"k":"\u00e9"} x`, "{\"k\":\"\xff\"}"} {
		f.Add([]byte(line))
	}
	finder := newKeyFinder("k")
	f.Fuzz(func(t *testing.T, line []byte) {
		key, wrong := finder.key(line)
		if wrong != "" {
			if key != nil {
				t.Fatalf("key %q although it %s", key, wrong)
			}
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(line, &members); err != nil {
			t.Fatalf("accepted %q: %v", line, err)
		}
		raw, ok := members["k"]
		var want []byte
		switch {
		case !ok || string(raw) == "null":
		case raw[0] == '"':
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				t.Fatal(err)
			}
			want = []byte(s)
		default:
			var out bytes.Buffer
			if err := json.Compact(&out, raw); err != nil {
				t.Fatal(err)
			}
			want = out.Bytes()
		}
		if !bytes.Equal(key, want) || (key == nil) != (want == nil) {
			t.Fatalf("key %q of %q, want %q", key, line, want)
		}
	})
}

func FuzzEntityTags(f *testing.F) {
	f.Add(`"a", W/"b"`)
	f.Add(`*`)
	f.Fuzz(func(t *testing.T, text string) {
		tags, err := parseEntityTags([]string{text})
		if err != nil && len(tags.tags) > len(text) {
			t.Fatal("more tags than text")
		}
	})
}

func BenchmarkDecodeRecords(b *testing.B) {
	value := bytes.Repeat([]byte("x"), 1024)
	text := []byte(`{"records":[`)
	for i := range 1000 {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(append(text, `{"key":"some key","value":"`...), value...), `"}`...)
	}
	text = append(text, "]}"...)
	rules := fuzzRules()
	rules.recordsMax, rules.recordBytesMax = 100_000, 1<<20
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeRecords(text, rules); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLineKey(b *testing.B) {
	line := []byte(`{"date":"2001-01-01","delay":14,"distance":405,"origin":"MCI","destination":"MDW","carrier":"WN"}`)
	finder := newKeyFinder("origin")
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if key, wrong := finder.key(line); wrong != "" || string(key) != "MCI" {
			b.Fatal(wrong)
		}
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	r := recordbatch.Record{Offset: 1, Timestamp: 1_700_000_000_000, Key: []byte("key"), Value: bytes.Repeat([]byte("x"), 1024)}
	var buf []byte
	b.SetBytes(1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = appendRecord(buf[:0], &r)
	}
}
