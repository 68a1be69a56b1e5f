package memstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/wadilog/wadi/internal/objstore"
)

// readBytes is how much of a stream is read at a time.
const readBytes = 1 << 20

// Store is an objstore.Bucket in memory. The zero value is not usable; see New.
type Store struct {
	mu      sync.RWMutex
	objects btree.Map[string, object]  // guarded by mu
	uploads map[string]objstore.Upload // by id; guarded by mu
	nextID  int                        // of an upload; guarded by mu
	clock   func() time.Time           // guarded by mu
}

type object struct {
	body     []byte // never changed once stored
	modified time.Time
}

var _ objstore.Bucket = (*Store)(nil)

// New returns an empty store whose Date is time.Now, in whole seconds as in an
// HTTP answer.
func New() *Store {
	return &Store{uploads: make(map[string]objstore.Upload), clock: time.Now}
}

// SetClock replaces the clock behind the Date of every answer and the times of
// listings. A clock that returns the zero time makes a store without a Date.
func (s *Store) SetClock(clock func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = clock
}

// Replace sets the body of an object behind the back of every caller, to
// damage it for a test. A nil body removes it.
func (s *Store) Replace(key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if body == nil {
		s.objects.Delete(key)
		return
	}
	s.objects.Set(key, object{body: bytes.Clone(body), modified: s.dateLocked()})
}

// Clone returns a store with the same objects and uploads, which a test keeps
// as the state at this instant. The clock is shared.
func (s *Store) Clone() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Store{uploads: make(map[string]objstore.Upload, len(s.uploads)), nextID: s.nextID, clock: s.clock}
	s.objects.Scan(func(key string, o object) bool {
		c.objects.Set(key, o)
		return true
	})
	for id, u := range s.uploads {
		c.uploads[id] = u
	}
	return c
}

// Keys returns every key in order.
func (s *Store) Keys() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.objects.Keys()
}

// BeginUpload leaves an upload that nobody will complete, as a crashed
// PutStream does.
func (s *Store) BeginUpload(key string) objstore.Upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beginUploadLocked(key)
}

func (s *Store) beginUploadLocked(key string) objstore.Upload {
	s.nextID++
	u := objstore.Upload{Key: key, ID: "upload-" + strconv.Itoa(s.nextID), Begun: s.dateLocked()}
	s.uploads[u.ID] = u
	return u
}

func (s *Store) dateLocked() time.Time {
	now := s.clock()
	if now.IsZero() {
		return now
	}
	return now.UTC().Truncate(time.Second)
}

// admit checks what every operation checks before anything happens.
func (s *Store) admit(ctx context.Context, op, key string, check func(string) error) error {
	err := ctx.Err()
	if err == nil {
		err = check(key)
	}
	if err != nil {
		return &objstore.Error{Op: op, Key: key, Outcome: objstore.NotCommitted, Err: err}
	}
	return nil
}

// Get implements objstore.Bucket.
func (s *Store) Get(ctx context.Context, key string) (objstore.Object, error) {
	if err := s.admit(ctx, objstore.OpGet, key, objstore.CheckKey); err != nil {
		return objstore.Object{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, ok := s.objects.Get(key)
	if !ok {
		return objstore.Object{}, s.answerLocked(objstore.OpGet, key, objstore.ErrNotFound)
	}
	return objstore.Object{Body: copyOf(o.body), Size: int64(len(o.body)), Date: s.dateLocked()}, nil
}

// GetRange implements objstore.Bucket.
func (s *Store) GetRange(ctx context.Context, key string, pos, length int64) (objstore.Object, error) {
	if err := s.admit(ctx, objstore.OpGetRange, key, objstore.CheckKey); err != nil {
		return objstore.Object{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := objstore.CheckRange(pos, length); err != nil {
		return objstore.Object{}, s.answerLocked(objstore.OpGetRange, key, err)
	}
	o, ok := s.objects.Get(key)
	if !ok {
		return objstore.Object{}, s.answerLocked(objstore.OpGetRange, key, objstore.ErrNotFound)
	}
	size := int64(len(o.body))
	if pos > size || length > size-pos {
		err := fmt.Errorf("%w: %d bytes from %d on of %d", objstore.ErrInvalidRange, length, pos, size)
		return objstore.Object{}, s.answerLocked(objstore.OpGetRange, key, err)
	}
	return objstore.Object{Body: copyOf(o.body[pos : pos+length]), Size: size, Date: s.dateLocked()}, nil
}

// Put implements objstore.Bucket.
func (s *Store) Put(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	if err := s.admit(ctx, objstore.OpPut, key, objstore.CheckKey); err != nil {
		return objstore.Receipt{}, err
	}
	stored := copyOf(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	date := s.dateLocked()
	s.objects.Set(key, object{body: stored, modified: date})
	return objstore.Receipt{Date: date}, nil
}

// PutIfAbsent implements objstore.Bucket.
func (s *Store) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	if err := s.admit(ctx, objstore.OpPutIfAbsent, key, objstore.CheckKey); err != nil {
		return objstore.Receipt{}, err
	}
	stored := copyOf(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.objects.Get(key); taken {
		return objstore.Receipt{}, s.answerLocked(objstore.OpPutIfAbsent, key, objstore.ErrExists)
	}
	date := s.dateLocked()
	s.objects.Set(key, object{body: stored, modified: date})
	return objstore.Receipt{Date: date}, nil
}

// PutStream implements objstore.Bucket. Since the store is the memory, the
// whole stream is held.
func (s *Store) PutStream(ctx context.Context, key string, body io.Reader) (objstore.Receipt, error) {
	if err := s.admit(ctx, objstore.OpPutStream, key, objstore.CheckKey); err != nil {
		return objstore.Receipt{}, err
	}
	upload := s.BeginUpload(key)
	stored, err := readAll(ctx, body)

	s.mu.Lock()
	defer s.mu.Unlock()
	_, open := s.uploads[upload.ID]
	delete(s.uploads, upload.ID)
	switch {
	case err != nil:
		return objstore.Receipt{}, s.answerLocked(objstore.OpPutStream, key, err)
	case !open:
		err := fmt.Errorf("upload %s was aborted: %w", upload.ID, objstore.ErrNotFound)
		return objstore.Receipt{}, s.answerLocked(objstore.OpPutStream, key, err)
	}
	date := s.dateLocked()
	s.objects.Set(key, object{body: stored, modified: date})
	return objstore.Receipt{Date: date}, nil
}

func readAll(ctx context.Context, body io.Reader) ([]byte, error) {
	stored := []byte{}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		stored = slices.Grow(stored, readBytes)
		n, err := body.Read(stored[len(stored):cap(stored)])
		stored = stored[:len(stored)+n]
		if err == io.EOF { // and nothing that wraps it, which would be a stream cut short
			return stored, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// List implements objstore.Bucket.
func (s *Store) List(ctx context.Context, prefix, startAfter string, limit int) (objstore.Page, error) {
	if err := s.admit(ctx, objstore.OpList, prefix, objstore.CheckPrefix); err != nil {
		return objstore.Page{}, err
	}
	limit = objstore.PageLimit(limit)
	s.mu.RLock()
	defer s.mu.RUnlock()
	page := objstore.Page{Date: s.dateLocked()}
	s.objects.Ascend(max(prefix, startAfter), func(key string, o object) bool {
		switch {
		case key <= startAfter:
			return true
		case !strings.HasPrefix(key, prefix):
			return false
		case len(page.Objects) == limit:
			page.More = true
			return false
		}
		page.Objects = append(page.Objects, objstore.ObjectInfo{Key: key, Size: int64(len(o.body)), Modified: o.modified})
		return true
	})
	return page, nil
}

// Delete implements objstore.Bucket.
func (s *Store) Delete(ctx context.Context, key string) (objstore.Receipt, error) {
	if err := s.admit(ctx, objstore.OpDelete, key, objstore.CheckKey); err != nil {
		return objstore.Receipt{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects.Delete(key)
	return objstore.Receipt{Date: s.dateLocked()}, nil
}

// ListUploads implements objstore.Bucket.
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]objstore.Upload, error) {
	if err := s.admit(ctx, objstore.OpListUploads, prefix, objstore.CheckPrefix); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var uploads []objstore.Upload
	for _, u := range s.uploads {
		if strings.HasPrefix(u.Key, prefix) {
			uploads = append(uploads, u)
		}
	}
	slices.SortFunc(uploads, func(a, b objstore.Upload) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return uploads, nil
}

// AbortUpload implements objstore.Bucket.
func (s *Store) AbortUpload(ctx context.Context, upload objstore.Upload) error {
	if err := s.admit(ctx, objstore.OpAbortUpload, upload.Key, objstore.CheckKey); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uploads, upload.ID)
	return nil
}

// answerLocked makes the error of a request that the store answered: a store
// in memory never leaves a write in doubt.
func (s *Store) answerLocked(op, key string, err error) error {
	return &objstore.Error{Op: op, Key: key, Outcome: objstore.NotCommitted, Date: s.dateLocked(), Err: err}
}

// copyOf returns a copy that is never nil.
func copyOf(body []byte) []byte { return append([]byte{}, body...) }
