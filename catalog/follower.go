package catalog

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/wadilog/wadi/catalog/journal"
)

// following is what a node has under way with the leader of one epoch. It
// belongs to the goroutine of Run's loop.
type following struct {
	epoch   uint64
	address string
	session Session
	seq     uint64    // of the newest request
	flights []*flight // in the order of their numbers; those that are not settled

	ctx context.Context // of the requests to this leader
	end context.CancelFunc

	pulling   bool               // a Pull is under way
	endPull   context.CancelFunc // of that one
	pullEnded bool               // it was ended by this node
	pullAfter time.Time          // none before this
	// lost says that the last Pull failed, or that the leader does not lead any
	// more. From then on the bucket says what comes next.
	lost bool
	// behind says that there is something in the bucket that the leader does
	// not send.
	behind bool
	// stalled is how long the leader has been waiting for the store.
	stalled time.Duration
	// nobody says that nobody listens at the address. A leader that does write
	// is somebody all the same; then refuted is set.
	nobody, refuted bool
	backoff         time.Duration // between Pulls that fail
	lookedAt        time.Time     // at the bucket
	lookAfter       time.Time     // no look before this
	lookPause       time.Duration
}

const (
	// peerBackoffMin and peerBackoffMax bound the pauses between requests that
	// another node did not answer, and between looks at the bucket meanwhile.
	peerBackoffMin = 25 * time.Millisecond
	peerBackoffMax = 500 * time.Millisecond
	// pullGrace is how much longer than it was asked to wait a leader may take
	// for the answer to a Pull.
	pullGrace = time.Second
	// pullHeadStart is how long an entry that was seen in the bucket may take to
	// come from the leader before it is read from the bucket.
	pullHeadStart = 20 * time.Millisecond
)

// followNewest turns to the leader of the replica's epoch, unless this node
// leads. What was forwarded in an older epoch and is not settled by now was not
// committed there, as far as the newest claim is in force; it is sent again.
func (c *Catalog) followNewest(ctx context.Context) {
	f := c.following
	if c.peers == nil || f != nil && f.epoch == c.replica.epoch && !c.leader || f == nil && c.leader {
		return
	}
	c.endFollowing()
	c.relay.observe(c.replica.epoch, c.replica.leader)
	if c.leader {
		return
	}
	f = &following{epoch: c.replica.epoch, address: c.replica.leader, session: journal.NewNonce(), lookedAt: time.Now()}
	f.ctx, f.end = context.WithCancel(ctx)
	c.following = f
	c.heard()
}

// endFollowing gives up what is under way with a leader and puts its edits
// before all others. Whether a void claim hid their commit is not known, so they
// are in doubt.
func (c *Catalog) endFollowing() {
	f := c.following
	if f == nil {
		return
	}
	f.end()
	c.following = nil
	var unsettled []*Proposal
	for _, flight := range f.flights {
		for _, p := range flight.proposals {
			if !p.settled() {
				unsettled = append(unsettled, p)
			}
		}
	}
	c.landings = landings{}
	c.giveBackProposals(unsettled, true)
}

// takeArrivals takes what other nodes answered meanwhile.
func (c *Catalog) takeArrivals(ctx context.Context) error {
	c.pull()
	for {
		select {
		case a := <-c.answers:
			c.takeAnswer(a)
		case p := <-c.pulls:
			if err := c.takePull(ctx, p); err != nil {
				return err
			}
			c.pull()
		default:
			return ctx.Err()
		}
	}
}

// loseLeader turns to the bucket for a while, for the next entries and for the
// claim of another leader.
func (c *Catalog) loseLeader(err error) {
	f := c.following
	if !f.lost {
		level := slog.LevelWarn
		if notLeader := (*NotLeaderError)(nil); errors.Is(err, ErrNobodyThere) || errors.Is(err, ErrBehind) || errors.Is(err, errResigned) || errors.As(err, &notLeader) {
			level = slog.LevelInfo // as it happens whenever the lead changes
		}
		c.logger.Log(f.ctx, level, "the leader cannot be followed", "leader", f.address, "epoch", f.epoch, "error", err)
		f.lookAfter, f.lookPause = time.Time{}, 0
	}
	f.lost, f.nobody = true, errors.Is(err, ErrNobodyThere)
	c.metrics.peerErrors.Inc()
}

// hearsLeader tells whether the leader sends its entries without being asked
// for each.
func (c *Catalog) hearsLeader() bool {
	return c.followsSomebody() && !c.following.lost
}

// lookDue tells whether it is time to look in the bucket for what no leader
// sends.
func (c *Catalog) lookDue() bool { return !time.Now().Before(c.lookTime()) }

func (c *Catalog) lookTime() time.Time {
	f := c.following
	switch {
	case f == nil || c.hearsLeader():
		return never
	case f.behind || !c.stuckSince.IsZero() || c.watch.any():
		return f.lookAfter
	default: // nobody needs it; but the longer it waits, the more there will be to read
		return f.lookedAt.Add(c.cfg.RecentFor)
	}
}

func (c *Catalog) look(ctx context.Context) error {
	f := c.following
	f.lookPause = min(max(2*f.lookPause, peerBackoffMin), peerBackoffMax)
	f.lookedAt = time.Now()
	f.lookAfter = f.lookedAt.Add(f.lookPause)
	last := c.replica.last
	if err := c.follow(ctx); err != nil {
		return err
	}
	if f != c.following {
		return nil
	}
	if f.behind {
		f.behind, f.pullAfter = false, time.Now()
	}
	if c.replica.last > last {
		c.heardOf()
	}
	return nil
}

// followsSomebody tells whether the newest claim names another node.
func (c *Catalog) followsSomebody() bool {
	f := c.following
	return f != nil && f.address != "" && f.address != c.cfg.Address
}
