package localstack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// stopTimeout is how long a process has to end after SIGTERM.
const stopTimeout = 10 * time.Second

// process is a child that runs in a process group of its own, so that a Ctrl-C at
// the terminal reaches its parent only, which then ends things in order.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the process was waited for
	err  error         // of Wait; to be read after done
}

// startProcess starts cmd. The goroutine that does so keeps its thread until
// the end of the process: on Linux the death signal is sent when the thread ends
// that started the child, not when the process does.
func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = ownGroup()
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return os.ErrProcessDone
	default:
		return p.cmd.Process.Signal(s)
	}
}

// pause freezes the process, and returns when it stands still.
func (p *process) pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := stopped(p.cmd.Process.Pid); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-p.done:
			return os.ErrProcessDone
		}
	}
}

// stop ends the process by SIGTERM, or by SIGKILL if that does not help.
func (p *process) stop() error { return p.stopWithin(stopTimeout) }

func (p *process) stopWithin(d time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return nil
		}
		return err
	}
	_ = p.signal(syscall.SIGCONT) // a paused process would not notice
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	select {
	case <-p.done:
		return nil
	case <-timeout.C:
		return errors.Join(fmt.Errorf("process %d did not end within %v of SIGTERM", p.cmd.Process.Pid, d), p.kill())
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}
