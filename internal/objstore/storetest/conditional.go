package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/internal/objstore"
)

func (suite) putIfAbsent(t *testing.T, b objstore.Bucket) {
	ctx := t.Context()
	if _, err := b.PutIfAbsent(ctx, "slots/1", []byte("first")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := b.PutIfAbsent(ctx, "slots/1", []byte("second"))
		wantErr(t, err, objstore.OpPutIfAbsent, objstore.ErrExists)
	}
	wantBody(t, b, "slots/1", []byte("first"))

	mustPut(t, b, "slots/2", nil)
	_, err := b.PutIfAbsent(ctx, "slots/2", []byte("over an empty object"))
	wantErr(t, err, objstore.OpPutIfAbsent, objstore.ErrExists)
	wantBody(t, b, "slots/2", nil)

	mustDelete(t, b, "slots/1")
	if _, err := b.PutIfAbsent(ctx, "slots/1", nil); err != nil {
		t.Fatalf("put-if-absent after a delete: %v", err)
	}
	wantBody(t, b, "slots/1", nil)
	_, err = b.PutIfAbsent(ctx, "slots/1", []byte("over one's own empty object"))
	wantErr(t, err, objstore.OpPutIfAbsent, objstore.ErrExists)

	big := noise(4 << 20)
	if _, err := b.PutIfAbsent(ctx, "slots/3", big); err != nil {
		t.Fatal(err)
	}
	wantBody(t, b, "slots/3", big)
}

// putIfAbsentHasOneWinner lets many writers race for each slot of a journal,
// while readers look at it: they see nothing or what the winner wrote.
func (suite) putIfAbsentHasOneWinner(t *testing.T, b objstore.Bucket) {
	const rounds, writers, readers = 40, 12, 2
	for round := range rounds {
		key := fmt.Sprintf("race/%020d", round)
		var mu sync.Mutex
		var winners []int
		var read [][]byte
		start := make(chan struct{})
		group, ctx := errgroup.WithContext(t.Context())
		for writer := range writers {
			group.Go(func() error {
				<-start
				_, err := b.PutIfAbsent(ctx, key, raceBody(round, writer))
				switch {
				case err == nil:
					mu.Lock()
					defer mu.Unlock()
					winners = append(winners, writer)
				case errors.Is(err, objstore.ErrExists), errors.Is(err, objstore.ErrConflict):
					if objstore.OutcomeOf(err) != objstore.NotCommitted {
						return fmt.Errorf("a loser's outcome is %v: %w", objstore.OutcomeOf(err), err)
					}
				default:
					return err
				}
				return nil
			})
		}
		for range readers {
			group.Go(func() error {
				<-start
				o, err := b.Get(ctx, key)
				if errors.Is(err, objstore.ErrNotFound) {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				read = append(read, o.Body)
				return err
			})
		}
		close(start)
		if err := group.Wait(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(winners) != 1 {
			t.Fatalf("round %d: writers %v won, want one", round, winners)
		}
		want := raceBody(round, winners[0])
		wantBody(t, b, key, want)
		for _, body := range read {
			if string(body) != string(want) {
				t.Fatalf("round %d: a reader saw %d bytes that are not the winner's", round, len(body))
			}
		}
	}
}

// raceBody has a size of its own for each writer, so that a mix shows.
func raceBody(round, writer int) []byte {
	return append(fmt.Appendf(nil, "round %d writer %d ", round, writer), noise(3000+500*writer)...)
}

// putIfAbsentAgainstDelete lets writers and deleters meet at one key. A write
// that succeeded after the last delete is there.
func (suite) putIfAbsentAgainstDelete(t *testing.T, b objstore.Bucket) {
	for round := range 20 {
		key := fmt.Sprintf("contended/%d", round)
		group, ctx := errgroup.WithContext(t.Context())
		for writer := range 4 {
			group.Go(func() error {
				for range 5 {
					if err := putUnlessTaken(ctx, b, key, raceBody(round, writer)); err != nil {
						return err
					}
					if _, err := b.Delete(ctx, key); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		wantMissing(t, b, key)
		if err := putUnlessTaken(t.Context(), b, key, []byte("last")); err != nil {
			t.Fatal(err)
		}
		wantBody(t, b, key, []byte("last"))
	}
}

func putUnlessTaken(ctx context.Context, b objstore.Bucket, key string, body []byte) error {
	_, err := b.PutIfAbsent(ctx, key, body)
	if errors.Is(err, objstore.ErrExists) || errors.Is(err, objstore.ErrConflict) {
		return nil
	}
	return err
}
