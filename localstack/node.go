package localstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// nodeReadyTimeout bounds the start of a node, its replay included, unless
	// the caller's context ends sooner.
	nodeReadyTimeout = 60 * time.Second
	// nodeStopTimeout is how long a node has to end after SIGTERM: its default
	// drain timeout and some more.
	nodeStopTimeout = 40 * time.Second
)

// ErrNodeEnded says that a node's process ended before it was ready.
var ErrNodeEnded = errors.New("node ended before it was ready")

// NodeOptions say how to run a node.
type NodeOptions struct {
	Name    string   // for people; a Cluster names its nodes
	Binary  string   // of BuildWadi, say
	Store   string   // URL, as of MinIO.StoreURL
	DataDir string   // for the write-ahead buffer; empty for none, and then --wal=off
	Listen  string   // host:port; empty for a free port of 127.0.0.1
	Args    []string // of wadi serve, besides
	Env     []string // besides the environment of this process, of which WADI_* is left out
	LogFile string   // appended to; empty for a temporary file, which a good Stop removes
}

// Node is a `wadi serve` process. Its methods are not for concurrent use, but
// for Usage, Done, PID and Ready.
type Node struct {
	Name    string // of NodeOptions
	URL     string // http://host:port; stays the same over restarts
	LogFile string

	options NodeOptions
	ownsLog bool
	process *process
}

// StartNode starts a node and waits until it is ready. If it ends before,
// the error is ErrNodeEnded and quotes the end of its log.
func StartNode(ctx context.Context, o NodeOptions) (*Node, error) {
	n, err := NewNode(o)
	if err != nil {
		return nil, err
	}
	if err := n.Restart(ctx); err != nil {
		return nil, errors.Join(err, n.Kill())
	}
	return n, nil
}

// NewNode returns a node that was not started yet, with its address chosen.
func NewNode(o NodeOptions) (*Node, error) {
	n := &Node{options: o, Name: o.Name, LogFile: o.LogFile}
	if n.options.Listen == "" {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		n.options.Listen = fmt.Sprintf("127.0.0.1:%d", port)
	}
	if _, _, err := net.SplitHostPort(n.options.Listen); err != nil {
		return nil, fmt.Errorf("listen address: %w", err)
	}
	if n.LogFile == "" {
		log, err := os.CreateTemp("", "wadi-node-*.log")
		if err != nil {
			return nil, err
		}
		n.LogFile, n.ownsLog = log.Name(), true
		if err := log.Close(); err != nil {
			return nil, err
		}
	}
	n.URL = "http://" + n.options.Listen
	return n, nil
}

// Launch starts the process of a node that does not run, on its address, and
// does not wait until it is ready. The process outlives ctx. Variables of env
// hold for this life only.
func (n *Node) Launch(ctx context.Context, env ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	log, err := os.OpenFile(n.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	args := []string{"serve", "--listen", n.options.Listen, "--store", n.options.Store}
	if n.options.DataDir != "" {
		args = append(args, "--data-dir", n.options.DataDir)
	} else {
		args = append(args, "--wal=off")
	}
	cmd := exec.Command(n.options.Binary, append(args, n.options.Args...)...)
	cmd.Env = append(append(foreignEnv(), n.options.Env...), env...)
	cmd.Stdout, cmd.Stderr = log, log
	n.process, err = startProcess(cmd)
	if err != nil {
		return fmt.Errorf("start a node: %w", err)
	}
	return nil
}

// foreignEnv is the environment without settings of wadi.
func foreignEnv() []string {
	var env []string
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "WADI_") {
			env = append(env, setting)
		}
	}
	return env
}

// WaitReady returns when the node answers that it is ready, or an error:
// ErrNodeEnded, or that it takes too long.
func (n *Node) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, nodeReadyTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		last := n.Ready(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-n.process.done:
			return fmt.Errorf("%w: %w; end of its log:\n%s", ErrNodeEnded, n.process.err, n.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("node is not ready: %w (%w); end of its log:\n%s", last, ctx.Err(), n.LogTail())
		}
	}
}

// Ready asks the node once whether it is ready.
func (n *Node) Ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL+"/readyz", nil)
	if err != nil {
		return err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(response.Body, 1000))
		return errors.Join(fmt.Errorf("readyz: %s: %s", response.Status, text), err)
	}
	return nil
}

// PID is the node's process.
func (n *Node) PID() int { return n.process.cmd.Process.Pid }

// Done is closed when the process that was started last has ended.
func (n *Node) Done() <-chan struct{} { return n.process.done }

// Killed tells whether a process that is Done was ended by SIGKILL.
func (n *Node) Killed() bool {
	var exit *exec.ExitError
	if !errors.As(n.process.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Kill ends the node as a power cut would, but for the disk. A node that does
// not run stays as it is.
func (n *Node) Kill() error {
	if n.process == nil {
		return nil
	}
	return n.process.kill()
}

// Pause freezes the node, as a long garbage collection or a virtual machine
// that is moved would.
func (n *Node) Pause() error { return n.process.pause() }

// Resume ends a Pause.
func (n *Node) Resume() error { return n.process.signal(syscall.SIGCONT) }

// Terminate sends SIGTERM and does not wait.
func (n *Node) Terminate() error { return n.process.signal(syscall.SIGTERM) }

// Stop ends the node by SIGTERM. An exit status other than 0 is an error, also
// when the node had ended before.
func (n *Node) Stop() error {
	if err := n.process.stopWithin(nodeStopTimeout); err != nil {
		return err
	}
	return n.WaitEnd(context.Background())
}

// drain ends the node by SIGTERM. Unlike Stop it has nothing against one that was
// killed.
func (n *Node) drain() error {
	select {
	case <-n.process.done:
		if n.Killed() {
			return nil
		}
	default:
	}
	return n.Stop()
}

// WaitEnd returns when the process has ended: nil if its exit status was 0.
func (n *Node) WaitEnd(ctx context.Context) error {
	select {
	case <-n.process.done:
	case <-ctx.Done():
		return fmt.Errorf("wait for the node's end: %w", ctx.Err())
	}
	if n.process.err != nil {
		return fmt.Errorf("node: %w; end of its log:\n%s", n.process.err, n.LogTail())
	}
	if n.ownsLog {
		return os.Remove(n.LogFile)
	}
	return nil
}

// Restart kills a node that runs, starts it on its address, and waits until it
// is ready. Variables of env hold for this life only.
func (n *Node) Restart(ctx context.Context, env ...string) error {
	if err := n.Kill(); err != nil {
		return err
	}
	if err := n.Launch(ctx, env...); err != nil {
		return err
	}
	return n.WaitReady(ctx)
}

// Usage tells the processor time that the process has had, user and system, and
// the most memory that it ever held resident, in bytes. Both are those of the
// process that was started last, also when it has ended; then the memory is an
// upper bound, since Linux counts what the child had before its exec.
func (n *Node) Usage() (cpu time.Duration, peakRSS int64, err error) {
	select {
	case <-n.process.done:
		return endedUsage(n.process.cmd.ProcessState)
	default:
		return runningUsage(n.PID())
	}
}

// LogTail is the end of the node's log.
func (n *Node) LogTail() []byte { return tailOfFile(n.LogFile) }
