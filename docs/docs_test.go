// Package docs holds the documents, and the tests that hold them to what the
// program does.
package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// binary is bin/wadi of this source, built when a test first asks for it.
var binary struct {
	sync.Once
	dir  string
	name string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binary.dir != "" {
		if err := os.RemoveAll(binary.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// wadi returns the path of the command, built from this source.
func wadi(t *testing.T) string {
	t.Helper()
	binary.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "wadi-docs-"); binary.err != nil {
			return
		}
		binary.name = filepath.Join(binary.dir, "wadi")
		cmd := exec.Command("go", "build", "-o", binary.name, "./cmd/wadi")
		cmd.Dir = ".."
		if output, err := cmd.CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("build wadi: %w\n%s", err, output)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.name
}

// readFile returns a file of the repository.
func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("..", filepath.FromSlash(name)), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// cleanEnvironment is that of this process without settings of wadi.
func cleanEnvironment() []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "WADI_") {
			env = append(env, variable)
		}
	}
	return env
}
