package localstack

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Tool is a command that `go install` can build.
type Tool struct {
	Package string // as in github.com/minio/minio
	Version string // of its module
}

// MinIOTool is the last MinIO there is.
func MinIOTool() Tool {
	return Tool{Package: "github.com/minio/minio", Version: "v0.0.0-20260212201848-7aac2a2c5b7c"}
}

// ToolsDir is where built tools are kept.
func ToolsDir() (string, error) {
	if dir := os.Getenv("WADI_TOOLS"); dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder for tools, set WADI_TOOLS: %w", err)
	}
	return filepath.Join(cache, "wadi", "tools"), nil
}

// Install returns the path of a tool, built if need be, which takes minutes for a
// large one. A binary of the right version under the plain name will do too. Processes that ask at the same time build it once.
func Install(ctx context.Context, tool Tool) (string, error) {
	dir, err := ToolsDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := path.Base(tool.Package)
	if byHand := filepath.Join(dir, name); tool.isAt(byHand) {
		return byHand, nil
	}
	name += "-" + tool.Version
	binary := filepath.Join(dir, name)
	if tool.isAt(binary) {
		return binary, nil
	}
	lock, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := flock(lock); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if tool.isAt(binary) {
		return binary, nil
	}
	if err := removeBrokenBuilds(dir, name); err != nil {
		return "", err
	}
	if err := tool.build(ctx, dir, name); err != nil {
		return "", fmt.Errorf("install %s@%s: %w", tool.Package, tool.Version, err)
	}
	return binary, nil
}

// removeBrokenBuilds clears up after builds of a tool that were killed. The caller
// holds the tool's lock, so none is under way.
func removeBrokenBuilds(dir, name string) error {
	stale, err := filepath.Glob(filepath.Join(dir, "build-"+name+"-*"))
	for _, build := range stale {
		err = errors.Join(err, os.RemoveAll(build))
	}
	return err
}

func flock(f *os.File) error { return flockHow(f, unix.LOCK_EX) }

func flockHow(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// isAt tells whether the binary was built from the tool at its version.
func (tool Tool) isAt(binary string) bool {
	info, err := buildinfo.ReadFile(binary)
	return err == nil && info.Path == tool.Package && info.Main.Version == tool.Version
}

// build installs into a folder of its own first, so that a broken build never
// stands in the place of a good one.
func (tool Tool) build(ctx context.Context, dir, name string) error {
	fresh, err := os.MkdirTemp(dir, "build-"+name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", "-ldflags=-s -w", tool.Package+"@"+tool.Version)
	cmd.Env = append(os.Environ(), "GOBIN="+fresh, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOOS=", "GOARCH=")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Dir = fresh // outside of any module
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, output.Bytes())
	}
	built := filepath.Join(fresh, path.Base(tool.Package))
	if !tool.isAt(built) {
		return fmt.Errorf("the build at %s is not what was asked for: %w", built, fs.ErrInvalid)
	}
	return os.Rename(built, filepath.Join(dir, name))
}
