package rebuild_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// compact uploads a compacted segment of partition 0 that begins at an offset,
// with the batches of the segments given.
func (l *lost) compact(ms uint64, base catalog.Offset, sources ...ulid.ULID) ulid.ULID {
	l.t.Helper()
	id := ulid.MustNew(ms, ulid.DefaultEntropy())
	var body bytes.Buffer
	w := segment.NewWriter(&body, id)
	if err := w.BeginRun(rivers, "rivers", 0, base); err != nil {
		l.t.Fatal(err)
	}
	for _, source := range sources {
		o, err := l.mem.Get(l.t.Context(), segment.Key(source))
		if err != nil {
			l.t.Fatal(err)
		}
		footer, err := segment.DecodeFooter(o.Body[len(o.Body)-segment.FooterLen:])
		if err != nil {
			l.t.Fatal(err)
		}
		for data, err := range recordbatch.Batches(bytes.Clone(o.Body[:footer.IndexPos])) {
			if err != nil {
				l.t.Fatal(err)
			}
			recordbatch.PatchBaseOffset(data, base)
			h, err := recordbatch.ParseHeader(data)
			if err != nil {
				l.t.Fatal(err)
			}
			if err := w.Append(data, h); err != nil {
				l.t.Fatal(err)
			}
			base += catalog.Offset(h.RecordCount)
		}
	}
	if _, err := w.Close(); err != nil {
		l.t.Fatal(err)
	}
	l.mem.Replace(segment.Key(id), body.Bytes())
	return id
}

func (l *lost) remove(ids ...ulid.ULID) {
	for _, id := range ids {
		l.mem.Replace(segment.Key(id), nil)
	}
}

// TestCompactedBesideItsSources: what was compacted is there once, whether its
// sources are deleted, some of them, or not yet.
func TestCompactedBesideItsSources(t *testing.T) {
	for _, deleted := range []int{0, 1, 3} {
		l := newLost(t)
		sources := []ulid.ULID{
			l.put(1000, nodeA, 0, 1, of("a", "b"), of("same")),
			l.put(1001, nodeA, 1, 2, sent(7, 0, 0, "c"), of("same")),
			l.put(1001, nodeA, 2, 3, of("same"), of("d")),
		}
		id := l.compact(1005, 0, sources...)
		l.put(1005, nodeA, 3, 4, of("e"), sent(7, 0, 1, "f"))
		l.put(1009, nodeA, 4, 5, sent(7, 0, 0, "c"), of("g")) // sent again
		l.remove(sources[:deleted]...)
		report, s := l.must()
		if got := l.values(s, rivers, 0); got != "a b same c same same d e f g" {
			t.Errorf("%d deleted: the log holds %s", deleted, got)
		}
		if !s.Known(id) || int(report.LeftOutCount) != 3-deleted {
			t.Errorf("%d deleted: %+v", deleted, report)
		}
		if p := s.Partition(catalog.TopicPartition{Topic: rivers}); p.LogStart() != 0 || p.End() != 10 {
			t.Errorf("%d deleted: the log is [%d, %d)", deleted, p.LogStart(), p.End())
		}
	}
}

// TestCompactedKeepsItsOffsets: what a compacted segment says of offsets holds,
// and flushes fill what is open before it if they fit.
func TestCompactedKeepsItsOffsets(t *testing.T) {
	for _, c := range []struct {
		name        string
		build       func(l *lost)
		want        string
		start, lost int
	}{
		{"expired before", func(l *lost) {
			a := l.put(1000, nodeA, 7, 8, of("a"), of("b"))
			l.compact(1001, 50, a)
			l.remove(a)
			l.put(1002, nodeA, 8, 9, of("c"))
		}, "a b c", 50, 0},
		{"a flush between", func(l *lost) {
			a, b := l.put(1000, nodeA, 0, 1, of("a", "b")), l.put(1000, nodeA, 1, 2, of("c"))
			d := l.put(1000, nodeA, 2, 3, of("d"))
			l.compact(1001, 0, a)
			l.compact(1001, 3, d)
			l.remove(a, d)
			_ = b
		}, "a b c d", 0, 0},
		{"a flush in front", func(l *lost) {
			l.put(1000, nodeA, 0, 1, of("a", "b"))
			c := l.put(1000, nodeA, 1, 2, of("c"))
			l.compact(1001, 2, c)
			l.remove(c)
		}, "a b c", 0, 0},
		{"one of them lost", func(l *lost) {
			a, c := l.put(1000, nodeA, 0, 1, of("a", "b")), l.put(1000, nodeA, 4, 5, of("c"))
			l.compact(1001, 0, a)
			l.compact(1001, 9, c)
			l.remove(a, c)
			l.put(1003, nodeA, 5, 6, of("d"))
		}, "c d", 9, 2},
		{"compacted again", func(l *lost) {
			a, b, c := l.put(1000, nodeA, 0, 1, of("a", "b")), l.put(1000, nodeA, 1, 2, of("c")), l.put(1000, nodeA, 2, 3, of("d"))
			l.compact(1001, 10, a, b)
			l.compact(1001, 12, b, c)
			l.compact(1002, 10, a)
			l.remove(a, b, c)
		}, "a b c d", 10, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLost(t)
			c.build(l)
			report, s := l.must()
			p := s.Partition(catalog.TopicPartition{Topic: rivers})
			if got := l.values(s, rivers, 0); got != c.want || int(p.LogStart()) != c.start || int(p.End()) != c.start+len(strings.Fields(c.want)) {
				t.Errorf("[%d, %d) holds %s, want %s from %d on", p.LogStart(), p.End(), got, c.want, c.start)
			}
			lost := 0
			for _, g := range report.Lost {
				lost += int(g.Records)
			}
			if lost != c.lost {
				t.Errorf("%d records are reported as left out, want %d: %+v", lost, c.lost, report.Lost)
			}
		})
	}
}

// TestOldCompactedRuns: a run of which nothing but its place is needed is not looked into.
func TestOldCompactedRuns(t *testing.T) {
	l := newLost(t)
	a := l.put(1000, nodeA, 0, 1, of("a"), of("b"))
	l.compact(1001, 5, a)
	l.remove(a)
	const later = 1001 + 2*catalog.ProducerExpiryMs
	l.put(later, nodeB, 0, 1, of("c"))
	_, s := l.must()
	p := s.Partition(catalog.TopicPartition{Topic: rivers})
	if got := l.values(s, rivers, 0); got != "a b c" || p.LogStart() != 5 || p.End() != 8 {
		t.Errorf("[%d, %d) holds %s", p.LogStart(), p.End(), got)
	}
}

// TestTheSameBytesLater: a batch without a producer that was sealed after a segment
// was compacted is another one, however equal it is.
func TestTheSameBytesLater(t *testing.T) {
	const minute = 60_000
	l := newLost(t)
	same := batch{values: []string{"ping"}, timestamp: 7}
	sources := []ulid.ULID{l.put(1000, nodeA, 0, 1, same), l.put(1001, nodeA, 1, 2, same, same)}
	l.compact(minute, 0, sources...)
	l.remove(sources[0])
	l.put(2*minute, nodeA, 2, 3, same, same)
	l.put(2*minute+1, nodeA, 3, 4, same)
	report, s := l.must()
	if got := l.values(s, rivers, 0); got != "ping ping ping ping ping ping" || report.LeftOutCount != 1 {
		t.Errorf("the log holds %s: %+v", got, report)
	}
}

// TestYoungRecordsStayBehind: what was trimmed before a compacted run is not taken to
// be what was produced after it, though it is as many.
func TestYoungRecordsStayBehind(t *testing.T) {
	l := newLost(t)
	a := l.put(1000, nodeA, 5, 6, of("d"), of("e"))
	l.compact(1500, 3, a)
	l.remove(a)
	l.put(1400, nodeA, 6, 7, of("f", "g", "h"))
	report, s := l.must()
	if got := l.values(s, rivers, 0); got != "d e f g h" || report.PlacedByCount != 0 {
		t.Errorf("the log holds %s: %+v", got, report)
	}
	if p := s.Partition(catalog.TopicPartition{Topic: rivers}); p.LogStart() != 3 || p.End() != 8 {
		t.Errorf("the log is [%d, %d)", p.LogStart(), p.End())
	}
}

// TestRefusedBeforeALargeRecord: what was refused does not keep what comes after it
// from its place between compacted runs, and is behind them.
func TestRefusedBeforeALargeRecord(t *testing.T) {
	l := newLost(t)
	a := l.put(1000, nodeA, 0, 1, of("a", "b"))
	l.put(1001, nodeA, 1, 2, of("refused", "too"))
	l.put(1002, nodeA, 2, 3, of("large"))
	d := l.put(1003, nodeA, 3, 4, of("c", "d"))
	l.compact(2000, 0, a)
	l.compact(2000, 3, d)
	l.remove(a, d)
	report, s := l.must()
	if got := l.values(s, rivers, 0); got != "a b large c d refused too" || report.PlacedByCount != 1 || len(report.Lost) != 0 {
		t.Errorf("the log holds %s: %+v", got, report)
	}
}
