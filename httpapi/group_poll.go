package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// A poll is a fetch of the partitions that a group's member has, and all else that
// the member must do from time to time: it commits offsets, acknowledges the epoch
// that it names, and renews the lease. The node keeps nothing of it. Where to begin
// is in the request, or else in the catalog.
//
// The answer goes out only if the member still has the epoch: somebody who lost its
// partitions must not get their records, as they may be with another by then.

// groupPoll is one poll.
type groupPoll struct {
	*manyFetch
	membership
	commits   []namedOffset
	positions []namedOffset
	latest    bool // begin at the end where there is neither a position nor a committed offset

	view   *catalog.State
	member *catalog.Member // in view; it has the epoch
	held   []catalog.TopicPartition

	session time.Duration // the member's session timeout
	kept    time.Time     // when the lease was renewed last, at the latest

	committed, acknowledged, anchored bool // what was carried out
}

// provenFor is how long after the leader was asked an answer may go out without
// asking it again.
const provenFor = time.Second

// errMoved ends the wait of a member whose assignment changed.
var errMoved = errors.New("the member's assignment has changed")

func (s *Server) pollGroup(x *exchange) error {
	p := &groupPoll{manyFetch: newManyFetch(x)}
	defer p.memory.release()
	x.w.Header().Set("Vary", "Accept")
	if err := p.parse(); err != nil {
		return err
	}
	if err := p.enter(); err != nil {
		return p.withEffects(err)
	}
	// A client that goes away ends a long poll.
	ctx, cancel := context.WithTimeout(x.r.Context(), s.cfg.RequestTimeout+p.maxWait)
	defer cancel()
	if err := p.read(ctx); err != nil {
		return p.withEffects(err)
	}
	return p.respond(ctx)
}

// withEffects tells what was carried out before the poll failed.
func (p *groupPoll) withEffects(err error) error {
	if !p.committed && !p.acknowledged && !p.anchored {
		return err
	}
	told := toProblem(err, p.s.cfg.RetryAfter)
	told.noSideEffects = false
	if p.committed {
		told.with("committed", jsonText("true"))
	}
	return told
}

// enter does what a poll does before it reads: commit, acknowledge, renew the
// lease. A client that goes away does not end it.
func (p *groupPoll) enter() error {
	ctx, cancel := p.working()
	defer cancel()
	if err := p.commit(ctx); err != nil {
		return err
	}
	var err error
	if p.view, p.member, err = p.s.find(ctx, p.membership); err != nil {
		return err
	}
	if err := p.resolvePositions(ctx); err != nil {
		return err
	}
	p.held = p.member.Held
	if p.member.Synced != p.member.Epoch {
		if err := p.s.acknowledge(ctx, p.membership, p.member); err != nil {
			return err
		}
		p.acknowledged = true
	}
	p.session = time.Duration(p.member.SessionTimeoutMs) * time.Millisecond
	return p.keep(ctx)
}

// commit carries the commit out, if there is one. It may be under an epoch that
// the member has acknowledged and that is not its newest any more.
func (p *groupPoll) commit(ctx context.Context) error {
	if len(p.commits) == 0 {
		return nil
	}
	edit := catalog.CommitOffsets{Group: p.group, Member: p.id, Epoch: p.epoch}
	if err := p.commitOffsets(ctx, edit, p.commits); err != nil {
		return p.refusedCommit(ctx, err)
	}
	p.committed = true
	return nil
}

// refusedCommit is what the member gets to know of a commit that was refused. A
// topic that is not there any more may be why the assignment changed; then that
// is it.
func (p *groupPoll) refusedCommit(ctx context.Context, err error) error {
	if namesUnknown(err) {
		if _, _, found := p.s.find(ctx, p.membership); found != nil {
			return found
		}
	}
	return p.s.refused(ctx, p.membership, err)
}

// anchor commits the end as it is now in the partitions in which the member begins
// there. Otherwise the next poll would begin at a later end, and so would the next
// member that gets the partition: nobody would read what came in between.
func (p *groupPoll) anchor(ctx context.Context) error {
	edit := catalog.CommitOffsets{Group: p.group, Member: p.id, Epoch: p.epoch}
	for _, part := range p.parts {
		if part.start == startLatest {
			edit.Offsets = append(edit.Offsets, catalog.GroupOffset{Partition: part.at.Partition, Offset: part.at.Offset})
		}
	}
	if len(edit.Offsets) == 0 {
		return nil
	}
	slices.SortFunc(edit.Offsets, func(a, b catalog.GroupOffset) int { return comparePartitions(a.Partition, b.Partition) })
	if err := p.proposeOffsets(ctx, edit); err != nil {
		return p.refusedCommit(ctx, err)
	}
	p.anchored = true
	return nil
}

// resolvePositions finds the partitions that the positions name.
func (p *groupPoll) resolvePositions(ctx context.Context) error {
	err := resolve(p.view, p.positions)
	if err == nil {
		return nil
	}
	view, confirmErr := p.s.confirmed(ctx)
	if confirmErr != nil {
		return confirmErr
	}
	if p.member = p.in(view); p.member == nil || p.member.Epoch != p.epoch {
		return p.changed(view)
	}
	p.view = view
	return resolve(view, p.positions)
}

// keep renews the lease.
func (p *groupPoll) keep(ctx context.Context) error {
	began := time.Now()
	if err := p.s.topics.KeepMember(ctx, p.group, p.id, p.epoch); err != nil {
		return p.s.refused(ctx, p.membership, err)
	}
	p.kept = began
	return nil
}

// read waits until there is something and reads it.
func (p *groupPoll) read(ctx context.Context) error {
	if err := p.begin(ctx); err != nil {
		return err
	}
	err := p.whileMember(ctx, func(ctx context.Context) error {
		if err := p.await(ctx); err != nil {
			return err
		}
		if err := p.shares(ctx); err != nil {
			return err
		}
		return p.rest(ctx)
	})
	if err != nil {
		return err
	}
	if time.Since(p.kept) > provenFor {
		if err := p.keep(ctx); err != nil {
			return err
		}
	}
	_, _, err = p.s.find(ctx, p.membership)
	return err
}

// begin settles where to begin in each partition.
func (p *groupPoll) begin(ctx context.Context) error {
	at := make(map[catalog.TopicPartition]catalog.Offset, len(p.positions))
	for i := range p.positions {
		at[p.positions[i].at] = p.positions[i].offset
	}
	var err error
	if p.view, p.member, err = p.s.find(ctx, p.membership); err != nil {
		return err
	}
	if n := len(p.member.Assigned); n > p.s.cfg.PollPartitionsMax {
		limit := p.s.cfg.PollPartitionsMax
		return kindManyPartitions.newf("the member has %d partitions, and one poll reads at most %d; the group needs more members", n, limit).
			with("limit", int64(limit)).with("partitions", int64(n))
	}
	known := 0
	for _, tp := range p.member.Assigned {
		if _, ok := at[tp]; !ok {
			continue
		}
		known++
		// Of a partition that is new to the member it cannot know a position yet;
		// this one is of a topic that had the name before.
		if p.acknowledged && !slices.Contains(p.held, tp) {
			delete(at, tp)
		}
	}
	if known < len(p.positions) || len(at) < len(p.member.Assigned) {
		// Committed offsets and bounds are those of now.
		if p.view, err = p.s.confirmed(ctx); err != nil {
			return err
		}
		if p.member = p.in(p.view); known < len(p.positions) || p.member == nil || p.member.Epoch != p.epoch {
			return p.changed(p.view)
		}
	}
	for _, t := range byTopic(p.view, p.member.Assigned) {
		for _, number := range t.partitions {
			part := &partFetch{topic: t.topic, pinned: true}
			part.name, part.partition = t.topic.Name, number
			part.at.Partition = catalog.TopicPartition{Topic: t.topic.ID, Partition: number}
			p.place(part, at)
			p.parts = append(p.parts, part)
		}
	}
	return p.anchor(ctx)
}

// place finds out where to begin in one partition.
func (p *groupPoll) place(part *partFetch, at map[catalog.TopicPartition]catalog.Offset) {
	tp := part.at.Partition
	if offset, ok := at[tp]; ok {
		part.at.Offset = offset
		return
	}
	if committed, ok := p.view.CommittedOffset(p.group, tp); ok {
		part.at.Offset = committed.Offset
		return
	}
	state := p.view.Partition(tp)
	if p.latest {
		part.start, part.at.Offset = startLatest, state.End()
		return
	}
	part.start, part.at.Offset = startEarliest, state.LogStart()
}

// whileMember calls f and renews the lease meanwhile. The context that it gives to
// f ends when the member's assignment changes; that is its error, then.
func (p *groupPoll) whileMember(ctx context.Context, f func(context.Context) error) error {
	watched, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if p.s.topics.WaitMember(watched, p.group, p.id, p.epoch) == nil {
			cancel(errMoved)
		}
	})
	watching.Go(func() { p.stayAlive(watched, cancel) })
	err := f(watched)
	moved := errors.Is(context.Cause(watched), errMoved)
	cancel(nil)
	watching.Wait()
	if !moved {
		return err
	}
	view, err := p.s.confirmed(ctx)
	if err != nil {
		return err
	}
	return p.changed(view)
}

const (
	// keepsPerSession is how many times a waiting poll renews the lease in one
	// session timeout.
	keepsPerSession = 3
	// keepRetries is how many times more often it tries if that fails.
	keepRetries = 4
)

// stayAlive renews the lease until ctx ends, and ends it when there is none any more.
func (p *groupPoll) stayAlive(ctx context.Context, cancel context.CancelCauseFunc) {
	often := p.session / keepsPerSession
	next := time.NewTimer(often)
	defer next.Stop()
	for {
		select {
		case <-next.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		err := p.s.topics.KeepMember(ctx, p.group, p.id, p.epoch)
		switch {
		case err == nil:
			p.kept = began
			next.Reset(often)
		case movedOn(err):
			cancel(errMoved)
			return
		default: // the answer says so, if it lasts that long
			next.Reset(often / keepRetries)
		}
	}
}

func (p *groupPoll) respond(ctx context.Context) error {
	status := http.StatusOK
	if len(p.readable()) < len(p.parts) {
		status = http.StatusMultiStatus
	}
	t := p.recordText(status)
	defer t.release()
	t.buf = strconv.AppendInt(append(t.buf, `{"epoch":`...), p.epoch, 10)
	t.buf = append(t.buf, ',')
	if err := p.appendParts(ctx, t); err != nil {
		return err
	}
	t.buf = append(t.buf, "}\n"...)
	return t.finish()
}

// comparePartitions orders partitions as the catalog does.
func comparePartitions(a, b catalog.TopicPartition) int {
	return cmp.Or(slices.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Partition, b.Partition))
}
