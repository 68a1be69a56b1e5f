package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/wadilog/wadi/localstack"
)

const (
	// socketPathMax is what all systems allow the path of a socket to be.
	socketPathMax = 103
	// statusTimeout bounds the question to one node.
	statusTimeout = 2 * time.Second
	// messageBytesMax bounds what is read of an answer.
	messageBytesMax = 1 << 20
)

// socketPath is relative if that is shorter: a folder may lie deep.
func socketPath(dir string) (string, error) {
	path := filepath.Join(dir, "control.sock")
	if here, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(here, path); err == nil && len(relative) < len(path) {
			path = relative
		}
	}
	if len(path) > socketPathMax {
		return "", fmt.Errorf("the path %s is too long for a socket; take a shorter -dir", path)
	}
	return path, nil
}

// control lets other processes of this machine's user look at a cluster and
// change it.
type control struct {
	cluster  *localstack.Cluster
	listener net.Listener
	server   *http.Server

	mu sync.Mutex // held while nodes are looked at or changed
}

// listen makes the socket. The folder is the cluster's alone, so one that is there
// is of a process that was killed.
func listen(c *localstack.Cluster) (*control, error) {
	path, err := socketPath(c.Dir())
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	k := &control{cluster: c}
	if k.listener, err = net.Listen("unix", path); err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, k.listener.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", k.answer(k.status))
	mux.HandleFunc("POST /nodes", k.answer(k.add))
	mux.HandleFunc("DELETE /nodes/{name}", k.answer(k.remove))
	mux.HandleFunc("POST /nodes/{name}/restart", k.answer(k.restart))
	k.server = &http.Server{Handler: mux, ReadHeaderTimeout: statusTimeout}
	return k, nil
}

// serve answers until ctx ends, and what has begun to its end.
func (k *control) serve(ctx context.Context) error {
	k.server.BaseContext = func(net.Listener) context.Context { return ctx }
	ended := make(chan error, 1)
	go func() { ended <- k.server.Serve(k.listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	err := k.server.Shutdown(context.WithoutCancel(ctx)) // what has begun ends by ctx
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// answer makes a handler of a function that returns what to print.
func (k *control) answer(do func(*http.Request) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		defer k.mu.Unlock()
		text, err := do(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		_, _ = io.WriteString(w, text)
	}
}

func (k *control) status(r *http.Request) (string, error) {
	return describe(r.Context(), k.cluster), nil
}

func (k *control) add(r *http.Request) (string, error) {
	n, err := k.cluster.Add(r.Context())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is up at %s\n", n.Name, n.URL), nil
}

func (k *control) remove(r *http.Request) (string, error) {
	n, err := k.named(r)
	if err != nil {
		return "", err
	}
	if err := k.cluster.Remove(r.Context(), n); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s has drained and is gone\n", n.Name), nil
}

func (k *control) restart(r *http.Request) (string, error) {
	n, err := k.named(r)
	if err != nil {
		return "", err
	}
	if err := k.cluster.RestartNode(r.Context(), n); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is up at %s\n", n.Name, n.URL), nil
}

func (k *control) named(r *http.Request) (*localstack.Node, error) {
	name := r.PathValue("name")
	if n := k.cluster.Node(name); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("there is no node %s", name)
}

// nodeName takes "2" for "node-2".
func nodeName(argument string) string { return "node-" + strings.TrimPrefix(argument, "node-") }

// describe is a table of what runs.
func describe(ctx context.Context, c *localstack.Cluster) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "NAME\tURL\tPID\tSTATE\n")
	for _, n := range c.Nodes() {
		pid, state := fmt.Sprint(n.PID()), "ready"
		select {
		case <-n.Done():
			pid, state = "-", "down"
		default:
			asking, cancel := context.WithTimeout(ctx, statusTimeout)
			if err := n.Ready(asking); err != nil {
				state = "not ready"
			}
			cancel()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", n.Name, n.URL, pid, state)
	}
	fmt.Fprintf(table, "nginx\t%s\t%d\tup\n", c.URL, c.Nginx.PID())
	fmt.Fprintf(table, "minio\t%s\t%d\tup\n", c.MinIO.Endpoint, c.MinIO.PID())
	_ = table.Flush() // into memory
	return text.String()
}

// greeting is what a start prints once all is up.
func greeting(ctx context.Context, c *localstack.Cluster) string {
	text := describe(ctx, c) + fmt.Sprintf(`
Produce to and fetch from %s; any node does for any partition.
Data and logs are in %s. Ctrl-C stops everything and keeps them.

In a second terminal:
  make cluster-status
  make cluster-add
  make cluster-remove NODE=2
  make cluster-restart NODE=2    # also after a kill -9 of its PID
`, c.URL, c.Dir())
	left, err := c.LeftBehind()
	if err != nil {
		return text + "\n" + err.Error() + "\n"
	}
	for _, name := range left {
		text += fmt.Sprintf("\n%s of an earlier run was not drained. Acknowledged records in its write-ahead\nbuffer may not be in the log yet: make cluster-add, until it runs, brings them there.\n", name)
	}
	return text
}

// ask sends a request to the cluster of a folder and prints what it answers.
func ask(ctx context.Context, dir, method, path string, out io.Writer) error {
	socket, err := socketPath(dir)
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, method, "http://cluster"+path, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("no cluster runs in %s: %w", dir, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, messageBytesMax))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(text)))
	}
	_, err = out.Write(text)
	return err
}
