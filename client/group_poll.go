package client

import (
	"context"
	"net/http"
	"time"
)

// troublePause is the time between two polls while a partition cannot be read and
// there is nothing else.
const troublePause = 500 * time.Millisecond

// poll commits what is due, acknowledges the epoch and reads.
func (g *GroupConsumer) poll(ctx context.Context) error {
	commits, wait, err := g.due(ctx)
	if err != nil {
		return err
	}
	var answer pollAnswer
	var sent time.Time
	unsure := false
	err = g.client.repeat(ctx, retryableInGroup, func() error {
		positions := g.positions
		if unsure && !g.acknowledged {
			// The epoch may be acknowledged by now. Then a position counts for a
			// partition that is new to the member, too, and this one may be of a topic
			// that had the name before.
			positions = nil
		}
		asked := positions
		if !g.acknowledged {
			asked = nil // those of a topic that was made anew do not count
		}
		in := map[string]any{
			"epoch": g.epoch, "positions": offsetsOf(positions), "max_bytes": g.cfg.MaxBytes, "min_bytes": 1,
			"max_wait_ms": wait.Milliseconds(),
		}
		if len(commits) > 0 {
			in["commit"] = commits
		}
		if g.cfg.Start.kind == positionLatest {
			in["start"] = "latest"
		}
		r := request{
			method: http.MethodPost, path: g.memberPath(":poll"), key: g.key(), accept: mediaJSON,
			wait: wait, answerMax: (g.cfg.MaxBytes + fetchSlack) * jsonGrowth,
		}
		if err := r.setJSON(in); err != nil {
			return err
		}
		sent = time.Now()
		res, err := g.client.attempt(ctx, r)
		if err == nil {
			answer = pollAnswer{}
			if err = parseAnswer(res, &answer); err == nil {
				err = answer.check(g.epoch, asked)
			}
		}
		unsure = unsure || IsOutcomeUnknown(err)
		return err
	})
	if len(commits) > 0 {
		g.committed = sent
	}
	if told, ok := parseRebalanced(err); ok && told.committed || err == nil {
		g.noteCommitted(commits)
	}
	if err != nil {
		return err
	}
	g.acknowledge(sent)
	if empty := g.takeOver(&answer); empty {
		pause := emptyPause
		if len(g.troubled) > 0 {
			pause = troublePause // the node has not waited
		}
		sleep(ctx, pause)
	}
	return nil
}

// due returns what the next poll is to commit, and how long it may wait.
func (g *GroupConsumer) due(ctx context.Context) (commits []GroupOffset, wait time.Duration, err error) {
	wait = g.cfg.Wait
	if g.cfg.Start.kind == positionLatest {
		for p := range g.assigned {
			if _, known := g.positions[p]; !known {
				wait = 0 // the place counts from when the member got the partition
			}
		}
	}
	if g.cfg.ManualCommit || len(g.processed) == 0 {
		return nil, wait, nil
	}
	// What is let go must be committed before.
	if left := time.Until(g.committed.Add(g.cfg.CommitInterval)); g.acknowledged && left > 0 {
		return nil, min(wait, left), nil
	}
	if len(g.processed) > offsetsMax {
		g.committed = time.Now()
		return nil, wait, g.commit(ctx)
	}
	return offsetsOf(g.processed), wait, nil
}

// acknowledge notes that a poll under the epoch was answered.
func (g *GroupConsumer) acknowledge(sent time.Time) {
	g.lease.renew(sent, g.session)
	if g.acknowledged {
		return
	}
	g.acknowledged = true
	fresh := g.assigned.without(g.lease.holds())
	g.lease.hold(g.assigned)
	// All that was let go is committed.
	for p := range g.processed {
		if !g.assigned[p] {
			delete(g.processed, p)
		}
	}
	if len(fresh) > 0 && g.cfg.OnAssigned != nil {
		g.cfg.OnAssigned(fresh.listed())
	}
}

// takeOver puts the records of an answer into the buffer, and tells whether there
// are none.
func (g *GroupConsumer) takeOver(answer *pollAnswer) (empty bool) {
	n := 0
	for i := range answer.Partitions {
		n += len(answer.Partitions[i].Records)
	}
	g.buffer = make([]Record, 0, n)
	for i := range answer.Partitions {
		one := &answer.Partitions[i]
		p := one.place()
		if !g.assigned[p] {
			continue
		}
		if one.Problem != nil {
			g.trouble(p, one.problem())
			continue
		}
		delete(g.troubled, p)
		if _, known := g.positions[p]; !known && g.cfg.Start.kind == positionLatest {
			// Committed, the beginning stays where it is, whoever goes on.
			g.processed[p] = one.first()
		}
		g.positions[p] = one.NextOffset
		for n := range one.Records {
			g.buffer = append(g.buffer, one.Records[n].record(p))
		}
		one.Records = nil
	}
	return len(g.buffer) == 0
}

// trouble notes that a partition could not be read. What may pass is said only
// when it lasts.
func (g *GroupConsumer) trouble(p place, err error) {
	since, known := g.troubled[p]
	if !known {
		since = time.Now()
		g.troubled[p] = since
	}
	if g.lost != nil || retryableFetch(err) && time.Since(since) < g.client.patience() {
		return
	}
	offset, known := g.positions[p]
	if !known {
		offset = NoValue
	}
	g.lost = &GroupPartitionError{Topic: p.topic, Partition: p.partition, Offset: offset, Err: err}
}
