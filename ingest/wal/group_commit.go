package wal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/mutant"
)

// stageBytes is the buffer in which small frames become one write.
const stageBytes = 256 << 10

// Run writes what is appended until the context ends: one write and one
// fdatasync for all that gathered while the one before was under way, without
// any wait of its own. When the context ends it refuses further frames, writes
// those that are there, closes the file properly and returns nil.
//
// Any error of a write or an fsync ends it: every waiter and every later
// Append gets ErrFailed, and Run returns the error. It must not be called
// again.
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
	close(b.group.done)
	l.metrics.committed(len(b.frames), size, time.Since(start))
	return nil
}

// rotate closes the current file and begins the next. The old file is fsynced
// whole before the new one exists, so only the newest file of a node id can
// have a torn tail.
func (l *Log) rotate() error {
	if err := l.seal(); err != nil {
		return err
	}
	l.mu.Lock()
	old := l.files[len(l.files)-1]
	l.mu.Unlock()
	next := fileHeader{
		id:            fileID{node: l.node, seq: old.id.seq + 1},
		after:         old.last,
		previousBytes: old.bytes,
	}
	if err := l.beginFile(next); err != nil {
		return err
	}
	failpoint.Hit("wal/after-rotate")
	signal(l.sweep)
	return nil
}

// seal ends the current file with a closing frame. All frames before it are
// fsynced, and it says so.
func (l *Log) seal() error {
	l.mu.Lock()
	last := l.files[len(l.files)-1].last
	l.mu.Unlock()
	if err := l.writer.writeClosing(last); err != nil {
		return err
	}
	if err := l.writer.sync(); err != nil {
		return err
	}
	l.mu.Lock()
	l.files[len(l.files)-1].bytes = l.writer.pos
	l.bytes += frameHeaderSize
	l.mu.Unlock()
	return l.writer.close()
}

// beginFile makes a file durable, with its header and its directory entry, and
// makes it the current one. It comes into being under another name: a file
// whose name counts has a good header, or is damaged.
func (l *Log) beginFile(h fileHeader) error {
	name := l.path(h.id.name())
	file, err := l.fs.Create(name + partSuffix)
	if err != nil {
		return fmt.Errorf("create %s: %w", name+partSuffix, err)
	}
	w := writer{file: file, id: h.id, name: name}
	if err := w.begin(h); err != nil {
		return errors.Join(err, w.close())
	}
	if err := l.fs.Rename(name+partSuffix, name); err != nil {
		return errors.Join(fmt.Errorf("rename %s: %w", name+partSuffix, err), w.close())
	}
	if err := l.fs.SyncDir(l.cfg.Dir); err != nil {
		return errors.Join(fmt.Errorf("fsync directory of %s: %w", name, err), w.close())
	}
	w.stage = l.writer.stage
	l.writer = w
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = append(l.files, logFile{id: h.id, last: h.after, bytes: fileHeaderSize})
	l.bytes += fileHeaderSize
	return nil
}

// fail makes the failure final for everyone who waits or will append, and
// returns the error that Run ends with.
func (l *Log) fail(cause error, taken *group) error {
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	l.mu.Lock()
	l.err = err
	gathered := l.gathered.group
	l.gathered = batch{group: newGroup()}
	l.mu.Unlock()
	for _, group := range []*group{taken, gathered} {
		group.err = err
		close(group.done)
	}
	l.metrics.failures.Inc()
	return errors.Join(err, l.writer.close())
}

// runSweeper removes files whose frames are all committed. It has a goroutine
// of its own, since freeing the blocks of a file takes long.
func (l *Log) runSweeper(ctx context.Context) error {
	for {
		select {
		case <-l.sweep:
		case <-ctx.Done():
			return nil
		}
		for l.oldestReleased() {
			if err := l.removeOldest(); err != nil {
				return err
			}
		}
	}
}

func (l *Log) oldestReleased() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.files) > 1 && l.files[0].last <= l.released
}

// removeOldest deletes the oldest file, durably: a later one must never be
// gone while an earlier one is there, as that is how a lost file looks.
func (l *Log) removeOldest() error {
	l.mu.Lock()
	oldest := l.files[0]
	l.mu.Unlock()
	failpoint.Hit("wal/before-remove")
	name := l.path(oldest.id.name())
	// Gone already if the fsync of an earlier call failed.
	if err := l.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	if err := l.fs.SyncDir(l.cfg.Dir); err != nil {
		return fmt.Errorf("fsync directory of %s: %w", name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = l.files[1:]
	l.bytes -= oldest.bytes
	return nil
}

// writer writes one file. It belongs to one goroutine.
type writer struct {
	file   File // nil when closed
	id     fileID
	name   string
	pos    int64 // end of what was written
	synced int64 // end of what fsync has returned for
	stage  []byte
	staged int // bytes in stage, not yet written at pos
}

// begin writes the file's header and makes it durable.
func (w *writer) begin(h fileHeader) error {
	if _, err := w.file.WriteAt(h.encode(), 0); err != nil {
		return fmt.Errorf("write header of %s: %w", w.name, err)
	}
	w.pos = fileHeaderSize
	return w.sync()
}

// write puts a batch behind what is there. Small frames are gathered in the
// stage, large payloads go to the file as they are.
func (w *writer) write(b batch) error {
	parts := b.parts
	var header [frameHeaderSize]byte
	for _, f := range b.frames {
		payload := parts[:f.parts]
		parts = parts[f.parts:]
		crc := uint32(0)
		for _, part := range payload {
			crc = crc32.Update(crc, castagnoli, part)
		}
		h := frameHeader{kind: kindData, length: uint32(f.length), payloadCRC: crc, number: f.number, synced: w.synced}
		h.encode(header[:], w.id, w.pos+int64(w.staged))
		if err := w.put(header[:]); err != nil {
			return err
		}
		for _, part := range payload {
			if err := w.put(part); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

func (w *writer) writeClosing(last uint64) error {
	var header [frameHeaderSize]byte
	h := frameHeader{kind: kindClosing, number: last, synced: w.synced}
	h.encode(header[:], w.id, w.pos)
	if err := w.put(header[:]); err != nil {
		return err
	}
	return w.flush()
}

func (w *writer) put(b []byte) error {
	if w.stage == nil {
		w.stage = make([]byte, stageBytes)
	}
	if w.staged+len(b) > len(w.stage) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(b) > len(w.stage)/4 {
		if err := w.flush(); err != nil {
			return err
		}
		return w.writeOut(b)
	}
	w.staged += copy(w.stage[w.staged:], b)
	return nil
}

func (w *writer) flush() error {
	if w.staged == 0 {
		return nil
	}
	b := w.stage[:w.staged]
	w.staged = 0
	return w.writeOut(b)
}

func (w *writer) writeOut(b []byte) error {
	if _, err := w.file.WriteAt(b, w.pos); err != nil {
		return fmt.Errorf("write %s at %d: %w", w.name, w.pos, err)
	}
	w.pos += int64(len(b))
	return nil
}

// sync makes everything written durable. There is no second try: after a
// failed fsync the kernel may have dropped the bytes and will report success.
func (w *writer) sync() error {
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("fsync %s: %w", w.name, err)
	}
	w.synced = w.pos
	return nil
}

func (w *writer) close() error {
	if w.file == nil {
		return nil
	}
	file := w.file
	w.file = nil
	if err := file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", w.name, err)
	}
	return nil
}
