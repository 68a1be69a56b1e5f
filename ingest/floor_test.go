package ingest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// TestSegmentOlderThanTheOrphanFloor raises the floor over segments that are
// uploaded and not committed, as while a process sleeps: they are uploaded again,
// each request is in the log once, and the node goes on.
func TestSegmentOlderThanTheOrphanFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.createTopic(t)
		n := w.startNode(t)
		w.faults.SetAfterHook(func(op, key string) {
			if op == objstore.OpPut && strings.HasPrefix(key, "segments/") {
				time.Sleep(2 * time.Second) // uploaded, and the answer is on its way
			}
		})
		var producing sync.WaitGroup
		for i := range 6 {
			value := fmt.Sprintf("request-%d", i)
			w.told[value] = &record{client: value, partition: 0, offset: -1, fate: present}
			producing.Go(func() {
				records := []ingest.Record{{Partition: 0, Record: recordbatch.Record{Value: []byte(value)}}}
				opts := ingest.Options{Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset}
				if _, err := n.ingester.ProduceRecords(t.Context(), w.topic, records, opts); err != nil {
					t.Errorf("%s: %v", value, err)
				}
			})
			time.Sleep(300 * time.Millisecond) // a segment for each, some of them on their way at once
			if i == 2 {
				time.Sleep(300 * time.Millisecond)
				for node := range 2 { // the second one has the time of the answer to the first
					if _, err := n.catalog.Propose(t.Context(), catalog.RegisterNode{Node: catalog.NodeID{byte(7 + node)}}); err != nil {
						t.Error(err)
					}
				}
				floor := uint64(n.catalog.View().Time())
				r, err := n.catalog.Propose(t.Context(), catalog.RaiseOrphanFloor{After: n.catalog.View().OrphanFloor(), Floor: floor})
				if err != nil || r.Err != nil || !r.Created {
					t.Errorf("raise the floor: %+v, %v", r, err)
				}
			}
		}
		producing.Wait()
		w.verify(t, n)
		n.end()
	})
}

// TestReplayOfADeletedTopic starts a node whose buffer holds records of a topic
// that was deleted since, between those of another.
func TestReplayOfADeletedTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.createTopic(t)
		n := w.startNode(t)
		doomed := *w.topic
		doomed.ID, doomed.Name = [16]byte{9}, "doomed"
		if r, err := n.catalog.Propose(t.Context(), catalog.CreateTopic{ID: doomed.ID, Name: doomed.Name, Partitions: 1, Config: doomed.Config}); err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
		w.faults.SetDown(true)
		for i := range 20 {
			topic, value := w.topic, fmt.Sprintf("request-%d", i)
			if i%3 == 0 {
				topic = &doomed
			} else {
				w.told[value] = &record{client: "one", seq: i, partition: 0, offset: -1, ordered: true, fate: present}
			}
			records := []ingest.Record{{Partition: 0, Record: recordbatch.Record{Value: []byte(value)}}}
			opts := ingest.Options{Acks: ingest.AcksOne, Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset}
			if _, err := n.ingester.ProduceRecords(t.Context(), topic, records, opts); err != nil {
				t.Fatal(err)
			}
		}
		n.end()
		w.powerCut()
		w.faults.SetDown(false)
		// Another node deletes the topic meanwhile.
		disk := w.disk
		other := &world{rng: w.rng, store: w.store, faults: w.faults, topic: w.topic, told: w.told, disk: newWorld(2).disk, level: w.level}
		o := other.startNode(t)
		if r, err := o.catalog.Propose(t.Context(), catalog.DeleteTopic{ID: doomed.ID}); err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
		o.end()
		w.disk = disk
		n = w.startNode(t)
		w.verify(t, n)
		n.end()
	})
}
