package reader

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// TestAwait waits for two partitions together: each holds 3 records already, and
// both are waited for from offset 3 on.
func TestAwait(t *testing.T) {
	one := storedSize(t, small(0, 1))
	for name, c := range map[string]struct {
		offset catalog.Offset // of partition 1; partition 0 is at its end
		min    int64
		wait   time.Duration
		then   func(*log, *Reader, context.CancelFunc) // a second later
		want   string
	}{
		"commit":            {3, 1, 30 * time.Second, func(l *log, _ *Reader, _ context.CancelFunc) { l.commit(small(0, 1)) }, "<nil> 1s"},
		"commit to other":   {3, 1, 30 * time.Second, func(l *log, _ *Reader, _ context.CancelFunc) { l.commit(small(1, 1)) }, "<nil> 1s"},
		"commit elsewhere":  {3, 1, 30 * time.Second, func(l *log, _ *Reader, _ context.CancelFunc) { l.commit(small(2, 1)) }, "<nil> 30s"},
		"some is there":     {2, 1, 30 * time.Second, nothing, "<nil> 0s"},
		"together":          {3, 2 * one, 30 * time.Second, func(l *log, _ *Reader, _ context.CancelFunc) { l.commit(small(0, 1), small(1, 1)) }, "<nil> 1s"},
		"not enough":        {3, 2*one + 1, 30 * time.Second, func(l *log, _ *Reader, _ context.CancelFunc) { l.commit(small(0, 1), small(1, 1)) }, "<nil> 30s"},
		"no wait":           {3, 1, 0, nothing, "<nil> 0s"},
		"no bytes wanted":   {3, 0, 30 * time.Second, nothing, "<nil> 0s"},
		"above the end":     {4, 1, 30 * time.Second, nothing, "<nil> 0s"},
		"end of waits":      {3, 1, 30 * time.Second, func(_ *log, r *Reader, _ context.CancelFunc) { r.EndWaits() }, "<nil> 1s"},
		"caller leaves":     {3, 1, 30 * time.Second, func(_ *log, _ *Reader, leave context.CancelFunc) { leave() }, "context canceled 1s"},
		"trimmed away":      {2, 1 << 20, 30 * time.Second, func(l *log, _ *Reader, _ context.CancelFunc) { l.trim(part(1), 3); l.commit(small(1, 1)) }, "<nil> 1s"},
		"topic is deleted":  {3, 1, 30 * time.Second, func(l *log, _ *Reader, _ context.CancelFunc) { l.deleteTopic() }, "<nil> 1s"},
		"cannot be certain": {5, 1, 30 * time.Second, nil, catalog.ErrNotConfirmed.Error() + ": store away 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLog(t)
				l.commit(small(0, 1, 2, 3), small(1, 1, 2, 3))
				r := l.reader(nil)
				if c.then == nil {
					l.replica.away = errors.New("store away")
				}
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				answer := make(chan string, 1)
				go func() {
					began := time.Now()
					err := r.Await(ctx, []catalog.PartitionOffset{{Partition: part(0), Offset: 3}, {Partition: part(1), Offset: c.offset}}, c.min, c.wait)
					answer <- fmt.Sprintf("%v %s", err, time.Since(began))
				}()
				time.Sleep(time.Second)
				if c.then != nil {
					c.then(l, r, leave)
				}
				if got := <-answer; got != c.want {
					t.Errorf("%s; expected %s", got, c.want)
				}
				if n := l.replica.confirmed(); n > 1 {
					t.Errorf("confirmed %d times", n)
				}
			})
		})
	}
}

func nothing(*log, *Reader, context.CancelFunc) {}

// storedSize is what a unit takes in a segment.
func storedSize(t *testing.T, u unit) int64 {
	t.Helper()
	l := newLog(t)
	l.commit(u)
	return int64(len(l.model[u.partition][0].data))
}

func (l *log) deleteTopic() {
	l.tb.Helper()
	l.replica.apply(l.tb, catalog.DeleteTopic{ID: rivers})
	l.replica.show()
}

// TestKnownOffsetsAreNotProved: whoever follows a partition asks the catalog
// once, at the beginning.
func TestKnownOffsetsAreNotProved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		l.commit(small(0, 1, 2, 3))
		r := l.reader(nil)
		q := query(part(0), 3)
		q.MinBytes, q.MaxWait = 1, 10*time.Second
		for i, want := range []int{1, 1, 1, 1, 1} {
			if i == 3 {
				go func() {
					time.Sleep(time.Second)
					l.commit(small(0, 4))
				}()
			}
			l.check(r, q)
			if n := l.replica.confirmed(); n != want {
				t.Fatalf("round %d: confirmed %d times, expected %d", i, n, want)
			}
			q.Known = true
			q.Offset = l.end(part(0))
		}
		// What is not so is still proved before it is said.
		for offset, want := range map[catalog.Offset]string{6: "offset 6 is outside of [2, 4]", 1: "offset 1 is outside of [2, 4]"} {
			l.trim(part(0), 2)
			q.Offset = offset
			before := l.replica.confirmed()
			if _, err := r.Fetch(t.Context(), q); err == nil || err.Error() != want {
				t.Errorf("offset %d: %v, expected %s", offset, err, want)
			}
			if l.replica.confirmed() != before+1 {
				t.Errorf("offset %d was not proved to be out of range", offset)
			}
		}
	})
}

// TestWithinBytes: a batch that is too large is left out, also if it is the first.
func TestWithinBytes(t *testing.T) {
	l := newLog(t)
	l.commit(small(0, 1), small(0, 2), unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(5000, 3)}})
	r := l.reader(nil)
	one := len(l.model[part(0)][0].data)
	for _, c := range []struct {
		offset   catalog.Offset
		maxBytes int
		next     catalog.Offset
	}{
		{0, one - 1, 0}, {0, one, 1}, {0, 2*one - 1, 1}, {0, 2 * one, 2}, {0, 3 * one, 2}, {2, 4999, 2}, {2, 6000, 3}, {3, 1, 3},
	} {
		q := query(part(0), c.offset)
		q.MaxBytes, q.Within = c.maxBytes, true
		got, err := r.Fetch(t.Context(), q)
		size := 0
		for _, b := range got.Batches {
			size += len(b)
		}
		if err != nil || got.NextOffset != c.next || size > c.maxBytes {
			t.Errorf("%+v: %d bytes up to %d, %v", c, size, got.NextOffset, err)
		}
	}
}

// TestReserveWhatIsThere: a fetch at the tail of a large partition reserves what
// it will get, not what it might have got.
func TestReserveWhatIsThere(t *testing.T) {
	l := newLog(t)
	l.commit(longUnit())
	end := l.end(part(0))
	l.commit(small(0, 1))
	r := l.reader(nil)
	q := query(part(0), end)
	var asked []int64
	q.Reserve = func(bytes int64) error { asked = append(asked, bytes); return nil }
	got, err := r.Fetch(t.Context(), q)
	if err != nil || len(got.Batches) != 1 {
		t.Fatalf("%d batches, %v", len(got.Batches), err)
	}
	if len(asked) != 1 || asked[0] != int64(len(got.Batches[0])) {
		t.Errorf("reserved %v for %d bytes", asked, len(got.Batches[0]))
	}
}

func TestEndingIsTold(t *testing.T) {
	l := newLog(t)
	l.commit(small(0, 1))
	r := l.reader(nil)
	for _, want := range []bool{false, true} {
		for offset := range catalog.Offset(2) {
			if got, err := r.Fetch(t.Context(), query(part(0), offset)); err != nil || got.Ending != want {
				t.Errorf("offset %d: ending %v, %v; expected %v", offset, got.Ending, err, want)
			}
		}
		r.EndWaits()
	}
}

// TestReserveForALargeFirstBatch: it is asked for with its size before it is
// copied, and while nothing is held that others wait for.
func TestReserveForALargeFirstBatch(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"whole object": nil,
		"range":        func(c *Config) { c.WholeObjectBytes = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			l.commit(unit{partition: part(0), batches: [][]recordbatch.Record{batchOf(5000, 1), batchOf(10, 2)}})
			r := l.reader(edit)
			q := query(part(0), 0)
			q.MaxBytes = 100
			var asked []int64
			q.Reserve = func(n int64) error {
				asked = append(asked, n)
				r.loader.mu.Lock()
				defer r.loader.mu.Unlock()
				if n := r.loader.lanes[live].bytes; n != 0 {
					t.Errorf("%d bytes of loads are held", n)
				}
				return nil
			}
			l.check(r, q)
			want := []int64{100, int64(len(l.model[part(0)][0].data))}
			if fmt.Sprint(asked) != fmt.Sprint(want) {
				t.Errorf("asked for %v, expected %v", asked, want)
			}
			refused := errors.New("no room")
			q.Reserve = func(n int64) error {
				if n > 100 {
					return refused
				}
				return nil
			}
			if _, err := r.Fetch(t.Context(), q); !errors.Is(err, refused) {
				t.Errorf("Fetch: %v", err)
			}
		})
	}
}
