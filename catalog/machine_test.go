package catalog

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// machine drives a State, a replica that gets every edit as the journal holds
// it, and the model with the same random edits.
type machine struct {
	state   *State
	replica *State
	model   *model
	objects int
	sent    []CommitSegment
	swaps   []Compact
	past    []pastView
}

// pastView is a view that was published, and what it looked like then.
type pastView struct {
	view    *State
	encoded []byte
}

func (m *machine) apply(t *rapid.T, e Edit) {
	before := m.state.Clone()
	got := Apply(m.state, e)
	if want := m.model.apply(e, m.state); !ResultsEqual(got, want) {
		t.Fatalf("%+v: got %+v, want %+v", e, got, want)
	}
	if err := CheckStep(before, m.state, e); err != nil {
		t.Fatalf("%+v: %v", e, err)
	}
	edits, results, err := DecodeEdits(AppendEdits(nil, []Edit{e}, []Result{got}))
	if err != nil {
		t.Fatal(err)
	}
	if own := Apply(m.replica, edits[0]); !ResultsEqual(own, results[0]) {
		t.Fatalf("%+v: the journal says %+v, the replica %+v", e, results[0], own)
	}
}

func (m *machine) encode(t *rapid.T, s *State) (b []byte) {
	if err := s.Encode(func(chunk []byte) error { b = append(b, chunk...); return nil }); err != nil {
		t.Fatal(err)
	}
	return b
}

func drawTopic(t *rapid.T) TopicID { return topicID(rapid.IntRange(0, 3).Draw(t, "topic")) }

// drawPartition mostly returns a partition that is there.
func (m *machine) drawPartition(t *rapid.T) TopicPartition {
	if len(m.model.partitions) > 0 && rapid.IntRange(0, 19).Draw(t, "known") > 0 {
		known := slices.SortedFunc(maps.Keys(m.model.partitions), TopicPartition.compare)
		return rapid.SampledFrom(known).Draw(t, "partition")
	}
	return TopicPartition{Topic: drawTopic(t), Partition: rapid.Int32Range(0, 3).Draw(t, "partition")}
}

func drawToken(t *rapid.T) string { return rapid.SampledFrom([]string{"a", "b"}).Draw(t, "token") }

func drawKey(t *rapid.T) (k RequestKey) {
	if rapid.IntRange(0, 2).Draw(t, "keyed") == 0 {
		k = RequestKey{ID: [16]byte{byte(rapid.IntRange(1, 4).Draw(t, "key"))}, Request: [16]byte{byte(rapid.IntRange(0, 1).Draw(t, "request"))}}
	}
	return k
}

func drawConfig(t *rapid.T) TopicConfig {
	config := DefaultTopicConfig()
	config.RetentionMs = rapid.OneOf(rapid.Just[int64](Unlimited), rapid.Int64Range(0, 5000)).Draw(t, "retention.ms")
	config.RetentionBytes = rapid.OneOf(rapid.Just[int64](Unlimited), rapid.Int64Range(0, 5000)).Draw(t, "retention.bytes")
	return config
}

func (m *machine) drawAppend(t *rapid.T, pos *Pos) Append {
	tp := m.drawPartition(t)
	if rapid.IntRange(0, 3).Draw(t, "gap") == 0 {
		*pos += Pos(rapid.Int64Range(1, 1000).Draw(t, "gap bytes"))
	}
	a := Append{
		Partition:    tp,
		Pos:          *pos,
		Len:          rapid.OneOf(rapid.Int64Range(1, 1000), rapid.Int64Range(1, 1<<20+1)).Draw(t, "len"),
		CRC:          rapid.Uint32().Draw(t, "crc"),
		Records:      rapid.Int32Range(1, 4).Draw(t, "records"),
		MaxTimestamp: rapid.Int64Range(0, 1000).Draw(t, "timestamp"),
		Expected:     AnyOffset,
		Producer:     recordbatch.NoProducer,
	}
	*pos += Pos(a.Len)
	end := m.model.partitions[tp].end()
	if rapid.IntRange(0, 9).Draw(t, "conditional") == 0 {
		a.Expected = max(0, end+Offset(rapid.Int64Range(-1, 1).Draw(t, "expected")))
	}
	if rapid.IntRange(0, 2).Draw(t, "idempotent") == 0 {
		m.drawProducer(t, &a)
	}
	if rapid.IntRange(0, 9).Draw(t, "fenced") == 0 {
		a.Token = drawToken(t)
	}
	return a
}

// drawProducer makes a the next batch of a producer, a repeat, or something else.
func (m *machine) drawProducer(t *rapid.T, a *Append) {
	id := max(1, m.model.nextProducer-rapid.Int64Range(0, 30).Draw(t, "producer")%4)
	a.Producer = recordbatch.Producer{ID: id}
	sent := m.model.partitions[a.Partition].batches(id)
	if len(sent) == 0 {
		a.Producer.BaseSequence = rapid.SampledFrom([]int32{0, 0, 0, 0, 0, 1}).Draw(t, "sequence")
		return
	}
	last := sent[len(sent)-1]
	a.Producer = last.producer
	switch rapid.IntRange(0, 9).Draw(t, "batch") {
	case 0: // a repeat
		again := sent[max(0, len(sent)-1-rapid.IntRange(0, 6).Draw(t, "ago"))]
		a.Producer, a.Records = again.producer, again.Records
	case 1:
		a.Producer.Epoch = max(0, a.Producer.Epoch+rapid.Int16Range(-1, 2).Draw(t, "epoch"))
		a.Producer.BaseSequence = 0
	case 2:
		a.Producer.BaseSequence = rapid.Int32Range(0, 20).Draw(t, "sequence")
	default: // the next
		a.Producer.BaseSequence += last.Records
	}
}

func (m *machine) drawCommit(t *rapid.T) CommitSegment {
	if len(m.sent) > 0 && rapid.IntRange(0, 9).Draw(t, "repeat") == 0 {
		return rapid.SampledFrom(m.sent).Draw(t, "commit")
	}
	m.objects++
	c := CommitSegment{
		Node:   nodeID(rapid.IntRange(1, 2).Draw(t, "node")),
		Object: NewObject{ID: objectID(m.objects), Kind: SegmentObject, Size: 1 << 40, IndexCRC: rapid.Uint32().Draw(t, "index crc")},
	}
	c.After = m.model.nodes[c.Node].Last
	switch rapid.IntRange(0, 19).Draw(t, "odd") {
	case 0:
		c.After++
	case 1:
		c.Object.ID = objectID(rapid.IntRange(1, m.objects).Draw(t, "object"))
	}
	c.Upto = c.After + rapid.Uint64Range(1, 3).Draw(t, "numbers")
	pos := Pos(0)
	for range rapid.IntRange(0, 4).Draw(t, "units") {
		u := Unit{Key: drawKey(t)}
		for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "appends") {
			a := m.drawAppend(t, &pos)
			if n := len(u.Appends); n > 0 && rapid.Bool().Draw(t, "same partition") {
				a.Partition = u.Appends[n-1].Partition
			}
			u.Appends = append(u.Appends, a)
		}
		c.Units = append(c.Units, u)
	}
	m.sent = append(m.sent, c)
	return c
}

// burst commits one batch after the other of one producer to one partition, so
// many that the state forgets the first, or puts them into another chunk.
func (m *machine) burst(t *rapid.T, commits int) {
	tp := m.drawPartition(t)
	producer := recordbatch.Producer{ID: m.model.nextProducer}
	m.apply(t, AllocateProducerID{})
	for range commits {
		m.objects++
		last := m.model.nodes[nodeID(1)].Last
		m.apply(t, CommitSegment{
			Node: nodeID(1), After: last, Upto: last + 1,
			Object: NewObject{ID: objectID(m.objects), Kind: SegmentObject, Size: 1000},
			Units: []Unit{unit(Append{
				Partition: tp, Len: 1000, Records: 3, MaxTimestamp: int64(m.objects), Expected: AnyOffset, Producer: producer,
			})},
		})
		producer.BaseSequence += 3
	}
}

// Random edits on the State, on a replica and on the model come out the same,
// and views, snapshots and thrown away clones do not disturb that. Red under
// mutant.SkipCommitOrderCheck, mutant.SkipSequenceCheck, mutant.SkipKeyCheck,
// mutant.SkipFenceCheck, mutant.SkipLetGo and mutant.SkipCompactCheck.
func TestStateAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{state: NewState([16]byte{1}), replica: NewState([16]byte{1}), model: newModel()}
		m.apply(t, RaiseLevel{Level: FeatureLevel})
		m.apply(t, RegisterNode{Node: nodeID(1)})
		m.apply(t, RegisterNode{Node: nodeID(2)})
		m.apply(t, createTopic(1, "a", 2))
		m.apply(t, AllocateProducerID{})
		commit := func(t *rapid.T) {
			for range rapid.IntRange(1, 8).Draw(t, "commits") {
				m.apply(t, m.drawCommit(t))
			}
		}
		actions := map[string]func(*rapid.T){
			"commit":      commit,
			"commit more": commit,
			"commit most": commit,
			"burst": func(t *rapid.T) {
				m.burst(t, rapid.SampledFrom([]int{6, 6, 70}).Draw(t, "commits"))
			},
			"create topic": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
				m.apply(t, CreateTopic{ID: drawTopic(t), Name: name, Partitions: rapid.Int32Range(1, 3).Draw(t, "partitions"), Config: drawConfig(t)})
			},
			"alter topic": func(t *rapid.T) {
				m.apply(t, AlterTopic{ID: drawTopic(t), Partitions: rapid.Int32Range(0, 4).Draw(t, "partitions"), Config: drawConfig(t)})
			},
			"delete topic": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
					m.apply(t, DeleteTopic{ID: drawTopic(t)})
				}
			},
			"trim": func(t *rapid.T) {
				tp := m.drawPartition(t)
				end := int64(m.model.partitions[tp].end())
				m.apply(t, Trim{Partition: tp, Before: Offset(rapid.Int64Range(-1, end+1).Draw(t, "before"))})
			},
			"retain": func(t *rapid.T) {
				m.apply(t, Retain{Topic: drawTopic(t)})
			},
			"drop garbage": func(t *rapid.T) {
				due, _ := m.state.DueGarbage(rapid.Int64Range(-1, 5000).Draw(t, "grace"), 0, rapid.IntRange(0, 3).Draw(t, "limit"))
				e := DropGarbage{Objects: []ObjectID{objectID(rapid.IntRange(1, 50).Draw(t, "object"))}} // live, as like as not
				for _, g := range due {
					e.Objects = append(e.Objects, g.ID)
				}
				m.apply(t, e)
			},
			"raise orphan floor": func(t *rapid.T) {
				floor := m.model.orphanFloor
				m.apply(t, RaiseOrphanFloor{
					After: floor + rapid.Uint64Range(0, 1).Draw(t, "after"), Floor: floor + rapid.Uint64Range(0, 2).Draw(t, "by"),
				})
			},
			"register node": func(t *rapid.T) {
				m.apply(t, RegisterNode{Node: nodeID(rapid.IntRange(1, 2).Draw(t, "node")), HasWAL: rapid.Bool().Draw(t, "wal")})
			},
			"remove node": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
					m.apply(t, RemoveNode{Node: nodeID(rapid.IntRange(1, 2).Draw(t, "node"))})
				}
			},
			"allocate producer": func(t *rapid.T) { m.apply(t, AllocateProducerID{}) },
			"expire":            func(t *rapid.T) { m.apply(t, Expire{}) },
			"raise epoch": func(t *rapid.T) {
				m.apply(t, RaiseEpoch{Producer: max(1, m.model.nextProducer-rapid.Int64Range(0, 5).Draw(t, "producer"))})
			},
			"set fence": func(t *rapid.T) {
				e := SetFence{Partition: m.drawPartition(t), Token: rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "new"), Conditional: rapid.Bool().Draw(t, "conditional")}
				if e.Conditional {
					e.Expected = rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "expected")
				}
				m.apply(t, e)
			},
			"keep node": func(t *rapid.T) {
				m.apply(t, KeepNode{Node: nodeID(rapid.IntRange(1, 2).Draw(t, "node")), HasWAL: rapid.Bool().Draw(t, "wal")})
			},
			"forwarded": func(t *rapid.T) { m.apply(t, Forwarded{Seq: 1, Count: 1}) },
			"advance": func(t *rapid.T) {
				by := rapid.SampledFrom([]int64{1, 1000, ProducerExpiryMs / 2, ProducerExpiryMs, ProducerExpiryMs + 1}).Draw(t, "by")
				m.model.time += by
				m.state.Advance(m.model.time)
				m.replica.Advance(m.model.time)
			},
			"publish": func(t *rapid.T) {
				m.past = append(m.past, pastView{m.state, m.encode(t, m.state)})
				m.state = m.state.Clone()
			},
			"speculate": func(t *rapid.T) {
				clone := m.state.Clone()
				Apply(clone, m.drawCommit(t))
				Apply(clone, DeleteTopic{ID: drawTopic(t)})
				m.sent = m.sent[:max(0, len(m.sent)-1)]
			},
			"restart": func(t *rapid.T) {
				encoded := m.encode(t, m.state)
				var d StateDecoder
				cut := rapid.IntRange(0, len(encoded)).Draw(t, "cut")
				if err := d.Write(encoded[:cut]); err != nil {
					t.Fatal(err)
				}
				if err := d.Write(encoded[cut:]); err != nil {
					t.Fatal(err)
				}
				decoded, err := d.State()
				if err != nil {
					t.Fatal(err)
				}
				m.state = decoded
			},
			"": func(t *rapid.T) {
				if err := CheckAll(m.state); err != nil {
					t.Fatal(err)
				}
				m.model.agrees(t, m.state)
				m.model.groupsAgree(t, m.state)
				if !bytes.Equal(m.encode(t, m.state), m.encode(t, m.replica)) {
					t.Fatal("the replica differs")
				}
				for _, p := range m.past[max(0, len(m.past)-2):] {
					if !bytes.Equal(m.encode(t, p.view), p.encoded) {
						t.Fatal("a published view changed")
					}
				}
			},
		}
		maps.Copy(actions, m.groupActions())
		maps.Copy(actions, m.compactActions())
		t.Repeat(actions)
	})
}
