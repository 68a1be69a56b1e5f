package httpapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
)

// membership is a member of a group as a request names it. Nothing of it is kept
// on the node: every request finds the member in the catalog.
type membership struct {
	group, id string
	epoch     int64
}

// in returns the member in a view, nil if the view has none of that id or one
// that joined again after the epoch.
func (m membership) in(view *catalog.State) *catalog.Member {
	if view == nil {
		return nil
	}
	g := view.Group(m.group)
	if g == nil {
		return nil
	}
	member := g.Member(m.id)
	if member == nil || m.epoch < member.Joined {
		return nil
	}
	return member
}

// find returns the member if the epoch is its newest, with a view that has it,
// or the problem that says what is so instead. The view may be behind: what else
// is said of the member rests on the answer of the leader.
func (s *Server) find(ctx context.Context, m membership) (*catalog.State, *catalog.Member, error) {
	view := s.topics.View()
	if member := m.in(view); member != nil && member.Epoch == m.epoch {
		return view, member, nil
	}
	view, err := s.confirmed(ctx)
	if err != nil {
		return nil, nil, err
	}
	if member := m.in(view); member != nil && member.Epoch == m.epoch {
		return view, member, nil
	}
	return nil, nil, m.changed(view)
}

// changed is what a member gets to know whose epoch is not the newest, or that
// named a partition that it does not hold; view must be current.
func (m membership) changed(view *catalog.State) *problem {
	member := m.in(view)
	if member == nil {
		return kindMemberFenced.newf("member %s is not in group %s any more under epoch %d; join again", m.id, m.group, m.epoch).
			with("group", m.group).with("member_id", m.id)
	}
	detail := "the member's newest epoch is " + itoa(member.Epoch) + ", not " + itoa(m.epoch)
	if member.Epoch == m.epoch {
		detail = "the request names a partition that the member does not hold"
	}
	return kindRebalance.newf("%s", detail).
		with("epoch", member.Epoch).
		with("assignment", jsonText(appendAssignment(nil, view, member.Assigned))).
		with("revoked", jsonText(appendAssignment(nil, view, member.Revoked())))
}

// refused turns an error of the catalog into what the member gets to know.
func (s *Server) refused(ctx context.Context, m membership, err error) error {
	if !movedOn(err) {
		return err
	}
	view, confirmErr := s.confirmed(ctx)
	if confirmErr != nil {
		return confirmErr
	}
	return m.changed(view)
}

// movedOn tells that the catalog refused a member because of its epoch.
func movedOn(err error) bool {
	var rebalance *catalog.RebalanceError
	return errors.As(err, &rebalance) || errors.Is(err, catalog.ErrMemberFenced)
}

// propose commits an edit; what the catalog refuses is an error too.
func (s *Server) propose(ctx context.Context, e catalog.Edit) (catalog.Result, error) {
	result, err := s.topics.Propose(ctx, e)
	if err == nil {
		err = result.Err
	}
	return result, err
}

// acknowledge notes that a member has let go of what is not in its newest
// assignment, if it has not said so before.
func (s *Server) acknowledge(ctx context.Context, m membership, member *catalog.Member) error {
	if member.Synced == member.Epoch {
		return nil
	}
	_, err := s.propose(ctx, catalog.SyncMember{Group: m.group, Member: m.id, Epoch: m.epoch})
	return s.refused(ctx, m, err)
}

// plainJSON reads the body of a request that has no parameters.
func (x *exchange) plainJSON() ([]byte, error) {
	if err := parseQuery(x.r).done(); err != nil {
		return nil, err
	}
	if err := requireJSON(x.r); err != nil {
		return nil, err
	}
	return x.readSmallBody()
}

// joinGroup serves POST of a group's members.
func (s *Server) joinGroup(x *exchange) error {
	group, err := x.groupParam()
	if err != nil {
		return err
	}
	text, err := x.plainJSON()
	if err != nil {
		return err
	}
	edit, err := s.decodeJoin(text)
	if err != nil {
		return err
	}
	edit.Group = group
	if edit.Member == "" {
		id, err := uuid.NewRandom()
		if err != nil {
			return err
		}
		edit.Member = id.String()
	}
	ctx, cancel := x.working()
	defer cancel()
	if err := s.subscribable(ctx, edit.Topics); err != nil {
		return err
	}
	result, err := s.propose(ctx, edit)
	if err != nil {
		return s.notJoined(edit, err)
	}
	// The node's replica has the edit by now, and perhaps more: the newest
	// assignment is answered. Another may have joined under the id since.
	view := s.topics.View()
	m := membership{group, edit.Member, result.Epoch}
	member := m.in(view)
	if member == nil {
		told := m.changed(view)
		told.noSideEffects = false // whoever was the member before is fenced all the same
		return told
	}
	status := http.StatusOK
	if result.Created {
		status = http.StatusCreated
	}
	answer := appendJSONString([]byte(`{"member_id":`), member.ID)
	answer = strconv.AppendInt(append(answer, `,"epoch":`...), member.Epoch, 10)
	answer = appendJSONString(append(answer, `,"strategy":`...), view.Group(group).Strategy.String())
	answer = strconv.AppendInt(append(answer, `,"session_timeout_ms":`...), int64(member.SessionTimeoutMs), 10)
	answer = appendAssignment(append(answer, `,"assignment":`...), view, member.Assigned)
	x.answer(status, append(answer, "}\n"...))
	return nil
}

// notJoined adds the actual values to why the catalog refused a join.
func (s *Server) notJoined(edit catalog.JoinGroup, err error) error {
	g := s.topics.View().Group(edit.Group)
	switch {
	case errors.Is(err, catalog.ErrGroupFull) && (g == nil || len(g.Members) < catalog.GroupMembersMax):
		return groupFull("topics to which its members subscribe", catalog.GroupTopicsMax)
	case errors.Is(err, catalog.ErrGroupStrategy) && g != nil:
		return kindGroupStrategy.newf("the group has the strategy %s, not %s", g.Strategy, edit.Strategy).with("strategy", g.Strategy.String())
	}
	return err
}

// subscribable makes sure that all topics are there. They are created if the node
// does that for topics that are produced to.
func (s *Server) subscribable(ctx context.Context, topics []string) error {
	view, err := s.confirmed(ctx)
	if err != nil {
		return err
	}
	for _, name := range topics {
		if _, ok := view.TopicByName(name); ok {
			continue
		}
		if !s.cfg.AutoCreateTopics {
			return topicNotFound(name)
		}
		if _, err := s.autoCreate(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// decodeJoin reads {"topics":[…],"member_id":…,"client_id":…,"strategy":…,
// "session_timeout_ms":…}, of which topics is needed.
func (s *Server) decodeJoin(text []byte) (edit catalog.JoinGroup, err error) {
	edit.SessionTimeoutMs = int32(s.cfg.SessionTimeout.Milliseconds())
	c := newCursor(text)
	err = c.object(func(name string) (err error) {
		switch name {
		case "topics":
			edit.Topics, err = c.topics()
		case "member_id":
			if edit.Member, err = c.text(); err == nil {
				err = checkMemberID(edit.Member)
			}
		case "client_id":
			edit.ClientID, err = c.text()
			if err == nil && !catalog.ValidToken(edit.ClientID) {
				err = c.wrong(tokenRule)
			}
		case "strategy":
			var text string
			if text, err = c.text(); err != nil {
				return err
			}
			var ok bool
			if edit.Strategy, ok = catalog.ParseStrategy(text); !ok {
				return c.wrong("must be range or cooperative-sticky")
			}
		case "session_timeout_ms":
			var ms int64
			ms, err = c.integer(catalog.SessionTimeoutMsMin, catalog.SessionTimeoutMsMax)
			edit.SessionTimeoutMs = int32(ms)
		default:
			return c.unknown(name)
		}
		return err
	})
	if err == nil {
		err = c.end()
	}
	if err == nil && len(edit.Topics) == 0 {
		err = kindInvalidJSON.newf("topics is needed, with at least one name")
	}
	return edit, err
}

// topics reads the names of the topics to subscribe to, and sorts them.
func (c *cursor) topics() ([]string, error) {
	var names []string
	err := c.array(func(i int) error {
		if i == catalog.GroupTopicsMax {
			return kindInvalidJSON.newf("a member subscribes to at most %d topics", catalog.GroupTopicsMax).
				with("limit", int64(catalog.GroupTopicsMax))
		}
		name, err := c.text()
		if err != nil {
			return err
		}
		if err := checkTopicName(name); err != nil {
			return err
		}
		if slices.Contains(names, name) {
			return c.wrong("names a topic that is named before")
		}
		names = append(names, name)
		return nil
	})
	slices.Sort(names)
	return names, err
}

// memberPath reads the path of a member's resource, and that it has no query.
func (x *exchange) memberPath() (m membership, err error) {
	if m.group, err = x.groupParam(); err != nil {
		return m, err
	}
	if m.id, err = x.memberParam(); err != nil {
		return m, err
	}
	return m, nil
}

// heartbeat serves POST of a member's heartbeats. Naming the newest epoch
// acknowledges it.
func (s *Server) heartbeat(x *exchange) error {
	m, err := x.memberPath()
	if err != nil {
		return err
	}
	text, err := x.plainJSON()
	if err != nil {
		return err
	}
	if m.epoch, err = decodeHeartbeat(text); err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	_, member, err := s.find(ctx, m)
	if err != nil {
		return err
	}
	if err := s.acknowledge(ctx, m, member); err != nil {
		return err
	}
	if err := s.topics.KeepMember(ctx, m.group, m.id, m.epoch); err != nil {
		return s.refused(ctx, m, err)
	}
	view, member, err := s.find(ctx, m)
	if err != nil {
		return err
	}
	answer := strconv.AppendInt([]byte(`{"epoch":`), member.Epoch, 10)
	answer = appendAssignment(append(answer, `,"assignment":`...), view, member.Assigned)
	x.answer(http.StatusOK, append(answer, "}\n"...))
	return nil
}

func decodeHeartbeat(text []byte) (epoch int64, err error) {
	c := newCursor(text)
	err = c.object(func(name string) (err error) {
		if name != "epoch" {
			return c.unknown(name)
		}
		epoch, err = c.epoch()
		return err
	})
	if err == nil {
		err = c.end()
	}
	if err == nil && epoch == 0 {
		err = kindInvalidJSON.newf("epoch is needed")
	}
	return epoch, err
}

// epoch reads a member's epoch; they begin at 1.
func (c *cursor) epoch() (int64, error) { return c.integer(1, math.MaxInt64) }

// leaveGroup serves DELETE of a member: without an epoch whoever it is.
func (s *Server) leaveGroup(x *exchange) error {
	m, err := x.memberPath()
	if err != nil {
		return err
	}
	q := parseQuery(x.r)
	const whoever = 0
	m.epoch = q.integer("epoch", whoever, 1, math.MaxInt64)
	if err := q.done(); err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	view, err := s.confirmed(ctx)
	if err != nil {
		return err
	}
	named := m
	if m.epoch == whoever {
		named.epoch = math.MaxInt64
	}
	if named.in(view) == nil {
		return m.noMember()
	}
	_, err = s.propose(ctx, catalog.RemoveMember{Group: m.group, Member: m.id, Epoch: m.epoch})
	if errors.Is(err, catalog.ErrMemberFenced) {
		return m.noMember()
	}
	if err != nil {
		return err
	}
	x.noContent()
	return nil
}

func (m membership) noMember() *problem {
	return kindMemberFenced.newf("group %s has no such member %s", m.group, m.id).with("group", m.group).with("member_id", m.id)
}

// noContent answers that it was done.
func (x *exchange) noContent() {
	x.w.Header().Set("Cache-Control", "no-store")
	x.w.WriteHeader(http.StatusNoContent)
}
