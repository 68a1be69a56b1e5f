package catalog

import (
	"container/heap"
	"fmt"
	"sync"
	"time"

	"github.com/wadilog/wadi/internal/mutant"
)

// A member of a group holds its partitions as long as it is heard of. The rules:
//
//  1. A leader notes a heartbeat only if, at that moment, a request that was sent
//     no longer ago than a quarter of the session timeout has proved that it leads.
//  2. It removes a member only once it has led, and has not heard of the member,
//     for more than the session timeout and that quarter.
//  3. The removal is written in the epoch in which it was decided, before any
//     other edit that waits, or not at all; meanwhile no heartbeat of the member
//     is noted.
//
// So a member whose last answered heartbeat was sent at t is in the journal until
// t + timeout at least, if clocks run at the same rate. Its heartbeat was noted at
// some n after t, by a leader of epoch E, with a proof sent at p after n - timeout/4.
//
//   - Removed by the same leader: that was decided more than 1.25 timeouts after n,
//     or before n. If before, the heartbeat has waited for its outcome (3), and
//     found the member gone, or the removal withdrawn.
//   - Removed in a later epoch: E was the newest after p, so its claim landed after
//     p, and its leader began to count after that, when it knew of it; 1.25 timeouts
//     after p is after t + timeout. That E's leader did not know yet that it was
//     deposed, or slept for an hour between its proof and n, or that several leaders
//     came in between, is no matter: only the age of its proof at n is.
//   - Removed in an earlier epoch: that entry precedes E's claim, so E's leader knew
//     of it, and the heartbeat was refused. A removal decided then and still to be
//     written is dropped (3), also by a leader that claims again.
//
// A heartbeat in the journal, as an edit, needs no proof: the entry is one. It was
// written in E after t, and every later claim came after it.

// leaseSlack is the share of a session timeout by which a leader's proof may be
// old, and by which its patience is longer.
func leaseSlack(timeout time.Duration) time.Duration { return timeout / 4 }

const (
	// leaseScanInterval is how often the leader looks for members to remove.
	leaseScanInterval = 250 * time.Millisecond
	// leaseGapMax is how long ago the look before may be. After a longer gap the
	// leader has not listened, and silence means nothing.
	leaseGapMax = 2 * time.Second
	// removalsMax bounds the members that are removed in one entry.
	removalsMax = 100
)

// leases is what a leader has heard of the members of groups, within its lead.
// Its methods are safe for concurrent use.
type leases struct {
	mu       sync.Mutex
	start    time.Time // since when this node leads, and listens; guarded by mu, like all below
	byMember map[memberID]*lease
	queue    leaseQueue
}

type memberID struct{ group, member string }

// lease is what a leader has heard of one member.
type lease struct {
	id      memberID
	joined  int64         // epoch with which the member joined
	timeout time.Duration // of its session
	heard   time.Time     // zero: not since this node leads
	removal *Proposal     // nil, or the newest that was to remove it

	due time.Time // when to look at it; never after it ends
	at  int       // place in the queue
}

func (m *Member) sessionTimeout() time.Duration {
	return time.Duration(m.SessionTimeoutMs) * time.Millisecond
}

func newLeases() *leases { return &leases{byMember: map[memberID]*lease{}} }

// begin makes a lease for every member, as of a claim that is known to be valid.
func (l *leases) begin(s *State, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
	if !mutant.On(mutant.SkipLeaseStart) {
		l.start = now
	}
	s.groups.byName.Scan(func(g *Group) bool {
		for _, m := range g.Members {
			l.add(memberID{g.Name, m.ID}, m)
		}
		return true
	})
}

// end forgets all leases, since another node may lead.
func (l *leases) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
}

// clear wants mu held.
func (l *leases) clear() {
	l.byMember, l.queue = map[memberID]*lease{}, nil
}

// restart begins all leases anew.
func (l *leases) restart(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = now
}

func (l *leases) any() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.byMember) > 0
}

// add makes a lease. It wants mu held.
func (l *leases) add(id memberID, m *Member) *lease {
	found := &lease{id: id, joined: m.Joined, timeout: m.sessionTimeout()}
	found.due = l.endOf(found)
	l.byMember[id] = found
	heap.Push(&l.queue, found)
	return found
}

// endOf is when a lease ends, if nothing is heard. It wants mu held.
func (l *leases) endOf(found *lease) time.Time {
	return later(found.heard, l.start).Add(found.timeout + leaseSlack(found.timeout))
}

// note renews the lease of a member, as a view has it. It returns the removal
// under way that decides first, or false if it does not know the member like that.
func (l *leases) note(id memberID, m *Member, now time.Time) (removal *Proposal, ok bool) {
	found := l.byMember[id]
	switch {
	case found == nil || found.joined != m.Joined:
		return nil, false
	case found.removal != nil && !found.removal.settled():
		return found.removal, true
	}
	found.heard = now
	return nil, true
}

// renewal is what an edit that was carried out says of a member.
type renewal struct {
	id     memberID
	member *Member // nil: it is gone
}

// renewals adds what an edit says of a member, in the state right after it.
func renewals(all []renewal, s *State, e Edit, r Result) []renewal {
	if r.Err != nil {
		return all
	}
	var id memberID
	epoch := int64(-1) // any
	switch e := e.(type) {
	case JoinGroup:
		id = memberID{e.Group, e.Member}
	case SyncMember:
		id = memberID{e.Group, e.Member}
	case KeepMember:
		id, epoch = memberID{e.Group, e.Member}, e.Epoch
	case CommitOffsets:
		id, epoch = memberID{e.Group, e.Member}, e.Epoch
	case RemoveMember:
		return append(all, renewal{id: memberID{e.Group, e.Member}})
	default:
		return all
	}
	if m := s.groups.member(id.group, id.member); m != nil && (epoch < 0 || epoch == m.Epoch) {
		all = append(all, renewal{id: id, member: m})
	}
	return all
}

// applied takes what the edits of an entry said, now that it is committed.
func (l *leases) applied(renewals []renewal, now time.Time) {
	if len(renewals) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range renewals {
		found := l.byMember[r.id]
		if found != nil && (r.member == nil || found.joined != r.member.Joined) {
			heap.Remove(&l.queue, found.at)
			delete(l.byMember, r.id)
			found = nil
		}
		if r.member == nil {
			continue
		}
		if found == nil {
			found = l.add(r.id, r.member)
		}
		found.heard = now
	}
}

// expired returns the removals of the members whose leases have ended, to be
// written in an epoch: removalsMax at most.
func (l *leases) expired(epoch uint64, now time.Time) []*Proposal {
	l.mu.Lock()
	defer l.mu.Unlock()
	var removals []*Proposal
	for len(l.queue) > 0 && len(removals) < removalsMax {
		first := l.queue[0]
		if now.Before(first.due) {
			break
		}
		first.due = l.endOf(first)
		if !now.Before(first.due) {
			if first.removal == nil || first.removal.settled() {
				first.removal = newProposal(RemoveMember{Group: first.id.group, Member: first.id.member, Epoch: first.joined})
				first.removal.lead = epoch
				removals = append(removals, first.removal)
			}
			first.due = now.Add(leaseScanInterval) // if the removal comes to nothing
		}
		heap.Fix(&l.queue, 0)
	}
	return removals
}

// leaseQueue is a heap of leases by when they are due.
type leaseQueue []*lease

func (q leaseQueue) Len() int           { return len(q) }
func (q leaseQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q leaseQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push implements heap.Interface.
func (q *leaseQueue) Push(x any) {
	added := x.(*lease)
	added.at = len(*q)
	*q = append(*q, added)
}

// Pop implements heap.Interface.
func (q *leaseQueue) Pop() any {
	last := (*q)[len(*q)-1]
	(*q)[len(*q)-1] = nil
	*q = (*q)[:len(*q)-1]
	return last
}

// leaseScan is when the loop looked for members to remove.
type leaseScan struct {
	last, next time.Time
	// disturbed says that the store failed since: a member may have been unable to
	// make itself heard.
	disturbed bool
}

// endLeases has the members removed that were silent for too long. A leader that
// did not come by for long, since its process or the store stood still, begins
// all leases anew instead.
func (c *Catalog) endLeases() {
	now := time.Now()
	scan := &c.leaseScan
	if now.Before(scan.next) || c.handsOver() {
		return
	}
	if scan.disturbed || now.Sub(scan.last) > leaseGapMax {
		c.leases.restart(now)
	}
	*scan = leaseScan{last: now, next: now.Add(leaseScanInterval)}
	removals := c.leases.expired(c.replica.epoch, now)
	if len(removals) == removalsMax {
		scan.next = now
	}
	if len(removals) > 0 {
		c.giveBackProposals(removals, false)
	}
}

// scanTime is when to look for members to remove.
func (c *Catalog) scanTime() time.Time {
	if !c.leader || c.handsOver() || !c.leases.any() {
		return never
	}
	return c.leaseScan.next
}

// mayWrite tells whether an edit may be written, or forwarded, by this node as it is.
func (c *Catalog) mayWrite(p *Proposal) bool {
	return p.lead == 0 || c.leader && p.lead == c.replica.epoch || mutant.On(mutant.SkipRemovalWithdraw)
}

// withdraw ends an edit that might not be written any more.
func (p *Proposal) withdraw() {
	outcome := ErrNotCommitted
	if p.stage.Load() == proposalSent || p.inDoubt.Load() {
		outcome = ErrUnknownOutcome
	}
	p.resolve(Result{}, fmt.Errorf("%w: this node leads no more", outcome))
}

// noteRemoval tells of a member that was removed since nothing was heard of it.
func (c *Catalog) noteRemoval(p *Proposal, r Result) {
	if p.lead == 0 || r.Err != nil {
		return
	}
	e := p.edit.(RemoveMember)
	c.metrics.membersExpired.Inc()
	c.logger.Info("a group's member was silent for too long", "group", e.Group, "member", e.Member)
}
