package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/wadilog/wadi/catalog"
)

// resolve finds the partitions that offsets name.
func resolve(view *catalog.State, offsets []namedOffset) error {
	for i := range offsets {
		o := &offsets[i]
		t, ok := view.TopicByName(o.name)
		if !ok {
			return topicNotFound(o.name)
		}
		if err := checkPartition(t, o.partition); err != nil {
			return err
		}
		o.at = catalog.TopicPartition{Topic: t.ID, Partition: o.partition}
	}
	return nil
}

// namesUnknown tells that resolve has not found a partition, or the catalog.
func namesUnknown(err error) bool {
	var p *problem
	return errors.As(err, &p) && (p.kind == kindTopicNotFound || p.kind == kindPartNotFound)
}

// commitAttempts is how often a member's commit is tried that others overtake.
const commitAttempts = 5

// proposeOffsets commits offsets, those of a member as its next commit. A commit that
// was made through another node, and of which this one had not heard, is no hindrance
// as long as the client waits: it sends one request after the other. But one that it
// gave up must not take back what it has committed since.
func (x *exchange) proposeOffsets(ctx context.Context, edit catalog.CommitOffsets) (err error) {
	for range commitAttempts {
		if member := (membership{group: edit.Group, id: edit.Member, epoch: edit.Epoch}).in(x.s.topics.View()); member != nil {
			edit.After = member.Commits
		}
		_, err = x.s.propose(ctx, edit)
		if !errors.Is(err, catalog.ErrCommitOvertaken) || x.r.Context().Err() != nil {
			break
		}
	}
	return err
}

// commitOffsets commits offsets by the names of their partitions, as an edit that
// has all but them.
func (x *exchange) commitOffsets(ctx context.Context, edit catalog.CommitOffsets, offsets []namedOffset) error {
	view := x.s.topics.View()
	if view == nil || resolve(view, offsets) != nil {
		var err error
		if view, err = x.s.confirmed(ctx); err != nil {
			return err
		}
		if err := resolve(view, offsets); err != nil {
			return err
		}
	}
	slices.SortFunc(offsets, func(a, b namedOffset) int { return comparePartitions(a.at, b.at) })
	edit.Offsets = make([]catalog.GroupOffset, len(offsets))
	for i, o := range offsets {
		edit.Offsets[i] = catalog.GroupOffset{Partition: o.at, Offset: o.offset, Metadata: o.metadata}
	}
	err := x.proposeOffsets(ctx, edit)
	var (
		above *catalog.CommitOffsetError
		gone  *catalog.CommitPartitionError
	)
	switch {
	case errors.As(err, &above):
		o := offsets[above.Index]
		return kindOffsetAboveEnd.newf("offset %d of partition %d of topic %s is above the end, %d", o.offset, o.partition, o.name, above.End).
			with("topic", o.name).with("partition", int64(o.partition)).with("offset", int64(o.offset)).with("end", int64(above.End))
	case errors.As(err, &gone): // and the view was behind
		return topicNotFound(offsets[gone.Index].name)
	}
	return err
}

// setGroupOffsets serves PUT of a group's offsets: of one without members, or by a
// member.
func (s *Server) setGroupOffsets(x *exchange) error {
	group, err := x.groupParam()
	if err != nil {
		return err
	}
	if err := parseQuery(x.r).done(); err != nil {
		return err
	}
	if err := requireJSON(x.r); err != nil {
		return err
	}
	memory := answerMemory{gate: s.fetched}
	defer memory.release()
	text, err := x.readBody(s.cfg.PollBodyBytesMax, memory.hold)
	if err != nil {
		return err
	}
	m, offsets, err := decodeGroupOffsets(text)
	if err != nil {
		return err
	}
	m.group = group
	ctx, cancel := x.working()
	defer cancel()
	err = x.commitOffsets(ctx, catalog.CommitOffsets{Group: group, Member: m.id, Epoch: m.epoch}, offsets)
	switch {
	case m.id != "":
		err = s.refused(ctx, m, err)
	case errors.Is(err, catalog.ErrGroupNotEmpty):
		err = s.notEmpty(group)
	}
	if err != nil {
		return err
	}
	x.noContent()
	return nil
}

// notEmpty says how many members a group has that must have none.
func (s *Server) notEmpty(group string) *problem {
	members := int64(0)
	if g := s.topics.View().Group(group); g != nil {
		members = int64(len(g.Members))
	}
	return kindGroupNotEmpty.newf("group %s has members: %d", group, members).with("members", members)
}

// decodeGroupOffsets reads {"member_id":…,"epoch":…,"offsets":[…]}; the first two
// go together, and may both be left out.
func decodeGroupOffsets(text []byte) (m membership, offsets []namedOffset, err error) {
	c := newCursor(text)
	err = c.object(func(name string) (err error) {
		switch name {
		case "member_id":
			if m.id, err = c.text(); err == nil {
				err = checkMemberID(m.id)
			}
		case "epoch":
			m.epoch, err = c.epoch()
		case "offsets":
			offsets, err = c.offsets(offsetsToSet)
		default:
			return c.unknown(name)
		}
		return err
	})
	if err == nil {
		err = c.end()
	}
	switch {
	case err != nil:
	case len(offsets) == 0:
		err = kindInvalidJSON.newf("offsets is needed, with at least one partition")
	case (m.id == "") != (m.epoch == 0):
		err = kindInvalidJSON.newf("member_id and epoch go together")
	}
	return m, offsets, err
}

// groupOffsets serves GET of a group's offsets.
func (s *Server) groupOffsets(x *exchange) error {
	name, err := x.groupParam()
	if err != nil {
		return err
	}
	q := parseQuery(x.r)
	topic, filtered := q.take("topic")
	if err := q.done(); err != nil {
		return err
	}
	if filtered {
		if err := checkTopicName(topic); err != nil {
			return err
		}
	}
	ctx, cancel := x.working()
	defer cancel()
	view, g, err := s.confirmedGroup(ctx, name)
	if err != nil {
		return err
	}
	t := x.jsonText()
	defer t.release()
	t.buf = append(t.buf, `{"offsets":[`...)
	comma := false
	for _, of := range committedTopics(view, g) {
		if filtered && of.Name != topic {
			continue
		}
		for number := range of.Partitions {
			committed, ok := view.CommittedOffset(name, catalog.TopicPartition{Topic: of.ID, Partition: number})
			if !ok {
				continue
			}
			if comma {
				t.buf = append(t.buf, ',')
			}
			comma = true
			t.buf = namedPartition{of.Name, number}.appendName(append(t.buf, '{'))
			t.buf = strconv.AppendInt(append(t.buf, `,"offset":`...), int64(committed.Offset), 10)
			t.buf = appendJSONString(append(t.buf, `,"metadata":`...), committed.Metadata)
			t.buf = strconv.AppendInt(append(t.buf, `,"timestamp":`...), committed.Time, 10)
			t.buf = append(t.buf, '}')
			if err := t.flushIfFull(); err != nil {
				return err
			}
		}
	}
	t.buf = append(t.buf, "]}\n"...)
	return t.finish()
}

// jsonText is an answer in JSON that may be long.
func (x *exchange) jsonText() *recordText {
	h := x.w.Header()
	h.Set("Content-Type", mediaJSON)
	h.Set("Cache-Control", "no-store")
	return x.recordText(http.StatusOK)
}

// committedTopics are the topics in which a group committed offsets, by name.
func committedTopics(view *catalog.State, g *catalog.Group) []*catalog.Topic {
	var ids []catalog.TopicID
	view.CommittedOffsets(g.Name, func(tp catalog.TopicPartition, _ catalog.CommittedOffset) bool {
		if len(ids) == 0 || ids[len(ids)-1] != tp.Topic {
			ids = append(ids, tp.Topic)
		}
		return true
	})
	var topics []*catalog.Topic
	for _, id := range ids {
		if t, ok := view.Topic(id); ok {
			topics = append(topics, t)
		}
	}
	sortTopics(topics)
	return topics
}
