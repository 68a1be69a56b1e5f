package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
)

const (
	// probePause is the time between two tries to reach the store, and
	// storeWarnInterval the time between two lines of the log about it.
	probePause        = time.Second
	storeWarnInterval = 30 * time.Second
)

// probe checks that the store keeps the promises that the log rests on. A
// store that is away is waited for; one that breaks a promise, or refuses this
// node's requests, ends it.
func (n *node) probe(ctx context.Context) error {
	var warned time.Time
	for {
		err := objstore.Probe(ctx, n.bucket)
		var broken *objstore.ProbeError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			n.awaitsStore.Store(false)
			return nil
		case errors.As(err, &broken):
			return err
		case errors.Is(err, objstore.ErrRefused):
			return fmt.Errorf("the store refuses this node; check its credentials and permissions, the bucket and the region: %w", err)
		}
		n.awaitsStore.Store(true)
		if time.Since(warned) >= storeWarnInterval {
			warned = time.Now()
			n.logger.Warn("waiting for the store", "store", n.options.Store, "error", err)
		}
		select {
		case <-time.After(probePause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
