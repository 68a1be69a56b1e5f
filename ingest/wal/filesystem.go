package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// FS is what the log needs of a file system. Paths are as package os takes
// them. The memory file system of package crashfs implements it too, with
// power cuts.
type FS interface {
	// MkdirAll makes a directory and its parents, durably.
	MkdirAll(dir string) error
	// Create makes a file that must not exist, open for reading and writing.
	Create(name string) (File, error)
	// Open opens a file that exists for reading and writing.
	Open(name string) (File, error)
	// Rename replaces newName in one step. Like Create and Remove it is
	// durable only after SyncDir.
	Rename(oldName, newName string) error
	Remove(name string) error
	// ReadDir returns the names in a directory, in ascending order.
	ReadDir(dir string) ([]string, error)
	// SyncDir makes the entries of a directory durable.
	SyncDir(dir string) error
	// Lock takes a lock that ends with the process or with Close. If another
	// process holds it, the error is ErrLocked.
	Lock(name string) (io.Closer, error)
}

// File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the file's bytes and its length durable. After an error
	// the state of everything written since the last success is unknown.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
}

// OS is the file system of the machine.
type OS struct{}

// MkdirAll implements FS. It fsyncs the parents also of a directory that is
// there: whoever made it may have died before it did.
func (fs OS) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for parent := filepath.Dir(dir); parent != dir; dir, parent = parent, filepath.Dir(parent) {
		err := fs.SyncDir(parent)
		switch {
		case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EINVAL):
			// Not ours, so not new; or of a kind that has no fsync.
		case err != nil:
			return err
		}
	}
	return nil
}

// Create implements FS.
func (OS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Open implements FS.
func (OS) Open(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename implements FS.
func (OS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// ReadDir implements FS.
func (OS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// SyncDir implements FS.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

// Lock implements FS with flock(2), which ends with the process however it
// dies.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f, nil
}

type osFile struct{ *os.File }

func (f osFile) Sync() error { return fdatasync(f.File) }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
