package chaos

import (
	"slices"
	"testing"
	"time"
)

func records(from int64, digest uint64, text string) []Record {
	var records []Record
	for i, id := range ids(text) {
		records = append(records, Record{Offset: from + int64(i), ID: id, Digest: digest + uint64(i)})
	}
	return records
}

func TestObservedHoldsEachOffset(t *testing.T) {
	for name, c := range map[string]struct {
		second []Record
		broken bool
	}{
		"the same again":    {records(1, 8, "a1 a2"), false},
		"what is new":       {records(3, 10, "a3"), false},
		"beyond a gap":      {records(9, 10, "a3"), false},
		"another record":    {records(1, 8, "b1"), true},
		"other bytes":       {records(1, 99, "a1"), true},
		"shifted by one":    {records(1, 7, "a0 a1"), true},
		"other later bytes": {append(records(0, 7, "a0 a1"), records(2, 99, "a2")...), true},
	} {
		found := NewFindings()
		o := NewObserved(1, found)
		o.Add(0, "node-1", records(0, 7, "a0 a1 a2"))
		o.Add(0, "node-2", c.second)
		if got := slices.Contains(found.Broken(), sameBytes); got != c.broken {
			t.Errorf("%s: %v", name, found.List())
		}
	}
}

// TestObservedOutlivesTrims: what was told is compared with what was seen before
// it was trimmed away.
func TestObservedOutlivesTrims(t *testing.T) {
	h := story()
	for name, c := range map[string]struct {
		seen   string
		broken bool
	}{"as told": {"a0 a1 a2 a3 a4", false}, "nothing": {"", false}, "another": {"b0 a1", true}} {
		found := NewFindings()
		o := NewObserved(3, found)
		o.Add(0, "node-1", records(0, 7, c.seen))
		o.CheckAcknowledged(h)
		if got := slices.Contains(found.Broken(), visible); got != c.broken {
			t.Errorf("%s: %v", name, found.List())
		}
	}
}

func TestBounds(t *testing.T) {
	begin := time.Unix(1000, 0)
	// What is known: records up to 10, a trim to 4 at the beginning, asked for up to 6.
	known := func(found *Findings) *Bounds {
		b := NewBounds(1, found)
		b.Acknowledged(0, 10)
		b.Ask(0, 6)
		b.Trimmed(0, 4, begin)
		return b
	}
	for name, c := range map[string]struct {
		start, end int64
		promise    string
	}{
		"as known":                  {4, 10, ""},
		"more":                      {6, 12, ""},
		"an acknowledgement denied": {4, 9, visible},
		"a trim denied":             {3, 10, visible},
		"start that nobody wanted":  {7, 10, lost},
		"inside out":                {6, 5, dense},
	} {
		found := NewFindings()
		b := known(found)
		b.Answered(0, "node-1", b.Floor(0, begin), c.start, c.end)
		if broken := found.Broken(); c.promise == "" && broken != nil || c.promise != "" && !slices.Contains(broken, c.promise) {
			t.Errorf("%s: %v", name, found.List())
		}
	}

	found := NewFindings()
	b := known(found)
	floor := b.Floor(0, begin)
	b.Answered(0, "node-1", floor, 4, 20)
	b.Answered(0, "node-2", floor, 4, 15) // was asked before the answer of 20
	if found.Count() > 0 {
		t.Errorf("an older question: %v", found.List())
	}
	b.Answered(0, "node-2", b.Floor(0, begin), 4, 15)
	if !slices.Contains(found.Broken(), visible) {
		t.Error("an end that went back between nodes was not seen")
	}
	if got := b.Floor(0, begin.Add(trimWithin-1)).Trimmed; got != 0 {
		t.Errorf("trimmed to %d before its time", got)
	}
	if got := b.Floor(0, begin.Add(trimWithin)).Trimmed; got != 4 {
		t.Errorf("trimmed to %d", got)
	}
}
