package httpapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/wadilog/wadi/catalog"
)

func (s *Server) fetchMany(x *exchange) error {
	m := newManyFetch(x)
	defer m.memory.release()
	x.w.Header().Set("Vary", "Accept")
	if err := m.parse(); err != nil {
		return err
	}
	// A client that goes away ends a long poll.
	ctx, cancel := context.WithTimeout(x.r.Context(), s.cfg.RequestTimeout+m.maxWait)
	defer cancel()
	if err := m.locate(ctx); err != nil {
		return err
	}
	if err := m.await(ctx); err != nil {
		return err
	}
	if err := m.shares(ctx); err != nil {
		return err
	}
	if err := m.rest(ctx); err != nil {
		return err
	}
	return m.respond(ctx)
}

// locate finds the topics, and the offsets at which to begin, with as few
// questions to the catalog as possible.
func (m *manyFetch) locate(ctx context.Context) error {
	view, err := m.s.topics.Recent(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(m.parts, func(p *partFetch) bool { return !p.settled(view) }) {
		return m.places(ctx, view)
	}
	if view, err = m.s.confirmed(ctx); err != nil {
		return err
	}
	return m.places(ctx, view)
}

// settled tells that a recent view is good enough to find the part's beginning.
func (p *partFetch) settled(view *catalog.State) bool {
	t, ok := view.TopicByName(p.name)
	return ok && p.partition < t.Partitions && (p.start == startOffset || p.start == startTimestamp)
}

func (m *manyFetch) places(ctx context.Context, view *catalog.State) error {
	group, ctx := m.parallel(ctx)
	for _, p := range m.parts {
		t, ok := view.TopicByName(p.name)
		if !ok {
			p.fail(m.s, topicNotFound(p.name))
			continue
		}
		if err := checkPartition(t, p.partition); err != nil {
			p.fail(m.s, err)
			continue
		}
		p.topic = t
		p.at = catalog.PartitionOffset{Partition: catalog.TopicPartition{Topic: t.ID, Partition: p.partition}, Offset: p.offset}
		state := view.Partition(p.at.Partition)
		switch p.start {
		case startEarliest:
			p.at.Offset = state.LogStart()
		case startLatest:
			p.at.Offset = state.End()
		case startTimestamp:
			group.Go(func() error { return m.settle(p, m.atTime(ctx, p)) })
		}
	}
	return group.Wait()
}

func (m *manyFetch) respond(ctx context.Context) error {
	readable := len(m.readable())
	if readable == 0 {
		return m.nothing()
	}
	status := http.StatusOK
	if readable < len(m.parts) {
		status = http.StatusMultiStatus
	}
	t := m.recordText(status)
	defer t.release()
	t.buf = append(t.buf, '{')
	if err := m.appendParts(ctx, t); err != nil {
		return err
	}
	t.buf = append(t.buf, "}\n"...)
	return t.finish()
}

// nothing is the answer if no partition could be read: the first problem, with
// all of them in it.
func (m *manyFetch) nothing() error {
	failed := []byte{'['}
	for i, p := range m.parts {
		if i > 0 {
			failed = append(failed, ',')
		}
		failed = p.appendName(append(failed, '{'))
		failed = append(failed, `,"problem":`...)
		failed = append(p.problem.appendJSON(failed), '}')
	}
	whole := *m.parts[0].problem
	whole.members = slices.Clone(whole.members)
	return whole.with("failed", jsonText(append(failed, ']')))
}
