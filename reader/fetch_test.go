package reader

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

func small(n int32, timestamps ...int64) unit {
	return unit{partition: part(n), batches: [][]recordbatch.Record{batchOf(10, timestamps...)}}
}

func TestWhatNeedsAConfirmedView(t *testing.T) {
	other := catalog.TopicID{0: 0x70, 15: 2}
	for name, c := range map[string]struct {
		behind   func(*log) // what this node has not heard of
		q        Query
		confirms int
		records  int
		err      func(error) bool
	}{
		"within the view":    {nil, query(part(0), 1), 0, 2, nil},
		"at the end":         {nil, query(part(0), 3), 1, 0, nil},
		"at an old end":      {func(l *log) { l.commitUnseen(small(0, 1, 2)) }, query(part(0), 3), 1, 2, nil},
		"above an old end":   {func(l *log) { l.commitUnseen(small(0, 1, 2)) }, query(part(0), 4), 1, 1, nil},
		"above the end":      {nil, query(part(0), 4), 1, 0, outOfRange(0, 3)},
		"far above the end":  {nil, query(part(0), 1<<62), 1, 0, outOfRange(0, 3)},
		"negative":           {nil, query(part(0), -5), 1, 0, outOfRange(0, 3)},
		"below a start":      {func(l *log) { l.trim(part(0), 2) }, query(part(0), 1), 1, 0, outOfRange(2, 3)},
		"trimmed, not heard": {func(l *log) { l.trimUnseen(part(0), 3) }, query(part(0), 1), 0, 2, nil},
		"trimmed, at the end": {func(l *log) {
			l.commitUnseen(small(0, 1, 2))
			l.trimUnseen(part(0), 4)
		}, query(part(0), 3), 1, 0, outOfRange(4, 5)},
		"no such topic":     {nil, query(catalog.TopicPartition{Topic: other}, 0), 1, 0, isError(catalog.ErrTopicNotFound)},
		"no such partition": {nil, query(part(3), 0), 1, 0, isError(catalog.ErrPartitionNotFound)},
		"a new topic": {func(l *log) {
			l.replica.apply(l.tb, catalog.CreateTopic{ID: other, Name: "new", Partitions: 1, Config: catalog.DefaultTopicConfig()})
		}, query(catalog.TopicPartition{Topic: other}, 0), 1, 0, nil},
		"cannot confirm":           {func(l *log) { l.replica.away = errors.New("away") }, query(part(0), 3), 1, 0, isError(catalog.ErrNotConfirmed)},
		"away, but within":         {func(l *log) { l.replica.away = errors.New("away") }, query(part(0), 0), 0, 3, nil},
		"cannot confirm the topic": {func(l *log) { l.replica.away = errors.New("away") }, query(part(3), 3), 1, 0, isError(catalog.ErrNotConfirmed)},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			l.commit(small(0, 1), small(0, 2), small(0, 3))
			if c.behind != nil {
				c.behind(l)
			}
			got, err := l.reader(nil).Fetch(t.Context(), c.q)
			if c.err != nil {
				if err == nil || !c.err(err) {
					t.Errorf("error is %v", err)
				}
			} else if n := int(got.NextOffset - c.q.Offset); err != nil || n != c.records {
				t.Errorf("%d records and %v, expected %d", n, err, c.records)
			}
			if n := l.replica.confirmed(); n != c.confirms {
				t.Errorf("confirmed %d times, expected %d", n, c.confirms)
			}
		})
	}
}

func isError(want error) func(error) bool {
	return func(err error) bool { return errors.Is(err, want) }
}

func outOfRange(start, end catalog.Offset) func(error) bool {
	return func(err error) bool {
		var out *OutOfRangeError
		return errors.As(err, &out) && out.Bounds == Bounds{start, end}
	}
}

func TestBoundsAreConfirmed(t *testing.T) {
	l := newLog(t)
	l.commitUnseen(small(0, 1, 2, 3))
	l.trimUnseen(part(0), 1)
	r := l.reader(nil)
	if got, err := r.Bounds(t.Context(), part(0)); err != nil || got != (Bounds{1, 3}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := r.Bounds(t.Context(), part(7)); !errors.Is(err, catalog.ErrPartitionNotFound) {
		t.Error(err)
	}
}

// moved makes another node rewrite an object of this log under another id:
// the catalog's new state names that one, and the old object is gone.
func (l *log) moved(units ...unit) {
	l.tb.Helper()
	next := newLog(l.tb)
	next.objects, next.mem, next.store = 100, l.mem, l.store
	next.commit(units...)
	l.replica.mu.Lock()
	defer l.replica.mu.Unlock()
	l.replica.state = next.replica.state
	l.model = next.model
}

func TestMissingObjectIsPlannedAgain(t *testing.T) {
	for _, loading := range loadings {
		t.Run(loading.name, func(t *testing.T) {
			l := newLog(t)
			id := l.commit(loading.unit)
			l.moved(loading.unit)
			l.mem.Replace(segment.Key(id), nil)
			r := l.reader(loading.edit)
			l.check(r, everything())
			if n := l.replica.confirmed(); n != 1 {
				t.Errorf("confirmed %d times", n)
			}
		})
	}
}

func TestMissingObjectOfATimeSearchIsPlannedAgain(t *testing.T) {
	l := newLog(t)
	u := small(0, 1, 5)
	id := l.commit(u)
	r := l.reader(nil)
	l.store.SetHook(func(_, key string) { // the object goes after the search has its view
		if key == segment.Key(id) {
			l.moved(u)
			l.mem.Replace(key, nil)
		}
	})
	offset, at, ok, err := r.OffsetAtTime(t.Context(), part(0), 3)
	if err != nil || !ok || offset != 1 || at != 5 {
		t.Fatalf("%d, %d, %v, %v", offset, at, ok, err)
	}
}

func TestMissingObjectOfTrimmedRecords(t *testing.T) {
	l := newLog(t)
	id := l.commit(small(0, 1, 2))
	l.commit(small(0, 1))
	l.trimUnseen(part(0), 2)
	l.mem.Replace(segment.Key(id), nil)
	if _, err := l.reader(nil).Fetch(t.Context(), query(part(0), 0)); !outOfRange(2, 3)(err) {
		t.Fatal(err)
	}
}

func TestMissingObjectIsDamage(t *testing.T) {
	for _, loading := range loadings {
		t.Run(loading.name, func(t *testing.T) {
			l := newLog(t)
			id := l.commit(loading.unit)
			l.mem.Replace(segment.Key(id), nil)
			_, err := l.reader(loading.edit).Fetch(t.Context(), everything())
			var corrupt *segment.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Key != segment.Key(id) || !errors.Is(err, objstore.ErrNotFound) {
				t.Fatal(err)
			}
			if n := l.replica.confirmed(); n != 1 {
				t.Errorf("confirmed %d times", n)
			}
			if n := l.store.Count(objstore.OpGet) + l.store.Count(objstore.OpGetRange); n != 2 {
				t.Errorf("%d requests, expected 2", n)
			}
		})
	}
}

func TestRecordsBeforeDamageAreServed(t *testing.T) {
	l := newLog(t)
	l.commit(small(0, 1, 2))
	id := l.commit(small(0, 1))
	l.commit(small(0, 1))
	l.mem.Replace(segment.Key(id), nil)
	r := l.reader(nil)
	got, err := r.Fetch(t.Context(), query(part(0), 0))
	if err != nil || got.NextOffset != 2 || len(got.Batches) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := r.Fetch(t.Context(), query(part(0), 2)); !isCorrupt(err) {
		t.Fatal(err)
	}
	l.check(r, query(part(0), 3))
}

func TestBatchesAreTheCallersOwn(t *testing.T) {
	for _, loading := range loadings {
		l := newLog(t)
		l.commit(loading.unit)
		r := l.reader(loading.edit)
		for range 2 {
			l.check(r, everything())
			got, err := r.Fetch(t.Context(), everything())
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range got.Batches {
				clear(b)
				if _ = append(b, 1); cap(b) != len(b) {
					t.Fatal("appending to a batch writes into the next")
				}
			}
		}
	}
}

func TestFetchBytesMaxBoundsAFetch(t *testing.T) {
	l := newLog(t)
	l.commit(longUnit())
	got, err := l.reader(func(c *Config) { c.FetchBytesMax = 700_000 }).Fetch(t.Context(), everything())
	if err != nil || len(got.Batches) != 2 || got.NextOffset != 4 {
		t.Fatalf("%d batches up to %d, %v", len(got.Batches), got.NextOffset, err)
	}
}

// TestReserveComesBeforeLoading: whoever answers for the memory of an answer is
// asked before a byte of it is loaded, and can refuse.
func TestReserveComesBeforeLoading(t *testing.T) {
	l := newLog(t)
	l.commit(longUnit())
	r := l.reader(nil)
	refused := errors.New("no room")
	q := everything()
	q.MaxBytes = 700_000
	var asked []int64
	q.Reserve = func(bytes int64) error { asked = append(asked, bytes); return refused }
	before := l.store.Count("")
	if _, err := r.Fetch(t.Context(), q); !errors.Is(err, refused) {
		t.Errorf("Fetch: %v", err)
	}
	if len(asked) != 1 || asked[0] != 700_000 {
		t.Errorf("asked for %v, expected 700000", asked)
	}
	if requests := l.store.Count("") - before; requests != 0 {
		t.Errorf("%d requests to the store although there was no room", requests)
	}
}

// polled is a long poll from the end of partition 0, begun and waiting.
func (l *log) polled(r *Reader, ctx context.Context, edit func(*Query)) <-chan string {
	l.tb.Helper()
	q := query(part(0), l.end(part(0)))
	q.MinBytes, q.MaxWait = 1, 30*time.Second
	if edit != nil {
		edit(&q)
	}
	answer := make(chan string, 1)
	go func() {
		began := time.Now()
		got, err := r.Fetch(ctx, q)
		answer <- fmt.Sprintf("%d records, %v, %s", got.NextOffset-q.Offset, err, time.Since(began))
	}()
	synctest.Wait()
	return answer
}

func TestLongPoll(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Query)
		then func(*log, *Reader, context.CancelFunc) // a second later
		want string
	}{
		"commit":               {nil, func(l *log, _ *Reader, _ context.CancelFunc) { l.commit(small(0, 1, 2)) }, "2 records, <nil>, 1s"},
		"commit elsewhere":     {nil, func(l *log, _ *Reader, _ context.CancelFunc) { l.commit(small(1, 1, 2)) }, "0 records, <nil>, 30s"},
		"nothing":              {nil, func(*log, *Reader, context.CancelFunc) {}, "0 records, <nil>, 30s"},
		"end of waits":         {nil, func(_ *log, r *Reader, _ context.CancelFunc) { r.EndWaits() }, "0 records, <nil>, 1s"},
		"caller leaves":        {nil, func(_ *log, _ *Reader, leave context.CancelFunc) { leave() }, "0 records, context canceled, 1s"},
		"no bytes wanted":      {func(q *Query) { q.MinBytes = 0 }, func(*log, *Reader, context.CancelFunc) {}, "0 records, <nil>, 0s"},
		"until what is there":  {func(q *Query) { q.Until = q.Offset }, func(*log, *Reader, context.CancelFunc) {}, "0 records, <nil>, 0s"},
		"fewer bytes":          {func(q *Query) { q.MinBytes = 1000 }, func(l *log, _ *Reader, _ context.CancelFunc) { l.commit(small(0, 1)) }, "1 records, <nil>, 30s"},
		"min beyond max bytes": {func(q *Query) { q.MinBytes, q.MaxBytes = 1000, 10 }, func(l *log, _ *Reader, _ context.CancelFunc) { l.commit(small(0, 1)) }, "1 records, <nil>, 1s"},
		"until reached":        {func(q *Query) { q.Until, q.MinBytes = q.Offset+1, 1000 }, func(l *log, _ *Reader, _ context.CancelFunc) { l.commit(small(0, 1, 2)) }, "1 records, <nil>, 1s"},
		"topic deleted": {nil, func(l *log, _ *Reader, _ context.CancelFunc) {
			l.replica.apply(l.tb, catalog.DeleteTopic{ID: rivers})
			l.replica.show()
		}, "-3 records, " + catalog.ErrTopicNotFound.Error() + ", 1s"},
		"trimmed away": {func(q *Query) { q.Offset, q.MinBytes = 0, 1000 }, func(l *log, _ *Reader, _ context.CancelFunc) {
			l.trim(part(0), 2)
		}, "0 records, offset 0 is outside of [2, 3], 30s"},
		"trimmed beyond": {nil, func(l *log, _ *Reader, _ context.CancelFunc) {
			l.commitUnseen(small(0, 1, 2))
			l.trim(part(0), 5)
		}, "-3 records, offset 3 is outside of [5, 5], 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLog(t)
				l.commit(small(0, 1, 2, 3))
				r := l.reader(nil)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				answer := l.polled(r, ctx, c.edit)
				time.Sleep(time.Second)
				c.then(l, r, leave)
				got, want := <-answer, c.want
				if name == "caller leaves" {
					want = "-3 records, context canceled, 1s"
				}
				if got != want {
					t.Errorf("%s; expected %s", got, want)
				}
				if n := l.replica.confirmed(); n > 1 {
					t.Errorf("confirmed %d times", n)
				}
			})
		})
	}
}

func TestLongPollAfterEndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		r := l.reader(nil)
		r.EndWaits()
		if got, want := <-l.polled(r, t.Context(), nil), "0 records, <nil>, 0s"; got != want {
			t.Errorf("%s; expected %s", got, want)
		}
	})
}

func TestOffsetAtTime(t *testing.T) {
	const lowest, highest = -1 << 63, 1<<63 - 1
	for _, edit := range []func(*Config){nil, func(c *Config) { c.WholeObjectBytes = 0 }} {
		l := newLog(t)
		r := l.reader(edit)
		l.commit(small(0, 50, 10, 40), small(0, 20))
		stamped := small(0, 1, 2)
		stamped.stamp = 70
		l.commit(stamped)
		u := longUnit()
		u.batches = append(u.batches, batchOf(10, 60, 90, 80))
		l.commit(u)
		for _, start := range []catalog.Offset{0, 1, 3, 5, 20, l.end(part(0)) - 1, l.end(part(0))} {
			l.trim(part(0), start)
			for _, ms := range []int64{lowest, -1, 0, 8, 10, 45, 50, 51, 70, 71, 85, 90, 91, highest} {
				offset, at, ok, err := r.OffsetAtTime(t.Context(), part(0), ms)
				wantOffset, wantAt, want := l.atTime(part(0), ms)
				if err != nil || ok != want || offset != wantOffset || at != wantAt {
					t.Errorf("from %d at %d: %d, %d, %v, %v; expected %d, %d, %v", start, ms, offset, at, ok, err, wantOffset, wantAt, want)
				}
			}
		}
		if _, _, ok, err := r.OffsetAtTime(t.Context(), part(1), 0); ok || err != nil {
			t.Errorf("in an empty partition: %v, %v", ok, err)
		}
		if _, _, _, err := r.OffsetAtTime(t.Context(), part(9), 0); !errors.Is(err, catalog.ErrPartitionNotFound) {
			t.Error(err)
		}
	}
}

func TestOffsetAtTimeOfABatchBeyondTheLimit(t *testing.T) {
	l := newLog(t)
	u := unit{partition: part(0), codec: recordbatch.Zstd, batches: [][]recordbatch.Record{batchOf(100_000, 5)}}
	l.commit(u)
	_, _, _, err := l.reader(func(c *Config) { c.DecompressedBytesMax = 1000 }).OffsetAtTime(t.Context(), part(0), 1)
	var invalid *recordbatch.InvalidError
	if err == nil || errors.As(err, &invalid) || errors.Is(err, recordbatch.ErrTooLarge) {
		t.Fatal(err)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for i, spoil := range []func(*Config){
		func(c *Config) { c.CacheBytes = 0 },
		func(c *Config) { c.RecentBytes = -1 },
		func(c *Config) { c.WholeObjectBytes = -1 },
		func(c *Config) { c.Live.BytesMax = 0 },
		func(c *Config) { c.Replay.LoadsMax = 0 },
		func(c *Config) { c.ReplayCacheBytes = -1 },
		func(c *Config) { c.RangeBytesMax = -1 },
		func(c *Config) { c.LiveAge = -1 },
		func(c *Config) { c.ReplayAfterBytes = -1 },
		func(c *Config) { c.LoadsPerFetch = 0 },
		func(c *Config) { c.FetchBytesMax = 0 },
		func(c *Config) { c.ReadAheadBytesMax = -1 },
		func(c *Config) { c.DecompressedBytesMax = 0 },
		func(c *Config) { c.AttemptsMax = 0 },
		func(c *Config) { c.AttemptTimeout = 0 },
		func(c *Config) { c.BytesPerSecondMin = 0 },
		func(c *Config) { c.Backoff = 0 },
	} {
		c := DefaultConfig()
		spoil(&c)
		if c.Validate() == nil {
			t.Errorf("case %d passed", i)
		}
	}
}
