package filestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/internal/objstore"
)

// linkMark ends the further name that a Put renames.
const linkMark = uploadMark + "link"

// Put implements objstore.Bucket.
func (s *Store) Put(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	return s.write(ctx, request{store: s, op: objstore.OpPut, key: key}, bytes.NewReader(body))
}

// PutIfAbsent implements objstore.Bucket.
func (s *Store) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	r := request{store: s, op: objstore.OpPutIfAbsent, key: key}
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return objstore.Receipt{}, err
	}
	// A look first spares a loser the write of its body.
	if err := s.findTaken(key); err != nil {
		return objstore.Receipt{}, r.failed(err)
	}
	return s.write(ctx, r, bytes.NewReader(body))
}

// PutStream implements objstore.Bucket. The stream goes to the disk as it comes.
func (s *Store) PutStream(ctx context.Context, key string, body io.Reader) (objstore.Receipt, error) {
	return s.write(ctx, request{store: s, op: objstore.OpPutStream, key: key}, body)
}

func (s *Store) write(ctx context.Context, r request, body io.Reader) (objstore.Receipt, error) {
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return objstore.Receipt{}, err
	}
	upload, err := s.upload(ctx, r.key, body)
	if err != nil {
		return objstore.Receipt{}, r.failed(err)
	}
	if err = ctx.Err(); err != nil {
		err = r.failed(err)
	} else {
		err = s.publish(ctx, r, upload)
	}
	if objstore.OutcomeOf(err) != objstore.Unknown {
		// After a doubtful publish the second name stays, so that nobody
		// takes the object for settled.
		_ = os.Remove(upload)
	}
	if err != nil {
		return objstore.Receipt{}, err
	}
	return objstore.Receipt{Date: date()}, nil
}

// upload writes a body to the disk under a name that is no object's.
func (s *Store) upload(ctx context.Context, key string, body io.Reader) (name string, err error) {
	name = s.uploadFile(key, ulid.Make().String())
	f, err := create(name)
	if err != nil {
		return "", err
	}
	err = copyTo(ctx, f, body)
	if err == nil {
		if err = s.syncFile(f); err != nil {
			err = fmt.Errorf("%w: %w", objstore.ErrUnavailable, err)
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(name)
		return "", err
	}
	return name, nil
}

// create makes a file, and its folder if that is missing; both may be lost with
// the power.
func create(name string) (*os.File, error) {
	const flags = os.O_CREATE | os.O_EXCL | os.O_WRONLY
	f, err := os.OpenFile(name, flags, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(name, flags, 0o644)
	}
	return f, err
}

func copyTo(ctx context.Context, f *os.File, body io.Reader) error {
	if whole, ok := body.(*bytes.Reader); ok {
		_, err := whole.WriteTo(f)
		return err
	}
	buffer := make([]byte, copyBytes)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := body.Read(buffer)
		if _, err := f.Write(buffer[:n]); err != nil {
			return err
		}
		if err == io.EOF { // and nothing that wraps it, which would be a stream cut short
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// publish gives an uploaded file its name as an object, and returns when a power
// cut cannot take that any more.
func (s *Store) publish(ctx context.Context, r request, upload string) error {
	name := s.objectFile(r.key)
	if err := s.folders.ensure(filepath.Dir(name)); err != nil {
		switch {
		case errors.Is(err, errNotFolder) || errors.Is(err, syscall.ENOTDIR):
			err = inTheWay(r.key)
		case errors.Is(err, errSync):
			err = s.breakDown(err)
		}
		return r.failed(err)
	}
	unlock, err := s.lock.exclusive(ctx)
	if err != nil {
		return r.failed(err)
	}
	if r.op == objstore.OpPutIfAbsent {
		err = os.Link(upload, name)
	} else {
		err = replace(upload, name)
	}
	unlock()
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrExist) || isFolder(name):
		err := s.findTaken(r.key)
		if err == nil {
			err = fmt.Errorf("%w: the object was deleted meanwhile", objstore.ErrConflict)
		}
		return r.failed(err)
	default: // among others: the upload was aborted
		return r.failed(err)
	}
	if err := s.syncDir(filepath.Dir(name)); err != nil {
		return r.unknown(s.breakDown(err))
	}
	return nil
}

// replace renames a further link, so that the object has two names until it is
// settled, as with link(2).
func replace(upload, name string) error {
	if err := os.Link(upload, upload+linkMark); err != nil {
		return err
	}
	if err := os.Rename(upload+linkMark, name); err != nil {
		return errors.Join(err, os.Remove(upload+linkMark))
	}
	return nil
}

// findTaken returns ErrExists if there is an object under key. The object is
// settled then: the caller may rely on it.
func (s *Store) findTaken(key string) error {
	name := s.objectFile(key)
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR) || err == nil && info.IsDir():
		return inTheWay(key)
	case err != nil:
		return err
	}
	if unsettled(info) {
		if err := s.settle(name); err != nil {
			return err
		}
	}
	return objstore.ErrExists
}

func inTheWay(key string) error {
	return fmt.Errorf("%w: %s is a folder of another key, or has one as a folder", objstore.ErrRefused, key)
}
