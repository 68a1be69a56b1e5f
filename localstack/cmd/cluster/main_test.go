package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wadilog/wadi/localstack"
)

const (
	upTimeout = 2 * time.Minute
	// goneTimeout is for processes that were killed.
	goneTimeout = 10 * time.Second
)

// running is a cluster command as a process.
type running struct {
	t       *testing.T
	command string // cluster itself
	dir     string
	url     string
	cmd     *exec.Cmd
	output  bytes.Buffer // to be read when the process has ended
}

// startCommand starts a cluster in dir, and returns when nginx and all nodes answer.
func startCommand(t *testing.T, command, wadi, dir string, nodes int) *running {
	t.Helper()
	address := freeAddress(t)
	r := &running{t: t, command: command, dir: dir, url: "http://" + address}
	r.cmd = exec.Command(command, "start", "-dir", dir, "-nodes", fmt.Sprint(nodes), "-listen", address, "-wadi", wadi)
	r.cmd.Stdout, r.cmd.Stderr = &r.output, &r.output
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
		}
	})
	r.eventually(upTimeout, func() error {
		_, err := r.ask("status")
		return err
	})
	return r
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := localstack.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func (r *running) eventually(timeout time.Duration, done func() error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), timeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := done()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
			r.t.Fatalf("%v; it printed:\n%s", err, r.output.Bytes())
		}
	}
}

// ask runs a command of the second terminal.
func (r *running) ask(args ...string) (string, error) {
	output, err := exec.Command(r.command, append(args, "-dir", r.dir)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%v: %w: %s", args, err, output)
	}
	return string(output), err
}

func (r *running) mustAsk(args ...string) string {
	r.t.Helper()
	output, err := r.ask(args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return output
}

// send sends a request through nginx.
func (r *running) send(method, path, body string) (int, string) {
	r.t.Helper()
	request, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func (r *running) mustHave(values string) {
	r.t.Helper()
	status, text := r.send("GET", "/v1/topics/kept/partitions/0/records?offset=earliest", "")
	if n := strings.Count(text, `"offset"`); status != 200 || n != len(values) {
		r.t.Fatalf("want the records %q: %d %s", values, status, text)
	}
	for i, value := range values {
		if !strings.Contains(text, fmt.Sprintf(`"offset":%d`, i)) || !strings.Contains(text, fmt.Sprintf(`"value":"%c"`, value)) {
			r.t.Errorf("want the records %q: %s", values, text)
		}
	}
}

var urls = regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`)

// mustBeGone waits until nobody listens any more where a status says.
func (r *running) mustBeGone(status string) {
	r.t.Helper()
	all := urls.FindAllStringSubmatch(status, -1)
	if len(all) < 3 {
		r.t.Fatalf("too few addresses: %s", status)
	}
	for _, m := range all {
		r.eventually(goneTimeout, func() error {
			connection, err := net.Dial("tcp", m[1])
			if err != nil {
				return nil
			}
			return errors.Join(fmt.Errorf("somebody listens on %s", m[1]), connection.Close())
		})
	}
}

// TestClusterCommand starts two nodes, adds one, restarts one that was killed,
// removes one, stops all, and looks for the data at the next starts, of which
// one follows a kill -9 of the command itself.
func TestClusterCommand(t *testing.T) {
	if _, err := localstack.FindNginx(); errors.Is(err, localstack.ErrNoNginx) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	bin := t.TempDir()
	wadi, err := localstack.BuildWadi(t.Context(), bin)
	if err != nil {
		t.Fatal(err)
	}
	command := filepath.Join(bin, "cluster")
	if output, err := exec.Command("go", "build", "-o", command, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	dir := t.TempDir()

	r := startCommand(t, command, wadi, dir, 2)
	if status, text := r.send("PUT", "/v1/topics/kept", `{"partitions":1}`); status != 201 {
		t.Fatalf("%d %s", status, text)
	}
	produce := func(value string) {
		t.Helper()
		if status, text := r.send("POST", "/v1/topics/kept/partitions/0/records", value); status != 200 {
			t.Fatalf("%d %s", status, text)
		}
	}
	produce("a")
	if text := r.mustAsk("add"); !strings.HasPrefix(text, "node-3 is up at http://127.0.0.1:") {
		t.Error(text)
	}
	produce("b")
	var pid int
	row := regexp.MustCompile(`node-2 +\S+ +(\d+) +ready`).FindStringSubmatch(r.mustAsk("status"))
	if row == nil {
		t.Fatal(r.mustAsk("status"))
	}
	fmt.Sscan(row[1], &pid)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.eventually(goneTimeout, func() error {
		if status := r.mustAsk("status"); !regexp.MustCompile(`node-2 +\S+ +- +down`).MatchString(status) {
			return errors.New(status)
		}
		return nil
	})
	produce("c")
	r.mustAsk("restart", "2")
	if status := r.mustAsk("status"); strings.Count(status, " ready") != 3 {
		t.Error(status)
	}
	r.mustAsk("remove", "node-1")
	if status := r.mustAsk("status"); strings.Count(status, " ready") != 2 || strings.Contains(status, "node-1") {
		t.Error(status)
	}
	if _, err := r.ask("remove", "7"); err == nil || !strings.Contains(err.Error(), "there is no node node-7") {
		t.Errorf("%v", err)
	}
	if output, err := exec.Command(command, "start", "-dir", dir, "-wadi", wadi).CombinedOutput(); err == nil || !bytes.Contains(output, []byte("another cluster uses this folder")) {
		t.Errorf("a second cluster in the folder: %v %s", err, output)
	}
	produce("d")
	status := r.mustAsk("status")
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, r.output.Bytes())
	}
	r.mustBeGone(status)
	if output, err := r.ask("status"); err == nil || !strings.Contains(output, "no cluster runs in") {
		t.Errorf("%v", err)
	}

	r = startCommand(t, command, wadi, dir, 2)
	r.mustHave("abcd")
	status = r.mustAsk("status")
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait()
	r.mustBeGone(status)

	// A node whose records may not be in the log yet is not forgotten.
	r = startCommand(t, command, wadi, dir, 1)
	r.mustHave("abcd")
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, r.output.Bytes())
	}
	if !strings.Contains(r.output.String(), "node-2 of an earlier run was not drained") {
		t.Errorf("the write-ahead buffer of a node that was killed is not spoken of:\n%s", r.output.Bytes())
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"stop"}, {"remove"}, {"status", "more"}, {"start", "-nodes", "many"}} {
		if err := run(t.Context(), args, io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
