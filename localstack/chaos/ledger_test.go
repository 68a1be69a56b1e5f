package chaos

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// writeLedger writes events through a ledger, and returns its file's content.
func writeLedger(t *testing.T, events ...event) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ledger")
	l, err := NewLedger(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running errgroup.Group
	running.Go(func() error { return l.Run(ctx) })
	for i, e := range events {
		write := func() error { return l.Sync(t.Context(), e) }
		if i%2 == 0 && i < len(events)-1 {
			write = func() error { return l.Note(e) }
		}
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	// The last one was synced, so all must be there before the end.
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := running.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(t.Context(), events[0]); !errors.Is(err, os.ErrClosed) {
		t.Errorf("an event after the end: %v", err)
	}
	return content
}

func someEvents() []event {
	return []event{
		{Type: runEvent, Version: ledgerVersion, Run: "r", Partitions: 2},
		{Type: producerEvent, Producer: 0, Kind: Idempotent},
		{Type: producerEvent, Producer: 1, Kind: PlainOne},
		{Type: sentEvent, Request: 1, Producer: 0, Parts: []Part{{Partition: 1, Seq: 0, Count: 4}}},
		{Type: sentEvent, Request: 2, Producer: 1, Parts: []Part{{Partition: 0, Seq: 0, Count: 2}}},
		{Type: ackedEvent, Request: 1, Bases: []int64{42}},
		{Type: faultEvent, Text: "kill -9"},
		{Type: ackedEvent, Request: 2, Node: "node-1#2"},
		{Type: sentEvent, Request: 3, Producer: 1, Parts: []Part{{Partition: 0, Seq: 2, Count: 1}}},
		{Type: refusedEvent, Request: 3},
		{Type: sentEvent, Request: 4, Producer: 1, Parts: []Part{{Partition: 0, Seq: 3, Count: 1}}},
		{Type: trimEvent, Partition: 1, Offset: 7},
		{Type: trimmedEvent, Partition: 1, Offset: 5},
	}
}

func TestLedgerHoldsTheHistory(t *testing.T) {
	h, err := ReadLedger(bytes.NewReader(writeLedger(t, someEvents()...)))
	if err != nil {
		t.Fatal(err)
	}
	h.byNumber = nil
	want := &History{
		Run: "r", Partitions: 2, Producers: []Kind{Idempotent, PlainOne},
		Requests: []*Request{
			{Number: 1, Producer: 0, Parts: []Part{{Partition: 1, Seq: 0, Count: 4}}, Outcome: Acked, Bases: []int64{42}},
			{Number: 2, Producer: 1, Parts: []Part{{Partition: 0, Seq: 0, Count: 2}}, Outcome: Acked, Node: "node-1#2"},
			{Number: 3, Producer: 1, Parts: []Part{{Partition: 0, Seq: 2, Count: 1}}, Outcome: NoEffect},
			{Number: 4, Producer: 1, Parts: []Part{{Partition: 0, Seq: 3, Count: 1}}},
		},
		Trims: []Trim{{Partition: 1, Start: 5}}, TrimAsked: map[int32]int64{1: 7},
	}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("got %+v", h)
	}
	if got := h.sent(); !reflect.DeepEqual(got, []int64{4, 4}) {
		t.Errorf("sent %v", got)
	}
}

// TestLedgerFormat holds the bytes of a line.
func TestLedgerFormat(t *testing.T) {
	line, err := appendEvent(nil, event{Type: ackedEvent, At: 1700000000000, Request: 7, Bases: []int64{0, 3}})
	const want = `641d22f9 {"event":"acked","at":1700000000000,"request":7,"bases":[0,3]}` + "\n"
	if err != nil || string(line) != want {
		t.Errorf("%q, %v", line, err)
	}
}

func TestTornLedgerEndsBefore(t *testing.T) {
	whole := writeLedger(t, someEvents()...)
	for cut := range len(whole) {
		h, err := ReadLedger(bytes.NewReader(whole[:cut]))
		lines := bytes.Count(whole[:cut], []byte("\n"))
		if lines == 0 {
			if !errors.Is(err, ErrLedgerDamaged) {
				t.Errorf("cut at %d: %v", cut, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("cut at %d: %v", cut, err)
			continue
		}
		// Requests stand in lines 4, 5, 9 and 11.
		want := 0
		for _, line := range []int{4, 5, 9, 11} {
			if lines >= line {
				want++
			}
		}
		if len(h.Requests) != want {
			t.Errorf("cut at %d, after %d lines: %d requests", cut, lines, len(h.Requests))
		}
	}
}

func TestDamagedLedgerIsRefused(t *testing.T) {
	events := someEvents()
	whole := writeLedger(t, events...)
	for i, b := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] = b ^ 1
		if _, err := ReadLedger(bytes.NewReader(damaged)); !errors.Is(err, ErrLedgerDamaged) && i < len(whole)-1 {
			t.Fatalf("byte %d was changed: %v", i, err)
		}
	}
	lines := strings.SplitAfter(string(whole), "\n")
	for name, text := range map[string]string{
		"no run":               strings.Join(lines[1:], ""),
		"run twice":            lines[0] + strings.Join(lines, ""),
		"answer to nothing":    lines[0] + lines[1] + lines[5],
		"two answers":          strings.Join(lines, "") + lines[5],
		"producer out of turn": lines[0] + lines[2],
		"sent twice":           strings.Join(lines, "") + lines[3],
	} {
		if _, err := ReadLedger(strings.NewReader(text)); !errors.Is(err, ErrLedgerDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	unknown, err := appendEvent([]byte(lines[0]), event{Type: "rumour"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLedger(bytes.NewReader(unknown)); !errors.Is(err, ErrLedgerDamaged) {
		t.Errorf("unknown event: %v", err)
	}
	other, err := appendEvent(nil, event{Type: runEvent, Version: ledgerVersion + 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLedger(bytes.NewReader(other)); !errors.Is(err, ErrLedgerDamaged) {
		t.Errorf("other version: %v", err)
	}
}
