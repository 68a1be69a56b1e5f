package client

import (
	"context"
	"errors"
	"sync/atomic"
)

// identity is the producer id of a Producer.
type identity struct {
	client *Client
	taken  *int64        // id of an earlier process; nil for a new one
	busy   chan struct{} // holds who asks for an id
	id     int64         // -1: none yet; whoever has busy reads and writes it
	epoch  int16         // the same
	shown  atomic.Int64  // id + 1
}

// current returns the id.
func (i *identity) current() (int64, bool) {
	id := i.shown.Load() - 1
	return id, id >= 0
}

// get returns an id with the epoch to begin with, other than not.
func (i *identity) get(ctx context.Context, not int64) (id int64, epoch int16, err error) {
	select {
	case i.busy <- struct{}{}:
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	defer func() { <-i.busy }()
	if i.id >= 0 && i.id != not {
		return i.id, i.epoch, nil
	}
	if i.taken != nil {
		id, epoch, err = i.client.RaiseEpoch(ctx, *i.taken)
	}
	// An id that the log has forgotten shuts out the process that had it as well.
	if i.taken == nil || errors.Is(err, ErrUnknownProducerID) {
		id, epoch, err = i.client.NewProducerID(ctx)
	}
	if err != nil {
		return 0, 0, err
	}
	i.id, i.epoch, i.taken = id, epoch, nil
	i.shown.Store(id + 1)
	return id, epoch, nil
}
