package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest/wal"
)

// replay commits what earlier lives of this data directory acknowledged and
// did not commit, each under its own node id, so that the catalog can tell
// what it has already.
func (g *Ingester) replay(ctx context.Context) error {
	leftovers, err := g.wal.Leftovers()
	if err != nil {
		return fmt.Errorf("look for write-ahead files: %w", err)
	}
	for _, old := range leftovers {
		if err := g.replayLeftover(ctx, old); err != nil {
			return fmt.Errorf("replay the write-ahead buffer of node %s: %w", old.Node, err)
		}
	}
	return nil
}

func (g *Ingester) replayLeftover(ctx context.Context, old *wal.Leftover) error {
	for {
		// The view is of this node's own registration at the earliest, so an id
		// that it does not know was removed, or is of another cluster.
		node, known := g.catalog.View().Node(old.Node)
		if !known {
			empty, err := noFrames(old)
			if err != nil {
				return err
			}
			if empty {
				return old.Remove()
			}
			g.logger.Error("write-ahead files of a node id that the catalog does not know are set aside", "node", old.Node)
			return old.SetAside("the catalog does not know the node id")
		}
		if old.After > node.Last {
			// Frames up to there were released as committed. Either a file of
			// records is missing, or the catalog is that of another time.
			g.logger.Error("write-ahead files begin after what the catalog has of their node", "node", old.Node, "last", node.Last, "first_after", old.After)
		}
		units, err := g.replayFrames(ctx, old, node.Last)
		var order *catalog.CommitOrderError
		if errors.As(err, &order) || errors.Is(err, catalog.ErrUnknownNode) {
			// A copy of this directory is being replayed elsewhere. The catalog
			// takes each frame once; look again at what it has.
			g.logger.Warn("write-ahead files are replayed by another node too", "node", old.Node, "error", err)
			continue
		}
		if err != nil {
			return err
		}
		g.logger.Info("write-ahead buffer replayed", "node", old.Node, "after", node.Last, "requests", units)
		break
	}
	// The files go first. A crash in between leaves an id without files, which
	// does no harm; files without an id would look like records that were lost.
	if err := old.Remove(); err != nil {
		return err
	}
	// The id is not removed: these files may be a copy, and the node that wrote
	// them may run and have acknowledged more since. It expires after long silence.
	err := g.proposeUntilDone(ctx, catalog.KeepNode{Node: old.Node, HasWAL: false})
	if errors.Is(err, catalog.ErrUnknownNode) {
		return nil // whoever replayed the same files drained
	}
	return err
}

func noFrames(old *wal.Leftover) (bool, error) {
	for _, err := range old.Frames(0) {
		return false, err
	}
	return true, nil
}

// replayFrames commits the frames after number last, in segments of the usual
// size, and returns how many there were.
func (g *Ingester) replayFrames(ctx context.Context, old *wal.Leftover, last uint64) (int, error) {
	l := g.newLane(old.Node, last, g.lane.uploader, g.lane.warmer)
	settled := make(chan *sealedSegment, 1)
	l.settled = func(s *sealedSegment) {
		select {
		case settled <- s:
		case <-ctx.Done():
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.run(ctx) })
	count := 0
	group.Go(func() error {
		sent, err := g.sendFrames(ctx, l, old, last, settled)
		count = sent
		if err != nil {
			return err
		}
		return errReplayed // ends the lane, too
	})
	err := group.Wait()
	if errors.Is(err, errReplayed) {
		err = nil
	}
	return count, err
}

// errReplayed ends a lane that has nothing more to do.
var errReplayed = errors.New("replayed")

// sendFrames passes frames to the lane, one segment in flight at a time: memory
// stays that of a segment, and replay is short beside the upload.
func (g *Ingester) sendFrames(ctx context.Context, l *lane, old *wal.Leftover, last uint64, settled <-chan *sealedSegment) (int, error) {
	flush := newFlushController(g.cfg)
	count := 0
	send := func() error {
		if err := l.send(ctx, flush.seal(time.Time{})); err != nil {
			return err
		}
		select {
		case s := <-settled:
			g.countReplayed(s)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for frame, err := range old.Frames(last) {
		if err != nil {
			return count, err
		}
		u, err := decodeUnit(frame.Payload)
		if err != nil {
			return count, fmt.Errorf("frame %d: %w", frame.Number, err)
		}
		u.number = frame.Number
		if !g.nameTopics(u) {
			u.err = catalog.ErrTopicNotFound
			g.countDropped(u)
			continue
		}
		flush.open.add(u, time.Time{})
		count++
		if flush.full() {
			if err := send(); err != nil {
				return count, err
			}
		}
	}
	if len(flush.open.units) > 0 {
		return count, send()
	}
	return count, nil
}

// nameTopics fills in what frames leave out: the names that segments carry. It
// returns false if a topic was deleted. One that the view does not know was: the
// frame is older than this node's registration, which the view holds, and the
// topic older than the frame.
func (g *Ingester) nameTopics(u *unit) bool {
	view := g.catalog.View()
	for i := range u.appends {
		t, ok := view.Topic(u.appends[i].partition.Topic)
		if !ok {
			return false
		}
		u.appends[i].topicName = t.Name
	}
	return true
}

func (g *Ingester) countReplayed(s *sealedSegment) {
	for _, u := range s.units {
		if u.err != nil {
			g.countDropped(u)
			continue
		}
		g.metrics.replayed.Inc()
	}
}

func (g *Ingester) countDropped(u *unit) {
	g.metrics.droppedReplay.Inc()
	g.logger.Warn("acknowledged records could not be committed", "number", u.number, "records", u.appends[0].records, "error", u.err)
}
