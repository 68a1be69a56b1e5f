package catalog

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/wadilog/wadi/internal/recordbatch"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%x\nwant\n%x", name, got, want)
	}
}

// sampleEdits returns edits of every kind with results of every kind.
func sampleEdits() ([]Edit, []Result) {
	var edits []Edit
	var results []Result
	add := func(e Edit, r Result) {
		edits, results = append(edits, e), append(results, r)
	}
	config := TopicConfig{RetentionMs: 604_800_000, RetentionBytes: Unlimited, MaxMessageBytes: 1 << 20, CompressionType: CompressZstd, MessageTimestampType: LogAppendTime}
	add(CreateTopic{ID: topicID(1), Name: "rivers", Partitions: 8, Config: config}, Result{Topic: topicID(1), Created: true})
	add(CreateTopic{ID: topicID(2), Name: "rivers", Partitions: 8, Config: config}, Result{Topic: topicID(1)})
	add(CreateTopic{ID: topicID(2), Name: "..", Partitions: -1}, Result{Err: invalid(InvalidTopicName)})
	add(AlterTopic{ID: topicID(1), Partitions: 4, Config: config}, Result{Err: ErrPartitionsShrink})
	add(AlterTopic{ID: topicID(1), Config: config}, Result{})
	add(DeleteTopic{ID: topicID(9)}, Result{Err: ErrTopicNotFound})
	add(RegisterNode{Node: nodeID(1), HasWAL: true}, Result{})
	add(RemoveNode{Node: nodeID(2)}, Result{})
	add(AllocateProducerID{}, Result{Producer: 300})
	add(Trim{Partition: partitionOf(1, 7), Before: 1000}, Result{LogStart: 900})
	add(Trim{Partition: partitionOf(1, 7), Before: -1}, Result{})
	add(Expire{}, Result{More: true})
	object := NewObject{ID: objectID(1_700_000_000_000), Kind: SegmentObject, Size: 8 << 20, IndexPos: 8<<20 - 512, IndexCRC: 0xdeadbeef}
	add(CommitSegment{
		Node: nodeID(1), After: 41, Upto: 45, Object: object,
		Units: []Unit{
			unit(records(0, 10), records(1, 20).expecting(300), records(0, 5).at(1000)),
			unit(records(2, 1).by(300, 2, math.MaxInt32), records(2, 1)),
			unit(records(3, 1)), unit(records(3, 1)), unit(records(3, 1)), unit(records(3, 1)), unit(records(3, 1)),
			unit(records(3, 1)),
			unit(),
		},
	}, Result{Units: []UnitResult{
		{Appends: []AppendResult{{Base: 70_000}, {Base: 300}, {Base: 70_010}}},
		{Appends: []AppendResult{{Base: 5, Duplicate: true}, {Base: 90}}},
		{Err: ErrPartitionNotFound}, {Err: &OffsetError{End: 12}}, {Err: &SequenceError{Expected: 3}}, {Err: ErrUnknownProducer}, {Err: ErrProducerFenced},
		{Err: ErrCatalogFull},
		{},
	}})
	add(CommitSegment{Node: nodeID(1), After: 41, Upto: 45, Object: object}, Result{Err: &CommitOrderError{Last: 45}})
	add(CommitSegment{Node: nodeID(3), After: 41, Upto: 45, Object: object}, Result{Err: ErrUnknownNode})
	add(CommitSegment{Node: nodeID(1), After: 45, Upto: 46, Object: object}, Result{Err: ErrOrphanFloor})
	add(CommitSegment{Node: nodeID(1), After: 45, Upto: 46, Object: object}, Result{Err: ErrObjectExists})
	add(CreateTopic{ID: topicID(2), Name: "rivers", Partitions: 9, Config: config}, Result{Err: ErrTopicExists})
	add(Forwarded{Session: Session{1, 15: 2}, Seq: 300, First: 2, Count: 1}, Result{})
	add(KeepNode{Node: nodeID(1), HasWAL: true}, Result{})
	add(RaiseLevel{Level: 2}, Result{})
	return edits, results
}

func TestEditsGolden(t *testing.T) {
	edits, results := sampleEdits()
	payload := AppendEdits(nil, edits, results)
	golden(t, "edits.golden", payload)
	gotEdits, gotResults, err := DecodeEdits(payload)
	if err != nil {
		t.Fatal(err)
	}
	// Decoding gives nil for what is empty.
	edits[12].(CommitSegment).Units[8].Appends = nil
	if !reflect.DeepEqual(gotEdits, edits) {
		t.Errorf("got %+v, want %+v", gotEdits, edits)
	}
	if !reflect.DeepEqual(gotResults, results) {
		t.Errorf("got %+v, want %+v", gotResults, results)
	}
	prefix := []byte("before")
	if got := AppendEdits(prefix, edits, results); !bytes.Equal(got, append([]byte("before"), payload...)) {
		t.Error("AppendEdits does not append")
	}
}

// sampleKeyedEdits returns what came with feature level 2.
func sampleKeyedEdits() ([]Edit, []Result) {
	object := NewObject{ID: objectID(1_700_000_000_000), Kind: SegmentObject, Size: 8 << 20, IndexPos: 8<<20 - 512, IndexCRC: 0xdeadbeef}
	keyed := func(n byte, appends ...Append) Unit {
		return Unit{Key: RequestKey{ID: [16]byte{n}, Request: [16]byte{15: n}}, Appends: appends}
	}
	edits := []Edit{
		CommitSegment{
			Node: nodeID(1), After: 41, Upto: 45, Object: object,
			Units: []Unit{
				keyed(1, records(0, 10), records(1, 20)), keyed(2, records(2, 1)), keyed(3, records(2, 1)), keyed(4, records(2, 1)),
				unit(records(3, 1).fenced("token-a").expecting(7)), unit(records(3, 1).fenced("token-a").by(300, 2, 0)), unit(records(3, 1).fenced("token-a")),
			},
		},
		RaiseEpoch{Producer: 300}, RaiseEpoch{Producer: 300}, RaiseEpoch{Producer: 9},
		SetFence{Partition: partitionOf(1, 3), Token: "token-a"},
		SetFence{Partition: partitionOf(1, 3), Token: "token-b", Conditional: true},
		SetFence{Partition: partitionOf(1, 3), Conditional: true, Expected: "token-a"},
		SetFence{Partition: partitionOf(1, 3), Token: "a b"},
	}
	results := []Result{
		{Units: []UnitResult{
			{Appends: []AppendResult{{Base: 70_000}, {Base: 300}}}, {Replayed: true}, {Err: ErrKeyReused}, {Err: ErrTooManyKeys},
			{Err: &FenceError{Token: "token-b"}}, {Appends: []AppendResult{{Base: 5, Duplicate: true}}}, {Err: &FenceError{}},
		}},
		{Producer: 300, Epoch: 1}, {Producer: 301}, {Err: ErrUnknownProducer},
		{}, {Err: &FenceError{Token: "token-a"}}, {}, {Err: invalid(InvalidToken)},
	}
	return edits, results
}

func TestKeyedEditsGolden(t *testing.T) {
	edits, results := sampleKeyedEdits()
	payload := AppendEdits(nil, edits, results)
	golden(t, "keyed_edits.golden", payload)
	gotEdits, gotResults, err := DecodeEdits(payload)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(gotEdits, edits) {
		t.Errorf("got %+v, want %+v", gotEdits, edits)
	}
	if !reflect.DeepEqual(gotResults, results) {
		t.Errorf("got %+v, want %+v", gotResults, results)
	}
	for _, e := range edits {
		if levelOf(e) != 2 {
			t.Errorf("%T is of level %d", e, levelOf(e))
		}
	}
	// A commit has one spelling: without key and token it is not a keyed one.
	plain := edits[0].(CommitSegment)
	plain.Units = nil
	b := AppendEdits(nil, []Edit{plain}, []Result{{}})
	b[1] = kindKeyedCommit
	var corrupt *CorruptError
	if _, _, err := DecodeEdits(b); !errors.As(err, &corrupt) {
		t.Errorf("a keyed commit without keys: %v", err)
	}
}

// sampleGroupEdits returns what came with feature level 3.
func sampleGroupEdits() ([]Edit, []Result) {
	var edits []Edit
	var results []Result
	add := func(e Edit, r Result) {
		edits, results = append(edits, e), append(results, r)
	}
	join := JoinGroup{
		Group: "mappers", Member: "m-1", ClientID: "host-7", Topics: []string{"lakes", "rivers"},
		Strategy: RangeStrategy, SessionTimeoutMs: 30_000,
	}
	add(join, Result{Epoch: 900, Created: true})
	add(join, Result{Epoch: 901})
	add(JoinGroup{Group: "mappers", Member: "m-2", Topics: []string{"rivers"}, SessionTimeoutMs: 10_000}, Result{Err: ErrGroupStrategy})
	add(JoinGroup{Group: "mappers", Member: "m-3", Topics: []string{"rivers"}, SessionTimeoutMs: 10_000}, Result{Err: ErrGroupFull})
	add(JoinGroup{Group: "..", Member: "m-3", SessionTimeoutMs: -1}, Result{Err: invalid(InvalidGroup)})
	add(SyncMember{Group: "mappers", Member: "m-1", Epoch: 900}, Result{Err: ErrMemberFenced})
	add(SyncMember{Group: "mappers", Member: "m-1", Epoch: 901}, Result{Err: &RebalanceError{Epoch: 905}})
	add(KeepMember{Group: "mappers", Member: "m-1", Epoch: 905}, Result{})
	add(CommitOffsets{Group: "mappers", Member: "m-1", Epoch: 905, After: 70_001, Offsets: []GroupOffset{
		{Partition: partitionOf(1, 0), Offset: 70_000, Metadata: "to the sea"},
		{Partition: partitionOf(1, 300), Offset: NoOffset},
		{Partition: partitionOf(2, 0), Offset: 0},
	}}, Result{})
	add(CommitOffsets{Group: "mappers", Offsets: []GroupOffset{{Partition: partitionOf(1, 0), Offset: 70_000}}}, Result{Err: ErrGroupNotEmpty})
	add(CommitOffsets{Group: "mappers"}, Result{Err: invalid(InvalidGroupOffset)})
	add(CommitOffsets{Group: "others", Offsets: []GroupOffset{{Partition: partitionOf(1, 0), Offset: 70_000}}}, Result{Err: &CommitOffsetError{Index: 0, End: 300}})
	add(CommitOffsets{Group: "others", Offsets: []GroupOffset{
		{Partition: partitionOf(1, 0), Offset: 1}, {Partition: partitionOf(1, 9), Offset: 1},
	}}, Result{Err: &CommitPartitionError{Index: 1, Err: ErrPartitionNotFound}})
	add(RemoveMember{Group: "mappers", Member: "m-1", Epoch: 905}, Result{})
	add(RemoveMember{Group: "mappers", Member: "m-1"}, Result{Err: ErrMemberFenced})
	add(DeleteGroup{Group: "mappers"}, Result{})
	add(DeleteGroup{Group: "mappers"}, Result{Err: ErrGroupNotFound})
	add(Retain{Topic: topicID(1)}, Result{More: true})
	add(Retain{Topic: topicID(9)}, Result{Err: ErrTopicNotFound})
	add(DropGarbage{Objects: []ObjectID{objectID(1_700_000_000_000), objectID(1_700_000_000_001)}}, Result{})
	add(RaiseOrphanFloor{After: 1_699_900_000_000, Floor: 1_699_999_999_999}, Result{Created: true})
	return edits, results
}

func TestGroupEditsGolden(t *testing.T) {
	edits, results := sampleGroupEdits()
	payload := AppendEdits(nil, edits, results)
	golden(t, "group_edits.golden", payload)
	gotEdits, gotResults, err := DecodeEdits(payload)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(gotEdits, edits) {
		t.Errorf("got %+v, want %+v", gotEdits, edits)
	}
	if !reflect.DeepEqual(gotResults, results) {
		t.Errorf("got %+v, want %+v", gotResults, results)
	}
	for i, e := range edits {
		if levelOf(e) != 3 {
			t.Errorf("%T is of level %d", e, levelOf(e))
		}
		if size := len(AppendEdits(nil, edits[i:i+1], results[i:i+1])); size > encodedSizeMax(e) {
			t.Errorf("%+v takes %d bytes, reserved were %d", e, size, encodedSizeMax(e))
		}
	}
}

// Offsets to commit have one spelling.
func TestOffsetRunsAreStrict(t *testing.T) {
	one := []GroupOffset{{Partition: partitionOf(1, 0), Offset: 5, Metadata: "a"}}
	run := appendOffsets(nil, one)[1:] // without the count of runs
	for name, test := range map[string]struct {
		b  []byte
		ok bool
	}{
		"one run":            {append([]byte{1}, run...), true},
		"a run in two":       {append(append([]byte{2}, run...), run...), false},
		"an empty run":       {append(append([]byte{1}, run[:16]...), 0, 0, 0, 0), false},
		"fewer than counted": {append([]byte{2}, run...), false},
		"many that are not":  {append([]byte{0xff, 0xff, 0xff, 0xff, 0xf}, run...), false},
	} {
		r := &wireReader{b: test.b}
		if got := r.offsets(); (r.err == nil) != test.ok || test.ok && !reflect.DeepEqual(got, one) {
			t.Errorf("%s: %+v, %v", name, got, r.err)
		}
	}
}

// TestLargestGroupEditsFit: what the limits allow fits into one journal entry.
func TestLargestGroupEditsFit(t *testing.T) {
	long := strings.Repeat("n", TopicNameLenMax)
	join := JoinGroup{Group: long, Member: long, ClientID: strings.Repeat("c", TokenLenMax), SessionTimeoutMs: SessionTimeoutMsMax}
	for i := range GroupTopicsMax {
		join.Topics = append(join.Topics, fmt.Sprintf("%0*d", TopicNameLenMax, i))
	}
	commit := CommitOffsets{Group: long, Member: long, Epoch: math.MaxInt64, After: math.MaxInt64}
	for i := range CommitOffsetsMax {
		commit.Offsets = append(commit.Offsets, GroupOffset{
			Partition: TopicPartition{Topic: TopicID{1, byte(i >> 8), byte(i)}, Partition: TopicPartitionsMax}, Offset: math.MaxInt64,
			Metadata: strings.Repeat("m", CommitMetadataBytesMax/CommitOffsetsMax),
		})
	}
	if !join.valid() || !commit.valid() {
		t.Fatal("they are not valid")
	}
	for _, e := range []Edit{join, commit} {
		size, bound := len(AppendEdits(nil, []Edit{e}, []Result{{Err: &CommitOffsetError{Index: CommitOffsetsMax, End: math.MaxInt64}}})), encodedSizeMax(e)
		if size > bound || bound > entryPayloadMax {
			t.Errorf("%T takes %d bytes, reserved are %d of %d", e, size, bound, entryPayloadMax)
		}
	}
	commit.Offsets[0].Metadata = strings.Repeat("m", OffsetMetadataLenMax)
	if commit.Offsets[0].Metadata += "m"; commit.valid() {
		t.Error("metadata may be longer than OffsetMetadataLenMax")
	}
}

// sampleCompactionEdits returns what came with feature level 4.
func sampleCompactionEdits() ([]Edit, []Result) {
	object := NewObject{ID: objectID(1_700_000_000_000), Kind: SegmentObject, Size: 512 << 20, IndexPos: 512<<20 - 4096, IndexCRC: 0xdeadbeef}
	job := JobID{1, 15: 2}
	compact := Compact{Topic: topicID(1), Job: job, Object: object, Partitions: []CompactedPartition{
		{Partition: 0, Base: 70_000, Replaced: ExtentsDigest{7, 15: 8}, Extents: []CompactedExtent{
			{Pos: 0, Len: 64 << 20, CRC: 0xdeadbeef, Records: 60_000, Replaces: 512}, {Pos: 64 << 20, Len: 1 << 19, CRC: 0x1234, Records: 500, Replaces: 8},
		}},
		{Partition: 3, Base: 0, Replaced: ExtentsDigest{9}, Extents: []CompactedExtent{{Pos: 64<<20 + 1<<19, Len: 100, CRC: 0x12345678, Records: 1, Replaces: 1}}},
		{Partition: 300, Base: math.MaxInt64, Extents: []CompactedExtent{{Pos: 10, Len: 1, Records: math.MaxInt32, Replaces: math.MaxInt32}}},
	}}
	return []Edit{
			ClaimCompaction{Topic: topicID(1), Job: job, ForMs: 300_000}, ClaimCompaction{Topic: topicID(1), Job: job, ForMs: 300_000},
			ClaimCompaction{Topic: topicID(1), Job: JobID{5}, ForMs: 300_000}, ClaimCompaction{Topic: topicID(1), Job: job},
			compact, compact, Compact{Topic: topicID(2), Job: job, Object: object},
		}, []Result{
			{Created: true}, {}, {Err: ErrCompactionClaimed}, {},
			{Units: []UnitResult{{}, {Err: ErrExtentsChanged}, {Err: ErrPartitionNotFound}}}, {Err: ErrObjectExists}, {Err: invalid(InvalidCompaction)},
		}
}

func TestCompactionEditsGolden(t *testing.T) {
	edits, results := sampleCompactionEdits()
	payload := AppendEdits(nil, edits, results)
	golden(t, "compaction_edits.golden", payload)
	gotEdits, gotResults, err := DecodeEdits(payload)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(gotEdits, edits) || !reflect.DeepEqual(gotResults, results) {
		t.Errorf("got %+v, %+v; want %+v, %+v", gotEdits, gotResults, edits, results)
	}
	for i, e := range edits {
		if levelOf(e) != 4 {
			t.Errorf("%T is of level %d", e, levelOf(e))
		}
		if size := len(AppendEdits(nil, edits[i:i+1], results[i:i+1])); size > encodedSizeMax(e) {
			t.Errorf("%+v takes %d bytes, reserved were %d", e, size, encodedSizeMax(e))
		}
	}
}

// TestLargestCompactFits: what the limits allow fits into one journal entry.
func TestLargestCompactFits(t *testing.T) {
	e := Compact{Object: NewObject{Kind: SegmentObject, Size: math.MaxInt64, IndexPos: math.MaxInt64, IndexCRC: math.MaxUint32}}
	for i := range TopicPartitionsMax {
		p := CompactedPartition{Partition: int32(i), Base: math.MaxInt64}
		for range CompactExtentsMax / TopicPartitionsMax {
			p.Extents = append(p.Extents, CompactedExtent{Pos: math.MaxInt64 * Pos(i%2), Len: math.MaxInt64, CRC: 1, Records: math.MaxInt32, Replaces: math.MaxInt32})
		}
		e.Partitions = append(e.Partitions, p)
	}
	units := make([]UnitResult, len(e.Partitions))
	for i := range units {
		units[i].Err = invalid(InvalidCompaction)
	}
	size, bound := len(AppendEdits(nil, []Edit{e}, []Result{{Units: units}})), encodedSizeMax(e)
	if size > bound || bound > entryPayloadMax {
		t.Errorf("it takes %d bytes, reserved are %d of %d", size, bound, entryPayloadMax)
	}
}

// Every error that Apply can state survives the journal.
func TestErrorsRoundTrip(t *testing.T) {
	errs := append([]error(nil), sentinels[codeTopicNotFound:]...)
	errs = append(errs, &CommitOrderError{Last: math.MaxUint64}, &SequenceError{Expected: math.MaxInt32}, &OffsetError{End: math.MaxInt64}, &FeatureLevelError{Needed: 2, Level: 1}, &FenceError{}, &FenceError{Token: "a"})
	errs = append(errs, &RebalanceError{Epoch: math.MaxInt64}, &CommitOffsetError{Index: math.MaxInt32, End: math.MaxInt64},
		&CommitPartitionError{Index: 1, Err: ErrTopicNotFound}, &CommitPartitionError{Index: 0, Err: ErrPartitionNotFound})
	for reason := InvalidReason(1); reason < invalidReasonEnd; reason++ {
		errs = append(errs, invalid(reason))
		if reason.String() == "" {
			t.Errorf("reason %d has no name", reason)
		}
	}
	for _, want := range errs {
		payload := AppendEdits(nil, []Edit{Expire{}}, []Result{{Err: want}})
		_, results, err := DecodeEdits(payload)
		if err != nil || !reflect.DeepEqual(results[0].Err, want) {
			t.Errorf("%v came back as %v, %v", want, results, err)
		}
	}
}

func TestNoEditsAreNoBytes(t *testing.T) {
	if b := AppendEdits(nil, nil, nil); len(b) != 0 {
		t.Errorf("%x", b)
	}
	edits, results, err := DecodeEdits(nil)
	if len(edits) != 0 || len(results) != 0 || err != nil {
		t.Error(edits, results, err)
	}
}

func TestDecodeEditsIsStrict(t *testing.T) {
	edits, results := sampleEdits()
	payload := AppendEdits(nil, edits, results)
	var corrupt *CorruptError
	for i := 1; i < len(payload); i++ {
		if _, _, err := DecodeEdits(payload[:i]); !errors.As(err, &corrupt) && !errors.Is(err, ErrNewerEdit) {
			t.Fatalf("cut to %d of %d bytes: %v", i, len(payload), err)
		}
	}
	for name, b := range map[string][]byte{
		"trailing byte":              append(bytes.Clone(payload), 0),
		"count of none":              {0},
		"count of too many":          {3, kindExpire, 0, kindExpire, 0},
		"count of very many":         {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		"long form of count":         {0x81, 0, kindExpire, 0},
		"count over 64 bits":         {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 1},
		"kind 0":                     {1, 0, 0},
		"unknown flag":               {1, kindExpire, 0x80},
		"producer 0 spelled out":     {1, kindAllocateProducerID, resultHasProducer, 0},
		"log start 0 spelled out":    {1, kindExpire, resultHasLogStart, 0},
		"units of what has none":     {1, kindExpire, resultHasUnits, 0},
		"unknown error":              {1, kindExpire, resultHasErr, 63},
		"accepted as an error":       {1, kindExpire, resultHasErr, codeAccepted},
		"unknown reason":             {1, kindExpire, resultHasErr, codeInvalid, byte(invalidReasonEnd)},
		"bool of 2":                  append(append([]byte{1, kindRegisterNode}, make([]byte, 16)...), 2, 0),
		"name longer than the input": append(append([]byte{1, kindCreateTopic}, make([]byte, 16)...), 0xff, 0xff, 0xff, 0xff, 0xf),
	} {
		if _, _, err := DecodeEdits(b); !errors.As(err, &corrupt) || errors.Is(err, ErrNewerEdit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for kind := kindEnd; kind < 256; kind++ {
		if _, _, err := DecodeEdits([]byte{1, byte(kind), 0, 0}); !errors.Is(err, ErrNewerEdit) {
			t.Fatalf("kind %d: %v", kind, err)
		}
	}
}

// A count costs no memory before the items it counts are there.
func TestDecodeEditsAllocatesWithMeasure(t *testing.T) {
	commit := CommitSegment{Node: nodeID(1), Upto: 1, Object: NewObject{Kind: SegmentObject}}
	head := AppendEdits(nil, []Edit{commit}, []Result{{}})
	head = head[:len(head)-2] // without the count of units and the result
	hostile := append(bytes.Clone(head), 0xff, 0xff, 0xff, 0xff, 0xf)
	for name, b := range map[string][]byte{"units": hostile, "edits": {0xff, 0xff, 0xff, 0xff, 0xf, 1, 1}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := DecodeEdits(b)
		runtime.ReadMemStats(&after)
		if err == nil || after.TotalAlloc-before.TotalAlloc > 64<<10 {
			t.Errorf("%s: %v after %d bytes", name, err, after.TotalAlloc-before.TotalAlloc)
		}
	}
}

// A commit of many small appends leaves room for others in a slot of 4 MiB.
func TestCommitsAreCompact(t *testing.T) {
	for _, test := range []struct{ appends, partitions, topics, perUnit, most int }{
		{1000, 1000, 1, 1, 25_000},
		{1000, 1000, 10, 1, 25_000},
		{1000, 8, 1, 1, 20_000},
		{1000, 8, 1, 1000, 18_000},
		{8, 8, 1, 8, 320},
	} {
		c := CommitSegment{Node: nodeID(1), After: 1 << 20, Upto: 1<<20 + 1000, Object: NewObject{ID: objectID(1_700_000_000_000), Kind: SegmentObject, Size: 8 << 20, IndexPos: 8 << 20}}
		result := Result{}
		var appends []Append
		var landed []AppendResult
		pos := Pos(0)
		for i := range test.appends {
			a := records(0, int32(100+i%50)).at(pos)
			p := i * test.partitions / test.appends
			a.Partition = partitionOf(1+p%test.topics, p)
			a.CRC = 0xffffffff - uint32(i)
			a.Len = int64(8<<20/test.appends - i%7)
			a.MaxTimestamp = 1_700_000_000_000 + int64(i*37%1000)
			pos += Pos(a.Len)
			appends = append(appends, a)
			landed = append(landed, AppendResult{Base: 3_000_000_000 + Offset(i)})
			if len(appends) == test.perUnit {
				c.Units = append(c.Units, unit(appends...))
				result.Units = append(result.Units, UnitResult{Appends: landed})
				appends, landed = nil, nil
			}
		}
		payload := AppendEdits(nil, []Edit{c}, []Result{result})
		t.Logf("%+v: %d bytes", test, len(payload))
		if len(payload) > test.most {
			t.Errorf("%+v: %d bytes", test, len(payload))
		}
		if most := encodedSizeMax(c); len(payload) > most {
			t.Errorf("%+v: %d bytes, reserved were %d", test, len(payload), most)
		}
	}
}

// drawEdit returns any edit, sensible or not, with a result that fits it.
func drawEdit(t *rapid.T) (Edit, Result) {
	id := func(label string) [16]byte {
		return [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label))
	}
	config := func() TopicConfig {
		return TopicConfig{
			RetentionMs:          rapid.Int64().Draw(t, "retention.ms"),
			RetentionBytes:       rapid.Int64().Draw(t, "retention.bytes"),
			MaxMessageBytes:      rapid.Int32().Draw(t, "max.message.bytes"),
			CompressionType:      CompressionType(rapid.Byte().Draw(t, "compression.type")),
			MessageTimestampType: TimestampType(rapid.Byte().Draw(t, "message.timestamp.type")),
		}
	}
	partition := func() TopicPartition {
		return TopicPartition{
			Topic:     topicID(rapid.IntRange(0, 3).Draw(t, "topic")),
			Partition: rapid.OneOf(rapid.Int32Range(0, 3), rapid.Int32()).Draw(t, "partition"),
		}
	}
	anyError := func() error {
		switch kind := rapid.IntRange(codeTopicNotFound, codeSentinelEnd+8).Draw(t, "error"); kind {
		case codeSentinelEnd:
			return &CommitOrderError{Last: rapid.Uint64().Draw(t, "last")}
		case codeSentinelEnd + 1:
			return &SequenceError{Expected: rapid.Int32().Draw(t, "expected")}
		case codeSentinelEnd + 2:
			return &OffsetError{End: Offset(rapid.Int64().Draw(t, "end"))}
		case codeSentinelEnd + 3:
			return invalid(InvalidReason(rapid.IntRange(1, int(invalidReasonEnd)-1).Draw(t, "reason")))
		case codeSentinelEnd + 4:
			return &FeatureLevelError{Needed: rapid.Uint32().Draw(t, "needed"), Level: rapid.Uint32().Draw(t, "level")}
		case codeSentinelEnd + 5:
			return &FenceError{Token: rapid.String().Draw(t, "actual token")}
		case codeSentinelEnd + 6:
			return &RebalanceError{Epoch: rapid.Int64().Draw(t, "newest epoch")}
		case codeSentinelEnd + 7:
			return &CommitOffsetError{Index: int(rapid.Int32Min(0).Draw(t, "index")), End: Offset(rapid.Int64().Draw(t, "end"))}
		case codeSentinelEnd + 8:
			missing := rapid.SampledFrom([]error{ErrTopicNotFound, ErrPartitionNotFound}).Draw(t, "missing")
			return &CommitPartitionError{Index: int(rapid.Int32Min(0).Draw(t, "index")), Err: missing}
		default:
			return sentinels[kind]
		}
	}
	result := Result{}
	if rapid.Bool().Draw(t, "refused") {
		result.Err = anyError()
	}
	switch rapid.IntRange(kindCreateTopic, kindEnd-1).Draw(t, "kind") {
	case kindCreateTopic:
		result.Topic, result.Created = id("result"), rapid.Bool().Draw(t, "created")
		return CreateTopic{ID: id("id"), Name: rapid.String().Draw(t, "name"), Partitions: rapid.Int32().Draw(t, "partitions"), Config: config()}, result
	case kindAlterTopic:
		return AlterTopic{ID: id("id"), Partitions: rapid.Int32().Draw(t, "partitions"), Config: config()}, result
	case kindDeleteTopic:
		return DeleteTopic{ID: id("id")}, result
	case kindRegisterNode:
		return RegisterNode{Node: id("id"), HasWAL: rapid.Bool().Draw(t, "wal")}, result
	case kindRemoveNode:
		return RemoveNode{Node: id("id")}, result
	case kindAllocateProducerID:
		result.Producer = rapid.Int64().Draw(t, "producer")
		return AllocateProducerID{}, result
	case kindTrim:
		result.LogStart = Offset(rapid.Int64().Draw(t, "start"))
		return Trim{Partition: partition(), Before: Offset(rapid.Int64().Draw(t, "before"))}, result
	case kindExpire:
		result.More = rapid.Bool().Draw(t, "more")
		return Expire{}, result
	case kindRaiseEpoch:
		result.Producer, result.Epoch = rapid.Int64().Draw(t, "producer"), rapid.Int64().Draw(t, "epoch")
		return RaiseEpoch{Producer: rapid.Int64().Draw(t, "raised")}, result
	case kindSetFence:
		return SetFence{
			Partition: partition(), Token: rapid.String().Draw(t, "token"),
			Conditional: rapid.Bool().Draw(t, "conditional"), Expected: rapid.String().Draw(t, "expected token"),
		}, result
	case kindRaiseLevel:
		return RaiseLevel{Level: rapid.Uint32().Draw(t, "level")}, result
	case kindKeepNode:
		return KeepNode{Node: id("id"), HasWAL: rapid.Bool().Draw(t, "wal")}, result
	case kindJoinGroup:
		result.Epoch, result.Created = rapid.Int64().Draw(t, "epoch"), rapid.Bool().Draw(t, "created")
		e := JoinGroup{
			Group: rapid.String().Draw(t, "group"), Member: rapid.String().Draw(t, "member"), ClientID: rapid.String().Draw(t, "client id"),
			Strategy: Strategy(rapid.Byte().Draw(t, "strategy")), SessionTimeoutMs: rapid.Int32().Draw(t, "timeout"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "topics") {
			e.Topics = append(e.Topics, rapid.String().Draw(t, "topic"))
		}
		return e, result
	case kindClaimCompaction:
		result.Created = rapid.Bool().Draw(t, "created")
		return ClaimCompaction{Topic: id("topic"), Job: id("job"), ForMs: rapid.Int64().Draw(t, "for")}, result
	case kindCompact:
		e := Compact{Topic: id("topic"), Job: id("job"), Object: NewObject{
			ID: id("object"), Kind: ObjectKind(rapid.Byte().Draw(t, "kind of object")), Size: rapid.Int64().Draw(t, "size"),
			IndexPos: Pos(rapid.Int64().Draw(t, "index pos")), IndexCRC: rapid.Uint32().Draw(t, "index crc"),
		}}
		for range rapid.IntRange(0, 3).Draw(t, "partitions") {
			p := CompactedPartition{Partition: rapid.Int32().Draw(t, "partition"), Base: Offset(rapid.Int64().Draw(t, "base")), Replaced: id("digest")}
			for range rapid.IntRange(0, 3).Draw(t, "extents") {
				p.Extents = append(p.Extents, CompactedExtent{
					Pos: Pos(rapid.Int64().Draw(t, "pos")), Len: rapid.Int64().Draw(t, "len"), CRC: rapid.Uint32().Draw(t, "crc"),
					Records: rapid.Int32().Draw(t, "records"), Replaces: rapid.Int32().Draw(t, "replaces"),
				})
			}
			e.Partitions = append(e.Partitions, p)
			u := UnitResult{}
			if rapid.Bool().Draw(t, "kept") {
				u.Err = anyError()
			}
			if result.Err == nil {
				result.Units = append(result.Units, u)
			}
		}
		return e, result
	case kindSyncMember:
		return SyncMember{Group: rapid.String().Draw(t, "group"), Member: rapid.String().Draw(t, "member"), Epoch: rapid.Int64().Draw(t, "epoch")}, result
	case kindKeepMember:
		return KeepMember{Group: rapid.String().Draw(t, "group"), Member: rapid.String().Draw(t, "member"), Epoch: rapid.Int64().Draw(t, "epoch")}, result
	case kindRemoveMember:
		return RemoveMember{Group: rapid.String().Draw(t, "group"), Member: rapid.String().Draw(t, "member"), Epoch: rapid.Int64().Draw(t, "epoch")}, result
	case kindCommitOffsets:
		e := CommitOffsets{Group: rapid.String().Draw(t, "group"), Member: rapid.String().Draw(t, "member"), Epoch: rapid.Int64().Draw(t, "epoch"), After: rapid.Int64().Draw(t, "after")}
		for range rapid.IntRange(0, 5).Draw(t, "offsets") {
			e.Offsets = append(e.Offsets, GroupOffset{
				Partition: partition(), Offset: Offset(rapid.Int64().Draw(t, "offset")), Metadata: rapid.String().Draw(t, "metadata"),
			})
		}
		return e, result
	case kindDeleteGroup:
		return DeleteGroup{Group: rapid.String().Draw(t, "group")}, result
	case kindRetain:
		return Retain{Topic: id("topic")}, result
	case kindDropGarbage:
		e := DropGarbage{}
		for range rapid.IntRange(0, 5).Draw(t, "objects") {
			e.Objects = append(e.Objects, ObjectID(id("object")))
		}
		return e, result
	case kindRaiseOrphanFloor:
		return RaiseOrphanFloor{After: rapid.Uint64().Draw(t, "after"), Floor: rapid.Uint64().Draw(t, "floor")}, result
	case kindForwarded:
		return Forwarded{
			Session: Session(id("session")), Seq: rapid.Uint64().Draw(t, "seq"),
			First: rapid.Uint32().Draw(t, "first"), Count: rapid.Uint32().Draw(t, "count"),
		}, result
	}
	c := CommitSegment{
		Node: id("node"), After: rapid.Uint64().Draw(t, "after"), Upto: rapid.Uint64().Draw(t, "upto"),
		Object: NewObject{
			ID: id("object"), Kind: ObjectKind(rapid.Byte().Draw(t, "object kind")), Size: rapid.Int64().Draw(t, "size"),
			IndexPos: Pos(rapid.Int64().Draw(t, "index")), IndexCRC: rapid.Uint32().Draw(t, "crc"),
		},
	}
	for range rapid.IntRange(0, 4).Draw(t, "units") {
		u, r := Unit{Key: drawKey(t)}, UnitResult{}
		if rapid.Bool().Draw(t, "rejected") {
			r.Err = anyError()
		} else {
			r.Replayed = rapid.Bool().Draw(t, "replayed")
		}
		for range rapid.IntRange(0, 4).Draw(t, "appends") {
			a := Append{
				Partition:    partition(),
				Pos:          Pos(rapid.Int64().Draw(t, "pos")),
				Len:          rapid.Int64().Draw(t, "len"),
				CRC:          rapid.Uint32().Draw(t, "crc"),
				Records:      rapid.Int32().Draw(t, "records"),
				MaxTimestamp: rapid.Int64().Draw(t, "time"),
				Expected:     Offset(rapid.OneOf(rapid.Just(int64(AnyOffset)), rapid.Int64()).Draw(t, "expected")),
				Producer:     recordbatch.NoProducer,
				Token:        rapid.SampledFrom([]string{"", "", "a"}).Draw(t, "append token"),
			}
			if rapid.Bool().Draw(t, "continues") && len(u.Appends) > 0 {
				before := u.Appends[len(u.Appends)-1]
				a.Pos = before.Pos + Pos(before.Len)
			}
			if producer := rapid.Int64Range(-2, 5).Draw(t, "producer"); producer != -1 {
				a.Producer = recordbatch.Producer{ID: producer, Epoch: rapid.Int16().Draw(t, "epoch"), BaseSequence: rapid.Int32().Draw(t, "sequence")}
			}
			u.Appends = append(u.Appends, a)
			if r.Err == nil && !r.Replayed {
				r.Appends = append(r.Appends, AppendResult{Base: Offset(rapid.Int64().Draw(t, "base")), Duplicate: rapid.Bool().Draw(t, "duplicate")})
			}
		}
		c.Units = append(c.Units, u)
		if result.Err == nil {
			result.Units = append(result.Units, r)
		}
	}
	return c, result
}

func TestEditsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var edits []Edit
		var results []Result
		for range rapid.IntRange(1, 5).Draw(t, "edits") {
			e, r := drawEdit(t)
			edits, results = append(edits, e), append(results, r)
		}
		payload := AppendEdits(nil, edits, results)
		gotEdits, gotResults, err := DecodeEdits(payload)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(gotEdits, edits) || !reflect.DeepEqual(gotResults, results) {
			t.Fatalf("got %+v %+v\nwant %+v %+v", gotEdits, gotResults, edits, results)
		}
		for i := range results {
			if !ResultsEqual(results[i], gotResults[i]) {
				t.Fatalf("%+v differs from %+v", results[i], gotResults[i])
			}
		}
	})
}

func TestResultsEqual(t *testing.T) {
	accepted := func(appends ...AppendResult) Result { return Result{Units: []UnitResult{{Appends: appends}}} }
	different := []Result{
		{},
		{Err: ErrTopicNotFound},
		{Err: ErrPartitionNotFound},
		{Err: &SequenceError{Expected: 1}},
		{Err: &SequenceError{Expected: 2}},
		{Err: &OffsetError{End: 1}},
		{Err: &CommitOrderError{Last: 1}},
		{Err: invalid(InvalidTopicID)},
		{Err: invalid(InvalidTopicName)},
		{Topic: topicID(1)},
		{Topic: topicID(1), Created: true},
		{Topic: topicID(2)},
		{Producer: 1},
		{Epoch: 1},
		{Epoch: 2},
		{Epoch: 2, Created: true},
		{Err: &RebalanceError{Epoch: 1}},
		{Err: &CommitOffsetError{Index: 1, End: 2}},
		{Err: &CommitOffsetError{Index: 2, End: 1}},
		{Err: &CommitPartitionError{Index: 1, Err: ErrTopicNotFound}},
		{Err: &CommitPartitionError{Index: 1, Err: ErrPartitionNotFound}},
		{LogStart: 1},
		{More: true},
		accepted(),
		accepted(AppendResult{Base: 1}),
		accepted(AppendResult{Base: 1, Duplicate: true}),
		accepted(AppendResult{Base: 2}),
		accepted(AppendResult{Base: 1}, AppendResult{Base: 2}),
		{Units: []UnitResult{{}, {}}},
		{Units: []UnitResult{{Err: ErrTopicNotFound}}},
		{Units: []UnitResult{{Err: ErrTopicNotFound}, {}}},
		{Units: []UnitResult{{}, {Err: ErrTopicNotFound}}},
	}
	for i, a := range different {
		for j, b := range different {
			if ResultsEqual(a, b) != (i == j) {
				t.Errorf("ResultsEqual(%+v, %+v) is %v", a, b, i != j)
			}
		}
	}
	wrapped := Result{Units: []UnitResult{{Appends: []AppendResult{}}}}
	if !ResultsEqual(accepted(), wrapped) {
		t.Error("nil and empty differ")
	}
}

// What DecodeEdits accepts encodes to the same bytes.
func FuzzDecodeEdits(f *testing.F) {
	for _, sample := range []func() ([]Edit, []Result){sampleEdits, sampleKeyedEdits, sampleGroupEdits, sampleCompactionEdits} {
		edits, results := sample()
		f.Add(AppendEdits(nil, edits, results))
		for i := range edits {
			f.Add(AppendEdits(nil, edits[i:i+1], results[i:i+1]))
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		edits, results, err := DecodeEdits(payload)
		if err != nil {
			return
		}
		if again := AppendEdits(nil, edits, results); !bytes.Equal(again, payload) {
			t.Fatalf("%x encodes to %x", payload, again)
		}
		// Whatever a journal may hold, Apply does not panic, and what it does
		// breaks no invariant.
		s := NewState([16]byte{1})
		Apply(s, RaiseLevel{Level: FeatureLevel})
		Apply(s, RegisterNode{Node: nodeID(1)})
		Apply(s, createTopic(1, "rivers", 4))
		for _, e := range edits {
			Apply(s, e)
			if err := CheckTouched(s, e); err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
		}
		if err := CheckAll(s); err != nil {
			t.Fatal(err)
		}
	})
}

func ExampleDecodeEdits() {
	payload := AppendEdits(nil, []Edit{AllocateProducerID{}}, []Result{{Producer: 7}})
	edits, results, err := DecodeEdits(payload)
	fmt.Printf("%T %d %v\n", edits[0], results[0].Producer, err)
	// Output: catalog.AllocateProducerID 7 <nil>
}
