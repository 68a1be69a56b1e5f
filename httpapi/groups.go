package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/wadilog/wadi/catalog"
)

// confirmedGroup finds a group as it is now.
func (s *Server) confirmedGroup(ctx context.Context, name string) (*catalog.State, *catalog.Group, error) {
	view, err := s.confirmed(ctx)
	if err != nil {
		return nil, nil, err
	}
	g := view.Group(name)
	if g == nil {
		return nil, nil, groupNotFound(name)
	}
	return view, g, nil
}

func groupNotFound(name string) error {
	return kindGroupNotFound.newf("group %s does not exist", name).with("group", name)
}

// groupState is how far a group is with sharing out its partitions.
func groupState(g *catalog.Group) string {
	switch {
	case len(g.Members) == 0:
		return "empty"
	case g.Stable():
		return "stable"
	}
	return "rebalancing"
}

// appendGroupHead appends what is in the listing and in the description. A group
// without members takes the strategy of who comes first, so it has none.
func appendGroupHead(dst []byte, g *catalog.Group) []byte {
	dst = appendJSONString(append(dst, `"group":`...), g.Name)
	dst = appendJSONString(append(dst, `,"state":`...), groupState(g))
	dst = append(dst, `,"strategy":`...)
	if len(g.Members) == 0 {
		return append(dst, "null"...)
	}
	return appendJSONString(dst, g.Strategy.String())
}

func (s *Server) listGroups(x *exchange) error {
	p, err := x.page("group")
	if err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	view, err := s.confirmed(ctx)
	if err != nil {
		return err
	}
	x.answer(http.StatusOK, appendPage(nil, p, "groups", view.Groups, func(g *catalog.Group) string { return g.Name },
		func(dst []byte, g *catalog.Group) []byte {
			dst = appendGroupHead(append(dst, '{'), g)
			dst = strconv.AppendInt(append(dst, `,"members":`...), int64(len(g.Members)), 10)
			return append(dst, '}')
		}))
	return nil
}

// describeGroup serves GET of a group: its members, and how far it is behind.
func (s *Server) describeGroup(x *exchange) error {
	name, err := x.groupParam()
	if err != nil {
		return err
	}
	if err := parseQuery(x.r).done(); err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	view, g, err := s.confirmedGroup(ctx, name)
	if err != nil {
		return err
	}
	t := x.jsonText()
	defer t.release()
	t.buf = appendGroupHead(append(t.buf, '{'), g)
	t.buf = strconv.AppendInt(append(t.buf, `,"epoch":`...), g.Epoch, 10)
	t.buf = append(t.buf, `,"members":[`...)
	for i, m := range g.Members {
		if i > 0 {
			t.buf = append(t.buf, ',')
		}
		t.buf = appendMemberDescription(t.buf, view, m)
		if err := t.flushIfFull(); err != nil {
			return err
		}
	}
	t.buf = append(t.buf, `],"partitions":[`...)
	lag, err := t.groupPartitions(view, g)
	if err != nil {
		return err
	}
	t.buf = strconv.AppendInt(append(t.buf, `],"lag":`...), lag, 10)
	t.buf = append(t.buf, "}\n"...)
	return t.finish()
}

func appendMemberDescription(dst []byte, view *catalog.State, m *catalog.Member) []byte {
	dst = appendJSONString(append(dst, `{"member_id":`...), m.ID)
	dst = append(dst, `,"client_id":`...)
	dst = appendToken(dst, m.ClientID)
	dst = append(dst, `,"topics":`...)
	dst = appendMember(dst, m.Topics)
	dst = strconv.AppendInt(append(dst, `,"epoch":`...), m.Epoch, 10)
	dst = strconv.AppendInt(append(dst, `,"session_timeout_ms":`...), int64(m.SessionTimeoutMs), 10)
	dst = appendAssignment(append(dst, `,"assignment":`...), view, m.Assigned)
	dst = appendAssignment(append(dst, `,"revoked":`...), view, m.Revoked())
	return append(dst, '}')
}

// groupPartitions writes the partitions to which a group subscribes, or in which
// it committed, and returns how many records it is behind in all of them.
func (t *recordText) groupPartitions(view *catalog.State, g *catalog.Group) (lag int64, err error) {
	comma := false
	for _, of := range groupTopics(view, g) {
		owners := owners(g, of.topic)
		for number := range of.topic.Partitions {
			tp := catalog.TopicPartition{Topic: of.topic.ID, Partition: number}
			committed, ok := view.CommittedOffset(g.Name, tp)
			if !of.subscribed && !ok {
				continue
			}
			if comma {
				t.buf = append(t.buf, ',')
			}
			comma = true
			p := view.Partition(tp)
			from := p.LogStart()
			t.buf = namedPartition{of.topic.Name, number}.appendName(append(t.buf, '{'))
			t.buf = appendToken(append(t.buf, `,"member_id":`...), owners[number])
			t.buf = append(t.buf, `,"committed":`...)
			if ok {
				from = committed.Offset
				t.buf = strconv.AppendInt(t.buf, int64(from), 10)
			} else {
				t.buf = append(t.buf, "null"...)
			}
			lag += int64(p.End() - from)
			t.buf = strconv.AppendInt(append(t.buf, `,"log_start_offset":`...), int64(p.LogStart()), 10)
			t.buf = strconv.AppendInt(append(t.buf, `,"end_offset":`...), int64(p.End()), 10)
			t.buf = strconv.AppendInt(append(t.buf, `,"lag":`...), int64(p.End()-from), 10)
			t.buf = append(t.buf, '}')
			if err := t.flushIfFull(); err != nil {
				return 0, err
			}
		}
	}
	return lag, nil
}

// groupTopic is a topic that concerns a group.
type groupTopic struct {
	topic      *catalog.Topic
	subscribed bool
}

// groupTopics are the topics to which members subscribe, and those in which the
// group committed offsets, by name.
func groupTopics(view *catalog.State, g *catalog.Group) []groupTopic {
	topics := map[catalog.TopicID]groupTopic{}
	for _, t := range committedTopics(view, g) {
		topics[t.ID] = groupTopic{topic: t}
	}
	for _, m := range g.Members {
		for _, name := range m.Topics {
			if t, ok := view.TopicByName(name); ok {
				topics[t.ID] = groupTopic{topic: t, subscribed: true}
			}
		}
	}
	all := make([]groupTopic, 0, len(topics))
	for _, t := range topics {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b groupTopic) int { return cmp.Compare(a.topic.Name, b.topic.Name) })
	return all
}

func sortTopics(topics []*catalog.Topic) {
	slices.SortFunc(topics, func(a, b *catalog.Topic) int { return cmp.Compare(a.Name, b.Name) })
}

// owners returns the id of the member that may be reading it for each partition of
// a topic, "" for none.
func owners(g *catalog.Group, t *catalog.Topic) []string {
	ids := make([]string, t.Partitions)
	for _, m := range g.Members {
		for _, partitions := range [][]catalog.TopicPartition{m.Held, m.Assigned} {
			first, _ := slices.BinarySearchFunc(partitions, catalog.TopicPartition{Topic: t.ID}, comparePartitions)
			for _, tp := range partitions[first:] {
				if tp.Topic != t.ID {
					break
				}
				ids[tp.Partition] = m.ID
			}
		}
	}
	return ids
}

// deleteGroup serves DELETE of a group without members.
func (s *Server) deleteGroup(x *exchange) error {
	name, err := x.groupParam()
	if err != nil {
		return err
	}
	if err := parseQuery(x.r).done(); err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	if _, _, err := s.confirmedGroup(ctx, name); err != nil {
		return err
	}
	_, err = s.propose(ctx, catalog.DeleteGroup{Group: name})
	switch {
	case errors.Is(err, catalog.ErrGroupNotEmpty):
		return s.notEmpty(name)
	case errors.Is(err, catalog.ErrGroupNotFound):
		return groupNotFound(name)
	case err != nil:
		return err
	}
	x.noContent()
	return nil
}
