package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"slices"

	"github.com/google/uuid"
)

// Leftover is the files of one earlier node id, to be replayed under that id.
// It belongs to one goroutine.
type Leftover struct {
	Node uuid.UUID
	// After is the last number before the oldest file. Those up to it were
	// released and so committed: a catalog that knows the id with a lower
	// last number shows that a file was lost.
	After uint64
	// FirstNumber and LastNumber are the lowest and the highest number of
	// the readable frames, 0 if there is none.
	FirstNumber, LastNumber uint64
	// FrameCount counts the readable frames.
	FrameCount int64
	// Bytes is the size of all files.
	Bytes int64
	// Holes lists the damage. What can be read around it is replayed.
	Holes []Hole

	log   *Log
	files []leftoverFile
}

type leftoverFile struct {
	id fileID
	survey
}

// Frame is one frame of an earlier life.
type Frame struct {
	Number uint64
	// Payload is the caller's to keep.
	Payload []byte
}

// ErrUnreadable says that a frame could be read when the leftovers were
// listed and no longer can.
var ErrUnreadable = errors.New("frame of the write-ahead buffer can no longer be read")

// Leftovers reads the files that earlier lives left in the directory, grouped
// by node id, in the order of the ids, and never those of this log's own id.
// Every file is read whole, so that all damage is known, counted and reported
// before the first frame is replayed. A torn tail is cut off, durably. Call it
// once, before Run or beside it.
//
// Damage is no error: a damaged file keeps its name as long as its readable
// frames are not committed, since a crash before that must find it again, and
// is renamed by Leftover.Remove.
func (l *Log) Leftovers() ([]*Leftover, error) {
	names, err := l.fs.ReadDir(l.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", l.cfg.Dir, err)
	}
	byNode := make(map[uuid.UUID]*Leftover)
	var leftovers []*Leftover
	for _, name := range names {
		id, ok := parseFileName(name)
		if !ok || id.node == l.node {
			continue
		}
		lo := byNode[id.node]
		if lo == nil {
			lo = &Leftover{Node: id.node, log: l}
			byNode[id.node] = lo
			leftovers = append(leftovers, lo)
		}
		lo.files = append(lo.files, leftoverFile{id: id})
	}
	for _, lo := range leftovers {
		// Names sort like numbers only up to ten digits.
		slices.SortFunc(lo.files, func(a, b leftoverFile) int {
			if a.id.seq < b.id.seq {
				return -1
			}
			return 1
		})
		if err := lo.survey(); err != nil {
			return nil, err
		}
		lo.report()
		l.mu.Lock()
		l.bytes += lo.Bytes
		l.mu.Unlock()
	}
	return leftovers, nil
}

// EarlierFiles counts the files of earlier lives that are in the directory,
// without those that were set aside.
func (l *Log) EarlierFiles() (int, error) {
	names, err := l.fs.ReadDir(l.cfg.Dir)
	if err != nil {
		return 0, fmt.Errorf("list %s: %w", l.cfg.Dir, err)
	}
	n := 0
	for _, name := range names {
		if id, ok := parseFileName(name); ok && id.node != l.node {
			n++
		}
	}
	return n, nil
}

// survey reads all files and sums up what they hold.
func (lo *Leftover) survey() error {
	for i := range lo.files {
		file := &lo.files[i]
		if err := lo.log.surveyLeftover(file, i == len(lo.files)-1); err != nil {
			return err
		}
		if i == 0 {
			lo.After = file.header.after
		} else if previous := &lo.files[i-1]; previous.id.seq+1 != file.id.seq {
			// Files are removed oldest first, so there is no harmless gap.
			missing := fileID{node: lo.Node, seq: previous.id.seq + 1}
			lo.log.metrics.damaged.Inc()
			lo.Holes = append(lo.Holes, Hole{File: missing.name(), After: previous.last, Before: file.first, Reason: "file is missing"})
		} else if n := len(previous.holes); n > 0 && file.headerErr == nil {
			// A file cut short lacks what its successor says it had.
			if cut := &previous.holes[n-1]; cut.From == previous.size {
				cut.To = max(cut.To, file.header.previousBytes)
			}
		}
		lo.Holes = append(lo.Holes, file.holes...)
		lo.FrameCount += file.frames
		lo.Bytes += file.size
		if file.frames > 0 {
			if lo.FirstNumber == 0 {
				lo.FirstNumber = file.first
			}
			lo.LastNumber = file.last
		}
	}
	return nil
}

// surveyLeftover judges one file and cuts its torn tail.
func (l *Log) surveyLeftover(file *leftoverFile, newest bool) error {
	name := file.id.name()
	f, err := l.fs.Open(l.path(name))
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("size of %s: %w", name, err)
	}
	if file.survey, err = surveyFile(f, size, file.id, newest); err != nil {
		return err
	}
	if !file.torn {
		return nil
	}
	l.metrics.tornTails.Inc()
	l.logger.Info("cut a file of the write-ahead buffer behind its last frame, where an unfinished write or unused room was",
		slog.String("file", name), slog.Int64("position", file.end), slog.Int64("bytes", size-file.end))
	if file.damaged() {
		return nil // its bytes stay as they are, for the operator
	}
	if err := f.Truncate(file.end); err != nil {
		return fmt.Errorf("cut torn tail of %s: %w", name, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("fsync %s: %w", name, err)
	}
	file.size = file.end
	return nil
}

// report logs and counts the damage.
func (lo *Leftover) report() {
	for i := range lo.files {
		file := &lo.files[i]
		if !file.damaged() {
			continue
		}
		lo.log.metrics.damaged.Inc()
		if file.unreadable {
			lo.log.logger.Error("write-ahead buffer has a file that the disk does not read in full", slog.String("file", file.id.name()))
		}
	}
	for i, h := range lo.Holes {
		if i == holesLogged {
			lo.log.logger.Error("write-ahead buffer has more holes than are logged",
				slog.String("node", lo.Node.String()), slog.Int("holes", len(lo.Holes)))
			break
		}
		lo.log.logger.Error("write-ahead buffer is damaged: acknowledged records may be lost",
			slog.String("node", lo.Node.String()), slog.String("hole", h.String()))
	}
}

// Frames returns the frames with a number above after, in ascending order, one
// in memory at a time. What lies in the holes is left out. An error ends the
// sequence; frames after it must not be committed, since those of the place
// where it occurred would then be taken for committed too.
func (lo *Leftover) Frames(after uint64) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		for i := range lo.files {
			file := &lo.files[i]
			if file.frames == 0 || file.last <= after {
				continue
			}
			if more, err := lo.log.replay(file, after, yield); err != nil {
				yield(Frame{}, err)
				return
			} else if !more {
				return
			}
		}
	}
}

func (l *Log) replay(file *leftoverFile, after uint64, yield func(Frame, error) bool) (more bool, err error) {
	name := file.id.name()
	f, err := l.fs.Open(l.path(name))
	if err != nil {
		return false, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	s := newScanner(f, file.end, file.id)
	count := int64(0)
	for {
		item, ok := s.next(func(number uint64) bool { return number > after })
		switch {
		case !ok && count != file.frames:
			return false, fmt.Errorf("%s: %d of %d frames: %w", name, count, file.frames, ErrUnreadable)
		case !ok:
			return true, nil
		case item.gap:
			known := slices.ContainsFunc(file.holes, func(h Hole) bool { return h.From <= item.from && item.to <= h.To })
			if !known {
				return false, fmt.Errorf("%s at %d: %w", name, item.from, ErrUnreadable)
			}
		case item.header.kind == kindData:
			count++
			if item.header.number > after && !yield(Frame{Number: item.header.number, Payload: item.payload}, nil) {
				return false, nil
			}
		}
	}
}

// Remove deletes the files, oldest first, durably. Call it when every frame is
// committed. Damaged files are not deleted but renamed to *.damaged. After an
// error it may be called again.
func (lo *Leftover) Remove() error {
	for len(lo.files) > 0 {
		file := &lo.files[0]
		name := file.id.name()
		var err error
		if file.damaged() {
			err = lo.log.setAside(name, damagedSuffix)
		} else if err = lo.log.fs.Remove(lo.log.path(name)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		if err := lo.dropOldest(); err != nil {
			return err
		}
	}
	return nil
}

// SetAside keeps the files under another name, *.unknown, without replaying
// them now or at a later start. It is for a node id that the catalog does not
// know: whether its frames are committed cannot be told.
func (lo *Leftover) SetAside(reason string) error {
	for len(lo.files) > 0 {
		name := lo.files[0].id.name()
		if err := lo.log.setAside(name, unknownSuffix); err != nil {
			return fmt.Errorf("set %s aside: %w", name, err)
		}
		if err := lo.dropOldest(); err != nil {
			return err
		}
		lo.log.metrics.unknown.Inc()
		lo.log.logger.Error("write-ahead buffer has a file that cannot be replayed; it is kept",
			slog.String("file", name), slog.String("reason", reason))
	}
	return nil
}

// dropOldest makes it durable that the oldest file is gone, and forgets it.
func (lo *Leftover) dropOldest() error {
	if err := lo.log.fs.SyncDir(lo.log.cfg.Dir); err != nil {
		return fmt.Errorf("fsync directory of %s: %w", lo.files[0].id.name(), err)
	}
	lo.log.mu.Lock()
	lo.log.bytes -= lo.files[0].size
	lo.log.mu.Unlock()
	lo.files = lo.files[1:]
	return nil
}

// setAside renames a file to a name that none has yet: the same node id can
// come back with a copied directory.
func (l *Log) setAside(name, suffix string) error {
	names, err := l.fs.ReadDir(l.cfg.Dir)
	if err != nil {
		return err
	}
	target := name + suffix
	for n := 2; slices.Contains(names, target); n++ {
		target = fmt.Sprintf("%s%s.%d", name, suffix, n)
	}
	return l.fs.Rename(l.path(name), l.path(target))
}
