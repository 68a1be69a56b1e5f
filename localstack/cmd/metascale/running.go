package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
)

const shard = "000"

func openJournal(bucket objstore.Bucket) (*journal.Journal, error) {
	return journal.New(journal.DefaultConfig(), bucket, shard, slog.New(slog.DiscardHandler), nil)
}

// store writes the beginning of a journal, and the state as its snapshot.
func (s *scale) store(ctx context.Context, bucket objstore.Bucket) (journal.SnapshotInfo, error) {
	j, err := openJournal(bucket)
	if err != nil {
		return journal.SnapshotInfo{}, err
	}
	genesis := journal.Entry{Kind: journal.Genesis, Nonce: journal.NewNonce(), Time: s.state.Time(), Payload: clusterID[:]}
	if _, err := j.Write(ctx, &genesis); err != nil {
		return journal.SnapshotInfo{}, err
	}
	claim := journal.Entry{
		Slot: 1, Kind: journal.Claim, Epoch: 1, Nonce: journal.NewNonce(), Prev: genesis.Nonce, Time: s.state.Time(), Writer: "metascale",
	}
	if _, err := j.WriteClaim(ctx, &claim); err != nil {
		return journal.SnapshotInfo{}, err
	}
	info := journal.SnapshotInfo{
		Slot: 1, Nonce: claim.Nonce, Epoch: 1, Time: s.state.Time(), Level: s.state.Level(), Claims: []journal.Slot{1},
	}
	return j.WriteSnapshot(ctx, info, s.state.Encode)
}

// running is a catalog that was started.
type running struct {
	*catalog.Catalog
	registry *prometheus.Registry
	stop     func() error
}

// start starts a catalog and returns when it is loaded.
func start(ctx context.Context, bucket objstore.Bucket, configure func(*catalog.Config)) (*running, error) {
	j, err := openJournal(bucket)
	if err != nil {
		return nil, err
	}
	cfg := catalog.DefaultConfig()
	configure(&cfg)
	reg := prometheus.NewRegistry()
	c, err := catalog.New(cfg, j, nil, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	r := &running{Catalog: c, registry: reg, stop: func() error { cancel(); return <-ended }}
	select {
	case <-c.Ready():
		return r, nil
	case err := <-ended:
		cancel()
		return nil, errors.Join(errors.New("the catalog ended"), err)
	}
}

// without leaves snapshots out.
func without(c *catalog.Config) {
	c.SnapshotSlots, c.SnapshotSlotsMin, c.SnapshotBytes = math.MaxInt, math.MaxInt, math.MaxInt64
}

// propose commits one flush through a catalog, and returns the time that took.
func (s *scale) propose(ctx context.Context, r *running) (time.Duration, error) {
	e := s.flush()
	begun := time.Now()
	result, err := r.Propose(ctx, e)
	if err == nil {
		err = result.Err
	}
	return time.Since(begun), err
}

// snapshots reads how many snapshots a catalog has written, and whether any failed.
func (r *running) snapshots() (int, error) {
	families, err := r.registry.Gather()
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range families {
		switch f.GetName() {
		case "wadi_catalog_snapshots_total":
			n = int(f.GetMetric()[0].GetCounter().GetValue())
		case "wadi_catalog_snapshot_errors_total":
			if failed := f.GetMetric()[0].GetCounter().GetValue(); failed > 0 {
				return 0, fmt.Errorf("%v snapshots failed", failed)
			}
		}
	}
	return n, nil
}
