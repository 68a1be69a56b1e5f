package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/ingest/wal"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// TestADrainThatComesToNoEndSaysWhatIsLeft: the store stays away.
func TestADrainThatComesToNoEndSaysWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.createTopic(t)
		n := w.startNode(t)
		w.faults.SetDown(true)
		produce := func(acks ingest.Acks, value string) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			records := []ingest.Record{{Record: recordbatch.Record{Value: []byte(value)}}}
			_, err := n.ingester.ProduceRecords(ctx, w.topic, records, ingest.Options{Acks: acks, Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset})
			return err
		}
		for i := range 3 {
			value := fmt.Sprint("walled-", i)
			w.told[value] = &record{client: "one", seq: i, offset: -1, ordered: true, fate: present}
			if err := produce(ingest.AcksOne, value); err != nil {
				t.Fatal(err)
			}
		}
		if err := produce(ingest.AcksAll, "not walled"); err == nil {
			t.Fatal("acks=all was answered without a store")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := n.ingester.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain without a store: %v", err)
		}
		if err := produce(ingest.AcksOne, "late"); err == nil {
			t.Error("a draining node took a record")
		}
		n.end()
		mustLeave(t, n, 3, 0)
		if err := n.ingester.Close(); err != nil {
			t.Error(err)
		}
		w.powerCut()

		// The next life does not even begin, and says so too.
		idle := w.makeNode(t)
		if err := idle.ingester.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain with the files of an earlier life: %v", err)
		}
		mustLeave(t, idle, 0, 1)
		if err := idle.ingester.Close(); err != nil {
			t.Error(err)
		}

		// One that is told to drain while it replays does so to the end.
		w.faults.SetDown(false)
		last := w.makeNode(t)
		last.begin()
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := last.ingester.Drain(ctx); err != nil {
			t.Errorf("drain while the replay runs: %v", err)
		}
		if err := last.ingester.Accepting(); err == nil {
			t.Error("a node that was drained while it began takes records")
		}
		w.verify(t, last)
		last.end()
		if err := last.ingester.LeftBehind(); err != nil {
			t.Errorf("after a good drain: %v", err)
		}
		if err := last.ingester.Close(); err != nil {
			t.Error(err)
		}
	})
}

func mustLeave(t *testing.T, n *simulated, requests, earlier int) {
	t.Helper()
	var left *ingest.LeftBehindError
	if err := n.ingester.LeftBehind(); !errors.As(err, &left) || left.Requests != requests || left.Earlier != earlier || (left.Bytes > 0) != (requests > 0) {
		t.Fatalf("left behind: %v, want %d requests and %d files", err, requests, earlier)
	}
	if text := left.Error(); !strings.Contains(text, wal.DefaultConfig().Dir) || strings.Contains(text, "\n") {
		t.Errorf("the line for the operator: %s", text)
	}
}
