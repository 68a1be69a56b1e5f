package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/wadilog/wadi/internal/failpoint"
)

// sparesMax bounds the released files that are kept to be overwritten. They
// come on top of Config.BytesMax.
const sparesMax = 2

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
	file, made, err := l.rawFile(name)
	if err != nil {
		return err
	}
	w := writer{file: file, id: h.id, name: name}
	if err := w.begin(h); err != nil {
		return errors.Join(err, w.close())
	}
	if err := l.fs.Rename(made, name); err != nil {
		return errors.Join(fmt.Errorf("rename %s: %w", made, err), w.close())
	}
	if err := l.syncDir(); err != nil {
		return errors.Join(err, w.close())
	}
	w.stage = l.writer.stage
	l.writer = w
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = append(l.files, logFile{id: h.id, last: h.after, bytes: fileHeaderSize})
	l.bytes += fileHeaderSize
	return nil
}

// rawFile opens a file to begin, and returns its name as of now: a spare one,
// as overwriting costs an fsync less than growing does, or else a new one.
func (l *Log) rawFile(name string) (File, string, error) {
	l.mu.Lock()
	made, spare := name+partSuffix, false
	if n := len(l.spares); n > 0 {
		made, spare = l.spares[n-1], true
		l.spares = l.spares[:n-1]
	}
	l.mu.Unlock()
	open := l.fs.Create
	if spare {
		open = l.fs.Open
	}
	file, err := open(made)
	if err != nil {
		return nil, "", fmt.Errorf("open %s: %w", made, err)
	}
	return file, made, nil
}

// runSweeper takes away files whose frames are all committed. It has a goroutine
// of its own, since freeing the blocks of a file takes long.
func (l *Log) runSweeper(ctx context.Context) error {
	for {
		select {
		case <-l.sweep:
		case <-ctx.Done():
			return nil
		}
		for l.oldestReleased() {
			if err := l.retireOldest(); err != nil {
				return l.refuse(err)
			}
		}
	}
}

func (l *Log) oldestReleased() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.files) > 1 && l.files[0].last <= l.released
}

// retireOldest makes the oldest file a spare one, or deletes it if there are
// enough, durably: a later file must never be gone while an earlier one is
// there, as that is how a lost file looks. And before a spare file is written
// to, its old name must be gone.
func (l *Log) retireOldest() error {
	l.mu.Lock()
	oldest := l.files[0]
	keep := len(l.spares) < sparesMax
	l.mu.Unlock()
	failpoint.Hit("wal/before-remove")
	name := l.path(oldest.id.name())
	if keep {
		if err := l.fs.Rename(name, name+spareSuffix); err != nil {
			return fmt.Errorf("rename %s: %w", name, err)
		}
	} else if err := l.remove(name); err != nil {
		return err
	}
	if err := l.syncDir(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = l.files[1:]
	l.bytes -= oldest.bytes
	if keep {
		l.spares = append(l.spares, name+spareSuffix)
	}
	return nil
}

// removeAll deletes all files, oldest first, and the spare ones. After an
// error it may be called again.
func (l *Log) removeAll() error {
	for {
		l.mu.Lock()
		files, spares := l.files, l.spares
		l.mu.Unlock()
		switch {
		case len(files) > 0:
			if err := l.remove(l.path(files[0].id.name())); err != nil {
				return err
			}
			if err := l.syncDir(); err != nil {
				return err
			}
			l.mu.Lock()
			l.files = l.files[1:]
			l.bytes -= files[0].bytes
			l.mu.Unlock()
		case len(spares) > 0:
			if err := l.remove(spares[0]); err != nil {
				return err
			}
			l.mu.Lock()
			l.spares = l.spares[1:]
			l.mu.Unlock()
		default:
			return nil
		}
	}
}

// remove deletes a file that may be gone already.
func (l *Log) remove(name string) error {
	if err := l.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func (l *Log) syncDir() error {
	if err := l.fs.SyncDir(l.cfg.Dir); err != nil {
		return fmt.Errorf("fsync directory %s: %w", l.cfg.Dir, err)
	}
	return nil
}
