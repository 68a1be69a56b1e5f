package localstack

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sync"
	"syscall"
	"text/template"
	"time"
)

// nginxReadyTimeout bounds a start or a reload of nginx.
const nginxReadyTimeout = 20 * time.Second

// ErrNoNginx says that the machine has no nginx.
var ErrNoNginx = errors.New("nginx is missing: apt-get install nginx")

//go:embed nginx.conf.tmpl
var nginxConfText string

var nginxConfTemplate = template.Must(template.New("nginx.conf").Option("missingkey=error").Parse(nginxConfText))

// nginxConf is what differs between the configuration of a Cluster and the one
// in deploy/nginx.
type nginxConf struct {
	PIDFile   string
	ErrorLog  string
	AccessLog string
	TempDir   string
	CacheDir  string // for answers to closed ranges
	CacheSize string
	Workers   string
	Listen    string
	Servers   []string // host:port; not empty
	Version   string   // told by /nginx-health
}

func (c nginxConf) write(w io.Writer) error { return nginxConfTemplate.Execute(w, c) }

// FindNginx returns the path of nginx, or ErrNoNginx. Debian has it where only
// root's PATH leads.
func FindNginx() (string, error) {
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if found, err := exec.LookPath(name); err == nil {
			return found, nil
		}
	}
	return "", ErrNoNginx
}

// Nginx is an nginx in front of nodes. Its methods are safe for concurrent use.
type Nginx struct {
	URL string // http://127.0.0.1:port

	binary string
	dir    string

	mu      sync.Mutex // held while its process or configuration changes
	conf    nginxConf
	run     string // tells it from another nginx that may be on its port
	version int
	process *process
	watcher *groupWatcher
}

// StartNginx starts nginx with its configuration, logs and temporary files below
// dir, on listen (empty for a free port of 127.0.0.1), and returns when it takes
// requests for servers, which are host:port and at least one.
func StartNginx(ctx context.Context, dir, listen string, servers ...string) (*Nginx, error) {
	binary, err := FindNginx()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o755); err != nil {
		return nil, err
	}
	n := &Nginx{binary: binary, dir: dir, run: rand.Text()}
	n.conf = nginxConf{
		PIDFile:   filepath.Join(dir, "nginx.pid"),
		ErrorLog:  filepath.Join(dir, "error.log"),
		AccessLog: filepath.Join(dir, "access.log"),
		TempDir:   filepath.Join(dir, "tmp"),
		CacheDir:  filepath.Join(dir, "cache"),
		CacheSize: "1g",
		Workers:   "2",
		Servers:   servers,
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for attempt := 1; ; attempt++ {
		n.conf.Listen = listen
		if listen == "" {
			port, err := freePort()
			if err != nil {
				return nil, err
			}
			n.conf.Listen = fmt.Sprintf("127.0.0.1:%d", port)
		}
		n.URL = "http://" + n.conf.Listen
		err := n.start(ctx)
		if err == nil {
			return n, nil
		}
		err = fmt.Errorf("start nginx: %w", errors.Join(err, n.end()))
		if listen != "" || attempt == startAttemptsMax || ctx.Err() != nil {
			return nil, err
		}
	}
}

// start runs nginx. The caller holds mu, and calls end also if it fails.
func (n *Nginx) start(ctx context.Context) error {
	if err := n.writeConf(ctx); err != nil {
		return err
	}
	log, err := os.OpenFile(n.conf.ErrorLog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(n.binary, n.args()...)
	cmd.Stdout, cmd.Stderr = log, log
	if n.process, err = startProcess(cmd); err != nil {
		return err
	}
	if n.watcher, err = watchGroup(n.process.cmd.Process.Pid); err != nil {
		return err
	}
	return n.waitForVersion(ctx)
}

// args are those of the server and of the check of its configuration. Workers of
// a root's nginx would be another user, who may not get to the folder.
func (n *Nginx) args() []string {
	global := "daemon off;"
	if os.Geteuid() == 0 {
		if me, err := user.Current(); err == nil {
			global += " user " + me.Username + ";"
		}
	}
	return []string{"-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf"), "-e", n.conf.ErrorLog, "-g", global}
}

// writeConf writes the next version of the configuration, if nginx takes it.
func (n *Nginx) writeConf(ctx context.Context) error {
	n.version++
	n.conf.Version = fmt.Sprintf("%s-%d", n.run, n.version)
	var text bytes.Buffer
	if err := n.conf.write(&text); err != nil {
		return err
	}
	name := filepath.Join(n.dir, "nginx.conf")
	if err := os.WriteFile(name, text.Bytes(), 0o644); err != nil {
		return err
	}
	check := exec.CommandContext(ctx, n.binary, append(n.args(), "-t", "-q")...)
	if output, err := check.CombinedOutput(); err != nil {
		return fmt.Errorf("nginx does not take %s: %w\n%s", name, err, output)
	}
	return nil
}

// SetServers makes nginx send new requests to servers, which are host:port and at
// least one, and returns when it does. Requests that are under way are finished,
// but clients' connections are closed then, and idle ones at once.
func (n *Nginx) SetServers(ctx context.Context, servers ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.conf.Servers
	n.conf.Servers = servers
	if err := n.writeConf(ctx); err != nil {
		n.conf.Servers = before
		return err
	}
	if err := n.process.signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("reload nginx: %w", err)
	}
	return n.waitForVersion(ctx)
}

// waitForVersion returns when a worker with the newest configuration answers.
func (n *Nginx) waitForVersion(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, nginxReadyTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		last := n.hasVersion(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-n.process.done:
			return fmt.Errorf("nginx ended: %w; end of its log:\n%s", n.process.err, tailOfFile(n.conf.ErrorLog))
		case <-ctx.Done():
			return fmt.Errorf("nginx is not ready: %w (%w); end of its log:\n%s", last, ctx.Err(), tailOfFile(n.conf.ErrorLog))
		}
	}
}

func (n *Nginx) hasVersion(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL+"/nginx-health", nil)
	if err != nil {
		return err
	}
	request.Close = true // the next one shall get to a new worker
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1000))
	if err == nil && (response.StatusCode != http.StatusOK || string(text) != n.conf.Version) {
		err = fmt.Errorf("nginx-health: %s: %s", response.Status, text)
	}
	return err
}

// PID is the process of the master.
func (n *Nginx) PID() int { return n.process.cmd.Process.Pid }

// Stop ends nginx and the connections that are open.
func (n *Nginx) Stop() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.end()
}

func (n *Nginx) end() error {
	var err error
	if n.process != nil {
		err = n.process.stop()
	}
	if n.watcher != nil {
		err = errors.Join(err, n.watcher.end())
		n.watcher = nil
	}
	if removeErr := os.Remove(n.conf.PIDFile); !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

// tailOfFile is the end of a log.
func tailOfFile(name string) []byte {
	log, err := os.ReadFile(name)
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(log[max(0, len(log)-logTailBytes):])
}
