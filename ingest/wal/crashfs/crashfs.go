// Package crashfs is a file system in memory for tests of what a power cut
// leaves behind.
//
// It keeps, beside what programs see, what a disk would have: the bytes of a
// file as of its last Sync, and the entries of a directory as of its last
// SyncDir. Crash ends the life of the file system and returns the next one, in
// which everything since then is there, lost, or torn, as the random source
// says: at any byte, by sectors in any order, with or without the new length;
// and directory changes in any selection. It assumes as little as POSIX
// promises: a file's Sync does not make its name durable.
//
// A Sync that fails behaves as Linux does: what was dirty may or may not have
// reached the disk, programs still read it, and the next Sync reports success
// without writing it.
package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"

	"github.com/wadilog/wadi/ingest/wal"
)

// ErrPowerLoss is what every operation answers after the power cut.
var ErrPowerLoss = errors.New("power loss")

// ErrInjected is what a failing operation of FailSync and FailWrite answers.
var ErrInjected = errors.New("injected input/output error")

// sectorBytes is the unit in which a disk reorders writes.
const sectorBytes = 512

// FS implements wal.FS. Directories are implied by the names of files.
type FS struct {
	mu       sync.Mutex
	dead     bool
	files    map[string]*inode // what programs see
	durable  map[string]*inode // what is on the disk
	unsynced []dirChange       // between the two, in order
	locks    map[string]bool

	operations int
	crashAt    int           // operation before which the power goes, 0 for never
	crashed    chan struct{} // closed when it went
	failSync   int           // this many Syncs from now fails, 0 for none
	failWrite  int
	unreadable map[string]span
	onSync     func()
}

type span struct{ from, to int64 }

// inode is a file without its name.
type inode struct {
	cache   []byte   // what programs read
	durable []byte   // what is on the disk
	dirty   []change // between the two, in order
}

// change is a write of bytes at pos, or a truncation to length pos.
type change struct {
	pos   int64
	bytes []byte
	trunc bool
}

// dirChange is an entry that came or went; a rename is both at once.
type dirChange struct {
	dir      string
	add      string // "" for none
	node     *inode
	remove   string // "" for none
	removeTo *inode // the inode that the removed entry named
}

// New returns an empty file system.
func New() *FS {
	return &FS{
		files:      make(map[string]*inode),
		durable:    make(map[string]*inode),
		locks:      make(map[string]bool),
		crashed:    make(chan struct{}),
		unreadable: make(map[string]span),
	}
}

var _ wal.FS = (*FS)(nil)

// CrashBefore cuts the power right before the n-th operation from now, 1 being
// the next: it and all later ones answer ErrPowerLoss.
func (m *FS) CrashBefore(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashAt = m.operations + n
}

// Crashed is closed once the power is gone.
func (m *FS) Crashed() <-chan struct{} { return m.crashed }

// Operations counts the operations that change something, so far.
func (m *FS) Operations() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.operations
}

// FailSync makes the n-th Sync or SyncDir from now fail, once; 1 is the next.
func (m *FS) FailSync(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failSync = n
}

// FailWrite makes the n-th WriteAt from now fail, once, halfway.
func (m *FS) FailWrite(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failWrite = n
}

// OnSync calls f at the beginning of every Sync of a file, in the goroutine
// that syncs: to do something while an fsync is under way.
func (m *FS) OnSync(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onSync = f
}

// Unreadable makes reads that touch a range of a file fail. Its bytes stay.
func (m *FS) Unreadable(name string, from, to int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unreadable[filepath.Clean(name)] = span{from, to}
}

// ReadFile returns what programs see of a file.
func (m *FS) ReadFile(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.files[filepath.Clean(name)]
	if node == nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return slices.Clone(node.cache), nil
}

// WriteFile puts a file there as if it had always been: to prepare damage.
func (m *FS) WriteFile(name string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := &inode{cache: slices.Clone(b), durable: slices.Clone(b)}
	name = filepath.Clean(name)
	m.files[name], m.durable[name] = node, node
}

// Crash cuts the power, if it is not gone already, and returns the file system
// that the machine finds when it comes up. Open files stay dead.
func (m *FS) Crash(rng *rand.Rand) *FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.die()
	next := New()
	names := make(map[string]*inode, len(m.durable))
	for name, node := range m.durable {
		names[name] = node
	}
	for _, c := range survivors(rng, m.unsynced) {
		if c.remove != "" && names[c.remove] == c.removeTo {
			delete(names, c.remove)
		}
		if c.add != "" {
			names[c.add] = c.node
		}
	}
	// In the order of the names, so that a seed replays.
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	made := make(map[*inode]*inode)
	for _, name := range sorted {
		node := made[names[name]]
		if node == nil {
			b := names[name].afterCrash(rng)
			node = &inode{cache: b, durable: slices.Clone(b)}
			made[names[name]] = node
		}
		next.files[name], next.durable[name] = node, node
	}
	for name, s := range m.unreadable {
		next.unreadable[name] = s
	}
	return next
}

// die must be called with mu held.
func (m *FS) die() {
	if !m.dead {
		m.dead = true
		close(m.crashed)
	}
}

// survivors picks which of the unsynced changes reached the disk.
func survivors[T any](rng *rand.Rand, changes []T) []T {
	switch rng.IntN(4) {
	case 0:
		return nil
	case 1:
		return changes
	case 2:
		return changes[:rng.IntN(len(changes)+1)]
	}
	var some []T
	for _, c := range changes {
		if rng.IntN(2) == 0 {
			some = append(some, c)
		}
	}
	return some
}

// afterCrash returns what the disk has of a file.
func (n *inode) afterCrash(rng *rand.Rand) []byte {
	b := slices.Clone(n.durable)
	if len(n.dirty) == 0 {
		return b
	}
	var pieces []change
	switch rng.IntN(3) {
	case 0: // in order, up to any byte
		left := rng.IntN(dirtyBytes(n.dirty) + 1)
		for _, c := range n.dirty {
			if len(c.bytes) > left {
				pieces = append(pieces, change{pos: c.pos, bytes: c.bytes[:left]})
				break
			}
			left -= len(c.bytes)
			pieces = append(pieces, c)
		}
	case 1: // sector by sector, in any selection
		pieces = survivors(rng, sectors(n.dirty))
	case 2: // write by write
		pieces = survivors(rng, n.dirty)
	}
	for _, c := range pieces {
		b = c.apply(b)
	}
	// The new length may be there without the bytes, which then read as zeros.
	if len(b) < len(n.cache) && rng.IntN(3) == 0 {
		b = append(b, make([]byte, rng.IntN(len(n.cache)-len(b)+1))...)
	}
	return b
}

func dirtyBytes(changes []change) int {
	total := 0
	for _, c := range changes {
		total += len(c.bytes)
	}
	return total
}

// sectors splits writes at the disk's sectors.
func sectors(changes []change) []change {
	var pieces []change
	for _, c := range changes {
		if c.trunc {
			pieces = append(pieces, c)
			continue
		}
		for pos, b := c.pos, c.bytes; len(b) > 0; {
			n := min(len(b), int(sectorBytes-pos%sectorBytes))
			pieces = append(pieces, change{pos: pos, bytes: b[:n]})
			pos, b = pos+int64(n), b[n:]
		}
	}
	return pieces
}

func (c change) apply(b []byte) []byte {
	if c.trunc {
		if int64(len(b)) > c.pos {
			return b[:c.pos]
		}
		return append(b, make([]byte, c.pos-int64(len(b)))...)
	}
	if end := c.pos + int64(len(c.bytes)); int64(len(b)) < end {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[c.pos:], c.bytes)
	return b
}

// step counts an operation. It must be called with mu held.
func (m *FS) step() error {
	m.operations++
	if m.operations == m.crashAt {
		m.die()
	}
	if m.dead {
		return ErrPowerLoss
	}
	return nil
}

// MkdirAll implements wal.FS.
func (m *FS) MkdirAll(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.step()
}

// Create implements wal.FS.
func (m *FS) Create(name string) (wal.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return nil, err
	}
	name = filepath.Clean(name)
	if m.files[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	node := new(inode)
	m.files[name] = node
	m.unsynced = append(m.unsynced, dirChange{dir: filepath.Dir(name), add: name, node: node})
	return &file{fs: m, node: node, name: name}, nil
}

// Open implements wal.FS.
func (m *FS) Open(name string) (wal.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, ErrPowerLoss
	}
	name = filepath.Clean(name)
	node := m.files[name]
	if node == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{fs: m, node: node, name: name}, nil
}

// Rename implements wal.FS.
func (m *FS) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return err
	}
	oldName, newName = filepath.Clean(oldName), filepath.Clean(newName)
	node := m.files[oldName]
	if node == nil {
		return &fs.PathError{Op: "rename", Path: oldName, Err: fs.ErrNotExist}
	}
	delete(m.files, oldName)
	m.files[newName] = node
	m.unsynced = append(m.unsynced, dirChange{dir: filepath.Dir(newName), add: newName, node: node, remove: oldName, removeTo: node})
	return nil
}

// Remove implements wal.FS.
func (m *FS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return err
	}
	name = filepath.Clean(name)
	node := m.files[name]
	if node == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(m.files, name)
	m.unsynced = append(m.unsynced, dirChange{dir: filepath.Dir(name), remove: name, removeTo: node})
	return nil
}

// ReadDir implements wal.FS.
func (m *FS) ReadDir(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, ErrPowerLoss
	}
	dir = filepath.Clean(dir)
	var names []string
	for name := range m.files {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir implements wal.FS.
func (m *FS) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return err
	}
	if m.failsNow(&m.failSync) {
		return &fs.PathError{Op: "fsync", Path: dir, Err: ErrInjected}
	}
	dir = filepath.Clean(dir)
	m.unsynced = slices.DeleteFunc(m.unsynced, func(c dirChange) bool {
		if c.dir != dir {
			return false
		}
		if c.remove != "" && m.durable[c.remove] == c.removeTo {
			delete(m.durable, c.remove)
		}
		if c.add != "" {
			m.durable[c.add] = c.node
		}
		return true
	})
	return nil
}

// Lock implements wal.FS.
func (m *FS) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, ErrPowerLoss
	}
	name = filepath.Clean(name)
	if m.locks[name] {
		return nil, fmt.Errorf("lock %s: %w", name, wal.ErrLocked)
	}
	m.locks[name] = true
	return &lock{fs: m, name: name}, nil
}

// failsNow counts down to an injected failure. It must be called with mu held.
func (m *FS) failsNow(countdown *int) bool {
	if *countdown == 0 {
		return false
	}
	*countdown--
	return *countdown == 0
}

type lock struct {
	fs   *FS
	name string
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.name)
	return nil
}

// file is an open file.
type file struct {
	fs     *FS
	node   *inode
	name   string
	closed bool
}

func (f *file) usable() error {
	switch {
	case f.fs.dead:
		return ErrPowerLoss
	case f.closed:
		return fs.ErrClosed
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(b []byte, pos int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable(); err != nil {
		return 0, err
	}
	if bad, ok := f.fs.unreadable[f.name]; ok && pos < bad.to && pos+int64(len(b)) > bad.from {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: ErrInjected}
	}
	if pos >= int64(len(f.node.cache)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.cache[pos:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (f *file) WriteAt(b []byte, pos int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step(); err != nil {
		// The write was under way when the power went.
		if f.fs.operations == f.fs.crashAt && !f.closed {
			f.change(change{pos: pos, bytes: slices.Clone(b)})
		}
		return 0, err
	}
	if err := f.usable(); err != nil {
		return 0, err
	}
	if f.fs.failsNow(&f.fs.failWrite) {
		n := len(b) / 2
		f.change(change{pos: pos, bytes: slices.Clone(b[:n])})
		return n, &fs.PathError{Op: "write", Path: f.name, Err: ErrInjected}
	}
	f.change(change{pos: pos, bytes: slices.Clone(b)})
	return len(b), nil
}

// Truncate implements wal.File.
func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step(); err != nil {
		return err
	}
	if err := f.usable(); err != nil {
		return err
	}
	f.change(change{pos: size, trunc: true})
	return nil
}

func (f *file) change(c change) {
	f.node.cache = c.apply(f.node.cache)
	f.node.dirty = append(f.node.dirty, c)
}

// Sync implements wal.File.
func (f *file) Sync() error {
	f.fs.mu.Lock()
	onSync := f.fs.onSync
	f.fs.mu.Unlock()
	if onSync != nil {
		onSync()
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step(); err != nil {
		return err
	}
	if err := f.usable(); err != nil {
		return err
	}
	failed := f.fs.failsNow(&f.fs.failSync)
	dirty := f.node.dirty
	f.node.dirty = nil
	if failed {
		// Of what was dirty nothing is dirty any more, and only the first
		// half is on the disk.
		for _, c := range dirty[:len(dirty)/2] {
			f.node.durable = c.apply(f.node.durable)
		}
		return &fs.PathError{Op: "fsync", Path: f.name, Err: ErrInjected}
	}
	for _, c := range dirty {
		f.node.durable = c.apply(f.node.durable)
	}
	return nil
}

// Size implements wal.File.
func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable(); err != nil {
		return 0, err
	}
	return int64(len(f.node.cache)), nil
}

// Close implements io.Closer. Unsynced bytes stay unsynced.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.closed = true
	return nil
}
