package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// settledMax bounds the memory of folders; with more, some are synced again.
const settledMax = 4096

// folders makes folders that stay after a power cut.
type folders struct {
	sync func(dir string) error
	root string // what is above it is none of ours; empty until open is done

	mu      sync.Mutex
	settled map[string]bool // folders whose names are on the disk; guarded by mu
}

func newFolders(sync func(dir string) error) *folders {
	return &folders{sync: sync, settled: make(map[string]bool)}
}

// open makes the root of a store.
func (f *folders) open(root string) error {
	if err := f.ensureRoot(root); err != nil {
		return err
	}
	f.root = root
	return nil
}

// ensureRoot makes a folder at or above the root. Of the folders above it, only
// those that are missing are made and synced: others may not even be readable.
func (f *folders) ensureRoot(root string) error {
	above := filepath.Dir(root)
	if info, err := os.Stat(above); err == nil && info.IsDir() {
		f.settle(above)
	} else if above != root {
		if err := f.ensureRoot(above); err != nil {
			return err
		}
	}
	err := f.ensure(root)
	if errors.Is(err, errSync) && errors.Is(err, fs.ErrPermission) {
		f.settle(root) // somebody made it for us in a folder that we may not open
		return nil
	}
	return err
}

// ensure makes a folder with its parents. That a folder is there does not mean
// that its name is on the disk: another process may have made it just now. So each
// is synced into its parent once by this process, up to the first that was.
func (f *folders) ensure(dir string) error {
	f.mu.Lock()
	settled := f.settled[dir]
	f.mu.Unlock()
	if settled || dir == f.root {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent == dir { // the root of the file system
		return nil
	}
	if err := f.ensure(parent); err != nil {
		return err
	}
	if err := makeFolder(dir); err != nil {
		return err
	}
	if err := f.sync(parent); err != nil {
		return fmt.Errorf("%w %s: %w", errSync, parent, err)
	}
	f.settle(dir)
	return nil
}

func (f *folders) settle(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.settled) >= settledMax {
		clear(f.settled)
	}
	f.settled[dir] = true
}

func makeFolder(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is in the way: %w", dir, errNotFolder)
	}
	return err
}

var (
	errNotFolder = errors.New("not a folder") // an object is where a key has a folder
	errSync      = errors.New("sync folder")
)

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
