package client

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// newMemberID makes an id of its own accord: a join whose answer was lost is then
// repeated for the same member.
func newMemberID() string { return rand.Text() }

func (g *GroupConsumer) memberPath(action string) []string {
	return groupPath(g.cfg.Group, "members", g.id+action)
}

// key keeps a member's requests at one server, whose view of the group is then
// never older than what the member knows.
func (g *GroupConsumer) key() string { return "group/" + g.cfg.Group + "/" + g.id }

// retryableInGroup leaves out what the member has to do something about.
func retryableInGroup(err error) bool {
	return IsRetryable(err) && !errors.Is(err, ErrRebalanceInProgress)
}

// join makes the consumer a member. It has nothing yet: the first poll says what.
func (g *GroupConsumer) join(ctx context.Context) error {
	if g.suspect {
		if err := g.checkTaken(ctx); err != nil {
			return err
		}
	}
	in := map[string]any{
		"topics": g.cfg.Topics, "member_id": g.id, "session_timeout_ms": g.cfg.SessionTimeout.Milliseconds(),
	}
	if g.cfg.ClientID != "" {
		in["client_id"] = g.cfg.ClientID
	}
	if g.cfg.Strategy != "" {
		in["strategy"] = g.cfg.Strategy
	}
	r := request{method: http.MethodPost, path: groupPath(g.cfg.Group, "members"), key: g.key()}
	if err := r.setJSON(in); err != nil {
		return err
	}
	var answer struct {
		Epoch      int64             `json:"epoch"`
		SessionMs  int64             `json:"session_timeout_ms"`
		Assignment []TopicPartitions `json:"assignment"`
	}
	var sent time.Time
	unsure := false
	err := g.client.repeat(ctx, retryableInGroup, func() error {
		sent = time.Now()
		res, err := g.client.attempt(ctx, r)
		if err == nil {
			err = parseAnswer(res, &answer)
		}
		unsure = unsure || IsOutcomeUnknown(err)
		return err
	})
	// One of those may take effect after the one that was answered.
	g.unsureJoin = unsure
	if err != nil {
		return err
	}
	g.joined, g.suspect, g.acknowledged = true, false, false
	g.epoch, g.assigned = answer.Epoch, placesOf(answer.Assignment)
	g.session = time.Duration(answer.SessionMs) * time.Millisecond
	g.lease.end()
	g.lease.renew(sent, g.session)
	return nil
}

// checkTaken ends the consumer if its id is a member, which it is not itself any
// more: another process has joined under it.
func (g *GroupConsumer) checkTaken(ctx context.Context) error {
	d, err := g.client.DescribeGroup(ctx, g.cfg.Group)
	if err != nil && !errors.Is(err, ErrGroupNotFound) {
		return err
	}
	for _, m := range d.Members {
		if m.ID == g.id {
			g.ended = &MemberTakenError{g.cfg.Group, g.id}
			return g.ended
		}
	}
	return nil
}

// fenced forgets what belonged to a member that is none any more: others may have
// its partitions.
func (g *GroupConsumer) fenced() {
	lost := g.lease.end()
	g.forgetAll()
	g.joined = false
	// It may be that our own join, repeated, has come a second time.
	g.suspect = g.cfg.MemberID != "" && !g.unsureJoin
	g.unsureJoin = false
	if len(lost) > 0 && g.cfg.OnRevoked != nil {
		g.cfg.OnRevoked(lost.listed(), true)
	}
}

// rebalance takes a newer assignment over. What is to be let go is let go: the next
// poll commits what was processed in it, and says so.
func (g *GroupConsumer) rebalance(told error) error {
	r, ok := parseRebalanced(told)
	if !ok || r.epoch < g.epoch {
		return told
	}
	if r.epoch == g.epoch {
		// It is about partitions that are not the member's: what it knew of them, and
		// perhaps of others, is not so.
		g.assigned = r.assigned
		if !g.forgetPlaces() {
			return told
		}
		return nil
	}
	g.dropBuffer()
	held := g.lease.holds()
	g.epoch, g.acknowledged, g.assigned = r.epoch, false, r.assigned
	revoked := held.without(r.assigned)
	if len(revoked) > 0 && g.cfg.OnRevoked != nil {
		g.cfg.OnRevoked(revoked.listed(), false)
	}
	g.lease.hold(held.without(revoked))
	for p := range revoked {
		delete(g.positions, p)
		delete(g.handed, p)
		delete(g.troubled, p)
		if g.cfg.ManualCommit {
			delete(g.processed, p)
		}
	}
	return nil
}

// forgetPlaces has the next poll begin where the group has committed, and tells
// whether there was something to forget.
func (g *GroupConsumer) forgetPlaces() bool {
	known := len(g.positions) + len(g.processed)
	g.buffer = nil
	clear(g.positions)
	clear(g.processed)
	clear(g.handed)
	return known > 0
}

// offsetsMax is how many offsets one request commits.
const offsetsMax = 10_000

// offsetsOf lists offsets in order.
func offsetsOf(all map[place]int64) []GroupOffset {
	list := make([]GroupOffset, 0, len(all))
	for _, p := range slices.SortedFunc(maps.Keys(all), place.compare) {
		list = append(list, GroupOffset{p.topic, p.partition, all[p]})
	}
	return list
}

// noteCommitted forgets what is committed.
func (g *GroupConsumer) noteCommitted(offsets []GroupOffset) {
	for _, o := range offsets {
		if p := (place{o.Topic, o.Partition}); g.processed[p] == o.Offset {
			delete(g.processed, p)
		}
	}
}

// Commit commits all records that were handed out; the caller says that they are
// processed. ErrRebalanceInProgress and ErrMemberFenced are for records of
// partitions that are not the member's any more; they go to others again.
func (g *GroupConsumer) Commit(ctx context.Context) error {
	g.comeBack()
	if !g.joined || g.ended != nil {
		return g.ended
	}
	return g.commit(ctx)
}

func (g *GroupConsumer) commit(ctx context.Context) error {
	offsets := offsetsOf(g.processed)
	epoch := g.epoch
	var lost error
	for len(offsets) > 0 {
		chunk := offsets[:min(len(offsets), offsetsMax)]
		r := request{method: http.MethodPut, path: groupPath(g.cfg.Group, "offsets"), key: g.key()}
		in := map[string]any{"member_id": g.id, "epoch": epoch, "offsets": chunk}
		sent := time.Now()
		_, err := g.client.callJSON(ctx, r, retryableInGroup, in, nil)
		newer, moved := parseRebalanced(err)
		switch {
		case err == nil:
			offsets = offsets[len(chunk):]
			g.noteCommitted(chunk)
			g.committed = sent
		case moved && newer.epoch > epoch:
			// The newest epoch covers what the member has not let go of yet.
			g.lease.judge(err)
			epoch = newer.epoch
		case moved:
			// Some of it is not the member's, as after an acknowledgement whose answer
			// was lost. The rest is.
			lost = err
			kept := make([]GroupOffset, 0, len(offsets))
			for _, o := range chunk {
				if p := (place{o.Topic, o.Partition}); newer.assigned[p] {
					kept = append(kept, o)
				} else {
					delete(g.processed, p)
				}
			}
			if len(kept) == len(chunk) {
				for _, o := range chunk {
					delete(g.processed, place{o.Topic, o.Partition})
				}
				return err
			}
			offsets = append(kept, offsets[len(chunk):]...)
		default:
			if errors.Is(err, ErrMemberFenced) {
				g.lease.judge(err)
			}
			return err
		}
	}
	return lost
}

// leave takes the member out of the group.
func (g *GroupConsumer) leave(ctx context.Context) error {
	r := request{
		method: http.MethodDelete, path: g.memberPath(""), key: g.key(), query: url.Values{"epoch": {strconv.FormatInt(g.epoch, 10)}},
	}
	_, err := g.client.call(ctx, r, retryableInGroup)
	if errors.Is(err, ErrMemberFenced) {
		return nil // it has left
	}
	return err
}
