package localstack

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// groupWatcher is a process that waits for the end of this one, also by kill -9,
// and then kills a process group. A death signal reaches a child, but not the
// children of that, and workers of nginx go on without their master.
type groupWatcher struct {
	group   int
	cmd     *exec.Cmd
	waitsOn io.Closer // the end of a pipe that closes with this process
}

// watchGroup starts a watcher of the group of a child.
func watchGroup(group int) (*groupWatcher, error) {
	w := &groupWatcher{group: group}
	w.cmd = exec.Command("/bin/sh", "-c", `read -r _; kill -s KILL -- "-$1"`, "sh", strconv.Itoa(group))
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // no death signal
	var err error
	if w.waitsOn, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return w, w.cmd.Start()
}

// end ends the watcher, and then what is left of the group, as when its leader
// was killed alone. To be called right after the leader was waited for, so that
// nobody else can have got its number.
func (w *groupWatcher) end() error {
	if err := w.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	var killed *exec.ExitError
	if err := w.cmd.Wait(); err != nil && !errors.As(err, &killed) {
		return err
	}
	if err := syscall.Kill(-w.group, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
