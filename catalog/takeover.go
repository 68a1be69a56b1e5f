package catalog

import (
	"math/rand/v2"
	"time"
)

// busy tells whether edits of this node wait to be committed.
func (c *Catalog) busy(edits bool) bool {
	return edits || c.following != nil && len(c.following.flights) > 0
}

// noteWork remembers since when edits have been waiting with none settled.
func (c *Catalog) noteWork(edits bool) {
	switch {
	case !c.busy(edits):
		c.stuckSince = time.Time{}
	case c.stuckSince.IsZero():
		c.stuckSince = time.Now()
	}
}

// never is a time that does not come.
var never = time.Unix(1<<40, 0)

// heard notes a sign of life of the leader, and draws how long the next silence
// may be.
func (c *Catalog) heard() {
	c.heardAt = time.Now()
	spread := c.cfg.TakeoverMax - c.cfg.TakeoverMin
	c.patience = c.cfg.TakeoverMin + rand.N(spread+1)
	c.patienceAbandoned = c.cfg.AbandonedMin + rand.N(c.cfg.AbandonedMax-c.cfg.AbandonedMin+1)
}

// heardOf is heard for a leader that was seen to write, though it cannot be reached.
func (c *Catalog) heardOf() {
	c.following.refuted = true
	c.heard()
}

// claimDue tells whether this node should take the lead.
func (c *Catalog) claimDue(edits bool) bool { return !time.Now().Before(c.claimTime(edits)) }

// claimTime is when this node should take the lead, if things stay as they are.
func (c *Catalog) claimTime(edits bool) time.Time {
	if c.leader {
		return never
	}
	if c.claimNow {
		return time.Time{}
	}
	f := c.following
	switch {
	case !c.busy(edits):
		return never
	case f == nil, f.address == "", f.address == c.cfg.Address: // nobody to wait for
		return c.claimAfter
	}
	due := c.heardAt.Add(c.patience)
	if f.nobody && !f.refuted {
		due = c.heardAt.Add(c.patienceAbandoned)
	}
	return later(c.claimAfter, earlier(due, c.desertedAt()))
}

// desertedAt is when a leader that may well write for others has done nothing
// for this node for too long; never while it is the store that holds it up.
func (c *Catalog) desertedAt() time.Time {
	if f := c.following; !f.lost && f.stalled >= c.cfg.TakeoverMin {
		return never
	}
	return c.stuckSince.Add(c.cfg.UnreachableMax)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// nextTurn is when there is something to do though nothing arrives.
func (c *Catalog) nextTurn(edits bool) time.Time {
	next := earlier(earlier(c.claimTime(edits), c.lookTime()), c.scanTime())
	if c.followsSomebody() && !c.following.pulling {
		next = earlier(next, c.following.pullAfter)
	}
	return next
}
