package localstack

import (
	"os/exec"
	"syscall"
	"testing"
)

// TestGroupWatcher: a group ends when the process that has it watched is gone,
// and its members that are left when the watcher ends.
func TestGroupWatcher(t *testing.T) {
	for name, end := range map[string]func(*groupWatcher) error{
		"the parent is gone": func(w *groupWatcher) error {
			_ = w.waitsOn.Close() // as the kernel does
			return w.cmd.Wait()
		},
		"the watcher ends": (*groupWatcher).end,
	} {
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w, err := watchGroup(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(w); err != nil {
			_ = cmd.Process.Kill()
			t.Errorf("%s: %v", name, err)
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("%s: the group ended with %v", name, err)
		}
	}
}
