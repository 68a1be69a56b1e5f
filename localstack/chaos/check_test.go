package chaos

import (
	"slices"
	"strings"
	"testing"
)

// story is a history made by hand: two idempotent producers (0 on partition 0,
// which is trimmed to 2; 1 on partition 1), one with acks=all and one with acks=1.
func story() *History {
	part := func(partition int32, seq int64, count int) Part {
		return Part{Partition: partition, Seq: seq, Count: count}
	}
	return &History{
		Partitions: 3, Producers: []Kind{Idempotent, Idempotent, PlainAll, PlainOne},
		Requests: []*Request{
			{Number: 1, Producer: 0, Parts: []Part{part(0, 0, 3)}, Outcome: Acked, Bases: []int64{0}},
			{Number: 2, Producer: 0, Parts: []Part{part(0, 3, 2)}, Outcome: Acked, Bases: []int64{3}},
			{Number: 3, Producer: 1, Parts: []Part{part(1, 0, 2)}, Outcome: Acked, Bases: []int64{0}},
			{Number: 4, Producer: 1, Parts: []Part{part(1, 2, 1)}, Outcome: Acked, Bases: []int64{2}},
			{Number: 5, Producer: 2, Parts: []Part{part(1, 0, 2), part(2, 2, 1)}, Outcome: Acked, Bases: []int64{3, 0}},
			{Number: 6, Producer: 2, Parts: []Part{part(1, 3, 1), part(2, 4, 1)}, Outcome: Unknown},
			{Number: 7, Producer: 2, Parts: []Part{part(2, 5, 1)}, Outcome: NoEffect},
			{Number: 8, Producer: 2, Parts: []Part{part(2, 6, 1)}, Outcome: Acked, Bases: []int64{1}},
			{Number: 9, Producer: 3, Parts: []Part{part(2, 0, 1)}, Outcome: Acked, Node: "node-1#1"},
			{Number: 10, Producer: 3, Parts: []Part{part(2, 1, 2)}, Outcome: Acked, Node: "node-1#1"},
			{Number: 11, Producer: 3, Parts: []Part{part(2, 3, 1)}, Outcome: Acked, Node: "node-1#2"},
			{Number: 12, Producer: 3, Parts: []Part{part(2, 4, 1)}, Outcome: Acked}, // by whom is not known
		},
		Trims: []Trim{{Partition: 0, Start: 2}}, TrimAsked: map[int32]int64{0: 2},
	}
}

func ids(text string) []RecordID {
	var ids []RecordID
	for _, field := range strings.Fields(text) {
		ids = append(ids, RecordID{Producer: uint32(field[0] - 'a'), Seq: uint32(field[1] - '0')})
	}
	return ids
}

// logOf is three partitions: letters are producers, digits sequences.
func logOf(start int64, partitions ...string) []PartitionLog {
	logs := []PartitionLog{{Start: start}, {}, {}}
	for p, text := range partitions {
		logs[p].Records = ids(text)
	}
	return logs
}

func TestCheckTakesWhatIsAllowed(t *testing.T) {
	for name, logs := range map[string][]PartitionLog{
		"all":                        logOf(2, "a2 a3 a4", "b0 b1 b2 c0 c1", "c2 c6 d0 d1 d2 d3 d4"),
		"with the unknown":           logOf(2, "a2 a3 a4", "b0 b1 b2 c0 c1 c3", "c2 c6 d0 d1 d2 d3 d4 c4"),
		"acks=1 of another start":    logOf(2, "a2 a3 a4", "b0 b1 b2 c0 c1", "c2 c6 d3 d0 d1 d2 d4"),
		"acks=1 by nobody knows who": logOf(2, "a2 a3 a4", "b0 b1 b2 c0 c1", "c2 c6 d4 d0 d1 d2 d3"),
	} {
		found := NewFindings()
		if Check(story(), logs, found); found.Count() > 0 {
			t.Errorf("%s: %v", name, found.List())
		}
	}
}

// TestCheckSeesEachBrokenPromise breaks the log, or what was told of it, in one
// way at a time.
func TestCheckSeesEachBrokenPromise(t *testing.T) {
	const p0, p1, p2 = "a2 a3 a4", "b0 b1 b2 c0 c1", "c2 c6 d0 d1 d2 d3 d4"
	for _, c := range []struct {
		name    string
		promise string
		logs    []PartitionLog
		change  func(*History)
	}{
		{"idempotent record lost", lost, logOf(2, "a2 a3", p1, p2), nil},
		{"idempotent request lost", lost, logOf(2, "a2", p1, p2), nil},
		{"acks=all lost", lost, logOf(2, p0, "b0 b1 b2", p2), nil},
		{"acks=1 lost", lost, logOf(2, p0, p1, "c2 c6 d0 d3 d4"), nil},
		{"start beyond every trim", lost, logOf(3, "a3 a4", p1, p2), nil},
		{"never sent", phantom, logOf(2, p0, p1, p2+" d5"), nil},
		{"of no producer", phantom, logOf(2, p0, p1, p2+" e0"), nil},
		{"refused", phantom, logOf(2, p0, p1, p2+" c5"), nil},
		{"idempotent twice", phantom, logOf(2, p0, p1+" b2", p2), nil},
		{"acks=1 twice", phantom, logOf(2, p0, p1, p2+" d3"), nil},
		{"unknown twice", phantom, logOf(2, p0, p1+" c3", p2+" c4 c4"), nil},
		{"twice in partitions", phantom, logOf(2, p0, p1+" d4", p2), nil},
		{"torn over partitions", atomicity, logOf(2, p0, p1+" c3", p2), nil},
		{"torn in a partition", atomicity, logOf(2, p0, p1, "c2 c6 d0 d1 d3 d2 d4"), nil},
		{"acks=1 out of order", atomicity, logOf(2, p0, p1, "c2 c6 d1 d2 d0 d3 d4"), nil},
		{"acks=all out of order", atomicity, logOf(2, p0, p1, "c6 c2 d0 d1 d2 d3 d4"), func(h *History) {
			h.Requests[4].Bases, h.Requests[7].Bases = nil, nil // the order alone
		}},
		{"idempotent out of order", atomicity, logOf(2, p0, "b2 b0 b1 c0 c1", p2), func(h *History) {
			h.Requests[2].Bases, h.Requests[3].Bases = nil, nil
		}},
		{"other offset than told", visible, logOf(2, p0, "b0 b1 c0 c1 b2", p2), nil},
		{"told one too many", visible, logOf(2, p0, p1, p2), func(h *History) { h.Requests[3].Bases[0]++ }},
		{"other partition", visible, logOf(2, p0, p1+" d4", "c2 c6 d0 d1 d2 d3"), nil},
		{"trim was undone", trimmed, logOf(0, "a0 a1 a2 a3 a4", p1, p2), nil},
		{"idempotent without an end", live, logOf(2, p0, p1, p2), func(h *History) {
			h.Requests = append(h.Requests, &Request{Number: 13, Producer: 1, Parts: []Part{{Partition: 1, Seq: 3, Count: 1}}})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, found := story(), NewFindings()
			if c.change != nil {
				c.change(h)
			}
			if Check(h, c.logs, found); !slices.Contains(found.Broken(), c.promise) {
				t.Errorf("%s was broken, and these were found: %v", c.promise, found.List())
			}
		})
	}
}

func TestCheckLooksOnlyAboveTheLogStart(t *testing.T) {
	// Request 1 is half below the start; what is left of it must be there.
	found := NewFindings()
	Check(story(), logOf(2, "a3 a4", "b0 b1 b2 c0 c1", "c2 c6 d0 d1 d2 d3 d4"), found)
	if !slices.Contains(found.Broken(), lost) {
		t.Errorf("a record above the start is missing: %v", found.List())
	}
}
