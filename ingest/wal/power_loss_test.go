package wal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/wadilog/wadi/ingest/wal"
	"github.com/wadilog/wadi/ingest/wal/crashfs"
)

// ledger is what one node id promised.
type ledger struct {
	appended map[uint64][]byte // every frame that Append took
	acked    map[uint64]bool   // those whose Wait returned nil
	released uint64
	gone     bool // Remove was begun, so everything is committed
}

// ledgers is what all lives promised.
type ledgers map[uuid.UUID]*ledger

// check compares what a later start finds with what was promised: every
// acknowledged frame that was not released, in order, once, and no other
// frame than those that were appended.
func (ls ledgers) check(leftovers []*wal.Leftover) error {
	found := make(map[uuid.UUID]bool)
	for _, lo := range leftovers {
		l := ls[lo.Node]
		if l == nil || found[lo.Node] {
			return fmt.Errorf("leftover of node %s, which is unknown or came twice", lo.Node)
		}
		found[lo.Node] = true
		if len(lo.Holes) > 0 {
			return fmt.Errorf("a power cut was taken for damage: %v", lo.Holes)
		}
		if lo.After > l.released && !l.gone {
			return fmt.Errorf("node %s: files up to frame %d are gone, released up to %d", lo.Node, lo.After, l.released)
		}
		seen := make(map[uint64]bool)
		last, count := uint64(0), int64(0)
		for f, err := range lo.Frames(0) {
			if err != nil {
				return err
			}
			if f.Number <= last {
				return fmt.Errorf("frame %d after frame %d", f.Number, last)
			}
			want, ok := l.appended[f.Number]
			if !ok {
				return fmt.Errorf("frame %d was never appended", f.Number)
			}
			if !bytes.Equal(f.Payload, want) {
				return fmt.Errorf("frame %d has %d other bytes", f.Number, len(f.Payload))
			}
			last, seen[f.Number] = f.Number, true
			count++
		}
		if count != lo.FrameCount || last != lo.LastNumber {
			return fmt.Errorf("%d frames up to %d, announced %d up to %d", count, last, lo.FrameCount, lo.LastNumber)
		}
		if err := l.missing(seen); err != nil {
			return err
		}
	}
	for node, l := range ls {
		if !found[node] {
			if err := l.missing(nil); err != nil {
				return fmt.Errorf("node %s has no files: %w", node, err)
			}
		}
	}
	return nil
}

func (l *ledger) missing(seen map[uint64]bool) error {
	if l.gone {
		return nil
	}
	for _, number := range slices.Sorted(maps.Keys(l.acked)) {
		if number > l.released && !seen[number] {
			return fmt.Errorf("frame %d was acknowledged and is lost", number)
		}
	}
	return nil
}

// TestPowerLossKeepsWhatWasAcknowledged lets nodes append, wait, release and
// replay, and cuts the power anywhere, several times over.
func TestPowerLossKeepsWhatWasAcknowledged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		fs := crashfs.New()
		promised := make(ledgers)
		for n := range rapid.IntRange(1, 5).Draw(t, "lives") {
			fs.CrashBefore(1 + rng.IntN(1+rng.IntN(120)))
			if rng.IntN(8) == 0 {
				fs.FailSync(1 + rng.IntN(30))
			}
			if rng.IntN(8) == 0 {
				fs.FailWrite(1 + rng.IntN(30))
			}
			if err := livePromising(rng, fs, nodeID(n), promised); err != nil && !expected(err) {
				t.Fatal(err)
			}
			fs = fs.Crash(rng)
		}
		// At last a start without any fault.
		l, err := create(smallConfig(), fs, nodeID(999))
		if err != nil {
			t.Fatal(err)
		}
		leftovers, err := l.Leftovers()
		if err != nil {
			t.Fatal(err)
		}
		if err := promised.check(leftovers); err != nil {
			t.Fatal(err)
		}
		for _, lo := range leftovers {
			if err := lo.Remove(); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Remove(); err != nil {
			t.Fatal(err)
		}
		if names, _ := fs.ReadDir(smallConfig().Dir); len(names) != 0 {
			t.Fatalf("left after all was removed: %v", names)
		}
	})
}

// expected tells the errors that injected faults bring.
func expected(err error) bool {
	return errors.Is(err, crashfs.ErrPowerLoss) || errors.Is(err, crashfs.ErrInjected)
}

// livePromising is one life of a node up to the power cut, or to a shutdown.
func livePromising(rng *rand.Rand, fs *crashfs.FS, node uuid.UUID, promised ledgers) error {
	mine := &ledger{appended: make(map[uint64][]byte), acked: make(map[uint64]bool)}
	promised[node] = mine
	l, err := create(smallConfig(), fs, node)
	if err != nil {
		return err
	}
	leftovers, err := l.Leftovers()
	if err != nil {
		return err
	}
	if err := promised.check(leftovers); err != nil {
		return err
	}
	l.start()
	defer l.stop()

	type waiting struct {
		number uint64
		ticket wal.Ticket
	}
	var tickets []waiting
	number := uint64(0)
	for range rng.IntN(60) {
		switch rng.IntN(8) {
		case 0, 1, 2, 3:
			for range 1 + rng.IntN(5) {
				next := number + 1 + uint64(rng.IntN(3))
				payload := payloadOf(node, next, rng.IntN(300))
				cut := rng.IntN(len(payload) + 1)
				ticket, err := l.Append(next, payload[:cut], payload[cut:])
				if errors.Is(err, wal.ErrBusy) || errors.Is(err, wal.ErrFull) {
					continue
				}
				if err != nil {
					break
				}
				number = next
				mine.appended[number] = payload
				tickets = append(tickets, waiting{number, ticket})
			}
		case 4, 5, 6:
			for _, w := range tickets {
				err := w.ticket.Wait(context.Background())
				if err == nil {
					mine.acked[w.number] = true
				} else if !errors.Is(err, wal.ErrFailed) {
					return fmt.Errorf("wait of frame %d: %w", w.number, err)
				}
			}
			tickets = tickets[:0]
		case 7:
			if number > 0 && rng.IntN(2) == 0 {
				upto := mine.released + uint64(rng.IntN(int(number-mine.released)+1))
				mine.released = upto
				l.Release(upto)
			}
			if len(leftovers) > 0 {
				promised[leftovers[0].Node].gone = true
				if err := leftovers[0].Remove(); err != nil {
					return err
				}
				leftovers = leftovers[1:]
			}
		}
	}
	if rng.IntN(3) == 0 {
		return l.stop()
	}
	return nil
}
