package chaos

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestValues(t *testing.T) {
	for _, fill := range []int{0, 1, 100} {
		id := RecordID{Producer: 3, Seq: 4711}
		value := appendValue(nil, "run", id, fill)
		if got, err := parseValue("run", value); got != id || err != nil {
			t.Errorf("%q: %v, %v", value, got, err)
		}
		if _, err := parseValue("ruin", value); !errors.Is(err, errForeignValue) {
			t.Errorf("a value of another run: %v", err)
		}
		for i := range value {
			changed := slices.Clone(value)
			changed[i] ^= 1
			if got, err := parseValue("run", changed); err == nil {
				t.Errorf("byte %d of %q was changed: %v", i, value, got)
			}
		}
	}
	again := appendValue(nil, "run", RecordID{1, 2}, 20)
	if !bytes.Equal(again, appendValue([]byte("before"), "run", RecordID{1, 2}, 20)[len("before"):]) {
		t.Error("a value depends on more than its record")
	}
	if digestOf(1, again) == digestOf(2, again) {
		t.Error("a digest without the timestamp")
	}
}
