package reader

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// presigningBucket makes URLs that name what they are for.
type presigningBucket struct {
	bucket
	fail error
}

func (p presigningBucket) Presign(_ context.Context, key string, validity time.Duration) (objstore.Presigned, error) {
	if p.fail != nil {
		return objstore.Presigned{}, p.fail
	}
	return objstore.Presigned{URL: fmt.Sprintf("https://store/%s?%s", key, validity), Expires: time.UnixMilli(1)}, nil
}

// presigning is a reader of the log whose store makes URLs.
func (l *log) presigning(edit func(*Config)) *Reader {
	l.tb.Helper()
	r := l.reader(edit)
	r.presigner = presigningBucket{bucket: l.store}
	return r
}

var lakes = catalog.TopicID{0: 0x71, 15: 2}

// withLakes adds a second topic to the log.
func (l *log) withLakes() catalog.TopicPartition {
	l.tb.Helper()
	l.replica.apply(l.tb, catalog.CreateTopic{ID: lakes, Name: "lakes", Partitions: 1, Config: catalog.DefaultTopicConfig()})
	l.replica.show()
	return catalog.TopicPartition{Topic: lakes}
}

func all(partition int32) ManifestQuery {
	return ManifestQuery{Partition: part(partition), From: FromStart, To: 1 << 40, RangesMax: 1000}
}

func manifestOf(t *testing.T, r *Reader, q ManifestQuery) Manifest {
	t.Helper()
	m, err := r.Manifest(t.Context(), q)
	if err != nil {
		t.Fatalf("manifest %+v: %v", q, err)
	}
	return m
}

// bytesOf reads what a range names from the store and checks it.
func (l *log) bytesOf(t *testing.T, g Range) []byte {
	t.Helper()
	got, err := l.mem.GetRange(t.Context(), g.Stored.Key, int64(g.Stored.Pos), g.Len)
	if err != nil {
		t.Fatal(err)
	}
	if crc := crc32.Checksum(got.Body, segment.Castagnoli); crc != g.Stored.CRC {
		t.Fatalf("range at %d has CRC32C %08x, not %08x", g.Base, g.Stored.CRC, crc)
	}
	return got.Body
}

// TestManifestNamesTheBytes reads what a manifest names and compares it with
// what was written, for objects read in all ways.
func TestManifestNamesTheBytes(t *testing.T) {
	for _, loading := range loadings {
		t.Run(loading.name, func(t *testing.T) {
			l := newLog(t)
			l.commit(small(0, 1, 2), small(1, 3))
			l.commit(loading.unit)
			l.commit(small(0, 4))
			r := l.presigning(loading.edit)
			m := manifestOf(t, r, all(0))
			if len(m.Ranges) != 3 || m.NextOffset != l.end(part(0)) || m.HighWatermark != l.end(part(0)) || m.LogStart != 0 {
				t.Fatalf("manifest %+v", m)
			}
			batch := 0
			for _, g := range m.Ranges {
				if g.Stored == nil || g.Stored.URL != "https://store/"+g.Stored.Key+"?15m0s" || !g.Stored.Expires.Equal(time.UnixMilli(1)) {
					t.Fatalf("range %+v", g)
				}
				data, base := l.bytesOf(t, g), g.Base
				if (g.Len > segment.BlockLen) != (g.Stored.Blocks != nil) {
					t.Errorf("%d bytes in blocks %v", g.Len, g.Stored.Blocks)
				}
				for i, b := range g.Stored.Blocks {
					part := data[i*segment.BlockLen : min((i+1)*segment.BlockLen, len(data))]
					if crc := crc32.Checksum(part, segment.Castagnoli); crc != b.CRC {
						t.Errorf("block %d has CRC32C %08x, not %08x", i, b.CRC, crc)
					}
				}
				starts := map[int64]catalog.Offset{}
				at := int64(0)
				for b, err := range recordbatch.Batches(data) {
					if err != nil {
						t.Fatal(err)
					}
					starts[at] = base
					at += int64(len(b))
					recordbatch.PatchBaseOffset(b, base)
					want := l.model[part(0)][batch]
					if string(b) != string(want.data) {
						t.Fatalf("batch %d at %d differs", batch, base)
					}
					base, batch = want.end(), batch+1
				}
				for i, b := range g.Stored.Blocks {
					if want, ok := starts[b.FirstBatch]; b.FirstBatch >= 0 && (!ok || want != b.Base || b.FirstBatch/segment.BlockLen != int64(i)) {
						t.Errorf("block %d says that the batch at %d has offset %d", i, b.FirstBatch, b.Base)
					}
				}
				if base != g.Base+catalog.Offset(g.Records) {
					t.Errorf("range %+v holds records up to %d", g, base)
				}
			}
			if batch != len(l.model[part(0)]) {
				t.Errorf("%d batches of %d", batch, len(l.model[part(0)]))
			}
		})
	}
}

// TestSharedObjectIsNeverNamed: whatever became of the other topic's records, its
// bytes are in the object.
func TestSharedObjectIsNeverNamed(t *testing.T) {
	for _, c := range []struct {
		name   string
		shared func(l *log, other catalog.TopicPartition, unit func(rejected bool) unit)
	}{
		{"live", func(l *log, _ catalog.TopicPartition, unit func(bool) unit) {
			l.commit(small(0, 1), unit(false))
		}},
		{"trimmed", func(l *log, other catalog.TopicPartition, unit func(bool) unit) {
			l.commit(small(0, 1), unit(false))
			l.trim(other, 1)
		}},
		{"topic deleted", func(l *log, _ catalog.TopicPartition, unit func(bool) unit) {
			l.commit(small(0, 1), unit(false))
			l.replica.apply(l.tb, catalog.DeleteTopic{ID: lakes})
			l.replica.show()
		}},
		{"never committed", func(l *log, _ catalog.TopicPartition, unit func(bool) unit) {
			l.commit(small(0, 1), unit(true))
		}},
	} {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s cached=%v", c.name, cached), func(t *testing.T) {
				l := newLog(t)
				other := l.withLakes()
				l.commit(small(0, 9)) // one that is the topic's alone
				c.shared(l, other, func(rejected bool) unit {
					u := small(0, 1, 2)
					u.partition, u.rejected = other, rejected
					return u
				})
				l.commit(small(0, 9), small(2, 9))
				r := l.presigning(nil)
				if cached {
					l.check(r, query(part(0), 0))
				}
				for range 2 { // the second time from memory
					m := manifestOf(t, r, all(0))
					if len(m.Ranges) != 3 || m.NextOffset != 3 {
						t.Fatalf("manifest %+v", m)
					}
					for i, named := range []bool{true, false, true} {
						if (m.Ranges[i].Stored != nil) != named {
							t.Errorf("range %d: %+v", i, m.Ranges[i].Stored)
						}
					}
				}
			})
		}
	}
}

// TestManifestRanges: which ranges are listed, and where the next page begins.
func TestManifestRanges(t *testing.T) {
	l := newLog(t)
	for range 5 {
		l.commit(small(0, 1, 2, 3))
	}
	l.trim(part(0), 4)
	r := l.presigning(nil)
	for _, c := range []struct {
		from, to catalog.Offset
		max      int
		first, n int // base offset of the first range, and how many
		next     catalog.Offset
	}{
		{FromStart, 1 << 40, 1000, 3, 4, 15},
		{4, 1 << 40, 1000, 3, 4, 15},
		{6, 1 << 40, 2, 6, 2, 12},
		{12, 1 << 40, 2, 12, 1, 15},
		{5, 7, 1000, 3, 2, 7},
		{5, 6, 1000, 3, 1, 6},
		{5, 5, 1000, 0, 0, 5},
		{15, 1 << 40, 1000, 0, 0, 15},
	} {
		m := manifestOf(t, r, ManifestQuery{Partition: part(0), From: c.from, To: c.to, RangesMax: c.max})
		if len(m.Ranges) != c.n || m.NextOffset != c.next || m.LogStart != 4 || m.HighWatermark != 15 || c.n > 0 && m.Ranges[0].Base != catalog.Offset(c.first) {
			t.Errorf("%+v: %+v", c, m)
		}
	}
	for _, from := range []catalog.Offset{0, 3, 16} {
		if _, err := r.Manifest(t.Context(), ManifestQuery{Partition: part(0), From: from, To: 20, RangesMax: 1}); !outOfRange(4, 15)(err) {
			t.Errorf("from %d: %v", from, err)
		}
	}
	if _, err := r.Manifest(t.Context(), all(9)); !errors.Is(err, catalog.ErrPartitionNotFound) {
		t.Error(err)
	}
}

// TestManifestOfPartOfALongRun: there is no checksum to give, so a node serves it.
func TestManifestOfPartOfALongRun(t *testing.T) {
	l := newLog(t)
	long := func(rejected bool) unit {
		u := unit{partition: part(0), rejected: rejected}
		for range 3 {
			u.batches = append(u.batches, batchOf(700<<10, 1))
		}
		return u
	}
	l.commit(long(false), long(true), small(0, 1))
	m := manifestOf(t, l.presigning(nil), all(0))
	if len(m.Ranges) != 2 || m.Ranges[0].Stored != nil || m.Ranges[1].Stored == nil {
		t.Fatalf("manifest %+v", m)
	}
	l.bytesOf(t, m.Ranges[1])
}

func TestManifestWithoutURLs(t *testing.T) {
	l := newLog(t)
	l.commit(small(0, 1))
	for name, r := range map[string]*Reader{
		"store without": l.reader(nil),
		"switched off":  l.presigning(func(c *Config) { c.PresignValidity = 0 }),
	} {
		m := manifestOf(t, r, all(0))
		if len(m.Ranges) != 1 || m.Ranges[0].Stored == nil || m.Ranges[0].Stored.URL != "" {
			t.Errorf("%s: %+v", name, m)
		}
		l.bytesOf(t, m.Ranges[0])
	}
	r, away := l.reader(nil), errors.New("no credentials")
	r.presigner = presigningBucket{bucket: l.store, fail: away}
	if _, err := r.Manifest(t.Context(), all(0)); !errors.Is(err, away) {
		t.Error(err)
	}
}

// TestPresignerIsFound: New takes the store's own, also from below what counts
// its requests.
func TestPresignerIsFound(t *testing.T) {
	l := newLog(t)
	r, err := New(DefaultConfig(), l.replica, presigningBucket{bucket: l.store}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.presigner == nil {
		t.Error("the store's presigner is not used")
	}
	if l.reader(nil).presigner != nil {
		t.Error("a presigner of a store that has none")
	}
}

// TestManifestAsksOfAnObjectOnce: an index is read once, and not if the object is
// in the cache.
func TestManifestAsksOfAnObjectOnce(t *testing.T) {
	l := newLog(t)
	for range 4 {
		l.commit(small(0, 1), small(1, 1))
	}
	r := l.presigning(nil)
	gets := func() int { return l.store.Count(objstore.OpGet) + l.store.Count(objstore.OpGetRange) }
	manifestOf(t, r, all(0))
	if n := gets(); n != 4 {
		t.Errorf("%d requests for 4 objects", n)
	}
	manifestOf(t, r, all(1))
	if n := gets(); n != 4 {
		t.Errorf("%d requests after the second manifest", n)
	}
	r = l.presigning(nil)
	l.check(r, query(part(0), 0))
	before := gets()
	manifestOf(t, r, all(0))
	if n := gets(); n != before {
		t.Errorf("%d requests for what is in the cache", n-before)
	}
}

func TestManifestOfMovedRecords(t *testing.T) {
	l := newLog(t)
	u := small(0, 1, 5)
	id := l.commit(u)
	r := l.presigning(nil)
	l.store.SetHook(func(_, key string) { // the object goes after the manifest has its view
		if key == segment.Key(id) {
			l.moved(u)
			l.mem.Replace(key, nil)
		}
	})
	m := manifestOf(t, r, all(0))
	if len(m.Ranges) != 1 || m.Ranges[0].Stored == nil || m.Ranges[0].Stored.Key == segment.Key(id) {
		t.Fatalf("manifest %+v", m)
	}
}

func TestManifestOfDamage(t *testing.T) {
	l := newLog(t)
	l.commit(small(0, 1))
	id := l.commit(small(0, 1))
	l.mem.Replace(segment.Key(id), nil)
	r := l.presigning(nil)
	m := manifestOf(t, r, all(0)) // what is before the damage
	if len(m.Ranges) != 1 || m.NextOffset != 1 {
		t.Fatalf("manifest %+v", m)
	}
	q := all(0)
	q.From = 1
	var corrupt *segment.CorruptError
	if _, err := r.Manifest(t.Context(), q); !errors.As(err, &corrupt) || corrupt.Key != segment.Key(id) {
		t.Fatal(err)
	}
}

func TestSoleTopicsAreBounded(t *testing.T) {
	s := newSoleTopics()
	for i := range 5 * soleTopicsMax {
		s.note(objectID(i), rivers)
		if _, ok := s.of(objectID(0)); i < soleTopicsMax && !ok {
			t.Fatal("forgotten at once")
		}
	}
	if n := len(s.young) + len(s.old); n > 2*soleTopicsMax {
		t.Errorf("%d are remembered", n)
	}
	if topic, ok := s.of(objectID(0)); !ok || topic != rivers {
		t.Error("what is asked for all the time was forgotten")
	}
	if _, ok := s.of(objectID(1)); ok {
		t.Error("nothing was forgotten")
	}
}
