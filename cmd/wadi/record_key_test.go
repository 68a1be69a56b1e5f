package main

import (
	"encoding/json"
	"testing"
)

func TestKeyOfLine(t *testing.T) {
	f := newKeyFinder("k")
	for _, c := range []struct{ line, key string }{
		{`{"k":"text"}`, "text"},
		{` {"a":[1,{"k":2}],"k":"ä\n\"\u0041"} `, "ä\n\"A"},
		{`{"k":""}`, ""},
		{`{"k": 12.50 }`, "12.50"},
		{`{"k": { "a" : [ 1 , "x y" ] } }`, `{"a":[1,"x y"]}`},
		{`{"k":true}`, "true"},
		{`{"\u006b":1}`, "1"},
		{`{"a":1,"a":2,"k":1}`, "1"},
		{"{\"k\":1}\r", "1"},
	} {
		key, err := f.find([]byte(c.line))
		if err != nil || key == nil || string(key) != c.key {
			t.Errorf("%s: %q, %v", c.line, key, err)
		}
	}
	for _, line := range []string{`{}`, `{"K":1}`, `{"a":{"k":1}}`, `{"k":null}`, `{"":1}`} {
		if key, err := f.find([]byte(line)); err != nil || key != nil {
			t.Errorf("%s: %q, %v", line, key, err)
		}
	}
	for _, line := range []string{``, `1`, `[{"k":1}]`, `"k"`, `{"k":1`, `{"k":1}}`, `{"k":1} {}`, `{"k":01}`, `{"k":"\x"}`, `{k:1}`, "{\"k\":\"\xff\"}", `{"k":1,}`, `nonsense`, `{"k":1,"k":2}`} {
		if key, err := f.find([]byte(line)); err == nil {
			t.Errorf("%s: %q", line, key)
		}
	}
	// What came before has no influence.
	if key, err := f.find([]byte(`{"k":"again"}`)); err != nil || string(key) != "again" {
		t.Errorf("%q, %v", key, err)
	}
}

func FuzzKeyOfLine(f *testing.F) {
	f.Add([]byte(`{"k":"text"}`))
	f.Add([]byte(`{"a":[{}],"k":{"x":1}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		key, err := newKeyFinder("k").find(line)
		if err != nil {
			return
		}
		if !json.Valid(line) {
			t.Fatalf("%q is taken for JSON with the key %q", line, key)
		}
	})
}
