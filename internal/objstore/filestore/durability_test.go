package filestore

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/internal/objstore"
)

// syncs records the fsyncs of a store, relative to its root.
type syncs struct {
	mu   sync.Mutex
	root string
	dirs []string
	stop chan struct{} // if not nil, fsyncs of the folder wait here until it is closed
	at   chan struct{} // tells that one waits
	err  error
}

func (s *syncs) dir(dir string) error {
	s.mu.Lock()
	stop, at, err := s.stop, s.at, s.err
	relative, relErr := filepath.Rel(s.root, dir)
	s.dirs = append(s.dirs, relative)
	s.mu.Unlock()
	if stop != nil {
		at <- struct{}{}
		<-stop
	}
	return errors.Join(err, relErr)
}

func (s *syncs) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirs := s.dirs
	s.dirs = nil
	return dirs
}

func newRecorded(t *testing.T, root string) (*Store, *syncs) {
	t.Helper()
	s, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	recorded := &syncs{root: root}
	s.syncDir = recorded.dir
	return s, recorded
}

func wantSyncs(t *testing.T, what string, s *syncs, want ...string) {
	t.Helper()
	if got := s.take(); !slices.Equal(got, want) {
		t.Fatalf("%s: folders synced: %q, want %q", what, got, want)
	}
}

// TestFoldersAreSynced looks at which folders each write syncs.
func TestFoldersAreSynced(t *testing.T) {
	root := t.TempDir()
	s, synced := newRecorded(t, root)
	ctx := t.Context()
	put := func(op string) error {
		var err error
		switch op {
		case "new":
			_, err = s.PutIfAbsent(ctx, "a/b/1", nil)
		case "again":
			_, err = s.PutIfAbsent(ctx, "a/b/2", nil)
		case "replace":
			_, err = s.Put(ctx, "a/b/2", []byte("x"))
		case "stream":
			_, err = s.PutStream(ctx, "a/b/3", strings.NewReader("x"))
		case "delete":
			_, err = s.Delete(ctx, "a/b/3")
		}
		return err
	}
	for _, step := range []struct {
		op   string
		want []string
	}{
		{"new", []string{"objects", "objects/a", "objects/a/b"}}, // parents before children
		{"again", []string{"objects/a/b"}},
		{"replace", []string{"objects/a/b"}},
		{"stream", []string{"objects/a/b"}},
		{"delete", []string{"objects/a/b"}},
	} {
		if err := put(step.op); err != nil {
			t.Fatal(err)
		}
		wantSyncs(t, step.op, synced, step.want...)
	}
	// Reads of what is settled sync nothing.
	if _, err := s.Get(ctx, "a/b/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(ctx, "", "", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutIfAbsent(ctx, "a/b/1", nil); !errors.Is(err, objstore.ErrExists) {
		t.Fatal(err)
	}
	wantSyncs(t, "reads", synced)

	// A store that finds folders of others syncs their names before it uses them.
	other, synced := newRecorded(t, root)
	if _, err := other.Put(ctx, "a/b/4", nil); err != nil {
		t.Fatal(err)
	}
	wantSyncs(t, "other", synced, "objects", "objects/a", "objects/a/b")
}

// TestWhoFindsASlotSyncsIt holds a writer between its link and its fsync. All
// who see the object then must sync the folder before they say so.
func TestWhoFindsASlotSyncsIt(t *testing.T) {
	for _, op := range []string{objstore.OpPutIfAbsent, objstore.OpPut} {
		t.Run(op, func(t *testing.T) {
			root := t.TempDir()
			writer, held := newRecorded(t, root)
			reader, synced := newRecorded(t, root)
			ctx := t.Context()
			if _, err := reader.Put(ctx, "slots/0", nil); err != nil { // makes the folder
				t.Fatal(err)
			}
			if _, err := writer.Put(ctx, "slots/0", nil); err != nil {
				t.Fatal(err)
			}
			held.mu.Lock()
			held.stop, held.at = make(chan struct{}), make(chan struct{})
			held.mu.Unlock()
			done := make(chan error, 1)
			go func() {
				var err error
				if op == objstore.OpPut {
					_, err = writer.Put(ctx, "slots/1", []byte("body"))
				} else {
					_, err = writer.PutIfAbsent(ctx, "slots/1", []byte("body"))
				}
				done <- err
			}()
			select {
			case <-held.at:
			case err := <-done:
				t.Fatalf("the write returned before it synced the folder: %v", err)
			}
			synced.take()
			if o, err := reader.Get(ctx, "slots/1"); err != nil || string(o.Body) != "body" {
				t.Fatal(o, err)
			}
			wantSyncs(t, "get", synced, "objects/slots")
			if _, err := reader.GetRange(ctx, "slots/1", 0, 1); err != nil {
				t.Fatal(err)
			}
			wantSyncs(t, "get-range", synced, "objects/slots")
			if page, err := reader.List(ctx, "slots/", "", 0); err != nil || len(page.Objects) != 2 {
				t.Fatal(page, err)
			}
			wantSyncs(t, "list", synced, "objects/slots")
			if _, err := reader.PutIfAbsent(ctx, "slots/1", nil); !errors.Is(err, objstore.ErrExists) {
				t.Fatal(err)
			}
			wantSyncs(t, "put-if-absent", synced, "objects/slots")
			// An upload that is aborted now must not make the object look settled.
			uploads, err := reader.ListUploads(ctx, "slots/1")
			if err != nil || len(uploads) != 1 {
				t.Fatal(uploads, err)
			}
			if err := reader.AbortUpload(ctx, uploads[0]); err != nil {
				t.Fatal(err)
			}
			wantSyncs(t, "abort-upload", synced, "objects/slots")
			close(held.stop)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if _, err := reader.Get(ctx, "slots/1"); err != nil {
				t.Fatal(err)
			}
			wantSyncs(t, "get of a settled object", synced)
		})
	}
}

// TestRaceForASlotBeingLinked: a loser that looked before the slot was taken
// learns of it from link(2), and syncs the folder all the same.
func TestLoserOfALinkSyncs(t *testing.T) {
	root := t.TempDir()
	winner, _ := newRecorded(t, root)
	loser, synced := newRecorded(t, root)
	ctx := t.Context()
	if _, err := loser.Put(ctx, "slots/0", nil); err != nil {
		t.Fatal(err)
	}
	// The loser's body is on the disk when the winner takes the slot, and the
	// winner dies before it removed the name of its upload.
	loser.syncFile = func(*os.File) error {
		if _, err := winner.PutIfAbsent(ctx, "slots/1", []byte("winner")); err != nil {
			return err
		}
		return os.Link(winner.objectFile("slots/1"), winner.uploadFile("slots/1", ulid.Make().String()))
	}
	synced.take()
	if _, err := loser.PutIfAbsent(ctx, "slots/1", []byte("loser")); !errors.Is(err, objstore.ErrExists) {
		t.Fatal(err)
	}
	wantSyncs(t, "put-if-absent", synced, "objects/slots")
	if o, err := loser.Get(ctx, "slots/1"); err != nil || string(o.Body) != "winner" {
		t.Fatalf("%q (%v)", o.Body, err)
	}
}

func TestSyncOfBodyFails(t *testing.T) {
	s, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.syncFile = func(*os.File) error { return syscall.EIO }
	_, err = s.PutIfAbsent(t.Context(), "key", []byte("body"))
	if !errors.Is(err, objstore.ErrUnavailable) || objstore.OutcomeOf(err) != objstore.NotCommitted {
		t.Fatalf("got %v (%v)", err, objstore.OutcomeOf(err))
	}
	if _, err := s.Get(t.Context(), "key"); !errors.Is(err, objstore.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	if uploads, err := s.ListUploads(t.Context(), ""); err != nil || len(uploads) > 0 {
		t.Fatalf("left %v (%v)", uploads, err)
	}
	s.syncFile = (*os.File).Sync // a new file each time, so the store goes on
	if _, err := s.PutIfAbsent(t.Context(), "key", []byte("body")); err != nil {
		t.Fatal(err)
	}
}

// TestSyncOfFolderFails: the outcome is unknown, and nobody may trust the folder
// any more, least of all after a second fsync that says that all is well.
func TestSyncOfFolderFails(t *testing.T) {
	root := t.TempDir()
	s, synced := newRecorded(t, root)
	ctx := t.Context()
	if _, err := s.Put(ctx, "slots/0", nil); err != nil {
		t.Fatal(err)
	}
	synced.err = syscall.EIO
	_, err := s.PutIfAbsent(ctx, "slots/1", []byte("body"))
	if !errors.Is(err, objstore.ErrUnavailable) || objstore.OutcomeOf(err) != objstore.Unknown {
		t.Fatalf("got %v (%v)", err, objstore.OutcomeOf(err))
	}
	synced.err = nil
	if _, err := s.Get(ctx, "slots/0"); !errors.Is(err, objstore.ErrUnavailable) {
		t.Fatalf("get: %v", err)
	}
	if _, err := s.Put(ctx, "slots/2", nil); !errors.Is(err, objstore.ErrUnavailable) || objstore.OutcomeOf(err) != objstore.NotCommitted {
		t.Fatalf("put: %v (%v)", err, objstore.OutcomeOf(err))
	}
	// Opened anew, the object is still known to be unsettled.
	again, synced := newRecorded(t, root)
	if o, err := again.Get(ctx, "slots/1"); err != nil || string(o.Body) != "body" {
		t.Fatalf("%q (%v)", o.Body, err)
	}
	if got := synced.take(); len(got) == 0 || got[len(got)-1] != "objects/slots" {
		t.Fatalf("folders synced: %q", got)
	}
}

// TestLeftovers are uploads that a crash left at each step of a write.
func TestLeftovers(t *testing.T) {
	root := t.TempDir()
	s, _ := newRecorded(t, root)
	ctx := t.Context()
	leave := func(key string, steps ...func(upload string) error) {
		t.Helper()
		name, err := s.upload(ctx, key, strings.NewReader("body of "+key))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range steps {
			if err := step(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	object := func(key string) string { return s.objectFile(key) }
	if _, err := s.Put(ctx, "d/there", nil); err != nil {
		t.Fatal(err)
	}
	leave("d/uploaded")
	leave("d/further-link", func(u string) error { return os.Link(u, u+linkMark) })
	leave("d/linked", func(u string) error { return os.Link(u, object("d/linked")) })
	leave("d/renamed", func(u string) error { return replace(u, object("d/renamed")) })

	uploads, err := s.ListUploads(ctx, "d/")
	if err != nil || len(uploads) != 4 {
		t.Fatalf("%d uploads (%v): %+v", len(uploads), err, uploads)
	}
	for _, u := range uploads {
		if u.Begun.IsZero() {
			t.Fatalf("upload %+v has no time", u)
		}
		if err := s.AbortUpload(ctx, u); err != nil {
			t.Fatal(err)
		}
	}
	page, err := s.List(ctx, "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, o := range page.Objects {
		keys = append(keys, o.Key)
	}
	if want := []string{"d/linked", "d/renamed", "d/there"}; !slices.Equal(keys, want) {
		t.Fatalf("objects %q, want %q", keys, want)
	}
	left, err := os.ReadDir(filepath.Join(root, uploadsDir, "d"))
	if err != nil || len(left) > 0 {
		t.Fatalf("files left: %v (%v)", left, err)
	}
}

func TestAbortKeepsToItsFolder(t *testing.T) {
	root := t.TempDir()
	s, _ := newRecorded(t, root)
	if _, err := s.Put(t.Context(), "key", nil); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "x", "/../../objects/key", "../lock", strings.Repeat("0", 26) + "/../../lock"} {
		if err := s.AbortUpload(t.Context(), objstore.Upload{Key: "key", ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"lock", "objects/key"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeyThatIsAFolder(t *testing.T) {
	s, _ := newRecorded(t, t.TempDir())
	ctx := t.Context()
	if _, err := s.Put(ctx, "a/b", nil); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "a/b/c", "a/b/c/d"} {
		_, putErr := s.Put(ctx, key, nil)
		_, absentErr := s.PutIfAbsent(ctx, key, nil)
		_, streamErr := s.PutStream(ctx, key, strings.NewReader("x"))
		for _, err := range []error{putErr, absentErr, streamErr} {
			if !errors.Is(err, objstore.ErrRefused) || objstore.OutcomeOf(err) != objstore.NotCommitted {
				t.Fatalf("%s: got %v", key, err)
			}
		}
		if _, err := s.Get(ctx, key); !errors.Is(err, objstore.ErrNotFound) {
			t.Fatalf("%s: got %v", key, err)
		}
		if _, err := s.Delete(ctx, key); err != nil {
			t.Fatalf("%s: got %v", key, err)
		}
	}
	if uploads, err := s.ListUploads(ctx, ""); err != nil || len(uploads) > 0 {
		t.Fatalf("left %v (%v)", uploads, err)
	}
}

func TestFolderCannotBeOpened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{file, filepath.Join(file, "below"), "/proc/wadi"} {
		if _, err := New(root); err == nil {
			t.Fatalf("%s was opened", root)
		}
	}
}

// TestManyFolders goes beyond what is remembered as settled.
func TestManyFolders(t *testing.T) {
	s, synced := newRecorded(t, t.TempDir())
	for i := range settledMax + 10 {
		if err := s.folders.ensure(filepath.Join(s.root, objectsDir, strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range synced.take() {
		if strings.HasPrefix(dir, "..") {
			t.Fatalf("synced %s, which is above the root", dir)
		}
	}
	if len(s.folders.settled) > settledMax {
		t.Fatalf("%d folders are remembered", len(s.folders.settled))
	}
}
