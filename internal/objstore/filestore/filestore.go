package filestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/internal/objstore"
)

const (
	objectsDir = "objects"
	uploadsDir = "uploads"
	// uploadMark parts the key of an upload from its id; no key has it.
	uploadMark = "~"
	// copyBytes is how much of a stream is in memory at a time.
	copyBytes = 1 << 20
	// getBytesMax is the largest object that Get reads into memory.
	getBytesMax = 1 << 30
)

// Store is an objstore.Bucket in a folder.
type Store struct {
	root    string // absolute
	folders *folders
	lock    *listLock
	broken  atomic.Pointer[error] // set by the first fsync of a folder that fails

	// syncFile and syncDir are fsync(2), which tests replace.
	syncFile func(*os.File) error
	syncDir  func(dir string) error
}

var _ objstore.Bucket = (*Store)(nil)

// New opens the store in a folder, which is made if need be.
func New(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("file store: %w", err)
	}
	s := &Store{root: root, syncFile: (*os.File).Sync, syncDir: syncDir}
	s.folders = newFolders(func(dir string) error { return s.syncDir(dir) })
	if err := s.folders.open(root); err != nil {
		return nil, fmt.Errorf("file store: %w", err)
	}
	for _, dir := range []string{objectsDir, uploadsDir} {
		if err := s.folders.ensure(filepath.Join(root, dir)); err != nil {
			return nil, fmt.Errorf("file store: %w", err)
		}
	}
	if s.lock, err = newListLock(filepath.Join(root, "lock")); err != nil {
		return nil, fmt.Errorf("file store: %w", err)
	}
	return s, nil
}

// Exists tells whether root is a folder that New has made a store.
func Exists(root string) error {
	if info, err := os.Stat(filepath.Join(root, objectsDir)); err != nil || !info.IsDir() {
		return fmt.Errorf("file store: %s is not the folder of a store", root)
	}
	return nil
}

// Close does nothing: between requests no file is open.
func (s *Store) Close() error { return nil }

// Get implements objstore.Bucket.
func (s *Store) Get(ctx context.Context, key string) (objstore.Object, error) {
	r := request{store: s, op: objstore.OpGet, key: key}
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return objstore.Object{}, err
	}
	f, size, err := s.open(key)
	if err != nil {
		return objstore.Object{}, r.failed(err)
	}
	defer f.Close()
	if size > getBytesMax {
		return objstore.Object{}, r.failed(fmt.Errorf("%w: object of %d bytes, at most %d are read at once", objstore.ErrRefused, size, getBytesMax))
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(f, body); err != nil {
		return objstore.Object{}, r.failed(err)
	}
	return objstore.Object{Body: body, Size: size, Date: date()}, nil
}

// GetRange implements objstore.Bucket.
func (s *Store) GetRange(ctx context.Context, key string, pos, length int64) (objstore.Object, error) {
	r := request{store: s, op: objstore.OpGetRange, key: key}
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return objstore.Object{}, err
	}
	if err := objstore.CheckRange(pos, length); err != nil {
		return objstore.Object{}, r.failed(err)
	}
	f, size, err := s.open(key)
	if err != nil {
		return objstore.Object{}, r.failed(err)
	}
	defer f.Close()
	if pos > size || length > size-pos {
		return objstore.Object{}, r.failed(fmt.Errorf("%w: %d bytes from %d on of %d", objstore.ErrInvalidRange, length, pos, size))
	}
	body := make([]byte, length)
	if _, err := f.ReadAt(body, pos); err != nil {
		return objstore.Object{}, r.failed(err)
	}
	return objstore.Object{Body: body, Size: size, Date: date()}, nil
}

// open opens an object of which a power cut cannot take the name.
func (s *Store) open(key string) (*os.File, int64, error) {
	name := s.objectFile(key)
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fs.ErrNotExist
	case unsettled(info):
		err = s.settle(name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// unsettled tells whether the name of an object may not be on the disk yet.
func unsettled(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink > 1
}

// settle makes sure that the name of a file stays after a power cut.
func (s *Store) settle(name string) error {
	if err := s.folders.ensure(filepath.Dir(name)); err != nil {
		return s.breakDown(err)
	}
	if err := s.syncDir(filepath.Dir(name)); err != nil {
		return s.breakDown(err)
	}
	return nil
}

// breakDown ends the service of this store after the failure of an fsync.
func (s *Store) breakDown(err error) error {
	err = fmt.Errorf("%w: a folder could not be synced, so that what it holds is in doubt: %w", objstore.ErrUnavailable, err)
	s.broken.CompareAndSwap(nil, &err)
	return err
}

// Delete implements objstore.Bucket. Folders stay.
func (s *Store) Delete(ctx context.Context, key string) (objstore.Receipt, error) {
	r := request{store: s, op: objstore.OpDelete, key: key}
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return objstore.Receipt{}, err
	}
	name := s.objectFile(key)
	unlock, err := s.lock.exclusive(ctx)
	if err != nil {
		return objstore.Receipt{}, r.failed(err)
	}
	err = syscall.Unlink(name)
	unlock()
	switch {
	case err == nil:
	case isAbsent(err), isFolder(name):
		return objstore.Receipt{Date: date()}, nil
	default:
		return objstore.Receipt{}, r.failed(err)
	}
	if err := s.syncDir(filepath.Dir(name)); err != nil {
		return objstore.Receipt{}, r.unknown(s.breakDown(err))
	}
	return objstore.Receipt{Date: date()}, nil
}

// isAbsent tells whether an error means that there is no object: nothing at
// all, or an object where the key has a folder.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// ListUploads implements objstore.Bucket. It names every write under way, also
// plain ones, since a crash can leave them all.
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]objstore.Upload, error) {
	r := request{store: s, op: objstore.OpListUploads, key: prefix}
	if err := r.check(ctx, objstore.CheckPrefix); err != nil {
		return nil, err
	}
	var uploads []objstore.Upload
	root := filepath.Join(s.root, uploadsDir)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has ended meanwhile
		}
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		key, id, ok := strings.Cut(filepath.ToSlash(relative), uploadMark)
		begun, parseErr := ulid.ParseStrict(id)
		if ok && parseErr == nil && strings.HasPrefix(key, prefix) {
			uploads = append(uploads, objstore.Upload{Key: key, ID: id, Begun: begun.Timestamp().UTC()})
		}
		return nil
	})
	if err != nil {
		return nil, r.failed(err)
	}
	return uploads, nil
}

// AbortUpload implements objstore.Bucket.
func (s *Store) AbortUpload(ctx context.Context, upload objstore.Upload) error {
	r := request{store: s, op: objstore.OpAbortUpload, key: upload.Key}
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return err
	}
	if _, err := ulid.ParseStrict(upload.ID); err != nil {
		return nil // none has such an id
	}
	name := s.uploadFile(upload.Key, upload.ID)
	info, err := os.Stat(name)
	if err == nil && unsettled(info) {
		// It has its name below objects, which must stay once this one is gone.
		err = s.settle(s.objectFile(upload.Key))
	}
	for _, name := range []string{name + linkMark, name} {
		if err == nil || isAbsent(err) {
			err = os.Remove(name)
		}
	}
	if err != nil && !isAbsent(err) {
		return r.failed(err)
	}
	return nil
}

func (s *Store) objectFile(key string) string {
	return filepath.Join(s.root, objectsDir, filepath.FromSlash(key))
}

func (s *Store) uploadFile(key, id string) string {
	return filepath.Join(s.root, uploadsDir, filepath.FromSlash(key)+uploadMark+id)
}

// date is the store's clock, as coarse as that of S3.
func date() time.Time { return time.Now().UTC().Truncate(time.Second) }

// request names a call for its errors.
type request struct {
	store *Store
	op    string
	key   string
}

func (r request) check(ctx context.Context, key func(string) error) error {
	if err := ctx.Err(); err != nil {
		return r.failed(err)
	}
	if broken := r.store.broken.Load(); broken != nil {
		return r.failed(*broken)
	}
	if err := key(r.key); err != nil {
		return r.failed(err)
	}
	return nil
}

// failed is the failure of a request that changed nothing.
func (r request) failed(err error) error { return r.failure(objstore.NotCommitted, err) }

// unknown is the failure of a write that may be seen, now or after a power cut.
func (r request) unknown(err error) error { return r.failure(objstore.Unknown, err) }

func (r request) failure(outcome objstore.Outcome, err error) error {
	switch {
	case isAbsent(err):
		err = fmt.Errorf("%w: %w", objstore.ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w: %w", objstore.ErrRefused, err)
	case isErrno(err), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		if !errors.Is(err, objstore.ErrUnavailable) && !errors.Is(err, objstore.ErrRefused) {
			err = fmt.Errorf("%w: %w", objstore.ErrUnavailable, err)
		}
	}
	return &objstore.Error{Op: r.op, Key: r.key, Outcome: outcome, Date: date(), Err: err}
}

func isErrno(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno)
}
