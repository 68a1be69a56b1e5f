package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
)

// commitsMeasured is how many commits through a running catalog are timed.
const commitsMeasured = 200

// measureState measures a large state, first by itself, then in a catalog that
// runs on it.
func measureState(ctx context.Context, o options, bucket objstore.Bucket, r report) error {
	empty := heap()
	s, err := newScale(o.partitions, o.appends)
	if err != nil {
		return err
	}
	idle := heap()
	partitions := s.state.Counts().Partitions
	r.row(fmt.Sprintf("%d idle partitions, heap", partitions), "%s, %d B each", mib(idle-empty), (idle-empty)/int64(partitions))
	if err := s.measureMemory(r, o, idle-empty, empty); err != nil {
		return err
	}
	if err := s.rounds(r, o.garbage); err != nil {
		return err
	}
	if err := s.measureCodec(r); err != nil {
		return err
	}
	return s.measureRunning(ctx, o, bucket, r)
}

func (s *scale) measureMemory(r report, o options, idle, empty int64) error {
	first, err := s.grow(int64(1000 * s.appends))
	if err != nil {
		return err
	}
	r.row(fmt.Sprintf("commit of %d partitions, apply and check, few extents: p50 / p99 / longest", s.appends), "%s", quantiles(first))
	begun := time.Now()
	last, err := s.grow(o.extents)
	if err != nil {
		return err
	}
	r.row("the same, full", "%s", quantiles(last))
	counts := s.state.Counts()
	grown := heap() - empty
	r.row(fmt.Sprintf("%d extents in %d objects, heap with partitions", counts.Extents, counts.Objects),
		"%s, %.0f B per extent over the idle partitions", mib(grown), float64(grown-idle)/float64(counts.Extents))
	r.row("time to get there", "%s", since(begun))
	return nil
}

// measureCodec encodes the state and decodes it, without a store.
func (s *scale) measureCodec(r report) error {
	resetPeak()
	before := peak()
	begun := time.Now()
	bytes := int64(0)
	if err := s.state.Encode(func(chunk []byte) error { bytes += int64(len(chunk)); return nil }); err != nil {
		return err
	}
	r.row("snapshot, encode", "%s, %s, peak of memory %s over the state", since(begun), mib(bytes), mib(peak()-before))
	return nil
}

// measureRunning lets a catalog start from the state's snapshot, which replaces the
// state that was built, and commits through it.
func (s *scale) measureRunning(ctx context.Context, o options, bucket objstore.Bucket, r report) error {
	begun := time.Now()
	info, err := s.store(ctx, bucket)
	if err != nil {
		return err
	}
	r.row("snapshot, store", "%s, %s in %d parts", since(begun), mib(info.Bytes()), len(info.Parts))
	now := s.state.Time()
	s.state = catalog.NewState(clusterID)
	s.state.Advance(now)
	empty := heap()
	resetPeak()
	begun, collected := time.Now(), collecting()
	c, err := start(ctx, bucket, without)
	if err != nil {
		return err
	}
	took, top, collected := since(begun), peak(), collecting()-collected
	r.row("start from the snapshot", "%s, heap %s after it, peak of memory %s, collector %s", took, mib(heap()-empty), mib(top), brief(collected))
	var times []time.Duration
	for range commitsMeasured {
		took, err := s.propose(ctx, c)
		if err != nil {
			return errors.Join(err, c.stop())
		}
		times = append(times, took)
	}
	r.row("commit through the journal: p50 / p99 / longest", "%s", quantiles(times))
	if err := c.stop(); err != nil {
		return err
	}
	return s.measureSnapshot(ctx, bucket, r)
}

// measureSnapshot commits while a snapshot is written, read back and verified.
func (s *scale) measureSnapshot(ctx context.Context, bucket objstore.Bucket, r report) error {
	empty := heap()
	c, err := start(ctx, bucket, func(c *catalog.Config) { c.SnapshotSlots = commitsMeasured + 10 })
	if err != nil {
		return err
	}
	loaded := heap() - empty
	resetPeak()
	begun, collected := time.Now(), collecting()
	var times []time.Duration
	for written := 0; written == 0; {
		took, err := s.propose(ctx, c)
		if err == nil {
			times = append(times, took)
			written, err = c.snapshots()
		}
		if err != nil {
			return errors.Join(err, c.stop())
		}
	}
	took, top := since(begun), peak()
	r.row("snapshot written, read back, verified, while commits go on", "%s, peak of memory %s, state %s, collector %s", took, mib(top), mib(loaded), brief(collecting()-collected))
	r.row(fmt.Sprintf("%d commits meanwhile: p50 / p99 / longest", len(times)), "%s", quantiles(times))
	return c.stop()
}
