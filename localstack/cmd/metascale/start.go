package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
)

// measureStart times the start from a journal without snapshots, and then from the
// same log with snapshots as nodes take them, when the next is about to be due.
func measureStart(ctx context.Context, o options, bucket objstore.Bucket, r report) error {
	s, err := newScale(topicPartitions, min(o.appends, 8))
	if err != nil {
		return err
	}
	if _, err := s.store(ctx, bucket); err != nil {
		return err
	}
	if err := s.write(ctx, bucket, o.slots, without); err != nil {
		return err
	}
	if err := timeStarts(ctx, o, bucket, r, fmt.Sprintf("start from %d slots", o.slots)); err != nil {
		return err
	}
	c, err := start(ctx, bucket, func(*catalog.Config) {})
	if err != nil {
		return err
	}
	for written := 0; written == 0 && err == nil; {
		if _, err = s.propose(ctx, c); err == nil {
			written, err = c.snapshots()
		}
	}
	if err = errors.Join(err, c.stop()); err != nil {
		return err
	}
	behind := catalog.DefaultConfig().SnapshotSlotsMin - 1
	if err := s.write(ctx, bucket, behind, without); err != nil {
		return err
	}
	return timeStarts(ctx, o, bucket, r, fmt.Sprintf("start from a snapshot and %d slots", behind))
}

// write commits so many flushes.
func (s *scale) write(ctx context.Context, bucket objstore.Bucket, slots int, configure func(*catalog.Config)) error {
	c, err := start(ctx, bucket, configure)
	if err != nil {
		return err
	}
	for n := 0; n < slots && err == nil; n++ {
		_, err = s.propose(ctx, c)
	}
	return errors.Join(err, c.stop())
}

// timeStarts starts a catalog from the store as it is, and from one that is slower.
func timeStarts(ctx context.Context, o options, bucket objstore.Bucket, r report, what string) error {
	slow := faultstore.New(bucket, faultstore.Rule{
		Op: objstore.OpGet, Times: faultstore.Always, Fault: faultstore.Fault{Delay: o.latency},
	})
	for _, from := range []struct {
		name  string
		store objstore.Bucket
	}{{"MinIO", bucket}, {fmt.Sprintf("MinIO, %s more for each GET", o.latency), slow}} {
		begun := time.Now()
		c, err := start(ctx, from.store, without)
		if err != nil {
			return err
		}
		r.row(fmt.Sprintf("%s, %s", what, from.name), "%s", since(begun))
		if err := c.stop(); err != nil {
			return err
		}
	}
	return nil
}
