package main

import (
	"context"
	"fmt"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
)

// measureStart times the start from a journal without snapshots.
func measureStart(ctx context.Context, o options, bucket objstore.Bucket, r report) error {
	s, err := newScale(topicPartitions, min(o.appends, 8))
	if err != nil {
		return err
	}
	if _, err := s.store(ctx, bucket); err != nil {
		return err
	}
	c, err := start(ctx, bucket, without)
	if err != nil {
		return err
	}
	for range o.slots {
		if _, err := s.propose(ctx, c); err != nil {
			return err
		}
	}
	if err := c.stop(); err != nil {
		return err
	}
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
		r.row(fmt.Sprintf("start from %d slots, %s", o.slots, from.name), "%s", since(begun))
		if err := c.stop(); err != nil {
			return err
		}
	}
	return nil
}
