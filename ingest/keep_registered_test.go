package ingest_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/tiering"
)

// TestIdleNodeKeepsItsID: a node without a write-ahead buffer that takes nothing for
// days can commit afterwards, and the id of one that was killed is gone by then.
func TestIdleNodeKeepsItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
		store := memstore.New()
		j, err := journal.New(journal.DefaultConfig(), store, "000", logger, reg)
		if err != nil {
			t.Fatal(err)
		}
		config := catalog.DefaultConfig()
		config.WatchInterval = time.Minute // so that days pass in few steps
		c, err := catalog.New(config, j, nil, logger, reg)
		if err != nil {
			t.Fatal(err)
		}
		uploader := tiering.NewUploader(tiering.DefaultUploaderConfig(), store, logger, reg)
		g, err := ingest.New(ingest.DefaultConfig(), c, uploader, discard{}, nil, logger, reg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running errgroup.Group
		running.Go(func() error { return c.Run(ctx) })
		running.Go(func() error { return g.Run(ctx) })
		<-g.Ready()
		killed := uuid.New()
		topic := catalog.CreateTopic{ID: uuid.New(), Name: "flights", Partitions: 1, Config: catalog.DefaultTopicConfig()}
		for _, e := range []catalog.Edit{topic, catalog.RegisterNode{Node: killed}} {
			if r, err := c.Propose(ctx, e); err != nil || r.Err != nil {
				t.Fatal(err, r.Err)
			}
		}

		time.Sleep(72 * time.Hour)
		if _, ok := c.View().Node(killed); ok {
			t.Error("the id of a node that is gone is still there")
		}
		record := ingest.Record{Record: recordbatch.Record{Value: []byte("v")}, Partition: ingest.AnyPartition}
		opts := ingest.Options{Acks: ingest.AcksAll, Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset}
		known, _ := c.View().TopicByName("flights")
		if _, err := g.ProduceRecords(ctx, known, []ingest.Record{record}, opts); err != nil {
			t.Errorf("produce after three idle days: %v", err)
		}
		cancel()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
		uploader.Wait()
	})
}
