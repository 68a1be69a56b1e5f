package verify_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/verify"
)

func TestWholeLogIsWhole(t *testing.T) {
	l := buildLog(t)
	synctest.Test(t, func(t *testing.T) {
		s, found, err := verifyStore(t, l.mem, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Whole || !s.Complete || s.Damages != 0 {
			t.Errorf("%+v\n%s", s, describe(found))
		}
		if s.Snapshots != 2 || s.Entries < 10 || s.Segments != int64(len(l.objects)-1) || s.Garbage != 1 || s.Orphans != 1 {
			t.Errorf("%+v", s)
		}
		if got := serve(t, l, l.mem.Clone(), 16<<20); got.right != l.count() {
			t.Errorf("%d of %d batches are served: %+v", got.right, l.count(), got)
		}
	})
}

// region is a part of an object with the name that findings give it.
type region struct {
	name   string
	field  string
	pos, n int
}

// segmentRegions are all fields of a segment.
func segmentRegions(t *testing.T, body []byte, o catalog.NewObject) []region {
	index, err := segment.DecodeIndex(body[o.IndexPos:], o.IndexCRC)
	if err != nil {
		t.Fatal(err)
	}
	var all []region
	for i := range index.Runs {
		run := &index.Runs[i]
		pos := int(run.Pos)
		for j := range run.Batches {
			for _, f := range []region{
				{"", "base offset", 0, 8}, {"batch header", "length", 8, 4}, {"", "leader epoch", 12, 4}, {"batch header", "magic", 16, 1},
				{"batch", "crc", 17, 4}, {"batch", "attributes", 21, 2}, {"batch", "last offset delta", 23, 4}, {"batch", "timestamps", 27, 16},
				{"batch", "producer", 43, 14}, {"batch", "count", 57, 4}, {"batch", "records", 61, int(run.Batches[j].Len) - 61},
			} {
				f.field = fmt.Sprintf("run %d batch %d %s", i, j, f.field)
				f.pos += pos
				all = append(all, f)
			}
			pos += int(run.Batches[j].Len)
		}
	}
	indexLen := len(body) - segment.FooterLen - int(o.IndexPos)
	return append(all,
		region{"index", "version", int(o.IndexPos), 1}, region{"index", "id", int(o.IndexPos) + 1, 16},
		region{"index", "node", int(o.IndexPos) + 17, 16}, region{"index", "rest", int(o.IndexPos) + 33, indexLen - 33},
		region{"footer", "magic", len(body) - 32, 6}, region{"footer", "kind", len(body) - 26, 1}, region{"footer", "version", len(body) - 25, 1},
		region{"footer", "index pos", len(body) - 24, 8}, region{"footer", "index length", len(body) - 16, 8},
		region{"footer", "index crc", len(body) - 8, 4}, region{"footer", "crc", len(body) - 4, 4})
}

// places are the first, a middle and the last byte of a region.
func (r region) places() []int {
	return slices.Compact([]int{r.pos, r.pos + r.n/2, r.pos + r.n - 1})
}

func flipped(body []byte, pos int) []byte {
	damaged := bytes.Clone(body)
	damaged[pos] ^= 1 << (pos % 8)
	return damaged
}

// TestDamagedSegments flips and cuts every region of a segment of many batches,
// of one with dead bytes and of one with long runs: verify names the object and
// the region, and a node serves what was committed or an error.
func TestDamagedSegments(t *testing.T) {
	l := buildLog(t)
	n := len(l.objects)
	for name, o := range map[string]catalog.NewObject{"many batches": l.objects[5], "dead bytes": l.objects[n-3], "long runs": l.objects[n-2]} {
		key := segment.Key(o.ID)
		body := l.body(t, key)
		for _, r := range segmentRegions(t, body, o) {
			for _, pos := range r.places() {
				t.Run(fmt.Sprintf("%s/flip %s at %d", name, r.field, pos), func(t *testing.T) {
					f := expectDamage(t, l, o, flipped(body, pos))
					if r.name != "" && f.Region != r.name {
						t.Errorf("it is found as %q", f.Region)
					}
					if from, to := f.Pos, f.Pos+f.Len; int64(pos) < from || int64(pos) >= to {
						t.Errorf("byte %d is not within %d to %d", pos, from, to)
					}
				})
			}
			t.Run(fmt.Sprintf("%s/cut at %s", name, r.field), func(t *testing.T) {
				f := expectDamage(t, l, o, append([]byte{}, body[:r.pos]...))
				if f.Pos != int64(r.pos) || f.Len != int64(len(body)-r.pos) {
					t.Errorf("it is found as %v", f)
				}
			})
		}
		other := l.objects[6]
		for what, bytes := range map[string][]byte{
			"one byte longer":           append(slices.Clone(body), 0),
			"another segment":           l.body(t, segment.Key(other.ID)),
			"zeros":                     make([]byte, len(body)),
			"another of its own length": anotherSegment(t, l, o, body),
		} {
			t.Run(name+"/"+what, func(t *testing.T) { expectDamage(t, l, o, bytes) })
		}
		t.Run(name+"/missing", func(t *testing.T) {
			if f := expectDamage(t, l, o, nil); !strings.Contains(f.Reason, "missing") {
				t.Errorf("it is found as %v", f)
			}
		})
	}
}

// TestDamageOfNoRecords: garbage and orphans are checked too, by what the catalog
// knows of them and by what they say of themselves.
func TestDamageOfNoRecords(t *testing.T) {
	l := buildLog(t)
	for what, key := range map[string]string{"garbage": segment.Key(l.objects[0].ID), "orphan": orphanOf(t, l)} {
		body := l.body(t, key)
		for _, pos := range []int{0, 30, 70, len(body) - 60, len(body) - 33, len(body) - 20, len(body) - 1} {
			t.Run(fmt.Sprintf("%s at %d", what, pos), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mem := l.mem.Clone()
					mem.Replace(key, flipped(body, pos))
					_, found, err := verifyStore(t, mem, nil)
					found = damages(found)
					if err != nil || len(found) != 1 || found[0].Key != key || !strings.HasPrefix(found[0].Reason, what) {
						t.Errorf("%v\n%s", err, describe(found))
					}
				})
			})
		}
	}
}

func orphanOf(t *testing.T, l *testLog) (key string) {
	_, found, err := verifyStore(t, l.mem, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.Class == verify.Orphan {
			key = f.Key
		}
	}
	return key
}

// anotherSegment is a whole segment of the same id and length that was never
// committed: the records of each batch are others, with CRCs to match.
func anotherSegment(t *testing.T, l *testLog, o catalog.NewObject, body []byte) []byte {
	index, err := segment.DecodeIndex(body[o.IndexPos:], o.IndexCRC)
	if err != nil {
		t.Fatal(err)
	}
	var runs []segment.Run
	for _, r := range index.Runs {
		run := segment.Run{Topic: r.Topic, TopicName: r.TopicName, Partition: r.Partition}
		for data, err := range recordbatch.Batches(body[r.Pos : int64(r.Pos)+r.Len]) {
			if err != nil {
				t.Fatal(err)
			}
			data = bytes.Clone(data)
			recordbatch.StampLogAppendTime(data, 1) // gives it another CRC
			h, err := recordbatch.ParseHeader(data)
			if err != nil {
				t.Fatal(err)
			}
			run.Batches = append(run.Batches, segment.Batch{Data: data, Header: h})
		}
		runs = append(runs, run)
	}
	sealed, err := segment.Encode(o.ID, index.Origin, runs)
	if err != nil {
		t.Fatal(err)
	}
	return sealed.Body
}

// expectDamage puts a body in place of an object, or removes it, and returns the
// one finding that verify has of it.
func expectDamage(t *testing.T, l *testLog, o catalog.NewObject, body []byte) (f verify.Finding) {
	t.Helper()
	key := segment.Key(o.ID)
	synctest.Test(t, func(t *testing.T) {
		mem := l.mem.Clone()
		mem.Replace(key, body)
		s, found, err := verifyStore(t, mem, nil)
		if err != nil {
			t.Fatal(err)
		}
		found = damages(found)
		if s.Whole || s.DamagedKeys != 1 || len(found) == 0 || found[0].Key != key {
			t.Fatalf("%+v\n%s", s, describe(found))
		}
		if len(found) != 1 {
			t.Errorf("it is found %d times:\n%s", len(found), describe(found))
		}
		f = found[0]
		for _, wholeObjects := range []int64{16 << 20, 1} {
			got := serve(t, l, mem, wholeObjects)
			if got.startErr != nil {
				t.Fatal(got.startErr)
			}
			failed := got.failed[o.ID]
			if len(got.failed) > 1 || len(got.failed) == 1 && failed == 0 || got.right+failed != l.count() {
				t.Errorf("%+v", got)
			}
			if wholeObjects > 1 && failed == 0 {
				t.Error("all batches are served of an object that is read as a whole and is damaged")
			}
		}
	})
	return f
}

// TestFindingsNameRecords: what is concerned is named by topic, partition and offsets.
func TestFindingsNameRecords(t *testing.T) {
	l := buildLog(t)
	o := l.objects[5]
	body := l.body(t, segment.Key(o.ID))
	for tp, batches := range l.batches {
		for _, b := range batches {
			if b.object != o.ID {
				continue
			}
			pos := bytes.Index(body, b.data[21:]) // the base offset was patched in
			f := expectDamage(t, l, o, flipped(body, pos+50))
			want := verify.Records{Topic: names[tp.Topic], TopicID: tp.Topic.String(), Partition: tp.Partition, From: b.base, To: b.end()}
			if len(f.Records) != 1 || f.Records[0] != want {
				t.Errorf("%v, want %v", f.Records, want)
			}
			if f = expectDamage(t, l, o, nil); !slices.ContainsFunc(f.Records, func(r verify.Records) bool {
				return r.Topic == want.Topic && r.Partition == want.Partition && r.From <= want.From && r.To >= want.To
			}) {
				t.Errorf("%v lack %v", f.Records, want)
			}
		}
	}
}

// TestDamagedJournal flips and cuts every entry, manifest and part. A node does
// not become ready, and says why, or starts from what is whole and serves it all.
func TestDamagedJournal(t *testing.T) {
	l := buildLog(t)
	j := newJournal(t, l.mem)
	listed, err := j.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(listed.Manifests) != 2 || listed.Slots[len(listed.Slots)-1] <= listed.Manifests[1] {
		t.Fatalf("not much of a journal: %+v", listed)
	}
	newest := listed.Manifests[1]
	needed := map[string]bool{j.ManifestKey(newest): true} // by a node that starts
	var keys []string
	for _, slot := range listed.Slots {
		keys = append(keys, j.SlotKey(slot))
		needed[j.SlotKey(slot)] = slot > newest
	}
	info, err := j.Snapshot(t.Context(), newest)
	if err != nil {
		t.Fatal(err)
	}
	needed[j.SlotKey(info.Claims[len(info.Claims)-1])] = true // it says who leads
	for _, slot := range listed.Manifests {
		keys = append(keys, j.ManifestKey(slot))
	}
	for _, p := range listed.Parts {
		keys = append(keys, p.Key)
		needed[p.Key] = p.Slot == newest
	}
	last := j.SlotKey(listed.Slots[len(listed.Slots)-1])
	for _, key := range keys {
		body := l.body(t, key)
		places := []int{0, 4, 6, 7, 8, 16, 24, 40, 56, len(body) / 2, len(body) - 5, len(body) - 1}
		for _, pos := range slices.Compact(places) {
			if pos < len(body) {
				t.Run(fmt.Sprintf("flip %s at %d", key, pos), func(t *testing.T) { expectJournalDamage(t, l, key, flipped(body, pos), needed[key]) })
			}
		}
		for _, n := range []int{0, 1, 8, 40, len(body) / 2, len(body) - 1} {
			t.Run(fmt.Sprintf("cut %s at %d", key, n), func(t *testing.T) {
				expectJournalDamage(t, l, key, append([]byte{}, body[:n]...), needed[key])
			})
		}
		t.Run("lengthen "+key, func(t *testing.T) {
			expectJournalDamage(t, l, key, append(slices.Clone(body), 0), needed[key])
		})
		if other := keys[len(keys)-1]; other != key {
			t.Run("swap "+key, func(t *testing.T) { expectJournalDamage(t, l, key, l.body(t, other), needed[key]) })
		}
		if key != last { // of the last entry nothing else tells
			t.Run("remove "+key, func(t *testing.T) { expectJournalDamage(t, l, key, nil, needed[key]) })
		}
	}
}

func expectJournalDamage(t *testing.T, l *testLog, key string, body []byte, needed bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		mem := l.mem.Clone()
		mem.Replace(key, body)
		s, found, err := verifyStore(t, mem, nil)
		if err != nil {
			t.Fatal(err)
		}
		found = damages(found)
		if s.Whole || !slices.ContainsFunc(found, func(f verify.Finding) bool { return f.Key == key }) {
			t.Fatalf("%+v\n%s", s, describe(found))
		}
		got := serve(t, l, mem, 16<<20)
		switch {
		case got.startErr == nil && got.right != l.count():
			t.Errorf("%d of %d batches are served", got.right, l.count())
		case got.startErr != nil && !needed:
			t.Errorf("it does not start from what is whole: %v", got.startErr)
		case needed && got.startErr == nil && body != nil:
			t.Error("it starts from what is damaged")
		case got.startErr != nil && body != nil && !strings.Contains(got.startErr.Error(), key) && !tellsSlot(got.startErr):
			t.Errorf("it does not say why: %v", got.startErr)
		}
	})
}

func tellsSlot(err error) bool {
	corrupt, diverged := (*journal.CorruptError)(nil), (*catalog.DivergedError)(nil)
	return errors.As(err, &corrupt) || errors.As(err, &diverged)
}

// TestWrongSnapshot: one that decodes, keeps every invariant, and is not what the
// entries come to.
func TestWrongSnapshot(t *testing.T) {
	l := buildLog(t)
	synctest.Test(t, func(t *testing.T) {
		mem := l.mem.Clone()
		j := newJournal(t, mem)
		info, err := j.LatestSnapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		state, err := catalog.VerifySnapshot(info, func(decode func([]byte) error) error { return j.ReadSnapshot(t.Context(), info, decode) })
		if err != nil {
			t.Fatal(err)
		}
		if r := catalog.Apply(state, catalog.Trim{Partition: part(rivers, 0), Before: 1}); r.Err != nil {
			t.Fatal(r.Err)
		}
		mem.Replace(j.ManifestKey(info.Slot), nil)
		if _, err := j.WriteSnapshot(t.Context(), info, state.Encode); err != nil {
			t.Fatal(err)
		}
		s, found, err := verifyStore(t, mem, nil)
		if found = damages(found); err != nil || s.Whole || len(found) != 1 || found[0].Key != j.ManifestKey(info.Slot) {
			t.Errorf("%+v %v\n%s", s, err, describe(found))
		}
	})
}
