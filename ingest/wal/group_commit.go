package wal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/mutant"
)

// Run writes what is appended until the context ends: one write and one
// fdatasync for all that gathered while the one before was under way, without
// any wait of its own. When the context ends it refuses further frames, writes
// those that are there, closes the file properly and returns nil.
//
// Any error of a write or an fsync ends it: every waiter and every later
// Append gets ErrFailed, and Run returns the error. An error while a released
// file is taken away ends it too, after the frames that are there are written.
// It must not be called again.
func (l *Log) Run(ctx context.Context) error {
	l.mu.Lock()
	l.running = true
	l.mu.Unlock()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.runWriter(ctx) })
	g.Go(func() error { return l.runSweeper(ctx) })
	err := g.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = false
	return err
}

func (l *Log) runWriter(ctx context.Context) error {
	var spent batch
	for {
		ending := false
		select {
		case <-l.wake:
		case <-ctx.Done():
			ending = true
		}
		taken := l.take(spent, ending)
		if len(taken.frames) > 0 {
			if err := l.commit(taken); err != nil {
				return l.fail(err, taken.group)
			}
		}
		if ending {
			// The group that came last is empty, and stays so.
			if err := l.seal(); err != nil {
				return l.fail(err, newGroup())
			}
			return nil
		}
		clear(taken.parts) // the payloads are the callers' again
		spent = taken
	}
}

// take hands over what gathered, and leaves the room of an earlier batch to
// gather in. If closing, Append refuses from here on.
func (l *Log) take(room batch, closing bool) batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if closing && l.err == nil {
		l.err = ErrClosed
	}
	taken := l.gathered
	l.gathered = batch{frames: room.frames[:0], parts: room.parts[:0], group: newGroup()}
	return taken
}

// commit makes a batch durable and wakes its waiters.
func (l *Log) commit(b batch) error {
	size := int64(0)
	for _, f := range b.frames {
		size += frameHeaderSize + f.length
	}
	// The closing frame still has to fit behind it.
	if l.writer.pos > fileHeaderSize && l.writer.pos+size+frameHeaderSize > l.cfg.FileBytesMax {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := l.writer.write(b); err != nil {
		return err
	}
	failpoint.Hit("wal/after-write")
	if !mutant.On(mutant.SkipWALSync) {
		if err := l.writer.sync(); err != nil {
			return err
		}
	}
	failpoint.Hit("wal/after-sync")

	l.mu.Lock()
	current := &l.files[len(l.files)-1]
	current.last = b.frames[len(b.frames)-1].number
	current.bytes = l.writer.pos
	l.buffered -= size
	l.waiting -= len(b.frames)
	l.mu.Unlock()
	l.metrics.committed(len(b.frames), size, time.Since(start))
	close(b.group.done)
	return nil
}

// fail makes the failure final for everyone who waits or will append, and
// returns the error that Run ends with.
func (l *Log) fail(cause error, taken *group) error {
	err := l.refuse(cause)
	l.mu.Lock()
	gathered := l.gathered.group
	l.gathered = batch{group: newGroup()}
	l.mu.Unlock()
	for _, group := range []*group{taken, gathered} {
		group.err = err
		close(group.done)
	}
	return errors.Join(err, l.writer.close())
}

// refuse makes every later Append fail.
func (l *Log) refuse(cause error) error {
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	l.metrics.failures.Inc()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	return err
}
