package catalog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/wadilog/wadi/internal/segment"
)

// sampleState returns a catalog with something in every table.
func sampleState(tb testing.TB) *State {
	f := newFixture(tb)
	f.accepted(RegisterNode{Node: nodeID(2), HasWAL: true})
	f.accepted(createTopic(2, "lakes", 2))
	f.accepted(createTopic(0, "an-empty-one", 1))
	first, second := f.producer(), f.producer()
	f.landed(records(0, 2), records(1, 3).by(first, 0, 0))
	f.landed(records(0, 4).by(first, 3, 0), records(2, 1))
	f.advance(1_500_000)
	for i := range int32(7) {
		f.landed(records(0, 1).by(second, 1, i), records(3, 1))
	}
	f.landed(records(1, 1).by(first, 0, 3))
	f.accepted(Trim{Partition: partitionOf(1, 0), Before: 3})  // within an extent
	f.accepted(Trim{Partition: partitionOf(1, 2), Before: 99}) // to the end
	f.accepted(Trim{Partition: partitionOf(1, 1), Before: 3})
	f.producer()
	f.state.orphanFloor = 1
	return f.state
}

// sampleKeyedState adds what came with feature level 2.
func sampleKeyedState(tb testing.TB) *State {
	f := &fixture{tb: tb, state: sampleState(tb), objects: 900}
	f.replica = decodeState(tb, encodeState(tb, f.state))
	f.accepted(RaiseLevel{Level: 2})
	f.commit(
		Unit{Key: RequestKey{ID: [16]byte{9}, Request: [16]byte{1}}, Appends: []Append{records(0, 2), records(3, 1)}},
		Unit{Key: RequestKey{ID: [16]byte{3}, Request: [16]byte{2}}, Appends: []Append{records(1, 2)}},
	)
	f.accepted(SetFence{Partition: partitionOf(1, 3), Token: "token-a"})
	f.accepted(SetFence{Partition: partitionOf(2, 0), Token: "token-b"})
	f.accepted(RaiseEpoch{Producer: 1})
	return f.state
}

// sampleGroupState adds what came with feature level 3: a group in the middle of
// a rebalance, one whose members are gone, and one that never had any.
func sampleGroupState(tb testing.TB) *State {
	f := &fixture{tb: tb, state: sampleKeyedState(tb), objects: 1900}
	f.replica = decodeState(tb, encodeState(tb, f.state))
	f.accepted(RaiseLevel{Level: 3})
	join := func(group, member string, strategy Strategy, topics ...string) int64 {
		return f.accepted(JoinGroup{
			Group: group, Member: member, ClientID: "host-" + member, Topics: topics, Strategy: strategy, SessionTimeoutMs: 30_000,
		}).Epoch
	}
	join("mappers", "m-1", AnyStrategy, "lakes", "not-there-yet", "rivers")
	join("mappers", "m-2", CooperativeSticky, "rivers")
	epoch := join("readers", "r-1", RangeStrategy, "rivers")
	f.accepted(CommitOffsets{Group: "readers", Member: "r-1", Epoch: epoch, Offsets: []GroupOffset{
		{Partition: partitionOf(1, 0), Offset: 3, Metadata: "to the sea"}, {Partition: partitionOf(1, 3), Offset: 0},
	}})
	f.accepted(RemoveMember{Group: "readers", Member: "r-1"})
	f.accepted(CommitOffsets{Group: "writers", Offsets: []GroupOffset{
		{Partition: partitionOf(1, 1), Offset: 1}, {Partition: partitionOf(2, 1), Offset: 0, Metadata: strings.Repeat("m", OffsetMetadataLenMax)},
	}})
	return f.state
}

// sampleCompactionState adds what came with feature level 4.
func sampleCompactionState(tb testing.TB) *State {
	f := &fixture{tb: tb, state: sampleGroupState(tb), objects: 2900}
	f.replica = decodeState(tb, encodeState(tb, f.state))
	f.accepted(RaiseLevel{Level: 4})
	f.accepted(ClaimCompaction{Topic: topicID(2), Job: JobID{2}, ForMs: 1000})
	f.accepted(ClaimCompaction{Topic: topicID(1), Job: JobID{1}, ForMs: CompactionLeaseMsMax})
	f.accepted(f.compaction(0, 1, 3, 2))
	return f.state
}

func TestSnapshotGolden(t *testing.T) {
	for name, s := range map[string]*State{
		"snapshot.golden": sampleState(t), "keyed_snapshot.golden": sampleKeyedState(t), "group_snapshot.golden": sampleGroupState(t),
		"compaction_snapshot.golden": sampleCompactionState(t),
	} {
		checkSnapshotGolden(t, name, s)
	}
}

func checkSnapshotGolden(t *testing.T, name string, s *State) {
	got := encodeState(t, s)
	golden(t, name, got)
	decoded := decodeState(t, got)
	if err := CheckAll(decoded); err != nil {
		t.Fatal(err)
	}
	if again := encodeState(t, decoded); !bytes.Equal(again, got) {
		t.Errorf("encodes to\n%x\nafter decoding, want\n%x", again, got)
	}
	if decoded.Counts() != s.Counts() || decoded.Time() != s.Time() || decoded.OrphanFloor() != 1 || decoded.ClusterID() != s.ClusterID() {
		t.Errorf("decoded %+v, want %+v", decoded, s)
	}
}

// A decoded state goes on as the one it was encoded from would.
func TestDecodedStateGoesOn(t *testing.T) {
	a := sampleState(t)
	b := decodeState(t, encodeState(t, a))
	for i := range 200 {
		f := &fixture{tb: t, state: a, objects: 50_000 + i}
		for _, e := range []Edit{
			f.nextCommit(unit(records(i%4, 1)), unit(records(0, 1).by(2, 1, int32(7+i)), records(3, 1).at(0))),
			AllocateProducerID{},
			Trim{Partition: partitionOf(1, 3), Before: Offset(i)},
		} {
			ra, rb := Apply(a, e), Apply(b, e)
			if ra.Err != nil || !ResultsEqual(ra, rb) {
				t.Fatalf("%+v and %+v", ra, rb)
			}
		}
	}
	if !bytes.Equal(encodeState(t, a), encodeState(t, b)) {
		t.Fatal("they differ")
	}
}

// The decoder takes the bytes in whatever pieces they come.
func TestSnapshotInPieces(t *testing.T) {
	encoded := encodeState(t, sampleCompactionState(t))
	random := rand.New(rand.NewPCG(3, 4))
	for _, size := range []int{1, 2, 7, 100, 511, 512, 513, 1 << 20, 0} {
		var d StateDecoder
		for rest := encoded; len(rest) > 0; {
			n := min(size, len(rest))
			if size == 0 {
				n = random.IntN(min(len(rest), 90) + 1)
			}
			piece := bytes.Clone(rest[:n])
			if err := d.Write(piece); err != nil {
				t.Fatal(err)
			}
			clear(piece) // the decoder must not keep it
			rest = rest[n:]
		}
		s, err := d.State()
		if err != nil {
			t.Fatalf("pieces of %d bytes: %v", size, err)
		}
		if !bytes.Equal(encodeState(t, s), encoded) {
			t.Fatalf("pieces of %d bytes gave another state", size)
		}
	}
}

// A large state comes in chunks of bounded size, which yield may keep, and
// yield's error ends the encoding.
func TestEncodeInChunks(t *testing.T) {
	s := NewState([16]byte{1})
	Apply(s, RegisterNode{Node: nodeID(1)})
	Apply(s, createTopic(1, "rivers", 4))
	f := &fixture{tb: t, state: s}
	for range 20_000 {
		Apply(s, f.nextCommit(unit(records(0, 1), records(1, 1).at(0))))
	}
	var chunks [][]byte
	if err := s.Encode(func(chunk []byte) error { chunks = append(chunks, chunk); return nil }); err != nil {
		t.Fatal(err)
	}
	var d StateDecoder
	for i, chunk := range chunks {
		if len(chunk) > snapshotChunkLen+snapshotItemLenMax || i < len(chunks)-1 && len(chunk) < snapshotChunkLen {
			t.Errorf("chunk %d has %d bytes", i, len(chunk))
		}
		if err := d.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if len(chunks) < 5 {
		t.Errorf("%d chunks", len(chunks))
	}
	decoded, err := d.State()
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckAll(decoded); err != nil {
		t.Fatal(err)
	}
	away := errors.New("the store is away")
	for failAt := range chunks {
		calls := 0
		err := s.Encode(func([]byte) error {
			if calls++; calls > failAt {
				return away
			}
			return nil
		})
		if err != away || calls != failAt+1 {
			t.Fatalf("yield failed at call %d: %v after %d calls", failAt, err, calls)
		}
	}
}

func TestSnapshotIsRefused(t *testing.T) {
	encoded := encodeState(t, sampleCompactionState(t))
	decode := func(b []byte) error {
		var d StateDecoder
		if err := d.Write(b); err != nil {
			if _, again := d.State(); again != err {
				t.Errorf("Write: %v, State: %v", err, again)
			}
			if again := d.Write(nil); again != err {
				t.Errorf("Write: %v, then %v", err, again)
			}
			return err
		}
		_, err := d.State()
		return err
	}
	var corrupt *CorruptError
	var level *NewerLevelError
	for i := range encoded {
		if err := decode(encoded[:i]); !errors.As(err, &corrupt) {
			t.Fatalf("cut to %d of %d bytes: %v", i, len(encoded), err)
		}
	}
	if err := decode(append(bytes.Clone(encoded), 0)); !errors.As(err, &corrupt) {
		t.Fatalf("trailing byte: %v", err)
	}
	for i := range encoded {
		for _, bit := range []byte{1, 0x80} {
			damaged := bytes.Clone(encoded)
			damaged[i] ^= bit
			if err := decode(damaged); !errors.As(err, &corrupt) && !errors.Is(err, ErrNewerSnapshot) && !errors.As(err, &level) {
				t.Fatalf("bit %#x of byte %d flipped: %v", bit, i, err)
			}
		}
	}
	// The zero decoder, and one that got nothing.
	var d StateDecoder
	if _, err := d.State(); !errors.As(err, &corrupt) {
		t.Error(err)
	}
}

func TestNewerSnapshotIsRefused(t *testing.T) {
	newer := encodeState(t, sampleState(t))
	newer[8]++
	if err := new(StateDecoder).Write(newer); !errors.Is(err, ErrNewerSnapshot) {
		t.Errorf("version: %v", err)
	}
	newer[8], newer[9] = snapshotVersion, byte(FeatureLevel+1)
	var level *NewerLevelError
	if err := new(StateDecoder).Write(newer); !errors.As(err, &level) || level.Level != FeatureLevel+1 || level.Known != FeatureLevel {
		t.Errorf("level: %v", err)
	}
}

// reseal gives a snapshot without its CRC the right one.
func reseal(body []byte) []byte {
	return appendCRC(bytes.Clone(body), crc32.Checksum(body, segment.Castagnoli))
}

// Values that contradict each other are refused also under a right CRC.
func TestContradictorySnapshotIsRefused(t *testing.T) {
	s := NewState([16]byte{})
	head := encodeState(t, s)
	head = head[:len(head)-4-5] // without counts and CRC
	id := func(n byte) []byte { return append(make([]byte, 15), n) }
	node := func(n byte) []byte { return append(id(n), 0, 0, 0) }
	config := appendConfig(nil, &TopicConfig{MaxMessageBytes: 1})
	topic := func(n byte, name string, partitions ...byte) []byte {
		b := append(id(n), byte(len(name)))
		b = append(append(append(b, name...), byte(len(partitions)/3)), config...)
		return append(b, partitions...)
	}
	extent := func(records byte) []byte {
		return append(id(1), 0, 1, 0, 0, 0, 0, records, 0, 0) // pos, len, CRC, records, times
	}
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, test := range map[string]struct {
		body []byte
		ok   bool
	}{
		"empty":                        {[]byte{0, 0, 0, 0, 0}, true},
		"two nodes":                    {cat([]byte{2}, node(1), node(2), []byte{0, 0, 0, 0}), true},
		"nodes out of order":           {cat([]byte{2}, node(2), node(1), []byte{0, 0, 0, 0}), false},
		"one node twice":               {cat([]byte{2}, node(1), node(1), []byte{0, 0, 0, 0}), false},
		"object without extents":       {cat([]byte{0, 1}, appendObject(nil, &NewObject{}), []byte{0, 0, 0, 0}), false},
		"topic":                        {cat([]byte{0, 0, 0, 1}, topic(1, "a", 0, 0, 0), []byte{0}), true},
		"topic without partitions":     {cat([]byte{0, 0, 0, 1}, topic(1, "a"), []byte{0}), false},
		"topic with a bad name":        {cat([]byte{0, 0, 0, 1}, topic(1, "a/b", 0, 0, 0), []byte{0}), false},
		"two topics of one name":       {cat([]byte{0, 0, 0, 2}, topic(1, "a", 0, 0, 0), topic(2, "a", 0, 0, 0), []byte{0}), false},
		"topics out of order":          {cat([]byte{0, 0, 0, 2}, topic(2, "a", 0, 0, 0), topic(1, "b", 0, 0, 0), []byte{0}), false},
		"trimmed to its end":           {cat([]byte{0, 0, 0, 1}, topic(1, "a", 9, 0, 0), []byte{0}), true},
		"records without extents":      {cat([]byte{0, 0, 0, 1}, topic(1, "a", 0, 2, 0), []byte{0}), false},
		"one extent":                   {cat([]byte{0, 0, 0, 1}, topic(1, "a", 0, 2, 1), []byte{0}, extent(2), []byte{0}), true},
		"begins below the log start":   {cat([]byte{0, 0, 0, 1}, topic(1, "a", 1, 1, 1), []byte{1}, extent(2), []byte{0}), true},
		"begins below 0":               {cat([]byte{0, 0, 0, 1}, topic(1, "a", 1, 1, 1), []byte{2}, extent(3), []byte{0}), false},
		"extent of no records":         {cat([]byte{0, 0, 0, 1}, topic(1, "a", 0, 2, 1), []byte{0}, extent(0), []byte{0}), false},
		"extent ends too early":        {cat([]byte{0, 0, 0, 1}, topic(1, "a", 0, 2, 1), []byte{0}, extent(1), []byte{0}), false},
		"extent ends too late":         {cat([]byte{0, 0, 0, 1}, topic(1, "a", 0, 2, 1), []byte{0}, extent(3), []byte{0}), false},
		"extent below the log start":   {cat([]byte{0, 0, 0, 1}, topic(1, "a", 2, 2, 2), []byte{2}, extent(2), extent(2), []byte{0}), false},
		"producer not given out":       {cat([]byte{0, 0, 0, 0, 1, 1, 0, 0}), false},
		"count over 64 bits":           {cat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}), false},
		"count of more than are there": {[]byte{0, 0, 0, 0, 9}, false},
	} {
		var d StateDecoder
		err := d.Write(reseal(cat(head, test.body)))
		if err == nil {
			_, err = d.State()
		}
		if (err == nil) != test.ok {
			t.Errorf("%s: %v\n%s", name, err, hex.Dump(test.body))
		}
	}
}

// What the decoder accepts encodes to the same bytes. The input goes without
// its CRC, which no fuzzer would find.
func FuzzStateDecoder(f *testing.F) {
	for _, s := range []*State{sampleState(f), sampleKeyedState(f), sampleGroupState(f)} {
		sample := encodeState(f, s)
		f.Add(sample[:len(sample)-4], 100)
	}
	empty := encodeState(f, NewState([16]byte{1}))
	f.Add(empty[:len(empty)-4], 1)
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		b := reseal(body)
		var d StateDecoder
		cut = min(max(cut, 0), len(b))
		if d.Write(b[:cut]) != nil || d.Write(b[cut:]) != nil {
			return
		}
		s, err := d.State()
		if err != nil {
			return
		}
		if again := encodeState(t, s); !bytes.Equal(again, b) {
			t.Fatalf("%x encodes to %x", b, again)
		}
		_ = CheckAll(s) // finds fault with much, and must not panic
	})
}
