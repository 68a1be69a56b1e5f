package wal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

// Log is the write-ahead buffer of one node id. Its methods may be called from
// several goroutines; those that say so only at certain times.
type Log struct {
	cfg     Config
	node    uuid.UUID
	fs      FS
	logger  *slog.Logger
	metrics *metrics
	lock    io.Closer

	wake   chan struct{} // capacity 1: there is something to write
	sweep  chan struct{} // capacity 1: there may be files to remove
	writer writer        // of Run's writing goroutine; before and after Run, of whoever closes

	mu       sync.Mutex
	gathered batch     // frames that Run has not taken yet
	buffered int64     // bytes of frames that are not yet fsynced, gathered or being written
	waiting  int       // count of those frames
	last     uint64    // highest number appended
	released uint64    // highest number known to be committed
	files    []logFile // ascending; the last is being written
	bytes    int64     // of files, of buffered frames, and of leftovers
	spares   []string  // paths of released files to overwrite, at most sparesMax
	running  bool
	err      error // why Append is refused, nil while it is not
}

// logFile is a file of the running log. Guarded by Log.mu.
type logFile struct {
	id    fileID
	last  uint64 // highest number in it or before it; final once a newer file is there
	bytes int64  // without frames that are still buffered
}

// batch is the frames that one fsync makes durable. It is filled under Log.mu
// and belongs to the writer once it was taken.
type batch struct {
	frames []frame
	parts  [][]byte // payload parts of all frames, one after another
	group  *group
}

type frame struct {
	number uint64
	parts  int   // how many of the batch's parts
	length int64 // of the payload in bytes
}

// group is what the waiters of a batch wait for.
type group struct {
	done chan struct{} // closed when err is final
	err  error
}

// Ticket stands for one appended frame.
type Ticket struct{ group *group }

// Wait returns nil once the frame is durable, and ErrFailed or ErrClosed if it
// may not be. If the context ends first it returns its error, and whether the
// frame becomes durable is open.
func (t Ticket) Wait(ctx context.Context) error {
	select {
	case <-t.group.done:
		return t.group.err
	default:
	}
	select {
	case <-t.group.done:
		return t.group.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Create locks the directory and makes the first file of a node id. The id
// must never have been used before. Nothing runs yet: frames are written by
// Run. Release the lock with Close.
func Create(cfg Config, node uuid.UUID, fs FS, logger *slog.Logger, registerer prometheus.Registerer) (_ *Log, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := fs.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("create directory %s: %w", cfg.Dir, err)
	}
	lock, err := fs.Lock(filepath.Join(cfg.Dir, lockName))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	l := &Log{
		cfg:    cfg,
		node:   node,
		fs:     fs,
		logger: logger,
		lock:   lock,
		wake:   make(chan struct{}, 1),
		sweep:  make(chan struct{}, 1),
	}
	l.gathered.group = newGroup()
	names, err := fs.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", cfg.Dir, err)
	}
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, node.String()):
			return nil, fmt.Errorf("node id %s is not new: it has %s", node, name)
		case strings.HasSuffix(name, spareSuffix) && len(l.spares) < sparesMax:
			l.spares = append(l.spares, l.path(name))
		case strings.HasSuffix(name, partSuffix), strings.HasSuffix(name, spareSuffix):
			if err := l.remove(l.path(name)); err != nil {
				return nil, err
			}
		}
	}
	// An earlier life may have died before it made a spare file's new name
	// durable.
	if err := l.syncDir(); err != nil {
		return nil, err
	}
	if err := l.beginFile(fileHeader{id: fileID{node: node, seq: 1}}); err != nil {
		return nil, err
	}
	if l.metrics, err = newMetrics(l, registerer); err != nil {
		return nil, errors.Join(err, l.writer.close())
	}
	return l, nil
}

func newGroup() *group { return &group{done: make(chan struct{})} }

func (l *Log) path(name string) string { return filepath.Join(l.cfg.Dir, name) }

// Dir is the directory that the files are in.
func (l *Log) Dir() string { return l.cfg.Dir }

// Node returns the node id that the log belongs to.
func (l *Log) Node() uuid.UUID { return l.node }

// Append takes a frame whose payload is the given parts one after another. It
// only queues: Run writes it, and the ticket tells when it is durable. The
// parts must not change until then, whether or not somebody still waits.
// Numbers must ascend from call to call, from 1 at least; gaps are allowed.
//
// Errors: ErrNumberOrder, ErrTooLarge, ErrBusy, ErrFull, ErrFailed, ErrClosed.
// With any of them nothing was taken.
func (l *Log) Append(number uint64, payload ...[]byte) (Ticket, error) {
	length := int64(0)
	for _, part := range payload {
		length += int64(len(part))
	}
	size := frameHeaderSize + length

	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
		return Ticket{}, l.err
	case number <= l.last || number <= l.released:
		return Ticket{}, fmt.Errorf("append frame %d after %d: %w", number, max(l.last, l.released), ErrNumberOrder)
	case size > l.cfg.BufferBytesMax:
		return Ticket{}, fmt.Errorf("append frame of %d bytes, limit %d: %w", size, l.cfg.BufferBytesMax, ErrTooLarge)
	case l.buffered+size > l.cfg.BufferBytesMax || l.waiting >= l.cfg.BufferFramesMax:
		return Ticket{}, ErrBusy
	case l.bytes+size > l.cfg.BytesMax:
		return Ticket{}, ErrFull
	}
	l.last = number
	l.buffered += size
	l.waiting++
	l.bytes += size
	l.gathered.frames = append(l.gathered.frames, frame{number: number, parts: len(payload), length: length})
	l.gathered.parts = append(l.gathered.parts, payload...)
	signal(l.wake)
	return Ticket{l.gathered.group}, nil
}

// Wait is ticket.Wait.
func (l *Log) Wait(ctx context.Context, ticket Ticket) error { return ticket.Wait(ctx) }

// Release says that every frame up to and including number upto is committed.
// Files that hold no other frame are removed by Run.
func (l *Log) Release(upto uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if upto > l.released {
		l.released = upto
		signal(l.sweep)
	}
}

// Empty tells whether every frame that was ever appended is released.
func (l *Log) Empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last <= l.released
}

// Remove deletes the files of this node id and the spare ones, once Run has returned and every
// frame is released; before that it answers ErrNotEmpty. The log takes no more
// frames.
func (l *Log) Remove() error {
	l.mu.Lock()
	if l.running || l.last > l.released {
		l.mu.Unlock()
		return ErrNotEmpty
	}
	if l.err == nil {
		l.err = ErrClosed
	}
	l.mu.Unlock()
	if err := l.writer.close(); err != nil {
		return err
	}
	return l.removeAll()
}

// Close gives the directory free for another process. Call it after Run has
// returned. The files stay.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.err == nil {
		l.err = ErrClosed
	}
	group := l.gathered.group
	l.gathered = batch{group: newGroup()}
	running := l.running
	l.mu.Unlock()
	if running {
		return errors.New("wal: closed while it runs")
	}
	// Without Run nobody else would tell them.
	group.err = ErrClosed
	close(group.done)
	return errors.Join(l.writer.close(), l.lock.Close())
}

// signal wakes the one reader of a channel of capacity 1. A signal that is
// already there stands for this one too.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
