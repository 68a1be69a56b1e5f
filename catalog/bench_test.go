package catalog

import (
	"errors"
	"fmt"
	"testing"

	"github.com/wadilog/wadi/catalog/journal"
)

// benchState returns a catalog with n partitions in topics of 1000.
func benchState(n int) *State {
	s := NewState([16]byte{1})
	Apply(s, RegisterNode{Node: nodeID(1)})
	for i := range (n + 999) / 1000 {
		Apply(s, createTopic(1+i, fmt.Sprint("topic-", i), 1000))
	}
	return s
}

// benchCommit returns a commit of one unit for each of so many partitions,
// spread over the topics of s.
func benchCommit(s *State, appends int) CommitSegment {
	c := CommitSegment{Node: nodeID(1), Object: NewObject{Kind: SegmentObject, Size: 8 << 20, IndexPos: 8 << 20}}
	topics := s.Counts().Topics
	for i := range appends {
		a := records(0, 100)
		a.Partition = partitionOf(1+i*topics/appends, i%1000)
		a.Pos, a.Len = Pos(i)*8000, 8000
		c.Units = append(c.Units, unit(a))
	}
	return c
}

// next makes c the next commit, of an object of its own.
func (c *CommitSegment) next() {
	c.After = c.Upto
	c.Upto++
	_ = c.Object.ID.SetTime(c.Upto)
}

// A view is published after each commit, as the leader does.
func BenchmarkApplyCommit(b *testing.B) {
	for _, appends := range []int{8, 1000} {
		for _, partitions := range []int{1000, 100_000} {
			b.Run(fmt.Sprintf("appends=%d/partitions=%d", appends, partitions), func(b *testing.B) {
				s := benchState(partitions)
				c := benchCommit(s, appends)
				b.ReportAllocs()
				for b.Loop() {
					s = s.Clone()
					c.next()
					if r := Apply(s, c); r.Err != nil {
						b.Fatal(r.Err)
					}
				}
			})
		}
	}
}

func BenchmarkCheckTouched(b *testing.B) {
	for _, appends := range []int{8, 1000} {
		b.Run(fmt.Sprintf("appends=%d", appends), func(b *testing.B) {
			s := benchState(1000)
			c := benchCommit(s, appends)
			for range 100 {
				c.next()
				Apply(s, c)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := CheckTouched(s, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEditCodec(b *testing.B) {
	for _, appends := range []int{8, 1000} {
		s := benchState(1000)
		c := benchCommit(s, appends)
		c.next()
		edits, results := []Edit{c}, []Result{Apply(s, c)}
		payload := AppendEdits(nil, edits, results)
		b.Run(fmt.Sprintf("encode/appends=%d", appends), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			var dst []byte
			for b.Loop() {
				dst = AppendEdits(dst[:0], edits, results)
			}
		})
		b.Run(fmt.Sprintf("decode/appends=%d", appends), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				if _, _, err := DecodeEdits(payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	s := benchState(100_000)
	c := benchCommit(s, 1000)
	for range 300 {
		c.next()
		Apply(s, c)
	}
	encoded := encodeState(b, s)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(encoded)))
		for b.Loop() {
			if err := s.Encode(func([]byte) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(encoded)))
		for b.Loop() {
			decodeState(b, encoded)
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(encoded)))
		for b.Loop() {
			v := newSnapshotVerifier()
			if err := errors.Join(v.write(encoded), v.verify(journal.SnapshotInfo{Time: s.time, Level: s.level})); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// What is done every few seconds, with many partitions and much garbage of which
// nothing is due.
func BenchmarkLooks(b *testing.B) {
	const many = 100_000
	s := benchState(many)
	limited := *s.Topics("", "", 1)[0]
	limited.Config.RetentionMs = 1 << 40
	for n := range many {
		id := objectID(n)
		s.garbage.add(Garbage{NewObject: NewObject{ID: id, Size: 1}, FreedAt: int64(n)})
	}
	s.time = many
	b.Run("retention", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if s.DueForRetention(&limited, s.time) {
				b.Fatal("due")
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/partition")
	})
	b.Run("garbage", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if due, all := s.DueGarbage(many, many, 1000); len(due) > 0 || all.Objects != many {
				b.Fatal("due")
			}
		}
	})
}

func BenchmarkClone(b *testing.B) {
	s := benchState(100_000)
	b.ReportAllocs()
	for b.Loop() {
		s.Clone()
	}
}

func BenchmarkExtents(b *testing.B) {
	p := &Partition{extents: listOf(1_000_000), end: 1_000_000}
	b.Run("offset", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			p.Extents(Offset(i*7919%1_000_000), 16)
		}
	})
	b.Run("time", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p.ExtentAtTime(999_999)
		}
	})
}
