package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"
)

// GroupConsumer reads the partitions that its group gives it, and commits what
// was processed: each record is handed out at least once to some member. A record
// counts as processed when the loop, or Poll, comes back for the next.
//
// It is for one goroutine, apart from Owns. It joins when it is first asked for
// records, and again if it was taken for lost.
type GroupConsumer struct {
	client *Client
	cfg    GroupConfig
	id     string
	ended  error // nothing is asked any more

	joined       bool
	epoch        int64
	acknowledged bool          // epoch
	session      time.Duration // that the group has noted
	suspect      bool          // somebody else may have joined under the id
	unsureJoin   bool          // a join without an answer may yet take our place

	assigned  placeSet        // of epoch
	positions map[place]int64 // where to read on, after buffer
	buffer    []Record        // fetched, not handed out
	handed    map[place]int64 // after the records that are out
	processed map[place]int64 // after those that came back, and are not committed
	lost      error           // what was the matter with a partition when buffer was fetched
	troubled  map[place]time.Time
	committed time.Time // when that was tried last

	lease groupLease
	beats heartbeats
}

// errGroupClosed is what a GroupConsumer says after Close.
var errGroupClosed = errors.New("the group consumer is closed")

// MemberTakenError is the end of a GroupConsumer whose MemberID another process
// has joined under.
type MemberTakenError struct {
	Group, MemberID string
}

func (e *MemberTakenError) Error() string {
	return fmt.Sprintf("another process has joined group %s as member %s", e.Group, e.MemberID)
}

// Is makes it ErrMemberFenced.
func (e *MemberTakenError) Is(target error) bool { return target == ErrMemberFenced }

// GroupPartitionError is a partition that cannot be read. Below the log start it
// is ErrOffsetBelowStart: records are gone that were not read, and the place is not
// shifted silently. Seek says where to go on.
type GroupPartitionError struct {
	Topic     string
	Partition int32
	Offset    int64 // NoValue for the committed offset
	Err       error
}

func (e *GroupPartitionError) Error() string {
	where := "at the committed offset"
	if e.Offset != NoValue {
		where = fmt.Sprintf("at offset %d", e.Offset)
	}
	return fmt.Sprintf("topic %s partition %d %s: %v", e.Topic, e.Partition, where, explainRange(e.Err))
}

func (e *GroupPartitionError) Unwrap() error { return e.Err }

// ConsumeGroup returns a GroupConsumer. It asks nothing yet.
func (c *Client) ConsumeGroup(cfg GroupConfig) (*GroupConsumer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("group config: %w", err)
	}
	g := &GroupConsumer{client: c, cfg: cfg.withDefaults(), id: cfg.MemberID}
	if g.id == "" {
		g.id = newMemberID()
	}
	g.forgetAll()
	return g, nil
}

// MemberID returns what the group knows the consumer by.
func (g *GroupConsumer) MemberID() string { return g.id }

// Owns tells whether a partition is this member's at the moment: until the session
// timeout after its last answered request, and until it has let go, nobody else
// has it. Who works on a record for long may ask before it writes. It may be called
// by any goroutine.
func (g *GroupConsumer) Owns(topic string, partition int32) bool {
	return g.lease.owns(place{topic, partition})
}

// Seek says where to go on in a partition that the member has. What was handed out
// of it counts as processed up to there.
func (g *GroupConsumer) Seek(topic string, partition int32, offset int64) error {
	p := place{topic, partition}
	if !g.assigned[p] || offset < 0 {
		return invalidArgument("topic %s partition %d is not assigned, or offset %d is below 0", topic, partition, offset)
	}
	g.dropBuffer()
	delete(g.handed, p)
	g.positions[p], g.processed[p] = offset, offset
	return nil
}

// Rewind gives records back that Poll returned last: they do not count as processed
// and come again. Those of a partition must be the last ones of it.
func (g *GroupConsumer) Rewind(records []Record) error {
	back := map[place]int64{}
	for i := range records {
		p := records[i].place()
		after, out := g.handed[p]
		if !out || records[i].Offset >= after {
			return invalidArgument("a record is not one of those that Poll returned last")
		}
		if first, ok := back[p]; !ok || records[i].Offset < first {
			back[p] = records[i].Offset
		}
	}
	g.dropBuffer()
	for p, offset := range back {
		g.handed[p], g.positions[p] = offset, offset
	}
	return nil
}

// Poll returns the next records, none if there are none for Config.Wait. Those that
// it returned before count as processed. Heartbeats go on while they are being
// worked on, but not beyond ctx or ProcessTimeout.
func (g *GroupConsumer) Poll(ctx context.Context) ([]Record, error) {
	g.comeBack()
	g.beats.stop()
	if len(g.buffer) == 0 || !g.lease.good() {
		if err := g.fill(ctx); err != nil {
			return nil, err
		}
	}
	records := g.buffer
	g.buffer = nil
	for i := range records {
		g.handed[records[i].place()] = records[i].Offset + 1
	}
	g.startHeartbeats(ctx)
	return records, nil
}

// Records walks the records until ctx ends or there is an error, which is the
// last that it yields; the next loop goes on. A record at which a loop is left does
// not count as processed and comes again, unless Commit was called for it. Heartbeats
// go on meanwhile, but not beyond ctx.
func (g *GroupConsumer) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		g.comeBack()
		g.beats.stop()
		for {
			if ctx.Err() != nil {
				yield(Record{}, context.Cause(ctx))
				return
			}
			if len(g.buffer) == 0 || !g.lease.good() {
				if err := g.fill(ctx); err != nil {
					yield(Record{}, err)
					return
				}
				continue
			}
			g.startHeartbeats(ctx)
			r := g.buffer[0]
			g.handed[r.place()] = r.Offset + 1
			more := yield(r, nil)
			if _, out := g.handed[r.place()]; more || !out {
				g.comeBack()
				g.take()
			}
			if !more {
				delete(g.handed, r.place())
				return
			}
		}
	}
}

// take leaves the first record of the buffer out, if it is still there.
func (g *GroupConsumer) take() {
	if len(g.buffer) > 0 {
		g.buffer[0] = Record{}
		g.buffer = g.buffer[1:]
	}
}

func (r *Record) place() place { return place{r.Topic, r.Partition} }

// comeBack notes that what is out was processed.
func (g *GroupConsumer) comeBack() {
	maps.Copy(g.processed, g.handed)
	clear(g.handed)
}

// dropBuffer forgets records that were not handed out, to fetch them again.
func (g *GroupConsumer) dropBuffer() {
	for i := len(g.buffer) - 1; i >= 0; i-- {
		p := g.buffer[i].place()
		g.positions[p] = max(g.buffer[i].Offset, g.handed[p])
	}
	g.buffer = nil
}

func (g *GroupConsumer) forgetAll() {
	g.assigned, g.buffer, g.lost = placeSet{}, nil, nil
	g.positions, g.handed, g.processed = map[place]int64{}, map[place]int64{}, map[place]int64{}
	g.troubled = map[place]time.Time{}
}

// fill fetches records, and does what the group asks for before: it joins, lets
// go, and begins anew.
func (g *GroupConsumer) fill(ctx context.Context) error {
	g.beats.stop()
	g.dropBuffer()
	if err := g.lost; err != nil {
		g.lost = nil
		return err
	}
	for turns := 0; ; turns++ {
		if g.ended != nil {
			return g.ended
		}
		// What the group asks for is done at once, unless it never ends.
		if turns > turnsAtOnce && !sleep(ctx, backoff(turns-turnsAtOnce)) || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := g.turn(ctx)
		switch {
		case err == nil && g.lease.good():
			return nil
		case err == nil: // the answer took too long on its way
			g.dropBuffer()
		case errors.Is(err, ErrRebalanceInProgress):
			err = g.rebalance(err)
		case errors.Is(err, ErrMemberFenced):
			g.fenced()
			err = nil
		case errors.Is(err, ErrTopicNotFound) && g.joined && g.forgetPlaces():
			// A topic is gone, and the group is about to know.
			err = nil
		}
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
}

// turnsAtOnce is how many turns of one fill are made without a pause: to join, to
// be told of a rebalance, and to read.
const turnsAtOnce = 4

func (g *GroupConsumer) turn(ctx context.Context) error {
	if !g.joined {
		if err := g.join(ctx); err != nil {
			return err
		}
	}
	if verdict := g.lease.takeVerdict(); verdict != nil {
		return verdict
	}
	return g.poll(ctx)
}

// Close commits what was processed and leaves the group, so that others get its
// partitions at once. With a MemberID it stays a member for SessionTimeout, for
// the process that takes its place; see Leave.
func (g *GroupConsumer) Close(ctx context.Context) error {
	return g.close(ctx, g.cfg.MemberID == "")
}

// Leave is Close, and leaves the group in any case.
func (g *GroupConsumer) Leave(ctx context.Context) error { return g.close(ctx, true) }

func (g *GroupConsumer) close(ctx context.Context, leave bool) error {
	g.beats.stop()
	if !g.joined || g.ended != nil {
		g.ended = errGroupClosed
		return nil
	}
	g.ended = errGroupClosed
	var err error
	if !errors.Is(g.lease.takeVerdict(), ErrMemberFenced) {
		g.dropBuffer()
		clear(g.handed)
		if held := g.lease.holds(); len(held) > 0 && g.cfg.OnRevoked != nil {
			g.cfg.OnRevoked(held.listed(), false)
		}
		if !g.cfg.ManualCommit {
			err = g.commit(ctx)
		}
		if errors.Is(err, ErrRebalanceInProgress) {
			err = nil // what was not committed is others' by now, and comes to them again
		}
	}
	g.lease.end()
	if leave {
		err = errors.Join(err, g.leave(ctx))
	}
	return err
}
