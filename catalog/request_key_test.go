package catalog

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// newKeyedFixture is newFixture at the level of keys, tokens and epochs.
func newKeyedFixture(tb testing.TB) *fixture {
	f := newFixture(tb)
	f.accepted(RaiseLevel{Level: levelOfKeys})
	return f
}

// keyed is a unit of the request numbered request under a key of topic 1.
func keyed(key string, request byte, appends ...Append) Unit {
	return Unit{Key: NewRequestKey(topicID(1), key, [16]byte{request}), Appends: appends}
}

func (f *fixture) wantLanded(u Unit, want ...LandedAppend) {
	f.tb.Helper()
	for _, s := range []*State{f.state, f.replica, decodeState(f.tb, encodeState(f.tb, f.state))} {
		landed, known, err := s.Request(u.Key)
		if err != nil || known != (want != nil) || !slices.Equal(landed, want) {
			f.tb.Errorf("the request landed at %+v, %t, %v; want %+v", landed, known, err, want)
		}
	}
}

// TestRequestKeyRepeats: a repeat gets the first results, whatever it holds now
// and wherever its records would go. Red under mutant.SkipKeyCheck.
func TestRequestKeyRepeats(t *testing.T) {
	f := newKeyedFixture(t)
	f.landed(records(0, 5))
	first := keyed("k", 1, records(0, 2), records(3, 1))
	units := f.commit(first,
		keyed("k", 1, records(2, 3)), // a round robin went on, or partitions were added
		keyed("k", 2, records(0, 2)),
		keyed("other", 1, records(0, 1)),
	)
	again := f.commit(keyed("k", 1, records(1, 2)), keyed("k", 2, records(1, 2)))
	for i, u := range []UnitResult{units[1], again[0]} {
		if !u.Replayed || u.Err != nil || u.Appends != nil {
			t.Errorf("repeat %d: %+v", i, u)
		}
	}
	if units[2].Err != ErrKeyReused || again[1].Err != ErrKeyReused {
		t.Errorf("another request under the key: %v, %v", units[2].Err, again[1].Err)
	}
	if units[3].Err != nil || units[3].Appends[0].Base != 7 {
		t.Errorf("another key: %+v", units[3])
	}
	f.wantLanded(first, LandedAppend{0, 2, 5, 500}, LandedAppend{3, 1, 0, 500})
	if _, _, err := f.state.Request(keyed("k", 9).Key); err != ErrKeyReused {
		t.Errorf("another request is looked up: %v", err)
	}
	for p, want := range []Offset{8, 0, 0, 1} {
		if end := f.state.Partition(partitionOf(1, p)).End(); end != want {
			t.Errorf("partition %d ends at %d, want %d", p, end, want)
		}
	}
}

// TestRejectedRequestIsNotRemembered: the next try of the key is judged anew.
func TestRejectedRequestIsNotRemembered(t *testing.T) {
	f := newKeyedFixture(t)
	u := f.commit(keyed("k", 1, records(0, 1).expecting(3)), keyed("k", 2, records(0, 1)))
	var offset *OffsetError
	if !errors.As(u[0].Err, &offset) || u[1].Err != nil {
		t.Fatalf("got %+v", u)
	}
	f.wantLanded(keyed("k", 2), LandedAppend{0, 1, 0, 500})
}

// TestKeysOfTopicsAreApart: the same name is another key in another topic, also
// in one that was created again.
func TestKeysOfTopicsAreApart(t *testing.T) {
	f := newKeyedFixture(t)
	f.accepted(createTopic(2, "lakes", 1))
	f.commit(keyed("k", 1, records(0, 1)))
	elsewhere := records(0, 1)
	elsewhere.Partition = partitionOf(2, 0)
	u := Unit{Key: NewRequestKey(topicID(2), "k", [16]byte{2}), Appends: []Append{elsewhere}}
	if r := f.commit(u)[0]; r.Err != nil || r.Replayed {
		t.Errorf("got %+v", r)
	}
	f.accepted(DeleteTopic{ID: topicID(1)})
	f.wantLanded(keyed("k", 1), LandedAppend{0, 1, 0, 500})
}

// TestRequestKeysExpire: 24 h after the request landed; repeats do not put it off.
func TestRequestKeysExpire(t *testing.T) {
	f := newKeyedFixture(t)
	for i := range 5 {
		f.commit(keyed(fmt.Sprint(i), 1, records(0, 1), records(1, 1)))
	}
	f.advance(1_000_000 + RequestKeyExpiryMs)
	if u := f.commit(keyed("0", 1, records(0, 1)))[0]; !u.Replayed {
		t.Errorf("after exactly 24 h: %+v", u)
	}
	f.advance(1_000_001 + RequestKeyExpiryMs)
	f.wantLanded(keyed("0", 1))
	if u := f.commit(keyed("1", 2, records(0, 1)))[0]; u.Err != nil || u.Replayed || u.Appends[0].Base != 5 {
		t.Errorf("a key that expired and was not removed: %+v", u)
	}
	f.state.capacity.expirySteps, f.replica.capacity.expirySteps = 3, 3
	if r := f.accepted(Expire{}); !r.More || f.state.Counts().RequestKeys != 2 {
		t.Errorf("more %t, %+v", r.More, f.state.Counts())
	}
	if r := f.accepted(Expire{}); r.More || f.state.Counts().RequestKeys != 1 || f.state.Counts().RequestKeyAppends != 1 {
		t.Errorf("more %t, %+v", r.More, f.state.Counts())
	}
}

// TestRequestKeysAreBounded: in number, and in what is remembered with them;
// what has expired makes room at once.
func TestRequestKeysAreBounded(t *testing.T) {
	f := newKeyedFixture(t)
	for _, s := range []*State{f.state, f.replica} {
		s.capacity.requestKeys, s.capacity.requestKeyAppends = 3, 4
	}
	u := f.commit(
		keyed("a", 1, records(0, 1), records(1, 1), records(2, 1)),
		keyed("b", 1, records(0, 1), records(1, 1)), // five results would be too many
		keyed("b", 1, records(0, 1)),
		keyed("c", 1, records(0, 1)),
	)
	if u[0].Err != nil || u[1].Err != ErrTooManyKeys || u[2].Err != nil || u[3].Err != ErrTooManyKeys {
		t.Fatalf("got %+v", u)
	}
	if u := f.commit(keyed("c", 1, records(0, 1)), keyed("a", 1, records(0, 1)), unit(records(0, 1))); u[0].Err != ErrTooManyKeys || !u[1].Replayed || u[2].Err != nil {
		t.Errorf("at the limit: %+v", u)
	}
	f.advance(1_000_001 + RequestKeyExpiryMs)
	if u := f.commit(keyed("c", 1, records(0, 1)))[0]; u.Err != nil {
		t.Errorf("after all have expired: %v", u.Err)
	}
}

// TestReplayedRequestIsSmall: the results of the first are not written again, so
// that the size of an entry does not hang on what it repeats.
func TestReplayedRequestIsSmall(t *testing.T) {
	c := CommitSegment{Units: []Unit{keyed("k", 1, records(0, 1))}}
	with := len(AppendEdits(nil, []Edit{c}, []Result{{Units: []UnitResult{{Replayed: true}}}}))
	if landed := len(AppendEdits(nil, []Edit{c}, []Result{{Units: []UnitResult{{Appends: []AppendResult{{}}}}}})); with >= landed {
		t.Errorf("%d bytes, %d if it lands", with, landed)
	}
	c.Units[0].Appends[0].Token = string(make([]byte, TokenLenMax))
	if got := len(AppendEdits(nil, []Edit{c}, []Result{{Units: []UnitResult{{Err: &FenceError{Token: c.Units[0].Appends[0].Token}}}}})); got > encodedSizeMax(c) {
		t.Errorf("%d bytes, reserved were %d", got, encodedSizeMax(c))
	}
}

// Memory of a remembered key, for the documents.
func BenchmarkRequestKeyMemory(b *testing.B) {
	const keys = 100_000
	for b.Loop() {
		t := newRequestTable()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range keys {
			k := NewRequestKey(topicID(1), fmt.Sprint(i), [16]byte{1})
			t.add(k.ID, &keyedRequest{request: k.Request, time: int64(i), landed: []LandedAppend{{}}})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/keys, "bytes/key")
		runtime.KeepAlive(t)
	}
}
