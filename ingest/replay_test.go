package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/ingest/wal"
	"github.com/wadilog/wadi/ingest/wal/crashfs"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// crashWithFrames returns a world whose node died with n acknowledged requests
// in its write-ahead buffer alone.
func crashWithFrames(t *testing.T, seed uint64, n int) *world {
	w := newWorld(seed)
	w.createTopic(t)
	node := w.startNode(t)
	w.faults.SetDown(true)
	for i := range n {
		value := fmt.Sprintf("request-%d", i)
		p := int32(i % partitions)
		w.told[value] = &record{client: "one", seq: i, partition: p, offset: -1, ordered: true, fate: present}
		records := []ingest.Record{{Partition: p, Record: recordbatch.Record{Value: []byte(value)}}}
		if _, err := node.ingester.ProduceRecords(t.Context(), w.topic, records, ingest.Options{Acks: ingest.AcksOne, Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset}); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	node.end()
	w.powerCut()
	w.faults.SetDown(false)
	return w
}

// copyDisk returns another disk with the same files.
func copyDisk(t *testing.T, disk *crashfs.FS) *crashfs.FS {
	twin := crashfs.New()
	for _, name := range diskFiles(t, disk) {
		path := filepath.Join(wal.DefaultConfig().Dir, name)
		body, err := disk.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		twin.WriteFile(path, body)
	}
	return twin
}

// TestReplayOfACopiedDirectory lets two nodes replay the same write-ahead files
// at once, as after a volume was cloned: each request is in the log once.
func TestReplayOfACopiedDirectory(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			w := crashWithFrames(t, seed, 300)
			w.faults.Randomize(seed, faultstore.Probabilities{Delay: 1, DelayMax: 300 * time.Millisecond})
			twin := &world{rng: w.rng, store: w.store, faults: w.faults, topic: w.topic, told: w.told, disk: copyDisk(t, w.disk), level: w.level}
			var nodes [2]*simulated
			var starting sync.WaitGroup
			starting.Go(func() { nodes[0] = w.startNode(t) })
			starting.Go(func() { nodes[1] = twin.startNode(t) })
			starting.Wait()
			w.verify(t, nodes[0])
			w.verify(t, nodes[1])
			nodes[0].end()
			nodes[1].end()
		})
	}
}

// TestReplayOfAnUnknownNode keeps the files of a node id that the catalog does
// not know, and starts.
func TestReplayOfAnUnknownNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := crashWithFrames(t, 1, 5)
		disk := w.disk
		other := newWorld(2)
		other.createTopic(t)
		other.disk = disk
		n := other.startNode(t)
		other.verify(t, n) // nothing of it may be in this log
		n.end()
		kept := 0
		for _, name := range diskFiles(t, disk) {
			if filepath.Ext(name) == ".unknown" {
				kept++
			}
		}
		if kept == 0 {
			t.Errorf("the files are gone: %v", diskFiles(t, disk))
		}
	})
}

// TestOutageWithdraws holds requests while the store is away: acks=all is
// refused in time, with nothing of it in the log, acks=1 goes on until the
// buffer is full, and all that was acknowledged is there afterwards.
func TestOutageWithdraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.createTopic(t)
		n := w.startNode(t)
		w.faults.SetDown(true)
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for i := range 6 {
			clients.Go(func() {
				w.produce(ctx, t, n, fmt.Sprintf("client%d", i), ingest.Acks(i%2), w.childRand(uint64(i)))
			})
		}
		time.Sleep(time.Minute)
		w.faults.SetDown(false)
		time.Sleep(10 * time.Second)
		cancel()
		clients.Wait()
		w.mu.Lock()
		fates := map[fate]int{}
		for _, r := range w.told {
			fates[r.fate]++
		}
		w.mu.Unlock()
		if fates[absent] == 0 || fates[present] == 0 {
			t.Errorf("the outage was not felt: %v", fates)
		}
		if err := n.ingester.Drain(t.Context()); err != nil {
			t.Errorf("drain: %v", err)
		}
		w.verify(t, n)
		n.end()
	})
}

// TestFailedBufferLeavesAcksAll: a write-ahead buffer that fails ends acks=1,
// and nothing else; what it had acknowledged reaches the log.
func TestFailedBufferLeavesAcksAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.createTopic(t)
		n := w.startNode(t)
		produce := func(value string, acks ingest.Acks) error {
			records := []ingest.Record{{Partition: 0, Record: recordbatch.Record{Value: []byte(value)}}}
			_, err := n.ingester.ProduceRecords(t.Context(), w.topic, records, ingest.Options{Acks: acks, Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset})
			fate := present
			switch {
			case errors.Is(err, ingest.ErrOutcomeUnknown):
				fate = unknown
			case err != nil:
				fate = absent
			}
			w.told[value] = &record{client: value, partition: 0, offset: -1, fate: fate}
			return err
		}
		if err := produce("before", ingest.AcksOne); err != nil {
			t.Fatal(err)
		}
		w.disk.FailWrite(1)
		if err := produce("during", ingest.AcksOne); !errors.Is(err, ingest.ErrOutcomeUnknown) {
			t.Errorf("acks=1 while the disk fails: %v", err)
		}
		var overloaded *ingest.OverloadedError
		if err := produce("after", ingest.AcksOne); !errors.As(err, &overloaded) {
			t.Errorf("acks=1 after the disk failed: %v", err)
		}
		if err := produce("all", ingest.AcksAll); err != nil {
			t.Errorf("acks=all after the disk failed: %v", err)
		}
		if err := n.ingester.Drain(t.Context()); err != nil {
			t.Errorf("drain: %v", err)
		}
		w.verify(t, n)
		n.end()
	})
}

// TestCopyOfALiveDirectory lets a node replay a copy of the files of another one
// that runs, and takes more afterwards: all that either acknowledged is in the log,
// once.
func TestCopyOfALiveDirectory(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(seed)
			w.createTopic(t)
			node := w.startNode(t)
			sent := 0
			send := func(n int) {
				for range n {
					value := fmt.Sprintf("request-%d", sent)
					p := int32(sent % partitions)
					w.told[value] = &record{client: "one", seq: sent, partition: p, offset: -1, ordered: true, fate: present}
					sent++
					records := []ingest.Record{{Partition: p, Record: recordbatch.Record{Value: []byte(value)}}}
					opts := ingest.Options{Acks: ingest.AcksOne, Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset}
					if _, err := node.ingester.ProduceRecords(t.Context(), w.topic, records, opts); err != nil {
						t.Fatalf("request %d: %v", sent, err)
					}
				}
			}
			send(50)
			twin := &world{rng: w.rng, store: w.store, faults: w.faults, topic: w.topic, told: w.told, disk: copyDisk(t, w.disk), level: w.level}
			time.Sleep(time.Minute) // the node commits what it has
			copied := twin.startNode(t)
			copied.end()
			send(50)
			time.Sleep(time.Minute)
			w.verify(t, node)
			node.end()
		})
	}
}
