package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(bench{m}) }

// bench ends what the tests share before goroutines are counted.
type bench struct{ *testing.M }

func (b bench) Run() int {
	code := b.M.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// shared holds what is made when a test first asks for it.
var shared fixture

type fixture struct {
	mu    sync.Mutex
	dir   string
	minio *MinIO
	built map[string]string // binaries by their tags
}

func (f *fixture) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.minio != nil {
		err = f.minio.Stop()
	}
	if f.dir != "" {
		err = errors.Join(err, os.RemoveAll(f.dir))
	}
	return err
}

// sharedMinIO is for tests that leave it running. Each uses a prefix of its own.
func sharedMinIO(t testing.TB) *MinIO {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.minio == nil {
		m, err := StartMinIO(context.Background(), "")
		if err != nil {
			t.Fatal(err)
		}
		shared.minio = m
	}
	return shared.minio
}

// ownMinIO is for tests that pause or kill it.
func ownMinIO(t testing.TB) *MinIO {
	t.Helper()
	m, err := StartMinIO(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// wadi is the command, built with tags.
func wadi(t testing.TB, tags ...string) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	name := strings.Join(tags, ",")
	if binary := shared.built[name]; binary != "" {
		return binary
	}
	if shared.dir == "" {
		dir, err := os.MkdirTemp("", "wadi-e2e-")
		if err != nil {
			t.Fatal(err)
		}
		shared.dir, shared.built = dir, map[string]string{}
	}
	binary, err := BuildWadi(t.Context(), shared.dir, tags...)
	if err != nil {
		t.Fatal(err)
	}
	shared.built[name] = binary
	return binary
}

// prefix is a place in the bucket that no other test uses.
func prefix(t testing.TB) string {
	return strings.NewReplacer(" ", "_", ",", "_", "#", "-", ":", "-").Replace(t.Name())
}
