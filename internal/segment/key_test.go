package segment

import (
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"
	"pgregory.net/rapid"
)

func TestKey(t *testing.T) {
	id := ulid.MustParse("01JDB2N6Q0W4D1BT8XJ3CR5H7K")
	if got, want := Key(id), "segments/f3/01JDB2N6Q0W4D1BT8XJ3CR5H7K.seg"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestParseKeyInvertsKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := ulid.ULID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		got, err := ParseKey(Key(id))
		if err != nil || got != id {
			t.Fatalf("%s: got %s, %v", Key(id), got, err)
		}
	})
}

func TestParseKeyRefusesOtherKeys(t *testing.T) {
	good := Key(testID)
	for _, key := range []string{
		"", ".seg", "segments/", good + "/", "/" + good, "x" + good, good[:len(good)-1],
		strings.ToLower(good),
		strings.Replace(good, "segments/f3", "segments/F3", 1),
		strings.Replace(good, "segments/f3", "segments/f4", 1),
		strings.Replace(good, "segments/", "catalog/", 1),
		strings.Replace(good, "01JDB2N6Q0W4D1BT8XJ3CR5H7K", "81JDB2N6Q0W4D1BT8XJ3CR5H7K", 1), // over 128 bits
		strings.Replace(good, "01JDB2N6Q0W4D1BT8XJ3CR5H7K", "01JDB2N6Q0W4D1BT8XJ3CR5H7U", 1), // not in the alphabet
	} {
		if id, err := ParseKey(key); err == nil {
			t.Errorf("%q was taken for %s", key, id)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(Key(testID))
	f.Fuzz(func(t *testing.T, key string) {
		if id, err := ParseKey(key); err == nil && Key(id) != key {
			t.Fatalf("%q was taken for %q", key, Key(id))
		}
	})
}
