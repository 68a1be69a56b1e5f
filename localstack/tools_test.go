package localstack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestInstallIsDone: once a tool is there, it is found without a build.
func TestInstallIsDone(t *testing.T) {
	first, err := Install(t.Context(), MinIOTool())
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel() // a build would fail at once
	again, err := Install(ended, MinIOTool())
	if err != nil || again != first {
		t.Fatalf("%s, then %s (%v)", first, again, err)
	}
}

// TestInstallFails: nothing is left in the place of the tool, and the leftovers of
// a build that was killed are gone.
func TestInstallFails(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("WADI_TOOLS", dir)
	tool := MinIOTool()
	stale := filepath.Join(dir, "build-minio-"+tool.Version+"-123")
	if err := os.Mkdir(stale, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "minio"), []byte("of another version"), 0o755); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if binary, err := Install(ended, tool); !errors.Is(err, context.Canceled) {
		t.Fatalf("%s (%v)", binary, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 { // the lock and the other version
		t.Fatalf("left: %q (%v)", left, err)
	}
}
