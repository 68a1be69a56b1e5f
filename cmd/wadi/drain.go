package main

import (
	"context"
	"errors"
	"net"
	"time"
)

const (
	// quietTime is how long no request may have come before a draining node
	// closes the connections that clients and load balancers keep, and
	// quietTimeout how long it waits for such a time. It is longer than
	// deploy/nginx/nginx.conf keeps a connection without requests: there is none left
	// by then on which one could be sent just as it is closed.
	quietTime    = 1500 * time.Millisecond
	quietTimeout = 5 * time.Second
)

// drain ends the node's work in an order in which nobody is let down, within
// --drain-timeout. /readyz turns first, so that a load balancer looks elsewhere;
// then what is new is refused, what was accepted is committed, the lead is handed
// over, and connections are closed when none has a request on its way.
func (n *node) drain(running context.Context, clients net.Listener) error {
	n.logger.Info("draining", "delay", n.options.DrainDelay.String(), "timeout", n.options.DrainTimeout.String())
	n.draining.Store(true)
	n.endCollecting()
	n.api.Leave()
	ctx, cancel := context.WithTimeout(running, n.options.DrainTimeout)
	defer cancel()
	if n.options.DrainDelay > 0 {
		select {
		case <-time.After(n.options.DrainDelay):
		case <-ctx.Done():
		}
	}
	n.api.Refuse()
	n.endWaits()
	var err error
	if n.ingester != nil && running.Err() == nil {
		err = n.ingester.Drain(ctx)
	}
	err = errors.Join(err, clients.Close())
	<-n.takes // those that were waiting are connections that are open now
	n.resign(ctx)
	// Last of all, since what takes its time between quiet and Shutdown would let the
	// next request come.
	n.awaitQuiet(ctx)
	if n.http.Shutdown(ctx) != nil {
		// Out of time: what is left are answers that are taken slowly.
		err = errors.Join(err, n.http.Close())
	}
	return err
}

// leftBehind is what the ended node acknowledged and did not commit, nil if
// there is nothing.
func (n *node) leftBehind() error {
	if n.ingester == nil {
		return nil
	}
	return n.ingester.LeftBehind()
}

func (n *node) endWaits() {
	if n.reader != nil {
		n.reader.EndWaits()
	}
}

func (n *node) awaitQuiet(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, quietTimeout)
	defer cancel()
	if n.api.Quiet(ctx, quietTime) != nil && ctx.Err() == context.DeadlineExceeded {
		n.logger.Info("requests still come while connections are closed")
	}
}

// resign hands over the lead. That nobody takes it is no failure of this node:
// the others notice by themselves that it is gone.
func (n *node) resign(ctx context.Context) {
	select {
	case <-n.catalog.Ready():
	default:
		return // it never led
	}
	if err := n.catalog.Resign(ctx); err != nil {
		n.logger.Warn("the lead was not handed over in time", "error", err)
	}
}
