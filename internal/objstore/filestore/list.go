package filestore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wadilog/wadi/internal/objstore"
)

// List implements objstore.Bucket.
func (s *Store) List(ctx context.Context, prefix, startAfter string, limit int) (objstore.Page, error) {
	r := request{store: s, op: objstore.OpList, key: prefix}
	if err := r.check(ctx, objstore.CheckPrefix); err != nil {
		return objstore.Page{}, err
	}
	unlock, err := s.lock.shared(ctx)
	if err != nil {
		return objstore.Page{}, r.failed(err)
	}
	l := listing{
		root: filepath.Join(s.root, objectsDir), prefix: prefix, startAfter: startAfter,
		limit: objstore.PageLimit(limit), unsettled: make(map[string]bool),
	}
	err = l.walk(prefix[:strings.LastIndexByte(prefix, '/')+1])
	unlock()
	if err != nil && !errors.Is(err, errPageFull) {
		return objstore.Page{}, r.failed(err)
	}
	for name := range l.unsettled {
		if err := s.settle(name); err != nil {
			return objstore.Page{}, r.failed(err)
		}
	}
	l.page.Date = date()
	return l.page, nil
}

// errPageFull ends a walk.
var errPageFull = errors.New("page full")

// listing is one page in the making.
type listing struct {
	root       string
	prefix     string
	startAfter string
	limit      int
	page       objstore.Page
	unsettled  map[string]bool // one file of each folder that must be synced before the page is shown
}

// walk adds the keys below a folder, which is empty or ends with a slash.
func (l *listing) walk(folder string) error {
	dir := filepath.Join(l.root, filepath.FromSlash(folder))
	entries, err := os.ReadDir(dir)
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	// A folder sorts as its name with a slash, not as its name: a-b is before a/b.
	keys := make([]string, 0, len(entries))
	for _, entry := range entries {
		key := folder + entry.Name()
		if entry.IsDir() {
			key += "/"
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if strings.HasSuffix(key, "/") {
			err = l.walkIfWanted(key)
		} else {
			err = l.add(key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walkIfWanted passes over a folder that holds no key of the listing.
func (l *listing) walkIfWanted(folder string) error {
	within := strings.HasPrefix(folder, l.prefix) || strings.HasPrefix(l.prefix, folder)
	after := folder > l.startAfter || strings.HasPrefix(l.startAfter, folder)
	if !within || !after {
		return nil
	}
	return l.walk(folder)
}

func (l *listing) add(key string) error {
	if key <= l.startAfter || !strings.HasPrefix(key, l.prefix) {
		return nil
	}
	if len(l.page.Objects) == l.limit {
		l.page.More = true
		return errPageFull
	}
	name := filepath.Join(l.root, filepath.FromSlash(key))
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody removed it by hand, without the lock
	}
	if err != nil {
		return err
	}
	if unsettled(info) {
		l.settleLater(name)
	}
	l.page.Objects = append(l.page.Objects, objstore.ObjectInfo{Key: key, Size: info.Size(), Modified: info.ModTime().UTC()})
	return nil
}

func (l *listing) settleLater(name string) {
	for other := range l.unsettled {
		if filepath.Dir(other) == filepath.Dir(name) {
			return
		}
	}
	l.unsettled[name] = true
}
